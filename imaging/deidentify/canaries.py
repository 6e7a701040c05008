"""Original values that must not be found again, and the search for them in raw bytes.

A finished file is read back as bytes and searched, without regard to case, for everything that was
replaced or removed. A hit stops the file. So that a scanner called like its maker or a slice count
that looks like a study number does not stop it, a hit is let through where it is explained: the
value is one we made, a word that anybody may know in a code, a short number inside a number, or a
description that repeats what the profile keeps under the very same attribute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imaging.deidentify.profile import Rule
from imaging.deidentify.text import is_common

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

SHORTEST = 4
#: Shorter ones turn up in pixels and tables by chance.
SHORTEST_IN_BINARY = 8
#: Such numbers (dates, say) are found inside longer ones as well.
LONG_NUMBER = 8
#: From so many letters on a value is found inside longer words as well.
_INSIDE_WORDS = 6
_LONG_UID, _LONGEST_UID = 16, 64
_BINARY = frozenset(("OB", "OW", "OF", "OD", "OL", "OV", "UN", "US", "SS", "UL", "SL", "FL", "FD"))
_NUMBERS = frozenset(("DS", "IS"))
_OUR_UID = re.compile(rb"2\.25\.[0-9]{30,39}(?![0-9])")
_UID_RUN = re.compile(rb"[0-9.]{%d,}" % _LONG_UID)
_WORD = re.compile(rb"[0-9a-z\x80-\xff]")
_DIGIT = re.compile(rb"[0-9.]")


@dataclass(frozen=True, slots=True)
class Canary:
    """One value to look for.

    Parameters
    ----------
    title : str
        The attribute it comes from; never the value.
    strong : bool
        False for descriptions, times and codes, which may repeat what stays.
    """

    title: str
    strong: bool


@dataclass
class Canaries:
    """What one data set lost, what we put in its place, and what stayed on purpose."""

    texts: dict[str, Canary] = field(default_factory=dict)
    blobs: dict[bytes, Canary] = field(default_factory=dict)
    ours: set[str] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)

    def made(self, value: Any) -> None:
        """Remember a value that we have written ourselves."""
        if isinstance(value, str) and value:
            self.ours.add(value.casefold())

    def add(self, element: DataElement, rule: Rule | None) -> None:
        """Remember an element that goes or is replaced."""
        if element.VR in _NUMBERS:
            return  # a weight or a count identifies nobody where it turns up again
        strong = rule is not None and not rule.describes and element.VR not in ("TM", "CS")
        canary = Canary(rule.name if rule is not None else element.name, strong)
        value = element.value
        if isinstance(value, bytes):
            if len(value) >= SHORTEST_IN_BINARY and len(set(value[:64])) > 4:
                self.blobs.setdefault(value[:64].lower(), canary)
            return
        for text in _spellings(element.VR, value):
            self._remember(text, canary)

    def add_items(self, element: DataElement, rule: Rule | None) -> None:
        """Remember everything inside a sequence that goes as a whole."""
        from imaging.deidentify.profile import rules

        for item in element.value:
            for inner in _readable(item):
                if inner.tag.is_private:
                    continue
                own = rules().get(int(inner.tag))
                if inner.VR == "SQ":
                    self.add_items(inner, own or rule)
                elif own is not None and not _is_code(inner.keyword):
                    self.add(inner, own)

    def _remember(self, text: str, canary: Canary) -> None:
        text = " ".join(text.split()) if "\n" not in text else text.strip()
        if len(text) < SHORTEST:
            return
        before = self.texts.get(text)
        if before is None or (canary.strong and not before.strong):
            self.texts[text] = canary

    def leaks(
        self, raw: bytes, encodings: list[str], read_again: Callable[[], Dataset]
    ) -> list[str]:
        """Titles of the attributes whose old values are still in a file.

        Parameters
        ----------
        raw : bytes
            The whole file.
        encodings : list of str
            Python names of the character sets of the original.
        read_again : callable
            Parses the file, to see where a hit lies.
        """
        whole = raw.lower()
        haystack = _without_our_uids(whole)
        hits = [
            (needle, text, canary)
            for text, canary, needle in self._needles(encodings)
            if _found(haystack, needle)
        ]
        found = {canary.title for canary in self._uids_in(whole)}
        if hits:
            elements = [
                (tag, vr, _without_our_uids(data)) for tag, vr, data in _raw_elements(read_again())
            ]
            found |= {
                canary.title
                for needle, text, canary in hits
                if not self._explained(haystack, needle, text, canary, elements)
            }
        return sorted(found)

    def _needles(self, encodings: list[str]) -> Iterator[tuple[str, Canary, bytes]]:
        for text, canary in self.texts.items():
            if not _is_long_uid(text):
                for needle in _encoded(text, encodings):
                    yield text, canary, needle
        for blob, canary in self.blobs.items():
            yield "", canary, blob

    def _uids_in(self, haystack: bytes) -> Iterator[Canary]:
        """Old UIDs that are still there, also as a part of longer runs of digits and dots."""
        wanted = {text.encode(): one for text, one in self.texts.items() if _is_long_uid(text)}
        if not wanted:
            return
        for run in set(_UID_RUN.findall(haystack)):
            if run in wanted:
                yield wanted[run]
            elif len(run) > _LONGEST_UID or not run.startswith(b"2.25."):
                yield from (one for needle, one in wanted.items() if needle in run)

    def _explained(self, haystack, needle: bytes, text: str, canary: Canary, elements) -> bool:
        """True where every place of a hit has a harmless reason."""
        places = _count(haystack, needle)
        harmless = 0
        for tag, vr, data in elements:
            here = _count(data, needle)
            if here and self._harmless(tag, vr, data, needle, text, canary):
                harmless += here
        return harmless >= places

    def _harmless(self, tag, vr: str, data: bytes, needle: bytes, text: str, canary) -> bool:
        if vr in _BINARY:
            return len(needle) < SHORTEST_IN_BINARY
        shown = data.decode("utf-8", "replace").strip("\0 ")
        if vr in _NUMBERS and _is_number(needle):
            return len(text) < LONG_NUMBER or text not in shown.split("\\")
        if vr == "UI" and tag in self.kept:
            return True
        if shown.casefold() in self.ours or all(
            part.strip() in self.ours for part in shown.casefold().split("\\")
        ):
            return True
        if not canary.strong and tag in self.kept:
            return True
        return vr in ("CS", "LO", "SH") and is_common(text) and tag in self.kept


def _spellings(vr: str, value: Any) -> Iterator[str]:
    """A value as it may turn up elsewhere: whole, its names one by one, dates with separators."""
    from pydicom.multival import MultiValue

    many = isinstance(value, (MultiValue, list, tuple))
    for text in map(str, value) if many else ([] if value is None else [str(value)]):
        yield text
        if vr == "PN":
            yield from re.split(r"[\^= ]+", text)
        elif vr in ("LT", "ST", "UT"):
            yield from text.splitlines()
        elif vr in ("DA", "DT") and re.match(r"\d{8}", text):
            yield text[:8]
            yield f"{text[:4]}-{text[4:6]}-{text[6:8]}"
            yield f"{text[6:8]}.{text[4:6]}.{text[:4]}"
        elif vr == "TM" and "." in text:
            yield text.split(".")[0]


def _is_code(keyword: str) -> bool:
    return keyword in ("CodeValue", "CodeMeaning", "CodingSchemeDesignator", "CodingSchemeVersion")


def _encoded(text: str, encodings: list[str]) -> set[bytes]:
    """The text in small letters, in every encoding it may have been copied in."""
    from pydicom.charset import encode_string

    found = set()
    for shape in {text, text.lower(), text.upper()}:
        found.add(shape.encode().lower())
        # a number in two-byte letters looks like a run of pixels
        for encoding in ("latin_1", "utf_16_le")[: 1 if _is_number(text.encode()) else 2]:
            try:
                found.add(shape.encode(encoding).lower())
            except UnicodeEncodeError:
                continue
        try:
            found.add(bytes(encode_string(shape, encodings)).lower())
        except (UnicodeError, LookupError, ValueError):
            continue
    return {needle for needle in found if len(needle) >= SHORTEST}


def _is_number(needle: bytes) -> bool:
    return not needle.strip(b"0123456789.")


def _is_long_uid(text: str) -> bool:
    return len(text) >= _LONG_UID and not text.strip("0123456789.") and text.count(".") > 2


def _without_our_uids(data: bytes) -> bytes:
    """New UIDs are long random numbers, in which short ones turn up by chance."""
    return _OUR_UID.sub(lambda match: b" " * len(match[0]), data)


def _found(haystack: bytes, needle: bytes) -> bool:
    return _next(haystack, needle, 0) >= 0


def _count(haystack: bytes, needle: bytes) -> int:
    count, at = 0, _next(haystack, needle, 0)
    while at >= 0:
        count, at = count + 1, _next(haystack, needle, at + 1)
    return count


def _next(haystack: bytes, needle: bytes, start: int) -> int:
    """The next place where a value stands by itself; long words also inside longer ones."""
    if _is_number(needle):
        beside = _DIGIT if len(needle) < LONG_NUMBER else None
    else:
        beside = _WORD if len(needle) < _INSIDE_WORDS else None
    at = haystack.find(needle, start)
    while at >= 0 and beside is not None:
        before = haystack[at - 1 : at] if at else b""
        after = haystack[at + len(needle) : at + len(needle) + 1]
        if not (beside.match(before) or beside.match(after)):
            break
        at = haystack.find(needle, at + 1)
    return at


def _readable(dataset: Dataset) -> Iterator[DataElement]:
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            _ = element.value
        except (ValueError, TypeError, KeyError, NotImplementedError, LookupError, AttributeError):
            continue
        yield element


def _raw_elements(dataset: Dataset) -> Iterator[tuple[int, str, bytes]]:
    """Tag, kind and bytes of every element, also inside items and in the file meta."""
    meta = getattr(dataset, "file_meta", None)
    if meta is not None:
        yield from _raw_elements(meta)
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        vr = str(element.VR) if element is not None else ""
        if vr == "SQ" or isinstance(getattr(element, "value", None), list):
            for item in dataset[tag].value:
                yield from _raw_elements(item)
            continue
        value = getattr(element, "value", None)
        if not isinstance(value, bytes):
            value = "\\".join(_as_texts(value)).encode()
        if not vr:
            from pydicom.datadict import dictionary_VR

            try:
                vr = dictionary_VR(tag)
            except KeyError:
                vr = "UN"
        yield int(tag), vr, value.lower()


def _as_texts(value: Any) -> list[str]:
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return [str(v) for v in value]
    return [] if value is None else [str(value)]
