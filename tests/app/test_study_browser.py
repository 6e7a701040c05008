"""The study list: fills while scanning, says what is odd, and hands series on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from panel_cases import GRID, SHAPE, volume
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent

from app.windows.empty_state import EmptyState
from app.windows.series_delegate import CURRENT_ROLE, PICTURE_ROLE, SERIES_ROLE
from app.windows.series_text import (
    kind_text,
    object_text,
    size_text,
    spacing_text,
    tooltip_text,
    warning_text,
)
from app.windows.study_browser import StudyBrowser
from app.workspace import Workspace
from imaging.geometry import Geometry
from imaging.series import Encoding, FoundObject, Frame, SequenceGuess, Series
from imaging.volume import Patient
from viewer.widgets.view_grid import SERIES_MIME

SOURCE = replace(volume().source, study_uid="1.2", series_number="4")


def series(key: str = "a", **changes) -> Series:
    values = dict(
        key=key, kind="dicom", source=SOURCE, description=f"Series {key}", shape=SHAPE,
        geometry=GRID, frames=(), sequence="FLAIR", plane="axial",
    )  # fmt: skip
    return Series(**{**values, **changes})


@pytest.fixture
def browser(qtbot) -> StudyBrowser:
    browser = StudyBrowser(Workspace())
    qtbot.addWidget(browser)
    browser.resize(240, 500)
    browser.show()
    return browser


def rows(browser: StudyBrowser) -> list:
    return [browser._series[key] for key in browser.keys]


def spot(browser: StudyBrowser, number: int) -> QPoint:
    return browser.tree.visualItemRect(rows(browser)[number]).center()


def test_series_lie_under_study_and_patient(browser) -> None:
    browser.add_series(series("a"))
    browser.add_series(series("b"))
    other = replace(SOURCE, patient=Patient("ROE^RICHARD", "4712"))
    browser.add_series(series("c", source=other))
    assert browser.tree.topLevelItemCount() == 2
    patient = browser.tree.topLevelItem(0)
    assert patient.text(0) == "DOE, JANE · 4711"
    assert patient.child(0).text(0) == "2024-03-11 · Brain"
    assert patient.child(0).childCount() == 2


def test_a_series_that_grows_stays_one_row(browser) -> None:
    browser.add_series(series(shape=(3, 40, 40)))
    browser.add_series(series(shape=(20, 40, 40)))
    assert browser.keys == ["a"]
    assert "40×40×20" in rows(browser)[0].toolTip(0)


def test_what_a_row_says() -> None:
    assert kind_text(series()) == "FLAIR · axial"
    assert kind_text(series(guess=SequenceGuess("FLAIR", 0.93, "called “flair”"))) == (
        "FLAIR · axial"
    )
    assert kind_text(series(guess=SequenceGuess("FLAIR", 0.6))) == "FLAIR? · axial"
    assert kind_text(series(guess=SequenceGuess("FLAIR", 1.0))) == "FLAIR ✓ · axial"
    unsure = tooltip_text(series(guess=SequenceGuess("FLAIR", 0.6, "called “flair”; but …")))
    assert "FLAIR, 60 % sure: called “flair”; but …" in unsure
    unknown = series(sequence="", guess=SequenceGuess("", 0.9, "its name says perfusion"))
    assert "not known (its name says perfusion)" in tooltip_text(unknown)
    assert size_text(series(shape=(1, 512, 256))) == "256×512×1"
    assert spacing_text(series()) == "2×2×3.2 mm"
    assert spacing_text(series(geometry=None)) == "no position"
    shifted = GRID.affine.copy()
    shifted[:3, 0] += 2.0 * GRID.directions[:, 1]  # each slice 2 mm further along its columns
    assert spacing_text(series(geometry=Geometry(SHAPE, shifted))) == "2×2×3.2 mm"
    assert warning_text(series()) == ""
    assert warning_text(series(problems=("A slice is missing",))) == "A slice is missing."
    assert "uneven" in warning_text(series(regular=False))
    assert "no image" in warning_text(series(viewable=False))


def test_a_click_activates_once(qtbot, browser) -> None:
    browser.add_series(series())
    keys = []
    browser.series_activated.connect(keys.append)
    qtbot.mouseClick(browser.tree.viewport(), Qt.MouseButton.LeftButton, pos=spot(browser, 0))
    assert keys == ["a"]


def test_enter_activates_the_current_series(qtbot, browser) -> None:
    browser.add_series(series())
    browser.tree.setCurrentItem(rows(browser)[0])
    with qtbot.waitSignal(browser.series_activated) as asked:
        qtbot.keyClick(browser.tree, Qt.Key.Key_Return)
    assert asked.args == ["a"]


def test_a_patient_row_activates_nothing(qtbot, browser) -> None:
    browser.add_series(series())
    top = browser.tree.visualItemRect(browser.tree.topLevelItem(0)).center()
    with qtbot.assertNotEmitted(browser.series_activated):
        qtbot.mouseClick(browser.tree.viewport(), Qt.MouseButton.LeftButton, pos=top)


def test_what_is_dragged_is_the_key(browser) -> None:
    browser.add_series(series("1.2.840#7"))
    data = browser.tree.mimeData(rows(browser))
    assert bytes(data.data(SERIES_MIME).data()).decode() == "1.2.840#7"
    assert browser.tree.mimeTypes() == [SERIES_MIME]


def test_a_thumbnail_may_come_before_or_after_its_series(browser) -> None:
    picture = np.zeros((96, 80), np.uint8)
    picture[10, 20] = 200
    browser.set_thumbnail("a", picture)
    browser.add_series(series("a"))
    browser.add_series(series("b"))
    browser.set_thumbnail("b", picture[::-1])
    first, second = (row.data(0, PICTURE_ROLE) for row in rows(browser))
    assert first.pixelColor(20, 10).red() == 200
    assert second.pixelColor(20, 85).red() == 200


def test_a_thumbnail_is_drawn(qtbot, browser) -> None:
    browser.add_series(series())
    before = browser.tree.grab().toImage()
    browser.set_thumbnail("a", np.full((96, 96), 255, np.uint8))
    after = browser.tree.grab().toImage()
    place = spot(browser, 0)
    x = browser.tree.visualItemRect(rows(browser)[0]).left() + 30
    assert before.pixelColor(x, place.y()).lightness() < 30
    assert after.pixelColor(x, place.y()).lightness() > 220


def test_the_current_series_is_marked_alone(browser) -> None:
    for key in "abc":
        browser.add_series(series(key))
    browser.set_current("b")
    browser.set_current("c")
    assert [bool(row.data(0, CURRENT_ROLE)) for row in rows(browser)] == [False, False, True]


def test_the_current_series_is_brought_into_sight(browser) -> None:
    for n in range(30):
        browser.add_series(series(f"s{n}"))
    browser.set_current("s29")
    assert browser.tree.viewport().rect().contains(spot(browser, 29))
    browser.set_current("s0")
    assert browser.tree.viewport().rect().contains(spot(browser, 0))


def test_what_was_not_read_is_counted_by_reason(qtbot, browser) -> None:
    assert not browser.not_read.isVisible()
    for number in range(3):
        browser.add_problem(f"/x/{number}.pdf", "This is not an image")
    assert browser.not_read.toggle.text() == "Not read: 3 files"
    browser.add_problem("/x/cut.dcm", "The file is cut short", damaged=True)
    browser.add_problem("/x/empty.dcm", "The file is empty", damaged=True)
    assert browser.not_read.toggle.text() == "Not read: 2 damaged · 3 other files"
    qtbot.mouseClick(browser.not_read.toggle, Qt.MouseButton.LeftButton)
    assert browser.not_read.list.isVisible()
    groups = [browser.not_read.list.topLevelItem(n) for n in range(3)]
    assert [group.text(0) for group in groups] == [
        "1 × The file is cut short", "1 × The file is empty", "3 × This is not an image",
    ]  # fmt: skip
    assert "/x/cut.dcm" in groups[0].child(0).toolTip(0)


def test_progress_comes_and_goes(browser) -> None:
    browser.set_progress("Reading headers 3 / 9")
    assert browser.bar.isVisible()
    browser.set_progress("")
    assert not browser.bar.isVisible()


def test_an_empty_list_says_what_to_do(browser) -> None:
    assert "Drop a folder" in browser.empty.text()
    browser.add_series(series())
    assert not browser.empty.isVisible()
    browser.clear()
    assert browser.empty.isVisible()
    assert browser.keys == []


def test_a_long_reason_is_wrapped_and_stands_in_the_tooltip(qtbot, browser) -> None:
    reason = "The header says 16 bits per pixel, but the pixel data are only half as long as that"
    browser.add_problem("/data/a.dcm", reason)
    qtbot.mouseClick(browser.not_read.toggle, Qt.MouseButton.LeftButton)
    assert browser.not_read.list.isVisible()
    group = browser.not_read.list.topLevelItem(0)
    assert group.toolTip(0) == reason
    assert browser.not_read.list.columnWidth(0) <= browser.not_read.list.viewport().width()
    line = browser.not_read.list.fontMetrics().height()
    assert browser.not_read.list.visualItemRect(group).height() >= 2 * line


def test_two_hundred_series_fill_quickly(browser) -> None:
    import time

    start = time.process_time()
    for number in range(200):
        browser.add_series(series(str(number)))
    browser.repaint()
    assert time.process_time() - start < 1.0


# --- masks, maps and reports --------------------------------------------------------------------
def found(key: str = "m", **changes) -> FoundObject:
    values = dict(key=key, kind="segmentation", path="/x/m.dcm", title="Two balls",
                  details="2 segments · finder", source=SOURCE)  # fmt: skip
    return FoundObject(**{**values, **changes})


def object_row(browser: StudyBrowser, key: str):
    return browser._objects[key]


def test_objects_lie_under_their_study_after_its_series(browser) -> None:
    browser.add_object(found())
    browser.add_series(series("a"))
    browser.add_object(found("r", kind="report"))
    browser.add_series(series("b"))
    study = browser.tree.topLevelItem(0).child(0)
    kinds = [study.child(n).data(0, SERIES_ROLE) is not None for n in range(study.childCount())]
    assert kinds == [True, True, False, False]
    assert browser.object_keys == ["m", "r"]


def test_an_object_says_what_it_is_and_who_made_it(browser) -> None:
    browser.add_object(found())
    words = object_row(browser, "m").toolTip(0)
    for part in ("Two balls", "DICOM Segmentation", "2 segments · finder", "Click to open"):
        assert part in words
    assert object_text(found()) == "Mask · 2 segments · finder"
    assert object_text(found(kind="report", details="")) == "Report"


def test_a_click_and_enter_open_an_object(qtbot, browser) -> None:
    browser.add_series(series())
    browser.add_object(found())
    asked, shown = [], []
    browser.object_activated.connect(asked.append)
    browser.series_activated.connect(shown.append)
    place = browser.tree.visualItemRect(object_row(browser, "m")).center()
    qtbot.mouseClick(browser.tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.keyClick(browser.tree, Qt.Key.Key_Return)
    assert asked == ["m", "m"]
    assert shown == []


def test_an_open_object_is_marked_and_says_so(browser) -> None:
    browser.add_object(found())
    before = browser.tree.grab().toImage()
    browser.set_object_open("m", True)
    assert "open" in object_row(browser, "m").toolTip(0)
    assert browser.tree.grab().toImage() != before


def test_an_object_cannot_be_dragged_into_a_view(browser) -> None:
    browser.add_object(found())
    assert not browser.tree.mimeData([object_row(browser, "m")]).formats()


def test_images_whose_numbers_may_be_labels_offer_to_be_a_mask(browser) -> None:
    code = Encoding("u1", 40, 40, 8, 8, 7, False)
    frame = Frame("/x/a.nii", 0, 0, 0, code, (40, 40))
    browser.add_series(series("n", kind="nifti", frames=(frame,)))
    real = replace(frame, encoding=replace(code, syntax="f4"))
    browser.add_series(series("f", kind="nifti", frames=(real,)))
    dicom = replace(frame, encoding=replace(code, syntax="1.2.840.10008.1.2.1"))
    browser.add_series(series("d", frames=(dicom,)))
    colour = replace(frame, encoding=replace(dicom.encoding, samples=3))
    browser.add_series(series("c", frames=(colour,)))
    browser.add_series(series("r", frames=(dicom, dicom), repeats=("a", "b")))
    browser.add_series(series("u", frames=(dicom,), geometry=None))
    offered = {key: [a.text() for a in browser.menu_of(browser._series[key]).actions()]
               for key in "nfdcru"}  # fmt: skip
    assert [key for key, words in offered.items() if "Open as mask" in words] == list("nfd")
    assert all(words[0] == "Show" for words in offered.values())
    wanted = []
    browser.mask_wanted.connect(wanted.append)
    browser.menu_of(browser._series["n"]).actions()[1].trigger()
    assert wanted == ["n"]


def test_closing_takes_objects_away(browser) -> None:
    browser.add_object(found())
    browser.clear()
    assert browser.object_keys == []
    assert browser.empty.isVisible()


# --- the empty window ---------------------------------------------------------------------------
@pytest.fixture
def empty(qtbot) -> EmptyState:
    empty = EmptyState(("/data/study",))
    qtbot.addWidget(empty)
    empty.resize(900, 600)
    empty.show()
    return empty


@pytest.mark.parametrize(
    ("button", "signal"),
    [("folder", "folder_wanted"), ("file", "file_wanted"), ("demo", "demo_wanted")],
)
def test_each_button_asks_for_its_thing(qtbot, empty, button, signal) -> None:
    with qtbot.waitSignal(getattr(empty, signal)):
        qtbot.mouseClick(getattr(empty, button), Qt.MouseButton.LeftButton)


def test_a_recent_study_is_chosen_once(qtbot, empty) -> None:
    paths = []
    empty.recent_chosen.connect(paths.append)
    rect = empty.recent.visualItemRect(empty.recent.item(0))
    qtbot.mouseClick(empty.recent.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert paths == ["/data/study"]


def test_the_demo_study_is_called_by_its_name(empty) -> None:
    from platformdirs import user_cache_path

    from imaging.demo import DEMO_VERSION

    folder = user_cache_path("Isocenter", appauthor=False) / f"demo-{DEMO_VERSION}"
    empty.set_recent((str(folder), "/data/demo-1"))
    assert empty.recent.item(0).text() == "Demo study"
    assert empty.recent.item(0).toolTip() == str(folder)
    assert empty.recent.item(1).text().startswith("demo-1")


def test_files_can_be_dropped(qtbot, empty) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile("/data/a"), QUrl("https://example.org/b")])
    event = QDropEvent(
        QPointF(10, 10), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    with qtbot.waitSignal(empty.paths_dropped) as dropped:
        empty.dropEvent(event)
    assert dropped.args == [["/data/a"]]


def test_without_recent_studies_there_is_no_list(empty) -> None:
    empty.set_recent(())
    assert not empty.recent.isVisible()
    assert not empty.recent_title.isVisible()
