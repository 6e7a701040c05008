"""The table of the standard, and what it says about one attribute under the chosen options."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from imaging.deidentify.options import SHIFT, Options

PROFILE = Path(__file__).with_name("profile.tsv")
#: What is done to an element.
REMOVE, EMPTY, DUMMY, UID, CLEAN, SHIFTED, KEEP, PSEUDONYM = (
    "removed", "emptied", "dummy", "new UID", "cleaned", "shifted", "kept", "pseudonym",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of table E.1-1.

    Parameters
    ----------
    tag : int
        Group and element.
    basic : str
        Action of the basic profile, as printed: ``"X"``, ``"Z/D"``, …
    options : mapping
        Column name to ``"K"`` or ``"C"``.
    """

    tag: int
    name: str
    basic: str
    options: Mapping[str, str]

    @property
    def describes(self) -> bool:
        """True for free texts, whose words often stand in harmless places as well."""
        return bool({"descriptors", "structured", "graphics"} & self.options.keys())

    def action(self, options: Options) -> str:
        """What to do under these options; retaining wins over cleaning, cleaning over removing."""
        if any(self.options.get(column) == "K" for column in options.kept_columns):
            return KEEP
        if options.dates == SHIFT and "modified_dates" in self.options:
            return SHIFTED
        if any(self.options.get(column) == "C" for column in options.cleaned_columns):
            return CLEAN
        return basic_action(self.basic)


def basic_action(basic: str) -> str:
    """One action out of a combination.

    The standard lets the choice depend on the type of the attribute in the object. We take the one
    that is right for every type: a dummy where one may be needed, else empty.
    """
    parts = basic.split("/")
    if "U" in parts or "U*" in parts:
        return UID
    if "D" in parts:
        return DUMMY
    return EMPTY if "Z" in parts else REMOVE


@lru_cache(maxsize=1)
def rules() -> dict[int, Rule]:
    """The table, by tag."""
    with open(PROFILE, encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        return {rule.tag: rule for rule in map(_rule, csv.DictReader(lines, delimiter="\t"))}


def _rule(row: Mapping[str, str]) -> Rule:
    columns = {
        name: cell
        for name, cell in row.items()
        if cell and name not in ("tag", "name", "basic", "source")
    }
    return Rule(int(row["tag"], 16), row["name"], row["basic"], columns)
