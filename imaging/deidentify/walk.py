"""The walk over one data set: every element of every item, however deep, meets one rule.

Nothing is changed in place: a new data set is built from what may stay, so an element that no rule
speaks of cannot slip through by being overlooked. Source: DICOM PS3.15 Annex E.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imaging.deidentify.canaries import Canaries
from imaging.deidentify.key import Key
from imaging.deidentify.label_texts import clean_label
from imaging.deidentify.options import KEEP as KEEP_DATES
from imaging.deidentify.options import SHIFT, Options
from imaging.deidentify.private_tags import CSA_CREATOR, CSA_IMAGE, is_safe, rebuilt_csa
from imaging.deidentify.profile import (
    CLEAN,
    DUMMY,
    EMPTY,
    KEEP,
    PSEUDONYM,
    REMOVE,
    SHIFTED,
    UID,
    Rule,
    basic_action,
    rules,
)
from imaging.deidentify.provenance import SETTINGS, kind_of, told
from imaging.deidentify.text import cleaned, known_words, tokens
from imaging.deidentify.values import (
    DATE_VRS,
    FREE_TEXT_VRS,
    capped_age,
    dummy,
    moved,
)
from imaging.errors import BadInput

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

MAX_DEPTH = 64
PATIENT_NAME, PATIENT_ID, PATIENT_AGE = 0x00100010, 0x00100020, 0x00101010
CHARACTER_SET = 0x00080005
#: Written anew at the top, so old ones go.
_OURS = frozenset((0x00120062, 0x00120063, 0x00120064, 0x00280303, CHARACTER_SET))
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
#: UIDs that name kinds of things, not things: they stay.
_KIND_UIDS = frozenset(("CodingSchemeUID", "ContextUID", "MappingResourceUID", "TransferSyntaxUID"))
#: Roots under which makers name their own classes of objects.
_CLASS_ROOTS = ("1.2.840.10008.", "1.3.12.2.1107.5.9.", "1.3.46.670589.11.0.0.12.",
                "1.3.46.670589.2.", "1.3.46.670589.5.0.", "1.2.840.113619.4.")  # fmt: skip
#: Code schemes whose meanings are the same everywhere (PS3.16 table 8-1); others may be a site's.
_SCHEMES = frozenset(
    ("SCT", "SRT", "SNM3", "DCM", "UCUM", "LN", "NCIt", "RADLEX", "FMA", "UMLS", "MDC", "NEU",
     "ISO3166_1", "RFC5646", "BARI", "ICDO3", "I10", "IBSI", "99ISOCENTER", "ACR", "C4", "C5",
     "CD2", "CTV3", "DCMUID", "HGNC", "HPC", "I9", "I9C", "I10P", "I11", "ISO639_1", "ISO639_2",
     "ITIS_TSN", "LB", "MAYOASRG", "MGI", "NDC", "NICIP", "NYUMCCG", "POS", "PUBCHEM_CID",
     "RFC3066", "RXNORM", "SNM", "SNM3", "UBERON", "UNS", "UPC", "V3")
)  # fmt: skip


@dataclass
class Walk:
    """One data set on its way.

    Parameters
    ----------
    patient : str
        What stands for the patient: see :func:`identity`.
    forbidden : frozenset of str
        Names of the patient in small letters, which no description keeps.
    """

    options: Options
    key: Key
    patient: str
    forbidden: frozenset[str] = frozenset()
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    canaries: Canaries = field(default_factory=Canaries)

    def dataset(self, old: Dataset, depth: int = 0) -> Dataset:
        """A clean copy of a data set or an item.

        Raises
        ------
        BadInput
            Where items are nested endlessly.
        """
        from pydicom.dataset import Dataset

        if depth > MAX_DEPTH:
            raise BadInput(f"Sequences are nested deeper than {MAX_DEPTH}")
        new = Dataset()
        for tag in old.keys():  # noqa: SIM118  (iterating a data set converts every element)
            if tag.is_private:
                if self.options.keep_private_safe:
                    self._private(old, new, tag)
                else:
                    self._count("private attributes", REMOVE)
                continue
            if tag in _OURS or tag.group < 8 or tag.element == 0 or tag in _PIXELS:
                continue
            element = self._element(old, tag)
            made = self._handled(element, old, depth) if element is not None else None
            if made is not None:
                new.add(made)
        self._local_codes(old, new)
        return new

    # --- one element -------------------------------------------------------------------------
    def _element(self, old: Dataset, tag: Any) -> DataElement | None:
        """The element with its value read; None where it cannot be, or nobody knows it."""
        rule = rules().get(int(tag))
        if rule is None and not _is_known(int(tag)):
            self._count("unknown attributes", REMOVE)
            return None
        try:
            element = old[tag]
            _ = element.value
        except (ValueError, TypeError, KeyError, NotImplementedError, LookupError, AttributeError):
            self._count(_title(int(tag), rule), REMOVE)
            return None
        if element.VR == "UN":
            self._count("unknown attributes", REMOVE)
            return None
        return element

    def _handled(self, element: DataElement, item: Dataset, depth: int) -> DataElement | None:
        rule = rules().get(int(element.tag))
        if kind := kind_of(element.keyword, item):
            return self._provenance(element, rule, kind)
        if element.keyword in _ROI_NAMES or element.keyword == "StructureSetLabel":
            return self._named(element, item, rule)
        action = self._action(element, rule)
        if int(element.tag) in (PATIENT_NAME, PATIENT_ID):
            self._count(_title(int(element.tag), rule), PSEUDONYM)
            return self._replaced(element, rule, self.key.pseudonym(self.patient))
        if action != KEEP:
            self._count(_title(int(element.tag), rule), action)
        if element.VR == "SQ":
            return self._sequence(element, rule, action, depth)
        return self._value(element, rule, action)

    def _action(self, element: DataElement, rule: Rule | None) -> str:
        """What the table says; for what it does not list, what its kind asks for."""
        if rule is not None:
            action = rule.action(self.options)
            if (action == CLEAN and element.VR not in _CLEANABLE) or (
                action == SHIFTED and element.VR not in DATE_VRS
            ):
                action = basic_action(rule.basic)
            return UID if action == DUMMY and element.VR == "UI" else action
        if element.VR == "UI":
            keep = self.options.keep_uids or _names_a_kind(element)
            return KEEP if keep else UID
        if element.VR in DATE_VRS:
            return {SHIFT: SHIFTED, KEEP_DATES: KEEP}.get(self.options.dates, DUMMY)
        if element.VR in ("PN", "AE", "UR"):
            return REMOVE
        return CLEAN if element.VR in FREE_TEXT_VRS or element.keyword == "TextValue" else KEEP

    def _value(self, element: DataElement, rule: Rule | None, action: str) -> DataElement | None:
        if action == KEEP:
            self.canaries.kept.add(int(element.tag))
            if int(element.tag) == PATIENT_AGE:
                return self._each(element, rule, capped_age)
            return self._without_names(element, rule)
        if action == REMOVE:
            self.canaries.add(element, rule)
            return None
        if action == EMPTY:
            return self._replaced(element, rule, None)
        if element.is_empty:
            return element
        if action == DUMMY:
            return self._replaced(element, rule, dummy(element.VR))
        if action == UID:
            return self._each(element, rule, self._new_uid)
        if action == SHIFTED:
            days = self.key.days(self.patient)
            return self._each(element, rule, lambda text: moved(element.VR, text, days))
        return self._cleaned(element, rule)

    def _cleaned(self, element: DataElement, rule: Rule | None) -> DataElement | None:
        """Known words of a text; where none is left, what the basic profile puts there."""
        made = self._each(element, rule, lambda text: cleaned(text, self.forbidden))
        if any(_texts(made.value)):
            return made
        basic = basic_action(rule.basic) if rule is not None else DUMMY
        if basic == REMOVE:
            return None
        return self._replaced(element, rule, dummy(element.VR) if basic == DUMMY else None)

    def _provenance(self, element: DataElement, rule: Rule | None, kind: str) -> DataElement | None:
        """What an algorithm is called and how it was run, whole and true, or not at all."""
        old = "\\".join(_texts(element.value))
        new = told(kind, old, self.forbidden)
        if new == old:
            self.canaries.made(new)
            return element
        self._count(_title(int(element.tag), rule), CLEAN)
        if new or element.keyword in _NEEDED:
            return self._replaced(element, rule, new or _NEEDED[element.keyword])
        self.canaries.add(element, rule)
        return None

    def _named(self, element: DataElement, item: Dataset, rule: Rule | None) -> DataElement:
        """The known words of the name of contours, else their number."""
        number = item.get("ROINumber", item.get("ReferencedROINumber", ""))
        kind = "ROI" if element.keyword in _ROI_NAMES else "RTSTRUCT"
        old = " ".join(_texts(element.value))
        new = clean_label(old, str(number or ""), self.forbidden, kind)
        new = new[:16] if element.VR == "SH" else new
        if new == old:
            self.canaries.made(new)
            return element
        self._count(_title(int(element.tag), rule), CLEAN)
        return self._replaced(element, rule, new)

    def _local_codes(self, old: Dataset, new: Dataset) -> None:
        """Codes of schemes that only one site knows are texts of that site."""
        scheme = str(old.get("CodingSchemeDesignator") or "")
        if not scheme or scheme in _SCHEMES:
            if "CodeMeaning" in new and not scheme:
                new.CodeMeaning = cleaned(str(new.CodeMeaning), self.forbidden) or "ANON"
            return
        new.CodingSchemeDesignator = LOCAL_SCHEME
        if "CodeMeaning" in new:
            new.CodeMeaning = cleaned(str(new.CodeMeaning), self.forbidden) or "ANON"
        for keyword in ("CodeValue", "LongCodeValue"):
            if keyword in new:
                setattr(new, keyword, self.key.token(scheme, str(old[keyword].value), 12))
        for keyword in _OF_SCHEMES:
            if keyword in new:
                delattr(new, keyword)

    def _without_names(self, element: DataElement, rule: Rule | None) -> DataElement:
        """A text that stays, unless somebody has typed the patient's name into it."""
        from pydicom.dataelem import DataElement

        names = self.forbidden - known_words()
        if element.VR not in _TEXTS or not any(
            names & tokens(text) for text in _texts(element.value)
        ):
            return element
        self.canaries.kept.discard(int(element.tag))
        self._count(_title(int(element.tag), rule), CLEAN)
        values = [cleaned(text, names) for text in _texts(element.value)]
        return DataElement(element.tag, element.VR, values if len(values) != 1 else values[0])

    def _new_uid(self, uid: str) -> str:
        return uid if uid.startswith("1.2.840.10008.") or not uid else self.key.uid(uid)

    def _replaced(self, element: DataElement, rule: Rule | None, value: Any) -> DataElement:
        from pydicom.dataelem import DataElement

        self.canaries.add(element, rule)
        if value is not None:
            self.canaries.made(value)
        return DataElement(element.tag, element.VR, value)

    def _each(
        self, element: DataElement, rule: Rule | None, change: Callable[[str], str]
    ) -> DataElement:
        """Every value of a text element changed by itself; their number stays."""
        from pydicom.dataelem import DataElement

        old = _texts(element.value)
        new = [change(text) for text in old]
        if new == old:
            self.canaries.kept.add(int(element.tag))
            return element
        self.canaries.add(element, rule)
        for text in new:
            self.canaries.made(text)
        return DataElement(element.tag, element.VR, new if len(new) != 1 else new[0])

    # --- sequences ---------------------------------------------------------------------------
    def _sequence(
        self, element: DataElement, rule: Rule | None, action: str, depth: int
    ) -> DataElement | None:
        from pydicom.dataelem import DataElement

        if action in (REMOVE, EMPTY):
            self.canaries.add_items(element, rule)
            may_go = action == REMOVE or (rule is not None and rule.basic.startswith("X"))
            return None if may_go else DataElement(element.tag, "SQ", [])
        items = [self.dataset(item, depth + 1) for item in element.value]
        if element.keyword == "ContentSequence":  # a setting that went leaves no hole
            items = [item for item in items if not _is_gone(item)]
        if action == DUMMY:
            items = [scrubbed(item) for item in items]
        return DataElement(element.tag, "SQ", items)

    # --- private -----------------------------------------------------------------------------
    def _private(self, old: Dataset, new: Dataset, tag: Any) -> None:
        """Take over a vendor attribute of the safe list, with the name of its owner."""
        from pydicom.dataelem import DataElement

        block = (int(tag.element) >> 8) & 0xFF
        if tag.element < 0x1000:
            return
        creator = old.get((tag.group, block))
        owner = str(creator.value).strip() if creator is not None else ""
        try:
            element = old[tag]
            value = element.value
        except (ValueError, TypeError, KeyError, NotImplementedError, LookupError, AttributeError):
            value = element = None
        made = None
        if element is not None and is_safe(owner, tag.group, tag.element, element.VR):
            made = element
        elif owner == CSA_CREATOR and (tag.group, tag.element & 0xFF) == CSA_IMAGE:
            csa = rebuilt_csa(value) if isinstance(value, bytes) else b""
            made = DataElement(tag, "OB", csa) if csa else None
        if made is None or creator is None:
            self._count("private attributes", REMOVE)
            return
        new.add(DataElement((tag.group, block), "LO", owner))
        self.canaries.kept.update((tag.group << 16 | block, int(tag)))
        new.add(made)
        self._count("safe private attributes", KEEP)

    def _count(self, title: str, action: str) -> None:
        self.actions[title, action] += 1


