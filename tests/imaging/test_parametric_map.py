"""DICOM Parametric Map: judged by the positions of its frames, by highdicom and by dciodvfy."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest
from writing_grids import (
    NAMES,
    ORIENTATIONS,
    assert_same_in_patient,
    dicom_complaints,
    grid,
    volume,
)

from imaging.dicom.writing.parametric_map import read_parametric_map, write_parametric_map
from imaging.dicom.writing.references import imported_as_dicom
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import Provenance

MADE_BY = Provenance("unet-flair", "1.2", "ab12cd", "CPU (2 threads)")


def _map(geometry: Geometry, meaning="probability") -> Heatmap:
    values = np.random.default_rng(5).random(geometry.shape, np.float32)
    values[0] = 0  # an empty slice is a value too, and stays
    return Heatmap("h", "Probability", values, meaning, geometry, "v", MADE_BY)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """An oblique DICOM series."""
    return imported_as_dicom(
        volume(grid(ORIENTATIONS[13])), tmp_path_factory.mktemp("pm") / "images"
    )


@pytest.mark.parametrize("n", range(0, 48, 7), ids=lambda n: NAMES[n])
def test_highdicom_finds_every_voxel(tmp_path, n):
    images = imported_as_dicom(volume(grid(ORIENTATIONS[n])), tmp_path / "images")
    heat = _map(images.geometry)
    (path,) = write_parametric_map(tmp_path / "p.dcm", heat, images)
    judged = hd.imread(path).get_volume(dtype=np.float64)
    stored = np.rint(judged.array * 65535)
    assert_same_in_patient(
        heat.geometry, np.rint(heat.values * 65535), stored, np.linalg.inv(judged.affine)
    )


@pytest.mark.parametrize(("encoding", "error"), [("float32", 0.0), ("uint16", 8e-6)])
@pytest.mark.parametrize("meaning", ["probability", "grad-cam", "uncertainty"])
def test_values_and_standard(tmp_path, source, encoding, error, meaning):
    heat = _map(source.geometry, meaning)
    (path,) = write_parametric_map(tmp_path / "p.dcm", heat, source, encoding=encoding)
    back = read_parametric_map(path, source.geometry)
    assert np.abs(back - heat.values).max() <= error
    assert dicom_complaints(path, warnings=True) == []


def test_whole_numbers_without_loss_by_default_and_floats_by_choice(tmp_path, source):
    heat = _map(source.geometry)
    (path,) = write_parametric_map(tmp_path / "p.dcm", heat, source)
    small = pydicom.dcmread(path)
    assert small.file_meta.TransferSyntaxUID.name == "JPEG-LS Lossless Image Compression"
    assert (small.BitsAllocated, small.BitsStored, small.PixelRepresentation) == (16, 16, 0)
    mapping = small.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.RealWorldValueSlope == pytest.approx(1 / 65535)
    assert (mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped) == (
        0,
        65535,
    )
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    (path,) = write_parametric_map(tmp_path / "f.dcm", heat, source, encoding="float32")
    exact = pydicom.dcmread(path)
    assert "FloatPixelData" in exact
    assert exact.BodyPartExamined == "BRAIN"
    kept = np.frombuffer(exact.FloatPixelData, np.float32)
    assert set(kept.tolist()) == set(heat.values.ravel().tolist())


def test_what_a_reader_is_told(tmp_path, source):
    (path,) = write_parametric_map(tmp_path / "p.dcm", _map(source.geometry, "grad-cam"), source)
    ds, image = pydicom.dcmread(path), pydicom.dcmread(source.source.files[0])
    assert ds.StudyInstanceUID == image.StudyInstanceUID
    assert ds.FrameOfReferenceUID == image.FrameOfReferenceUID
    shared = ds.SharedFunctionalGroupsSequence[0]
    mapping = shared.get("RealWorldValueMappingSequence") or (
        ds.PerFrameFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    )
    quantity = mapping[0].QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert quantity.CodeValue == "130403"
    assert shared.FrameAnatomySequence[0].AnatomicRegionSequence[0].CodeMeaning == "Brain"
    assert any(
        "not for diagnosis" in item.get("ContributionDescription", "")
        for item in ds.ContributingEquipmentSequence
    )
    places = {i.SOPInstanceUID: i for i in map(pydicom.dcmread, source.source.files)}
    for frame in ds.PerFrameFunctionalGroupsSequence:
        named = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_allclose(
            np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float),
            np.array(places[named].ImagePositionPatient, float),
            atol=1e-4,
        )


def test_a_volume_from_nifti_gets_images_beside_the_map(tmp_path):
    plain = volume(grid())
    files = write_parametric_map(tmp_path / "p.dcm", _map(plain.geometry), plain)
    assert [f.name for f in files] == ["p.dcm", "0001.dcm", "0002.dcm", "0003.dcm", "0004.dcm"]
    assert dicom_complaints(*files[:2]) == []


def test_another_frame_of_reference_is_refused(tmp_path, source):
    other = Geometry(source.geometry.shape, source.geometry.affine, "2.25.5")
    with pytest.raises(BadInput, match="frames of reference"):
        write_parametric_map(tmp_path / "p.dcm", _map(other), source)


def test_what_cannot_be_placed_is_refused_with_advice(tmp_path, source):
    affine = source.geometry.affine.copy()
    affine[:3, 0] += affine[:3, 1]
    sheared = replace(source, geometry=Geometry(source.geometry.shape, affine))
    with pytest.raises(BadInput, match=r"tilted gantry.*NIfTI"):
        write_parametric_map(tmp_path / "p.dcm", _map(sheared.geometry), sheared)
    uneven = replace(source, places=np.zeros((4, 3)))
    with pytest.raises(BadInput, match=r"uneven distances.*even volume"):
        write_parametric_map(tmp_path / "p.dcm", _map(source.geometry), uneven)


def test_a_map_on_another_grid_is_not_read(tmp_path, source):
    (path,) = write_parametric_map(tmp_path / "p.dcm", _map(source.geometry), source)
    affine = source.geometry.affine.copy()
    affine[:3, 3] += 0.4
    with pytest.raises(BadInput, match="slice"):
        read_parametric_map(path, Geometry(source.geometry.shape, affine))
    with pytest.raises(BadInput, match="another grid"):
        read_parametric_map(path, grid(ORIENTATIONS[2]))


def test_a_changed_value_is_noticed(tmp_path, source, monkeypatch):
    real = pydicom.Dataset.save_as

    def damaged(self, path, **rest):
        self.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[
            0
        ].RealWorldValueSlope *= 1.001
        real(self, path, **rest)

    monkeypatch.setattr(pydicom.Dataset, "save_as", damaged)
    with pytest.raises(WorldFailed, match="differs"):
        write_parametric_map(tmp_path / "p.dcm", _map(source.geometry), source)
    assert not list(tmp_path.iterdir())


def test_source_images_that_are_gone(tmp_path, source):
    gone = replace(source, source=replace(source.source, files=(str(tmp_path / "x.dcm"),)))
    with pytest.raises(WorldFailed, match="no longer where"):
        write_parametric_map(tmp_path / "p.dcm", _map(source.geometry), gone)


def test_the_notice_comes_first_and_fits_with_whole_words(tmp_path, source):
    made_by = Provenance("Läsionen FLAIR model of 2024", "1.2", "ab" * 32, "CPU (2 threads)")
    heat = replace(_map(source.geometry), provenance=made_by)
    (path,) = write_parametric_map(tmp_path / "p.dcm", heat, source)
    said = str(pydicom.dcmread(path).ContentDescription)
    assert said == "Research use - not for diagnosis. Lasionen FLAIR model of 2024"
    assert dicom_complaints(path, warnings=True) == []
