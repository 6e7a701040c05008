"""Who made a label, a model or a person, and what becomes of that when a person changes it.

Source: DICOM PS3.3 C.8.20.4, Segment Algorithm Type: AUTOMATIC (calculated), SEMIAUTOMATIC
(calculated with help of a person), MANUAL (entered by a person).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from imaging.edits.edit import HeaderEdit
from imaging.identity import new_uid
from imaging.segmentation import AUTOMATIC, MANUAL, SEMIAUTOMATIC, Segment, Segmentation


def helped(
    segmentation: Segmentation,
    numbers: Iterable[int],
    segments: tuple[Segment, ...] | None = None,
    *,
    changed: bool = True,
) -> tuple[Segment, ...]:
    """The segments of a mask; of these numbers, what a model made alone becomes ``SEMIAUTOMATIC``.

    Parameters
    ----------
    numbers : iterable of int
        Labels that a person has changed or taken over.
    segments : tuple of Segment, optional
        Those of the mask by default.
    changed : bool
        Whether voxels were changed; else the person only took over what a model found.
    """
    chosen = {int(n) for n in numbers}
    return tuple(
        _touched(s, changed=changed) if s.number in chosen else s
        for s in (segmentation.segments if segments is None else segments)
    )


def _touched(segment: Segment, *, changed: bool) -> Segment:
    if segment.algorithm_type == AUTOMATIC:
        return replace(segment, algorithm_type=SEMIAUTOMATIC, unchanged=not changed)
    return replace(segment, unchanged=False) if changed and segment.unchanged else segment


def taking_over(
    segmentation: Segmentation, name: str, sources: Iterable[int], target: Segment
) -> HeaderEdit:
    """What is said of two labels when voxels of one go to another by a person's choice.

    The label they leave is no longer all that the model found: ``AUTOMATIC`` becomes
    ``SEMIAUTOMATIC``. The one they enter holds a model's work from then on, so it is no longer
    ``MANUAL`` (PS3.3 C.8.20.4) and names the algorithm. It is added where it is missing.

    Parameters
    ----------
    sources : iterable of int
        Labels that the voxels come from.
    target : Segment
        The label that they go to.
    """
    segments = segmentation.segments
    if segmentation.segment(target.number) is None:
        segments = (*segments, _with_identity(target))
    leaving = [s for n in sources if (s := segmentation.segment(n)) is not None]
    made = [s for s in leaving if s.algorithm_type != MANUAL and s.number != target.number]
    segments = helped(segmentation, {s.number for s in leaving}, segments, changed=False)
    after = tuple(
        _joined(s, made[0]) if made and s.number == target.number else s for s in segments
    )
    before = segmentation.header()
    return HeaderEdit(segmentation.id, name, before, segmentation.header(segments=after))


def _joined(segment: Segment, source: Segment) -> Segment:
    """A label that now holds voxels of another, which a model made."""
    if segment.algorithm_type != MANUAL:
        as_found = source.unchanged or source.algorithm_type == AUTOMATIC
        before = segment.unchanged or segment.algorithm_type == AUTOMATIC
        return replace(segment, algorithm_type=SEMIAUTOMATIC, unchanged=as_found and before)
    return replace(
        segment, algorithm_type=SEMIAUTOMATIC,
        algorithm=source.algorithm, algorithm_version=source.algorithm_version,
    )  # fmt: skip


def _with_identity(segment: Segment) -> Segment:
    return segment if segment.tracking_uid else replace(segment, tracking_uid=new_uid())
