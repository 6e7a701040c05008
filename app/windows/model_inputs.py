"""The images a model looks at: the one it needs, and those that help where the study has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QCheckBox, QSizePolicy, QWidget

from app.windows.controls import allow, check_box, column, field, sentence
from app.windows.series_choice import Named, SeriesChoice, SeriesOffer, fitting, series_words
from app.windows.theme import SMALL_GAP, set_role
from app.windows.tools_panel import middle_cut
from app.workspace import Workspace
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.series import Series
    from inference.model import InputNeed, ModelCard

CAPTION = 48


class ModelInputs(QWidget):
    """A list of series, a box for each further image, and whether the series fits.

    Signals
    -------
    changed()
        Another series was chosen, or the study has changed.
    load_wanted(key)
        A series of the study list that helps shall be loaded beside what is shown.

    Attributes
    ----------
    study : callable
        The series of the study list, loaded or not.
    why_not_loaded : callable
        Why voxels of a volume are missing, by its id; empty where they are all there.
    series_of : callable
        The series of the study list that a volume comes from, by the id of the volume.
    """

    changed = Signal()
    load_wanted = Signal(str)

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._card: ModelCard | None = None
        self._left_out: set[str] = set()
        self._companions: Mapping[str, Volume] = {}
        self._waiting: dict[str, Series] = {}
        self._asked: set[str] = set()
        self.study: Callable[[], Iterable[Series]] = tuple
        self.why_not_loaded: Callable[[str], str] = lambda _id: ""
        self.series_of: Callable[[str], Series | None] = self._of_same_files
        self.series = SeriesChoice()
        self.series.currentIndexChanged.connect(self._picked)
        self.offer = SeriesOffer()
        self.offer.taken.connect(self._take_offered)
        self._offered: tuple[str, str] = ("", "")
        self._coming = ""  # key of the chosen series while it is being opened
        self.boxes: dict[str, QCheckBox] = {}
        self._rows = column(margin=0, gap=SMALL_GAP)
        self.fit = sentence()
        self.wrong = False  #: the series is of another kind than the one asked for
        self._warning = ""
        layout = column(self, margin=0, gap=SMALL_GAP)
        layout.addLayout(field("Series", self.series, CAPTION))
        layout.addWidget(self.offer)
        layout.addLayout(self._rows)
        layout.addWidget(self.fit)
        workspace.case_changed.connect(self._case_changed)
        self.refresh()

    # --- what is chosen ----------------------------------------------------------------------
    @property
    def volume_id(self) -> str:
        """Id of the chosen volume; empty where there is none."""
        return self.series.volume_id

    @property
    def sequence(self) -> str:
        """Which sequence the chosen volume is; empty where that is not known."""
        volume = self._workspace.case.items.get(self.volume_id)
        return volume.source.sequence if isinstance(volume, Volume) else ""

    @property
    def others(self) -> dict[str, str]:
        """Further images that take part: the card's name for them and the id of the volume."""
        return {
            name: volume.id
            for name, volume in self._companions.items()
            if name not in self._left_out
        }

    @property
    def why_not(self) -> str:
        """Why the images cannot be used yet, or nothing."""
        if self._coming:
            return "The series is being opened"
        coming = [name for name in self._waiting if self._wanted(name)]
        late = [name for name, id in self.others.items() if self.why_not_loaded(id)]
        names = " and ".join((*coming, *late))
        return f"{names} of this study is being loaded; untick it to go without" if names else ""

    def choose(self, volume_id: str) -> None:
        """Look at this volume, if it is there."""
        self.series.choose(volume_id)

    def set_card(self, card: ModelCard | None) -> None:
        """From now on this model asks."""
        self._card = card
        self._make_boxes()
        self._chosen()

    def warn(self, words: str) -> None:
        """Say what speaks against the series chosen now, found out in another way."""
        self._warning = words
        self._show_fit()
        self.changed.emit()

    def give_up(self, key: str) -> None:
        """A series could not be loaded: go without; a tick tries once more."""
        files = next((one.source.files for one in self.study() if one.key == key), None)
        self._asked.discard(key)
        if key == self._coming:
            self._coming = ""
            self.series.setCurrentIndex(0)
        for name in self.boxes:
            other = self._companions.get(name) or self._waiting.get(name)
            if other is not None and other.source.files == files:
                self._left_out.add(name)
        self.refresh()

    def _case_changed(self, _changes: object, origin: str) -> None:
        if origin == "close":  # the next study may have series of the same keys
            self._asked.clear()
            self._left_out.clear()
            self._coming = ""

    # --- showing -----------------------------------------------------------------------------
    def refresh(self) -> None:
        """The study has other images now; the chosen one stays chosen."""
        volumes, keys = self._workspace.case.volumes, self._keys()
        waiting = [one for one in self.study() if one.viewable and one.key not in keys]
        self.series.show_series(volumes, waiting if volumes else ())
        if self._coming in keys:
            with QSignalBlocker(self.series):
                self.series.choose(keys[self._coming])
            self._coming = ""
        none = "" if self.series.count() else "Open a study first"
        allow(self.series, "The series the model looks at, shown or not", none)
        self._chosen()

    def _keys(self) -> dict[str, str]:
        """Keys of the series that are open, each with the id of its volume."""
        found = {one.id: self.series_of(one.id) for one in self._workspace.case.volumes}
        return {series.key: id for id, series in found.items() if series is not None}

    def _of_same_files(self, volume_id: str) -> Series | None:
        files = set(self._workspace.case.volume(volume_id).source.files)
        return next((one for one in self.study() if set(one.source.files) == files), None)

    def _picked(self, *_index: int) -> None:
        """Another row was chosen; a series that is not open yet is opened beside what is shown."""
        self._coming = self.series.key
        if self._coming:
            self.load_wanted.emit(self._coming)
        self._chosen()

    def _take_offered(self) -> None:
        self.series.choose(*self._offered)

    def look_again(self) -> None:
        """The active view may show another series now: say so where it is not the chosen one."""
        self._offered, words, tip = ("", ""), "", ""
        better = self._better() if self.wrong else None
        display, items = self._workspace.display, self._workspace.case.items
        cell = display.cell(display.active)
        shown = items.get(cell.volume_id) if cell else None
        if better is not None:
            self._offered, words = better
            words, tip = f"Fits better: {words}", "Run the model on this series instead"
        elif isinstance(shown, Volume) and self.volume_id not in ("", shown.id):
            self._offered = (shown.id, "")
            words = f"Shown now: {series_words(shown.source.sequence, shown.title)}"
            tip = "Run the model on the series of the active view instead"
        self.offer.offer(words, tip)

    def _better(self) -> Named | None:
        """A series of the study that is of the sequence asked for; one that is open first."""
        volumes = (v for v in self._workspace.case.volumes if self.fit_of(v.id)[0])
        wanted = self._card.required[0].sequences if self._card is not None else ()
        opened = self._keys()
        waiting = (one for one in self.study() if one.viewable and one.key not in opened)
        return fitting(wanted, volumes, waiting)

    def choose_fitting(self) -> None:
        """Prefer a series the card asks for over one that merely came first."""
        ids = [volume.id for volume in self._workspace.case.volumes]
        if ids and not self._coming and self._card is not None:
            self.choose(max(ids, key=lambda id: (self._rank(id), id == self.volume_id)))

    def fit_of(self, volume_id: str) -> tuple[bool, str]:
        """Whether a volume is what the model was made for, and the sentence about it."""
        if self._card is None or volume_id not in self._workspace.case.items:
            return False, ""
        from inference.registry import suitable

        return suitable(self._card, self._workspace.case.volume(volume_id))

    def _rank(self, volume_id: str) -> int:
        """2 where the series fits, 1 where at least its sequence is the one asked for."""
        if self._card is None or self.fit_of(volume_id)[0]:
            return 2
        from inference.suitability import among

        said, wanted = self._workspace.case.volume(volume_id).source.sequence, self._card.required
        return int(any(not need.sequences or among(said, need.sequences) for need in wanted))

    def _chosen(self, *_index: int) -> None:
        self._warning = ""
        self._find_companions()
        self._show_fit()
        self.changed.emit()

    def _show_fit(self) -> None:
        fits, words = self.fit_of(self.volume_id)
        self.wrong = self._is_wrong()
        if self._warning:
            fits, self.wrong, words = False, True, self._warning
        self.fit.setText(words)
        self.fit.setVisible(bool(words))
        set_role(self.fit, "good" if fits else "warning")
        self.look_again()

    def _is_wrong(self) -> bool:
        if self._card is None or self.volume_id not in self._workspace.case.items:
            return False
        from inference.suitability import doubts

        return bool(doubts(self._card, self._workspace.case.volume(self.volume_id)).wrong)

    # --- further images ----------------------------------------------------------------------
    def _make_boxes(self) -> None:
        for box in self.boxes.values():
            self._rows.removeWidget(box)
            box.hide()
            box.deleteLater()
        self._left_out.clear()
        optional = self._card.optional if self._card is not None else ()
        self.boxes = {need.name: self._box(need) for need in optional}
        for box in self.boxes.values():
            self._rows.addWidget(box)

    def _box(self, need: InputNeed) -> QCheckBox:
        box = check_box(need.name)
        box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        box.clicked.connect(lambda on: self._take(need.name, on))
        return box

    def _take(self, name: str, on: bool) -> None:
        (self._left_out.discard if on else self._left_out.add)(name)
        self._load_waiting()
        self.changed.emit()

    def _wanted(self, name: str) -> bool:
        """Whether a series that waits shall be loaded, and was not refused."""
        return name not in self._left_out and self._waiting[name].key in self._asked

    def showEvent(self, event: QShowEvent) -> None:
        """What helps is loaded once somebody looks at the models."""
        super().showEvent(event)
        self._load_waiting()
        self.changed.emit()

    def _load_waiting(self) -> None:
        for name, series in self._waiting.items():
            if self.isVisible() and name not in self._left_out and series.key not in self._asked:
                self._asked.add(series.key)
                self.load_wanted.emit(series.key)

    def _find_companions(self) -> None:
        volume = self._workspace.case.items.get(self.volume_id)
        self._companions = {}
        if self._card is not None and isinstance(volume, Volume):
            from inference.suitability import companions

            self._companions = companions(self._card, volume, self._workspace.case.volumes)
        needs = {need.name: need for need in (self._card.optional if self._card else ())}
        self._waiting = {}
        for name, need in needs.items():
            series = self._listed(need, volume) if name not in self._companions else None
            if series is not None:
                self._waiting[name] = series
        for name, box in self.boxes.items():
            other = self._companions.get(name) or self._waiting.get(name)
            with QSignalBlocker(box):
                box.setChecked(other is not None and name not in self._left_out)
            title, whole = self._title(name)
            box.setText(f"Also {needs[name].sequence}: {title}".replace("&", "&&"))
            why_not = (
                ""
                if other is not None
                else f"No {needs[name].sequence} image of this study lies in the same frame of "
                "reference; the model does without"
            )
            tip = f"{needs[name].description or 'Helps where it is there'}\n{whole}".strip()
            allow(box, tip, why_not)
        self._load_waiting()

    def _title(self, name: str) -> tuple[str, str]:
        """Of a further image: short for its box, and whole."""
        if name in self._companions:
            whole = self._companions[name].title
            return middle_cut(whole, 24), whole
        if name in self._waiting:
            whole = self._waiting[name].description
            ticked = name not in self._left_out
            return f"{middle_cut(whole, 18)} ({'being loaded' if ticked else 'not loaded'})", whole
        return "not in this study", ""

    def _listed(self, need: InputNeed, volume: object) -> Series | None:
        """A series of the study list that would help and is not loaded."""
        if not isinstance(volume, Volume):
            return None
        from inference.suitability import among

        opened = self._keys()
        for series in self.study():
            fits = series.viewable and among(series.sequence, need.sequences)
            together = volume.geometry.surely_same_place(series.geometry)
            if fits and together and series.key not in opened:
                return series
        return None
