"""RT Structure Sets: the contours enclose the mask, judged by pydicom and numpy alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from real_lesions import patient19
from writing_grids import (
    NAMES,
    ORIENTATIONS,
    dicom_complaints,
    grid,
    study_disagreements,
    volume,
)

from imaging.dicom.objects.placing import Target
from imaging.dicom.objects.read_rtstruct import read_rtstruct
from imaging.dicom.writing.references import imported_as_dicom
from imaging.dicom.writing.rtstruct import write_rtstruct
from imaging.dicom.writing.seg import write_seg
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.segmentation import AUTOMATIC, SEMIAUTOMATIC, Code, Provenance, Segment, Segmentation

HIPPOCAMPUS = (
    Code("91723000", "SCT", "Anatomical Structure"),
    Code("5366008", "SCT", "Hippocampus"),
)
SEGMENTS = (
    Segment(2, "Lesion", (230, 159, 0), algorithm_type=SEMIAUTOMATIC, tracking_uid="2.25.77"),
    Segment(5, "Hippocampus", (86, 180, 233), *HIPPOCAMPUS, algorithm_type=AUTOMATIC),
    Segment(9, "Looked, found none", (0, 158, 115)),
)
MADE_BY = Provenance("unet-flair", "1.2", "ab12cd", "CPU")


def masked(geometry: Geometry, seed=1) -> Segmentation:
    labels = np.random.default_rng(seed).choice(
        np.array([0, 2, 5], np.uint8), geometry.shape, p=[0.4, 0.4, 0.2]
    )
    return Segmentation.from_labels(
        "m", "Lesions", geometry, "v", labels, segments=SEGMENTS, provenance=MADE_BY, threshold=0.4
    )


def filled(path: Path, geometry: Geometry) -> tuple[dict[int, np.ndarray], dict[int, float]]:
    """Voxels and ml of each ROI: centres inside an odd number of edges, areas by the shoelace."""
    ds = pydicom.dcmread(path)
    masks, volumes = {}, {}
    j, i = np.mgrid[: geometry.shape[1], : geometry.shape[2]]
    normal = np.cross(geometry.directions[:, 1], geometry.directions[:, 2])
    step = abs(float(geometry.affine[:3, 0] @ normal))
    for roi in ds.ROIContourSequence:
        mask, total = np.zeros(geometry.shape, bool), 0.0
        for contour in roi.get("ContourSequence") or []:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            index = geometry.index(points)
            k = int(np.rint(index[0, 0]))
            assert np.abs(index[:, 0] - k).max() < 1e-3  # in the plane of an acquired slice
            inside = np.zeros(j.shape, int)
            for a, b in zip(index, np.roll(index, -1, 0), strict=True):
                low, high = sorted((a[1], b[1]))
                if high - low > 0.5:
                    inside += (low < j) & (j < high) & (i < a[2])
            assert not mask[k][inside % 2 == 1].any()  # contours of one ROI do not overlap
            mask[k] |= inside % 2 == 1
            relative = points - points[0]
            cross = np.cross(relative, np.roll(relative, -1, 0)).sum(0) / 2
            total += float(np.linalg.norm(cross)) * step / 1000
        masks[int(roi.ReferencedROINumber)], volumes[int(roi.ReferencedROINumber)] = mask, total
    return masks, volumes


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A mask on an oblique DICOM series: (file, mask, volume)."""
    folder = tmp_path_factory.mktemp("rt")
    source = imported_as_dicom(volume(grid(ORIENTATIONS[13])), folder / "images")
    mask = masked(source.geometry)
    return write_rtstruct(folder / "rt.dcm", mask, source), mask, source


@pytest.mark.parametrize("n", range(48), ids=NAMES)
def test_the_contours_enclose_the_mask_in_every_orientation(tmp_path, n):
    source = imported_as_dicom(volume(grid(ORIENTATIONS[n])), tmp_path / "images")
    mask = masked(source.geometry, n)
    path = write_rtstruct(tmp_path / "rt.dcm", mask, source)
    found, volumes = filled(path, source.geometry)
    for number, old in ((1, 2), (2, 5), (3, 9)):
        np.testing.assert_array_equal(found[number], mask.labels == old)
        ml = np.count_nonzero(mask.labels == old) * mask.geometry.voxel_ml
        assert volumes[number] == pytest.approx(ml, rel=1e-3, abs=1e-9)


