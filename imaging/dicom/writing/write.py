"""Classic MR series, one file per slice: the voxels of a volume exactly where they lie.

The caller gives a template data set with everything that is the same for all slices (patient,
study, series, equipment, acquisition); this module adds plane, pixels and instance. Source: DICOM
PS3.3 A.4 (MR Image IOD), C.7.6.2 (Image Plane), C.8.3 (MR Image).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imaging.atomic import write_folder_atomic
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.identity import new_uid as new_uid
from imaging.orientation import ORTHOGONAL_TOLERANCE
from imaging.volume import Patient, Volume, auto_window

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SOFTWARE, SOFTWARE_VERSION = "Isocenter", "0.1.0"
#: SOP class "MR Image Storage".
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
RESEARCH_ONLY = "Research use - not for diagnosis"
#: Positions read back from decimal strings agree this well with the ones written.
POSITION_TOLERANCE_MM = 1e-4


def mr_template(
    patient: Patient,
    *,
    study_uid: str,
    frame_of_reference: str,
    study: Mapping[str, Any] | None = None,
    series: Mapping[str, Any] | None = None,
    acquisition: Mapping[str, Any] | None = None,
) -> Dataset:
    """Everything that the slices of one new MR series share.

    Parameters
    ----------
    study, series, acquisition : mapping of DICOM keyword to value, optional
        Added to, or in place of, the empty values that the standard asks for.
    """
    from pydicom.dataset import Dataset

    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = MR_IMAGE
    ds.Modality = "MR"
    ds.PatientName, ds.PatientID = patient.name, patient.id
    ds.PatientBirthDate, ds.PatientSex = patient.birth_date, patient.sex
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, new_uid()
    ds.FrameOfReferenceUID = frame_of_reference or new_uid()
    for keyword in _EMPTY:
        setattr(ds, keyword, None)
    ds.Manufacturer = SOFTWARE
    ds.SoftwareVersions = SOFTWARE_VERSION
    ds.ScanningSequence, ds.SequenceVariant = "RM", "NONE"
    ds.BodyPartExamined = "BRAIN"
    for values in (study, series, acquisition):
        for keyword, value in (values or {}).items():
            setattr(ds, keyword, value)
    return ds


#: Type 2 attributes of the MR Image IOD: they must be there and may be empty.
_EMPTY = (
    "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
    "SeriesNumber", "PatientPosition", "PositionReferenceIndicator", "ScanOptions",
    "MRAcquisitionType", "EchoTime", "EchoTrainLength", "RepetitionTime",
)  # fmt: skip


def write_mr_series(
    folder: Path,
    volume: Volume,
    template: Dataset,
    *,
    per_slice: Callable[[Dataset, int], None] | None = None,
    instance_uid: Callable[[int], str] | None = None,
    sync: bool = True,
) -> list[Path]:
    """Write a volume as a new folder of single-frame MR images, and read them back.

    Parameters
    ----------
    folder : Path
        Must not exist; made whole or not at all.
    volume : Volume
        Slices go out in array order ``k``, rows along ``j``, columns along ``i``.
    template : pydicom Dataset
        See :func:`mr_template`; changed in place for each slice.
    per_slice : callable, optional
        Adds to the data set of slice ``k`` before it is written.
    instance_uid : callable, optional
        SOP Instance UID of slice ``k``; random where not given.

    Returns
    -------
    list of Path
        One file per slice, in array order.

    Raises
    ------
    BadInput
        Where rows and columns are not perpendicular, or a voxel is not a number.
    WorldFailed
        Where the disk refuses or the files read back differ.
    """
    _check_plane(volume)
    stored, slope, intercept = stored_pixels(volume)
    _set_common(template, volume, stored, slope, intercept)
    names = [f"{k + 1:04d}.dcm" for k in range(volume.geometry.shape[0])]

    def write(aside: Path) -> None:
        for k, name in enumerate(names):
            _set_slice(template, volume.geometry, k, stored[k])
            template.SOPInstanceUID = instance_uid(k) if instance_uid else new_uid()
            if per_slice:
                per_slice(template, k)
            save(template, aside / name)

    def verify(aside: Path) -> None:
        for k, name in enumerate(names):
            _verify_slice(aside / name, volume.geometry, k, stored[k])

    write_folder_atomic(folder, write, verify, sync=sync)
    return [Path(folder) / name for name in names]


def save(ds: Dataset, path: Path, *, implicit: bool = False) -> None:
    """Write a data set as a DICOM file: explicit little endian by default, empty preamble."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(new_uid("implementation"))
    meta.ImplementationVersionName = f"ISOCENTER {SOFTWARE_VERSION}"
    ds.file_meta = meta
    ds.preamble = b"\0" * 128
    ds.save_as(path, enforce_file_format=True)


def stored_pixels(volume: Volume) -> tuple[np.ndarray, float, float]:
    """The voxels as 16-bit integers with one rescale for the whole series.

    Whole numbers that fit stay as they are; others are spread over 65536 levels, so that the real
    value is off by at most half a level.

    Returns
    -------
    pixels : ndarray, shape (k, j, i)
        uint16 or int16.
    slope, intercept : float
        ``pixels * slope + intercept`` is the real value; both fit a DICOM decimal string.
    """
    values = volume.voxels
    if not np.isfinite(values).all():
        raise BadInput(
            "Some voxels are not numbers, and DICOM MR cannot hold those",
            volume.name,
            "Export this volume as NIfTI or NRRD",
        )
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "iub" or (values == np.rint(values)).all():
        for kind in (np.uint16, np.int16):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return values.astype(kind), decimal(volume.slope), decimal(volume.intercept)
    step = decimal(max((high - low) / 65535.0, 1e-30) * volume.slope)
    base = decimal(low * volume.slope + volume.intercept)
    real = values.astype(np.float64) * volume.slope + volume.intercept
    return np.clip(np.rint((real - base) / step), 0, 65535).astype(np.uint16), step, base


