"""Series made by code, and masks, contours, maps and reports of other programs beside them.

What is drawn is a function of the place in the patient (two lopsided balls), so a test can ask
every voxel of whatever grid whether it is what it should be.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import permutations, product
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicom_phantoms import AXIAL, CORONAL, SAGITTAL, Maker, Plan
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from imaging.geometry import Geometry
from imaging.open import load_series, scan
from imaging.volume import Volume

_TURN = np.linalg.qr(np.array([[0.96, 0.2, -0.1], [-0.15, 0.95, 0.25], [0.2, -0.2, 0.9]]))[0]
PLANES = {
    "axial": AXIAL,
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "oblique": tuple(float(v) for v in np.round([*_TURN[0], *_TURN[1]], 12)),
}
SLICES, STEP = 9, 2.5
MIDDLE = np.array([1.625, 3.25, 14.0])
_COMPLETE = dict(
    StudyID="", AccessionNumber="", StudyDate="20240311", StudyTime="", PatientBirthDate="",
    PatientSex="", ReferringPhysicianName="", Manufacturer="Phantom", Laterality="",
    PositionReferenceIndicator="",
)  # fmt: skip


def make_series(
    folder: Path, plane: str = "axial", slices: int = SLICES, step: float = STEP
) -> tuple[list[Path], Volume]:
    """A regular series around :data:`MIDDLE`; returns its files in array order and its volume."""
    folder.mkdir(parents=True, exist_ok=True)
    maker, plan = Maker(folder), Plan(orientation=PLANES[plane], rows=20, columns=18)
    right, down = np.reshape(plan.orientation, (2, 3))
    across = np.cross(right, down)
    corner = MIDDLE - right * 17 * plan.spacing[1] / 2 - down * 19 * plan.spacing[0] / 2
    corner -= across * (slices - 1) * step / 2
    plan.position = tuple(float(v) for v in np.round(corner, 8))
    maker.stack([n * step for n in range(slices)], plan, **_COMPLETE)
    with scan([folder]) as result:
        (series,) = result.series
        volume = load_series(series)
    return [Path(file) for file in volume.source.files], volume


def ball_at(world: np.ndarray, overlap: bool = False) -> np.ndarray:
    """Which of two balls hold places (LPS mm), bool (2, ...); with ``overlap`` they share some."""
    apart = (4.0, 3.0, 2.5) if not overlap else (1.5, 1.0, 1.0)
    scale = np.array([1.0, 1.3, 0.8])
    one, other = MIDDLE + apart, MIDDLE - apart
    return np.stack([
        (((world - one) * scale) ** 2).sum(-1) < 4.6**2,
        (((world - other) * scale) ** 2).sum(-1) < 3.7**2,
    ])  # fmt: skip


def balls(geometry: Geometry, overlap: bool = False) -> np.ndarray:
    """The balls on a grid, bool (2, k, j, i)."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
    return ball_at(geometry.world(index), overlap)


def all_orders(geometry: Geometry) -> list[Geometry]:
    """The same grid with its array axes in all 48 orders and directions."""
    found = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        turn, shape = np.zeros((4, 4)), []
        turn[3, 3] = 1
        for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
            turn[old, new] = sign
            turn[old, 3] = 0 if sign > 0 else geometry.shape[old] - 1
            shape.append(geometry.shape[old])
        found.append(Geometry(shape, geometry.affine @ turn, geometry.frame_of_reference))
    return found


# --- masks ------------------------------------------------------------------------------------


def describe(number: int, label: str, automatic: bool = False) -> hd.seg.SegmentDescription:
    """A segment as highdicom wants it."""
    made = hd.AlgorithmIdentificationSequence("finder", codes.cid7162.ArtificialIntelligence, "2.1")
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.cid7150.AnatomicalStructure,
        segmented_property_type=codes.SCT.Brain if number == 1 else codes.SCT.Lesion,
        algorithm_type="AUTOMATIC" if automatic else "MANUAL",
        algorithm_identification=made if automatic else None,
        tracking_uid=f"1.2.3.{number}",
        tracking_id=label,
        display_color=hd.color.CIELabColor.from_rgb(200, 40 * number % 256, 30),
    )


