"""Drawings that files bring along, as a person sees them over the slices and switches them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QTabWidget

from imaging.dicom.writing.derived import write_derived_series
from imaging.geometry import Geometry
from imaging.volume import Volume

SHAPE = (12, 40, 44)
GRID = Geometry(SHAPE, [[0, 0, 2, -44], [0, 2, 0, -40], [4, 0, 0, -20], [0, 0, 0, 1]], "1.2.3")
#: Slice to the row and column that are marked on it.
MARKED = {6: (9, 13), 3: (30, 20)}


def add_plane(data, spot: tuple[int, int], group: int = 0x6000, name: str = "Ruler") -> None:
    mask = np.zeros(SHAPE[1:], bool)
    mask[spot[0] - 1 : spot[0] + 2, spot[1] - 1 : spot[1] + 2] = True
    for element, vr, value in (
        (0x10, "US", SHAPE[1]), (0x11, "US", SHAPE[2]), (0x40, "CS", "G"), (0x50, "SS", [1, 1]),
        (0x100, "US", 1), (0x102, "US", 0), (0x1500, "LO", name),
        (0x3000, "OW", np.packbits(mask.ravel(), bitorder="little").tobytes()),
    ):  # fmt: skip
        data.add_new(group << 16 | element, vr, value)


@pytest.fixture
def drawn(tmp_path) -> Path:
    """A dark series with planes over two of its slices, a second one over the middle slice."""
    volume = Volume("v", "drawn on", np.full(SHAPE, 100, np.int16), GRID)
    for k, file in enumerate(write_derived_series(tmp_path / "drawn", volume)):
        data = dcmread(file)
        if k in MARKED:
            add_plane(data, MARKED[k])
        if k == 6:
            add_plane(data, (30, 35), 0x6002, "Vendor & Co")
        data.save_as(file)
    return tmp_path / "drawn"


def is_yellow(hand, world, picture=None) -> bool:
    """What a person sees at a place of the patient, in the large view."""
    x, y = hand.view().plan.screen(world)
    picture = picture or hand.view().grab().toImage()
    colour = picture.pixelColor(int(x), int(y))
    return colour.red() > 200 and colour.green() > 200 and colour.red() - colour.blue() > 40


def world(k: int, j: int, i: int) -> np.ndarray:
    return GRID.world((k, j, i))


def volume_of(hand) -> Volume:
    return hand.program.workspace.case.volumes[0]


def wait_for_planes(hand, count: int) -> None:
    def there() -> bool:
        drawings = volume_of(hand).drawings
        return drawings is not None and len(drawings.packed) == count

    hand.wait(there)


def click(box) -> None:
    QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))


def test_planes_lie_on_their_slices_and_go_with_space_and_a_click(hand, drawn) -> None:
    hand.open(drawn)
    wait_for_planes(hand, 3)
    hand.program.views.toggle("crosshair_shown")
    first, second = world(6, *MARKED[6]), world(6, 30, 35)
    assert is_yellow(hand, first)
    assert is_yellow(hand, second)
    assert not is_yellow(hand, world(6, 20, 20))

    hand.key(Qt.Key.Key_Space)
    assert not is_yellow(hand, first)
    hand.key(Qt.Key.Key_Space)

    tabs = next(
        t for t in hand.program.window.findChildren(QTabWidget) if t.tabText(2) == "Overlays"
    )
    tabs.setCurrentIndex(2)
    boxes = hand.program.window.overlays.drawings.boxes
    assert [box.text() for box in boxes.values()] == ["Ruler", "Vendor && Co"]
    assert "as acquired only" in boxes["Ruler"].toolTip()
    click(boxes["Ruler"])
    assert not is_yellow(hand, first)
    assert is_yellow(hand, second)
    click(boxes["Ruler"])

    hand.wheel(-1)
    hand.wheel(-2)
    shown = hand.view().plan.cut.index
    assert shown in (3, 9)
    if shown == 9:
        hand.wheel(6)
    assert hand.view().plan.cut.index == 3
    assert not is_yellow(hand, world(3, *MARKED[6]))
    assert is_yellow(hand, world(3, *MARKED[3]))


def test_other_planes_show_none_of_it(hand, drawn) -> None:
    hand.open(drawn)
    wait_for_planes(hand, 3)
    hand.program.views.toggle("crosshair_shown")
    hand.program.views.jump(world(6, *MARKED[6]))
    for plane in ("sagittal", "coronal", "oblique"):
        hand.program.views.set_plane(plane)
        assert hand.view().plan.drawing is None
        assert not is_yellow(hand, world(6, *MARKED[6]))
    hand.program.views.set_plane("as acquired")
    assert is_yellow(hand, world(6, *MARKED[6]))


def test_a_series_without_planes_has_no_rows_and_starts_no_process(
    hand, tmp_path, monkeypatch
) -> None:
    from imaging import sandbox

    monkeypatch.setattr(sandbox, "run_limited", lambda *_, **__: pytest.fail("a worker was asked"))
    volume = Volume("v", "plain", np.full(SHAPE, 100, np.int16), GRID)
    write_derived_series(tmp_path / "plain", volume)
    hand.open(tmp_path / "plain")
    assert not hand.program.window.overlays.drawings.boxes
    assert volume_of(hand).drawings is None


def test_a_damaged_plane_is_said_and_the_image_stays(hand, drawn) -> None:
    file = sorted(drawn.iterdir())[3]
    data = dcmread(file)
    data[0x60003000].value = b"\0\0"
    data.save_as(file)
    told: list[str] = []
    hand.program.drawings.failed.connect(told.append)
    hand.open(drawn)
    hand.wait(lambda: told, 20)
    assert "overlay plane is cut off" in told[0]
    wait_for_planes(hand, 2)


def test_each_echo_shows_its_own_plane(hand, tmp_path) -> None:
    folder, series = tmp_path / "echoes", ""
    folder.mkdir()
    volume = Volume("v", "block", np.full(SHAPE, 100, np.int16), GRID)
    for echo in range(2):
        for k, file in enumerate(write_derived_series(tmp_path / f"e{echo}", volume)):
            data = dcmread(file)
            series = series or str(data.SeriesInstanceUID)
            data.SeriesInstanceUID, data.EchoTime = series, 10.0 + 80.0 * echo
            data.StudyInstanceUID = "1.2.826.77"
            if echo == 1 and k == 6:
                add_plane(data, MARKED[6])
            data.save_as(folder / f"{echo}-{Path(file).name}")
    hand.open(folder)
    wait_for_planes(hand, 1)
    hand.program.views.toggle("crosshair_shown")
    assert not is_yellow(hand, world(6, *MARKED[6]))
    hand.key(Qt.Key.Key_Period)
    assert is_yellow(hand, world(6, *MARKED[6]))


def test_a_real_file_of_a_scanner(hand, shared_data) -> None:
    from imaging.dicom.pixels.overlays import read_overlays

    path = shared_data / "dicom_pydicom_tests/pydicom-data/MR-SIEMENS-DICOM-WithOverlays.dcm"
    hand.open(path)
    wait_for_planes(hand, 1)
    hand.program.views.toggle("crosshair_shown")
    volume = volume_of(hand)
    (series,) = hand.program.cases.series.values()
    (overlay,) = read_overlays(series.frames[0])
    picture = hand.view().grab().toImage()
    for marked in (True, False):  # Qt may put the edge of an enlarged pixel beside its true place
        places = np.argwhere(overlay.mask == marked)
        worlds = [volume.geometry.world((0, j, i)) for j, i in places[:: len(places) // 99]]
        seen = [is_yellow(hand, world, picture) for world in worlds]
        assert np.mean(np.equal(seen, marked)) > 0.9


def test_a_case_file_brings_the_planes_back_as_they_were_shown(hand, drawn, tmp_path) -> None:
    hand.open(drawn)
    wait_for_planes(hand, 3)
    click(hand.program.window.overlays.drawings.boxes["Ruler"])
    hand.program.cases.save(tmp_path / "work.isocase")
    hand.wait(lambda: any("work.isocase" in words for words in hand.said))
    hand.program.cases.close()
    hand.open(tmp_path / "work.isocase")
    wait_for_planes(hand, 3)
    hand.program.views.toggle("crosshair_shown")
    assert not hand.program.window.overlays.drawings.boxes["Ruler"].isChecked()
    assert not is_yellow(hand, world(6, *MARKED[6]))
    assert is_yellow(hand, world(6, 30, 35))
