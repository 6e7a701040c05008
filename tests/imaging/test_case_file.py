"""Case files: what was saved is what opens, and nothing is ever overwritten."""

from __future__ import annotations

import json
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cases import geometries, map_on, mask_on, same_items, small_case, straight, volume_on

from imaging import atomic
from imaging.case import Case
from imaging.errors import BadInput, ImagingError, WorldFailed
from imaging.segmentation import Provenance
from imaging.storage import case_file, codec
from imaging.storage.case_file import load_case, next_version, save_case, snapshot
from imaging.volume import Source

DISPLAY = {
    "layout": "1+3",
    "crosshair": [1.5, -2.25, 1e-3],
    "flair": {"window": [300, 600]},
    "ü": None,
}


def opened(path: Path, case: Case) -> tuple[Case, list[str]]:
    """Load a case file with the volumes of a case at hand."""
    items, problems = load_case(path).build(lambda ref: case.items.get(ref.id))
    return Case({item.id: item for item in [*case.volumes, *items]}), problems


def test_what_was_saved_is_what_opens(tmp_path):
    case = small_case()
    path = save_case(tmp_path / "case", case, DISPLAY)
    assert path == tmp_path / "case.isocase"
    again, problems = opened(path, case)
    assert same_items(again, case)
    assert problems == []
    file = load_case(path)
    assert file.display == DISPLAY
    assert file.written.endswith("+00:00")
    assert [ref.id for ref in file.volumes] == ["flair"]
    assert again.segmentation("mask").revision == 0
    assert again.segmentation("mask").labels is not case.segmentation("mask").labels


@settings(max_examples=25)
@given(geometries(max_edge=5), st.integers(0, 99), st.text(max_size=20), st.floats(0, 1))
def test_any_grid_name_and_number_survives(tmp_path_factory, geometry, seed, name, threshold):
    folder = tmp_path_factory.mktemp("case")
    rng = np.random.default_rng(seed)
    values = rng.random(geometry.shape, dtype=np.float32)
    mask = mask_on(
        geometry, rng.integers(0, 3, geometry.shape, np.uint8), draft=True, threshold=threshold,
        provenance=Provenance(name, "1", "d", "CPU", "t", 1.5, (("a", name),)), hand_work=b"\xff",
    )  # fmt: skip
    mask.name = name
    case = Case({"mask": mask, "map": map_on(geometry, values)})
    path = save_case(folder / "x.isocase", case)
    again, _ = opened(path, case)
    assert same_items(again, case)
    assert np.array_equal(again.segmentation("mask").geometry.affine, geometry.affine)


def test_an_empty_case_can_be_saved(tmp_path):
    again, problems = opened(save_case(tmp_path / "empty", Case()), Case())
    assert (list(again), problems) == ([], [])


def test_a_file_is_never_overwritten(tmp_path):
    case = small_case()
    names = [save_case(tmp_path / "case.isocase", case).name for _ in range(3)]
    assert names == ["case.isocase", "case-002.isocase", "case-003.isocase"]
    assert save_case(tmp_path / "case-002.isocase", case).name == "case-004.isocase"
    assert next_version(tmp_path / "a.b").name == "a.b.isocase"
    assert next_version(tmp_path / "CASE.ISOCASE").name == "CASE.ISOCASE"


def test_the_images_are_referred_to_and_not_copied(tmp_path):
    geometry = straight((40, 50, 60))
    volume = volume_on(geometry)
    path = save_case(tmp_path / "x", Case({"flair": volume, "mask": mask_on(geometry)}))
    assert path.stat().st_size < 10_000 < volume.voxels.nbytes


def test_images_that_are_missing_or_have_changed_are_named_and_the_masks_are_there(tmp_path):
    case = small_case()
    path = save_case(tmp_path / "x", case)
    items, problems = load_case(path).build(lambda ref: None)
    assert problems == ["The image FLAIR was not found."]
    assert len(items) == 2
    changed = volume_on(straight(), seed=99, id="again")
    items, problems = load_case(path).build(lambda ref: changed)
    assert problems == ["The image FLAIR is not the one this case was made on."]
    assert {item.volume_id for item in items} == {"again"}
    elsewhere = volume_on(straight((3, 3, 3)), id="again")
    items, problems = load_case(path).build(lambda ref: elsewhere)
    assert len(problems) == 1
    assert {item.volume_id for item in items} == {"flair"}


