"""Words of headers as people write them."""

from __future__ import annotations

from dataclasses import dataclass

from imaging.dicom.stacks.describe import _spaced
from imaging.dicom.stacks.split import _kind_words


@dataclass
class Kind:
    kind: tuple[str, ...]


def test_image_types_have_no_underscores_and_say_nothing_twice() -> None:
    kinds = [
        Kind(("ORIGINAL", *rest))
        for rest in (("FIELD_MAP", "REAL"), ("PERFUSION_FFE", "FFE"), ("M",))
    ]
    assert [_kind_words(one, kinds) for one in kinds] == [
        "field map real", "perfusion ffe", "magnitude"
    ]  # fmt: skip


def test_carets_of_a_description_are_spaces() -> None:
    assert _spaced("abdomen^liver") == "abdomen liver"
    assert _spaced("as  it is") == "as  it is"