def make_seg(
    path: Path, files: list[Path], volume: Volume, masks: np.ndarray, kind="BINARY", **more
) -> Path:
    """A SEG by highdicom of masks (n, k, j, i) on the volume's own grid.

    Planes are given by position, so nothing depends on the order of the files.
    """
    stack = np.moveaxis(np.asarray(masks), 0, -1)
    geometry = volume.geometry
    fields: dict = dict(
        segment_descriptions=[describe(n + 1, f"Ball {n + 1}", n == 0) for n in range(len(masks))],
        omit_empty_frames=True, series_description="Two balls",
    )  # fmt: skip
    if kind == "LABELMAP":
        stack = np.zeros(geometry.shape, np.uint8)
        for n, mask in enumerate(masks, 1):
            stack[mask] = n
    fields |= more
    orientation = [*geometry.directions[:, 2], *geometry.directions[:, 1]]
    ds = hd.seg.Segmentation(
        source_images=[pydicom.dcmread(file) for file in files],
        pixel_array=stack,
        segmentation_type=kind,
        series_instance_uid=generate_uid(),
        series_number=90,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Maker",
        manufacturer_model_name="Drawer",
        software_versions="1",
        device_serial_number="1",
        plane_positions=[
            hd.PlanePositionSequence("PATIENT", np.round(geometry.world((k, 0, 0)), 8).tolist())
            for k in range(geometry.shape[0])
        ],
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", orientation),
        pixel_measures=hd.PixelMeasuresSequence(
            pixel_spacing=[round(float(v), 8) for v in geometry.spacing[1:]],
            slice_thickness=geometry.spacing[0], spacing_between_slices=geometry.spacing[0],
        ),
        **fields,
    )  # fmt: skip
    ds.save_as(path)
    return path


def dcmqi(name: str) -> str:
    """A program of dcmqi; the test is skipped where it is missing."""
    tool = Path(sys.executable).with_name(name)
    found = str(tool) if tool.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"dcmqi ({name}) is not installed")
    return found


def make_seg_with_dcmqi(path: Path, files: list[Path], volume: Volume, masks: np.ndarray) -> Path:
    """The same by dcmqi, from one label file."""
    import SimpleITK as sitk

    labels = np.zeros(volume.geometry.shape, np.uint8)
    for n, mask in enumerate(masks, 1):
        labels[mask] = n
    image = sitk.GetImageFromArray(labels)
    geometry = volume.geometry
    image.SetSpacing([float(v) for v in geometry.spacing[::-1]])
    image.SetOrigin([float(v) for v in geometry.origin])
    image.SetDirection(geometry.directions[:, ::-1].ravel().tolist())
    label_file, about = path.with_suffix(".nrrd"), path.with_suffix(".json")
    sitk.WriteImage(image, str(label_file))
    code = {"CodeValue": "85756007", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Tissue"}
    segments = [
        {
            "labelID": n, "SegmentDescription": f"Ball {n}", "SegmentLabel": f"Ball {n}",
            "SegmentAlgorithmType": "SEMIAUTOMATIC", "SegmentAlgorithmName": "slicing",
            "SegmentedPropertyCategoryCodeSequence": code,
            "SegmentedPropertyTypeCodeSequence": code,
            "recommendedDisplayRGBValue": [200, 30, 30 * n],
        }
        for n in range(1, len(masks) + 1)
    ]  # fmt: skip
    about.write_text(json.dumps({
        "ContentCreatorName": "Nobody", "ClinicalTrialSeriesID": "", "SeriesNumber": "5",
        "ClinicalTrialTimePointID": "", "SeriesDescription": "dcmqi balls", "InstanceNumber": "1",
        "segmentAttributes": [segments],
    }))  # fmt: skip
    subprocess.run(
        [dcmqi("itkimage2segimage"), "--inputImageList", str(label_file), "--inputDICOMList",
         ",".join(map(str, files)), "--inputMetadata", str(about), "--outputDICOM", str(path),
         "--skip"],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


# --- structure sets ---------------------------------------------------------------------------


def make_rtstruct(path: Path, files: list[Path], rois: dict[str, list], **more) -> Path:
    """An RTSTRUCT by plain pydicom.

    Parameters
    ----------
    rois : dict
        Name to a list of contours: points (n, 3) in LPS mm, or (type, points).
    """
    image = pydicom.dcmread(files[0], stop_before_pixels=True)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.Modality, ds.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    for name in ("StudyInstanceUID", "PatientName", "PatientID"):
        setattr(ds, name, getattr(image, name))
    ds.StructureSetLabel, ds.Manufacturer = "Plan 1", "Maker"
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = image.SeriesInstanceUID
    study.ReferencedSOPInstanceUID, study.RTReferencedSeriesSequence = generate_uid(), [series]
    frame.FrameOfReferenceUID = image.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), 11):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        roi.ReferencedFrameOfReferenceUID = image.FrameOfReferenceUID
        drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, [10, 200, number]
        drawn.ContourSequence = [_contour(one) for one in contours]
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawn)
    for name, value in more.items():
        setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def _contour(one) -> Dataset:
    kind, points = one if isinstance(one, tuple) else ("CLOSED_PLANAR", one)
    item = Dataset()
    item.ContourGeometricType = kind
    item.NumberOfContourPoints = len(points)
    item.ContourData = [f"{v:.6f}"[:16] for v in np.ravel(points)]
    return item


