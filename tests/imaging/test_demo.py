"""The demo study: a plausible head, honest headers, the same every time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.ndimage import label
from writing_grids import dicom_complaints

from imaging import demo
from imaging.demo import demo_study_folder, demo_truth, sequences, write_demo_study
from imaging.phantom.canvas import HEAD, Head
from imaging.phantom.lesions import place_lesions


@pytest.fixture(scope="module")
def head() -> Head:
    """The head, made once for all tests of this file."""
    made = demo._head()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_head", lambda: made)
        yield made


@pytest.fixture(scope="module")
def study(tmp_path_factory, head) -> Path:
    """The study, written once for all tests of this file."""
    folder = tmp_path_factory.mktemp("demo")
    write_demo_study(folder)
    return folder


@pytest.fixture(scope="module")
def series(study) -> dict:
    """Data sets of each series in the order of their file names."""
    return {
        s.name: [pydicom.dcmread(f) for f in sorted((study / s.name).glob("*.dcm"))]
        for s in sequences()
    }


@pytest.fixture(scope="module")
def truth(head):
    """Labels and grid of the FLAIR series."""
    return demo_truth()


@pytest.fixture(scope="module")
def flair(series) -> np.ndarray:
    """FLAIR voxels (k, j, i)."""
    return np.stack([ds.pixel_array for ds in series["FLAIR"]])


def test_three_series_of_one_study_and_frame(series):
    everything = [ds for slices in series.values() for ds in slices]
    assert len(series) == 3
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert len({str(ds[keyword].value) for ds in everything}) == 1
    assert len({ds.SeriesInstanceUID for ds in everything}) == 3
    assert len({ds.SOPInstanceUID for ds in everything}) == len(everything)


def test_every_header_says_that_it_is_synthetic(series):
    for slices in series.values():
        for ds in slices:
            assert str(ds.PatientName) == "Synthetic^Demo"
            assert ds.PatientID == "ISOCENTER-DEMO"
            assert "Synthetic" in ds.StudyDescription
            assert "(synthetic)" in ds.SeriesDescription
            assert ds.ImageType[0] == "DERIVED"
            assert not ds.PatientBirthDate


def test_the_scan_parameters_tell_the_sequences_apart(series):
    flair, t1, t2 = (series[name][0] for name in ("FLAIR", "T1w", "T2w"))
    assert float(flair.InversionTime) > 1500
    assert float(flair.EchoTime) > 80
    assert float(t1.EchoTime) < 15
    assert float(t2.EchoTime) > 80
    assert "InversionTime" not in t2


def test_the_standard_is_kept(study):
    assert dicom_complaints(*(study / s.name / "0040.dcm" for s in sequences())) == []


def test_headers_place_the_slices_on_the_grids(series):
    for sequence in sequences():
        slices = series[sequence.name]
        assert len(slices) == sequence.geometry.shape[0]
        for k in (0, len(slices) // 2, len(slices) - 1):
            ds = slices[k]
            place = np.array(ds.ImagePositionPatient, float)
            np.testing.assert_allclose(place, sequence.geometry.world((k, 0, 0)), atol=1e-6)
        row, column = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
        assert np.cross(row, column) @ sequence.geometry.directions[:, 0] > 0.99


def test_it_is_small_enough(study):
    size = sum(f.stat().st_size for f in study.rglob("*.dcm"))
    assert size < 40e6


def test_it_is_the_same_every_time(study, tmp_path, head):
    sequence = sequences()[2]
    demo._write(tmp_path / "again", sequence, 3, head)
    for one in ("0001.dcm", "0025.dcm"):
        digests = {
            hashlib.sha256((folder / one).read_bytes()).hexdigest()
            for folder in (study / "T2w", tmp_path / "again")
        }
        assert len(digests) == 1


def test_lesions_as_a_reader_expects_them(truth):
    labels, geometry = truth
    assert labels.dtype == np.uint8
    assert labels.shape == geometry.shape
    numbers = [int(n) for n in np.unique(labels) if n]
    assert 8 <= len(numbers) <= 15
    assert numbers == list(range(1, len(numbers) + 1))
    for number in numbers:
        voxels = np.argwhere(labels == number)
        assert label(labels == number, np.ones((3, 3, 3)))[1] == 1
        world = geometry.world(voxels)
        longest = np.linalg.norm(world[:, None] - world[None], axis=-1).max()
        assert 3.0 <= longest <= 20.0
    total_ml = np.count_nonzero(labels) * geometry.voxel_ml
    assert 1.0 < total_ml < 10.0


def test_lesions_lie_in_white_matter_and_shine_on_flair(truth, flair, head):
    labels, geometry = truth
    index = np.rint(HEAD.geometry.index(geometry.world(np.argwhere(labels)))).astype(int)
    assert (head.white[tuple(index.T)] > 0.4).mean() > 0.95
    white = _on_flair(head.white > 0.98, geometry, flair) & (labels == 0)
    bright = np.percentile(flair[white], 99)
    for number in range(1, int(labels.max()) + 1):
        assert np.median(flair[labels == number]) > bright


def _on_flair(mask: np.ndarray, geometry, flair: np.ndarray) -> np.ndarray:
    """A head mask on the FLAIR grid, by the nearest neighbour."""
    from scipy.ndimage import affine_transform

    to_head = HEAD.geometry.inverse @ geometry.affine
    return affine_transform(mask.astype(np.uint8), to_head, output_shape=flair.shape, order=0) > 0


def test_places_are_what_they_are_called(head):
    places = {}
    for lesion in place_lesions(head):
        places.setdefault(lesion.place, []).append(lesion)
    assert {"periventricular", "juxtacortical", "infratentorial"} <= set(places)
    assert all(lesion.centre[2] < -15 for lesion in places["infratentorial"])
    for lesion in places["juxtacortical"]:
        where = tuple(np.rint(HEAD.geometry.index(lesion.centre)).astype(int))
        assert 3.0 < head.depth[where] < 7.0


def test_tissues_have_the_contrast_of_their_sequence(truth, flair, series, head):
    geometry = truth[1]
    white = _on_flair(head.white > 0.98, geometry, flair) & (truth[0] == 0)
    ventricle = tuple(np.rint(geometry.index((23.0, 42.0, 8.0))).astype(int))
    assert flair[ventricle] < 0.4 * np.median(flair[white])
    t2 = np.stack([ds.pixel_array for ds in series["T2w"]])
    t2_grid = sequences()[2].geometry
    inside = tuple(np.rint(t2_grid.index((23.0, 42.0, 8.0))).astype(int))
    wm = tuple(np.rint(t2_grid.index((30.0, 20.0, 34.0))).astype(int))
    assert t2[inside] > 1.7 * t2[wm]
    air = flair[tuple(np.rint(geometry.index(HEAD.geometry.world((195, 5, 5)))).astype(int))]
    assert air < 100


def test_the_suggested_window_shows_grey_and_white_matter_apart(truth, flair, series, head):
    ds = series["FLAIR"][0]
    low = float(ds.WindowCenter) - float(ds.WindowWidth) / 2
    high = low + float(ds.WindowWidth)
    white = _on_flair(head.white > 0.98, truth[1], flair) & (truth[0] == 0)
    depth = _on_flair((head.depth > 1) & (head.depth < 2), truth[1], flair)
    dark, light = np.median(flair[white]), np.median(flair[depth])
    assert low < dark < light < high
    # On a real FLAIR too the cortex is only a little brighter; enough to be seen.
    assert (light - dark) / (high - low) > 0.05


def test_the_cache_is_made_once(tmp_path, monkeypatch):
    made = []

    def write(folder):
        made.append(folder)
        (folder / "FLAIR").mkdir()

    monkeypatch.setattr(demo, "write_demo_study", write)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *a, **k: tmp_path / "cache")
    first, second = demo_study_folder(), demo_study_folder()
    assert first == second
    assert (first / "FLAIR").is_dir()
    assert len(made) == 1
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [first.name]


def test_two_windows_may_make_it_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *a, **k: tmp_path)

    def write(folder):
        (folder / "FLAIR").mkdir()
        if not (tmp_path / f"demo-{demo.DEMO_VERSION}").exists():
            other = tmp_path / f"demo-{demo.DEMO_VERSION}"
            other.mkdir()
            (other / "FLAIR").mkdir()

    monkeypatch.setattr(demo, "write_demo_study", write)
    folder = demo_study_folder()
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]
