"""NIfTI files, judged by nibabel and SimpleITK in patient space."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from writing_grids import (
    NAMES,
    ORIENTATIONS,
    assert_same_in_patient,
    grid,
    itk_judge,
    volume,
)

from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.open import scan
from imaging.orientation import LPS_TO_RAS
from imaging.segmentation import Segment, Segmentation
from imaging.storage.nifti import write_heatmap, write_labels, write_volume
from imaging.storage.sidecar import image_facts, write_json
from imaging.volume import Source, Volume


@pytest.mark.parametrize("way", ORIENTATIONS, ids=NAMES)
def test_every_orientation_lands_where_it_was(tmp_path, way):
    v = volume(grid(way))
    (path,) = write_volume(tmp_path / "v.nii.gz", v)
    image = nib.load(path)
    to_nibabel = np.linalg.inv(image.affine) @ LPS_TO_RAS
    assert_same_in_patient(v.geometry, v.voxels, np.asarray(image.dataobj), to_nibabel)
    assert_same_in_patient(v.geometry, v.voxels, *itk_judge(path))


def test_the_array_is_never_reordered(tmp_path):
    v = volume(grid(ORIENTATIONS[37]))
    write_volume(tmp_path / "v.nii", v)
    stored = np.asarray(nib.load(tmp_path / "v.nii").dataobj)
    np.testing.assert_array_equal(stored.transpose(2, 1, 0), v.voxels)


def test_sform_and_qform_agree_with_code_1(tmp_path):
    write_volume(tmp_path / "v.nii.gz", volume(grid()))
    header = nib.load(tmp_path / "v.nii.gz").header
    sform, scode = header.get_sform(coded=True)
    qform, qcode = header.get_qform(coded=True)
    assert (scode, qcode) == (1, 1)
    np.testing.assert_allclose(sform, qform, atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"


def test_a_sheared_grid_keeps_its_affine_and_claims_no_qform(tmp_path):
    affine = grid(oblique=False).affine.copy()
    affine[:3, 0] += (0.0, 0.9, 0.0)
    v = volume(Geometry((4, 5, 11), affine))
    write_volume(tmp_path / "v.nii.gz", v)
    image = nib.load(tmp_path / "v.nii.gz")
    assert int(image.header["qform_code"]) == 0
    to_nibabel = np.linalg.inv(image.affine) @ LPS_TO_RAS
    assert_same_in_patient(v.geometry, v.voxels, np.asarray(image.dataobj), to_nibabel)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32", "bool"])
def test_stored_values_stay_as_they_are(tmp_path, dtype):
    v = volume(grid(), dtype)
    write_volume(tmp_path / "v.nii.gz", v)
    back = nib.load(tmp_path / "v.nii.gz").dataobj.get_unscaled().transpose(2, 1, 0)
    np.testing.assert_array_equal(back, v.voxels)
    assert back.dtype == (np.uint8 if dtype == "bool" else np.dtype(dtype))


def test_big_endian_voxels_are_understood(tmp_path):
    v = volume(grid(), ">i2")
    write_volume(tmp_path / "v.nii.gz", v)
    back = np.asarray(nib.load(tmp_path / "v.nii.gz").dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(back, v.voxels)


def test_slope_and_intercept_give_the_real_values(tmp_path):
    v = volume(grid(), slope=2.5, intercept=-100.0)
    write_volume(tmp_path / "v.nii.gz", v)
    back = nib.load(tmp_path / "v.nii.gz").get_fdata().transpose(2, 1, 0)
    np.testing.assert_allclose(back, v.real(v.voxels), rtol=1e-6)


def test_not_a_number_survives(tmp_path):
    voxels = np.zeros((4, 5, 11), np.float32)
    voxels[1, 2, 3] = np.nan
    v = volume(grid())
    v = type(v)("v", "v", voxels, v.geometry)
    write_volume(tmp_path / "v.nii.gz", v)
    assert np.isnan(nib.load(tmp_path / "v.nii.gz").get_fdata()[3, 2, 1])


def test_labels_come_with_their_names(tmp_path):
    geometry = grid()
    labels = np.zeros(geometry.shape, np.uint8)
    labels[1, 2, 3:7] = 5
    mask = Segmentation.from_labels(
        "m", "Lesions", geometry, "v", labels, segments=(Segment(5, "Lesion", (230, 159, 0)),)
    )
    files = write_labels(tmp_path / "lesions.nii.gz", mask)
    assert [f.name for f in files] == ["lesions.nii.gz", "lesions.label.txt", "lesions.json"]
    image = nib.load(files[0])
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), labels)
    assert '"Lesion"' in files[1].read_text()


def test_files_beside_a_mask_are_never_overwritten(tmp_path):
    def mask(colour):
        labels = np.zeros((4, 5, 11), np.uint8)
        segments = (Segment(5, "Lesion", colour),)
        return Segmentation.from_labels("m", "M", grid(), "v", labels, segments=segments)

    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(WorldFailed, match="already a file"):
        write_labels(tmp_path / "a.nii.gz", mask((1, 2, 3)))
    (tmp_path / "b.label.txt").write_text("mine")
    with pytest.raises(WorldFailed, match="another label file"):
        write_labels(tmp_path / "b.nii.gz", mask((1, 2, 3)))
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "b.label.txt"}
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.label.txt").read_text() == "mine"


def test_a_map_keeps_every_value(tmp_path):
    geometry = grid()
    values = np.random.default_rng(0).random(geometry.shape, np.float32)
    write_heatmap(tmp_path / "p.nii.gz", Heatmap("h", "P", values, "probability", geometry, "v"))
    back = np.asarray(nib.load(tmp_path / "p.nii.gz").dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(back, values)


def test_the_file_beside_a_map_or_image_says_what_it_is(tmp_path):
    geometry = grid()
    values = np.random.default_rng(0).random(geometry.shape, np.float32)
    heat = Heatmap("h", "P", values, "probability", geometry, "v")
    write_heatmap(tmp_path / "case7_T2w.nii.gz", heat)
    image = Volume("v", "v", values, geometry, Source("memory", sequence="FLAIR"))
    write_volume(tmp_path / "case8.nii.gz", image)
    write_json(tmp_path / "case8.json", image_facts(image))
    with scan([tmp_path]) as result:
        written_map, written_image = sorted(result.series, key=lambda s: s.description)
    assert (written_map.sequence, written_map.guess.confidence) == ("", 1.0)
    assert "probability" in written_map.guess.why
    assert written_image.sequence == "FLAIR"


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"\.nii"):
        write_volume(tmp_path / "v.img", volume(grid()))
    assert not list(tmp_path.iterdir())


def test_the_name_of_the_volume_may_hold_any_letters(tmp_path):
    v = volume(grid())
    v = type(v)("v", "Ödem-Σ 髄" * 30, v.voxels, v.geometry)
    (path,) = write_volume(tmp_path / "v.nii", v)
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj).transpose(2, 1, 0), v.voxels)
