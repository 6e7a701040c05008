"""What a person may choose to keep, each with its code of the standard."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

REMOVE, SHIFT, KEEP = "remove", "shift", "keep"
#: Meanings of the codes (DCM) that say what was done. Source: PS3.16 CID 7050.
CODES = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113102": "Clean Recognizable Visual Features Option",
    "113103": "Clean Graphics Option",
    "113104": "Clean Structured Content Option",
    "113105": "Clean Descriptors Option",
    "113106": "Retain Longitudinal Temporal Information Full Dates Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
    "113110": "Retain UIDs Option",
    "113111": "Retain Safe Private Option",
    "113112": "Retain Institution Identity Option",
}


@dataclass(frozen=True)
class Options:
    """The basic profile and the options of PS3.15 E.3 that are asked for.

    Parameters
    ----------
    dates : str
        ``"remove"``, ``"shift"`` (each patient's dates go back by a number of days that follows
        from the key) or ``"keep"``. Birth dates always go.
    keep_uids : bool
        UIDs stay as they are; else they are replaced, the same one always by the same.
    keep_descriptions : bool
        Of descriptions the words stay that are on the list in ``words.txt``.
    keep_private_safe : bool
        Vendor attributes known to be harmless stay (b-values, mosaic layout, true scaling).
    keep_device, keep_institution, keep_characteristics : bool
        Serial numbers and station names; the hospital; sex, age, size and weight.
    pixels_checked : bool
        A person has looked at the pixels: images that may have text burned in are let through.
    deface : bool
        The face is removed from head images.
    """

    dates: str = REMOVE
    keep_uids: bool = False
    keep_descriptions: bool = False
    keep_private_safe: bool = False
    keep_device: bool = False
    keep_institution: bool = False
    keep_characteristics: bool = False
    pixels_checked: bool = False
    deface: bool = False

    def __post_init__(self) -> None:
        if self.dates not in (REMOVE, SHIFT, KEEP):
            raise ValueError(f"dates cannot be {self.dates!r}")

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of what is done to a data set, without the face (113102), which not all have."""
        optional = {
            "113101": self.pixels_checked,
            "113103": True,
            "113104": True,
            "113105": self.keep_descriptions,
            "113106": self.dates == KEEP,
            "113107": self.dates == SHIFT,
            "113108": self.keep_characteristics,
            "113109": self.keep_device,
            "113110": self.keep_uids,
            "113111": self.keep_private_safe,
            "113112": self.keep_institution,
        }
        return ("113100", *(code for code, used in optional.items() if used))

    @property
    def kept_columns(self) -> frozenset[str]:
        """Columns of the table whose K counts."""
        chosen = {
            "uids": self.keep_uids,
            "device": self.keep_device,
            "institution": self.keep_institution,
            "patient": self.keep_characteristics,
            "full_dates": self.dates == KEEP,
        }
        return frozenset(name for name, used in chosen.items() if used)

    @property
    def cleaned_columns(self) -> frozenset[str]:
        """Columns of the table whose C counts; reports and drawings are cleaned, never lost."""
        names = {"structured", "graphics"}
        if self.keep_descriptions:
            names.add("descriptors")
        if self.keep_characteristics:
            names.add("patient")
        return frozenset(names)

    def table(self) -> dict[str, Any]:
        """As plain values, for reports."""
        return asdict(self)
