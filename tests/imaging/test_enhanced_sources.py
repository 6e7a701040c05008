"""Real multi-frame images as sources: every frame, contour and picture names the frame it is on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from writing_grids import dicom_complaints, study_disagreements

from imaging.analysis.lesions import find_lesions
from imaging.dicom.objects.read_seg import read_seg
from imaging.dicom.writing.parametric_map import write_parametric_map
from imaging.dicom.writing.rtstruct import write_rtstruct
from imaging.dicom.writing.seg import write_seg
from imaging.dicom.writing.sr import write_report
from imaging.heatmap import Heatmap
from imaging.open import load_series, scan
from imaging.segmentation import Segment, Segmentation
from imaging.volume import Volume

FILES = {
    "Siemens": "dicom_enhanced_small/In/Siemens/XA10/6_1.dcm",
    "Philips": "dicom_enhanced_small/In/Philips/IM_0027_fMAP.dcm",
}


def opened(path: Path) -> tuple[Volume, Segmentation, Heatmap]:
    """A volume of the file (the last image of a 4D one), a ball of lesion, and a map."""
    series = scan([path]).series
    volume = load_series(series[-1])
    if volume.repeats is not None:
        volume = volume.at_repeat(len(volume.repeats) - 1)
    grid = volume.geometry
    middle = np.array(grid.shape) // 2
    away = (np.indices(grid.shape) - middle[:, None, None, None]) * np.reshape(
        grid.spacing, (3, 1, 1, 1)
    )
    ball = (away**2).sum(0) < 15.0**2
    mask = Segmentation.from_labels(
        "m", "Lesions", grid, volume.id, ball.astype(np.uint8),
        segments=(Segment(1, "Lesion", (230, 159, 0)),),
    )  # fmt: skip
    values = np.exp(-(away**2).sum(0) / 400).astype(np.float32)
    return volume, mask, Heatmap("h", "P", values, "probability", grid, volume.id)


def place_of_frame(image: pydicom.Dataset, number: int) -> np.ndarray:
    groups = image.PerFrameFunctionalGroupsSequence[number - 1]
    return np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)


@pytest.mark.parametrize("maker", FILES)
def test_every_reference_leads_to_the_frame_at_that_place(shared_data, tmp_path, maker):
    path = shared_data / FILES[maker]
    volume, mask, heat = opened(path)
    image = pydicom.dcmread(path, stop_before_pixels=True)
    made = [
        write_seg(tmp_path / "m.dcm", mask, volume).path,
        write_seg(tmp_path / "l.dcm", mask, volume, kind="LABELMAP", compression="RLE").path,
    ]
    made += write_parametric_map(tmp_path / "p.dcm", heat, volume)
    used = set()
    for file in made:
        for groups in pydicom.dcmread(file).PerFrameFunctionalGroupsSequence:
            (named,) = groups.DerivationImageSequence[0].SourceImageSequence
            assert named.ReferencedSOPInstanceUID == image.SOPInstanceUID
            assert named.ReferencedSOPClassUID == image.SOPClassUID
            here = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
            number = int(named.ReferencedFrameNumber)
            np.testing.assert_allclose(here, place_of_frame(image, number), atol=2e-3)
            used.add(number)
    assert len(used) == volume.geometry.shape[0]
    assert used == {int(n) for n in volume.source.frames}  # those of the chosen image only

    contours = pydicom.dcmread(write_rtstruct(tmp_path / "rt.dcm", mask, volume))
    normal = np.cross(volume.geometry.directions[:, 1], volume.geometry.directions[:, 2])
    for contour in contours.ROIContourSequence[0].ContourSequence:
        (named,) = contour.ContourImageSequence
        there = place_of_frame(image, int(named.ReferencedFrameNumber))
        point = np.array(contour.ContourData[:3], float)
        assert abs((point - there) @ normal) < 2e-3


@pytest.mark.parametrize("maker", FILES)
def test_all_objects_are_valid_and_agree_with_the_image(shared_data, tmp_path, maker):
    path = shared_data / FILES[maker]
    volume, mask, heat = opened(path)
    seg = write_seg(tmp_path / "m.dcm", mask, volume).path
    lesions = find_lesions(mask, heat)
    files = [
        seg,
        *write_parametric_map(tmp_path / "p.dcm", heat, volume),
        write_rtstruct(tmp_path / "rt.dcm", mask, volume),
        write_report(tmp_path / "sr.dcm", mask, volume, lesions, seg_path=seg),
    ]
    assert dicom_complaints(*files) == []
    assert study_disagreements([*files, path]) == []
    np.testing.assert_array_equal(read_seg(seg, volume.geometry).labels, mask.labels)
