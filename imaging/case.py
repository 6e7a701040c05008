"""The open document: volumes, masks and maps by id, and what a change to it looks like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from imaging.errors import EditRefused
from imaging.geometry import Box
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.volume import Volume

Item = Volume | Segmentation | Heatmap
_Kind = TypeVar("_Kind", Volume, Segmentation, Heatmap)

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
    def heatmaps(self) -> list[Heatmap]:
        """All maps."""
        return [item for item in self if isinstance(item, Heatmap)]

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
