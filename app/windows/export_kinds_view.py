"""What can be written, in groups of check boxes, with the options of a kind beside its box."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.export_choice import MAP_FORMS, SEG_FORMS, SURFACE_FORMS, ExportOptions
from app.export_kinds import DATA_SET, IMAGE, KINDS, MAPS, MASK, REPORT, SURFACE, Kind
from app.windows.controls import allow, column, row
from app.windows.theme import GAP, SMALL_GAP, set_role
from app.windows.tools_panel import middle_cut

#: Row and column of each group, and over how many columns it goes.
_PLACES = {
    MASK: (0, 0, 1), IMAGE: (0, 1, 1), MAPS: (0, 2, 1),
    REPORT: (1, 0, 1), SURFACE: (1, 1, 2), DATA_SET: (1, 1, 2),
}  # fmt: skip


ROW = 26  #: px, so that rows with and without an option stand in line


class KindsView(QWidget):
    """Boxes and options; it knows nothing of masks and images.

    Signals
    -------
    changed()
        Something was ticked or an option was changed, by hand or by :meth:`show_preset`.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[str, QCheckBox] = {}
        self._wanted: set[str] = set()
        self.seg_form = _combo(SEG_FORMS, "Type of DICOM SEG")
        self.map_form = _combo(MAP_FORMS, "Numbers of the Parametric Map")
        self.surface_form = _combo(SURFACE_FORMS, "Format of the surfaces")
        self.every_image = _combo({"all": "All images", "one": "Shown image"}, "Of a 4D series")
        self.subject = _line("01", "A pseudonym of the patient: letters and digits", 64)
        self.session = _line("", "Empty, or letters and digits", 64)
        self.with_image = QCheckBox("With the image")
        self.with_image.setToolTip("Also a copy of the image, under the pseudonym")
        self.dataset_number = QSpinBox()
        self.dataset_number.setRange(1, 999)
        self.dataset_number.setToolTip("Number of the data set: Dataset001_…")
        self.dataset_name = _line("Isocenter", "Name of the data set", 104)
        self.channels = ChannelButton()
        self._beside: dict[str, list[QWidget]] = {
            "mask_seg": [self.seg_form],
            "maps_dicom": [self.map_form],
            "surface": [self.surface_form],
            "volume_nifti": [self.every_image],
            "bids": [
                _words("Subject"), self.subject, _words("Session"), self.session, self.with_image,
            ],
            "nnunet": [
                _words("No."), self.dataset_number, self.dataset_name, _words("Channels"),
                self.channels,
            ],
        }  # fmt: skip
        self._arrange()
        for combo in (self.seg_form, self.map_form, self.surface_form, self.every_image):
            combo.currentIndexChanged.connect(self._changed)
        for line in (self.subject, self.session, self.dataset_name):
            line.textChanged.connect(self._changed)
        self.dataset_number.valueChanged.connect(self._changed)
        self.with_image.toggled.connect(self._changed)
        self.channels.changed.connect(self._changed)

    def _arrange(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(3 * GAP)
        grid.setVerticalSpacing(GAP + SMALL_GAP)
        cells: dict[tuple[int, int, int], QVBoxLayout] = {}
        for group, place in _PLACES.items():
            if place not in cells:
                cells[place] = column(margin=0, gap=GAP)
                grid.addLayout(cells[place], place[0], place[1], 1, place[2])
            cells[place].addLayout(self._group(group))
        for cell in cells.values():
            cell.addStretch(1)
        for at in range(3):
            grid.setColumnStretch(at, 1)
        grid.setRowStretch(len(_PLACES), 1)

    def _group(self, group: str) -> QVBoxLayout:
        inside = column(margin=0, gap=SMALL_GAP // 2)
        heading = QLabel(group)
        set_role(heading, "title")
        inside.addWidget(heading)
        kinds = [kind for kind in KINDS if kind.group == group]
        width = max(QCheckBox(kind.title).sizeHint().width() for kind in kinds)
        for kind in kinds:
            box = QCheckBox(kind.title)
            box.clicked.connect(lambda on, id=kind.id: self._ticked(id, on))
            self.boxes[kind.id] = box
            beside = self._beside.get(kind.id, [])
            if group == DATA_SET:
                box.setMinimumWidth(width)
            line = row(box, *beside, 1, gap=GAP)
            line.addStrut(ROW)
            inside.addLayout(line)
        return inside

    @property
    def chosen(self) -> tuple[str, ...]:
        """What is ticked and possible, in the order of the table."""
        return tuple(kind.id for kind in KINDS if self.boxes[kind.id].isChecked())

    @property
    def wanted(self) -> tuple[str, ...]:
        """What is ticked, also where it is not possible just now."""
        return tuple(kind.id for kind in KINDS if kind.id in self._wanted)

    def options(self, before: ExportOptions) -> ExportOptions:
        """The options as they are set; those that are not shown here stay."""
        return before.but(
            seg_form=self.seg_form.currentData(),
            map_form=self.map_form.currentData(),
            surface_form=self.surface_form.currentData(),
            every_image=self.every_image.currentData() == "all",
            subject=self.subject.text().strip(),
            session=self.session.text().strip(),
            with_image=self.with_image.isChecked(),
            dataset_number=self.dataset_number.value(),
            dataset_name=self.dataset_name.text().strip(),
            channels=self.channels.names,
        )

    def show_preset(self, kinds: Iterable[str], options: ExportOptions) -> None:
        """Tick and set what a preset says."""
        with QSignalBlocker(self):
            self._wanted = set(kinds)
            for combo, value in (
                (self.seg_form, options.seg_form),
                (self.map_form, options.map_form),
                (self.surface_form, options.surface_form),
                (self.every_image, "all" if options.every_image else "one"),
            ):
                combo.setCurrentIndex(max(0, combo.findData(value)))
            self.subject.setText(options.subject)
            self.session.setText(options.session)
            self.with_image.setChecked(options.with_image)
            self.dataset_number.setValue(options.dataset_number)
            self.dataset_name.setText(options.dataset_name)
            self.channels.choose(options.channels)
        self._changed()

    def set_reasons(self, reasons: Mapping[str, str]) -> None:
        """Why each kind is not possible, by id; empty where it is."""
        for kind in KINDS:
            reason = reasons.get(kind.id, "")
            box = self.boxes[kind.id]
            allow(box, kind.tip, reason)
            box.setChecked(kind.id in self._wanted and not reason)
            self._show_options(kind)

    def set_four_dimensional(self, many: bool) -> None:
        """Whether the image is one of a 4D series; the choice is of no use otherwise."""
        self.every_image.setVisible(many)

    def _show_options(self, kind: Kind) -> None:
        for widget in self._beside.get(kind.id, ()):
            box = self.boxes[kind.id]
            # without the image BIDS may be possible where it is not with it
            free = widget is self.with_image and not box.isEnabled()
            widget.setEnabled(box.isChecked() or free)
        if kind.id in ("volume_nifti", "volume_nrrd"):
            either = any(self.boxes[id].isChecked() for id in ("volume_nifti", "volume_nrrd"))
            self.every_image.setEnabled(either)

    def _ticked(self, id: str, on: bool) -> None:
        (self._wanted.add if on else self._wanted.discard)(id)
        for kind in KINDS:
            self._show_options(kind)
        self._changed()

    def _changed(self, *_value) -> None:
        self.changed.emit()


class ChannelButton(QToolButton):
    """Which images are the channels of a training case, by name, in a menu of ticks.

    Signals
    -------
    changed()
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setToolTip("Images on the grid of the mask; the first one is channel 0")
        self.setMenu(QMenu(self))
        self._names: tuple[str, ...] = ()
        self._choices: dict[str, str] = {}
        self._show()

    @property
    def names(self) -> tuple[str, ...]:
        """Names that are ticked, in order, also of images this study does not have."""
        return self._names

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the ticked images of this study; those of the mask alone where none is."""
        return tuple(self._choices[name] for name in self._shown)

    def offer(self, choices: Sequence[tuple[str, str]]) -> None:
        """Names and ids of the images that fit; the first is that of the mask itself."""
        self._choices = dict(choices)
        self._fill()
        self._show()

    def choose(self, names: Sequence[str]) -> None:
        """Tick these names."""
        self._names = tuple(names)
        self._fill()
        self._show()

    @property
    def _shown(self) -> tuple[str, ...]:
        fitting = tuple(name for name in self._names if name in self._choices)
        return fitting or tuple(self._choices)[:1]

    def _fill(self) -> None:
        menu = self.menu()
        menu.clear()
        for name in self._choices:
            action = QAction(name, menu)
            action.setCheckable(True)
            action.setChecked(name in self._shown)
            action.toggled.connect(lambda on, name=name: self._toggle(name, on))
            menu.addAction(action)

    def _toggle(self, name: str, on: bool) -> None:
        shown = [other for other in self._shown if other != name]
        self._names = (*shown, name) if on else tuple(shown)
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        shown = self._shown
        more = f" + {len(shown) - 1}" if len(shown) > 1 else ""
        self.setText(f"{middle_cut(shown[0], 12)}{more}" if shown else "none fits")
        allow(self, "Images on the grid of the mask; the first one is channel 0",
              "" if self._choices else "There is no image on the grid of the mask")  # fmt: skip


def _combo(words: Mapping[str, str], name: str) -> QComboBox:
    combo = QComboBox()
    combo.setAccessibleName(name)
    combo.setToolTip(name)
    for value, shown in words.items():
        combo.addItem(shown, value)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
    return combo


def _line(text: str, tip: str, width: int) -> QLineEdit:
    line = QLineEdit(text)
    line.setToolTip(tip)
    line.setFixedWidth(width)
    line.setMaxLength(40)
    return line


def _words(text: str) -> QLabel:
    label = QLabel(text)
    label.setAlignment(Qt.AlignmentFlag.AlignVCenter)
    set_role(label, "dim")
    return label
