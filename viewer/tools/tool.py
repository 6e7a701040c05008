"""What a tool is: one generator that reads from press to release. No Qt, no VTK.

A gesture gets the press as an argument, receives moves at ``yield`` and ends with the release
event (``kind == "release"``). To cancel (Esc, focus lost) the generator is closed; whatever was
previewed must then be gone, which a ``try … finally: scene.preview(None)`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from imaging.case import Case
from imaging.edits.edit import Edit
from imaging.geometry import Box
from viewer.state.display import DisplayState

if TYPE_CHECKING:
    from viewer.tools.click import Pointed


@dataclass(frozen=True, eq=False)
class PointerEvent:
    """What the hand does, in patient space.

    Parameters
    ----------
    kind : str
        ``press``, ``move`` or ``release``.
    cell : str
        Id of the cell the hand is in.
    world : ndarray, shape (3,)
        The point on the cell's plane under the pointer, LPS mm.
    screen : tuple of float
        Position in the cell in logical pixels (x right, y down).
    size : tuple of float
        Size of the cell in logical pixels.
    normal, right, down : ndarray, shape (3,)
        Unit vectors of the plane in LPS: into the screen (right cross down), screen right,
        screen down.
    mm_per_pixel : float
        Size of a logical pixel on the plane.
    button : str
        ``left``, ``middle`` or ``right``.
    modifiers : frozenset of str
        Out of ``shift``, ``ctrl``, ``alt``.
    """

    kind: Literal["press", "move", "release"]
    cell: str
    world: np.ndarray
    screen: tuple[float, float]
    size: tuple[float, float]
    normal: np.ndarray
    right: np.ndarray
    down: np.ndarray
    mm_per_pixel: float
    button: str = "left"
    modifiers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Preview:
    """Labels to be drawn instead of the real ones inside a box, until the hand lifts.

    Previews of one gesture add up: each brings only what is new, all go with ``preview(None)``.

    Parameters
    ----------
    item : str
        Id of the segmentation.
    box : Box
        Which block.
    labels : ndarray, shape of the box
        uint8 label numbers, the whole stroke so far.
    dirty : Box
        The part of the box that is new since the last preview.
    """

    item: str
    box: Box
    labels: np.ndarray
    dirty: Box


class Scene(Protocol):
    """What a gesture may look at and ask for."""

    @property
    def case(self) -> Case:
        """The open case, to read."""
        ...

    @property
    def display(self) -> DisplayState:
        """The display state now."""
        ...

    def show(self, display: DisplayState) -> None:
        """Replace the display state."""
        ...

    def execute(self, edit: Edit) -> None:
        """Change the case."""
        ...

    def preview(self, preview: Preview | None) -> None:
        """Draw a preview, or take it away."""
        ...

    def point_out(self, pointed: Pointed | None) -> None:
        """Say what was pointed at; None: the hand has changed its mind."""
        ...

    def say(self, sentence: str) -> None:
        """Tell the user something in the status line (why nothing can be painted, say)."""
        ...


Gesture = Generator[None, PointerEvent, None]
GestureFunction = Callable[[PointerEvent, Scene], Gesture]


@dataclass(frozen=True)
class Tool:
    """One row of the tool table.

    Parameters
    ----------
    id, title : str
        For the code and for the user.
    editing : bool
        True where the EDIT badge stands and edit keys hold.
    gesture : callable
        What a left drag does.
    """

    id: str
    title: str
    editing: bool
    gesture: GestureFunction
