"""All 48 ways an array can lie in an oblique patient: masks and maps, read by pydicom alone."""

from __future__ import annotations

import numpy as np
import pytest
from writing_grids import NAMES, ORIENTATIONS, assert_frames_in_place, grid, volume

from imaging.dicom.writing.parametric_map import write_parametric_map
from imaging.dicom.writing.references import imported_as_dicom
from imaging.dicom.writing.seg import write_seg
from imaging.heatmap import Heatmap
from imaging.segmentation import AUTOMATIC, Segment, Segmentation

SEGMENTS = (
    Segment(2, "Lesion", (230, 159, 0), algorithm_type=AUTOMATIC),
    Segment(5, "Cyst", (86, 180, 233)),
)


@pytest.mark.parametrize("n", range(48), ids=NAMES)
def test_masks_and_maps_lie_where_they_were(tmp_path, n):
    source = imported_as_dicom(volume(grid(ORIENTATIONS[n])), tmp_path / "images")
    geometry = source.geometry
    rng = np.random.default_rng(n)
    labels = rng.choice(np.array([0, 2, 5], np.uint8), geometry.shape, p=[0.7, 0.2, 0.1])
    labels[n % 4] = 0  # an empty slice, whose frames are left out of the file
    mask = Segmentation.from_labels("m", "M", geometry, "v", labels, segments=SEGMENTS)
    stored = rng.integers(0, 65536, geometry.shape)
    stored[n % 4] = 0
    values = (stored / 65535).astype(np.float32)
    heat = Heatmap("h", "P", values, "probability", geometry, "v")
    meant = np.select([labels == 2, labels == 5], [1, 2], 0)
    fractions = np.rint(values * 255)

    write_seg(tmp_path / "binary.dcm", mask, source)
    assert_frames_in_place(tmp_path / "binary.dcm", geometry, lambda s: meant == s)
    write_seg(tmp_path / "map.dcm", mask, source, kind="LABELMAP", compression="RLE")
    assert_frames_in_place(tmp_path / "map.dcm", geometry, lambda _: meant)
    write_seg(tmp_path / "part.dcm", mask, source, kind="FRACTIONAL", probability=heat)
    assert_frames_in_place(tmp_path / "part.dcm", geometry, lambda _: fractions)
    write_parametric_map(tmp_path / "pm.dcm", heat, source)
    assert_frames_in_place(tmp_path / "pm.dcm", geometry, lambda _: stored, absent=None)
