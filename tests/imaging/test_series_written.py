"""4D series and uneven stacks: written whole, alone, or refused; judged by nibabel and pynrrd."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from writing_grids import ORIENTATIONS, assert_same_in_patient, grid, itk_judge, volume

from imaging.errors import BadInput
from imaging.orientation import LPS_TO_RAS
from imaging.storage import mha, nifti
from imaging.storage import nrrd as nrrd_files
from imaging.volume import Repeats, Source

LABELS = ("TE 10 ms", "TE 20 ms", "TE 30 ms")


def series(way=ORIENTATIONS[29], scales=((1.0, 0.0),) * 3, dtype="int16"):
    """Three echoes on one grid; the second is chosen."""
    geometry = grid(way)
    voxels = np.random.default_rng(1).integers(0, 99, (3, *geometry.shape)).astype(dtype)
    repeats = Repeats("echo time", LABELS, voxels, (Source("dicom"),) * 3, scales)
    first = replace(volume(geometry), voxels=voxels[0], repeats=repeats)
    return first.at_repeat(1)


@pytest.mark.parametrize("way", [ORIENTATIONS[n] for n in (0, 13, 29, 47)])
def test_nifti_holds_every_image_in_its_place(tmp_path, way):
    v = series(way)
    files = nifti.write_volume(tmp_path / "v.nii.gz", v)
    assert [f.name for f in files] == ["v.nii.gz", "v.json"]
    image = nib.load(files[0])
    assert image.shape == (*v.geometry.shape[::-1], 3)
    to_nibabel = np.linalg.inv(image.affine) @ LPS_TO_RAS
    for n in range(3):
        judged = np.asarray(image.dataobj)[..., n]
        assert_same_in_patient(v.geometry, v.repeats.voxels[n], judged, to_nibabel)
    sform, code = image.header.get_sform(coded=True)
    assert code == 1
    np.testing.assert_allclose(sform, v.geometry.nifti_affine, atol=1e-4)
    told = json.loads(files[1].read_text())
    assert told["images"] == {"axis": "echo time", "labels": list(LABELS)}


def test_images_of_different_scales_go_out_as_real_values(tmp_path):
    v = series(scales=((1.0, 0.0), (2.0, -5.0), (0.5, 1.0)))
    back = nib.load(nifti.write_volume(tmp_path / "v.nii", v)[0]).get_fdata()
    for n, (slope, intercept) in enumerate(v.repeats.scales):
        real = v.repeats.voxels[n].astype(float) * slope + intercept
        np.testing.assert_allclose(back[..., n].transpose(2, 1, 0), real, rtol=1e-6)


def test_one_scale_for_all_stays_in_the_header(tmp_path):
    v = series(scales=((2.0, -5.0),) * 3)
    image = nib.load(nifti.write_volume(tmp_path / "v.nii", v)[0])
    assert image.get_data_dtype() == np.int16
    np.testing.assert_allclose(
        image.get_fdata()[..., 2].transpose(2, 1, 0), v.repeats.voxels[2] * 2.0 - 5.0
    )


def test_only_the_chosen_image_where_that_is_wanted(tmp_path):
    v = series()
    (path, told) = nifti.write_volume(tmp_path / "v.nii.gz", v, every_image=False)
    np.testing.assert_array_equal(
        np.asarray(nib.load(path).dataobj).transpose(2, 1, 0), v.repeats.voxels[1]
    )
    assert json.loads(told.read_text())["image"]["label"] == "TE 20 ms"
    (path,) = nrrd_files.write_volume(tmp_path / "v.nrrd", v, every_image=False)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), v.voxels)


@pytest.mark.parametrize("way", [ORIENTATIONS[n] for n in (0, 13, 29, 47)])
def test_nrrd_holds_every_image_in_its_place(tmp_path, way):
    v = series(way)
    (path,) = nrrd_files.write_volume(tmp_path / "v.nrrd", v)
    values, header = nrrd.read(str(path))
    assert values.shape == (*v.geometry.shape[::-1], 3)
    assert header["kinds"] == ["domain", "domain", "domain", "list"]
    columns = np.c_[header["space directions"][:3].T, header["space origin"]]
    to_index = np.linalg.inv(np.r_[columns, [[0, 0, 0, 1]]])
    for n in range(3):
        assert_same_in_patient(v.geometry, v.repeats.voxels[n], values[..., n], to_index)
    assert json.loads(header["Isocenter"])["images"]["labels"] == list(LABELS)
    itk = sitk.ReadImage(str(path))
    assert itk.GetNumberOfComponentsPerPixel() == 3
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), np.moveaxis(v.repeats.voxels, 0, -1))


def test_metaimage_holds_the_chosen_image_and_says_which(tmp_path):
    v = series()
    (path,) = mha.write_volume(tmp_path / "v.mha", v)
    assert_same_in_patient(v.geometry, v.repeats.voxels[1], *itk_judge(path))
    told = json.loads(sitk.ReadImage(str(path)).GetMetaData("Isocenter"))
    assert told["image"] == {"axis": "echo time", "label": "TE 20 ms"}


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (nifti.write_volume, "v.nii.gz"),
        (nrrd_files.write_volume, "v.nrrd"),
        (mha.write_volume, "v.mha"),
    ],
)
def test_uneven_slices_are_refused_with_advice(tmp_path, write, name):
    geometry = grid()
    places = geometry.world(np.c_[np.arange(4), np.zeros(4), np.zeros(4)])
    uneven = replace(volume(geometry), places=places)
    with pytest.raises(BadInput, match="even volume"):
        write(tmp_path / name, uneven)
    assert not list(tmp_path.iterdir())
