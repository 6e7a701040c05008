"""Codes that go into files stand in the tables of the standard; names lead to them."""

from __future__ import annotations

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts

from imaging.dicom import codes
from imaging.dicom.codes import LABEL_CODES, category_of, code_for, search_codes, side_for
from imaging.segmentation import Code

SPELT_OTHERWISE = {"SCT 421060004"}


def known(code: Code) -> list[str]:
    """What the tables of pydicom call a code."""
    return [
        meaning.lower()
        for entry in concepts[code.scheme].values()
        for value, (meaning, _) in entry.items()
        if value == code.value
    ]


def every_code() -> list[Code]:
    found = [value for value in vars(codes).values() if isinstance(value, Code)]
    found += [*codes.BODY_PARTS.values(), *codes.MAP_MEANINGS.values()]
    found += [c for entry in LABEL_CODES for c in (entry.category, entry.type)]
    own = [c for c in found if c.scheme.startswith("99")]
    assert len({c.value for c in own}) == len(own)
    return [c for c in dict.fromkeys(found) if c not in own and c.scheme != "UCUM"]


@pytest.mark.parametrize("code", every_code(), ids=lambda c: f"{c.scheme} {c.value}")
def test_every_code_is_in_the_tables_under_its_name(code):
    names = known(code)
    assert names, "not a code of the standard"
    if f"{code.scheme} {code.value}" not in SPELT_OTHERWISE:
        assert code.meaning.lower() in names


def test_categories_are_those_of_the_standard():
    allowed = {
        value
        for scheme, keywords in cid_concepts[7150].items()
        for keyword in keywords
        for value in concepts[scheme][keyword]
    }
    assert {entry.category.value for entry in LABEL_CODES} <= allowed
    assert len({entry.type for entry in LABEL_CODES}) == len(LABEL_CODES)
    assert len({entry.name for entry in LABEL_CODES}) == len(LABEL_CODES)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("Lesion (AI draft)", "Lesion"),
        ("MS lesion", "Lesion"),
        ("WMH", "White Matter T2 Hyperintensity"),
        ("White matter lesions", "White Matter T2 Hyperintensity"),
        ("Left hippocampus", "Hippocampus"),
        ("Brain mask", "Brain"),
        ("non-enhancing tumor", "Non-Enhancing Lesion"),
        ("Enhancing tumour", "Enhancing Lesion"),
        ("peritumoral oedema", "Edema"),
        ("CSF", "Cerebrospinal Fluid"),
        ("Label 3", None),
        ("", None),
    ],
)
def test_a_name_leads_to_its_meaning(name, meaning):
    found = code_for(name)
    assert (found.type.meaning.lower() if found else None) == (meaning and meaning.lower())


def test_search_finds_by_name_word_and_code():
    assert len(search_codes("")) == len(LABEL_CODES)
    assert search_codes("hipp")[0].name == "Hippocampus"
    assert search_codes("tumour")[0].type.meaning in ("Neoplasm", "Enhancing Lesion")
    assert search_codes("5366008")[0].name == "Hippocampus"
    assert search_codes("brain")[0].name == "Brain"
    assert search_codes("no such thing") == []


def test_sides():
    assert side_for("Left hippocampus") == codes.LEFT
    assert side_for("hippocampus right") == codes.RIGHT
    assert side_for("left and right") is None
    assert side_for("Brightness") is None


def test_a_type_of_the_table_has_a_category():
    assert category_of(Code("5366008", "SCT", "as written elsewhere")) == codes.ANATOMY
    assert category_of(Code("5366008", "99X", "Hippocampus")) is None
