"""What a series is, in words, from its header."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imaging.dicom.frames import b_value
from imaging.dicom.tags import Header
from imaging.dicom.vetting import safe_uid
from imaging.volume import Patient, Source


@dataclass(frozen=True)
class Study:
    """The header facts that all stacks of a series share."""

    source: Source
    description: str
    frame_of_reference: str = ""


def study_of(header: Header) -> Study:
    """Read patient, study and series from the header of one file."""
    name = header.human(0x0008103E) or header.human(0x00181030)
    number = header.text(0x00200011)
    source = Source(
        kind="dicom",
        study_uid=safe_uid(header.text(0x0020000D)),
        series_uid=safe_uid(header.text(0x0020000E)),
        patient=Patient(
            name=_person(header.human(0x00100010)),
            id=header.human(0x00100020),
            birth_date=header.text(0x00100030),
            sex=header.text(0x00100040),
        ),
        study_date=header.text(0x00080020),
        study_description=header.human(0x00081030),
        series_description=header.human(0x0008103E),
        series_number=number,
        modality=header.text(0x00080060),
        manufacturer=header.human(0x00080070),
        sequence=guess_sequence(header),
    )
    description = name or (f"Series {number}" if number else "Unnamed series")
    return Study(source, description, safe_uid(header.text(0x00200052)))


def _person(name: str) -> str:
    """A DICOM person name as people write it: ``Family, Given`` (PS3.5 section 6.2.1)."""
    alphabetic = name.split("=")[0] or name.replace("=", " ").strip()
    parts = [part.strip() for part in alphabetic.split("^")]
    family, given = parts[0], " ".join(part for part in parts[1:3] if part)
    return f"{family}, {given}" if family and given else family or given


#: T1 and T2 begin a word, or follow a plane or "3D": "REST1" is no T1.
_BEGIN = r"(?:(?<![a-z0-9])|(?<=3d)|(?<=2d)|(?<=ax)|(?<=tra)|(?<=sag)|(?<=cor)|(?<=se)|(?<=tse))"

_BY_NAME = (
    ("localiser", r"localizer|localiser|scout|survey|3.?plane|\bloc\b|aahead"),
    ("ADC", r"\badc\b|apparent diffusion|_adc"),
    ("SWI", r"\bswi\b|\bswan\b|suscept|venobold|\bswip\b|mip_swi"),
    ("FLAIR", r"flair|dark.?fluid|tirm"),
    ("DWI", r"\bdwi\b|\bdti\b|diff|trace|ep2d_diff|\bdw\b"),
    (
        "T1w",
        _BEGIN + r"t1(\b|[_wc -]|.?(post|gd|ce|km))|mp2?.?rage|spgr|bravo|\btfl|\bvibe\b|\bmpr\b",
    ),
    ("PD", r"\bpd\b|proton|pd[_w]"),
    ("T2w", _BEGIN + r"t2(\b|[_w -])|ciss|fiesta"),
)


#: What an image was aligned with or lies in the space of says nothing of the image itself.
_OTHER_IMAGE = (
    r"(reg(istered)?|co.?reg|aligned|warped|resampled)[ _-]*(to|2)[ _-]*\w*|(space|ref)-[a-z0-9]+"
)


def name_sequence(text: str) -> str:
    """The sequence that a description or file name speaks of; empty where it is silent."""
    plain = re.sub(_OTHER_IMAGE, " ", text.lower())
    words = re.sub(r"[_.]", " ", plain)
    for sequence, pattern in _BY_NAME:
        if re.search(pattern, words) or re.search(pattern, plain):
            return sequence
    return ""


def guess_sequence(header: Header) -> str:
    """The sequence by description, then by diffusion and timing; empty where unsure."""
    kind = set(header.texts(0x00080008))
    if "LOCALIZER" in kind:
        return "localiser"
    if "ADC" in kind:
        return "ADC"
    for tag in (0x0008103E, 0x00181030, 0x00180024):
        found = name_sequence(header.text(tag))
        if found:
            return found
    if "DIFFUSION" in kind or b_value(header):
        return "DWI"
    if header.text(0x00080060) not in ("MR", "") or _echo_planar(header):
        return ""
    return _by_timing(
        header.number(0x00180080),
        header.number(0x00180081),
        header.number(0x00180082),
        header.texts(0x00180020),
    )


def _echo_planar(header: Header) -> bool:
    """Functional and perfusion runs: their timing looks like T1w and is not."""
    names = (header.text(0x00180024), header.text(0x00189005))
    planar = header.text(0x00189018) == "YES"
    return planar or any(name.lower().lstrip("*_").startswith("ep") for name in names)


def _by_timing(
    repetition: float | None, echo: float | None, inversion: float | None, scan: tuple[str, ...]
) -> str:
    """T1w, T2w, PD or FLAIR from TR, TE, TI in ms (usual clinical ranges)."""
    if not repetition or not echo or "EP" in scan:
        return ""
    if inversion and inversion > 1500 and echo > 70:
        return "FLAIR"
    if "GR" in scan and "SE" not in scan:
        return "T1w" if echo < 8 and repetition < 3000 else ""
    if repetition < 1000 and echo < 30:
        return "T1w"
    if repetition >= 1800:
        return "T2w" if echo >= 70 else "PD" if echo < 35 else ""
    return ""
