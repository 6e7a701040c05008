"""How new objects join the study they were made from: patient, study, and which slices.

Headers come from the first source file; slices are named by the UIDs that the volume remembers, so
that files need not be read one by one.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imaging.dicom.codes import SOURCE_FOR_PROCESSING, code_item
from imaging.dicom.header.charsets import unsaid_charset
from imaging.dicom.stacks.describe import person
from imaging.dicom.writing.write import (
    MR_IMAGE,
    SOFTWARE,
    SOFTWARE_VERSION,
    cut_text,
    decimals,
    new_uid,
)
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.volume import Source, Volume

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

#: Attributes of the Patient, General Study, Patient Study and Patient Medical modules: all objects
#: of a study must tell the same (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2).
SHARED_KEYWORDS = (
    "PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "PatientBirthDate",
    "PatientBirthTime", "PatientSex", "OtherPatientIDs", "OtherPatientIDsSequence",
    "OtherPatientNames", "EthnicGroup", "PatientComments", "PatientSpeciesDescription",
    "ResponsiblePerson", "ResponsiblePersonRole", "ResponsibleOrganization",
    "QualityControlSubject", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified",
    "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID",
    "AccessionNumber", "IssuerOfAccessionNumberSequence", "StudyDescription",
    "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "ProcedureCodeSequence",
    "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "PatientAge",
    "PatientSize", "PatientWeight", "MedicalAlerts", "Allergies", "Occupation", "SmokingStatus",
    "AdditionalPatientHistory", "PregnancyStatus", "LastMenstrualDate", "PatientState",
    "PatientSexNeutered", "AdmissionID", "ServiceEpisodeID", "ReasonForVisit",
)  # fmt: skip
_REQUIRED_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber", "PositionReferenceIndicator",
)  # fmt: skip


def read_header(source: Source) -> Dataset:
    """The first source file without its pixels.

    Raises
    ------
    WorldFailed
        Where the file has gone.
    BadInput
        Where it is no longer readable as DICOM.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    path = source.files[0] if source.files else ""
    try:
        ds = dcmread(path, stop_before_pixels=True, force=True)
        return _with_charset(ds, source.patient.name)
    except OSError as error:
        raise WorldFailed(
            "The original images are no longer where they were opened from",
            path,
            "Put them back or open the study again",
        ) from error
    except (InvalidDicomError, ValueError, RecursionError, KeyError) as error:
        raise BadInput("The original image can no longer be read as DICOM", path) from error


def _with_charset(ds: Dataset, name: str) -> Dataset:
    """The header; where it does not say its character set, with the one its name was read in."""
    from pydicom import config
    from pydicom.dataelem import DataElement, RawDataElement

    element = ds.get_item("PatientName")
    raw = (element.value or b"").strip(b" \0") if isinstance(element, RawDataElement) else b""
    if any(ds.get("SpecificCharacterSet") or ()) or not raw or raw.isascii():
        return ds
    charset = unsaid_charset(raw, lambda text: person(text) == name)
    if charset not in ("", "latin-1"):
        # pydicom takes Python's name of it too, but complains, because no file may hold that.
        said = DataElement(0x00080005, "CS", charset, validation_mode=config.IGNORE)
        ds.add(said)
    return ds


def shared_header(original: Dataset, source: Source) -> Dataset:
    """Patient and study attributes of the original, the required ones present if only empty."""
    from pydicom.dataset import Dataset

    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    original.decode()
    for keyword in SHARED_KEYWORDS:
        if keyword in original and not _says_nothing(original[keyword]):
            ds[keyword] = fitted(original[keyword])
    for keyword in _REQUIRED_EMPTY:
        if keyword not in ds:
            setattr(ds, keyword, None)
    ds.StudyInstanceUID = str(original.get("StudyInstanceUID") or source.study_uid or new_uid())
    return ds


def _says_nothing(element: DataElement) -> bool:
    """Whether an element may not be copied: a sequence without an item, an age that is none.

    A code sequence of these modules holds one item or more where it is there (PS3.3 C.7.2.1).
    """
    if element.VR == "SQ":
        return not element.value
    return element.VR == "AS" and bool(element.value) and not _age(element.value)


def _age(value: Any) -> str:
    """An age in its four characters (PS3.5 table 6.2-1); empty where it is none."""
    found = re.fullmatch(r"0*(\d{1,3})([DWMY])", str(value).strip().upper())
    return f"{int(found[1]):03d}{found[2]}" if found else ""


#: Most characters of one value of a kind of text (PS3.5 table 6.2-1).
_LENGTHS = {"SH": 16, "LO": 64, "CS": 16, "UI": 64, "ST": 1024, "LT": 10240}


def fitted(element: DataElement) -> DataElement:
    """A copy of an element whose text is cut to the length its kind allows; some overstep it."""
    from pydicom.dataelem import DataElement

    return DataElement(element.tag, element.VR, fitting(element.VR, element.value))


