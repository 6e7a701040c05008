"""What the user wants to see: a frozen value, replaced whole, never undone, never saved voxels.

Together with the case it is all a view needs: ``plan(case, display) -> ViewPlan``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from imaging.volume import Window

#: The drag and drop format of a series: its key as UTF-8.
SERIES_MIME = "application/x-isocenter-series"

Point = tuple[float, float, float]  #: LPS mm


class Plane(StrEnum):
    """Which cut a cell shows; patient planes are true planes, not array planes."""

    ACQUIRED = "as acquired"
    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"
    OBLIQUE = "oblique"
    VOLUME = "3D"


class Layout(StrEnum):
    """How the cells are arranged."""

    ONE = "1"
    ONE_AND_THREE = "1+3"
    TWO_BY_TWO = "2×2"


@dataclass(frozen=True)
class Camera:
    """How one cell looks at its plane.

    Parameters
    ----------
    zoom : float
        1 fits the image into the cell.
    pan_mm : tuple of float
        Shift of the picture (right, down) in mm on the screen plane.
    quarter_turns : int
        Clockwise quarter turns of the picture, 0 to 3.
    """

    zoom: float = 1.0
    pan_mm: tuple[float, float] = (0.0, 0.0)
    flip_horizontal: bool = False
    flip_vertical: bool = False
    quarter_turns: int = 0


@dataclass(frozen=True)
class Cell:
    """One view: which volume, which plane.

    Parameters
    ----------
    normal : Point or None
        For an oblique plane: unit normal in LPS.
    right : Point or None
        For an oblique plane: unit vector towards the right of the screen in LPS.
    """

    id: str
    plane: Plane
    volume_id: str = ""
    camera: Camera = Camera()
    normal: Point | None = None
    right: Point | None = None


@dataclass(frozen=True)
class Overlay:
    """How a mask or map is laid over the image.

    Parameters
    ----------
    opacity : float
        0 to 1.
    outline : bool
        For masks: draw the edge only (opacity then holds for the fill, which is off).
    colour_table : str
        For maps: name of a table in ``viewer.state.colour_tables``.
    low, high : float
        For maps: values outside are transparent below ``low`` and clipped above ``high``.
    hidden_segments : frozenset of int
        For masks: label numbers that are not drawn.
    """

    visible: bool = True
    opacity: float = 0.5
    outline: bool = False
    colour_table: str = "inferno"
    low: float = 0.1
    high: float = 1.0
    hidden_segments: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Brush:
    """Settings of the editing hand.

    Parameters
    ----------
    radius_mm : float
        Of the disc or ball.
    shape : str
        ``"disc"`` (in the plane of the view) or ``"ball"`` (3D).
    only_range : bool
        Paint only voxels whose value lies inside the shown window.
    segmentation_id, label : str, int
        What is painted; the mask is made at the first stroke where the id is empty.
    """

    radius_mm: float = 4.0
    shape: str = "disc"
    only_range: bool = False
    segmentation_id: str = ""
    label: int = 1


def drawing_id(volume_id: str, name: str) -> str:
    """Under which id a drawing that an image brings along has its :class:`Overlay` settings."""
    return f"drawing-{name}-{volume_id}"


def _frozen(mapping: Mapping) -> Mapping:
    return MappingProxyType(dict(mapping))


@dataclass(frozen=True)
class DisplayState:
    """Everything about the picture that is not in the case.

    Parameters
    ----------
    cells : tuple of Cell
        In reading order; the layout shows the first one, or four.
    maximised : str
        Id of the cell that fills the grid; empty for none.
    cursor : Point or None
        The crosshair in LPS mm; every slice view in its frame of reference cuts through it.
    frame : str
        Frame of Reference UID the cursor belongs to; empty where it is not known (see
        ``viewer.state.linking``).
    cursors : mapping
        Frame of Reference UID to the last cursor there, for volumes that do not share ``frame``.
    windows : mapping
        Volume id to :class:`Window` in real values; missing means the default.
    tool : str
        Id of the active tool.
    editing : bool
        Edit mode: digits choose tools, and the badge says EDIT. It stays on while a reading tool
        is used in between.
    moving : bool
        True while a drag is going on: expensive planes may be drawn coarser.
    """

    cells: tuple[Cell, ...] = ()
    layout: Layout = Layout.ONE_AND_THREE
    active: str = ""
    maximised: str = ""
    cursor: Point | None = None
    frame: str = ""
    cursors: Mapping[str, Point] = field(default_factory=dict)
    windows: Mapping[str, Window] = field(default_factory=dict)
    inverted: frozenset[str] = frozenset()
    overlays: Mapping[str, Overlay] = field(default_factory=dict)
    overlays_shown: bool = True
    text_shown: bool = True
    crosshair_shown: bool = True
    volume_rendering: bool = False
    tool: str = "window"
    editing: bool = False
    brush: Brush = Brush()
    moving: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cursors", _frozen(self.cursors))
        object.__setattr__(self, "windows", _frozen(self.windows))
        object.__setattr__(self, "overlays", _frozen(self.overlays))

    def but(self, **changes) -> DisplayState:
        """A copy with some fields replaced."""
        return replace(self, **changes)

    def cell(self, id: str) -> Cell | None:
        """The cell with this id."""
        return next((cell for cell in self.cells if cell.id == id), None)

    def with_cell(self, cell: Cell) -> DisplayState:
        """A copy where the cell of the same id is replaced."""
        return self.but(cells=tuple(cell if c.id == cell.id else c for c in self.cells))

    def with_window(self, volume_id: str, window: Window) -> DisplayState:
        """A copy with another window for one volume."""
        return self.but(windows={**self.windows, volume_id: window})

    def overlay(self, item_id: str) -> Overlay:
        """The overlay settings of a mask, map or drawing, or the default ones."""
        return self.overlays.get(item_id, Overlay())

    def with_overlay(self, item_id: str, **changes) -> DisplayState:
        """A copy with some overlay settings of one item changed."""
        changed = replace(self.overlay(item_id), **changes)
        return self.but(overlays={**self.overlays, item_id: changed})

    @property
    def shown_cells(self) -> tuple[Cell, ...]:
        """The cells that are on screen, in order."""
        if self.maximised:
            return tuple(c for c in self.cells if c.id == self.maximised)
        if self.layout == Layout.ONE:
            return tuple(c for c in self.cells if c.id == self.active) or self.cells[:1]
        return self.cells[:4]