_TEXTS = frozenset(("LO", "SH", "LT", "ST", "UT", "UC", "CS"))
GONE = "removed"
#: What stands in the place of a text that must be there (types 1 and 1C).
_NEEDED = {
    "TextValue": GONE, "AlgorithmName": GONE, "AlgorithmVersion": "unknown",
    "SegmentAlgorithmName": GONE,
}  # fmt: skip
_ROI_NAMES = frozenset(("ROIName", "ROIObservationLabel"))
LOCAL_SCHEME = "99LOCAL"
_OF_SCHEMES = (
    "CodingSchemeVersion", "CodingSchemeName", "CodingSchemeUID", "URNCodeValue",
    "CodingSchemeExternalID", "CodingSchemeResponsibleOrganization",
    "CodingSchemeResourcesSequence", "CodingSchemeURL", "CodingSchemeURLType",
)  # fmt: skip
_CLEANABLE = frozenset(("SQ", "LO", "SH", "LT", "ST", "UT", "UC"))


def identity(dataset: Dataset) -> str:
    """What stands for the patient: the ID, else name and birth date, else the study.

    Raises
    ------
    BadInput
        Where none of them is there.
    """
    patient = str(dataset.get("PatientID") or "").strip()
    if patient:
        return patient
    name, birth = (str(dataset.get(k) or "").strip() for k in ("PatientName", "PatientBirthDate"))
    if name:
        return f"{name}\0{birth}"
    study = str(dataset.get("StudyInstanceUID") or "")
    if not study:
        raise BadInput("The file names neither patient nor study, so nothing can stand for them")
    return f"study\0{study}"