def fitting(vr: str, value: Any) -> Any:
    """A value, or several, cut to the length that the standard allows."""
    from pydicom.multival import MultiValue

    if isinstance(value, (MultiValue, list)):
        return [fitting(vr, one) for one in value]
    length = _LENGTHS.get(vr)
    if vr == "PN" and value is not None:
        return "=".join(group[:64] for group in str(value).split("=")[:3])
    if vr == "AS" and value:
        return _age(value)
    if length is None or not isinstance(value, str):
        return value
    return cut_text(value, length) if vr in ("SH", "LO") and len(value) > length else value[:length]


#: Words of a description that tell the body part where Body Part Examined is silent.
_PART_WORDS = (
    ("KNEE", "knee genu"),
    ("CSPINE", "cspine c-spine cervical hws"),
    ("TSPINE", "tspine t-spine thoracic bws"),
    ("LSPINE", "lspine l-spine lumbar lws"),
    ("SPINE", "spine spinal cord"),
)


def body_part(original: Dataset) -> str:
    """Body Part Examined: as the header says, else as descriptions say, else the brain.

    Never empty: without it the standard asks for a laterality (PS3.3 C.7.3.1).
    """
    said = str(original.get("BodyPartExamined") or "").strip()
    if said:
        return said[:16]
    keywords = ("StudyDescription", "SeriesDescription", "ProtocolName")
    text = " ".join(str(original.get(keyword) or "") for keyword in keywords).lower()
    words = set(text.replace("_", " ").replace("/", " ").split())
    return next((part for part, known in _PART_WORDS if words & set(known.split())), "BRAIN")


def name_series(ds: Dataset, number: int, description: str, turn: int) -> None:
    """Number, description and moment of a new series, so that those of later exports differ.

    Parameters
    ----------
    number : int
        Of the kind of object: 901 for the first export, 1901 for the second.
    turn : int
        Which export of the case this is, from 1; from the second on the description says so.
    """
    again = f" ({turn})" if turn > 1 else ""
    ds.SeriesNumber = number + 1000 * (turn - 1)
    ds.SeriesDescription = cut_text(description, 64 - len(again)) + again
    ds.SeriesDate, ds.SeriesTime = ds.InstanceCreationDate, ds.InstanceCreationTime


def object_header(
    original: Dataset, volume: Volume, modality: str, number: int, description: str, turn: int = 1
) -> Dataset:
    """Patient, study, a new series and this program, for an object written without highdicom.

    Parameters
    ----------
    number, description, turn
        As for :func:`name_series`.
    """
    ds = shared_header(original, volume.source)
    ds.SOPInstanceUID, ds.SeriesInstanceUID = new_uid(), new_uid()
    ds.Modality, ds.InstanceNumber = modality, 1
    ds.FrameOfReferenceUID = volume.geometry.frame_of_reference or str(
        original.get("FrameOfReferenceUID") or new_uid()
    )
    ds.PositionReferenceIndicator = None
    ds.Manufacturer = ds.ManufacturerModelName = SOFTWARE
    ds.SoftwareVersions, ds.DeviceSerialNumber = SOFTWARE_VERSION, "0"
    now = datetime.now()
    ds.InstanceCreationDate, ds.InstanceCreationTime = (
        now.strftime("%Y%m%d"),
        now.strftime("%H%M%S"),
    )
    name_series(ds, number, description, turn)
    return ds


def matching_slices(volume: Volume, geometry: Geometry) -> bool:
    """Whether slice ``k`` of an object on this grid is slice ``k`` of the source images."""
    count = volume.geometry.shape[0]
    return geometry.same_grid(volume.geometry) and len(volume.source.instance_uids) == count


def reference_header(volume: Volume) -> tuple[Dataset, str]:
    """A lean header that stands for the whole source series: its study, its frame, its plane.

    The place is that of slice 0 of the volume's own grid and the class that of a single slice, so
    it holds for classic and multi-frame sources alike.

    Returns
    -------
    header : pydicom Dataset
    sop_class : str
        What the source images really are, for references to them.
    """
    original = read_header(volume.source)
    ds = shared_header(original, volume.source)
    ds.SOPClassUID = MR_IMAGE
    ds.SOPInstanceUID = volume.source.instance_uids[0]
    ds.SeriesInstanceUID = volume.source.series_uid or str(original.SeriesInstanceUID)
    ds.FrameOfReferenceUID = volume.geometry.frame_of_reference or str(
        original.get("FrameOfReferenceUID") or new_uid()
    )
    ds.Modality = original.get("Modality") or "MR"
    ds.BodyPartExamined = body_part(original)
    for keyword in (
        "Manufacturer",
        "ManufacturerModelName",
        "SoftwareVersions",
        "DeviceSerialNumber",
    ):
        if original.get(keyword):
            ds[keyword] = fitted(original[keyword])
    _set_plane(ds, volume.geometry)
    return ds, str(original.SOPClassUID)