def test_the_same_image_under_a_new_id_is_no_problem(tmp_path):
    case = small_case()
    path = save_case(tmp_path / "x", case)
    again = replace(case.volume("flair"), id="new id")
    items, problems = load_case(path).build(lambda ref: again)
    assert problems == []
    assert {item.volume_id for item in items} == {"new id"}


def test_images_that_moved_along_with_the_case_file_are_found(tmp_path):
    (tmp_path / "old").mkdir()
    image = tmp_path / "old" / "flair.nii.gz"
    image.write_bytes(b"x")
    volume = replace(volume_on(straight()), source=Source("nifti", (str(image),)))
    save_case(tmp_path / "old" / "x", Case({"flair": volume}))
    (tmp_path / "old").rename(tmp_path / "new")
    (ref,) = load_case(tmp_path / "new" / "x.isocase").volumes
    assert Path(ref.files[0]) == tmp_path / "new" / "flair.nii.gz"


def test_a_case_is_saved_while_it_is_edited(tmp_path):
    case = small_case()
    frozen = snapshot(case)
    before = case.segmentation("mask").labels.copy()
    writer = threading.Thread(target=save_case, args=(tmp_path / "x", frozen))
    writer.start()
    case.segmentation("mask").flip(_whole(before), np.full_like(before, 7))
    writer.join()
    again, _ = opened(tmp_path / "x.isocase", case)
    assert np.array_equal(again.segmentation("mask").labels, before)


def _whole(array):
    from imaging.geometry import Box

    return Box.whole(array.shape)


def test_the_display_must_be_plain(tmp_path):
    for display in ({"x": float("nan")}, {"x": {1, 2}}):
        with pytest.raises((TypeError, ValueError)):
            save_case(tmp_path / "x", Case(), display)
    assert list(tmp_path.iterdir()) == []


# --- the disk refuses -----------------------------------------------------------------------


def test_a_file_that_reads_back_differently_is_not_kept(tmp_path, monkeypatch):
    pack = codec.pack

    def lying(array, level=1):
        wrong = array.copy()
        wrong.flat[0] += 1
        return pack(wrong, level)

    monkeypatch.setattr(codec, "pack", lying)
    with pytest.raises(WorldFailed, match="read back"):
        save_case(tmp_path / "x", small_case())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"display": {"x": 1}}, {"items": []}, {"volumes": []}])
def test_a_manifest_that_reads_back_differently_is_not_kept(tmp_path, monkeypatch, change):
    write = case_file._write
    monkeypatch.setattr(
        case_file,
        "_write",
        lambda aside, text, arrays: write(
            aside, json.dumps({**json.loads(text), **change}), arrays
        ),
    )
    with pytest.raises(WorldFailed, match="differs"):
        save_case(tmp_path / "x", small_case())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(WorldFailed):
        save_case(tmp_path / "nowhere" / "x", small_case())


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "_sync", full)
    with pytest.raises(WorldFailed, match="full"):
        save_case(tmp_path / "x", small_case())
    assert list(tmp_path.iterdir()) == []


# --- files that are not what they say -------------------------------------------------------


@pytest.fixture
def parts(tmp_path):
    """The manifest of a good file, and a way to write a changed one."""
    good = save_case(tmp_path / "good", small_case(), DISPLAY)
    with zipfile.ZipFile(good) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(content["manifest.json"])

    def write(manifest=manifest, compression=zipfile.ZIP_STORED, drop=(), extra=()) -> Path:
        path = tmp_path / "bad.isocase"
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("manifest.json", json.dumps(manifest))
            for name, data in {**content, **dict(extra)}.items():
                if name != "manifest.json" and name not in drop:
                    archive.writestr(name, data)
        return path

    return manifest, write, [name for name in content if name != "manifest.json"]


