"""One dialog for everything that can leave the program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QGridLayout,
    QLabel,
    QLineEdit,
    QRadioButton,
    QWidget,
)

from app.export_choice import ExportChoice
from app.settings import NOTICE
from app.windows.controls import allow, button, caption, column, field, row, rule, sentence
from app.windows.findings_panel import list_name
from app.windows.theme import GAP, SMALL_GAP, set_role
from app.workspace import Workspace
from imaging.segmentation import Segmentation

MASK, IMAGE, MAPS, REPORT = "Mask", "Image", "Maps", "Report"


@dataclass(frozen=True)
class Kind:
    """Something that can be written."""

    id: str
    group: str
    title: str
    tip: str
    needs: str


KINDS: tuple[Kind, ...] = (
    Kind("mask_nifti", MASK, "NIfTI + label file", "mask.nii.gz with the names and colours for "
         "ITK-SNAP beside it", "mask"),
    Kind("mask_seg", MASK, "DICOM SEG", "A binary DICOM Segmentation that refers to the source "
         "images; an image from NIfTI is written as DICOM beside it", "mask"),
    Kind("surface_stl", MASK, "Surface STL", "The surface of each label in patient mm (LPS)",
         "mask"),
    Kind("volume_nifti", IMAGE, "NIfTI", "The image as volume.nii.gz", "volume"),
    Kind("volume_nrrd", IMAGE, "NRRD", "The image as volume.nrrd", "volume"),
    Kind("volume_dicom", IMAGE, "DICOM MR series", "A new derived series of the same study",
         "volume"),
    Kind("maps_nifti", MAPS, "NIfTI", "Every probability and Grad-CAM map as NIfTI", "map"),
    Kind("maps_dicom", MAPS, "DICOM Parametric Map", "Every map as a DICOM Parametric Map", "map"),
    Kind("lesions_csv", REPORT, "Lesion table CSV", "Number, place, volume, diameter, mean "
         "probability and state of each lesion", "mask"),
    Kind("screenshot_png", REPORT, "Screenshot PNG", "The views as they are on screen", "volume"),
)  # fmt: skip
_USUAL = frozenset({"mask_nifti", "mask_seg", "lesions_csv"})


def accepted_labels(mask: Segmentation) -> tuple[int, ...]:
    """Numbers of the labels a person has taken over: all but the proposal label of a draft."""
    numbers = tuple(segment.number for segment in mask.segments)
    return numbers[1:] if mask.draft else numbers


class ExportDialog(QDialog):
    """Check boxes by group, which labels, which folder.

    Signals
    -------
    export_requested(choice)
        An :class:`ExportChoice`; the dialog closes.
    """

    export_requested = Signal(object)

    def __init__(
        self, workspace: Workspace, parent: QWidget | None = None, folder: str | Path = ""
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self.setWindowTitle("Export")
        self.setMinimumWidth(560)
        self.kinds: dict[str, QCheckBox] = {}
        self.volume_choice, self.mask_choice = QComboBox(), QComboBox()
        for volume in workspace.case.volumes:
            self.volume_choice.addItem(volume.name, volume.id)
        for mask in workspace.case.segmentations:
            self.mask_choice.addItem(list_name(mask), mask.id)
        self.mask_choice.setCurrentIndex(self.mask_choice.count() - 1)
        self.mask_choice.currentIndexChanged.connect(self._mask_changed)
        self.all_labels = QRadioButton("All labels")
        self.accepted_only = QRadioButton("Accepted only")
        self._which = QButtonGroup(self)
        for one in (self.all_labels, self.accepted_only):
            self._which.addButton(one)
        self.folder = QLineEdit(str(folder or Path.home()))
        self.folder.textChanged.connect(self._show_buttons)
        self.browse = button("Choose …", "Choose the folder", "folder")
        self.browse.clicked.connect(self._browse)
        self.why_not = sentence()
        self.export = button("Export", "", "export", "primary")
        self.export.clicked.connect(self._export)
        self.cancel = button("Cancel", "Close without writing")
        self.cancel.clicked.connect(self.reject)
        self._arrange()
        self._mask_changed()

    def _arrange(self) -> None:
        layout = column(self, margin=2 * GAP)
        layout.addLayout(field("Image", self.volume_choice))
        layout.addLayout(field("Mask", self.mask_choice))
        layout.addLayout(
            row(caption("Labels", 52), self.all_labels, self.accepted_only, 1, gap=2 * GAP)
        )
        layout.addWidget(rule())
        grid = QGridLayout()
        grid.setHorizontalSpacing(3 * GAP)
        grid.setVerticalSpacing(2 * GAP)
        for place, group in enumerate((MASK, IMAGE, MAPS, REPORT)):
            grid.addLayout(self._group(group), place // 2, place % 2)
        layout.addLayout(grid)
        layout.addWidget(rule())
        target = row(caption("Folder"), self.folder, self.browse)
        target.setStretch(1, 1)
        layout.addLayout(target)
        layout.addWidget(
            sentence("Nothing is overwritten; every file is read back and compared before “saved”.")
        )
        layout.addWidget(sentence(f"{NOTICE}.", "warning"))
        buttons = row(self.why_not, self.cancel, self.export, gap=GAP)
        buttons.setStretch(0, 1)
        layout.addLayout(buttons)

    def _group(self, group: str):
        inside = column(margin=0, gap=SMALL_GAP)
        heading = QLabel(group)
        set_role(heading, "title")
        inside.addWidget(heading)
        for kind in KINDS:
            if kind.group == group:
                box = QCheckBox(kind.title)
                reason = self._why_no_kind(kind)
                allow(box, kind.tip, reason)
                box.setChecked(kind.id in _USUAL and not reason)
                box.toggled.connect(self._show_buttons)
                self.kinds[kind.id] = box
                inside.addWidget(box)
        inside.addStretch(1)
        return inside

    def choice(self) -> ExportChoice:
        """What is ticked now."""
        chosen = tuple(id for id, box in self.kinds.items() if box.isChecked())
        needs = {kind.needs for kind in KINDS if kind.id in chosen}
        maps = tuple(m.id for m in self._workspace.case.heatmaps) if "map" in needs else ()
        return ExportChoice(
            folder=Path(self.folder.text()).expanduser(),
            kinds=chosen,
            segmentation_id=(self.mask_choice.currentData() or "") if "mask" in needs else "",
            accepted_only=self.accepted_only.isChecked(),
            volume_id=self.volume_choice.currentData() or "",
            heatmap_ids=maps,
        )

    def _why_no_kind(self, kind: Kind) -> str:
        case = self._workspace.case
        have = {"mask": case.segmentations, "volume": case.volumes, "map": case.heatmaps}
        missing = {
            "mask": "There is no mask: run a model or paint one",
            "volume": "There is no image: open a study first",
            "map": "There is no map: run a model first",
        }
        return "" if have[kind.needs] else missing[kind.needs]

    def _mask_changed(self, *_index: int) -> None:
        """A mask brings its own image with it, and may have nothing accepted yet."""
        mask = self._workspace.case.items.get(self.mask_choice.currentData() or "")
        none = (
            "" if isinstance(mask, Segmentation) else "There is no mask: run a model or paint one"
        )
        allow(self.mask_choice, "The mask that is written", none)
        allow(self.all_labels, "Drafts too; their files say that nobody has checked them", none)
        nothing = none
        if isinstance(mask, Segmentation):
            self.volume_choice.setCurrentIndex(max(0, self.volume_choice.findData(mask.volume_id)))
            if not accepted_labels(mask):
                nothing = "No lesion of this mask is accepted yet: accept them in the list first"
        allow(self.accepted_only, "Only what a person has taken over", nothing)
        (self.all_labels if nothing else self.accepted_only).setChecked(True)
        allow(
            self.volume_choice,
            "The image that is written, and that a mask refers to",
            "" if self.volume_choice.count() else "There is no image: open a study first",
        )
        self._show_buttons()

    def _why_not(self) -> str:
        if not any(box.isChecked() for box in self.kinds.values()):
            return "Tick what shall be written"
        folder = self.folder.text().strip()
        if not folder:
            return "Choose a folder"
        if not Path(folder).expanduser().is_dir():
            return "This folder does not exist: choose another one"
        return ""

    def _show_buttons(self, *_changed) -> None:
        reason = self._why_not()
        allow(self.export, "Write the files in the background", reason)
        self.why_not.setText(reason)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Export into", self.folder.text())
        if folder:
            self.folder.setText(folder)

    def _export(self) -> None:
        if not self._why_not():
            self.export_requested.emit(self.choice())
            self.accept()
