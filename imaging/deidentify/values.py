"""Values that stand in for others: dummies by kind of attribute, and moved dates."""

from __future__ import annotations

import datetime
import re
from typing import Any

#: What a value is replaced by where one must be there; the VRs that are not here are numbers.
DUMMIES: dict[str, Any] = {
    "AE": "ANON", "AS": "000Y", "AT": 0, "CS": "ANON", "DA": "19000101", "DS": "0",
    "DT": "19000101000000", "IS": "0", "LO": "ANON", "LT": "removed", "PN": "Anonymous",
    "SH": "ANON", "ST": "removed", "TM": "000000", "UC": "ANON", "UT": "removed",
    "UR": "about:blank",
    "OB": b"\0\0", "OW": b"\0\0", "UN": b"\0\0", "OF": b"\0" * 4, "OL": b"\0" * 4,
    "OD": b"\0" * 8, "OV": b"\0" * 8, "FL": 0.0, "FD": 0.0,
}  # fmt: skip
FREE_TEXT_VRS = frozenset(("LT", "ST", "UT"))
DATE_VRS = frozenset(("DA", "DT", "TM"))
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})(.*)", re.DOTALL)
_TIME = re.compile(r"\d{6}(\.\d{1,6})?([+-]\d{4})?|\d{2}(\d{2})?|")


def dummy(vr: str) -> Any:
    """A harmless value that is valid for a value representation (PS3.5 6.2)."""
    return DUMMIES.get(vr, 0)


def moved(vr: str, text: str, days: int) -> str:
    """A date, or date and time, moved by some days; empty where it is none.

    The time of day stays, so intervals stay. A day that is not given (``2024`` or ``202403``)
    becomes the first of its month or year before it moves.
    """
    text = text.strip()
    if vr == "TM":
        return text if re.fullmatch(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?", text) else ""
    if vr == "DT" and re.fullmatch(r"\d{4}(\d{2})?", text):
        text = (text + "0101") if len(text) == 4 else text + "01"
    old_style = re.fullmatch(r"(\d{4})\.(\d{2})\.(\d{2})", text)
    if old_style:
        text = "".join(old_style.groups())
    match = _DATE.fullmatch(text)
    if match is None or (vr == "DA" and match[4]):
        return ""
    if match[4] and _TIME.fullmatch(match[4]) is None:
        return ""
    try:
        day = datetime.date(int(match[1]), int(match[2]), int(match[3]))
        return (day + datetime.timedelta(days=days)).strftime("%Y%m%d").zfill(8) + match[4]
    except (ValueError, OverflowError):
        return ""


def capped_age(text: str) -> str:
    """An age as it may stay: nobody is older than 90 (an older one would stand out)."""
    match = re.fullmatch(r"(\d{3})([DWMY])", text.strip())
    if match is None:
        return ""
    return "090Y" if match[2] == "Y" and int(match[1]) > 89 else text.strip()
