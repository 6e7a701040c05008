"""Masks and their labels: what is seen, what is painted, names and colours."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtGui import QColor, QCursor
from PySide6.QtWidgets import QMenu, QTreeWidgetItem, QWidget

from app.windows.controls import (
    ValueSlider,
    allow,
    button,
    check_box,
    column,
    field,
    row,
    rule,
    sentence,
)
from app.windows.icons import icon, swatch
from app.windows.listening import REHEARSAL, listen
from app.windows.segment_tree import SegmentTree
from app.workspace import Workspace
from imaging.edits.edit import AddItem, Edit, RemoveItem
from imaging.errors import EditRefused
from imaging.segmentation import PALETTE, Code, Segment, Segmentation
from imaging.volume import Volume
from viewer.state.text import why_one_plane

if TYPE_CHECKING:
    from imaging.dicom.codes import LabelCode

#: Words for the colours of :data:`imaging.segmentation.PALETTE`, in its order.
PALETTE_NAMES = ("Orange", "Sky blue", "Green", "Yellow", "Pink", "Vermilion", "Blue")


class SegmentsPanel(QWidget):
    """A tree of masks and labels; every change to the case is one step that can be undone.

    Signals
    -------
    refused(sentence)
        A change did not fit; nothing was changed.
    """

    refused = Signal(str)

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self.tree = SegmentTree()
        self.tree.label_chosen.connect(self._paint_with)
        self.tree.eye_clicked.connect(self._toggle_eye)
        self.tree.lock_clicked.connect(self._toggle_lock)
        self.tree.colour_clicked.connect(self.ask_colour)
        self.tree.renamed.connect(self._rename)
        self.tree.menu_wanted.connect(self.show_menu)
        self.tree.currentItemChanged.connect(self._show_controls)
        self.empty = sentence("No masks yet. Run a model, or add a mask and paint it.")
        self.add_mask = button("Mask", "", "add")
        self.add_label = button("Label", "", "add")
        self.remove = button("Delete", "", "bin")
        self.add_mask.clicked.connect(self._add_mask)
        self.add_label.clicked.connect(self._add_label)
        self.remove.clicked.connect(self._remove)
        self.opacity = ValueSlider(0.0, 1.0, 0.05, 2)
        self.opacity.changing.connect(lambda value: self._overlay(opacity=value))
        self.opacity.settled.connect(lambda value: self._overlay(opacity=value))
        self.outline = check_box("Outline only")
        self.outline.clicked.connect(lambda on: self._overlay(outline=on))
        self.provenance = sentence()
        self._arrange()
        listen(self, workspace.case_changed, self._on_case)
        listen(self, workspace.display_changed, self._on_display)
        self.refresh()

    def _arrange(self) -> None:
        layout = column(self)
        layout.addLayout(row(self.add_mask, self.add_label, 1, self.remove))
        layout.addWidget(self.tree, 1)
        layout.addWidget(self.empty)
        layout.addWidget(rule())
        layout.addLayout(field("Opacity", self.opacity, 56))
        layout.addWidget(self.outline)
        layout.addWidget(self.provenance)

    # --- reading -----------------------------------------------------------------------------
    def refresh(self) -> None:
        """Read the case and the display again."""
        masks = self._workspace.case.kept_segmentations
        self.tree.show_masks(masks, self._workspace.display)
        self.tree.setVisible(bool(masks))
        self.empty.setVisible(not masks)
        self._show_controls()

    def current_mask(self) -> Segmentation | None:
        """The mask of the chosen row."""
        mask_id, _ = self.tree.current()
        item = self._workspace.case.items.get(mask_id)
        return item if isinstance(item, Segmentation) else None

    def current_segment(self) -> Segment | None:
        """The label of the chosen row; None where a mask is chosen."""
        mask, (_, number) = self.current_mask(), self.tree.current()
        return mask.segment(number) if mask and number else None

    def _on_case(self, changes, origin) -> None:
        if origin != REHEARSAL and any(change.parts - {"voxels"} for change in changes):
            self.refresh()

    def _on_display(self, old, new) -> None:
        if (old.overlays, old.brush, old.overlays_shown) != (
            new.overlays,
            new.brush,
            new.overlays_shown,
        ):
            self.refresh()

    def _show_controls(self, *_items: QTreeWidgetItem | None) -> None:
        mask, segment = self.current_mask(), self.current_segment()
        no_mask = "" if mask else "Choose a mask in the list first"
        no_study = "" if self._workspace.case.volumes else "Open a study first"
        allow(self.add_mask, "Add an empty mask on the image shown", no_study)
        allow(self.add_label, "Add a label to this mask", no_mask)
        what = f"label “{segment.name}” and its voxels" if segment else "this mask"
        locked = (
            f"“{segment.name}” is locked: unlock it first" if segment and segment.locked else ""
        )
        allow(self.remove, f"Delete {what} (can be undone)", no_mask or locked)
        allow(self.opacity, "Opacity of this mask (A and D while editing)", no_mask)
        allow(self.outline, "Draw only the edge, so that the image stays visible", no_mask)
        self.provenance.setVisible(mask is not None)
        if mask is not None:
            overlay = self._workspace.display.overlay(mask.id)
            self.opacity.set_value(overlay.opacity)
            with QSignalBlocker(self.outline):
                self.outline.setChecked(overlay.outline)
            self.provenance.setText(mask.provenance.sentence)

    # --- display -----------------------------------------------------------------------------
    def _overlay(self, **changes) -> None:
        mask = self.current_mask()
        if mask is not None:
            self._workspace.show(self._workspace.display.with_overlay(mask.id, **changes))

    def _toggle_eye(self, mask_id: str, number: int) -> None:
        display = self._workspace.display
        overlay = display.overlay(mask_id)
        if not number:
            self._workspace.show(display.with_overlay(mask_id, visible=not overlay.visible))
            return
        hidden = overlay.hidden_segments ^ {number}
        self._workspace.show(display.with_overlay(mask_id, hidden_segments=hidden))

    def _paint_with(self, mask_id: str, number: int) -> None:
        display = self._workspace.display
        brush = replace(display.brush, segmentation_id=mask_id, label=number)
        self._workspace.show(display.but(brush=brush))

    # --- edits -------------------------------------------------------------------------------
    def _execute(self, make: Callable[[], Edit]) -> bool:
        try:
            self._workspace.rehearse(None)  # an edit is made from what is, not from a rehearsal
            self._workspace.execute(make())
        except EditRefused as refusal:
            self.refused.emit(str(refusal))
            self.refresh()
            return False
        return True

    def _rename(self, mask_id: str, number: int, text: str) -> None:
        from imaging.edits.operations import rename_segment, rename_segmentation

        mask = self._workspace.case.segmentation(mask_id)
        if number:
            self._execute(lambda: rename_segment(mask, number, text))
        else:
            name = self._workspace.case.free_name(" ".join(text.split()), but=mask_id)
            self._execute(lambda: rename_segmentation(mask, name))

    def _toggle_lock(self, mask_id: str, number: int) -> None:
        from imaging.edits.operations import lock_segment

        mask = self._workspace.case.segmentation(mask_id)
        segment = mask.segment(number)
        if segment is not None:
            self._execute(lambda: lock_segment(mask, number, not segment.locked))

    def show_menu(self, mask_id: str, number: int) -> None:
        """What can be done to a label, under the pointer."""
        segment = self._workspace.case.segmentation(mask_id).segment(number)
        if segment is None:
            return
        menu = QMenu(self)
        menu.addAction("Meaning …").triggered.connect(lambda: self.ask_meaning(mask_id, number))
        menu.addAction("Rename").triggered.connect(self.tree.rename_current)
        menu.addAction("Colour …").triggered.connect(lambda: self.ask_colour(mask_id, number))
        lock = menu.addAction("Unlock" if segment.locked else "Lock")
        lock.triggered.connect(lambda: self._toggle_lock(mask_id, number))
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(QCursor.pos())

    def ask_meaning(self, mask_id: str, number: int) -> None:
        """Let the user say in codes what a label means."""
        from app.windows.meaning_dialog import MeaningDialog
        from imaging.edits.operations import code_segment

        mask = self._workspace.case.segmentation(mask_id)
        segment = mask.segment(number)
        if segment is None:
            return

        def take(meaning: LabelCode, side: Code | None) -> None:
            self._execute(
                lambda: code_segment(
                    mask, number, meaning.category, meaning.type, side, segment.region
                )
            )

        dialog = MeaningDialog(segment, self)
        dialog.meant.connect(take)
        dialog.open()

    def ask_colour(self, mask_id: str, number: int) -> None:
        """Offer the colours that colour-blind people can tell apart, and all others behind More."""
        segment = self._workspace.case.segmentation(mask_id).segment(number)
        if segment is None:
            return
        menu = QMenu(self)
        for colour, words in zip(PALETTE, PALETTE_NAMES, strict=True):
            action = menu.addAction(swatch(colour), words)
            action.setCheckable(True)
            action.setChecked(colour == segment.colour)
            give = partial(self.set_colour, mask_id, number, QColor(*colour))
            action.triggered.connect(lambda _on=False, give=give: give())
        menu.addSeparator()
        more = menu.addAction(icon("palette"), "More …")
        more.triggered.connect(lambda: self._ask_any_colour(mask_id, number))
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(QCursor.pos())

    def _ask_any_colour(self, mask_id: str, number: int) -> None:
        from PySide6.QtWidgets import QColorDialog

        segment = self._workspace.case.segmentation(mask_id).segment(number)
        if segment is None:
            return
        dialog = QColorDialog(QColor(*segment.colour), self)
        dialog.setWindowTitle(f"Colour of {segment.name}")
        dialog.setOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
        dialog.colorSelected.connect(partial(self.set_colour, mask_id, number))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def set_colour(self, mask_id: str, number: int, colour: QColor) -> None:
        """Give a label another colour."""
        from imaging.edits.operations import recolour_segment

        mask = self._workspace.case.segmentation(mask_id)
        rgb = (colour.red(), colour.green(), colour.blue())
        self._execute(lambda: recolour_segment(mask, number, rgb))

    def _add_mask(self) -> None:
        volume = self._shown_volume()
        if volume is None:
            return
        if not volume.even:
            self.refused.emit(
                f"{why_one_plane(volume)} A mask needs an even volume: View › Make an even volume."
            )
            return
        first = Segment(1, "Label 1", self._workspace.case.free_colour())
        name = self._workspace.case.free_name("Mask 1")
        mask = Segmentation(
            f"mask-{secrets.token_hex(6)}", name, volume.geometry, volume.id, (first,)
        )
        if self._execute(lambda: AddItem(mask, "Add mask")):
            self._paint_with(mask.id, first.number)

    def _add_label(self) -> None:
        mask = self.current_mask()
        if mask is None:
            return
        from imaging.edits.operations import add_segment, free_number

        def make() -> Edit:
            return add_segment(mask, f"Label {free_number(mask)}")

        if self._execute(make):
            self._paint_with(mask.id, mask.segments[-1].number)

    def _remove(self) -> None:
        mask, segment = self.current_mask(), self.current_segment()
        if mask is None:
            return
        if segment is None:
            self._execute(lambda: RemoveItem(mask, f"Delete mask “{mask.name}”"))
            return
        from imaging.edits.operations import remove_segment

        self._execute(lambda: remove_segment(mask, segment.number))

    def _shown_volume(self) -> Volume | None:
        case, display = self._workspace.case, self._workspace.display
        cell = display.cell(display.active)
        shown = case.items.get(cell.volume_id) if cell else None
        if isinstance(shown, Volume):
            return shown
        return case.volumes[0] if case.volumes else None