def circle(
    middle: np.ndarray, radius: float, geometry: Geometry, k: float, points: int = 180
) -> np.ndarray:
    """A circle on slice ``k`` of a grid, round about the foot of a middle (LPS mm)."""
    k_of, *_ = geometry.index(middle)
    foot = np.asarray(middle) + geometry.affine[:3, 0] * (k - k_of)
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)[:, None]
    down, right = geometry.directions[:, 1], geometry.directions[:, 2]
    return foot + radius * (np.cos(turn) * down + np.sin(turn) * right)


# --- maps and reports -------------------------------------------------------------------------

PROBABILITY = ("122157", "DCM", "Probability")
T1 = ("113063", "DCM", "T1")


def make_map(
    path: Path,
    files: list[Path],
    volume: Volume,
    values: np.ndarray,
    quantity=PROBABILITY,
    unit=("1", "UCUM", "no units"),
    scale: tuple[float, float] = (1.0, 0.0),
) -> Path:
    """A Parametric Map by highdicom of stored values on the volume's own grid."""
    geometry = volume.geometry
    whole = values.dtype.kind == "u"
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="LABEL", lut_explanation="what it is",
        unit=hd.sr.CodedConcept(*unit),
        value_range=(0, 65535) if whole else (-1e6, 1e6),
        slope=scale[0], intercept=scale[1],
        quantity_definition=hd.sr.CodedConcept(*quantity),
    )  # fmt: skip
    ds = hd.pm.ParametricMap(
        source_images=[pydicom.dcmread(file) for file in files],
        pixel_array=values,
        series_instance_uid=generate_uid(),
        series_number=91,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Maker",
        manufacturer_model_name="Mapper",
        software_versions="1",
        device_serial_number="1",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            hd.VOILUTTransformation(window_center=1, window_width=2)
        ],
        series_description="A map",
        plane_positions=[
            hd.PlanePositionSequence("PATIENT", np.round(geometry.world((k, 0, 0)), 8).tolist())
            for k in range(geometry.shape[0])
        ],
        plane_orientation=hd.PlaneOrientationSequence(
            "PATIENT", [*geometry.directions[:, 2], *geometry.directions[:, 1]]
        ),
        pixel_measures=hd.PixelMeasuresSequence(
            pixel_spacing=[round(float(v), 8) for v in geometry.spacing[1:]],
            slice_thickness=geometry.spacing[0], spacing_between_slices=geometry.spacing[0],
        ),
    )  # fmt: skip
    ds.save_as(path)
    return path


def make_report(path: Path, files: list[Path], seg: Path) -> Path:
    """A TID 1500 report by highdicom about the first segment of a mask."""
    images = [pydicom.dcmread(file) for file in files]
    mask = hd.seg.segread(seg)
    region = hd.sr.ReferencedSegment.from_segmentation(mask, segment_number=1)
    made = hd.sr.AlgorithmIdentification("finder", "2.1")
    volume = hd.sr.Measurement(
        name=codes.SCT.Volume, value=1523.4, unit=codes.UCUM.CubicMillimeter,
        algorithm_id=made,
    )  # fmt: skip
    mean = hd.sr.Measurement(
        name=codes.DCM.MRSignalIntensity if hasattr(codes.DCM, "MRSignalIntensity")
        else hd.sr.CodedConcept("110852", "DCM", "MR signal intensity"),
        value=412.5, unit=codes.UCUM.NoUnits, derivation=codes.SCT.Mean,
    )  # fmt: skip
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid="1.2.3.1", identifier="Lesion 1"),
        referenced_segment=region,
        finding_type=codes.SCT.Lesion,
        finding_sites=[hd.sr.FindingSite(anatomic_location=codes.SCT.Brain)],
        measurements=[volume, mean],
    )
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes("Doe^Jane"),
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=hd.sr.CodedConcept("43528-9", "LN", "MR Head WO contrast"),
        imaging_measurements=[group],
    )
    ds = hd.sr.Comprehensive3DSR(
        evidence=[*images, mask],
        content=report,
        series_number=92,
        series_instance_uid=generate_uid(),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Maker",
        is_complete=True,
        is_final=True,
        is_verified=False,
        series_description="Measurements",
    )
    ds.save_as(path)
    return path
