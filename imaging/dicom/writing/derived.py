"""A volume as a new, derived MR series of the same study.

Source: DICOM PS3.3 C.7.6.1.1.3 (derivation), C.7.4.1 (frame of reference kept), C.12.1
(contributing equipment); private attributes and the old window are left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imaging.dicom.codes import (
    FRAMES_FROM_VOLUME,
    PROCESSING_EQUIPMENT,
    SPATIAL_RESAMPLING,
    code_item,
)
from imaging.dicom.writing.parts import check_writable
from imaging.dicom.writing.references import (
    body_part,
    fitting,
    quiet,
    read_header,
    referable,
    shared_header,
    slice_reference,
)
from imaging.dicom.writing.write import (
    RESEARCH_ONLY,
    SOFTWARE,
    SOFTWARE_VERSION,
    cut_text,
    mr_template,
    new_uid,
    write_mr_series,
)
from imaging.segmentation import Code
from imaging.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Scan parameters that stay true of a derived image.
_SCAN_KEYWORDS = (
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName",
    "RepetitionTime", "EchoTime", "InversionTime", "EchoTrainLength", "FlipAngle",
    "MagneticFieldStrength", "ImagingFrequency", "ImagedNucleus", "NumberOfAverages",
    "EchoNumbers", "PixelBandwidth", "ProtocolName", "ContrastBolusAgent", "BodyPartExamined",
    "PatientPosition", "PositionReferenceIndicator", "AcquisitionDate", "AcquisitionTime",
)  # fmt: skip
#: Secondary capture, also its multi-frame kinds: pictures of a screen or of paper.
CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
#: Words of an Image Type whose pixels did not come straight from a scan.
_COMPUTED_WORDS = frozenset(("SECONDARY", "SCREEN SAVE", "SCREENSHOT", "CSA REPORT"))
#: Where enhanced images keep the same numbers: functional group, attribute, classic attribute.
_ENHANCED = (
    ("MRTimingAndRelatedParametersSequence", "RepetitionTime", "RepetitionTime"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle", "FlipAngle"),
    ("MRTimingAndRelatedParametersSequence", "EchoTrainLength", "EchoTrainLength"),
    ("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
    ("MRModifierSequence", "InversionTimes", "InversionTime"),
)


def write_derived_series(
    folder: Path,
    volume: Volume,
    *,
    description: str = "",
    derivation: Code | None = None,
    derivation_text: str = "",
    series_number: int = 900,
    series_uid: str = "",
    instance_uids: Sequence[str] = (),
) -> list[Path]:
    """Write a volume as a derived classic MR series in a new folder.

    Same patient, study and frame of reference as the source, new series and image UIDs; a volume
    that did not come from DICOM gets a study of its own.

    Parameters
    ----------
    folder : Path
        Must not exist; see :func:`imaging.atomic.next_version`.
    derivation : Code, optional
        CID 7203; spatial resampling for an interpolated volume, else frames from a volume.
    series_uid, instance_uids : str, sequence of str, optional
        UIDs of the new series and of its images in array order; random by default.

    Returns
    -------
    list of Path
        One file per slice, in array order.

    Raises
    ------
    BadInput, WorldFailed
        See :func:`imaging.dicom.writing.write.write_mr_series`; also where the source file has
        gone.
    """
    check_writable(volume.geometry, volume, volume.name, sheared=True)
    with quiet():
        original = read_header(volume.source) if referable(volume) else None
        template = _template(volume, original, description or volume.name, series_number)
    chosen = derivation or (SPATIAL_RESAMPLING if volume.interpolated else FRAMES_FROM_VOLUME)
    template.ImageType = _image_type(original)
    text = derivation_text or chosen.meaning
    template.DerivationDescription = f"{text}. {RESEARCH_ONLY}"[:1024]
    template.DerivationCodeSequence = [code_item(chosen)]
    template.ContributingEquipmentSequence = [contributing_equipment()]
    if said := _burned_in(volume, original):
        template.BurnedInAnnotation = said
    if series_uid:
        template.SeriesInstanceUID = series_uid
    return write_mr_series(
        folder, volume, template, per_slice=_referencing(volume, original),
        instance_uid=instance_uids.__getitem__ if instance_uids else None,
    )  # fmt: skip


def contributing_equipment() -> Dataset:
    """This program, as an item of the Contributing Equipment Sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
    item.Manufacturer = SOFTWARE
    item.ManufacturerModelName = SOFTWARE
    item.SoftwareVersions = SOFTWARE_VERSION
    item.ContributionDescription = RESEARCH_ONLY
    return item


