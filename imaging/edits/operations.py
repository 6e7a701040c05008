"""What the user can do to a mask besides painting, each as a function that returns an edit.

Nothing here changes anything: the edit does, when the workspace executes it.
"""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from imaging.analysis.lesions import Lesion
from imaging.analysis.morphology import draft_mask
from imaging.edits.edit import Edit, Group, HeaderEdit, VoxelEdit
from imaging.edits.hand_work import pack_mask, unpack_mask
from imaging.edits.origin import helped, taking_over
from imaging.errors import EditRefused
from imaging.geometry import Box
from imaging.heatmap import Heatmap
from imaging.identity import new_uid
from imaging.segmentation import (
    MANUAL,
    SEMIAUTOMATIC,
    Code,
    Segment,
    Segmentation,
    SegmentationHeader,
    mask_uid,
    next_colour,
)

#: Name of the segment that takes the lesions a person has accepted.
ACCEPTED_NAME = "Accepted lesion"
#: Entry of ``Provenance.settings``: parts of a draft with fewer voxels are left out.
MIN_VOXELS_SETTING = "min_voxels"


# --- drafts ---------------------------------------------------------------------------------


def min_voxels_of(segmentation: Segmentation) -> int:
    """The smallest part a draft keeps, in voxels, as the pipeline noted it; 1 if it did not."""
    for name, value in segmentation.provenance.settings:
        if name == MIN_VOXELS_SETTING and value.isdecimal():
            return max(1, int(value))
    return 1


def set_threshold(segmentation: Segmentation, probability: Heatmap, new_threshold: float) -> Edit:
    """Cut a draft anew at another probability; what a person changed stays as it is.

    Work by hand is every voxel that differs from the draft as it was cut before, now or at any
    earlier threshold. The draft's label is its first segment; a person chose this threshold, so
    an ``AUTOMATIC`` one becomes ``SEMIAUTOMATIC``.

    Parameters
    ----------
    segmentation : Segmentation
        With a ``threshold``.
    probability : Heatmap
        The map it was cut from.
    new_threshold : float
        0 to 1.

    Raises
    ------
    EditRefused
        Where the mask was not cut from this map.
    """
    old = _threshold_of(segmentation, probability)
    if not 0.0 <= new_threshold <= 1.0:
        raise EditRefused("A threshold lies between 0 and 1", segmentation.name)
    moved = float(new_threshold) != old
    name, shape = "Move threshold", segmentation.geometry.shape
    hand = unpack_mask(segmentation.hand_work, shape) if segmentation.hand_work else None
    area = _area(segmentation, probability, min(old, new_threshold), hand)
    labels, values = segmentation.labels[area.slices], probability.values[area.slices]
    number, smallest = np.uint8(segmentation.segments[0].number), min_voxels_of(segmentation)
    touched = labels != number * draft_mask(values, old, smallest)
    if hand is not None:
        touched |= hand[area.slices]
    after = np.where(touched, labels, number * draft_mask(values, new_threshold, smallest))
    header = _header(
        segmentation, name, threshold=float(new_threshold),
        hand_work=pack_mask(touched, area, shape),
        segments=helped(segmentation, {segmentation.segments[0].number} if moved else ()),
    )  # fmt: skip
    return _with_header(name, _changed(segmentation, name, area, after), header)


def _threshold_of(segmentation: Segmentation, probability: Heatmap) -> float:
    if segmentation.threshold is None or not segmentation.segments:
        raise EditRefused("This mask has no threshold to move", segmentation.name)
    same = probability.geometry.same_grid(segmentation.geometry)
    if segmentation.probability_id not in ("", probability.id) or not same:
        raise EditRefused("The mask was not cut from this map", segmentation.name)
    return segmentation.threshold


def _area(
    segmentation: Segmentation, probability: Heatmap, lowest: float, hand: np.ndarray | None
) -> Box:
    """The block outside which nothing is marked, touched or above the lowest threshold."""
    area = _above(probability, lowest).union(Box.around(segmentation.labels != 0))
    return area if hand is None else area.union(Box.around(hand))


def _above(probability: Heatmap, threshold: float) -> Box:
    """The tight block around all values above a threshold."""
    values = probability.values
    if threshold < _FAINT:
        return Box.around(values > np.float32(threshold))
    wide = _not_faint.get(probability)
    if wide is None:
        wide = _not_faint[probability] = Box.around(values > np.float32(_FAINT))
    k, j, i = wide.start
    tight = Box.around(values[wide.slices] > np.float32(threshold))
    if tight.empty:
        return tight
    (k0, j0, i0), (k1, j1, i1) = tight.start, tight.stop
    return Box((k + k0, j + j0, i + i0), (k + k1, j + j1, i + i1))