def read_all(path: Path) -> None:
    load_case(path).build(lambda ref: None)


def test_the_written_parts_can_be_read_again(parts):
    read_all(parts[1]())


def test_the_first_format_is_read_with_its_missing_parts(parts):
    """What format 1 did not know has its default."""
    manifest, write, _ = parts
    plain = json.loads(json.dumps(manifest))
    for volume in plain["volumes"]:
        for newer in ("repeat", "even_mm"):
            volume.pop(newer, None)
    read_all(write({**plain, "version": 1}))


def test_a_newer_format_is_refused_with_a_sentence(parts):
    manifest, write, _ = parts
    with pytest.raises(BadInput, match=r"format 3, this program reads up to 2.*newer version"):
        read_all(write({**manifest, "version": 3}))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something"},
        {"version": 0},
        {"version": "1"},
        {"items": None},
        {"items": [{}]},
        {"items": [{"id": "x", "kind": "magic"}]},
        {"volumes": [{"id": "x"}]},
        {"display": 5},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(parts, change):
    manifest, write, _ = parts
    with pytest.raises(BadInput):
        read_all(write({**manifest, **change}))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("id",), 5),
        (("geometry", "shape"), [2, 2, 2]),
        (("geometry", "shape"), [100000, 100000, 100000]),
        (("geometry", "shape"), [-1, 2, 2]),
        (("geometry", "affine"), [0.0] * 16),
        (("geometry", "affine"), ["x"] * 16),
        (("labels",), "0" * 64),
        (("header", "name"), 5),
        (("header", "draft"), "yes"),
        (("header", "threshold"), "0.5"),
        (("header", "hand_work"), "*"),
        (("header", "unknown"), 1),
        (("header", "segments"), [{"number": 1}]),
        (("header", "segments"), 7),
        (("header", "provenance"), {"settings": []}),
        (("header", "provenance"), {"algorithm": 3, "settings": []}),
        (("header", "segments", 0, "number"), 300),
        (("header", "segments", 0, "number"), True),
        (("header", "segments", 0, "colour"), [1, 2]),
        (("header", "segments", 0, "type"), ["x"]),
    ],
)
def test_every_wrong_part_of_a_mask_is_refused(parts, where, value):
    manifest, write, _ = parts
    changed = json.loads(json.dumps(manifest))
    spot = changed["items"][0]
    for key in where[:-1]:
        spot = spot[key]
    spot[where[-1]] = value
    if where == ("header", "provenance") and "algorithm" not in value:
        read_all(write(changed))  # every part of a provenance may be left out
        return
    with pytest.raises(BadInput):
        read_all(write(changed))


def test_two_items_of_one_id_are_refused(parts):
    manifest, write, _ = parts
    with pytest.raises(BadInput):
        read_all(write({**manifest, "items": [manifest["items"][0]] * 2}))


def test_missing_and_foreign_voxels_are_refused(parts):
    _, write, arrays = parts
    with pytest.raises(BadInput):
        read_all(write(drop=arrays[:1]))
    with pytest.raises(BadInput):
        read_all(write(extra=[(arrays[0], codec.pack(np.ones(straight().shape, np.uint8)))]))
    with pytest.raises(BadInput):
        read_all(write(extra=[(arrays[0], b"nonsense")]))


def test_a_bomb_does_not_go_off(parts):
    manifest, write, arrays = parts
    with pytest.raises(BadInput):
        read_all(write({**manifest, "bomb": " " * 30_000_000}, zipfile.ZIP_DEFLATED))
    bomb = codec.pack(np.zeros((1000, 1000, 100), np.uint8))
    assert len(bomb) < 20_000
    with pytest.raises(BadInput):
        read_all(write(extra=[(arrays[0], bomb)]))
    deep = json.loads("[" * 500 + "]" * 500)
    read_all(write({**manifest, "display": {"x": deep}}))