def cut_text(text: str, length: int = 64, *, in_bytes: bool = False) -> str:
    """A text as a header holds it: no backslash, at most so long, cut between two words.

    Parameters
    ----------
    length : int
        64 for LO, 16 for SH (PS3.5 table 6.2-1).
    in_bytes : bool
        Count bytes of UTF-8: the standard counts characters, but many programs do not.
    """
    text = " ".join(text.replace("\\", "/").split())
    size = len(text.encode()) if in_bytes else len(text)
    if size <= length:
        return text
    short = text.encode()[:length].decode(errors="ignore") if in_bytes else text[:length]
    if text[len(short)] != " " and " " in short:
        short = short[: short.rindex(" ")]
    return short.rstrip(" ,;:.-(/\u00b7\u2013")


def plain_ascii(text: str) -> str:
    """The text in ASCII letters, accents and typographic signs in their nearest plain form."""
    import unicodedata

    signs = str.maketrans(
        {"\u00b7": "-", "\u2013": "-", "\u2014": "-", "\u2026": "...", "\u2019": "'"}
    )
    apart = unicodedata.normalize("NFKD", text.translate(signs))
    return apart.encode("ascii", "ignore").decode()


def decimal(value: float) -> float:
    """The number as a DICOM decimal string of 16 characters would give it back."""
    from pydicom.valuerep import format_number_as_ds

    return float(format_number_as_ds(float(value)))


def decimals(values) -> list:
    """Numbers ready for an attribute of decimal strings."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(v), auto_format=True) for v in values]


def _check_plane(volume: Volume) -> None:
    rows, columns = volume.geometry.directions[:, 2], volume.geometry.directions[:, 1]
    if abs(float(rows @ columns)) > ORTHOGONAL_TOLERANCE:
        raise BadInput(
            "Rows and columns are not perpendicular, and DICOM cannot place such a slice",
            volume.name,
            "Export this volume as NIfTI or NRRD",
        )


def _set_common(ds: Dataset, volume: Volume, stored: np.ndarray, slope: float, base: float) -> None:
    step_k, step_j, step_i = volume.geometry.spacing
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME1" if volume.inverted else "MONOCHROME2"
    ds.Rows, ds.Columns = volume.geometry.shape[1:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = int(stored.dtype == np.int16)
    ds.PixelSpacing = decimals((step_j, step_i))
    if "SliceThickness" not in ds:
        ds.SliceThickness = decimals([step_k])[0]
    ds.SpacingBetweenSlices = decimals([step_k])[0]
    ds.ImageOrientationPatient = decimals(
        [*volume.geometry.directions[:, 2], *volume.geometry.directions[:, 1]]
    )
    if (slope, base) != (1.0, 0.0):
        ds.RescaleSlope, ds.RescaleIntercept = decimals((slope, base))
        ds.RescaleType = "US"
    window = volume.window or auto_window(
        volume.measured(volume.voxels.reshape(-1)[:: _sparse(volume)]), volume.inverted
    )
    ds.WindowCenter, ds.WindowWidth = decimals((window.centre, max(window.width, 1e-6)))


def _sparse(volume: Volume) -> int:
    """A stride that leaves some hundred thousand voxels of all slices; odd, to miss no column."""
    return (volume.voxels.size // 300_000) | 1


def _set_slice(ds: Dataset, geometry: Geometry, k: int, pixels: np.ndarray) -> None:
    ds.InstanceNumber = k + 1
    ds.ImagePositionPatient = decimals(geometry.world((k, 0, 0)))
    ds.PixelData = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    ds["PixelData"].VR = "OW"


def _verify_slice(path: Path, geometry: Geometry, k: int, pixels: np.ndarray) -> None:
    from pydicom import dcmread

    ds = dcmread(path)
    back = np.frombuffer(ds.PixelData, pixels.dtype.newbyteorder("<")).reshape(pixels.shape)
    corner = _position(ds, pixels.shape[0] - 1, pixels.shape[1] - 1)
    meant = geometry.world((k, pixels.shape[0] - 1, pixels.shape[1] - 1))
    start = np.abs(_position(ds, 0, 0) - geometry.world((k, 0, 0))).max()
    if not np.array_equal(back, pixels) or max(start, np.abs(corner - meant).max()) > (
        POSITION_TOLERANCE_MM
    ):
        raise WorldFailed("A slice read back differs from what was written", path.name)


def _position(ds: Dataset, row: int, column: int) -> np.ndarray:
    """LPS mm of a pixel (PS3.3 equation C.7.6.2.1-1)."""
    origin, axes = np.array(ds.ImagePositionPatient, float), np.array(ds.ImageOrientationPatient)
    between_rows, between_columns = (float(v) for v in ds.PixelSpacing)
    return origin + axes[:3] * column * between_columns + axes[3:] * row * between_rows
