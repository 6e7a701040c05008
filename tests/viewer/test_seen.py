"""What is seen of restored work: as it was noted, else what a reader would begin with."""

from __future__ import annotations

import json

import numpy as np
import pytest

from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import Code, Segment, Segmentation
from viewer.state.display import DisplayState
from viewer.state.display_json import overlays_from_json, overlays_to_json
from viewer.state.seen import usual_overlays

GRID = Geometry((2, 3, 4), np.eye(4), "1.2")
TISSUE = Code("85756007", "SCT", "Tissue")


def mask(id: str, volume: str = "v", draft: bool = False, tissue: bool = False) -> Segmentation:
    segment = Segment(1, "x", (1, 2, 3), **({"category": TISSUE} if tissue else {}))
    return Segmentation(id, id, GRID, volume, (segment,), draft=draft)


def heat(id: str) -> Heatmap:
    return Heatmap(id, id, np.zeros(GRID.shape, np.float32), "probability", GRID, "v")


def seen_of(*items) -> set[str]:
    display = usual_overlays(DisplayState(), items)
    return {item.id for item in items if display.overlay(item.id).visible}


def test_work_by_hand_and_the_newest_draft_are_seen_and_maps_are_not() -> None:
    items = (heat("p1"), mask("old", draft=True), mask("hand"), heat("p2"), mask("new", draft=True))
    assert seen_of(*items) == {"hand", "new"}


def test_each_image_keeps_its_own_newest_draft() -> None:
    items = (mask("a", "v", draft=True), mask("b", "w", draft=True), mask("c", "w", draft=True))
    assert seen_of(*items) == {"a", "c"}


def test_tissues_are_seen_only_where_nothing_else_is() -> None:
    assert seen_of(mask("tissue", tissue=True)) == {"tissue"}
    assert seen_of(mask("tissue", tissue=True), mask("draft", draft=True)) == {"draft"}
    assert seen_of(mask("tissue", tissue=True), mask("other", "w")) == {"tissue", "other"}


def test_what_was_noted_comes_back_through_json_and_only_for_what_is_there() -> None:
    noted = (
        DisplayState(overlays_shown=False)
        .with_overlay("a", visible=False, opacity=0.7, hidden_segments=frozenset({2}))
        .with_overlay("gone", visible=False)
    )
    stored = json.loads(json.dumps(overlays_to_json(noted)))
    back = overlays_from_json(stored, DisplayState(), {"a"})
    assert back.overlay("a") == noted.overlay("a")
    assert not back.overlays_shown
    assert "gone" not in back.overlays


@pytest.mark.parametrize(
    "stored",
    [{}, {"overlays": 3, "overlays_shown": True}, {"overlays": {"a": {"opacity": 7}}},
     {"overlays": {"a": {"opacity": "high"}}, "overlays_shown": True}],
)  # fmt: skip
def test_nonsense_changes_nothing(stored) -> None:
    fallback = DisplayState().with_overlay("a", visible=False)
    assert overlays_from_json(stored, fallback, {"a"}) == fallback
