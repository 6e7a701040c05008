"""MetaImage files, judged by SimpleITK in patient space."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from writing_grids import NAMES, ORIENTATIONS, assert_same_in_patient, grid, itk_judge, volume

from imaging.errors import BadInput
from imaging.heatmap import Heatmap
from imaging.segmentation import AUTOMATIC, Provenance, Segment, Segmentation
from imaging.storage.mha import write_heatmap, write_labels, write_volume

MADE = Provenance("Test model", "1.2", "ab" * 32, "CPU", "2026-01-02T03:04:05+00:00", 1.5)


@pytest.mark.parametrize("oblique", [True, False])
@pytest.mark.parametrize("way", ORIENTATIONS, ids=NAMES)
def test_every_orientation_lands_where_it_was(tmp_path, way, oblique):
    v = volume(grid(way, oblique=oblique))
    (path,) = write_volume(tmp_path / "v.mha", v)
    assert_same_in_patient(v.geometry, v.voxels, *itk_judge(path))


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64", ">i2"]
)
def test_types_stay(tmp_path, dtype):
    v = volume(grid(), dtype)
    (path,) = write_volume(tmp_path / "v.mha", v)
    back = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(back, v.voxels)
    assert (back.dtype.kind, back.dtype.itemsize) == (v.voxels.dtype.kind, v.voxels.dtype.itemsize)


def test_a_rescaled_volume_goes_out_in_real_values(tmp_path):
    v = volume(grid(), slope=0.5, intercept=-3.0)
    (path,) = write_volume(tmp_path / "v.mha", v)
    back = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_allclose(back, v.voxels * 0.5 - 3.0)


def test_it_is_packed(tmp_path):
    v = volume(grid(shape=(20, 40, 40)))
    (path,) = write_volume(tmp_path / "v.mha", v)
    assert path.stat().st_size < v.voxels.nbytes * 0.8
    assert b"CompressedData = True" in path.read_bytes()[:400]


def test_labels_come_with_names_and_with_what_made_them(tmp_path):
    labels = np.zeros((4, 5, 11), np.uint8)
    labels[3, 4, 10] = 2
    mask = Segmentation.from_labels(
        "m", "Läsionen", grid(), "v", labels, 
        segments=(Segment(2, "Zyste 髄", (1, 2, 3), algorithm_type=AUTOMATIC),),
        provenance=MADE, threshold=0.4,
    )  # fmt: skip
    files = write_labels(tmp_path / "m.mha", mask)
    assert [f.name for f in files] == ["m.mha", "m.label.txt"]
    image = sitk.ReadImage(str(files[0]))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)
    facts = json.loads(image.GetMetaData("Isocenter"))
    assert facts["algorithm"]["weights_sha256"] == "ab" * 32
    assert facts["threshold"] == 0.4
    assert facts["labels"][0]["name"] == "Zyste 髄"
    assert facts["labels"][0]["edited_by_hand"] == "no"
    assert "not for diagnosis" in facts["notice"]


def test_a_map_keeps_every_value(tmp_path):
    geometry = grid(ORIENTATIONS[17])
    values = np.random.default_rng(0).random(geometry.shape, np.float32)
    (path,) = write_heatmap(
        tmp_path / "p.mha", Heatmap("h", "P", values, "probability", geometry, "v", MADE)
    )
    assert_same_in_patient(geometry, values, *itk_judge(path))


@given(name=st.text(max_size=60))
@settings(max_examples=30, deadline=None)
def test_any_name_leaves_the_file_readable(tmp_path_factory, name):
    labels = np.ones((4, 5, 11), np.uint8)
    mask = Segmentation.from_labels(
        "m", name, grid(), "v", labels, segments=(Segment(1, name, (1, 2, 3)),)
    )
    path = write_labels(tmp_path_factory.mktemp("m") / "m.mha", mask)[0]
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)
    assert json.loads(image.GetMetaData("Isocenter"))["labels"][0]["name"] == name


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(BadInput, match="mha"):
        write_volume(tmp_path / "v.mhd", volume(grid()))
    assert not list(tmp_path.iterdir())
