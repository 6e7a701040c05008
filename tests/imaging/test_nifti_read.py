"""NIfTI files in every orientation, type and packing hold the same voxels at the same places."""

from __future__ import annotations

import gzip
import json
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_phantoms import place_value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placed_images import itk_image, misplaced, placed_values, refusal
from writing_grids import NAMES, ORIENTATIONS, grid

from imaging.errors import BadInput
from imaging.geometry import Box
from imaging.open import load_series, open_series, scan, thumbnail
from imaging.storage import grid_load
from imaging.storage.file_head import read_head
from imaging.storage.nifti_read import begins_nifti, read_nifti

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write(path: Path, affine: np.ndarray, shape=(7, 6, 5), dtype=np.int16) -> Path:
    """A file whose values say where they lie."""
    index = np.stack(np.indices(shape), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    values = np.rint(place_value(world * [-1, -1, 1])).astype(dtype)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def assert_in_place(path: Path) -> None:
    (series,) = read_nifti(str(path))
    volume = load_series(series)
    index = np.stack(np.indices(volume.voxels.shape), axis=-1)
    want = place_value(volume.geometry.world(index))
    assert np.abs(volume.real(volume.voxels) - want).max() <= 0.51


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_all_permutations_and_flips(tmp_path: Path, axes) -> None:
    for signs in product((1, -1), repeat=3):
        affine = np.eye(4)
        affine[:3, :3] = 0
        for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
            affine[axis, column] = sign * (1.0 + column)
        affine[:3, 3] = (10, -20, 30)
        assert_in_place(write(tmp_path / "turned.nii", affine))


@pytest.mark.parametrize("way", ORIENTATIONS, ids=NAMES)
def test_every_orientation_written_by_itk_and_nibabel(tmp_path: Path, way) -> None:
    for oblique in (False, True):
        geometry = grid(way, oblique=oblique)
        path = tmp_path / f"itk{oblique}.nii.gz"
        sitk.WriteImage(itk_image(geometry), str(path), True)
        image = nib.Nifti2Image(placed_values(geometry).transpose(2, 1, 0), geometry.nifti_affine)
        nib.save(image, tmp_path / f"nibabel{oblique}.nii")
    with scan([tmp_path]) as found:
        assert len(found.series) == 4
        for series in found.series:
            assert misplaced(load_series(series)) < 0.51
            assert series.problems == ()


def test_oblique_and_sheared_affines_are_kept(tmp_path: Path) -> None:
    affine = np.array([[1.1, 0.2, 0.1, -9], [-0.2, 0.9, 0.3, 4], [0, -0.3, 2.0, 7], [0, 0, 0, 1.0]])
    path = write(tmp_path / "sheared.nii.gz", affine)
    assert_in_place(path)
    (series,) = read_nifti(str(path))
    assert "sheared" in series.problems[0]
    assert series.volumetric


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "no_ending"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f4", "<u1", "<f8", "<i4", "<i1"])
def test_types_byte_orders_and_packing(tmp_path: Path, name: str, dtype: str) -> None:
    values = np.arange(60, dtype=np.float64).reshape(5, 4, 3) + 3
    image = nib.Nifti1Image(values.astype(dtype), RAS, dtype=np.dtype(dtype))
    header = image.header.as_byteswapped(">" if dtype[0] == ">" else "<")
    path = tmp_path / "raw.nii"
    nib.save(nib.Nifti1Image(values.astype(dtype), RAS, header), path)
    target = tmp_path / name
    target.write_bytes(gzip.compress(path.read_bytes()) if "gz" in name else path.read_bytes())
    (series,) = read_nifti(str(target))
    volume = load_series(series)
    assert volume.voxels.dtype.newbyteorder("=") == volume.voxels.dtype
    assert volume.voxels.dtype.itemsize <= 4
    assert (volume.voxels == values.transpose(2, 1, 0)).all()


def test_scale_is_reported_not_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.full((4, 4, 4), 10, np.int16), RAS)
    image.header.set_slope_inter(0.5, 3.0)
    path = tmp_path / "scaled.nii"
    with open(path, "wb") as file:
        image.header["magic"], image.header["vox_offset"] = b"n+1", 352
        file.write(image.header.binaryblock + bytes(4) + image.get_fdata().astype("<i2").tobytes())
    volume = load_series(read_nifti(str(path))[0])
    assert (volume.slope, volume.intercept) == (0.5, 3.0)
    assert volume.real(volume.voxels[0, 0, 0]) == pytest.approx(8.0)


