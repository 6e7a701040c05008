"""A label keeps its tracking UID through edits, case files, the journal and old files."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from small_cases import mask_on, small_case, straight

from imaging.case import Case
from imaging.edits.edit import AddItem
from imaging.edits.operations import add_segment, code_segment, rename_segment
from imaging.identity import new_uid
from imaging.segmentation import Code, Segment, Segmentation
from imaging.storage import codec
from imaging.storage.case_file import load_case, save_case
from imaging.storage.journal import Journal
from imaging.storage.recovery import recover, recoverable


def uids(mask: Segmentation) -> list[str]:
    return [segment.tracking_uid for segment in mask.segments]


def reopened(path: Path) -> Segmentation:
    items, _ = load_case(path).build(lambda ref: None)
    return next(item for item in items if isinstance(item, Segmentation))


def test_a_uid_is_random_or_follows_from_its_parts():
    assert new_uid() != new_uid()
    assert new_uid("a", "b") == new_uid("a", "b") != new_uid("a/c", "b")
    assert len(new_uid()) <= 64


def test_every_label_of_a_new_mask_has_one_and_masks_share_none():
    one, other = mask_on(straight()), mask_on(straight())
    assert all(uids(one))
    assert len(set(uids(one))) == len(one.segments)
    elsewhere = Segmentation("other", "M", straight(), "flair", one.segments[:0] + fresh())
    assert not set(uids(elsewhere)) & set(uids(one))
    assert uids(one) == uids(other)  # the same mask: it follows from the id and the grid


def fresh() -> tuple[Segment, ...]:
    return (Segment(1, "A", (1, 2, 3)), Segment(2, "B", (1, 2, 3)))


def test_one_that_is_there_stays():
    mask = mask_on(straight(), segments=(replace(fresh()[0], tracking_uid="2.25.7"), fresh()[1]))
    assert uids(mask)[0] == "2.25.7"
    assert uids(mask)[1]


def test_they_survive_a_case_file_with_all_that_is_said_of_a_label(tmp_path):
    case = small_case()
    mask = case.segmentation("mask")
    add_segment(mask, "Vessel").apply(case)
    codes = [Code(f"{n}", "SCT", "x") for n in range(4)]
    code_segment(mask, 1, *codes).apply(case)
    read = replace(mask.segments[0], algorithm="Net", algorithm_version="3")
    mask.set_header(mask.header(segments=(read, *mask.segments[1:])))
    again = reopened(save_case(tmp_path / "case", case))
    assert again.segments == mask.segments
    first = again.segments[0]
    assert [first.category, first.type, first.modifier, first.region] == codes


def test_a_file_of_an_early_version_gives_the_same_ones_every_time(tmp_path):
    path = save_case(tmp_path / "case", small_case())
    old = _without(path, tmp_path / "old.isocase")
    first, second = reopened(old), reopened(old)
    assert uids(first) == uids(second)
    assert all(uids(first))
    saved = save_case(tmp_path / "again", Case({first.id: first}))
    assert uids(reopened(saved)) == uids(first)


def _without(path: Path, target: Path) -> Path:
    """The case file as it was before labels had tracking UIDs, regions and algorithms."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as made:
        for name in source.namelist():
            data = source.read(name)
            if name == "manifest.json":
                manifest = json.loads(data)
                for item in manifest["items"]:
                    for segment in item.get("header", {}).get("segments", ()):
                        segment["tracking_uid"] = ""
                        for key in ("modifier", "region", "algorithm", "algorithm_version"):
                            del segment[key]
                data = json.dumps(manifest)
            made.writestr(name, data)
    return target


def test_a_journal_of_an_early_version_is_replayed(tmp_path):
    """Steps on the labels fit although neither the mask nor the steps name tracking UIDs."""
    case = small_case()
    mask = case.segmentation("mask")
    body = codec.item_body(mask, {})
    _forget(body["header"])
    edit = rename_segment(mask, 1, "Renamed")
    step = codec.edit_body(edit, [], {})
    _forget(step["before"])
    _forget(step["after"])
    read = codec.read_item(body, lambda *_: mask.labels)
    replayed = Case({read.id: read})
    leaf = codec.read_leaf(step, b"", replayed, lambda *_: mask.labels)
    leaf.check(replayed)
    leaf.apply(replayed)
    assert replayed.segmentation("mask").segments[0].name == "Renamed"
    assert all(uids(replayed.segmentation("mask")))


def _forget(header) -> None:
    for segment in header["segments"]:
        segment["tracking_uid"] = ""


def test_they_survive_the_journal(tmp_path):
    case = small_case()
    journal = Journal.create(tmp_path, "x", case)
    mask = mask_on(straight(), segments=fresh())
    mask.id = "new"
    edits = [
        AddItem(mask, "Add"),
        lambda: add_segment(mask, "C"),
        lambda: rename_segment(mask, 1, "Z"),
    ]
    for edit in edits:
        edit = edit() if callable(edit) else edit
        edit.apply(case)
        journal.append(edit, case).wait()
    journal.close(discard=False)
    items, _ = recover(recoverable(tmp_path)[0].path)
    again = next(item for item in items if item.id == "new")
    assert isinstance(again, Segmentation)
    assert again.segments == mask.segments


@pytest.mark.parametrize("region", [["a", "b"], "text", [1]])
def test_a_damaged_region_is_refused(region):
    body = codec.segment_body(fresh()[0]) | {"region": region}
    with pytest.raises((TypeError, codec.BadInput)):
        codec.read_segment(body)
