"""Maps: visible, opacity, colours, range, and the legend that goes with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from panel_cases import add_answer, open_workspace, probability
from PySide6.QtCore import Qt

from app.windows.overlays_panel import Legend, MapCard, OverlaysPanel
from app.workspace import Workspace
from imaging.edits.edit import AddItem
from viewer.state.colour_tables import colours
from viewer.state.display import Overlay


@pytest.fixture
def workspace() -> Workspace:
    return open_workspace()


@pytest.fixture
def panel(qtbot, workspace) -> OverlaysPanel:
    panel = OverlaysPanel(workspace)
    qtbot.addWidget(panel)
    panel.resize(340, 800)
    panel.show()
    return panel


@pytest.fixture
def card(panel, workspace) -> MapCard:
    add_answer(workspace)
    return panel.cards["cam"]


def test_without_maps_it_says_where_they_come_from(panel) -> None:
    assert panel.empty.isVisible()
    assert "model" in panel.empty.text()


def test_every_map_gets_a_card_and_undo_takes_it(panel, workspace) -> None:
    add_answer(workspace)
    assert set(panel.cards) == {"prob", "cam"}
    assert panel.cards["cam"].visible.text() == "Grad-CAM · lesion 1"
    assert "CPU (2 threads)" in panel.cards["prob"].provenance.text()
    workspace.undo()
    assert panel.cards == {}
    assert panel.empty.isVisible()


def test_a_tick_shows_and_hides(qtbot, card, workspace) -> None:
    before = workspace.display.overlay("cam").visible
    spot = card.visible.rect().center()
    spot.setX(8)
    qtbot.mouseClick(card.visible, Qt.MouseButton.LeftButton, pos=spot)
    assert workspace.display.overlay("cam").visible is not before
    assert workspace.display.overlay("prob").visible is before


def test_colours_are_chosen_by_name(qtbot, card, workspace) -> None:
    card.table.setFocus()
    qtbot.keyClicks(card.table, "vir")
    card.table.textActivated.emit(card.table.currentText())
    assert workspace.display.overlay("cam").colour_table == "viridis"


def test_the_range_never_turns_round(qtbot, card, workspace) -> None:
    with qtbot.waitSignal(card.high.settled):
        card.high.spin.setValue(0.4)
    with qtbot.waitSignal(card.low.settled):
        card.low.spin.setValue(0.7)
    overlay = workspace.display.overlay("cam")
    assert overlay.low == pytest.approx(0.7)
    assert overlay.high > overlay.low
    assert card.high.value == pytest.approx(overlay.high)
    with qtbot.waitSignal(card.high.settled):
        card.high.spin.setValue(0.2)
    overlay = workspace.display.overlay("cam")
    assert overlay.low < overlay.high == pytest.approx(0.2)


def test_opacity_follows_the_slider(qtbot, card, workspace) -> None:
    with qtbot.waitSignal(card.opacity.settled):
        card.opacity.slider.setValue(25)
    assert workspace.display.overlay("cam").opacity == pytest.approx(0.25)


def test_a_change_elsewhere_is_shown(card, workspace) -> None:
    workspace.show(workspace.display.with_overlay("cam", opacity=0.8, colour_table="turbo"))
    assert card.opacity.value == pytest.approx(0.8)
    assert card.table.currentText() == "turbo"


def test_a_map_can_be_removed_and_brought_back(qtbot, card, panel, workspace) -> None:
    qtbot.mouseClick(card.remove, Qt.MouseButton.LeftButton)
    assert "cam" not in workspace.case.items
    assert set(panel.cards) == {"prob"}
    workspace.undo()
    assert set(panel.cards) == {"prob", "cam"}


def test_one_switch_for_all(qtbot, panel, workspace) -> None:
    spot = panel.all.rect().center()
    spot.setX(8)
    qtbot.mouseClick(panel.all, Qt.MouseButton.LeftButton, pos=spot)
    assert not workspace.display.overlays_shown
    workspace.show(workspace.display.but(overlays_shown=True))
    assert panel.all.isChecked()


def test_the_legend_paints_the_table_between_low_and_high(qtbot) -> None:
    legend = Legend()
    qtbot.addWidget(legend)
    legend.resize(200, 34)
    legend.show_overlay(Overlay(colour_table="viridis", low=0.25, high=0.75))
    legend.show()
    image = legend.grab().toImage()

    def at(value: float) -> np.ndarray:
        x = min(image.width() - 1, round(value * image.width()))
        return np.array(image.pixelColor(x, 8).getRgb()[:3], int)

    table = colours("viridis").astype(int)
    assert at(0.1).max() == 0
    assert np.abs(at(0.5) - table[128]).max() < 12
    assert np.abs(at(0.9) - table[-1]).max() < 3


def test_cards_fit_a_narrow_panel(panel, card) -> None:
    panel.resize(320, 800)
    assert card.minimumSizeHint().width() <= panel.scroll_area.viewport().width()


def test_maps_of_the_same_kind_are_told_apart_by_their_names(panel, workspace) -> None:
    add_answer(workspace)
    assert panel.cards["prob"].visible.text() == "Probability"
    second = replace(probability(), id="prob2", name="Probability of lesions 2")
    workspace.execute(AddItem(second, "Add"))
    words = [panel.cards[id].visible.text() for id in ("prob", "prob2")]
    assert words == ["Probability of lesions", "Probability of lesions 2"]
    workspace.undo()
    assert panel.cards["prob"].visible.text() == "Probability"