def test_the_standard_is_kept_and_the_study_agrees(written, tmp_path):
    path, mask, source = written
    assert dicom_complaints(path, warnings=True) == []
    write_seg(tmp_path / "m.dcm", mask, source)
    files = [path, tmp_path / "m.dcm", *map(Path, source.source.files)]
    assert study_disagreements(files) == []


def test_what_a_reader_is_told(written):
    path, mask, source = written
    ds, image = pydicom.dcmread(path), pydicom.dcmread(source.source.files[0])
    assert ds.preamble == b"\0" * 128
    assert (ds.StudyInstanceUID, ds.FrameOfReferenceUID) == (
        image.StudyInstanceUID, image.FrameOfReferenceUID,
    )  # fmt: skip
    assert ds.SeriesInstanceUID != image.SeriesInstanceUID
    first, _, third = ds.StructureSetROISequence
    assert (first.ROIName, first.ROIGenerationAlgorithm) == ("Lesion", "SEMIAUTOMATIC")
    made_by = first.ROIDerivationAlgorithmIdentificationSequence[0]
    assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == ("unet-flair", "1.2")
    assert "threshold=0.4" in made_by.AlgorithmParameters
    assert third.ROIGenerationAlgorithm == "MANUAL"
    assert "ROIDerivationAlgorithmIdentificationSequence" not in third
    ml = np.count_nonzero(mask.labels == 2) * mask.geometry.voxel_ml
    assert float(first.ROIVolume) == pytest.approx(ml, rel=1e-5)
    uids = [
        r.ConceptualVolumeIdentificationSequence[0].ConceptualVolumeUID
        for r in ds.StructureSetROISequence
    ]
    assert uids == [s.tracking_uid for s in mask.segments]
    seen = ds.RTROIObservationsSequence
    assert [o.RTROIIdentificationCodeSequence[0].CodeValue for o in seen][1] == "5366008"
    assert [o.RTROIInterpretedType or "" for o in seen] == ["", "ORGAN", ""]
    assert list(ds.ROIContourSequence[0].ROIDisplayColor) == [230, 159, 0]
    assert "ContourSequence" not in ds.ROIContourSequence[2]
    assert "not for diagnosis" in ds.StructureSetDescription


def test_every_contour_names_the_image_of_its_slice(written):
    path, _, source = written
    ds = pydicom.dcmread(path)
    places = {
        str(h.SOPInstanceUID): np.array(h.ImagePositionPatient, float)
        for h in map(pydicom.dcmread, source.source.files)
    }
    normal = np.cross(source.geometry.directions[:, 1], source.geometry.directions[:, 2])
    for roi in ds.ROIContourSequence[:2]:
        for contour in roi.ContourSequence:
            (named,) = contour.ContourImageSequence
            point = np.array(contour.ContourData[:3], float)
            assert abs((point - places[named.ReferencedSOPInstanceUID]) @ normal) < 1e-3
    listed = (
        ds.ReferencedFrameOfReferenceSequence[0]
        .RTReferencedStudySequence[0]
        .RTReferencedSeriesSequence[0]
    )
    assert listed.SeriesInstanceUID == source.source.series_uid
    assert {i.ReferencedSOPInstanceUID for i in listed.ContourImageSequence} == set(places)


def test_our_reader_gives_back_names_codes_and_uids(written):
    path, mask, source = written
    back = read_rtstruct(path, Target.of(source))
    segments = [s for layer in back.layers for s in layer.segments]
    for new, old in zip(segments, mask.segments, strict=True):
        assert (new.name, new.colour, new.category, new.type, new.algorithm_type) == (
            old.name, old.colour, old.category, old.type, old.algorithm_type,
        )  # fmt: skip
        assert new.tracking_uid == old.tracking_uid


def test_a_ring_is_one_contour_with_a_keyhole(tmp_path):
    source = imported_as_dicom(volume(grid(shape=(3, 9, 9))), tmp_path / "images")
    labels = np.zeros(source.geometry.shape, np.uint8)
    labels[1, 2:7, 2:7] = 2
    labels[1, 4, 4] = 0
    mask = Segmentation.from_labels("m", "M", source.geometry, "v", labels, segments=SEGMENTS[:1])
    path = write_rtstruct(tmp_path / "rt.dcm", mask, source)
    (contour,) = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    assert contour.ContourGeometricType == "CLOSED_PLANAR"
    assert contour.NumberOfContourPoints == 10  # 4 corners, 4 of the hole, both ends of the bridge
    found, _ = filled(path, source.geometry)
    np.testing.assert_array_equal(found[1], labels == 2)