def test_time_points_are_the_images_of_one_series(tmp_path: Path) -> None:
    values = np.arange(3 * 4 * 5 * 6, dtype=np.int16).reshape(3, 4, 5, 6)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "run.nii.gz")
    (series,) = read_nifti(str(tmp_path / "run.nii.gz"))
    assert series.description == "run"
    assert (series.repeat_axis, series.repeats[2]) == ("time point", "time point 3")
    volume = load_series(series)
    assert volume.repeats is not None
    assert len(volume.repeats) == 6
    assert np.shares_memory(volume.voxels, volume.repeats.voxels)
    for time in range(6):
        chosen = volume.at_repeat(time)
        assert (chosen.voxels == values[..., time].transpose(2, 1, 0)).all()


def test_middle_slice_first_where_not_packed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(grid_load, "SLAB_BYTES", 200)
    path = write(tmp_path / "a.nii", RAS, shape=(7, 6, 9))
    loading = open_series(read_nifti(str(path))[0])
    boxes: list[Box] = []
    loading.load(on_slab=boxes.append)
    assert boxes[0] == Box((4, 0, 0), (5, 6, 7))
    assert {k for b in boxes for k in range(b.start[0], b.stop[0])} == set(range(9))


def test_not_a_number_becomes_zero_with_a_note(tmp_path: Path) -> None:
    values = np.ones((4, 4, 4), np.float32)
    values[1, 2, 3] = np.nan
    nib.save(nib.Nifti1Image(values, RAS), tmp_path / "a.nii")
    volume = load_series(read_nifti(str(tmp_path / "a.nii"))[0])
    assert volume.voxels[3, 2, 1] == 0
    assert "not finite" in volume.notes[-1]


def test_no_place_in_the_header_is_said(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.int16), None)
    image.header.set_sform(None, 0)
    image.header.set_qform(None, 0)
    nib.save(image, tmp_path / "a.nii")
    (series,) = read_nifti(str(tmp_path / "a.nii"))
    assert "sides may be wrong" in series.problems[0]


def test_pair_of_header_and_image(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    nib.save(nib.Nifti1Pair(values, RAS), tmp_path / "pair.hdr")
    with scan([tmp_path]) as result:
        assert result.problems == ()
        (series,) = result.series
        assert (load_series(series).voxels == values.transpose(2, 1, 0)).all()
    with scan([tmp_path / "pair.img"]) as alone:
        assert alone.series[0].key == series.key
    (tmp_path / "pair.img").unlink()
    with pytest.raises(BadInput, match=r"\.img file"):
        read_nifti(str(tmp_path / "pair.hdr"))


def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", RAS)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BadInput, match="cut off"):
        read_nifti(str(path))
    packed = tmp_path / "b.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (30, 30, 30), np.int16), RAS),
             packed)  # fmt: skip
    packed.write_bytes(packed.read_bytes()[:-2000])
    (series,) = read_nifti(str(packed))
    with pytest.raises(BadInput, match=r"damaged|cut off"):
        load_series(series)
    other = tmp_path / "letter.nii"
    other.write_text("Dear colleague" * 50)
    assert not begins_nifti(read_head(str(other)))


def test_colour_and_complex_are_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.complex64), RAS), tmp_path / "a.nii")
    with pytest.raises(BadInput, match="complex"):
        read_nifti(str(tmp_path / "a.nii"))


def test_announced_size_is_checked_before_allocation(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), RAS)
    image.header["dim"][1:4] = 30000
    image.header["magic"], image.header["vox_offset"] = b"n+1", 352
    path = tmp_path / "huge.nii.gz"
    path.write_bytes(gzip.compress(image.header.binaryblock + bytes(4)))
    with pytest.raises(BadInput, match="larger than 4 GB"):
        read_nifti(str(path))


