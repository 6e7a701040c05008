"""Writing results: a frozen copy, a background writer, and "saved" only after reading back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QImage

from app.controllers.findings import FindingsController
from app.lesion_table import TABLE_HEADER, lesion_row
from app.messages import is_ours, sentence
from app.tasks import Tasks, Ticket
from app.workspace import Workspace
from imaging.case import Case
from imaging.segmentation import Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.analysis.lesions import Lesion

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """One thing to write, with the words for the progress line."""

    words: str
    write: Callable[[], object]


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
    job = Signal(str, str, float)
    exported = Signal(list)

    def __init__(
        self,
        workspace: Workspace,
        tasks: Tasks,
        findings: FindingsController,
        picture: Callable[[], QImage],
    ) -> None:
        super().__init__()
        self._workspace = workspace
        self._tasks = tasks
        self._findings = findings
        self._picture = picture
        self._ticket: Ticket | None = None
        self.last_folder = ""

    def export(self, choice: Any) -> None:
        """Write what an :class:`~app.windows.export_dialog.ExportChoice` names."""
        self.last_folder = str(choice.folder)
        from imaging.storage.case_file import snapshot

        case = snapshot(self._workspace.case)
        lesions = self._lesions_of(choice.segmentation_id)
        jobs = plan_export(choice, case, lesions, self._findings)
        if "screenshot_png" in choice.kinds:
            jobs.append(self._screenshot_job(choice.folder / "screenshot.png"))

        def work(ticket: Ticket) -> list[Path]:
            written: list[Path] = []
            for done, job in enumerate(jobs):
                if ticket.cancelled():
                    break
                fraction = done / len(jobs)
                self._tasks.post(
                    lambda w=job.words, f=fraction: self.job.emit("export", f"Writing {w}", f)
                )
                written += _paths(job.write())
            return written

        self._ticket = self._tasks.run(
            work, lambda files: self._done(choice.folder, files), self._failed
        )

    def _lesions_of(self, mask_id: str) -> list[Lesion] | None:
        mask = self._findings.mask
        return self._findings.lesions if mask is not None and mask.id == mask_id else None

    def _done(self, folder: Path, files: list[Path]) -> None:
        self.job.emit("export", "", 1.0)
        names = ", ".join(path.name for path in files[:4])
        more = f" and {len(files) - 4} more" if len(files) > 4 else ""
        self.said.emit(f"Saved and read back in {folder}: {names}{more}")
        self.exported.emit([str(path) for path in files])

    def _failed(self, error: BaseException) -> None:
        self.job.emit("export", "", 1.0)
        if is_ours(error):
            log.error("export failed: %s", type(error).__name__)
        self.said.emit(f"Not everything was saved. {sentence(error)}")

    def cancel(self) -> None:
        """Stop after the file that is being written."""
        if self._ticket is not None:
            self._ticket.cancel()
            self.job.emit("export", "Export cancelled; files written so far are whole", 1.0)

    # --- pictures ----------------------------------------------------------------------------
    def screenshot(self, path: Path) -> None:
        """Save the views as they are on screen."""
        job = self._screenshot_job(path)
        self._tasks.run(
            lambda _ticket: job.write(),
            lambda files: self._done(path.parent, _paths(files)),
            self._failed,
        )

    def _screenshot_job(self, path: Path) -> _Job:
        image = self._picture()

        def write() -> Path:
            return write_png(path, image)

        return _Job("screenshot", write)


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


def plan_export(
    choice: Any, case: Case, lesions: list[Lesion] | None, findings: FindingsController
) -> list[_Job]:
    """What has to be written for a choice, in order; nothing is written yet.

    Parameters
    ----------
    case : Case
        A frozen copy: writers run in another thread.
    lesions : list of Lesion or None
        As the list shows them; measured anew where None.
    """
    from imaging.analysis.lesions import find_lesions
    from imaging.atomic import next_version
    from imaging.dicom.derived import write_derived_series
    from imaging.dicom.parametric_map import write_parametric_map
    from imaging.dicom.seg import write_seg
    from imaging.storage import nifti, nrrd
    from imaging.storage.table import write_table

    folder: Path = choice.folder

    def free(name: str) -> Path:
        return next_version(folder / name)

    volume = case.items.get(choice.volume_id)
    mask = case.items.get(choice.segmentation_id)
    jobs: list[_Job] = []
    for kind in choice.kinds:
        if kind == "mask_nifti" and isinstance(mask, Segmentation):
            wanted = wanted_labels(mask, choice.accepted_only)
            kept = with_labels(mask, wanted)
            jobs.append(_Job("mask", lambda m=kept: nifti.write_labels(free("mask.nii.gz"), m)))
        elif kind == "mask_seg" and isinstance(mask, Segmentation):
            source = case.volume(mask.volume_id)
            wanted = wanted_labels(mask, choice.accepted_only)
            jobs.append(
                _Job(
                    "DICOM SEG",
                    lambda m=mask, v=source, w=wanted: write_seg(
                        free("segmentation.dcm"), m, v, segments=w
                    ),
                )
            )
        elif kind == "surface_stl" and isinstance(mask, Segmentation):
            wanted = wanted_labels(mask, choice.accepted_only)
            jobs.append(
                _Job(
                    "surface",
                    lambda m=mask, w=wanted: _write_surfaces(free("surface.stl"), m, w),
                )
            )
        elif kind == "volume_nifti" and isinstance(volume, Volume):
            jobs.append(
                _Job("volume", lambda v=volume: nifti.write_volume(free("volume.nii.gz"), v))
            )
        elif kind == "volume_nrrd" and isinstance(volume, Volume):
            jobs.append(_Job("volume", lambda v=volume: nrrd.write_volume(free("volume.nrrd"), v)))
        elif kind == "volume_dicom" and isinstance(volume, Volume):
            jobs.append(
                _Job("DICOM series", lambda v=volume: write_derived_series(free("series"), v))
            )
        elif kind in ("maps_nifti", "maps_dicom"):
            for id in choice.heatmap_ids:
                heat = case.heatmap(id)
                stem = _plain(heat.meaning + (f" {heat.about}" if heat.about else ""))
                if kind == "maps_nifti":
                    jobs.append(
                        _Job(
                            heat.name,
                            lambda h=heat, s=stem: nifti.write_heatmap(free(f"{s}.nii.gz"), h),
                        )
                    )
                else:
                    jobs.append(
                        _Job(
                            heat.name,
                            lambda h=heat, s=stem: write_parametric_map(
                                free(f"{s}.dcm"), h, case.volume(h.volume_id)
                            ),
                        )
                    )
        elif kind == "lesions_csv" and isinstance(mask, Segmentation):
            listed = find_lesions(mask, findings.probability(mask)) if lesions is None else lesions
            rows = [
                lesion_row(mask, lesion, findings.accepted(mask, lesion))
                for lesion in listed
                if not choice.accepted_only or findings.accepted(mask, lesion)
            ]
            jobs.append(
                _Job("table", lambda r=rows: write_table(free("lesions.csv"), TABLE_HEADER, r))
            )
    return jobs


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
    from viewer.rendering.surfaces import segment_surface, write_stl

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


def _paths(written: object) -> list[Path]:
    """The files a writer reports, whatever shape its report has."""
    if isinstance(written, Path):
        return [written]
    if isinstance(written, list | tuple):
        return [Path(str(item)) for item in written]
    path, images = getattr(written, "path", None), getattr(written, "images", ())
    return [Path(p) for p in (path, *images) if p is not None]


def _plain(words: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in words).split()).lower()
