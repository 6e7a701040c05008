"""One dialog for everything that can leave the program: a preset, what of it, and where to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from app.export_choice import BUILT_IN, ExportChoice, ExportOptions, Preset
from app.export_kinds import KIND, KINDS
from app.export_material import channel_name, plain, usual_stem
from app.export_privacy import OwnWords, own_words
from app.export_reasons import (
    NO_IMAGE,
    NO_MAP,
    NO_MASK,
    Ground,
    channel_volumes,
    face_words,
    generic_words,
    own_name_words,
    preview,
    probability_words,
    same_subject_words,
    training_words,
    why_no_kind,
    why_not,
    writes_codes,
)
from app.settings import NOTICE
from app.windows.controls import (
    ElidedLabel,
    allow,
    button,
    column,
    field,
    row,
    rule,
    scrolling,
    sentence,
)
from app.windows.export_kinds_view import KindsView
from app.windows.export_labels import LabelChooser
from app.windows.export_presets import PresetList
from app.windows.findings_panel import list_name
from app.windows.theme import GAP, set_role
from app.workspace import Workspace
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.volume import Volume

#: What the dialog begins with for somebody who has never used it.
FIRST = "Research: NIfTI + CSV"
CAPTION, SIDE, CAUTION = 76, 228, 36  #: px; a caution has two lines


class ExportDialog(QDialog):
    """Presets on the left, what is written on the right.

    Parameters
    ----------
    presets : sequence of Preset
        The user's own.
    last : Preset or None
        What the dialog was left with the last time.
    why_not_written : callable
        Why an image cannot become a file now, by its id; empty where it can.

    Signals
    -------
    export_requested(choice)
        An :class:`ExportChoice`; the dialog closes.
    remember(last, presets)
        What shall be known the next time; also when presets are saved, renamed or deleted.
    """

    export_requested = Signal(object)
    remember = Signal(object, object)

    def __init__(
        self,
        workspace: Workspace,
        parent: QWidget | None = None,
        folder: str | Path = "",
        *,
        presets: Sequence[Preset] = (),
        last: Preset | None = None,
        why_not_written: Callable[[str], str] = lambda _id: "",
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._why_not_written = why_not_written
        self._last = last
        self._options = ExportOptions()
        self._stem_typed = False
        self.setWindowTitle("Export")
        self.presets = PresetList(presets)
        self.kinds_view = KindsView()
        self.kinds = self.kinds_view.boxes
        self.labels = LabelChooser()
        self.all_labels, self.accepted_only = self.labels.all_labels, self.labels.accepted_only
        self.mask_choice, self.volume_choice, self.map_choice = (
            QComboBox(),
            QComboBox(),
            QComboBox(),
        )
        self.folder = QLineEdit(str(folder or Path.home()))
        self.browse = button("Choose …", "Choose the folder", "folder")
        self.stem = QLineEdit()
        self.files = ElidedLabel()
        set_role(self.files, "dim")
        self.deidentify = QCheckBox("De-identify what is written")
        self.hint = sentence(role="dim")
        self.cautions = sentence(role="warning")
        policy = self.cautions.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # so that a caution that comes moves nothing
        self.cautions.setSizePolicy(policy)
        self.cautions.setMinimumHeight(CAUTION)
        self.cautions.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.why_not = sentence(role="warning")
        self.export = button("Export", "", "export", "primary")
        self.cancel = button("Cancel", "Close without writing")
        for one in (self.browse, self.cancel):
            one.setAutoDefault(False)  # Return means Export, wherever the keyboard is
        self.export.setDefault(True)
        self._fill()
        self._arrange()
        self._connect()
        self._begin(last)
        self.resize(1120, 720)

    # --- making ------------------------------------------------------------------------------
    def _fill(self) -> None:
        case = self._workspace.case
        for mask in case.segmentations:
            self.mask_choice.addItem(list_name(mask), mask.id)
        self.mask_choice.setCurrentIndex(self.mask_choice.count() - 1)
        for volume in case.volumes:
            self.volume_choice.addItem(volume.title, volume.id)
        maps = case.heatmaps
        if len(maps) > 1:
            self.map_choice.addItem(f"All {len(maps)} maps", "")
        for heat in maps:
            self.map_choice.addItem(heat.name, heat.id)
        self.mask_choice.setPlaceholderText("No mask")
        self.volume_choice.setPlaceholderText("No image")
        self.map_choice.setPlaceholderText("No map")
        allow(self.mask_choice, "The mask that is written", "" if case.segmentations else NO_MASK)
        allow(self.volume_choice, "The image that is written", "" if case.volumes else NO_IMAGE)
        allow(self.map_choice, "The maps that are written", "" if maps else NO_MAP)
        self.deidentify.setToolTip(
            "DICOM files lose what names the patient and get new numbers, always the same ones for "
            "the same images; other files get no name or date of the study. Heads keep their "
            "faces: File > De-identify folder takes them off"
        )

    def _arrange(self) -> None:
        what = column(margin=0)
        for words, control in (
            ("Mask", self.mask_choice), ("Image", self.volume_choice), ("Maps", self.map_choice),
        ):  # fmt: skip
            what.addLayout(field(words, control, CAPTION))
        what.addStretch(1)
        self.labels.setFixedHeight(116)
        above = QHBoxLayout()
        above.setSpacing(2 * GAP)
        above.addLayout(what, 3)
        above.addWidget(self.labels, 5)
        right = column(margin=0, gap=GAP)
        right.addLayout(above)
        right.addWidget(rule())
        kinds = scrolling(self.kinds_view)
        kinds.setMinimumWidth(self.kinds_view.minimumSizeHint().width() + 2 * GAP)
        right.addWidget(kinds, 1)
        right.addWidget(self.hint)
        right.addWidget(rule())
        right.addLayout(self._where())
        self.presets.setFixedWidth(SIDE)
        body = QHBoxLayout()
        body.setSpacing(2 * GAP)
        body.addWidget(self.presets)
        body.addWidget(_upright())
        body.addLayout(right, 1)
        layout = column(self, margin=2 * GAP)
        layout.addLayout(body, 1)
        layout.addWidget(rule())
        notice = QLabel(f"{NOTICE}.")
        set_role(notice, "dim")
        buttons = row(notice, self.why_not, self.cancel, self.export, gap=GAP)
        buttons.insertSpacing(1, GAP)
        buttons.setStretch(2, 1)
        layout.addLayout(buttons)

    def _where(self) -> QVBoxLayout:
        where = column(margin=0)
        folder = field("Folder", self.folder, CAPTION)
        folder.addWidget(self.browse)
        where.addLayout(folder)
        named = field("File names", self.stem, CAPTION)
        named.addSpacing(GAP)
        named.addWidget(self.deidentify)
        where.addLayout(named)
        where.addLayout(field("Files", self.files, CAPTION))
        where.addWidget(self.cautions)
        return where

    def _connect(self) -> None:
        self.presets.chosen.connect(self._take)
        self.presets.save_wanted.connect(self._save_preset)
        self.presets.changed.connect(lambda _own: self._remember())
        self.kinds_view.changed.connect(self._refresh)
        self.labels.changed.connect(self._refresh)
        self.mask_choice.currentIndexChanged.connect(self._mask_changed)
        self.volume_choice.currentIndexChanged.connect(self._volume_changed)
        self.map_choice.currentIndexChanged.connect(self._refresh)
        self.deidentify.toggled.connect(self._volume_changed)
        self.folder.textChanged.connect(self._refresh)
        self.stem.textEdited.connect(self._stem_edited)
        self.stem.textChanged.connect(self._refresh)
        self.browse.clicked.connect(self._browse)
        self.export.clicked.connect(self._export)
        self.cancel.clicked.connect(self.reject)

    def _begin(self, last: Preset | None) -> None:
        """What was used last comes back, marked as changed where its preset says otherwise."""
        first = last or next(preset for preset in BUILT_IN if preset.name == FIRST)
        self.presets.select(first.name)
        self._show(first)

    # --- what is shown -----------------------------------------------------------------------
    def _take(self, preset: Preset) -> None:
        """A preset may ask for de-identified files, but never takes that back."""
        kept = preset.options.deidentify or self.deidentify.isChecked()
        self._show(replace(preset, options=preset.options.but(deidentify=kept)))

    def _show(self, preset: Preset) -> None:
        self._options = preset.options
        self.deidentify.setChecked(preset.options.deidentify)
        self.kinds_view.show_preset(preset.kinds, preset.options)
        self._mask_changed()

    def _mask_changed(self, *_index: int) -> None:
        """A mask brings its own image with it, and may have nothing accepted yet."""
        mask = self._mask
        self.labels.show_mask(mask, accepted_only=self._options.accepted_only)
        case = self._workspace.case
        fitting = [(channel_name(case, v.id), v.id) for v in channel_volumes(case, mask)]
        self.kinds_view.channels.offer(fitting)
        if mask is not None:
            at = self.volume_choice.findData(mask.volume_id)
            self.volume_choice.setCurrentIndex(max(0, at))
        self._volume_changed()

    def _volume_changed(self, *_index) -> None:
        volume = self._volume
        self.kinds_view.set_four_dimensional(volume is not None and volume.repeats is not None)
        if not self._stem_typed and volume is not None:
            self.stem.setText(usual_stem(volume, deidentify=self.deidentify.isChecked()))
        self._refresh()

    def _stem_edited(self, text: str) -> None:
        self._stem_typed = bool(text.strip())

    def _refresh(self, *_changed) -> None:
        ground = Ground(
            self._workspace.case, self._mask, self._volume, self._maps,
            self.deidentify.isChecked(), self._workspace.display.text_shown, self._why_not_written,
            tuple(cell.volume_id for cell in self._workspace.display.shown_cells),
            self.kinds_view.with_image.isChecked(), self.kinds_view.channels.ids,
        )  # fmt: skip
        reasons = {kind.id: why_no_kind(kind, ground) for kind in KINDS}
        self.kinds_view.set_reasons(reasons)
        choice = self.choice()
        self._show_hint(reasons)
        names = preview(choice, plain(self.stem.text()) or "study", self._mask)
        self.files.setText(", ".join(names) or "–")
        self.files.setToolTip("\n".join(names))
        self._show_cautions(choice)
        reason = why_not(choice, self._workspace.case)
        allow(self.export, "Write the files in the background", reason)
        self.why_not.setText(reason)
        current = self.presets.current()
        self.presets.set_differs(current is not None and not self._same(current))

    def _show_cautions(self, choice: ExportChoice) -> None:
        """What does not stop the export and should be known before it."""
        segments = self._mask.segments if self._mask and writes_codes(choice.kinds) else ()
        chosen = [segment for segment in segments if segment.number in self.labels.numbers]
        found = (
            own_name_words(choice, self._own) if choice.options.deidentify else "",
            same_subject_words(choice),
            face_words(choice),
            probability_words(choice, self._mask),
            training_words(choice, self._mask),
            generic_words(chosen),
        )
        words = [one for one in found if one]
        self.cautions.setText(" ".join(words))
        self.cautions.setVisible(bool(words))

    @cached_property
    def _own(self) -> OwnWords:
        """What says who the patient is; read from the headers once, when it is needed."""
        return own_words(self._workspace.case.volumes)

    def _show_hint(self, reasons: dict[str, str]) -> None:
        """What a preset asks for and this case cannot give."""
        missing: dict[str, list[str]] = {}
        for id in self.kinds_view.wanted:
            if reasons[id]:
                missing.setdefault(reasons[id], []).append(KIND[id].words)
        parts = [f"{', '.join(words)} ({_small(why)})" for why, words in missing.items()]
        self.hint.setText(f"Not possible here: {'; '.join(parts)}." if parts else "")
        self.hint.setVisible(bool(parts))

    def _same(self, preset: Preset) -> bool:
        return set(preset.kinds) == set(self.kinds_view.wanted) and preset.options == self._now()

    def _now(self) -> ExportOptions:
        """The options as they are set; a case without accepted labels does not change the rule."""
        options = self.kinds_view.options(self._options)
        free = self.accepted_only.isEnabled()
        return options.but(
            accepted_only=self.labels.prefers_accepted if free else options.accepted_only,
            deidentify=self.deidentify.isChecked(),
        )

    # --- what is chosen ----------------------------------------------------------------------
    @property
    def _mask(self) -> Segmentation | None:
        item = self._workspace.case.items.get(self.mask_choice.currentData() or "")
        return item if isinstance(item, Segmentation) else None

    @property
    def _volume(self) -> Volume | None:
        item = self._workspace.case.items.get(self.volume_choice.currentData() or "")
        return item if isinstance(item, Volume) else None

    @property
    def _maps(self) -> tuple[Heatmap, ...]:
        wanted = self.map_choice.currentData()
        return tuple(h for h in self._workspace.case.heatmaps if not wanted or h.id == wanted)

    def choice(self) -> ExportChoice:
        """What is ticked now."""
        chosen = self.kinds_view.chosen
        needs = {KIND[id].needs for id in chosen}
        maps = self._maps if "map" in needs or "bids" in chosen else ()
        folder = self.folder.text().strip()
        return ExportChoice(
            folder=Path(folder).expanduser() if folder else Path(),
            kinds=chosen,
            segmentation_id=(self.mask_choice.currentData() or "") if "mask" in needs else "",
            labels=self.labels.numbers if "mask" in needs else None,
            volume_id=self.volume_choice.currentData() or "",
            heatmap_ids=tuple(heat.id for heat in maps),
            channel_ids=self.kinds_view.channels.ids if "nnunet" in chosen else (),
            stem=self.stem.text().strip(),
            options=self._now(),
        )

    def _preset(self, name: str) -> Preset:
        return Preset(name, self.kinds_view.wanted, self._now())

    def _save_preset(self, name: str) -> None:
        if name:
            self.presets.keep(self._preset(name))
        else:
            self.presets.keep_new(self._preset(""))

    def _remember(self) -> None:
        self.remember.emit(self._last, self.presets.own)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Export into", self.folder.text())
        if folder:
            self.folder.setText(folder)

    def _export(self) -> None:
        choice = self.choice()
        if why_not(choice, self._workspace.case):
            return
        self._last = self._preset(self.presets.current_name)
        self._remember()
        self.export_requested.emit(choice)
        self.accept()


def _upright() -> QFrame:
    line = QFrame()
    line.setFixedWidth(1)
    set_role(line, "rule-upright")
    return line


def _small(words: str) -> str:
    return words[:1].lower() + words[1:].rstrip(".")