def test_thumbnail(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", RAS @ np.diag([2.0, 1, 1, 1]), shape=(20, 30, 5))
    assert thumbnail(read_nifti(str(path))[0], size=60).shape == (45, 60)


def test_real_orientation_files_agree_with_nibabel(shared_data: Path) -> None:
    folder = shared_data / "nifti_orientations"
    if not folder.is_dir():
        pytest.skip("nifti_orientations is not here")
    files = sorted(path for path in folder.rglob("*.nii*"))
    assert files
    for path in files:
        image = nib.load(path)
        for series in read_nifti(str(path)):
            volume = load_series(series)
            data = np.asanyarray(image.dataobj)
            data = data[..., series.frames[0].number] if data.ndim == 4 else data
            assert np.allclose(volume.real(volume.voxels), data.transpose(2, 1, 0), rtol=1e-5)
            assert np.allclose(volume.geometry.nifti_affine, image.affine)


# --- two places, units, scales ---------------------------------------------------------------


def header_of(**fields: Any) -> nib.Nifti1Header:
    """A header of a 5 × 4 × 3 image of int16 with 2 mm voxels; fields are changed."""
    header = nib.Nifti1Header()
    header.set_data_shape((5, 4, 3))
    header.set_data_dtype(np.int16)
    header.set_zooms((2.0, 2.0, 2.0))
    header.set_xyzt_units("mm", "sec")
    header.set_sform(np.diag([2.0, 2, 2, 1]), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    for name, value in fields.items():
        header[name] = value
    return header


VALUES = np.arange(60, dtype="<i2").reshape(3, 4, 5)


def saved(path: Path, header: nib.Nifti1Header, body: bytes = VALUES.tobytes()) -> Path:
    path.write_bytes(header.binaryblock + bytes(4) + body)
    return path


def series_of(tmp_path: Path, header: nib.Nifti1Header):
    (series,) = read_nifti(str(saved(tmp_path / "a.nii", header)))
    return series


def test_sform_wins_and_disagreement_is_said(tmp_path: Path) -> None:
    header = header_of(sform_code=4)
    moved = np.diag([2.0, 2, 2, 1])
    moved[:3, 3] = 7
    header.set_qform(moved, 1)
    series = series_of(tmp_path, header)
    assert series.geometry is not None
    np.testing.assert_allclose(series.geometry.origin, 0)
    assert "twice, differently; the sform (MNI space) is used" in series.problems[0]
    header.set_sform(None, 0)
    alone = series_of(tmp_path, header)
    assert alone.geometry is not None
    np.testing.assert_allclose(alone.geometry.origin, (-7, -7, 7))
    assert alone.problems == ()


def test_a_senseless_sform_leaves_the_word_to_the_qform(tmp_path: Path) -> None:
    header = header_of()
    header.set_qform(np.diag([2.0, 2, 2, 1]) + np.pad([[5.0]], ((0, 3), (3, 0))), 1)
    header["srow_x"] = np.nan
    series = series_of(tmp_path, header)
    assert series.geometry is not None
    np.testing.assert_allclose(series.geometry.origin, (-5, 0, 0))


@pytest.mark.parametrize(
    ("unit", "scale", "word"),
    [(0, 1.0, ""), (1, 1000.0, "in metres"), (2, 1.0, ""), (3, 0.001, "in micrometres")],
)
def test_units_are_converted(tmp_path: Path, unit: int, scale: float, word: str) -> None:
    series = series_of(tmp_path, header_of(xyzt_units=unit + 8))
    assert series.geometry is not None
    np.testing.assert_allclose(series.geometry.spacing, 2.0 * scale)
    assert word in " ".join(series.problems)
    assert bool(series.problems) == bool(word)


@pytest.mark.parametrize("zooms", [(-2, 2, 2), (2, -2, -2)])
def test_negative_voxel_sizes_of_a_qform_count_without_sign(tmp_path: Path, zooms) -> None:
    header = header_of()
    header.set_qform(np.diag([-2.0, 2, 2, 1]), 1)
    header.set_sform(None, 0)
    header["pixdim"][1:4] = zooms
    series = series_of(tmp_path, header)
    assert series.geometry is not None
    np.testing.assert_allclose(series.geometry.nifti_affine, np.diag([-2.0, 2, 2, 1]), atol=1e-6)


def test_missing_voxel_sizes_are_said(tmp_path: Path) -> None:
    header = header_of(sform_code=0, qform_code=0)
    header["pixdim"][1:4] = (0, np.nan, 3)
    series = series_of(tmp_path, header)
    assert series.geometry is not None
    assert series.geometry.spacing == (3.0, 1.0, 1.0)
    assert "1 mm stands in" in series.problems[0]
    assert "sides may be wrong" in series.problems[1]


@pytest.mark.parametrize(
    ("slope", "intercept", "meant"),
    [(0.0, 5.0, (1.0, 0.0)), (np.nan, np.nan, (1.0, 0.0)), (2.0, np.nan, (2.0, 0.0)),
     (np.inf, 1.0, (1.0, 0.0)), (-0.5, 7.0, (-0.5, 7.0))],
)  # fmt: skip
def test_odd_slopes(tmp_path: Path, slope, intercept, meant) -> None:
    volume = load_series(series_of(tmp_path, header_of(scl_slope=slope, scl_inter=intercept)))
    assert (volume.slope, volume.intercept) == meant


# --- 4D ---------------------------------------------------------------------------------------


def four(path: Path, count: int = 4) -> np.ndarray:
    values = np.arange(5 * 4 * 3 * count, dtype=np.int16).reshape(5, 4, 3, count)
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return values


def test_b_values_beside_the_file_name_the_images(tmp_path: Path) -> None:
    four(tmp_path / "dwi.nii.gz", 5)
    (tmp_path / "dwi.bval").write_text("0 1000 1000 5 2000\n")
    (tmp_path / "dwi.bvec").write_text("0 1 0 0 0\n0 0 1 0 1\n0 0 0 0 0\n")
    with scan([tmp_path]) as found:
        assert found.problems == ()
        (series,) = found.series
    assert series.repeat_axis == "b-value"
    assert series.repeats == (
        "b 0 · image 1", "b 1000 · direction 1", "b 1000 · direction 2", "b 0 · image 2", "b 2000",
    )  # fmt: skip
    (tmp_path / "dwi.bval").write_text("0 1000\n")
    assert read_nifti(str(tmp_path / "dwi.nii.gz"))[0].repeats[1] == "time point 2"


def test_the_wanted_image_comes_first_where_not_packed(tmp_path: Path) -> None:
    values = four(tmp_path / "run.nii")
    loading = open_series(read_nifti(str(tmp_path / "run.nii"))[0])
    loading.wanted = 2
    boxes: list[Box] = []
    seen: list[bool] = []

    def look(box: Box) -> None:
        boxes.append(box)
        repeats = loading.volume.repeats
        assert repeats is not None
        seen.append(bool((repeats.voxels[2] == values[..., 2].T).all()))

    loading.load(on_slab=look)
    assert boxes[0] == Box((1, 0, 0), (2, 4, 5))
    assert seen[1]
    assert all(box.empty for box in boxes[2:])
    assert loading.fraction == 1.0


def test_what_memory_does_not_hold_is_left_out_and_said(tmp_path: Path, monkeypatch) -> None:
    values = four(tmp_path / "run.nii.gz")
    monkeypatch.setattr(grid_load, "room_for_voxels", lambda: 3 * 60 * 2 + 5)
    volume = load_series(read_nifti(str(tmp_path / "run.nii.gz"))[0])
    assert volume.repeats is not None
    assert (volume.repeats.voxels == values[..., :3].T).all()
    assert "first 3 of 4 images" in volume.notes[-1]


def test_a_4d_file_that_is_cut_off_keeps_its_whole_images(tmp_path: Path) -> None:
    values = four(tmp_path / "run.nii")
    whole = (tmp_path / "run.nii").read_bytes()
    (tmp_path / "run.nii").write_bytes(whole[:-130])
    (series,) = read_nifti(str(tmp_path / "run.nii"))
    assert "cut off after 2 of 4" in series.problems[0]
    volume = load_series(series)
    assert volume.repeats is not None
    assert (volume.repeats.voxels == values[..., :2].T).all()


@pytest.mark.parametrize(
    ("shape", "intent", "reason"),
    [((3, 3, 3, 1, 3), 1007, "vectors"), ((3, 3, 3, 2, 3), 0, "5 dimensions"),
     ((3, 3, 3, 6), 1005, "vectors")],
)  # fmt: skip
def test_vectors_are_refused(tmp_path: Path, shape, intent: int, reason: str) -> None:
    image = nib.Nifti1Image(np.zeros(shape, np.float32), np.eye(4))
    image.header["intent_code"] = intent
    nib.save(image, tmp_path / "a.nii")
    assert reason in refusal(tmp_path / "a.nii")


def test_colours_are_refused(tmp_path: Path) -> None:
    values = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    assert "colour" in refusal(tmp_path / "a.nii")


# --- files beside, Analyze, hostile files ---------------------------------------------------


def test_facts_of_a_json_file_beside(tmp_path: Path) -> None:
    write(tmp_path / "series7.nii.gz", RAS)
    facts = {"SeriesDescription": "sag_t2_tirm", "Manufacturer": "Siemens", "EchoTime": 0.388,
             "RepetitionTime": 5.0, "InversionTime": 1.8, "PatientName": "Nobody^Asks"}  # fmt: skip
    (tmp_path / "series7.json").write_text(json.dumps(facts))
    with scan([tmp_path]) as found:
        assert found.problems == ()
        (series,) = found.series
    assert series.description == "series7"
    assert series.source.series_description == "sag_t2_tirm"
    assert series.source.manufacturer == "Siemens"
    assert series.sequence == series.guess.name == "FLAIR"
    assert "Nobody" not in repr(series)
    for bad in ("[1, 2]", "{", "[" * 100_000, '{"EchoTime": "x", "ImageType": 3}'):
        (tmp_path / "series7.json").write_text(bad)
        assert read_nifti(str(tmp_path / "series7.nii.gz"))[0].viewable


def test_analyze_is_refused_with_its_reason(tmp_path: Path) -> None:
    analyze = nib.AnalyzeImage(VALUES.transpose(2, 1, 0), np.diag([2.0, 2, 2, 1]))
    nib.save(analyze, tmp_path / "old.img")
    reason = refusal(tmp_path / "old.hdr")
    assert "left from right" in reason
    assert "Convert it to NIfTI" in reason
    assert "left from right" in refusal(tmp_path / "old.img")


def test_what_a_packed_file_cannot_hold_is_refused_at_once(tmp_path: Path) -> None:
    header = header_of()
    header.set_data_shape((400, 400, 400))
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4)))
    assert "cut off" in refusal(path)
    header.set_data_shape((30, 30, 30))  # that much could lie in it, were it all zeros
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4)))
    with pytest.raises(BadInput, match="cut off"):
        load_series(read_nifti(str(path))[0])


