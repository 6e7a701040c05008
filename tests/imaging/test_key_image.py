"""Key images: what was on screen, as a Secondary Capture of the same study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from writing_grids import ORIENTATIONS, dicom_complaints, grid, study_disagreements, volume

from imaging.dicom.writing.key_image import write_key_image
from imaging.dicom.writing.references import imported_as_dicom
from imaging.errors import BadInput, WorldFailed

PICTURE = np.random.default_rng(0).integers(0, 256, (37, 41, 3), np.uint8)  # an odd number of bytes


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """An oblique DICOM series."""
    return imported_as_dicom(
        volume(grid(ORIENTATIONS[13])), tmp_path_factory.mktemp("k") / "images"
    )


def test_the_picture_is_the_same_in_other_programs(source, tmp_path):
    path = write_key_image(tmp_path / "k.dcm", PICTURE, source, title="Axial, lesion 3")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0], PICTURE)
    np.testing.assert_array_equal(hd.imread(path).get_frame(1), PICTURE)
    assert dicom_complaints(path, warnings=True) == []
    assert study_disagreements([path, *map(Path, source.source.files)]) == []


def test_what_a_reader_is_told(source, tmp_path):
    path = write_key_image(tmp_path / "k.dcm", PICTURE, source, title="Axial, lesion 3")
    ds, image = pydicom.dcmread(path), pydicom.dcmread(source.source.files[0])
    assert ds.StudyInstanceUID == image.StudyInstanceUID
    assert ds.SeriesInstanceUID != image.SeriesInstanceUID
    assert ds.SeriesDescription == "Axial, lesion 3"
    assert (ds.BurnedInAnnotation, ds.ConversionType) == ("NO", "WSD")
    assert "not for diagnosis" in ds.DerivationDescription
    assert ds.preamble == b"\0" * 128
    named = [i.ReferencedSOPInstanceUID for i in ds.SourceImageSequence]
    assert named == list(source.source.instance_uids)
    shown = write_key_image(tmp_path / "n.dcm", PICTURE, source, burned_in=True, slices=[2])
    ds = pydicom.dcmread(shown)
    assert ds.BurnedInAnnotation == "YES"
    assert [i.ReferencedSOPInstanceUID for i in ds.SourceImageSequence] == [named[2]]


def test_frames_of_a_multi_frame_source_are_named_only_where_they_are_known(source, tmp_path):
    uid = source.source.instance_uids[0]
    many = replace(
        source, source=replace(source.source, instance_uids=(uid,) * 4, frames=(4, 3, 2, 1))
    )
    ds = pydicom.dcmread(write_key_image(tmp_path / "a.dcm", PICTURE, many))
    assert len(ds.SourceImageSequence) == 1
    assert "ReferencedFrameNumber" not in ds.SourceImageSequence[0]
    ds = pydicom.dcmread(write_key_image(tmp_path / "b.dcm", PICTURE, many, slices=[1, 3]))
    assert [i.ReferencedFrameNumber for i in ds.SourceImageSequence] == [3, 1]


def test_a_volume_from_nifti_brings_its_images(tmp_path):
    path = write_key_image(tmp_path / "k.dcm", PICTURE, volume(grid()))
    images = sorted((tmp_path / "k-images").iterdir())
    assert len(images) == 4
    assert pydicom.dcmread(path).StudyInstanceUID == pydicom.dcmread(images[0]).StudyInstanceUID


@pytest.mark.parametrize("picture", [PICTURE[..., 0], PICTURE[..., :2], PICTURE.astype(float)])
def test_what_is_no_picture_is_refused(source, tmp_path, picture):
    with pytest.raises(BadInput, match="not an array"):
        write_key_image(tmp_path / "k.dcm", picture, source)
    with pytest.raises(BadInput, match="does not have"):
        write_key_image(tmp_path / "k.dcm", PICTURE, source, slices=[4])


def test_a_flipped_bit_is_noticed(source, tmp_path, monkeypatch):
    real = pydicom.Dataset.save_as

    def damaged(self, path, **rest):
        self.PixelData = bytes([self.PixelData[0] ^ 1]) + self.PixelData[1:]
        real(self, path, **rest)

    monkeypatch.setattr(pydicom.Dataset, "save_as", damaged)
    with pytest.raises(WorldFailed, match="differs"):
        write_key_image(tmp_path / "k.dcm", PICTURE, source)
    assert not list(tmp_path.iterdir())
