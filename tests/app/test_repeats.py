"""4D series in the window: the slider, its keys, the list, and stored work that comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from panel_cases import GRID, SHAPE, add_answer, open_workspace, volume
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.controllers.reopen import as_referred
from app.windows.repeat_bar import RepeatBar
from app.windows.series_text import size_text, spacing_text, tooltip_text
from app.workspace import Workspace
from imaging.errors import BadInput
from imaging.geometry import Box
from imaging.series import Series
from imaging.storage.codec import VolumeRef
from imaging.volume import Repeats, Volume


def echoes(count: int = 3, id: str = "flair") -> Volume:
    """A series of several echoes; echo n holds the value 100 n, with a slope of its own."""
    images = np.stack([np.full(SHAPE, 100 * n, np.int16) for n in range(count)])
    plain = volume(id)
    sources = tuple(replace(plain.source, files=(f"/echo{n}",)) for n in range(count))
    labels = tuple(f"TE {10 * (n + 1)} ms" for n in range(count))
    scales = tuple((1.0 + n, 0.0) for n in range(count))
    repeats = Repeats("echo time", labels, images, sources, scales)
    return replace(plain, voxels=images[0], source=sources[0], repeats=repeats)


@pytest.fixture
def workspace() -> Workspace:
    """Echoes in the active view."""
    made = open_workspace()
    made.volume_whole(echoes())
    return made


@pytest.fixture
def bar(qtbot, workspace) -> RepeatBar:
    made = RepeatBar(workspace)
    qtbot.addWidget(made)
    made.chosen.connect(lambda number: workspace.show_repeat("flair", number))
    made.resize(600, 40)
    made.show()
    return made


def test_choosing_an_image_replaces_voxels_source_and_scale_and_is_told(workspace) -> None:
    heard: list = []
    workspace.case_changed.connect(lambda changes, origin: heard.append((origin, changes)))
    workspace.show_repeat("flair", 2)
    shown = workspace.case.volume("flair")
    assert shown.repeat == 2
    assert shown.value_at(GRID.centre) == 200 * 3.0
    assert shown.source.files == ("/echo2",)
    ((origin, (change,)),) = heard
    assert origin == "repeat"
    assert change.item == "flair"
    assert change.parts == {"voxels", "header"}


def test_choosing_an_image_is_no_step_to_undo_and_keeps_masks(workspace) -> None:
    add_answer(workspace)
    labels, revision = workspace.case.segmentation("draft").labels.copy(), workspace.revision
    workspace.show_repeat("flair", 1)
    assert workspace.revision == revision
    assert workspace.history.undo_name == "Run Test model"
    assert np.array_equal(workspace.case.segmentation("draft").labels, labels)


def test_there_is_no_image_past_the_last(workspace) -> None:
    with pytest.raises(BadInput):
        workspace.show_repeat("flair", 3)
    assert workspace.case.volume("flair").repeat == 0


def test_loading_that_goes_on_keeps_the_chosen_image(workspace) -> None:
    workspace.show_repeat("flair", 1)
    workspace.volume_filled("flair", Box((0, 0, 0), (1, *SHAPE[1:])))
    workspace.volume_whole(replace(echoes(), notes=("whole",)))
    shown = workspace.case.volume("flair")
    assert (shown.repeat, shown.notes) == (1, ("whole",))
    assert shown.voxels[0, 0, 0] == 100


def test_the_slider_says_which_image_is_shown(bar, workspace) -> None:
    assert bar.isVisible()
    assert bar.label.text() == "Echo 1 / 3 · TE 10 ms"
    workspace.show_repeat("flair", 2)
    assert bar.label.text() == "Echo 3 / 3 · TE 30 ms"
    assert bar.slider.value() == 2


def test_moving_the_slider_shows_another_image(bar, workspace) -> None:
    bar.slider.setFocus()
    QTest.keyClick(bar.slider, Qt.Key.Key_Right)
    assert workspace.case.volume("flair").repeat == 1


def test_the_buttons_ask_for_the_next_and_the_previous(qtbot, bar) -> None:
    for button, step in ((bar.next, 1), (bar.previous, -1)):
        with qtbot.waitSignal(bar.stepped) as signal:
            QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        assert signal.args == [step]


def test_without_several_images_there_is_no_slider(bar, workspace) -> None:
    cell = workspace.display.cells[0]
    workspace.show(workspace.display.but(cells=(replace(cell, volume_id="t1"),)))
    assert not bar.isVisible()
    workspace.show(workspace.display.but(cells=(cell,)))
    assert bar.isVisible()


# --- lists and stored work --------------------------------------------------------------------


def found(**changes) -> Series:
    plain = Series("k", "dicom", volume().source, "dual echo", SHAPE, GRID, ())
    return replace(plain, **changes)


def test_the_list_says_how_many_images_there_are() -> None:
    assert size_text(found()) == "40×40×20"
    both = found(repeat_axis="echo time", repeats=("TE 1 ms", "TE 2 ms"))
    assert size_text(both) == "40×40×20 ×2 echoes"
    times = found(repeat_axis="time point", repeats=("a", "b", "c"))
    assert size_text(times) == "40×40×20 ×3 times"
    assert "×3 times" in tooltip_text(times)
    assert size_text(found(repeat_axis="image", repeats=("a", "b"))) == "40×40×20 ×2 images"


def test_the_list_claims_no_distance_where_there_is_none() -> None:
    assert spacing_text(found()) == "2×2×3.2 mm"
    assert spacing_text(found(regular=False)) == "2×2×? mm"


def reference(shown: Volume, **changes) -> VolumeRef:
    return replace(VolumeRef.of(shown, sampled=True), **changes)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_stored_work_comes_back_on_the_image_it_was_left_on(number) -> None:
    series = echoes()
    ref = VolumeRef.read(reference(series.at_repeat(number)).body())
    assert ref.repeat == number
    assert set(ref.files) == {"/echo0", "/echo1", "/echo2"}
    back = as_referred(ref, series)
    assert back is not None
    assert back.repeat == number
    assert ref.fits(back)


@pytest.mark.parametrize("sampled", [True, False])
def test_work_from_before_4d_series_finds_its_image_by_its_files(sampled) -> None:
    series = echoes()
    body = reference(series.at_repeat(2), files=("/echo2",)).body()
    body = {key: value for key, value in body.items() if key not in ("repeat", "even_mm")}
    ref = VolumeRef.read(body if sampled else {**body, "sample": ""})
    assert ref.repeat == 0
    back = as_referred(ref, series)
    assert back is not None
    assert back.repeat == 2


def test_work_from_before_in_one_file_finds_its_image_by_its_voxels() -> None:
    series = echoes()
    source = replace(series.source, files=("/all",))
    repeats = replace(series.repeats, sources=(source,) * 3)
    series = replace(series, repeats=repeats, source=source)
    ref = replace(reference(series.at_repeat(1)), repeat=0)
    back = as_referred(ref, series)
    assert back is not None
    assert back.repeat == 1
