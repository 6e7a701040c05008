"""Faces are cut off, brains are not, and what is no head is left to a person."""

from __future__ import annotations

from functools import lru_cache

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from imaging.deidentify.deface import cut_mask, find_plane, profile_picture
from imaging.deidentify.faces import find_faces
from imaging.deidentify.folder import run
from imaging.deidentify.key import Key
from imaging.deidentify.options import Options
from imaging.deidentify.plane import Plane
from imaging.deidentify.survey import look
from imaging.dicom.writing.write import mr_template, write_mr_series
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.open import load_series, scan
from imaging.phantom.canvas import HEAD
from imaging.phantom.head import make_head
from imaging.phantom.shapes import ellipsoid
from imaging.volume import Patient, Volume

# pydicom warns of odd values, which is what these files are made of
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KEY = Key(b"the key of one project, 32 bytes")


@lru_cache(maxsize=1)
def phantom():
    return make_head()


def phantom_volume(contrast: int, step: int = 2) -> Volume:
    """T1w, T2w or FLAIR of the synthetic head; each contrast with other axes first, as scanned."""
    axes, flips = (((0, 1, 2), ()), ((2, 0, 1), (0, 1)), ((1, 2, 0), (2,)))[contrast]
    voxels = phantom().contrasts[contrast][::step, ::step, ::step] * 1000
    noise = np.random.default_rng(contrast).normal(0, 15, (2, *voxels.shape))
    voxels = np.hypot(voxels + noise[0], noise[1]).transpose(axes)
    affine = (HEAD.geometry.affine @ np.diag([step, step, step, 1.0]))[:, [*axes, 3]]
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
        affine[:3, axis] *= -1
    flipped = np.ascontiguousarray(np.flip(voxels, flips)).astype(np.uint16)
    return Volume("v", f"contrast {contrast}", flipped, Geometry(flipped.shape, affine, "1.2.9"))


def brain_of_phantom() -> np.ndarray:
    """Where the synthetic head has brain: inside its cortical surface, on the grid of the head."""
    return phantom().depth > 0.0


def nose_of_phantom() -> np.ndarray:
    """Tissue around the tip of the synthetic nose."""
    ball = ellipsoid(HEAD, (0, -106, -58), (14, 10, 14)) < 0
    return ball & (phantom().contrasts[0] > 0.2)


def share_cut(mask: np.ndarray, plane: Plane, geometry: Geometry) -> float:
    points = geometry.world(np.argwhere(mask))
    return float(plane.before(points).mean())


@pytest.mark.parametrize("contrast", [0, 1, 2])
def test_the_nose_goes_and_the_whole_brain_stays_in_every_contrast(contrast):
    plane, _parts = find_plane(phantom_volume(contrast))
    assert brain_of_phantom().sum() > 1_000_000
    assert share_cut(brain_of_phantom(), plane, HEAD.geometry) == 0.0
    assert share_cut(nose_of_phantom(), plane, HEAD.geometry) > 0.99


def test_the_picture_shows_less_after_than_before():
    plane, parts = find_plane(phantom_volume(0))
    before, after = profile_picture(parts), profile_picture(parts, plane)
    assert before.shape == after.shape
    assert 0.01 < (before != after).mean() < 0.3
    face = before.shape[1] // 2
    assert (after[:, : face // 6] < before[:, : face // 6]).sum() > 100


def test_a_real_head_loses_its_nose_and_no_brain(shared_data):
    with scan([shared_data / "dicom_siemens_prone"]) as found:
        volume = load_series(found.series[0])
    plane, parts = find_plane(volume)
    cut = cut_mask(parts, plane)
    assert not (cut & parts.brain).any()
    # what reaches furthest forward is the tip of the nose (a person has looked at the picture)
    tip = np.argwhere(parts.head)[:, 1].min()
    assert cut[:, tip : tip + 4][parts.head[:, tip : tip + 4]].all()
    assert 0.03 < cut[parts.head].mean() < 0.2


def test_a_spinal_cord_is_no_head(shared_data):
    files = sorted((shared_data / "spine_cord_nifti").rglob("*t2*.nii.gz"))
    with scan([files[0]]) as found:
        volume = load_series(found.series[0])
    with pytest.raises(BadInput, match="No head"):
        find_plane(volume)


def test_a_brain_without_skin_has_no_face(shared_data):
    template = sorted((shared_data / "normal_templates_mni").rglob("*t1_tal*.nii.gz"))
    with scan([template[0]]) as found:
        volume = load_series(found.series[0])
    with pytest.raises(BadInput, match="face"):
        find_plane(volume)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two series of the phantom in one frame of reference, one of another thing, one NIfTI."""
    folder = tmp_path_factory.mktemp("study")
    person = Patient("Doe^Jane", "4711", "", "O")
    for number in (1, 2):
        volume = phantom_volume(number, step=4)
        template = mr_template(person, study_uid="1.2.3", frame_of_reference="1.2.9")
        template.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        write_mr_series(folder / f"s{number}", volume, template, sync=False)
    bottle = np.zeros((12, 40, 40), np.uint16)
    bottle[:, 10:30, 10:30] = 500
    affine = np.array([[0, 0, 3, 0], [0, 3, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1]], float)
    thing = Volume("b", "b", bottle, Geometry(bottle.shape, affine))
    template = mr_template(person, study_uid="1.2.3", frame_of_reference="1.2.10")
    template.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    write_mr_series(folder / "bottle", thing, template, sync=False)
    volume = phantom_volume(0, step=4)
    image = nib.Nifti1Image(volume.voxels.transpose(2, 1, 0), volume.geometry.nifti_affine)
    image.to_filename(folder / "flair.nii.gz")
    return folder


def test_all_series_of_a_frame_of_reference_are_cut_by_one_plane(study, tmp_path):
    options = Options(deface=True)
    survey = look(study, options)
    faces = find_faces(survey)
    report = run(survey, tmp_path / "out", options, KEY, faces)
    planes = [face.plane for face in faces.found.values() if face.plane is not None]
    assert len(planes) == 2  # one for both DICOM series, one for the NIfTI file
    images = len(list((study / "s1").iterdir())) + len(list((study / "s2").iterdir()))
    assert report.defaced == report.written == images + 1
    assert len(report.refused) == 12
    assert {why.partition(".")[0] for _, _, why in report.refused} == {
        "No head was found in this image, so there is no face to cut off"
    }
    with scan([study]) as before, scan([tmp_path / "out"]) as after:
        assert len(after.series) == 3
        for series in after.series:
            new = load_series(series)
            (old,) = (
                load_series(one)
                for one in before.series
                if one.shape == series.shape and one.kind == series.kind
            )
            index = np.stack(np.indices(new.geometry.shape), -1)
            plane = planes[0] if series.kind == "dicom" else planes[1]
            cut = plane.before(new.geometry.world(index))
            assert 0.02 < cut.mean() < 0.3
            assert not new.voxels[cut].any()
            assert old.voxels[cut].any()
            assert np.array_equal(new.voxels[~cut], old.voxels[~cut])


def test_the_header_says_that_the_face_is_gone(study, tmp_path):
    options = Options(deface=True)
    survey = look(study / "s2", options)
    run(survey, tmp_path / "out", options, KEY, find_faces(survey))
    ds = dcmread(next((tmp_path / "out").rglob("*.dcm")))
    assert ds.RecognizableVisualFeatures == "NO"
    assert "113102" in [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]
