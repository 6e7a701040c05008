"""Which cells a study is shown in; pure functions from one display state to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from imaging.case import Case
from imaging.geometry import Geometry
from imaging.volume import Volume, Window
from viewer.state.display import Camera, Cell, DisplayState, Layout, Plane
from viewer.state.linking import linked, middle_voxel, with_cursor

CELL_IDS = ("a", "b", "c", "d")
_PATIENT_PLANES = (Plane.AXIAL, Plane.SAGITTAL, Plane.CORONAL)


def nearest_plane(geometry: Geometry) -> Plane:
    """The patient plane closest to the plane as acquired."""
    j, i = geometry.directions[:, 1], geometry.directions[:, 2]
    axis = int(np.abs(np.cross(i, j)).argmax())
    return (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)[axis]


def plane_cells(volume: Volume) -> tuple[Cell, ...]:
    """Four cells of one volume: as acquired, the two other patient planes, 3D."""
    acquired = nearest_plane(volume.geometry)
    others = [plane for plane in _PATIENT_PLANES if plane != acquired]
    planes = (Plane.ACQUIRED, *others, Plane.VOLUME)
    return tuple(Cell(id, plane, volume.id) for id, plane in zip(CELL_IDS, planes, strict=True))


def first_display(display: DisplayState, volume: Volume) -> DisplayState:
    """A fresh arrangement around one volume, crosshair in its middle."""
    alone = "" if volume.placed else CELL_IDS[0]  # it has one plane only
    display = display.but(cells=plane_cells(volume), active=CELL_IDS[0], maximised=alone)
    return with_cursor(display, volume.geometry, middle_voxel(volume.geometry))


def show_volume(
    case: Case, display: DisplayState, volume: Volume, cell_id: str = ""
) -> DisplayState:
    """Show a volume in one cell, or in all of them where no cell is named.

    Planes and windows stay; the crosshair stays too where the frame of reference allows it.
    """
    if not display.cells:
        return first_display(display, volume)
    if cell_id:
        cell = display.cell(cell_id) or display.cells[0]
        display = display.with_cell(replace(cell, volume_id=volume.id, camera=Camera()))
        return display.but(active=cell.id)
    before = case.items.get(display.cells[0].volume_id)
    if not volume.placed:
        display = display.but(maximised=CELL_IDS[0], active=CELL_IDS[0])
    elif isinstance(before, Volume) and not before.placed:
        display = display.but(maximised="")
    mixed = len({cell.volume_id for cell in display.cells}) > 1
    if mixed:
        display = display.but(cells=plane_cells(volume), active=CELL_IDS[0])
    else:
        # A series acquired in another plane brings its own arrangement of planes.
        display = display.but(
            cells=tuple(
                replace(new, camera=Camera() if old.plane != new.plane else old.camera)
                for new, old in zip(plane_cells(volume), display.cells, strict=True)
            )
        )
    inside = display.cursor is not None and volume.geometry.nearest(np.asarray(display.cursor))
    if linked(display, volume.geometry) and inside is not None and inside is not False:
        return display
    return with_cursor(display, volume.geometry, middle_voxel(volume.geometry))


def compare_display(display: DisplayState, volumes: Sequence[Volume]) -> DisplayState:
    """Up to four volumes side by side in the same patient plane."""
    plane = nearest_plane(volumes[0].geometry)
    shown = list(volumes[:4])
    cells = tuple(
        Cell(id, Plane.ACQUIRED if _only_as_acquired(v, plane) else plane, v.id)
        for id, v in zip(CELL_IDS, shown, strict=False)
    )
    return display.but(cells=cells, layout=Layout.TWO_BY_TWO, active=CELL_IDS[0], maximised="")


def _only_as_acquired(volume: Volume, plane: Plane) -> bool:
    """An uneven stack has one plane only; where it is nearest to the wanted one, it stands in."""
    return not volume.even and nearest_plane(volume.geometry) == plane


def with_plane(
    display: DisplayState, cell_id: str, plane: Plane, geometry: Geometry
) -> DisplayState:
    """Another plane in one cell; an oblique one starts as the plane it replaces, tilted."""
    from viewer.state.planes import point, way_of

    cell = display.cell(cell_id)
    if cell is None:
        return display
    changed = replace(cell, plane=plane, camera=replace(cell.camera, pan_mm=(0.0, 0.0)))
    if plane == Plane.OBLIQUE and cell.plane != Plane.OBLIQUE:
        way = way_of(cell, geometry)
        changed = replace(changed, normal=point(np.asarray(way.normal)), right=way.right)
    return display.with_cell(changed)


class _Preset(NamedTuple):
    """A share of the automatic window: its centre and its width (1 = all of it)."""

    name: str
    centre: float
    width: float


#: Digit keys 3 to 9.
_AROUND = (
    _Preset("More contrast", 0.5, 0.6),
    _Preset("Less contrast", 0.8, 1.6),
    _Preset("Dark tissue", 0.35, 0.7),
    _Preset("Bright tissue", 0.65, 0.7),  # white-matter lesions on FLAIR
    _Preset("Brightest tissue", 0.75, 0.4),
    _Preset("Fluid and bone", 0.25, 0.5),  # dark on T1
    _Preset("Everything", 1.0, 2.0),
)
#: What :func:`presets` gives, in the same order.
PRESET_NAMES: tuple[str, ...] = ("As stored", "As stored, second", *(p.name for p in _AROUND))


def presets(automatic: Window, header: Sequence[Window]) -> list[Window]:
    """The windows of the digit keys: 1-2 from the header, 3 and more around the automatic one.

    None of the latter starts below the automatic window: air stays black.

    Parameters
    ----------
    automatic : Window
        See :func:`viewer.state.windows.automatic_window`; stands in where the header says nothing.
    header : sequence of Window
        As the DICOM header suggests.

    Returns
    -------
    list of Window
        Nine, named by ``PRESET_NAMES``.
    """
    stored = [*header[:2], automatic, automatic][:2]
    low, width = automatic.low, automatic.width
    return stored + [Window(low + width * p.centre, width * p.width) for p in _AROUND]
