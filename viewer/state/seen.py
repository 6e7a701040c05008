"""What an edit changed about what is seen, so that undo can take that back as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from imaging.case import Item
from imaging.segmentation import Segmentation
from imaging.volume import Volume
from viewer.state.display import DisplayState, Overlay

#: What an overlay's setting was and became, by name.
Settings = Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class SeenChange:
    """Settings of overlays before and after.

    Parameters
    ----------
    overlays : mapping
        Id of a mask or map to the settings that differ.
    all_shown : tuple of bool
        Whether overlays were shown at all, before and after.
    """

    overlays: Mapping[str, Settings]
    all_shown: tuple[bool, bool]

    @classmethod
    def between(cls, before: DisplayState, after: DisplayState) -> SeenChange:
        """What of the overlays differs between two states."""
        ids = {*before.overlays, *after.overlays}
        differing = {id: _differing(before.overlay(id), after.overlay(id)) for id in ids}
        return cls(
            {id: settings for id, settings in differing.items() if settings},
            (before.overlays_shown, after.overlays_shown),
        )

    def taken_back(self, display: DisplayState) -> DisplayState:
        """A state with the settings from before; what the user chose since then stays."""
        return self._moved(display, to=0)

    def done_again(self, display: DisplayState) -> DisplayState:
        """A state with the settings from after; what the user chose since then stays."""
        return self._moved(display, to=1)

    def _moved(self, display: DisplayState, to: int) -> DisplayState:
        for id, settings in self.overlays.items():
            now = display.overlay(id)
            due = {k: v[to] for k, v in settings.items() if getattr(now, k) == v[1 - to]}
            display = display.with_overlay(id, **due)
        if display.overlays_shown == self.all_shown[1 - to]:
            display = display.but(overlays_shown=self.all_shown[to])
        return display


def usual_overlays(display: DisplayState, items: Iterable[Item]) -> DisplayState:
    """What is shown of restored work where nobody noted it: what a reader would begin with.

    All that a person drew or opened, and of each image the newest draft of a model. Maps are off,
    and so are tissues beside anything else.
    """
    layers = [item for item in items if not isinstance(item, Volume)]
    newest = {item.volume_id: item.id for item in layers if _is_draft(item)}
    tissues = [item for item in layers if isinstance(item, Segmentation) and item.anatomical]
    others = {
        item.volume_id for item in layers if isinstance(item, Segmentation) and not item.anatomical
    }
    for item in layers:
        shown = isinstance(item, Segmentation) and (
            item.volume_id not in others
            if item in tissues
            else not item.draft or newest[item.volume_id] == item.id
        )
        display = display.with_overlay(item.id, visible=shown)
    return display


def _is_draft(item: Item) -> bool:
    return isinstance(item, Segmentation) and item.draft and not item.anatomical


def _differing(before: Overlay, after: Overlay) -> Settings:
    pairs = {f.name: (getattr(before, f.name), getattr(after, f.name)) for f in fields(Overlay)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
