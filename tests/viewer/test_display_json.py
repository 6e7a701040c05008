"""The display state survives a case file, and nonsense in a file does no harm."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from imaging.volume import Window
from viewer.state.colour_tables import COLOUR_TABLES
from viewer.state.display import Brush, Camera, Cell, DisplayState, Layout, Overlay, Plane
from viewer.state.display_json import display_from_json, display_to_json

finite = st.floats(-1e6, 1e6)
points = st.tuples(finite, finite, finite)
names = st.text(max_size=8)
cameras = st.builds(
    Camera,
    zoom=st.floats(0.01, 100),
    pan_mm=st.tuples(finite, finite),
    flip_horizontal=st.booleans(),
    flip_vertical=st.booleans(),
    quarter_turns=st.integers(0, 3),
)
cells = st.builds(
    Cell,
    id=names,
    plane=st.sampled_from(list(Plane)),
    volume_id=names,
    camera=cameras,
    normal=st.none() | points,
    right=st.none() | points,
)
overlays = st.builds(
    Overlay,
    visible=st.booleans(),
    opacity=st.floats(0, 1),
    outline=st.booleans(),
    colour_table=st.sampled_from(list(COLOUR_TABLES)),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
    hidden_segments=st.frozensets(st.integers(1, 255), max_size=4),
)
displays = st.builds(
    DisplayState,
    cells=st.lists(cells, min_size=1, max_size=4).map(tuple),
    layout=st.sampled_from(list(Layout)),
    active=names,
    cursor=st.none() | points,
    frame=names,
    windows=st.dictionaries(names, st.builds(Window, finite, st.floats(0.1, 1e6)), max_size=3),
    inverted=st.frozensets(names, max_size=3),
    overlays=st.dictionaries(names, overlays, max_size=3),
    brush=st.builds(Brush, radius_mm=st.floats(0.25, 60), shape=st.sampled_from(["disc", "ball"])),
)


@given(display=displays)
def test_what_is_stored_comes_back(display) -> None:
    stored = json.loads(json.dumps(display_to_json(display)))
    assert display_from_json(stored, DisplayState(), {}) == display


@given(display=displays)
def test_volumes_that_have_other_ids_now_are_followed(display) -> None:
    known = {cell.volume_id for cell in display.cells} | set(display.windows) | display.inverted
    ids = {id: f"new {id}" for id in known}
    stored = json.loads(json.dumps(display_to_json(display)))
    back = display_from_json(stored, DisplayState(), ids)
    assert [c.volume_id for c in back.cells] == [ids[c.volume_id] for c in display.cells]
    assert set(back.windows) == {ids[id] for id in display.windows}
    assert back.inverted == {ids[id] for id in display.inverted}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | finite,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(display=displays, data=st.data())
def test_damage_falls_back_and_never_raises(display, data) -> None:
    stored = display_to_json(display)
    stored[data.draw(st.sampled_from(sorted(stored)))] = data.draw(json_values)
    fallback = DisplayState(text_shown=False)
    back = display_from_json(stored, fallback, {})
    assert back == fallback or not back.text_shown


@given(stored=st.dictionaries(st.text(max_size=4), json_values, max_size=3))
def test_what_is_no_display_gives_the_fallback(stored) -> None:
    fallback = DisplayState(text_shown=False)
    assert display_from_json(stored, fallback, {}) == fallback


def test_fields_of_a_newer_program_are_left_out() -> None:
    display = DisplayState(cells=(Cell("a", Plane.AXIAL, "v"),), overlays={"m": Overlay()})
    stored = display_to_json(display)
    stored["overlays"]["m"] |= {"glitter": 3, "colour_table": "unheard of"}
    stored["cells"][0]["camera"]["roll"] = 1
    stored["more"] = []
    assert display_from_json(stored, DisplayState(), {}) == display