def scrubbed(dataset: Dataset) -> Dataset:
    """A data set of the same shape in which every value is a dummy; UIDs are new ones already."""
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    new = Dataset()
    for element in dataset:
        if element.VR == "SQ":
            new.add(DataElement(element.tag, "SQ", [scrubbed(item) for item in element.value]))
        elif element.VR == "UI":
            new.add(element)
        else:
            new.add(DataElement(element.tag, element.VR, dummy(element.VR)))
    return new


def _is_gone(item: Dataset) -> bool:
    return kind_of("TextValue", item) == SETTINGS and item.get("TextValue") == GONE


def _names_a_kind(element: DataElement) -> bool:
    """True for UIDs of classes and schemes, and for those the standard itself hands out."""
    values = _texts(element.value)
    if element.keyword in _KIND_UIDS:
        return True
    if "SOPClass" in element.keyword:
        return all(value.startswith(_CLASS_ROOTS) for value in values)
    return all(value.startswith("1.2.840.10008.") for value in values)


def _texts(value: Any) -> list[str]:
    from pydicom.multival import MultiValue

    many = isinstance(value, (MultiValue, list, tuple))
    return [str(v) for v in value] if many else ([] if value is None else [str(value)])


def _is_known(tag: int) -> bool:
    """True for attributes of the standard, without those of repeating groups."""
    from pydicom.datadict import dictionary_has_tag

    return dictionary_has_tag(tag)


def _title(tag: int, rule: Rule | None) -> str:
    from pydicom.datadict import dictionary_description

    if rule is not None:
        return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {rule.name}"
    try:
        return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {dictionary_description(tag)}"
    except KeyError:
        return "unknown attributes"
