"""Writing results: a frozen copy, a background writer, and "saved" only after reading back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, QRect, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter

from app.controllers.findings import FindingsController
from app.export_choice import ExportChoice, Preset
from app.export_dicom import DICOM_WRITERS
from app.export_kinds import IMAGE, KIND, Kind
from app.export_material import Material
from app.export_privacy import searcher
from app.export_writers import WRITERS
from app.lesion_table import NOTICE
from app.logs import frames_of
from app.messages import is_ours, sentence
from app.tasks import Tasks, Ticket
from app.workspace import Workspace

if TYPE_CHECKING:
    from imaging.analysis.lesions import Lesion

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How an export ended.

    Parameters
    ----------
    files : tuple of Path
        Written and read back.
    failures : tuple of (str, BaseException)
        What could not be written (in words), and why.
    left : tuple of str
        What was not begun, for the export was cancelled.
    notes : tuple of str
        Sentences the writers had to say.
    """

    files: tuple[Path, ...]
    failures: tuple[tuple[str, BaseException], ...] = ()
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class ExportController(QObject):
    """Turns an export choice into files.

    Signals
    -------
    said(str)
        A sentence for the status line.
    failed(str)
        The same for an end where something was not written.
    job(str, str, float)
        Id, words and fraction.
    exported(list)
        The files and folders that were written and read back.
    remembered()
        :attr:`last`, :attr:`presets` or :attr:`last_folder` have changed.
    """

    said = Signal(str)
    failed = Signal(str)
    job = Signal(str, str, float)
    exported = Signal(list)
    remembered = Signal()

    def __init__(
        self,
        workspace: Workspace,
        tasks: Tasks,
        findings: FindingsController,
        picture: Callable[[], QImage],
        why_not_loaded: Callable[[str], str],
    ) -> None:
        super().__init__()
        self._workspace = workspace
        self._tasks = tasks
        self._findings = findings
        self._picture = picture
        self._why_not_loaded = why_not_loaded
        self._stops: list[Event] = []
        self.last_folder = ""
        self.last: Preset | None = None
        self.presets: tuple[Preset, ...] = ()
        self.annotator = ""

    def why_not_written(self, volume_id: str) -> str:
        """Why an image, or what lies on it, cannot become a file now; empty where it can."""
        return self._why_not_loaded(volume_id)

    def remember(self, last: Preset, presets: Sequence[Preset]) -> None:
        """Keep what the dialog was left with, for the next time and the next start."""
        self.last, self.presets = last, tuple(presets)
        self.remembered.emit()

    def export(self, choice: ExportChoice) -> None:
        """Write what was chosen, in a thread, from a copy of the case."""
        from imaging.storage.case_file import snapshot

        if self.last_folder != str(choice.folder):
            self.last_folder = str(choice.folder)
            self.remembered.emit()
        if reason := self._why_not(choice):
            self.said.emit(f"Nothing was exported. {reason}.")
            return
        self._workspace.rehearse(None)
        if not DICOM_WRITERS.keys().isdisjoint(choice.kinds):
            self._workspace.case.exports += 1
        pictures = any(KIND[kind].picture for kind in choice.kinds)
        picture = self._marked_picture() if pictures else None
        material = Material(
            choice,
            snapshot(self._workspace.case),
            self._lesions_of(choice.segmentation_id),
            self._findings.accepted,
            self.annotator,
            None if picture is None else _rgb(picture),
            self._workspace.display.text_shown,
            self._pictured(),
        )
        stop = Event()
        self._stops.append(stop)

        def ended(outcome: Outcome) -> None:
            self._stops.remove(stop)
            self._done(choice.folder, outcome)

        def work(_ticket: Ticket) -> Outcome:
            try:
                return self._write(material, picture, stop)
            finally:
                material.close()

        self._tasks.run(work, ended, self._broke, finish=True)

    def cancel(self) -> None:
        """Stop after the file that is being written."""
        for stop in self._stops:
            stop.set()
        if self._stops:
            self._tell("Stopping after this file", -1.0)

    def _write(self, material: Material, picture: QImage | None, stop: Event) -> Outcome:
        """Kind after kind; one that fails does not stop the others. Runs in a thread."""
        kinds = [KIND[kind] for kind in material.choice.kinds]
        files: list[Path] = []
        failures: list[tuple[str, BaseException]] = []
        left: tuple[str, ...] = ()
        for done, kind in enumerate(kinds):
            if stop.is_set():
                left = tuple(one.words for one in kinds[done:])
                break
            self._tell(f"Writing {kind.words}", done / len(kinds))
            try:
                files += self._write_kind(kind, material, picture)
            except Exception as error:
                if is_ours(error):
                    log.error("export of %s failed: %s", kind.id, frames_of(error))
                failures.append((kind.words, error))
        files += material.beside
        return Outcome(tuple(files), tuple(failures), left, tuple(material.notes))

    def _write_kind(self, kind: Kind, material: Material, picture: QImage | None) -> list[Path]:
        from imaging.atomic import inspecting

        material.check_pixels(kind)
        if kind.id == "screenshot_png" and picture is not None:
            return [write_png(material.free("screenshot.png"), picture)]
        if material.options.deidentify and not kind.dicom:
            with inspecting(searcher(material.own)):
                files = WRITERS[kind.id](material)
        else:  # DICOM has a search of its own
            files = WRITERS[kind.id](material)
        material.written.extend(files)
        return files

    def _pictured(self) -> tuple[str, ...]:
        """The images that are on screen."""
        shown = (cell.volume_id for cell in self._workspace.display.shown_cells)
        return tuple(dict.fromkeys(id for id in shown if id in self._workspace.case.items))

    def _why_not(self, choice: ExportChoice) -> str:
        """An image that is not all there must not leave the program, nor what lies on it."""
        kinds = [KIND[kind] for kind in choice.kinds]
        ids = {choice.volume_id} if any(kind.group == IMAGE for kind in kinds) else set()
        needs = {kind.needs for kind in kinds if not kind.picture and kind.id != "lesions_csv"}
        case = self._workspace.case
        if "mask" in needs:
            ids.add(case.segmentation(choice.segmentation_id).volume_id)
        if "map" in needs:
            ids |= {case.heatmap(id).volume_id for id in choice.heatmap_ids}
        if "nnunet" in choice.kinds:
            ids |= set(choice.channel_ids)
        reasons = (self._why_not_loaded(id) for id in sorted(ids) if id)
        return next((reason.rstrip(".") for reason in reasons if reason), "")

    def _tell(self, words: str, fraction: float) -> None:
        self._tasks.post(lambda: self.job.emit("export", words, fraction))

    def _lesions_of(self, mask_id: str) -> list[Lesion] | None:
        mask = self._findings.mask
        listed = mask is not None and mask.id == mask_id and not self._findings.measuring
        return self._findings.lesions if listed else None

    def _done(self, folder: Path, outcome: Outcome) -> None:
        self.job.emit("export", "", 1.0)
        words = outcome_words(folder, outcome)
        (self.failed if outcome.failures or outcome.left else self.said).emit(words)
        if outcome.files:
            self.exported.emit([str(path) for path in outcome.files])

    def _broke(self, error: BaseException) -> None:
        self.job.emit("export", "", 1.0)
        self._stops.clear()
        if is_ours(error):
            log.error("export failed: %s", frames_of(error))
        self.failed.emit(f"Not everything was saved. {sentence(error)}")

    def _marked_picture(self) -> QImage:
        return marked(self._picture())

    def screenshot(self, path: Path) -> None:
        """Save the views as they are on screen."""
        picture = self._marked_picture()
        self._tasks.run(
            lambda _ticket: Outcome((write_png(path, picture),)),
            lambda outcome: self._done(path.parent, outcome),
            self._broke,
        )


