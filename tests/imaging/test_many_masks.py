"""Hundreds of masks in one folder: looked at once, and read only where that is needed."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from imaging.scanning import ScanResult, scan
from imaging.series import LABELS
from imaging.storage import label_names, label_voxels

SHAPE = (150, 150, 150)


def put(path: Path, values: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)  # pyright: ignore


def blob(dtype: type = np.uint8) -> np.ndarray:
    values = np.zeros(SHAPE, dtype)
    values[40:60, 40:60, 40:60] = 1
    return values


def found_in(folder: Path) -> ScanResult:
    with scan([folder]) as found:
        return found


def noise(dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)


def test_a_large_packed_mask_is_known_without_its_voxels(tmp_path, monkeypatch) -> None:
    put(tmp_path / "t1.nii.gz", noise())
    put(tmp_path / "a_mask.nii.gz", blob())

    def refuse(*_args):
        raise AssertionError("the voxels were read")

    monkeypatch.setattr(label_voxels, "_in_file", refuse)
    found = found_in(tmp_path)
    assert [(one.title, one.kind) for one in found.objects] == [("a_mask", LABELS)]


def test_an_image_called_lesion_stays_an_image(tmp_path) -> None:
    put(tmp_path / "lesion_t1.nii.gz", noise())
    half = noise()
    half[:, :, : SHAPE[2] // 2] = 0
    put(tmp_path / "brain_lesion.nii.gz", half)
    put(tmp_path / "mask_prob.nii.gz", blob(np.float32) * np.float32(0.3))
    found = found_in(tmp_path)
    assert len(found.series) == 3
    assert found.objects == ()


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_other_numbers_are_still_counted(tmp_path, dtype) -> None:
    put(tmp_path / "t1.nii.gz", noise())
    values = blob(dtype)
    values[-1, -1, -1] = 3
    values[0, 0, 0] = -0.0
    put(tmp_path / "a_mask.nii.gz", values)
    (mask,) = found_in(tmp_path).objects
    assert mask.details == "2 labels"


def test_a_folder_is_listed_once_for_all_its_masks(tmp_path, monkeypatch) -> None:
    small = np.zeros((6, 6, 6), np.uint8)
    put(tmp_path / "t1.nii.gz", noise())
    for number in range(12):
        put(tmp_path / f"m{number}_mask.nii.gz", small)
    os.utime(tmp_path, (1e9, 1e9))
    listed = []
    real = os.listdir
    monkeypatch.setattr(
        label_names.os, "listdir", lambda place: listed.append(place) or real(place)
    )
    assert len(found_in(tmp_path).objects) == 12
    assert listed == [str(tmp_path)]


def test_names_that_come_later_are_seen(tmp_path) -> None:
    put(tmp_path / "m_mask.nii.gz", np.ones((6, 6, 6), np.uint8))
    os.utime(tmp_path, (1e9, 1e9))
    path = str(tmp_path / "m_mask.nii.gz")
    assert label_names.names_beside(path).labels == ()
    (tmp_path / "all.label.txt").write_text('1 255 0 0 1 1 1 "Tumour"\n')
    (named,) = label_names.names_beside(path).labels
    assert named.segment.name == "Tumour"
