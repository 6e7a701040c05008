"""Taking a proposal (a thing that was pointed at) into a label, as one edit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imaging.edits.edit import Edit, Group, HeaderEdit, VoxelEdit
from imaging.edits.origin import helped
from imaging.errors import EditRefused
from imaging.geometry import Box
from imaging.segmentation import MANUAL, SEMIAUTOMATIC, Segment, Segmentation

__all__ = ["proposal_edit"]


def proposal_edit(
    segmentation: Segmentation,
    label: int,
    box: Box,
    mask: np.ndarray,
    name: str,
    algorithm: str = "",
    version: str = "",
) -> Edit | None:
    """The edit that gives a thing a label; voxels of locked labels stay as they are.

    Parameters
    ----------
    label : int
        Number of a segment of the mask.
    box : Box
        Where ``mask`` lies.
    mask : ndarray of bool, shape of the box
        The thing.
    algorithm, version : str
        What found it: a label that only a hand has drawn becomes ``SEMIAUTOMATIC`` and names it
        (PS3.3 C.8.20.4).

    Returns
    -------
    Edit or None
        None where nothing would change.

    Raises
    ------
    EditRefused
        Where the label is missing or locked.
    """
    segment = segmentation.segment(label)
    if segment is None:
        raise EditRefused(f"The mask has no label {label}", segmentation.name, "Choose a label")
    if segment.locked:
        raise EditRefused("The label is locked", segment.name, "Unlock it first")
    free = np.ones(256, bool)
    for other in segmentation.segments:
        free[other.number] = not other.locked
    before = segmentation.labels[box.slices]
    after = np.where(mask & free[before], np.uint8(label), before)
    tight = Box.around(before != after)
    if tight.empty:
        return None
    k, j, i = box.start
    (a, b, c), (d, e, f) = tight.start, tight.stop
    moved = Box((a + k, b + j, c + i), (d + k, e + j, f + i))
    old, new = before[tight.slices], after[tight.slices]
    voxels = VoxelEdit.between(segmentation.id, name, moved, old, new)
    touched = {int(n) for n in np.unique(old[old != new])} | {label}
    segments = tuple(
        _found_by(s, algorithm, version) if s.number == label else s
        for s in helped(segmentation, touched)
    )
    if segments == segmentation.segments:
        return voxels
    header = segmentation.header()
    return Group.of(
        name,
        [
            voxels,
            HeaderEdit(segmentation.id, name, header, segmentation.header(segments=segments)),
        ],
    )


def _found_by(segment: Segment, algorithm: str, version: str) -> Segment:
    if segment.algorithm_type != MANUAL or not algorithm:
        return segment
    return replace(
        segment, algorithm_type=SEMIAUTOMATIC, algorithm=algorithm, algorithm_version=version
    )
