"""A desk without an app: state, scene and grid joined the way the program joins them."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.case import Case
from imaging.geometry import Geometry
from imaging.segmentation import Segment, Segmentation
from imaging.volume import Volume, Window
from viewer.state.display import DisplayState
from viewer.state.plan import slice_plan
from viewer.tools.tool import PointerEvent


class Desk:
    """A scene for gestures that remembers what was asked, and tells listeners."""

    def __init__(self, case: Case, display: DisplayState) -> None:
        self.case, self.display = case, display
        self.edits, self.previews, self.said, self.shown = [], [], [], []
        self.pointed = []
        self.grid = None

    def show(self, display):
        if display != self.display:
            self.display = display
            self.shown.append(display)
            if self.grid is not None:
                self.grid.apply(self.case, display)

    def execute(self, edit):
        edit.check(self.case)
        changes = edit.apply(self.case)
        self.edits.append(edit)
        if self.grid is not None:
            self.grid.apply(self.case, self.display, changes)

    def preview(self, preview):
        self.previews.append(preview)
        if self.grid is not None:
            self.grid.preview(preview)

    def point_out(self, pointed):
        self.pointed.append(pointed)

    def say(self, sentence):
        self.said.append(sentence)

    def event(self, kind, cell, x, y, size=(200, 200), modifiers=(), button="left"):
        """A pointer event at a place of a cell, as the widgets make it."""
        plan = slice_plan(self.case, self.display, self.display.cell(cell), size)
        return PointerEvent(
            kind, cell, plan.world(x, y), (x, y), size, np.array(plan.normal),
            np.array(plan.way.right), np.array(plan.way.down), plan.mm_per_pixel, button,
            frozenset(modifiers),
        )  # fmt: skip


@pytest.fixture
def desk():
    """Makes a :class:`Desk` from a case and a display."""
    return Desk


@pytest.fixture
def axial_geometry():
    """Builds an axial grid: k towards S, j towards P, i towards L; spacing ``(k, j, i)``."""

    def build(shape=(20, 30, 40), spacing=(1.0, 1.0, 1.0), frame="1.2.3"):
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2] = spacing
        affine[:3, 3] = (-10.0, -20.0, -30.0)
        affine[3, 3] = 1.0
        return Geometry(shape, affine, frame)

    return build


@pytest.fixture
def painted_case(axial_geometry):
    """A ramp with an empty mask of two labels on the same grid."""
    geometry = axial_geometry()
    voxels = np.arange(np.prod(geometry.shape)).reshape(geometry.shape) % 1000
    volume = Volume("v", "ramp", voxels.astype(np.int16), geometry, window=Window(500, 1000))
    segments = (Segment(1, "one", (255, 0, 0)), Segment(2, "two", (0, 255, 0)))
    mask = Segmentation("s", "mask", geometry, "v", segments=segments)
    return Case({"v": volume, "s": mask})
