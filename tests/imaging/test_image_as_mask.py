"""Any image of whole numbers can be taken as a mask over another one, DICOM images too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from imaging.dicom.writing.derived import write_derived_series
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.objects import read_as_mask
from imaging.open import load_series, scan
from imaging.segmentation import Segmentation
from imaging.series import Series
from imaging.volume import Volume

GRID = Geometry((6, 8, 9), [[0, 0, 1.5, 4], [0, 2.0, 0, 3], [3.0, 0, 0, 2], [0, 0, 0, 1.0]])


def image() -> Volume:
    return Volume("v", "head", np.ones(GRID.shape, np.int16), GRID)


def series_of(folder: Path) -> Series:
    with scan([folder]) as found:
        (series,) = found.series
    return series


def dicom(folder: Path, values: np.ndarray, geometry: Geometry = GRID) -> Series:
    write_derived_series(folder, Volume("m", "made", values, geometry))
    return series_of(folder)


def labels() -> np.ndarray:
    values = np.zeros(GRID.shape, np.int16)
    values[1:3, 2:5, 3:6] = 2
    values[4, 6, 1] = 200
    return values


def masks(series: Series, volume: Volume) -> Segmentation:
    (mask,) = read_as_mask(series, volume).items
    assert isinstance(mask, Segmentation)
    return mask


def test_a_dicom_series_lies_where_it_lay(tmp_path) -> None:
    series = dicom(tmp_path / "a", labels())
    mask = masks(series, image())
    np.testing.assert_array_equal(mask.labels, labels())
    assert [segment.number for segment in mask.segments] == [2, 200]


def test_a_dicom_series_on_another_grid_is_placed_by_the_patient(tmp_path) -> None:
    turned = rows_counted_back()
    series = dicom(tmp_path / "a", np.ascontiguousarray(labels()[:, ::-1]), turned)
    np.testing.assert_array_equal(masks(series, image()).labels, labels())


def rows_counted_back() -> Geometry:
    """The same grid, its rows counted from the other side."""
    affine = np.array(GRID.affine)
    affine[:3, 3] = GRID.world((0, GRID.shape[1] - 1, 0))
    affine[:3, 1] *= -1
    return Geometry(GRID.shape, affine)


def test_a_result_without_a_lesion_opens_empty(tmp_path) -> None:
    nothing = np.zeros(GRID.shape, np.int16)
    assert not masks(dicom(tmp_path / "a", nothing), image()).labels.any()
    (tmp_path / "b").mkdir()
    empty = sitk.GetImageFromArray(nothing.astype(np.uint8))
    sitk.WriteImage(empty, str(tmp_path / "b" / "result.nii.gz"))
    file = series_of(tmp_path / "b")
    assert not masks(file, replace(image(), geometry=load_series(file).geometry)).labels.any()


def test_too_many_numbers_are_refused_in_a_sentence(tmp_path) -> None:
    every = np.arange(np.prod(GRID.shape), dtype=np.int16).reshape(GRID.shape)
    with pytest.raises(BadInput, match="more than 255 different numbers"):
        read_as_mask(dicom(tmp_path / "a", every), image())