def test_a_bomb_is_inflated_as_far_as_announced(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(header_of().binaryblock + bytes(100_000_000), 9))
    assert load_series(read_nifti(str(path))[0]).voxels.size == 60


def test_a_wrong_checksum_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", header_of())
    packed = bytearray(gzip.compress(path.read_bytes(), 0))
    packed[400] ^= 0xFF
    (tmp_path / "b.nii.gz").write_bytes(packed)
    with pytest.raises(BadInput, match="damaged"):
        load_series(read_nifti(str(tmp_path / "b.nii.gz"))[0])


def test_two_gzip_streams_in_one_file(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.nii", header_of()).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(whole[:400]) + gzip.compress(whole[400:]))
    assert (load_series(read_nifti(str(tmp_path / "b.nii.gz"))[0]).voxels == VALUES).all()


def test_packed_slices_are_told_once_the_wanted_one_is_there(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(grid_load, "SLAB_BYTES", 2 * 6 * 7)
    path = write(tmp_path / "a.nii.gz", RAS, shape=(7, 6, 9))
    boxes: list[Box] = []
    open_series(read_nifti(str(path))[0]).load(on_slab=boxes.append)
    assert boxes[0] == Box((0, 0, 0), (5, 6, 7))
    assert [box.start[0] for box in boxes[1:]] == [5, 6, 7, 8]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), max_size=8),
    st.booleans(),
    st.integers(0, 130),
)
def test_no_header_crashes_the_reader(tmp_path: Path, changes, packed: bool, left: int) -> None:
    block = bytearray(header_of().binaryblock)
    for place, value in changes:
        block[place] = value
    block[344:348] = b"n+1\0"
    whole = bytes(block) + bytes(4) + VALUES.tobytes()[:left]
    path = tmp_path / "a.nii"
    path.write_bytes(gzip.compress(whole) if packed else whole)
    with scan([path]) as found:
        assert len(found.series) + len(found.problems) + len(found.objects) >= 1
        assert not any("cannot be understood" in p.reason for p in found.problems)
        for series in found.series:
            try:
                load_series(series)
            except BadInput:
                continue


def test_sixteen_real_orientations_show_one_head(shared_data: Path) -> None:
    with scan([shared_data / "nifti_orientations"]) as found:
        volumes = [load_series(series) for series in found.series]
    assert len(volumes) == 16
    first = volumes[0]
    rng = np.random.default_rng(5)
    index = np.stack([rng.integers(0, n, 400) for n in first.voxels.shape], axis=1)
    world = first.geometry.world(index)
    want = first.voxels[tuple(index.T)]
    for volume in volumes[1:]:
        there = np.rint(volume.geometry.index(world)).astype(int)
        assert np.abs(volume.geometry.world(there) - world).max() < 0.01
        assert (volume.voxels[tuple(there.T)] == want).all()