#: Above this a map is mostly empty; its block is worked out once (the values never change).
_FAINT = 0.05
_not_faint: WeakKeyDictionary[Heatmap, Box] = WeakKeyDictionary()


def stroke_edit(segmentation: Segmentation, voxel_edit: VoxelEdit) -> Edit:
    """The edit to execute for a stroke: it also notes that a person corrected a model's label.

    An ``AUTOMATIC`` segment that the stroke adds to or takes from becomes ``SEMIAUTOMATIC``.
    """
    xor = voxel_edit.xor()
    before = segmentation.labels[voxel_edit.box.slices]
    hit = xor != 0
    values = set(np.unique(before[hit])) | set(np.unique((before ^ xor)[hit]))
    segments = helped(segmentation, values)
    if segments == segmentation.segments:
        return voxel_edit
    return Group.of(
        voxel_edit.name, [voxel_edit, _header(segmentation, voxel_edit.name, segments=segments)]
    )


# --- lesions --------------------------------------------------------------------------------


def accepted_segment(segmentation: Segmentation) -> Segment:
    """The segment for accepted lesions: the one that is there, else one to be added.

    Raises
    ------
    EditRefused
        Where all 255 numbers are taken.
    """
    for segment in segmentation.segments[1:]:
        if segment.name == ACCEPTED_NAME:
            return segment
    first = segmentation.segments[0] if segmentation.segments else None
    identity = mask_uid(
        segmentation.id, segmentation.geometry, segmentation.provenance.created, ACCEPTED_NAME
    )
    fresh = Segment(
        free_number(segmentation), ACCEPTED_NAME, next_colour(segmentation.segments),
        algorithm_type=SEMIAUTOMATIC, tracking_uid=identity, unchanged=True,
    )  # fmt: skip
    if first is None:
        return fresh
    return replace(
        fresh, category=first.category, type=first.type, modifier=first.modifier,
        region=first.region,
        algorithm=first.algorithm, algorithm_version=first.algorithm_version,
    )  # fmt: skip


def accept_lesion(
    segmentation: Segmentation, lesion: Lesion, accepted: Segment | None = None
) -> Edit:
    """Give a lesion the label of accepted ones; that label is added where it is missing.

    Parameters
    ----------
    accepted : Segment, optional
        :func:`accepted_segment` by default.
    """
    target = accepted_segment(segmentation) if accepted is None else accepted
    name = f"Accept lesion {lesion.number}"
    voxels = _relabel(segmentation, lesion, target.number, name)
    return Group.of(name, [taking_over(segmentation, name, {lesion.label}, target), voxels])


def delete_lesion(segmentation: Segmentation, lesion: Lesion) -> Edit:
    """Clear all voxels of a lesion."""
    name = f"Delete lesion {lesion.number}"
    return stroke_edit(segmentation, _relabel(segmentation, lesion, 0, name))


def _relabel(segmentation: Segmentation, lesion: Lesion, number: int, name: str) -> VoxelEdit:
    _unlocked(segmentation, lesion.label)
    before = segmentation.labels[lesion.box.slices]
    if before.shape != lesion.mask.shape or (before[lesion.mask] != lesion.label).any():
        raise EditRefused(
            "The lesion has changed since the list was made", f"lesion {lesion.number}"
        )
    after = np.where(lesion.mask, np.uint8(number), before)
    return VoxelEdit.between(segmentation.id, name, lesion.box, before, after)


# --- segments -------------------------------------------------------------------------------


def free_number(segmentation: Segmentation) -> int:
    """The lowest label number that no segment has.

    Raises
    ------
    EditRefused
        Where all 255 are taken.
    """
    taken = {segment.number for segment in segmentation.segments}
    for number in range(1, 256):
        if number not in taken:
            return number
    raise EditRefused("A mask holds at most 255 labels", segmentation.name)


def add_segment(
    segmentation: Segmentation, name: str, colour: tuple[int, int, int] | None = None
) -> Edit:
    """Add an empty label with the next free number and, by default, the next free colour."""
    segment = Segment(
        free_number(segmentation), _named(name), colour or next_colour(segmentation.segments),
        algorithm_type=MANUAL, tracking_uid=new_uid(),
    )  # fmt: skip
    return _header(
        segmentation, f"Add label {segment.name}", segments=(*segmentation.segments, segment)
    )


