"""What a series is, in words, from its header."""

from __future__ import annotations

from dataclasses import dataclass

from imaging.dicom.header.charsets import doubt_note, is_unsure
from imaging.dicom.header.tags import Header
from imaging.dicom.header.vetting import safe_uid
from imaging.dicom.stacks.sequence import SequenceFacts, facts_of
from imaging.volume import Patient, Source


@dataclass(frozen=True)
class Study:
    """The header facts that all stacks of a series share."""

    source: Source
    description: str
    frame_of_reference: str = ""
    facts: SequenceFacts = SequenceFacts()
    notes: tuple[str, ...] = ()


def study_of(header: Header) -> Study:
    """Read patient, study and series from the header of one file."""
    name = _spaced(header.human(0x0008103E) or header.human(0x00181030))
    number = header.text(0x00200011)
    facts = facts_of(header)
    source = Source(
        kind="dicom",
        study_uid=safe_uid(header.text(0x0020000D)),
        series_uid=safe_uid(header.text(0x0020000E)),
        patient=Patient(
            name=person(header.human(0x00100010)),
            id=header.human(0x00100020),
            birth_date=header.text(0x00100030),
            sex=header.text(0x00100040),
        ),
        study_date=header.text(0x00080020),
        study_description=_spaced(header.human(0x00081030)),
        series_description=_spaced(header.human(0x0008103E)),
        series_number=number,
        modality=header.text(0x00080060),
        manufacturer=header.human(0x00080070),
    )
    description = name or (f"Series {number}" if number else "Unnamed series")
    unsure = is_unsure(header.values.get(0x00100010, b""), header.texts(0x00080005))
    notes = (doubt_note(header.names_as),) if unsure else ()
    return Study(source, description, safe_uid(header.text(0x00200052)), facts, notes)


def _spaced(words: str) -> str:
    """A description as people write it: some scanners put carets between its words."""
    return " ".join(words.replace("^", " ").split()) if "^" in words else words


def person(name: str) -> str:
    """A DICOM person name as people write it: ``Family, Given`` (PS3.5 section 6.2.1)."""
    alphabetic = name.split("=")[0] or name.replace("=", " ").strip()
    parts = [part.strip() for part in alphabetic.split("^")]
    family, given = parts[0], " ".join(part for part in parts[1:3] if part)
    return f"{family}, {given}" if family and given else family or given