def test_a_sheared_stack_keeps_its_places(tmp_path):
    affine = grid(oblique=False).affine.copy()
    affine[:3, 0] += (0.0, 0.8, 0.0)
    source = imported_as_dicom(volume(Geometry((4, 5, 11), affine)), tmp_path / "images")
    mask = masked(source.geometry)
    path = write_rtstruct(tmp_path / "rt.dcm", mask, source)
    np.testing.assert_array_equal(filled(path, source.geometry)[0][1], mask.labels == 2)


def test_only_the_chosen_label_and_none_without_a_voxel(written, tmp_path):
    _, mask, source = written
    path = write_rtstruct(tmp_path / "rt.dcm", mask, source, segments=[5])
    assert [r.ROIName for r in pydicom.dcmread(path).StructureSetROISequence] == ["Hippocampus"]
    path = write_rtstruct(tmp_path / "none.dcm", mask, source, segments=[9])
    assert dicom_complaints(path, warnings=True) == []


def test_a_contour_may_be_longer_than_64_kb(tmp_path):
    source = imported_as_dicom(volume(grid(shape=(3, 90, 90))), tmp_path / "images")
    labels = np.zeros(source.geometry.shape, np.uint8)
    labels[1] = 2
    labels[1, 1:-1:2, 1:-1:2] = 0  # 1936 holes in one outline
    mask = Segmentation.from_labels("m", "M", source.geometry, "v", labels, segments=SEGMENTS[:1])
    path = write_rtstruct(tmp_path / "rt.dcm", mask, source)
    ds = pydicom.dcmread(path)
    (contour,) = ds.ROIContourSequence[0].ContourSequence
    assert contour.NumberOfContourPoints > 7_000  # three numbers of up to nine bytes each
    assert dicom_complaints(path) == []


def test_a_volume_from_nifti_gets_images_beside_the_contours(tmp_path):
    plain = volume(grid(ORIENTATIONS[5]))
    path = write_rtstruct(tmp_path / "rt.dcm", masked(plain.geometry), plain)
    images = sorted((tmp_path / "rt-images").iterdir())
    assert len(images) == 4
    ds = pydicom.dcmread(path)
    listed = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    series = listed.RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == pydicom.dcmread(images[0]).SeriesInstanceUID


def test_what_cannot_be_placed_is_refused(written, tmp_path):
    _, mask, source = written
    uneven = replace(source, places=np.zeros((4, 3)))
    with pytest.raises(BadInput, match=r"uneven.*even volume"):
        write_rtstruct(tmp_path / "rt.dcm", mask, uneven)
    with pytest.raises(BadInput, match="no label 3"):
        write_rtstruct(tmp_path / "rt.dcm", mask, source, segments=[3])
    assert not list(tmp_path.iterdir())


def test_a_moved_contour_is_noticed(written, tmp_path, monkeypatch):
    _, mask, source = written
    real = pydicom.Dataset.save_as

    def damaged(self, path, **rest):
        contour = self.ROIContourSequence[0].ContourSequence[0]
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        moved = points + source.geometry.affine[:3, 2]
        contour.ContourData = [f"{v:.4f}" for v in moved.ravel()]
        real(self, path, **rest)

    monkeypatch.setattr(pydicom.Dataset, "save_as", damaged)
    with pytest.raises(WorldFailed, match="differ"):
        write_rtstruct(tmp_path / "rt.dcm", mask, source)
    assert not list(tmp_path.iterdir())


def test_the_lesions_of_a_real_patient(shared_data, tmp_path):
    """Patient 19: contours of the gold mask fill to the same voxels and the same volume."""
    source, mask = patient19(shared_data, tmp_path)
    path = write_rtstruct(tmp_path / "rt.dcm", mask, source)
    found, volumes = filled(path, source.geometry)
    np.testing.assert_array_equal(found[1], mask.labels == 1)
    ml = np.count_nonzero(mask.labels) * mask.geometry.voxel_ml
    assert ml > 5
    assert volumes[1] == pytest.approx(ml, rel=1e-4)
