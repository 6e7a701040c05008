"""Small whole files of every kind that is read, to start fuzzing from; all made by code."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "imaging"))

from dicom_phantoms import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    Maker,
    Plan,
    at_height,
    enhanced,
)

from imaging.analysis.lesions import find_lesions
from imaging.dicom.writing.parametric_map import write_parametric_map
from imaging.dicom.writing.rtstruct import write_rtstruct
from imaging.dicom.writing.seg import write_seg
from imaging.dicom.writing.sr import write_report
from imaging.heatmap import Heatmap
from imaging.open import load_series, scan
from imaging.segmentation import Segment, Segmentation
from imaging.volume import Volume


def _slice(syntax: str) -> Callable[[Path], bytes]:
    return lambda folder: Maker(folder).write(Plan(syntax=syntax)).read_bytes()


def _compressed(syntax: str) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        data = Maker(folder).dataset(Plan(rows=64, columns=48))
        data.compress(syntax)
        return _saved(data)

    return make


def _enhanced(folder: Path) -> bytes:
    plans = [at_height(Plan(), 3.0 * k) for k in range(4)]
    return _saved(enhanced(Maker(folder), plans, [10.0] * 4))


def _saved(data) -> bytes:
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _masked(folder: Path) -> tuple[Volume, Segmentation]:
    Maker(folder).stack([3.0 * k for k in range(4)])
    with scan([folder]) as found:
        volume = load_series(found.series[0])
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[1:3, 4:8, 3:7] = 1
    segments = (Segment(1, "a", (9, 9, 9)),)
    mask = Segmentation.from_labels(
        "m", "mask", volume.geometry, volume.id, labels, segments=segments
    )
    return volume, mask


def _written(write: Callable[[Path, Segmentation, Volume], object]) -> Callable[[Path], bytes]:
    """A file made by one of our own writers from a small mask."""

    def make(folder: Path) -> bytes:
        volume, mask = _masked(folder)
        write(folder / "object.dcm", mask, volume)
        return (folder / "object.dcm").read_bytes()

    return make


def _map(path: Path, mask: Segmentation, volume: Volume) -> None:
    values = mask.labels.astype(np.float32) * 0.5
    heat = Heatmap("h", "map", values, "probability", mask.geometry, volume.id)
    write_parametric_map(path, heat, volume)


def _report(path: Path, mask: Segmentation, volume: Volume) -> None:
    write_report(path, mask, volume, find_lesions(mask))


def _nifti(suffix: str, frames: int) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        import nibabel as nib

        shape = (6, 5, 4, frames) if frames > 1 else (6, 5, 4)
        image = nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), np.eye(4))
        nib.save(image, folder / f"image{suffix}")
        return (folder / f"image{suffix}").read_bytes()

    return make


def _itk(suffix: str) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(np.arange(120, dtype=np.int16).reshape(4, 5, 6))
        sitk.WriteImage(image, str(folder / f"image{suffix}"), useCompression=True)
        return (folder / f"image{suffix}").read_bytes()

    return make


def _zip(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            archive.write(Maker(folder).write(Plan(), f"{number}"), f"../../study/{number}")
    return buffer.getvalue()


def _directory(folder: Path) -> bytes:
    from pydicom.fileset import FileSet

    files = FileSet()
    data = Maker(folder).dataset(Plan())
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20200101", "01", "1", ""
    files.add(data)
    files.write(folder / "media")
    return (folder / "media" / "DICOMDIR").read_bytes()


#: File name to what makes it.
SEEDS: dict[str, Callable[[Path], bytes]] = {
    "explicit.dcm": _slice(EXPLICIT),
    "implicit.dcm": _slice(IMPLICIT),
    "big.dcm": _slice(BIG_ENDIAN),
    "deflated.dcm": _slice(DEFLATED),
    "rle.dcm": _compressed("1.2.840.10008.1.2.5"),
    "jpegls.dcm": _compressed("1.2.840.10008.1.2.4.80"),
    "jpeg2000.dcm": _compressed("1.2.840.10008.1.2.4.90"),
    "enhanced.dcm": _enhanced,
    "segmentation.dcm": _written(write_seg),
    "label-map.dcm": _written(lambda *all: write_seg(*all, kind="LABELMAP", compression="RLE")),
    "map.dcm": _written(_map),
    "structures.dcm": _written(write_rtstruct),
    "report.dcm": _written(_report),
    "image.nii": _nifti(".nii", 1),
    "image.nii.gz": _nifti(".nii.gz", 1),
    "frames.nii": _nifti(".nii", 3),
    "image.nrrd": _itk(".nrrd"),
    "image.mha": _itk(".mha"),
    "archive.zip": _zip,
    "DICOMDIR": _directory,
}


def make_seeds(folder: Path) -> dict[str, bytes]:
    """Make every seed; each in a folder of its own below ``folder``."""
    made = {}
    for number, (name, make) in enumerate(SEEDS.items()):
        own = folder / f"{number:02d}"
        own.mkdir(parents=True)
        made[name] = make(own)
    return made
