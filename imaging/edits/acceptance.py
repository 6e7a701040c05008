"""Taking over several lesions of a draft in one step."""

from __future__ import annotations

from collections.abc import Sequence

from imaging.analysis.lesions import Lesion
from imaging.edits.edit import Edit, Group, VoxelEdit
from imaging.edits.operations import accepted_segment
from imaging.edits.origin import taking_over
from imaging.errors import EditRefused
from imaging.segmentation import Segmentation


def accept_lesions(segmentation: Segmentation, lesions: Sequence[Lesion]) -> Edit | None:
    """Give all these lesions the label of accepted ones; None where there is nothing to do.

    Raises
    ------
    EditRefused
        Where a lesion has changed since the list was made, or its label is locked.
    """
    if not lesions:
        return None
    name = f"Accept {len(lesions)} lesions"
    target = accepted_segment(segmentation)
    box = lesions[0].box
    for lesion in lesions:
        box = box.union(lesion.box)
        segment = segmentation.segment(lesion.label)
        if segment is not None and segment.locked:
            raise EditRefused("The label is locked", segment.name, "Unlock it to change it")
    before = segmentation.labels[box.slices]
    after = before.copy()
    for lesion in lesions:
        place = tuple(
            slice(a - o, b - o)
            for a, b, o in zip(lesion.box.start, lesion.box.stop, box.start, strict=True)
        )
        part = after[place]
        if (part[lesion.mask] != lesion.label).any():
            raise EditRefused("The lesion has changed since the list was made", name)
        part[lesion.mask] = target.number
    voxels = VoxelEdit.between(segmentation.id, name, box, before, after)
    sources = {lesion.label for lesion in lesions}
    return Group.of(name, [taking_over(segmentation, name, sources, target), voxels])