def remove_segment(segmentation: Segmentation, number: int) -> Edit:
    """Remove a label and clear its voxels."""
    segment = _unlocked(segmentation, number)
    name = f"Remove label {segment.name}"
    rest = tuple(s for s in segmentation.segments if s.number != number)
    area = Box.around(segmentation.labels == number)
    labels = segmentation.labels[area.slices]
    after = np.where(labels == number, np.uint8(0), labels)
    header = _header(segmentation, name, segments=rest)
    return _with_header(name, _changed(segmentation, name, area, after), header)


def rename_segment(segmentation: Segmentation, number: int, name: str) -> Edit:
    """Give a label another name."""
    return _one_segment(segmentation, number, "Rename label", name=_named(name))


def recolour_segment(segmentation: Segmentation, number: int, colour: tuple[int, int, int]) -> Edit:
    """Give a label another colour, red, green, blue from 0 to 255."""
    if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
        raise EditRefused("A colour is three numbers from 0 to 255", segmentation.name)
    return _one_segment(segmentation, number, "Change colour", colour=colour)


def code_segment(
    segmentation: Segmentation,
    number: int,
    category: Code,
    type: Code,
    modifier: Code | None = None,
    region: Code | None = None,
) -> Edit:
    """Say in codes what a label means: what kind of thing, what thing, which side, where.

    See :data:`imaging.dicom.codes.LABEL_CODES` for codes to choose from.

    Raises
    ------
    EditRefused
        Where the label does not exist or a code lacks its value, scheme or meaning.
    """
    for code in (category, type, modifier, region):
        if code is not None and not all(part.strip() for part in code):
            raise EditRefused("A code has a value, a scheme and a meaning", segmentation.name)
    meaning = {"category": category, "type": type, "modifier": modifier, "region": region}
    return _one_segment(segmentation, number, "Set meaning", **meaning)


def lock_segment(segmentation: Segmentation, number: int, locked: bool) -> Edit:
    """Keep a label from being painted over, or free it again."""
    return _one_segment(
        segmentation, number, "Lock label" if locked else "Unlock label", locked=locked
    )


def rename_segmentation(segmentation: Segmentation, name: str) -> Edit:
    """Give the whole mask another name."""
    return _header(segmentation, "Rename mask", name=_named(name))


def _one_segment(segmentation: Segmentation, number: int, step: str, **changes) -> Edit:
    _existing(segmentation, number)
    segments = tuple(
        Segment(**{**vars(s), **changes}) if s.number == number else s
        for s in segmentation.segments
    )
    return HeaderEdit(
        segmentation.id, step, segmentation.header(), segmentation.header(segments=segments)
    )


def _named(name: str) -> str:
    text = " ".join(name.split())
    if not text:
        raise EditRefused("A label needs a name")
    return text


def _existing(segmentation: Segmentation, number: int) -> Segment:
    segment = segmentation.segment(number)
    if segment is None:
        raise EditRefused(f"The mask has no label {number}", segmentation.name)
    return segment


def _unlocked(segmentation: Segmentation, number: int) -> Segment:
    segment = _existing(segmentation, number)
    if segment.locked:
        raise EditRefused("The label is locked", segment.name, "Unlock it to change it")
    return segment


# --- building edits -------------------------------------------------------------------------


def _header(segmentation: Segmentation, step: str, **changes) -> HeaderEdit:
    before: SegmentationHeader = segmentation.header()
    return HeaderEdit(segmentation.id, step, before, segmentation.header(**changes))


def _changed(
    segmentation: Segmentation, name: str, area: Box, after: np.ndarray
) -> VoxelEdit | None:
    """The edit that gives a block new labels, over the part of it that differs."""
    before = segmentation.labels[area.slices]
    tight = Box.around(before != after)
    if tight.empty:
        return None
    start, stop = np.add(area.start, tight.start).tolist(), np.add(area.start, tight.stop).tolist()
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return VoxelEdit.between(segmentation.id, name, box, before[tight.slices], after[tight.slices])


def _with_header(name: str, voxels: VoxelEdit | None, header: HeaderEdit) -> Edit:
    return header if voxels is None else Group.of(name, [voxels, header])