def _template(volume: Volume, original: Dataset | None, description: str, number: int) -> Dataset:
    frame = volume.geometry.frame_of_reference
    if original is not None:
        frame = frame or str(original.get("FrameOfReferenceUID") or "")
    template = mr_template(
        volume.source.patient,
        study_uid=volume.source.study_uid or new_uid(),
        frame_of_reference=frame,
        study={
            "StudyDate": volume.source.study_date,
            "StudyDescription": volume.source.study_description or cut_text(volume.name),
        },
        series={"SeriesNumber": number, "SeriesDescription": cut_text(description)},
        acquisition=scan_parameters(original) if original is not None else None,
    )
    if original is not None:
        template.update(shared_header(original, volume.source))
        template.BodyPartExamined = body_part(original)
    return template


def scan_parameters(original: Dataset) -> dict[str, Any]:
    """Scan parameters of a classic or enhanced image, by classic keyword."""
    found = {
        k: fitting(original[k].VR, original[k].value)
        for k in _SCAN_KEYWORDS
        if original.get(k) not in (None, "")
    }
    groups = original.get("SharedFunctionalGroupsSequence")
    for sequence, keyword, classic in _ENHANCED if groups else ():
        item = groups[0].get(sequence)
        value = item[0].get(keyword) if item else None
        if value is not None and classic not in found:
            found[classic] = value if np.isscalar(value) else value[0]
    _settle_inversion(found)
    if "ScanningSequence" in found and not groups:
        found.setdefault("SequenceVariant", "NONE")
    return found


def _settle_inversion(found: dict[str, Any]) -> None:
    """Tell an inversion time beside IR and nowhere else (type 2C, PS3.3 C.8.3.1); 0 is none."""
    time = found.pop("InversionTime", None)
    inverts = time is not None and float(time) > 0
    if "ScanningSequence" not in found and inverts:  # enhanced images tell the time alone
        found["ScanningSequence"] = ["RM", "IR"]
    words = found.get("ScanningSequence", "RM")
    if "IR" in ([words] if isinstance(words, str) else list(words)):
        found["InversionTime"] = time if inverts else None


def _burned_in(volume: Volume, original: Dataset | None) -> str:
    """Whether text is part of the pixels (PS3.3 C.7.6.1.1.3): YES, NO, or empty where unknown.

    Pixels that a scanner acquired hold none. Captures and computed images may, and what did not
    come from DICOM tells nothing.
    """
    if original is None:
        return ""
    said = {_said_burned_in(original), *map(_said_burned_in, _other_headers(volume))}
    if "YES" in said:
        return "YES"
    if said == {"NO"}:
        return "NO"
    words = {str(word).upper() for word in original.get("ImageType") or ()}
    captured = str(original.SOPClassUID).startswith(CAPTURES) or original.get("ConversionType")
    return "" if captured or not words or words & _COMPUTED_WORDS else "NO"


def _said_burned_in(header: Dataset) -> str:
    return str(header.get("BurnedInAnnotation") or "").strip().upper()


def _other_headers(volume: Volume) -> Iterator[Dataset]:
    """The one attribute from all files of a volume but the first; a file that went tells none."""
    from pydicom import dcmread

    for file in dict.fromkeys(volume.source.files[1:]):
        try:
            yield dcmread(file, stop_before_pixels=True, specific_tags=["BurnedInAnnotation"])
        except OSError:
            continue


def _image_type(original: Dataset | None) -> list[str]:
    words = list(original.get("ImageType") or []) if original is not None else []
    return ["DERIVED", "SECONDARY", *(words[2:4] or ["OTHER"])]


def _referencing(volume: Volume, original: Dataset | None) -> Callable[[Dataset, int], None]:
    """What adds the source image to each slice."""
    if original is None:
        return lambda ds, k: None
    nearest = _nearest_source(volume)

    def add(ds: Dataset, k: int) -> None:
        ds.SourceImageSequence = [slice_reference(volume, original.SOPClassUID, nearest[k])]

    return add


def _nearest_source(volume: Volume) -> list[int]:
    """For each slice the source slice to name; the nearest one where slices were made anew."""
    count, sources = volume.geometry.shape[0], len(volume.source.instance_uids)
    if count == sources:
        return list(range(count))
    places = _source_places(volume)
    if places is None:
        return [
            min(round(k * (sources - 1) / max(count - 1, 1)), sources - 1) for k in range(count)
        ]
    normal = np.cross(volume.geometry.directions[:, 2], volume.geometry.directions[:, 1])
    starts = volume.geometry.world([(k, 0, 0) for k in range(count)]) @ normal
    return [int(np.argmin(np.abs(places @ normal - start))) for start in starts]


def _source_places(volume: Volume) -> np.ndarray | None:
    """Positions of the source slices, shape (n, 3), where each has a file that says so."""
    from pydicom import dcmread

    if volume.source.frames or len(volume.source.files) != len(volume.source.instance_uids):
        return None
    try:
        headers = [dcmread(f, specific_tags=["ImagePositionPatient"]) for f in volume.source.files]
        return np.array([h.ImagePositionPatient for h in headers], float)
    except (OSError, AttributeError, ValueError):
        return None
