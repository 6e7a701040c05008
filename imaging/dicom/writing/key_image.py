"""A picture of the views as a Secondary Capture image of the study, so that a PACS shows it.

Colours are as on screen; nothing in it can be measured. Source: DICOM PS3.3 A.8.1, C.8.6 (SC
Equipment, SC Image), C.7.6.1.1.3 (derivation), C.7.6.3.1.2 (RGB).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imaging.atomic import next_version, write_atomic
from imaging.dicom.writing.derived import contributing_equipment
from imaging.dicom.writing.references import (
    body_part,
    imported_as_dicom,
    name_series,
    object_header,
    quiet,
    read_header,
    referable,
    slice_reference,
)
from imaging.dicom.writing.write import RESEARCH_ONLY, save
from imaging.errors import BadInput, WorldFailed
from imaging.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def write_key_image(
    path: Path,
    rgb: np.ndarray,
    volume: Volume,
    *,
    title: str = "",
    burned_in: bool = False,
    slices: Sequence[int] = (),
    turn: int = 1,
) -> Path:
    """Write a picture into the study of a volume, which it names as its source.

    A volume that did not come from DICOM is first written as a derived MR series in a folder
    ``<name>-images`` beside the file.

    Parameters
    ----------
    path : Path
        Replaced as a whole or not at all.
    rgb : ndarray of uint8, shape (rows, columns, 3)
    title : str
        Series description.
    burned_in : bool
        Whether the picture shows who the patient is.
    slices : sequence of int, optional
        Slices of the volume that the picture shows; all where not given.
    turn : int
        Which export of the case this is, from 1: it numbers the series.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    BadInput
        Where the picture is no array of RGB bytes or too large, or a slice is not there.
    WorldFailed
        Where the disk refuses, a source file has gone or what was read back differs.
    """
    path = Path(path)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise BadInput("The picture is not an array of red, green and blue bytes", volume.name)
    if max(rgb.shape[:2]) > 65535:
        raise BadInput("The picture has more rows or columns than DICOM can hold", volume.name)
    if any(not 0 <= k < volume.geometry.shape[0] for k in slices):
        raise BadInput("The picture shows a slice that the image does not have", volume.name)
    if not referable(volume):
        volume = imported_as_dicom(volume, next_version(path.with_name(f"{path.stem}-images")))
    pixels = np.ascontiguousarray(rgb)
    with quiet():
        ds = _build(pixels, volume, title, burned_in, slices)
        name_series(ds, 905, title or "Key image", turn)

    def verify(aside: Path) -> None:
        from pydicom import dcmread

        if not np.array_equal(dcmread(aside).pixel_array, pixels):
            raise WorldFailed("The picture read back differs from what was written", path.name)

    return write_atomic(path, lambda aside: save(ds, aside), verify)


def _build(
    pixels: np.ndarray, volume: Volume, title: str, burned_in: bool, slices: Sequence[int]
) -> Dataset:
    original = read_header(volume.source)
    ds = object_header(original, volume, "OT", 905, title or "Key image")
    del ds.FrameOfReferenceUID, ds.PositionReferenceIndicator
    ds.SOPClassUID = SECONDARY_CAPTURE
    ds.ConversionType = "WSD"
    ds.BodyPartExamined = body_part(original)
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.ContentDate, ds.ContentTime = ds.InstanceCreationDate, ds.InstanceCreationTime
    ds.PatientOrientation = None
    ds.BurnedInAnnotation = "YES" if burned_in else "NO"
    ds.DerivationDescription = f"Picture of the views on screen. {RESEARCH_ONLY}"
    ds.SourceImageSequence = _sources(volume, str(original.SOPClassUID), slices)
    ds.ContributingEquipmentSequence = [contributing_equipment()]
    ds.Rows, ds.Columns, ds.SamplesPerPixel = *pixels.shape[:2], 3
    ds.PhotometricInterpretation, ds.PlanarConfiguration = "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB"
    return ds


def _sources(volume: Volume, sop_class: str, slices: Sequence[int]) -> list[Dataset]:
    """The images shown; each file once where nobody says which slices."""
    count = len(volume.source.instance_uids)
    if slices and count == volume.geometry.shape[0]:
        return [slice_reference(volume, sop_class, k) for k in slices]
    files = {uid: k for k, uid in reversed(list(enumerate(volume.source.instance_uids)))}
    items = [slice_reference(volume, sop_class, k) for k in sorted(files.values())]
    for item in items:
        if "ReferencedFrameNumber" in item:
            del item.ReferencedFrameNumber
    return items