def test_too_many_entries_are_refused(parts):
    _, write, _ = parts
    with pytest.raises(BadInput):
        read_all(write(extra=[(f"x{n}", b"") for n in range(5000)]))


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 20])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "x.isocase"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="not a case file"):
        load_case(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other", "x")
    with pytest.raises(BadInput):
        load_case(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "[" * 100_000)
    with pytest.raises(BadInput):
        load_case(path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(WorldFailed):
        load_case(tmp_path / "x.isocase")


def test_no_damage_to_the_bytes_is_taken_for_truth(tmp_path):
    case = small_case()
    path = save_case(tmp_path / "x", case)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(150):
        data = bytearray(whole)
        at = int(rng.integers(len(data)))
        if trial % 3 == 0:
            del data[at:]
        else:
            data[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            again, _ = opened(path, case)
        except ImagingError:
            continue
        assert same_items(again, case)


# --- packed arrays --------------------------------------------------------------------------


@given(
    st.sampled_from(["u1", "<f4", "<i2"]),
    st.tuples(*[st.integers(0, 6)] * 3),
    st.integers(0, 100),
)
def test_arrays_pack_and_unpack(dtype, shape, seed):
    array = np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)
    again = codec.unpack(codec.pack(array), np.dtype(dtype), shape)
    assert np.array_equal(again, array)
    assert again.dtype == array.dtype
    assert codec.digest(again) == codec.digest(array)


def test_an_array_larger_than_a_slab(monkeypatch):
    monkeypatch.setattr(codec, "_SLAB", 1000)
    array = np.random.default_rng(0).random((7, 11, 13), dtype=np.float32)
    assert np.array_equal(codec.unpack(codec.pack(array), array.dtype, array.shape), array)


def test_the_name_of_an_array_tells_shape_and_type_apart():
    zeros = np.zeros((2, 2, 2), np.uint8)
    others = [zeros.reshape(1, 4, 2), zeros.view(np.int8), zeros + np.uint8(1)]
    names = {codec.digest(array) for array in [zeros, *others]}
    assert len(names) == 4


@pytest.mark.parametrize("shape", [(3, 3, 4), (3, 3, 2), (-3, 3, 3), (1 << 20, 1 << 20, 4)])
def test_an_array_of_another_size_is_refused(shape):
    data = codec.pack(np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(BadInput):
        codec.unpack(data, np.dtype(np.uint8), shape)


def test_nothing_stored_can_run_code():
    """No module of this room reads pickles, not even by the back door of numpy."""
    for module in Path(case_file.__file__).parent.glob("*.py"):
        text = module.read_text(encoding="utf-8").replace("No pickle", "")
        assert "pickle" not in text
        assert "np.load" not in text


def test_lesions_keep_their_numbers_and_files_without_any_open(tmp_path):
    case = small_case()
    case.segmentation("mask").lesion_numbers = ((107, 1, 2, 3), (5, 0, 0, 4))
    again, _ = opened(save_case(tmp_path / "case", snapshot(case)), case)
    assert again.segmentation("mask").lesion_numbers == ((107, 1, 2, 3), (5, 0, 0, 4))
    plain, _ = opened(save_case(tmp_path / "plain", small_case()), case)
    assert plain.segmentation("mask").lesion_numbers == ()


@pytest.mark.parametrize(
    "numbers", [[[0, 1, 1, 1]], [[1, -1, 0, 0]], [[1, 2]], [["1", 0, 0, 0]], 7]
)
def test_numbers_that_are_none_are_damage(tmp_path, numbers):
    case = small_case()
    arrays: codec.Arrays = {}
    body = codec.item_body(case.segmentation("mask"), arrays) | {"lesion_numbers": numbers}
    with pytest.raises((BadInput, TypeError, ValueError)):
        codec.read_item(body, lambda name, dtype, shape: arrays[name])


def test_the_case_knows_how_often_it_was_exported(tmp_path):
    case = small_case()
    case.exports = 2
    assert load_case(save_case(tmp_path / "case", snapshot(case))).exports == 2
