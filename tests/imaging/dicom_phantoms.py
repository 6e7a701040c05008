"""DICOM series made by code whose every voxel says where it lies.

The stored value of a voxel is a linear function of its place in the patient, so a test can ask any
voxel of a loaded volume whether it is where it should be, whatever the order of slices and axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, EnhancedMRImageStorage, MRImageStorage, generate_uid

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
_WEIGHTS = np.array([3.0, 5.0, 7.0])


def place_value(world: np.ndarray) -> np.ndarray:
    """The value of a voxel at LPS mm ``(..., 3)``; positive inside a head."""
    return 4000.0 + np.asarray(world) @ _WEIGHTS


@dataclass
class Plan:
    """How one slice is made; a test changes what it is about."""

    position: tuple[float, float, float] = (-40.0, -50.0, 0.0)
    orientation: tuple[float, ...] = AXIAL
    spacing: tuple[float, float] = (1.5, 1.25)
    rows: int = 12
    columns: int = 10
    slope: float = 1.0
    intercept: float = 0.0
    syntax: str = EXPLICIT
    add: float = 0.0


def slice_values(plan: Plan) -> np.ndarray:
    """Real values of a slice, shape (rows, columns)."""
    axes = np.asarray(plan.orientation).reshape(2, 3)
    j, i = np.mgrid[: plan.rows, : plan.columns]
    world = (
        np.asarray(plan.position)
        + j[..., None] * axes[1] * plan.spacing[0]
        + i[..., None] * axes[0] * plan.spacing[1]
    )
    return place_value(world) + plan.add


def stored_values(plan: Plan) -> np.ndarray:
    """What is written for a slice: the real values through the rescale backwards."""
    return np.rint((slice_values(plan) - plan.intercept) / plan.slope).astype(np.uint16)


class Maker:
    """Writes the slices of one study into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study, self.series, self.frame = generate_uid(), generate_uid(), generate_uid()
        self.count = 0

    def dataset(self, plan: Plan, **tags: object) -> Dataset:
        """One slice as a data set; ``tags`` set or, with None, remove attributes."""
        self.count += 1
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = UID(plan.syntax)
        data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = self.study, self.series
        data.FrameOfReferenceUID, data.Modality = self.frame, "MR"
        data.PatientName, data.PatientID = "Phantom^Place", "P1"
        data.SeriesDescription, data.SeriesNumber = "place", 3
        data.InstanceNumber = self.count
        data.ImagePositionPatient = [round(v, 8) for v in plan.position]
        data.ImageOrientationPatient = [round(v, 8) for v in plan.orientation]
        data.PixelSpacing = list(plan.spacing)
        data.SliceThickness = 99.0
        data.Rows, data.Columns = plan.rows, plan.columns
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 0
        if (plan.slope, plan.intercept) != (1.0, 0.0):
            data.RescaleSlope, data.RescaleIntercept = plan.slope, plan.intercept
        order = ">u2" if plan.syntax == BIG_ENDIAN else "<u2"
        data.PixelData = stored_values(plan).astype(order).tobytes()
        data["PixelData"].VR = "OW"
        for name, value in tags.items():
            if value is None:
                delattr(data, name)
            else:
                setattr(data, name, value)
        return data

    def write(self, plan: Plan, name: str = "", **tags: object) -> Path:
        """Write one slice; returns its path."""
        data = self.dataset(plan, **tags)
        path = self.folder / (name or f"image{self.count:04d}")
        data.save_as(path, enforce_file_format=True)
        return path

    def stack(self, heights: list[float], plan: Plan | None = None, **tags: object) -> list[Path]:
        """Write slices at these heights (mm along the normal), in this order of files."""
        return [self.write(at_height(plan or Plan(), height), **tags) for height in heights]


def at_height(plan: Plan, height: float) -> Plan:
    """The plan moved along its normal."""
    axes = np.asarray(plan.orientation).reshape(2, 3)
    moved = np.asarray(plan.position) + height * np.cross(axes[0], axes[1])
    return Plan(**{**vars(plan), "position": tuple(float(v) for v in moved)})


def enhanced(maker: Maker, plans: list[Plan], echoes: list[float]) -> Dataset:
    """One enhanced multi-frame data set whose frames follow the plans."""
    data = maker.dataset(plans[0], ImagePositionPatient=None, ImageOrientationPatient=None,
                         PixelSpacing=None, SliceThickness=None)  # fmt: skip
    data.SOPClassUID = EnhancedMRImageStorage
    data.NumberOfFrames = len(plans)
    shared = Dataset()
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = list(plans[0].orientation)
    measures.PixelSpacing, measures.SliceThickness = list(plans[0].spacing), 99.0
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelMeasuresSequence = Sequence([measures])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    items = []
    for plan, echo in zip(plans, echoes, strict=True):
        place, time, scale, item = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = list(plan.position)
        time.EffectiveEchoTime = echo
        scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = 1, 0, "US"
        item.PlanePositionSequence = Sequence([place])
        item.MREchoSequence = Sequence([time])
        item.PixelValueTransformationSequence = Sequence([scale])
        items.append(item)
    data.PerFrameFunctionalGroupsSequence = Sequence(items)
    data.PixelData = b"".join(stored_values(plan).tobytes() for plan in plans)
    data["PixelData"].VR = "OW"
    return data
