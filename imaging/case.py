"""The open document: volumes, masks and maps by id, and what a change to it looks like."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from imaging.errors import EditRefused
from imaging.geometry import Box
from imaging.heatmap import Heatmap
from imaging.segmentation import PROPOSED_ID, Segmentation, next_colour
from imaging.volume import Volume

Item = Volume | Segmentation | Heatmap
_Kind = TypeVar("_Kind", Volume, Segmentation, Heatmap)
_Layer = TypeVar("_Layer", bound=Segmentation | Heatmap)

#: Parts of an item that a :class:`Change` can name.
ADDED, REMOVED, VOXELS, HEADER = "added", "removed", "voxels", "header"


@dataclass(frozen=True)
class Change:
    """What changed: which item, which parts, and which block of voxels.

    Parameters
    ----------
    item : str
        Id of the item.
    parts : frozenset of str
        Out of ``added``, ``removed``, ``voxels``, ``header``.
    box : Box or None
        The block whose voxels changed; None where the whole item did.
    """

    item: str
    parts: frozenset[str]
    box: Box | None = None


@dataclass(eq=False)
class Case:
    """Items by id in the order they were added.

    Nothing writes to a case but an edit given to ``Workspace.execute``, and the loader adding
    volumes through the Workspace.

    Parameters
    ----------
    exports : int
        How often DICOM objects were exported from it: later ones are numbered after earlier ones.
    """

    items: dict[str, Item] = field(default_factory=dict)
    exports: int = 0

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items.values())

    @property
    def volumes(self) -> list[Volume]:
        """All volumes."""
        return [item for item in self if isinstance(item, Volume)]

    @property
    def segmentations(self) -> list[Segmentation]:
        """All masks."""
        return [item for item in self if isinstance(item, Segmentation)]

    @property
    def kept_segmentations(self) -> list[Segmentation]:
        """All masks but the layer of a proposal that waits to be accepted."""
        return [mask for mask in self.segmentations if mask.id != PROPOSED_ID]

    @property
    def heatmaps(self) -> list[Heatmap]:
        """All maps."""
        return [item for item in self if isinstance(item, Heatmap)]

    def free_name(self, name: str, but: str = "") -> str:
        """A name for a mask or map that no other one bears (see :func:`distinct_name`).

        Parameters
        ----------
        but : str
            Id of the item that is to bear it.
        """
        layers = (item for item in self if not isinstance(item, Volume))
        return distinct_name(name, {item.name for item in layers if item.id != but})

    def free_colour(self) -> tuple[int, int, int]:
        """A colour for the first label of a new mask, unlike those of the other masks."""
        return next_colour(tuple(s for mask in self.kept_segmentations for s in mask.segments))

    def told_apart(self, fresh: Iterable[_Layer]) -> list[_Layer]:
        """New masks and maps, each under a name that no other one of the case bears."""
        taken = {item.name for item in self if not isinstance(item, Volume)}
        named: list[_Layer] = []
        for item in fresh:
            name = distinct_name(item.name, taken)
            named.append(item if name == item.name else replace(item, name=name))
            taken.add(name)
        return named

    def volume(self, id: str) -> Volume:
        """The volume with this id; raises EditRefused where there is none."""
        return self._get(id, Volume)

    def segmentation(self, id: str) -> Segmentation:
        """The mask with this id; raises EditRefused where there is none."""
        return self._get(id, Segmentation)

    def heatmap(self, id: str) -> Heatmap:
        """The map with this id; raises EditRefused where there is none."""
        return self._get(id, Heatmap)

    def _get(self, id: str, kind: type[_Kind]) -> _Kind:
        item = self.items.get(id)
        if not isinstance(item, kind):
            raise EditRefused(f"The case has no {kind.__name__.lower()} with this id", id)
        return item


#: A name that has a number already: ``"My mask 2"``, ``"Lesions (AI draft 3)"``.
_NUMBERED = re.compile(r"(?P<stem>.*?)(?: (?P<number>[1-9]\d?))?(?P<tail>\)?)", re.DOTALL)


def distinct_name(name: str, taken: Collection[str]) -> str:
    """A name that is not taken: the second ``"My mask"`` is ``"My mask 2"``.

    A number goes inside closing brackets, so that ``"Lesions (AI draft)"`` is followed by
    ``"Lesions (AI draft 2)"``. Large and small letters are the same.
    """
    known = {one.casefold() for one in taken}
    found = _NUMBERED.fullmatch(name)
    if name.casefold() not in known or found is None:  # the pattern fits every name
        return name
    number = max(2, int(found["number"] or 1))
    while (fresh := f"{found['stem']} {number}{found['tail']}").casefold() in known:
        number += 1
    return fresh
