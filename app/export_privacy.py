"""What must not leave with a de-identified export: words of the patient, text in the pixels.

Names of labels and maps lose every word that is not on the list of common ones, and every word of
this very patient. A file that is finished is searched again for those words before it gets its
name, so that nothing rests on one place having been thought of.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from imaging.deidentify.text import cleaned, is_common, tokens
from imaging.errors import BadInput
from imaging.heatmap import Heatmap
from imaging.segmentation import Segment, Segmentation
from imaging.volume import Source, Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Said by the dialog and by a refused file alike.
LOOK = "File > De-identify folder lets images through that were looked at"
UNREADABLE = "The header of the image cannot be read, so nobody knows whether text is in its pixels"
#: Attributes that say who somebody is or where it was; their words stay in no other text.
_WHO = (
    "PatientName", "PatientID", "OtherPatientNames", "PatientBirthName", "OtherPatientIDs",
    "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "AccessionNumber",
    "NameOfPhysiciansReadingStudy", "RequestingPhysician", "PatientMotherBirthName",
    "InstitutionName", "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber",
)  # fmt: skip
_DATES = ("PatientBirthDate", "StudyDate")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_PIXELS = (
    "SOPClassUID", "Rows", "BurnedInAnnotation", "ImageType", "Modality", "ConversionType",
)  # fmt: skip
_SHORTEST, _SHORTEST_NUMBER, _INSIDE_WORDS = 3, 4, 6
#: Digests and UIDs: random digits, in which a short number turns up by chance.
_RANDOM = re.compile(r"[0-9a-f]{24,}|2\.25\.\d{20,39}", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[^\W_A-Z])(?=[A-Z])")
#: Of a surface only these lines are words, the others are numbers.
_WORDS_OF_OBJ = ("#", "o ", "g ", "usemtl", "mtllib", "newmtl")
_MAX_HEAD = 8 << 20
#: What our own files say of themselves; somebody may be called like one of these words.
_OURS = tokens(
    "algorithm annotator background brain case channel checked code colour created derivatives "
    "device diagnosis draft edited file files finding hand image images index isocenter json label "
    "labels lesion lesions lps made manual map maps mask masks mean model name none not notice "
    "number numbers orig person place probability program range research segment segmentation "
    "space surface test threshold tool training type unit use version volume voxels weights "
    "written"
)


@dataclass(frozen=True)
class OwnWords:
    """What says who the patient is; never shown and never logged.

    Parameters
    ----------
    words : frozenset of str
        Single words, small letters.
    phrases : frozenset of str
        Whole identifiers, dates and UIDs, small letters.
    """

    words: frozenset[str] = field(default=frozenset(), repr=False)
    phrases: frozenset[str] = field(default=frozenset(), repr=False)

    def inside(self, text: str, *, common: bool = False) -> bool:
        """Whether a text tells who the patient is.

        Parameters
        ----------
        common : bool
            Count words that anybody may use, too, such as the name White.
        """
        text = _RANDOM.sub(lambda found: found[0] if found[0] in self.phrases else " ", text)
        lower = text.casefold()
        found = tokens(lower) | tokens(_CAMEL.sub(" ", text))
        for word in self.words:
            if not common and (word in _OURS or is_common(word)):
                continue
            if word in found or (len(word) >= _INSIDE_WORDS and word in lower):
                return True
        return any(phrase in lower for phrase in self.phrases)


def own_words(volumes: Iterable[Volume]) -> OwnWords:
    """What the headers of these images say about who the patient is."""
    words: set[str] = set()
    phrases: set[str] = set()
    for volume in volumes:
        source = volume.source
        who = [source.patient.name, source.patient.id]
        dates = [source.patient.birth_date, source.study_date]
        uids = [source.study_uid, source.series_uid]
        header = _header(source.files[0], (*_WHO, *_DATES, *_UIDS)) if _is_dicom(source) else None
        if header is not None:
            who += [str(header.get(keyword) or "") for keyword in _WHO]
            dates += [str(header.get(keyword) or "") for keyword in _DATES]
            uids += [str(header.get(keyword) or "") for keyword in _UIDS]
        for text in who:
            words |= {word for word in tokens(text) if _counts(word)}
            if len(whole := " ".join(text.split()).casefold()) >= 5 and not is_common(whole):
                phrases.add(whole)
        phrases |= {shape for date in dates for shape in _shapes(date)}
        phrases |= {uid for uid in uids if len(uid) > 16}
    return OwnWords(frozenset(words), frozenset(phrases))


def _counts(word: str) -> bool:
    return len(word) >= (_SHORTEST_NUMBER if word.isdigit() else _SHORTEST)


def _shapes(date: str) -> Iterator[str]:
    if re.fullmatch(r"\d{8}", date):
        yield date
        yield f"{date[:4]}-{date[4:6]}-{date[6:]}"
        yield f"{date[6:]}.{date[4:6]}.{date[:4]}"


def nameless_mask(mask: Segmentation, own: OwnWords) -> Segmentation:
    """A copy that does not say whose it is, nor when it was made."""
    from imaging.storage.arrays import with_labels

    copy = with_labels(mask, [s.number for s in mask.segments])
    made_by = replace(mask.provenance, created="", algorithm=_tool(mask.provenance.algorithm, own))
    segments = tuple(_nameless(segment, own) for segment in mask.segments)
    copy.set_header(mask.header(name="Mask", provenance=made_by, segments=segments))
    return copy


def nameless_map(heat: Heatmap, own: OwnWords) -> Heatmap:
    """The same map without a name of its own."""
    made_by = replace(heat.provenance, created="", algorithm=_tool(heat.provenance.algorithm, own))
    about = cleaned(heat.about, own.words)
    return replace(heat, name=heat.meaning.capitalize(), about=about, provenance=made_by)


def _nameless(segment: Segment, own: OwnWords) -> Segment:
    name = cleaned(segment.name, own.words) or f"Label {segment.number}"
    return replace(segment, name=name, algorithm=_tool(segment.algorithm, own))


def _tool(name: str, own: OwnWords) -> str:
    return "Unnamed tool" if own.inside(name) else name


# --- text in the pixels -------------------------------------------------------------------------


def why_text_in_pixels(volume: Volume, *, every_file: bool = False) -> str:
    """Why the pixels of an image may show who it is of; empty where nothing speaks for it.

    Parameters
    ----------
    every_file : bool
        Ask every file of the image, as an export does; the dialog asks the first one.
    """
    source = volume.source
    if not _is_dicom(source):
        return ""
    files = dict.fromkeys(source.files)
    if every_file and volume.repeats is not None:
        files = dict.fromkeys(file for one in volume.repeats.sources for file in one.files)
    for file in list(files)[: None if every_file else 1]:
        if reason := _asked(file, _stamp(file)):
            return reason
    return ""


@lru_cache(maxsize=4096)
def _asked(file: str, _stamp: int) -> str:
    from imaging.deidentify.checks import burned_in

    header = _header(file, _PIXELS)
    return UNREADABLE if header is None else burned_in(header)


def _stamp(file: str) -> int:
    try:
        return Path(file).stat().st_mtime_ns
    except OSError:
        return 0


def _is_dicom(source: Source) -> bool:
    return source.kind == "dicom" and bool(source.files)


def _header(file: str, keywords: Collection[str]) -> Dataset | None:
    from imaging.deidentify.deidentifier import read
    from imaging.errors import ImagingError

    try:
        return read(Path(file), ("SOPClassUID", *keywords))
    except ImagingError:
        return None


# --- the search in finished files ---------------------------------------------------------------


def searcher(own: OwnWords) -> Callable[[Path, Path], None]:
    """For :func:`imaging.atomic.inspecting`: refuses a file that tells who the patient is."""

    def look(aside: Path, path: Path) -> None:
        if any(own.inside(text) for text in texts_of(aside)):
            raise BadInput(
                "A name, number or date of the patient was found in the finished file, so it was "
                "not let out",
                "",
                "Look at the names of labels, files and data sets",
            )

    return look


def texts_of(path: Path) -> Iterator[str]:
    """The words in a file: all of a text, the header of an image or surface; numbers stay out."""
    name = path.name.lower()
    if name.endswith((".nii.gz", ".nii")):
        yield _nifti_head(path)
    elif name.endswith((".nrrd", ".mha")):
        end = b"\n\n" if name.endswith(".nrrd") else b"ElementDataFile"
        head = _start(path).partition(end)[0].decode("utf-8", "replace")
        yield from filter(_has_letters, (re.split(r":=|[:=]", x, maxsplit=1)[-1]
                                         for x in head.splitlines()))  # fmt: skip
    elif name.endswith(".stl"):
        yield _start(path, 80).decode("latin-1")
    elif name.endswith(".ply"):
        head = _start(path).partition(b"end_header")[0].decode("latin-1")
        yield from (line for line in head.splitlines() if line.startswith("comment"))
    elif name.endswith(".glb"):
        raw = _start(path)
        yield from _strings(json.loads(raw[20 : 20 + int.from_bytes(raw[12:16], "little")]))
    elif name.endswith(".json"):
        yield from _strings(json.loads(path.read_text(encoding="utf-8", errors="replace")))
    elif name.endswith((".csv", ".tsv")):
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        separator = "\t" if name.endswith(".tsv") else ","
        rows = csv.reader(io.StringIO(text), delimiter=separator)
        yield from (cell for row in rows for cell in row if _has_letters(cell))
    elif name.endswith((".obj", ".mtl")):
        with open(path, encoding="utf-8", errors="replace") as lines:
            yield from (line for line in lines if line.startswith(_WORDS_OF_OBJ))
    elif not name.endswith(".png"):
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from filter(_has_letters, text.splitlines())


def _nifti_head(path: Path) -> str:
    """Header and extensions, which end where the voxels begin (``vox_offset``)."""
    import struct

    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rb") as file:
            head = file.read(352)
            (begin,) = struct.unpack_from("<f", head, 108)
            more = file.read(min(max(int(begin) - 352, 0), _MAX_HEAD))
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise BadInput("The finished file cannot be searched for names", path.name) from error
    return (head + more).decode("utf-8", "replace")


def _start(path: Path, count: int = _MAX_HEAD) -> bytes:
    with open(path, "rb") as file:
        return file.read(count)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _has_letters(text: str) -> bool:
    return any(letter.isalpha() for letter in text)