def _set_plane(ds: Dataset, geometry: Geometry) -> None:
    step_k, step_j, step_i = geometry.spacing
    ds.Rows, ds.Columns = geometry.shape[1:]
    ds.PixelSpacing = decimals((step_j, step_i))
    ds.SliceThickness = decimals([step_k])[0]
    ds.ImagePositionPatient = decimals(geometry.origin)
    ds.ImageOrientationPatient = decimals([*geometry.directions[:, 2], *geometry.directions[:, 1]])


def slice_reference(volume: Volume, sop_class: str, k: int) -> Dataset:
    """The image (and frame) that slice ``k`` of a volume came from, as a Source Image item."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = volume.source.instance_uids[k]
    if volume.source.frames:
        item.ReferencedFrameNumber = volume.source.frames[k]
    item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_FOR_PROCESSING)]
    return item


def join_study(ds: Dataset, header: Dataset, volume: Volume, sop_class: str) -> None:
    """Take over patient and study, and name all source images at the top (PS3.3 C.7.6.1, C.12.2).

    Parameters
    ----------
    header : pydicom Dataset
        From :func:`reference_header`.
    """
    from pydicom.dataset import Dataset

    for keyword in SHARED_KEYWORDS:
        if keyword in header:
            ds[keyword] = header[keyword]
    references = []
    for uid in dict.fromkeys(volume.source.instance_uids):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        references.append(item)
    series = Dataset()
    series.SeriesInstanceUID = volume.source.series_uid
    series.ReferencedInstanceSequence = references
    ds.ReferencedSeriesSequence = [series]
    ds.SourceImageSequence = references


def reference_frames(
    ds: Dataset, volume: Volume, sop_class: str, geometry: Geometry, derivation
) -> None:
    """Name the source slice of every frame of a multi-frame object (PS3.3 C.7.6.16.2.6).

    Frames are matched by their position; where the object's grid is not that of the volume, only
    the top-level references of :func:`join_study` are left.
    """
    from pydicom.dataset import Dataset

    matched = matching_slices(volume, geometry)
    for frame in ds.PerFrameFunctionalGroupsSequence:
        if "DerivationImageSequence" in frame:
            del frame.DerivationImageSequence
        if not matched:
            frame.DerivationImageSequence = []
            continue
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        source = slice_reference(volume, sop_class, int(np.rint(geometry.index(place)[0])))
        source.SpatialLocationsPreserved = "YES"
        item = Dataset()
        item.SourceImageSequence = [source]
        item.DerivationCodeSequence = [code_item(derivation)]
        frame.DerivationImageSequence = [item]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom and highdicom from printing remarks on source headers, which quote them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def referable(volume: Volume) -> bool:
    """True where the volume came from DICOM images that a new object can point to."""
    source = volume.source
    return source.kind == "dicom" and bool(source.instance_uids) and bool(source.files)


def imported_as_dicom(volume: Volume, folder: Path) -> Volume:
    """Write a volume that did not come from DICOM as a derived series, and let it point there.

    The UIDs follow from the voxels and the grid: whatever is made of one image, at any time,
    belongs to one study, and images written twice are the same images. Who writes several objects
    of such a volume calls this once and gives the answer to all of them.

    Returns
    -------
    Volume
        The same voxels and grid, whose source are the new files.
    """
    from dataclasses import replace

    from imaging.dicom.writing.derived import write_derived_series

    identity = _identity(volume)
    study = volume.source.study_uid or new_uid("study", identity)
    frame = volume.geometry.frame_of_reference or new_uid("frame of reference", identity)
    series = new_uid("series", identity)
    instances = tuple(new_uid("image", identity, str(k)) for k in range(volume.geometry.shape[0]))
    geometry = Geometry(volume.geometry.shape, volume.geometry.affine, frame)
    placed = replace(volume, geometry=geometry, source=replace(volume.source, study_uid=study))
    files = write_derived_series(
        folder, placed, description=volume.name, series_uid=series, instance_uids=instances
    )
    source = Source(
        "dicom", tuple(str(f) for f in files), study, series, instances,
        patient=volume.source.patient, study_date=volume.source.study_date,
        series_description=volume.name,
    )  # fmt: skip
    return replace(volume, source=source, geometry=geometry)


def _identity(volume: Volume) -> str:
    """SHA-256 over everything that goes into the images."""
    import hashlib
    from dataclasses import astuple

    text = repr((
        volume.name, volume.voxels.dtype.str, volume.voxels.shape, volume.slope, volume.intercept,
        volume.inverted, volume.interpolated, volume.window, astuple(volume.source.patient),
        volume.source.study_uid, volume.source.study_date, volume.source.study_description,
        volume.geometry.affine.tolist(), volume.geometry.frame_of_reference, SOFTWARE_VERSION,
    ))  # fmt: skip
    digest = hashlib.sha256(text.encode())
    for slice_ in volume.voxels:
        digest.update(np.ascontiguousarray(slice_).data)
    return digest.hexdigest()
