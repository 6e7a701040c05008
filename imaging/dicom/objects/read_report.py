"""Structured reports as plain text: measurement groups as rows, everything else as lines.

Reads the content tree of any SR class (measurement reports of TID 1500, key object selections,
radiation dose, CAD, basic text). Nothing of it is interpreted but the groups of measurements.
Source: DICOM PS3.3 C.17.3 (SR document content), PS3.16 TID 1500, 1411, 1420, 1501, 300.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imaging.dicom.header.vetting import MAX_NESTING, safe_uid
from imaging.dicom.objects.object_file import (
    MAX_REPORT_BYTES,
    REPORT_FAMILY,
    clean,
    first_item,
    made_by,
    open_object,
)
from imaging.errors import BadInput
from imaging.volume import Patient

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Units as people write them; all others as in the file.
_UNITS = {"mm2": "mm²", "cm2": "cm²", "mm3": "mm³", "cm3": "cm³", "Cel": "°C"}
#: A report shows at most so many lines; the rest is counted.
MAX_LINES = 5000
_LINE = 2000
#: Numbers with more digits are rounded.
MEASURED_DIGITS = 6
_GROUP, _TRACKING_ID, _TRACKING_UID = "125007", "112039", "112040"
_FINDING, _SITE = ("121071", "276214006"), ("363698007", "G-C0E3")
_ALGORITHM, _ALGORITHM_VERSION = "111001", "111003"
_METHOD = ("370129005", "G-C036")
_SEGMENT = ("121191", "121214", "121233")
_OBSERVER_NAMES = ("121008", "121013", "121015")
_CONTEXT = ("121049", "121005", "121012", "121011", "121009", "121010")
_KINDS_WITHOUT_TEXT = (
    "CONTAINER",
    "IMAGE",
    "COMPOSITE",
    "WAVEFORM",
    "SCOORD",
    "SCOORD3D",
    "TCOORD",
)


class Measurement(NamedTuple):
    """One number or answer of a group: ``("Volume", "1523.4", "mm3", "")``."""

    name: str
    value: str
    unit: str = ""
    method: str = ""


class MeasurementGroup(NamedTuple):
    """What was measured of one thing (TID 1501, 1410, 1411).

    Parameters
    ----------
    title : str
        The tracking identifier: what people call the lesion.
    tracking_uid : str
        The same as of the segment that shows it; empty where the report does not say.
    segments : tuple of (str, int)
        SOP Instance UID and segment number of masks it refers to.
    """

    title: str
    tracking_uid: str
    finding: str
    site: str
    algorithm: str
    rows: tuple[Measurement, ...]
    segments: tuple[tuple[str, int], ...] = ()


class ReportLine(NamedTuple):
    """One line of the content tree; ``depth`` 0 is a section."""

    depth: int
    name: str
    value: str


class ReportText(NamedTuple):
    """A report as text.

    Parameters
    ----------
    state : str
        Whether it is complete and verified, in words, and by whom.
    observers : tuple of str
        People and devices that made it.
    created : str
        ISO 8601; empty where unknown.
    patient : Patient
        Whom it is about.
    """

    title: str
    state: str
    observers: tuple[str, ...]
    created: str
    groups: tuple[MeasurementGroup, ...]
    lines: tuple[ReportLine, ...]
    patient: Patient = Patient()

    @property
    def text(self) -> str:
        """All of it, to copy."""
        head = [self.title, self.state, *self.observers]
        if self.created:
            head.append(self.created.replace("T", " "))
        body = ["  " * line.depth + _joined(line.name, line.value) for line in self.lines]
        return "\n".join([*(part for part in head if part), "", *body])


def _joined(name: str, value: str) -> str:
    return f"{name}: {value}" if name and value else name or value


def read_report(path: Path) -> ReportText:
    """Read a structured report.

    Raises
    ------
    BadInput
        Where the file is no report, too large or nested too deeply.
    """
    ds = open_object(path, MAX_REPORT_BYTES)
    if not str(ds.get("SOPClassUID") or "").startswith(REPORT_FAMILY):
        raise BadInput("This DICOM file is not a structured report", str(path))
    try:
        lines = _lines(ds)
        groups = tuple(_group(item) for item in _containers(ds, _GROUP))
        observers = tuple(dict.fromkeys(_observers(ds)))
    except RecursionError:
        raise BadInput("The report is nested too deeply", str(path)) from None
    title = _concept(ds) or clean(ds.get("SeriesDescription")) or "Report"
    patient = Patient(
        clean(ds.get("PatientName"), 64), clean(ds.get("PatientID"), 64),
        clean(ds.get("PatientBirthDate"), 8), clean(ds.get("PatientSex"), 2),
    )  # fmt: skip
    created = made_by(ds, []).created
    return ReportText(title, _state(ds), observers, created, groups, lines, patient)


def read_report_at(path: str) -> ReportText:
    """As :func:`read_report`, with a plain argument for a worker process."""
    return read_report(Path(path))


def count_measurements(ds: Dataset) -> int:
    """Numbers in the measurement groups of a report."""
    return sum(1 for group in _containers(ds, _GROUP) for item in _children(group)
               if item.get("ValueType") == "NUM")  # fmt: skip


# --- the tree ---------------------------------------------------------------------------------


def _children(item: Dataset) -> list[Dataset]:
    return list(item.get("ContentSequence") or [])


def _walk(item: Dataset, depth: int = 0) -> Iterator[tuple[int, Dataset]]:
    """Every content item below one, in the order of reading."""
    if depth > MAX_NESTING:
        raise RecursionError
    for child in _children(item):
        yield depth, child
        yield from _walk(child, depth + 1)


def _containers(ds: Dataset, code: str) -> Iterator[Dataset]:
    return (item for _, item in _walk(ds)
            if item.get("ValueType") == "CONTAINER" and _code_of(item) == code)  # fmt: skip


def _code_of(item: Dataset) -> str:
    name = first_item(item, "ConceptNameCodeSequence")
    return str(name.get("CodeValue") or "") if name is not None else ""


def _concept(item: Dataset) -> str:
    return _meaning(first_item(item, "ConceptNameCodeSequence"))


def _meaning(code: Dataset | None) -> str:
    if code is None:
        return ""
    return clean(code.get("CodeMeaning") or code.get("CodeValue"))


def _lines(ds: Dataset) -> tuple[ReportLine, ...]:
    lines: list[ReportLine] = []
    more = 0
    for depth, item in _walk(ds):
        if str(item.get("RelationshipType") or "") == "HAS CONCEPT MOD" and depth == 0:
            continue  # the language and the like: no content
        name, value = _concept(item), _value(item)
        kind = str(item.get("ValueType") or "")
        if kind == "UIDREF":
            continue  # says nothing to people
        if not value and (not name or kind not in _KINDS_WITHOUT_TEXT):
            continue
        if len(lines) >= MAX_LINES:
            more += 1
        else:
            lines.append(ReportLine(depth, name, value))
    if more:
        lines.append(ReportLine(0, "", f"… and {more} more lines that are not shown"))
    return tuple(lines)


def _value(item: Dataset) -> str:
    """What a content item says, as text."""
    kind = str(item.get("ValueType") or "")
    if kind == "NUM":
        value, unit = _number(item)
        return f"{value} {unit}".strip()
    if kind == "CODE":
        return _meaning(first_item(item, "ConceptCodeSequence"))
    if kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
        return _reference(first_item(item, "ReferencedSOPSequence"))
    if kind in ("SCOORD", "SCOORD3D", "TCOORD"):
        points = len(item.get("GraphicData") or []) // (3 if kind == "SCOORD3D" else 2)
        shape = clean(item.get("GraphicType")).lower()
        return f"{shape} of {points} points" if shape.startswith("poly") else shape
    for keyword in ("TextValue", "PersonName", "UID", "DateTime", "Date", "Time"):
        if item.get(keyword):
            text = clean(item.get(keyword), _LINE)
            return _person(text) if keyword == "PersonName" else text
    return ""


def _person(name: str) -> str:
    parts = [part for part in name.split("=")[0].split("^") if part]
    return ", ".join(parts[:2]) if len(parts) > 1 else "".join(parts)


def _reference(reference: Dataset | None) -> str:
    if reference is None:
        return ""
    from pydicom.uid import UID

    name = UID(str(reference.get("ReferencedSOPClassUID") or "")).name.removesuffix(" Storage")
    number = reference.get("ReferencedSegmentNumber") or reference.get("ReferencedFrameNumber")
    kind = "segment" if reference.get("ReferencedSegmentNumber") else "frame"
    listed = clean(number).strip("[]")
    tail = f", {kind} {listed}" if listed else ""
    return f"{clean(name)}{tail}"


def _number(item: Dataset) -> tuple[str, str]:
    """Value and unit of a NUM item (UCUM; units in braces are words)."""
    measured = first_item(item, "MeasuredValueSequence")
    if measured is None:
        reason = _meaning(first_item(item, "NumericValueQualifierCodeSequence"))
        return reason or "not measured", ""
    code = first_item(measured, "MeasurementUnitsCodeSequence")
    unit = clean(code.get("CodeValue")) if code is not None else ""
    value = clean(measured.get("NumericValue"))
    if unit == "1" or unit.startswith("{"):
        value = _whole(value)
    if unit in ("1", "{no units}"):
        unit = ""
    elif any(sign in unit for sign in "{[") or len(unit) > 12:
        unit = _meaning(code)  # "[hnsf'U]" is not for people
    return _rounded(value), _UNITS.get(unit, unit)


def _rounded(value: str) -> str:
    """A number without digits that nobody measured: ``"-119.1"`` for ``"-119.08214569091797"``."""
    try:
        number = float(value)
    except ValueError:
        return value
    digits = sum(sign.isdigit() for sign in value.lower().partition("e")[0].lstrip("+-0."))
    if digits <= MEASURED_DIGITS or not isfinite(number):
        return value
    if abs(number) >= 10:
        return f"{number:.1f}"
    return f"{number:.4g}"


def _whole(value: str) -> str:
    """A count as people write it: ``"98"`` for ``"98.0"``; anything else unchanged."""
    head, point, rest = value.partition(".")
    return head if point and head.lstrip("+-").isdecimal() and not rest.strip("0") else value


# --- measurement groups -----------------------------------------------------------------------


def _group(container: Dataset) -> MeasurementGroup:
    title = uid = finding = site = ""
    algorithm: list[str] = []
    rows: list[Measurement] = []
    segments: list[tuple[str, int]] = []
    for item in _children(container):
        code, kind = _code_of(item), str(item.get("ValueType") or "")
        if code == _TRACKING_ID:
            title = _value(item)
        elif code == _TRACKING_UID:
            uid = safe_uid(_value(item))
        elif code in (_ALGORITHM, _ALGORITHM_VERSION):
            algorithm.append(_value(item))
        elif kind == "CODE" and code in _FINDING:
            finding = _value(item)
        elif kind == "CODE" and code in _SITE:
            site = _with_side(item)
        elif kind == "NUM":
            value, unit = _number(item)
            rows.append(Measurement(_named(item), value, unit, _method(item)))
            algorithm += _algorithm(item)
        elif kind == "CODE":
            rows.append(Measurement(_concept(item), _value(item)))
        elif code in _SEGMENT:
            segments += _segments(item)
    words = " ".join(dict.fromkeys(word for word in algorithm if word))
    return MeasurementGroup(title, uid, finding, site, words, tuple(rows), tuple(segments))


def _named(item: Dataset) -> str:
    """The name of a measurement, with what modifies it: ``"Signal intensity, mean"``."""
    more = [
        _value(child) for child in _children(item)
        if child.get("ValueType") == "CODE" and _code_of(child) not in _METHOD
        and child.get("RelationshipType") == "HAS CONCEPT MOD"
    ]  # fmt: skip
    return ", ".join(part for part in (_concept(item), *(m.lower() for m in more)) if part)


def _method(item: Dataset) -> str:
    return next((_value(c) for c in _children(item) if _code_of(c) in _METHOD), "")


def _algorithm(item: Dataset) -> list[str]:
    wanted = (_ALGORITHM, _ALGORITHM_VERSION)
    return [_value(child) for child in _children(item) if _code_of(child) in wanted]


def _with_side(item: Dataset) -> str:
    side = next((_value(child) for child in _children(item)), "")
    return f"{_value(item)}, {side.lower()}" if side else _value(item)


def _segments(item: Dataset) -> list[tuple[str, int]]:
    reference = first_item(item, "ReferencedSOPSequence")
    number = reference.get("ReferencedSegmentNumber") if reference is not None else None
    if reference is None or number is None:
        return []
    uid = safe_uid(str(reference.get("ReferencedSOPInstanceUID") or ""))
    several = number if isinstance(number, list | tuple) else [number]
    return [(uid, int(one)) for one in several]


# --- who and when -----------------------------------------------------------------------------


def _observers(ds: Dataset) -> Iterator[str]:
    for item in _children(ds):
        if _code_of(item) in _OBSERVER_NAMES and _value(item):
            yield _value(item)
    for item in ds.get("VerifyingObserverSequence") or []:
        name = _person(clean(item.get("VerifyingObserverName")))
        if name:
            yield f"Verified by {name}"


def _state(ds: Dataset) -> str:
    complete = {"COMPLETE": "Complete", "PARTIAL": "Not complete"}
    verified = {"VERIFIED": "verified", "UNVERIFIED": "not verified"}
    words = (
        complete.get(str(ds.get("CompletionFlag") or ""), ""),
        verified.get(str(ds.get("VerificationFlag") or ""), ""),
    )
    return ", ".join(word for word in words if word)
