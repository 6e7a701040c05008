"""A lesion that comes back has the number it had."""

from __future__ import annotations

import numpy as np
from panel_cases import SHAPE, open_workspace

from app.controllers.findings import FindingsController, kept_numbers
from app.windows.findings_panel import FindingsPanel
from app.workspace import Workspace
from imaging.analysis.lesions import Lesion, find_lesions, numbered_as
from imaging.edits.edit import AddItem, VoxelEdit
from imaging.geometry import Box, Geometry
from imaging.segmentation import Segment, Segmentation
from imaging.storage.case_file import load_case, save_case


def lesions_of(*cubes: tuple[int, int]) -> list[Lesion]:
    labels = np.zeros((8, 8, 60), np.uint8)
    for start, size in cubes:
        labels[2 : 2 + size, 2 : 2 + size, start : start + size] = 1
    segments = (Segment(1, "Lesion", (1, 2, 3)),)
    grid = Geometry(labels.shape, np.eye(4))
    return find_lesions(Segmentation.from_labels("m", "m", grid, "v", labels, segments=segments))


def at(lesions: list[Lesion]) -> dict[int, int]:
    """Number to place along i."""
    return {lesion.number: lesion.box.start[2] for lesion in lesions}


def test_a_lesion_brought_back_by_undo_keeps_its_number():
    known: dict[int, Lesion] = {}
    first = kept_numbers(lesions_of((0, 5), (10, 4), (20, 3)), [], known)
    assert at(first) == {1: 0, 2: 10, 3: 20}
    without = [lesion for lesion in first if lesion.number != 2]
    second = kept_numbers(without, first, known)
    back = lesions_of((0, 5), (10, 4), (20, 3))[1]  # measured anew, under a number of its own
    third = kept_numbers([*second, back], second, known)
    assert at(third) == {1: 0, 2: 10, 3: 20}


def test_a_new_lesion_never_takes_the_number_of_one_that_is_gone():
    known: dict[int, Lesion] = {}
    first = kept_numbers(lesions_of((0, 5), (10, 4)), [], known)
    second = kept_numbers(first[:1], first, known)
    fresh = lesions_of((40, 4))[0]
    third = kept_numbers([*second, fresh], second, known)
    assert at(third) == {1: 0, 3: 40}


class _Now:
    """Work in a thread, done at once."""

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def cancel(self) -> None:
        return

    def run(self, work, then):
        then(work(self))
        return self


def _listed(qtbot, workspace: Workspace) -> FindingsController:
    panel = FindingsPanel(workspace)
    qtbot.addWidget(panel)
    controller = FindingsController(workspace, _Now(), panel, lambda *_: None)
    controller.measure()
    return controller


def _cubes(*starts: int) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    for start, size in zip(starts, (4, 3, 2), strict=False):
        labels[2 : 2 + size, 2 : 2 + size, start : start + size] = 1
    return labels


def test_numbers_are_the_same_in_the_list_and_in_files_after_saving_and_opening_again(
    qtbot, tmp_path
):
    workspace = open_workspace()
    volume = workspace.case.volume("flair")
    mask = Segmentation.from_labels(
        "m", "Mask", volume.geometry, "flair", _cubes(0, 6, 10),
        segments=(Segment(1, "Lesion", (1, 2, 3)),),
    )  # fmt: skip
    workspace.execute(AddItem(mask, "Add"))
    first = _listed(qtbot, workspace)
    gone = first.lesions[0]
    first.delete(gone)
    assert at(first.lesions) == {2: 6, 3: 10}
    path = save_case(tmp_path / "case", workspace.case)
    items, _ = load_case(path).build(lambda ref: volume)
    again = open_workspace()
    again.adopt(items)
    second = _listed(qtbot, again)
    assert at(second.lesions) == {2: 6, 3: 10}
    # An export of a mask that is not listed asks the mask, not the list.
    (kept,) = again.case.segmentations
    assert at(numbered_as(find_lesions(kept), kept.lesion_numbers)) == {2: 6, 3: 10}
    # Not even the number of one that was deleted before is given again.
    block = Box((0, 8, 0), (2, 10, 2))
    ones = np.ones(block.shape, np.uint8)
    again.execute(VoxelEdit.between("m", "Brush", block, ones * 0, ones))
    assert at(second.lesions) == {2: 6, 3: 10, 4: 0}
