"""Writing results: a frozen copy, a background writer, and "saved" only after reading back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QRect, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter

from app.controllers.findings import FindingsController
from app.export_choice import ExportChoice
from app.lesion_table import NOTICE, TABLE_HEADER, lesion_row
from app.logs import frames_of
from app.messages import is_ours, sentence
from app.tasks import Tasks, Ticket
from app.workspace import Workspace
from imaging.case import Case
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.analysis.lesions import Lesion

log = logging.getLogger(__name__)


class ExportController(QObject):
    """Turns an export choice into files.

    Signals
    -------
    said(str)
        A sentence for the status line.
    job(str, str, float)
        Id, words and fraction.
    exported(list)
        The files and folders that were written and read back.
    """

    said = Signal(str)
    failed = Signal(str)
    job = Signal(str, str, float)
    exported = Signal(list)

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
        self._ticket: Ticket | None = None
        self.last_folder = ""

    def export(self, choice: ExportChoice) -> None:
        """Write what was chosen, in a thread, from a copy of the case."""
        from imaging.storage.case_file import snapshot

        self.last_folder = str(choice.folder)
        if reason := self._why_not(choice):
            self.said.emit(f"Nothing was exported. {reason}.")
            return
        self._workspace.rehearse(None)
        material = Material(
            choice,
            snapshot(self._workspace.case),
            self._lesions_of(choice.segmentation_id),
            self._findings.accepted,
        )
        picture = self._marked_picture() if "screenshot_png" in choice.kinds else None
        jobs = [WRITERS[kind] for kind in choice.kinds if kind in WRITERS]

        def work(ticket: Ticket) -> list[Path]:
            written: list[Path] = []
            for done, (words, write) in enumerate(jobs):
                if ticket.cancelled():
                    break
                self._tell(f"Writing {words}", done / len(jobs))
                written += write(material)
            if picture is not None and not ticket.cancelled():
                written.append(write_png(material.free("screenshot.png"), picture))
            return written

        self._ticket = self._tasks.run(
            work, lambda files: self._done(choice.folder, files), self._failed, finish=True
        )

    def _why_not(self, choice: ExportChoice) -> str:
        """An image that is not all there must not leave the program."""
        kinds = {kind for kind in choice.kinds if kind.startswith(("volume_", "mask_seg"))}
        return self._why_not_loaded(choice.volume_id) if kinds else ""

    def _tell(self, words: str, fraction: float) -> None:
        self._tasks.post(lambda: self.job.emit("export", words, fraction))

    def _lesions_of(self, mask_id: str) -> list[Lesion] | None:
        mask = self._findings.mask
        listed = mask is not None and mask.id == mask_id and not self._findings.measuring
        return self._findings.lesions if listed else None

    def _done(self, folder: Path, files: list[Path]) -> None:
        self.job.emit("export", "", 1.0)
        names = ", ".join(path.name for path in files[:4])
        more = f" and {len(files) - 4} more" if len(files) > 4 else ""
        self.said.emit(f"Saved and read back in {folder}: {names}{more}")
        self.exported.emit([str(path) for path in files])

    def _failed(self, error: BaseException) -> None:
        self.job.emit("export", "", 1.0)
        if is_ours(error):
            log.error("export failed: %s", frames_of(error))
        self.failed.emit(f"Not everything was saved. {sentence(error)}")

    def cancel(self) -> None:
        """Stop after the file that is being written."""
        if self._ticket is not None:
            self._ticket.cancel()
            self.job.emit("export", "Export cancelled; files written so far are whole", 1.0)

    def _marked_picture(self) -> QImage:
        return marked(self._picture())

    def screenshot(self, path: Path) -> None:
        """Save the views as they are on screen."""
        picture = self._marked_picture()
        self._tasks.run(
            lambda _ticket: [write_png(path, picture)],
            lambda files: self._done(path.parent, files),
            self._failed,
        )


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


@dataclass(frozen=True, eq=False)
class Material:
    """What an export may draw on: a frozen case and what was chosen from it."""

    choice: ExportChoice
    case: Case
    lesions: list[Lesion] | None
    accepted: Callable[[Segmentation, Lesion], bool]

    def free(self, name: str) -> Path:
        """A path in the folder that nothing has yet."""
        from imaging.atomic import next_version

        return next_version(self.choice.folder / f"{self.stem}-{name}")

    @property
    def stem(self) -> str:
        """What tells this study from others: date of the study and the sequence or series."""
        id = self.choice.volume_id or self.mask.volume_id
        source = self.case.volume(id).source
        return (
            _plain(f"{source.study_date} {source.sequence or source.series_description}") or "study"
        )

    @property
    def mask(self) -> Segmentation:
        """The chosen mask."""
        return self.case.segmentation(self.choice.segmentation_id)

    @property
    def volume(self) -> Volume:
        """The chosen image."""
        return self.case.volume(self.choice.volume_id)

    @property
    def labels(self) -> list[int]:
        """Numbers of the segments to write."""
        return wanted_labels(self.mask, self.choice.accepted_only)

    @property
    def maps(self) -> list[tuple[str, Heatmap]]:
        """The chosen maps with a file name for each."""
        maps = [self.case.heatmap(id) for id in self.choice.heatmap_ids]
        return [(_plain(f"{heat.meaning} {heat.about}"), heat) for heat in maps]


def _mask_nifti(m: Material) -> list[Path]:
    from imaging.storage.nifti import write_labels

    return write_labels(m.free("mask.nii.gz"), with_labels(m.mask, m.labels))


def _mask_seg(m: Material) -> list[Path]:
    from imaging.dicom.seg import write_seg

    source = m.case.volume(m.mask.volume_id)
    report = write_seg(m.free("segmentation.dcm"), m.mask, source, segments=m.labels)
    return [report.path, *report.images]


def _surface_stl(m: Material) -> list[Path]:
    return [_write_surfaces(m.free("surface.stl"), m.mask, m.labels)]


def _volume_nifti(m: Material) -> list[Path]:
    from imaging.storage.nifti import write_volume

    return write_volume(m.free("volume.nii.gz"), m.volume)


def _volume_nrrd(m: Material) -> list[Path]:
    from imaging.storage.nrrd import write_volume

    return write_volume(m.free("volume.nrrd"), m.volume)


def _volume_dicom(m: Material) -> list[Path]:
    from imaging.dicom.derived import write_derived_series

    folder = m.free("series")
    write_derived_series(folder, m.volume)
    return [folder]


def _maps_nifti(m: Material) -> list[Path]:
    from imaging.storage.nifti import write_heatmap

    return [p for stem, heat in m.maps for p in write_heatmap(m.free(f"{stem}.nii.gz"), heat)]


def _maps_dicom(m: Material) -> list[Path]:
    from imaging.dicom.parametric_map import write_parametric_map

    written: list[Path] = []
    for stem, heat in m.maps:
        source = m.case.volume(heat.volume_id)
        written += write_parametric_map(m.free(f"{stem}.dcm"), heat, source)
    return written


def _lesions_csv(m: Material) -> list[Path]:
    from imaging.analysis.lesions import find_lesions
    from imaging.storage.table import write_table

    heat = m.case.items.get(m.mask.probability_id)
    probability = heat if isinstance(heat, Heatmap) else None
    listed = find_lesions(m.mask, probability) if m.lesions is None else m.lesions
    states = [(lesion, m.accepted(m.mask, lesion)) for lesion in listed]
    rows = [
        lesion_row(m.mask, lesion, accepted)
        for lesion, accepted in states
        if accepted or not m.choice.accepted_only
    ]
    return write_table(m.free("lesions.csv"), TABLE_HEADER, rows)


#: What each kind of the export dialog writes, with the words for the progress line.
WRITERS: dict[str, tuple[str, Callable[[Material], list[Path]]]] = {
    "mask_nifti": ("mask", _mask_nifti),
    "mask_seg": ("DICOM SEG", _mask_seg),
    "surface_stl": ("surface", _surface_stl),
    "volume_nifti": ("image", _volume_nifti),
    "volume_nrrd": ("image", _volume_nrrd),
    "volume_dicom": ("DICOM series", _volume_dicom),
    "maps_nifti": ("maps", _maps_nifti),
    "maps_dicom": ("parametric maps", _maps_dicom),
    "lesions_csv": ("lesion table", _lesions_csv),
}


def wanted_labels(mask: Segmentation, accepted_only: bool) -> list[int]:
    """Numbers of the segments to write."""
    numbers = [s.number for s in mask.segments]
    return numbers[1:] if accepted_only and mask.draft else numbers


def with_labels(mask: Segmentation, wanted: list[int]) -> Segmentation:
    """A copy that holds only some of the segments."""
    import numpy as np

    labels = np.where(np.isin(mask.labels, wanted), mask.labels, np.uint8(0))
    copy = Segmentation.from_labels(mask.id, mask.name, mask.geometry, mask.volume_id, labels)
    segments = tuple(s for s in mask.segments if s.number in wanted)
    copy.set_header(mask.header(segments=segments))
    return copy


def _write_surfaces(path: Path, mask: Segmentation, wanted: list[int]) -> Path:
    from imaging.geometry import Box
    from viewer.rendering.surface_files import write_stl
    from viewer.rendering.surfaces import segment_surface

    surfaces = []
    for number in wanted:
        box = Box.around(mask.labels == number)
        if box.empty:
            continue
        grown = Box(
            (box.start[0] - 1, box.start[1] - 1, box.start[2] - 1),
            (box.stop[0] + 1, box.stop[1] + 1, box.stop[2] + 1),
        ).clipped(mask.geometry.shape)
        block = mask.labels[grown.slices]
        surfaces.append(segment_surface(block, mask.geometry.cropped(grown), number))
    write_stl(path, surfaces)
    return path


def _plain(words: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in words).split()).lower()
