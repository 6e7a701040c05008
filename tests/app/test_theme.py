"""The theme can be read, the icons exist, and a list of keys can be searched."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QColor, QIcon
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QVBoxLayout, QWidget

from app.commands import command
from app.windows import icons, theme
from app.windows.about_dialog import LIBRARIES, AboutDialog
from app.windows.controls import ElidedLabel, ValueSlider, allow, button, check_box, flat_button
from app.windows.keys_dialog import KeysDialog


@pytest.mark.parametrize("ink", ["text", "dim", "warning", "danger", "good", "accent"])
@pytest.mark.parametrize("ground", ["black", "window", "panel"])
def test_every_ink_can_be_read_on_every_ground(ink, ground) -> None:
    colours = asdict(theme.DARK)
    assert theme.contrast(colours[ink], colours[ground]) >= 4.5


def test_grounds_are_dark_and_text_is_not_pure_white() -> None:
    assert QColor(theme.DARK.black).lightness() < 20
    assert QColor(theme.DARK.text).lightness() < 235


def test_contrast_of_black_and_white() -> None:
    assert theme.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert theme.contrast("#777777", "#777777") == 1


def test_the_stylesheet_is_complete() -> None:
    sheet = theme.stylesheet()
    assert "$" not in sheet
    assert sheet.count("{") == sheet.count("}")
    files = re.findall(r'url\("([^"]+)"\)', sheet)
    assert files
    for name in files:
        assert Path(name).is_file()
        assert Path(name.replace(".png", "@2x.png")).is_file()


def test_the_theme_can_be_applied(qtbot) -> None:
    application = QApplication.instance()
    before = application.styleSheet(), application.palette(), application.font()
    try:
        theme.apply(application)
        button = QPushButton("Run")
        qtbot.addWidget(button)
        plain = button.sizeHint()
        theme.set_role(button, "primary")
        assert application.font().pixelSize() >= 13
        assert button.sizeHint().height() >= plain.height() > 20
    finally:
        application.setStyleSheet(before[0])
        application.setPalette(before[1])
        application.setFont(before[2])


def test_our_code_points_are_those_of_the_icon_font() -> None:
    qtawesome = pytest.importorskip("qtawesome")
    folder = Path(qtawesome.__file__).parent / "fonts"
    charmap = sorted(folder.glob("materialdesignicons6*charmap*.json"))[-1]
    known = json.loads(charmap.read_text(encoding="utf-8"))
    for name, code in icons.GLYPHS.values():
        assert int(known[name], 16) == code, name


def _ink(icon: QIcon, mode: QIcon.Mode = QIcon.Mode.Normal) -> set[str]:
    image = icon.pixmap(QSize(24, 24), mode).toImage()
    pixels = [image.pixelColor(x, y) for x in range(24) for y in range(24)]
    return {p.name() for p in pixels if p.alpha() > 250}


@pytest.mark.parametrize("name", sorted(icons.GLYPHS))
def test_every_icon_paints_in_its_colour(qapp, name) -> None:
    assert theme.DARK.accent in _ink(icons.icon(name, theme.DARK.accent))
    assert theme.DARK.disabled in _ink(icons.icon(name), QIcon.Mode.Disabled)


def test_without_the_font_an_icon_is_empty_and_nothing_breaks(qapp, monkeypatch) -> None:
    monkeypatch.setattr(icons, "font_family", lambda: "")
    assert _ink(icons.icon("brush")) == set()


def test_a_disabled_control_says_why(qtbot) -> None:
    button = QPushButton()
    qtbot.addWidget(button)
    allow(button, "Does it", "There is no mask yet")
    assert (button.isEnabled(), button.toolTip()) == (False, "There is no mask yet")
    allow(button, "Does it")
    assert (button.isEnabled(), button.toolTip()) == (True, "Does it")


def test_a_slider_reports_at_most_once_a_frame_and_then_settles(qtbot) -> None:
    slider = ValueSlider(0.01, 0.99, 0.01)
    qtbot.addWidget(slider)
    moving, final = [], []
    slider.changing.connect(moving.append)
    slider.settled.connect(final.append)
    slider.slider.setSliderDown(True)
    for position in range(10, 60):
        slider.slider.setSliderPosition(position)
    qtbot.waitUntil(lambda: moving == [0.59])
    assert final == []
    slider.slider.setSliderDown(False)
    assert final == [0.59]


def test_a_slider_under_the_hand_is_left_alone(qtbot) -> None:
    slider = ValueSlider(0, 1, 0.01)
    qtbot.addWidget(slider)
    slider.slider.setSliderDown(True)
    slider.slider.setSliderPosition(70)
    slider.set_value(0.1)
    assert slider.value == pytest.approx(0.7)


def test_a_click_leaves_the_keyboard_where_it_is(qtbot) -> None:
    page = QWidget()
    qtbot.addWidget(page)
    layout = QVBoxLayout(page)
    images = QLabel("images")
    images.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    parts = [button("Run", "Runs"), flat_button("bin", "Bin"), check_box("Outline")]
    slider = ValueSlider(0, 1, 0.1)
    for part in (images, *parts, slider):
        layout.addWidget(part)
    with qtbot.waitExposed(page):
        page.show()
    page.activateWindow()
    images.setFocus()
    for part in (*parts, slider.slider):
        qtbot.mouseClick(part, Qt.MouseButton.LeftButton)
        assert page.focusWidget() is images
    qtbot.keyClick(images, Qt.Key.Key_Tab)
    assert page.focusWidget() is parts[0]


def test_typed_numbers_settle_too(qtbot) -> None:
    slider = ValueSlider(0, 1, 0.01)
    qtbot.addWidget(slider)
    with qtbot.waitSignal(slider.settled) as caught:
        slider.spin.selectAll()
        qtbot.keyClicks(slider.spin, "0.25")
        qtbot.keyClick(slider.spin, Qt.Key.Key_Return)
    assert caught.args == [0.25]


def test_a_long_label_may_shrink(qtbot) -> None:
    label, plain = ElidedLabel("a very long sentence indeed " * 4), QLabel("x" * 80)
    qtbot.addWidget(label)
    qtbot.addWidget(plain)
    assert label.minimumSizeHint().width() <= 48 < plain.minimumSizeHint().width()


def test_keys_can_be_searched_by_any_word(qtbot) -> None:
    dialog = KeysDialog([command(id) for id in ("edit.undo", "lesion.next", "edit.tool_3")])
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.keyClicks(dialog.search, "lesion")
    assert dialog.shown_titles() == ["Next lesion"]
    dialog.search.clear()
    qtbot.keyClicks(dialog.search, "ctrl undo")
    assert dialog.shown_titles() == ["Undo"]
    dialog.search.clear()
    qtbot.keyClicks(dialog.search, "nonsense")
    assert dialog.shown_titles() == []
    assert dialog.nothing.isVisible()


def test_about_says_what_it_is_not_and_names_every_library(qtbot) -> None:
    dialog = AboutDialog()
    qtbot.addWidget(dialog)
    texts = " ".join(label.text() for label in dialog.findChildren(QLabel))
    assert "not for diagnosis" in texts
    assert "not a medical device" in texts
    listed = dialog.libraries.toPlainText().casefold()
    for name in LIBRARIES:
        assert name.casefold() in listed