def outcome_words(folder: Path, outcome: Outcome) -> str:
    """How an export ended, worst first, for the end of a line may not fit on the screen.

    What could not be written and why, what was not begun, how much is saved, what to know, and
    last the names of the files.
    """
    parts = [
        f"The {words} could not be written. {sentence(error).rstrip('.')}"
        for words, error in outcome.failures
    ]
    if outcome.left:
        parts.append(f"Cancelled before {_listed(outcome.left)}")
    if outcome.files:
        parts.append(f"{_counted(outcome.files)} saved and read back in {folder}")
    elif parts:
        parts.append("Nothing was saved")
    parts += outcome.notes
    if not parts:
        return "Nothing was exported."
    if outcome.files:
        names = ", ".join(path.name for path in outcome.files[:4])
        more = len(outcome.files) - 4
        parts.append(names + (f" and {more} more" if more > 0 else ""))
    return ". ".join(part.rstrip(".") for part in parts) + "."


def _counted(paths: Sequence[Path]) -> str:
    """``"22 files"``, ``"1 file and 1 folder"``."""
    folders = sum(path.is_dir() for path in paths)
    numbers = ((len(paths) - folders, "file"), (folders, "folder"))
    return " and ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in numbers if n)


def _listed(words: Sequence[str]) -> str:
    named = [f"the {one}" for one in words]
    return " and ".join([", ".join(named[:-1]), named[-1]]) if len(named) > 1 else named[0]


def marked(image: QImage) -> QImage:
    """A copy with the notice under the picture."""
    band = 26
    made = QImage(image.width(), image.height() + band, QImage.Format.Format_RGB32)
    made.fill(0)
    painter = QPainter(made)
    painter.drawImage(0, 0, image)
    painter.setPen(QColor(220, 170, 80))
    area = QRect(8, image.height(), image.width() - 16, band)
    painter.drawText(area, Qt.AlignmentFlag.AlignVCenter, f"{NOTICE} · Isocenter")
    painter.end()
    return made


def _rgb(image: QImage) -> np.ndarray:
    """The picture as bytes of red, green and blue, shape (h, w, 3)."""
    plain = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(plain.constBits(), np.uint8).reshape(plain.height(), -1)
    return rows[:, : 3 * plain.width()].reshape(plain.height(), plain.width(), 3).copy()


def write_png(path: Path, image: QImage) -> Path:
    """Write a picture under a free name, then read it back and compare."""
    from imaging.atomic import next_version, write_atomic
    from imaging.errors import WorldFailed

    target = next_version(path)

    def verify(aside: Path) -> None:
        again = QImage(str(aside)).convertToFormat(QImage.Format.Format_RGB32)
        if again != image.convertToFormat(QImage.Format.Format_RGB32):
            raise WorldFailed("The picture on the disk is not the one that was written", str(path))

    write_atomic(target, lambda aside: _save_png(image, aside), verify)
    return target


def _save_png(image: QImage, path: Path) -> None:
    if not image.save(str(path), "PNG"):  # type: ignore[call-overload]
        raise OSError(f"The picture could not be written to {path}")
