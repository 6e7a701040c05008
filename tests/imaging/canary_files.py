"""DICOM files in which every attribute of the confidentiality profile holds a value of its own."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from imaging.deidentify.profile import rules

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
#: An embedded document makes the whole file stay; it has a test of its own.
DOCUMENT = 0x00420011
_TEXT = ("LO", "SH", "LT", "ST", "UT", "UC", "AE", "CS", "UR")


class Canaries:
    """Hands out values that occur nowhere else, and remembers how they look in a file."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.bytes: dict[bytes, str] = {}
        self.dates: set[bytes] = set()

    def value(self, vr: str, name: str) -> Any:
        """A new value of this kind."""
        n = next(self._numbers)
        value: Any
        if vr in _TEXT:
            value = f"CNRY{n:05d}QX"
        elif vr == "PN":
            value = f"Cnry{n:05d}^Qx{n:05d}"
        elif vr == "UI":
            value = f"1.2.826.0.1.99.1{n:05d}.77"
        elif vr in ("DA", "DT"):
            day = datetime.date(1801, 1, 1) + datetime.timedelta(days=n)
            value = day.strftime("%Y%m%d") + ("131415.161718" if vr == "DT" else "")
        elif vr == "TM":
            value = f"{n // 3600 % 24:02d}{n // 60 % 60:02d}{n % 60:02d}.8{n:05d}"
        elif vr in ("DS", "IS"):
            value = f"9{n:08d}"
        elif vr in ("FD", "FL"):
            return 7.5e11 + n * 1e6
        elif vr in ("OB", "OW", "UN", "OF", "OD", "OL", "OV"):
            value = b"CNRYBYTES%07dQX..." % n
            value += b"." * (-len(value) % 8)
        elif vr == "AS":
            return f"{n % 1000:03d}D"
        else:
            return 40000 + n % 20000
        shown = value if isinstance(value, bytes) else value.encode()
        self.bytes[shown] = name
        if vr in ("DA", "DT", "TM"):
            self.dates.add(shown)
        if vr == "PN":
            self.bytes[value.split("^")[1].encode()] = name
        return value

    def found_in(self, raw: bytes, dates: bool = True) -> list[str]:
        """Names of the attributes whose value is somewhere in these bytes."""
        low = raw.lower()
        wanted = self.bytes if dates else self.bytes.keys() - self.dates
        return [self.bytes[value] for value in wanted if value.lower() in low]

    def fill(self, dataset: Dataset, where: str, without: tuple[int, ...] = ()) -> None:
        """Give a data set every attribute of the profile."""
        for tag, rule in rules().items():
            if tag in without or tag >> 16 < 8:
                continue
            vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "LO"
            vr = vr.split(" or ")[-1]
            name = f"{rule.name} ({where})"
            if vr == "SQ":
                item = Dataset()
                item.add(DataElement(0x00081155, "UI", self.value("UI", name)))
                item.add(DataElement(0x00081030, "LO", self.value("LO", name)))
                item.add(DataElement(0x00401001, "SH", self.value("SH", name)))
                dataset.add(DataElement(tag, "SQ", [item]))
            else:
                dataset.add(DataElement(tag, vr, self.value(vr, name)))
        for tag, vr in ((0x50003000, "OW"), (0x60004000, "LO"), (0x60023000, "OW")):
            dataset.add(DataElement(tag, vr, self.value(vr, f"{tag:08X} ({where})")))


def plain_image() -> Dataset:
    """A small MR image with the header it needs to be shown."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = MR_IMAGE, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.5"
    ds.Modality, ds.Manufacturer = "MR", "SIEMENS"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.PatientID, ds.PatientName = "4711", "Doe^Jane"
    ds.Rows = ds.Columns = 8
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.PixelSpacing, ds.ImagePositionPatient = [1.5, 1.5], [1, 2, 3]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SliceThickness = 2
    ds.PixelData = np.arange(64, dtype="<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def save(ds: Dataset, path: Path, preamble: bytes = b"\0" * 128, **meta: Any) -> Path:
    """Write a data set as it is, whatever stands in it."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = UID("1.2.826.0.1.3680043.9.1")
    for keyword, value in meta.items():
        setattr(ds.file_meta, keyword, value)
    ds.preamble = preamble
    ds.save_as(path, enforce_file_format=True)
    return path


def canary_file(path: Path) -> tuple[Path, Canaries]:
    """A file with canaries at the top, in sequences of every kind, in meta and preamble."""
    canaries = Canaries()
    ds = plain_image()
    canaries.fill(ds, "top", without=(DOCUMENT, 0x00081140))
    for where, tag in (
        ("in a listed sequence", 0x00081140),  # Referenced Image Sequence
        ("in functional groups", 0x52009230),
        ("in an unlisted sequence", 0x00409096),  # Real World Value Mapping Sequence
    ):
        item = Dataset()
        canaries.fill(item, where)
        deeper = Dataset()
        canaries.fill(deeper, f"deeper {where}")
        item.add(DataElement(0x00089092, "SQ", [deeper]))  # Referenced Image Evidence
        ds.add(DataElement(tag, "SQ", [item]))
    private = Dataset()
    canaries.fill(private, "in a private sequence")
    block = ds.private_block(0x0029, "CNRY MAKER", create=True)
    block.add_new(0x01, "SQ", [private])
    block.add_new(0x02, "LO", canaries.value("LO", "private text"))
    preamble = canaries.value("OB", "preamble").ljust(128, b"\0")
    meta = {
        "SourceApplicationEntityTitle": canaries.value("AE", "meta"),
        "PrivateInformationCreatorUID": canaries.value("UI", "meta"),
        "PrivateInformation": canaries.value("OB", "meta"),
    }
    return save(ds, path, preamble, **meta), canaries
