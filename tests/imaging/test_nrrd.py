"""NRRD files, judged by SimpleITK in patient space."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from writing_grids import NAMES, ORIENTATIONS, assert_same_in_patient, grid, itk_judge, volume

from imaging.errors import BadInput
from imaging.segmentation import Segment, Segmentation
from imaging.storage.nrrd import write_labels, write_volume


@pytest.mark.parametrize("way", ORIENTATIONS, ids=NAMES)
def test_every_orientation_lands_where_it_was(tmp_path, way):
    v = volume(grid(way))
    (path,) = write_volume(tmp_path / "v.nrrd", v)
    assert_same_in_patient(v.geometry, v.voxels, *itk_judge(path))


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64", ">i2"]
)
@pytest.mark.parametrize("packed", [True, False])
def test_types_and_encodings(tmp_path, dtype, packed):
    v = volume(grid(), dtype)
    (path,) = write_volume(tmp_path / "v.nrrd", v, packed=packed)
    back = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(back, v.voxels)
    assert back.dtype.kind == v.voxels.dtype.kind
    assert back.dtype.itemsize == v.voxels.dtype.itemsize


def test_a_rescaled_volume_goes_out_in_real_values(tmp_path):
    v = volume(grid(), slope=0.5, intercept=-3.0)
    (path,) = write_volume(tmp_path / "v.nrrd", v)
    back = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_allclose(back, v.voxels * 0.5 - 3.0)


def test_labels_come_with_their_names(tmp_path):
    labels = np.zeros((4, 5, 11), np.uint8)
    labels[3, 4, 10] = 2
    mask = Segmentation.from_labels(
        "m", "M", grid(), "v", labels, segments=(Segment(2, "Cyst", (1, 2, 3)),)
    )
    files = write_labels(tmp_path / "m.nrrd", mask)
    assert [f.name for f in files] == ["m.nrrd", "m.label.txt"]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(files[0]))), labels)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(BadInput, match="nrrd"):
        write_volume(tmp_path / "v.nhdr", volume(grid()))
    assert not list(tmp_path.iterdir())
