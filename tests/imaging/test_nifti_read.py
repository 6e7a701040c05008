"""NIfTI files in every orientation, type and packing hold the same voxels at the same places."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_phantoms import place_value

from imaging.errors import BadInput
from imaging.geometry import Box
from imaging.open import load_series, open_series, scan, thumbnail
from imaging.storage import grid_load
from imaging.storage.nifti_read import is_nifti, read_nifti

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
    assert not is_nifti(str(other))


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
