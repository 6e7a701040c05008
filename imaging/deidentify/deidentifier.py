"""The door: a clean copy of one data set, or of one DICOM file, with the proof that it is clean.

>>> deidentifier = Deidentifier(Options(dates="shift"), load_key())
>>> clean = deidentifier.dataset(ds)                       # a new data set, the old one untouched
>>> done = deidentifier.file(path_in, path_out)            # written aside, searched, then renamed
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imaging.atomic import write_atomic
from imaging.deidentify.canaries import Canaries
from imaging.deidentify.checks import why_refused
from imaging.deidentify.key import Key
from imaging.deidentify.options import CODES, KEEP, REMOVE, SHIFT, Options
from imaging.deidentify.text import tokens
from imaging.deidentify.walk import Walk, identity
from imaging.dicom.writing.write import SOFTWARE, SOFTWARE_VERSION, new_uid
from imaging.errors import BadInput, WorldFailed

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

FACES = "113102"
_TEMPORAL = {KEEP: "UNMODIFIED", SHIFT: "MODIFIED", REMOVE: "REMOVED"}
_DEFLATED = "1.2.840.10008.1.2.1.99"
_EXPLICIT, _IMPLICIT, _BIG = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2",
)  # fmt: skip


@dataclass(frozen=True)
class Clean:
    """A clean copy and what was done to make it.

    Parameters
    ----------
    dataset : pydicom Dataset
    actions : dict
        ``(attribute, what was done)`` to how often; attributes by tag and name, never values.
    canaries : Canaries
        What must not be found in the file.
    pseudonym : str
        The new Patient ID.
    """

    dataset: Dataset
    actions: dict[tuple[str, str], int]
    canaries: Canaries = field(repr=False)
    pseudonym: str = ""


@dataclass(frozen=True)
class Deidentifier:
    """The basic profile with some options, and the key that joins all it is given.

    Parameters
    ----------
    options : Options
    key : Key
        The same key gives the same pseudonyms and UIDs, so images, masks and reports that are
        treated one by one, even on different days, still refer to each other.
    """

    options: Options
    key: Key

    def dataset(self, dataset: Dataset, *, defaced: bool = False) -> Dataset:
        """A clean copy; the given data set is not changed.

        Pixels stay as they are; see :func:`imaging.deidentify.checks.burned_in` for text in them.

        Raises
        ------
        BadInput
            Where the object must not leave: an embedded document, text burned in, no identity.
        """
        return self.clean(dataset, defaced=defaced).dataset

    def clean(self, dataset: Dataset, *, defaced: bool = False) -> Clean:
        """As :meth:`dataset`, with what was done and what to look for afterwards."""
        refused = why_refused(dataset, self.options)
        if refused:
            what, _, advice = refused.partition(". ")
            raise BadInput(what, "", advice)
        patient = identity(dataset)
        walk = Walk(self.options, self.key, patient, _names(dataset, self.options))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values
            new = walk.dataset(dataset)
            _take_pixels(dataset, new)
            self._sign(new, defaced)
            _new_meta(new, dataset)
            for text in (new.DeidentificationMethod, new.file_meta.ImplementationVersionName):
                walk.canaries.made(str(text))
        return Clean(new, dict(walk.actions), walk.canaries, self.key.pseudonym(patient))

    def file(
        self,
        source: Path,
        target: Path,
        *,
        change_pixels: Callable[[Dataset], bool] | None = None,
    ) -> Clean:
        """Make a clean copy of a DICOM file.

        The copy is written aside, read back, searched for every value that went, and only then
        gets its name. Nothing is overwritten.

        Parameters
        ----------
        source, target : Path
            The folder of ``target`` must exist.
        change_pixels : callable, optional
            Takes the face out of a data set that it may change, and returns True where it did.

        Raises
        ------
        BadInput
            Where the file is not readable DICOM, must not leave, or a value is found again.
        WorldFailed
            Where the disk refuses or the file read back differs.
        """
        target = Path(target)
        if target.exists():
            raise WorldFailed("There is already something with this name", str(target))
        original = read(Path(source))
        encodings = _encodings(original)
        try:
            changed = bool(change_pixels is not None and change_pixels(original))
            clean = self.clean(original, defaced=changed)
        except BadInput as error:
            raise BadInput(error.what, str(source), error.advice) from error
        except RecursionError as error:
            raise BadInput("Sequences are nested endlessly", str(source)) from error
        write_atomic(
            target,
            lambda aside: _write(clean.dataset, aside),
            lambda aside: _verify(clean, aside, source, encodings),
        )
        return clean

    def _sign(self, new: Dataset, defaced: bool) -> None:
        """Say in the header what was done (PS3.15 E.1.1, PS3.3 C.7.1.1)."""
        from pydicom.dataset import Dataset

        codes = [*self.options.codes, *([FACES] if defaced else [])]
        new.SpecificCharacterSet = "ISO_IR 192"
        new.PatientName = new.PatientID = str(new.get("PatientID") or "ANON")
        new.PatientIdentityRemoved = "YES"
        new.DeidentificationMethod = f"{SOFTWARE} {SOFTWARE_VERSION}, PS3.15 Annex E"
        items = []
        for code in sorted(codes):
            item = Dataset()
            item.CodeValue, item.CodingSchemeDesignator = code, "DCM"
            item.CodeMeaning = CODES[code]
            items.append(item)
        new.DeidentificationMethodCodeSequence = items
        new.LongitudinalTemporalInformationModified = _TEMPORAL[self.options.dates]
        if "PixelData" in new and self.options.pixels_checked:
            new.BurnedInAnnotation = "NO"
        if defaced:
            new.RecognizableVisualFeatures = "NO"


def deidentify_file(source: Path, target: Path, options: Options, key: Key) -> Clean:
    """One DICOM file; see :meth:`Deidentifier.file`."""
    return Deidentifier(options, key).file(source, target)


def read(path: Path, headers_of: Sequence[str] = ()) -> Dataset:
    """A DICOM file, with or without its preamble: whole, or only some attributes of its header.

    Raises
    ------
    BadInput
        Where it is no DICOM, damaged, or inflates without end.
    WorldFailed
        Where it cannot be read.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        _check_inflation(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if headers_of:
                dataset = dcmread(
                    path, force=True, stop_before_pixels=True, specific_tags=list(headers_of)
                )
            else:
                dataset = dcmread(path, force=True)
            if "SOPClassUID" not in dataset or not str(dataset.SOPClassUID):
                raise BadInput("This is no DICOM file", str(path))
            _ = dataset.get("PatientID")
            return dataset
    except OSError as error:
        raise WorldFailed("The file cannot be read", str(path)) from error
    except (InvalidDicomError, ValueError, KeyError, TypeError, AttributeError, EOFError,
            NotImplementedError, RecursionError, MemoryError, LookupError) as error:  # fmt: skip
        raise BadInput("The file is damaged or no DICOM", str(path)) from error


def _check_inflation(path: Path) -> None:
    """A small deflated file must not fill the memory (pydicom has no limit)."""
    from imaging.dicom.header.read import inflated_data
    from imaging.dicom.header.vetting import MAX_INFLATED_BYTES

    with open(path, "rb") as file:
        head = file.read(1024)
    if _DEFLATED.encode() in head and len(inflated_data(str(path), MAX_INFLATED_BYTES + 1)) > (
        MAX_INFLATED_BYTES
    ):
        raise BadInput("The compressed data inflate far too strongly", str(path))


#: Where names of people and places stand that no other text may repeat.
_NAMES = (
    "PatientName", "PatientID", "OtherPatientNames", "PatientBirthName", "OtherPatientIDs",
    "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "AccessionNumber",
    "NameOfPhysiciansReadingStudy", "RequestingPhysician", "PatientMotherBirthName",
)  # fmt: skip
_PLACES = ("InstitutionName", "InstitutionalDepartmentName")
_DEVICES = ("StationName", "DeviceSerialNumber")


def _names(dataset: Dataset, options: Options) -> frozenset[str]:
    """Words of the names in a header, in small letters: no other text keeps them."""
    keywords = [*_NAMES]
    keywords += () if options.keep_institution else _PLACES
    keywords += () if options.keep_device else _DEVICES
    words: set[str] = set()
    for keyword in keywords:
        words |= tokens(str(dataset.get(keyword) or ""))
    return frozenset(word for word in words if len(word) > 2)


def _take_pixels(old: Dataset, new: Dataset) -> None:
    """The pixels as they are; planes hidden in their unused bits are wiped."""
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in old:
            new.add(old[keyword])
    hidden = [
        tag
        for tag in old.keys()  # noqa: SIM118
        if tag.group >> 8 == 0x60 and tag.element == 0x0102 and old[tag].value
    ]
    if hidden and "PixelData" in new:
        _wipe_unused_bits(new, old)


def _wipe_unused_bits(new: Dataset, old: Dataset) -> None:
    import numpy as np
    from pydicom.dataelem import DataElement

    syntax = _syntax(old)
    if syntax not in (_EXPLICIT, _BIG) or int(old.BitsAllocated) != 16:
        raise BadInput("A drawing is hidden in unused bits of compressed pixels")
    order = ">" if syntax == _BIG else "<"
    pixels = np.frombuffer(old.PixelData, f"{order}u2")
    high, stored = int(old.HighBit), int(old.BitsStored)
    mask = ((1 << stored) - 1) << (high - stored + 1)
    kept = pixels & np.array(mask, pixels.dtype)
    if int(old.get("PixelRepresentation") or 0):  # the sign goes on into the wiped bits
        negative = (pixels >> high) & 1
        kept = kept | (negative * np.uint16(~((1 << (high + 1)) - 1) & 0xFFFF)).astype(kept.dtype)
    new.add(DataElement(old["PixelData"].tag, "OW", kept.astype(pixels.dtype).tobytes()))


def _new_meta(new: Dataset, old: Dataset) -> None:
    """File meta and preamble from nothing; explicit little endian, or compressed as it was."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = new.SOPClassUID
    meta.MediaStorageSOPInstanceUID = new.SOPInstanceUID
    meta.TransferSyntaxUID = UID(_syntax(old))
    meta.ImplementationClassUID = UID(new_uid("implementation"))
    meta.ImplementationVersionName = f"ISOCENTER {SOFTWARE_VERSION}"
    new.file_meta = meta
    new.preamble = b"\0" * 128  # type: ignore[attr-defined]


def _syntax(dataset: Dataset) -> str:
    """How the copy is encoded; only big endian and compressed pixels keep what they have."""
    syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", ""))
    if not syntax:
        return _BIG if dataset.original_encoding[1] is False else _EXPLICIT
    return _EXPLICIT if syntax in (_IMPLICIT, _EXPLICIT, _DEFLATED) else syntax


def _write(new: Dataset, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        new.save_as(path, enforce_file_format=True)


def _verify(clean: Clean, path: Path, source: Path, encodings: list[str]) -> None:
    """Read back: the same elements, and none of the old values anywhere."""
    from pydicom import dcmread

    raw = path.read_bytes()
    leaks = clean.canaries.leaks(raw, encodings, lambda: dcmread(path))
    if leaks:
        raise BadInput(
            f"An original value of {', '.join(leaks[:3])} was found in the finished file, so it "
            "was not let out",
            str(source),
        )


def _encodings(dataset: Dataset) -> list[str]:
    from pydicom.charset import convert_encodings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return convert_encodings(dataset.get("SpecificCharacterSet"))
    except (LookupError, ValueError):
        return ["latin_1"]
