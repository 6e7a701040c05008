"""Files that name no patient are kept apart by their folders, in the list and at the images."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PySide6.QtCore import Qt

from app.windows.banner import patient_line
from app.windows.study_browser import StudyBrowser
from app.workspace import Workspace
from imaging.folders import folder_of, folder_words
from imaging.geometry import Geometry
from imaging.scanning import ScanResult, scan
from imaging.volume import Source, Volume, Window
from viewer.state.display import Plane
from viewer.state.slice_plan import SlicePosition
from viewer.state.text import corner_texts


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.arange(512, dtype=np.int16).reshape(8, 8, 8)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)  # pyright: ignore


def rows(browser: StudyBrowser) -> dict[str, dict[str, int]]:
    """Patient line: study line: number of rows."""
    found: dict[str, dict[str, int]] = {}
    studies = browser.tree.findItems("*", Qt.MatchFlag.MatchWildcard | Qt.MatchFlag.MatchRecursive)
    for study in studies:
        patient = study.parent()
        if patient is not None and patient.parent() is None:
            found.setdefault(patient.text(0), {})[study.text(0)] = study.childCount()
    return found


def listed(qtbot, found: ScanResult) -> dict[str, dict[str, int]]:
    browser = StudyBrowser(Workspace())
    qtbot.addWidget(browser)
    for series in found.series:
        browser.add_series(series)
    for one in found.objects:
        browser.add_object(one)
    return rows(browser)


def test_two_patients_are_two_studies(qtbot, tmp_path) -> None:
    for name in ("MNI/patient07", "MNI/patient19"):
        put(tmp_path / name / "FLAIR_regtoMNI.nii.gz")
        put(tmp_path / name / "T1_regtoMNI.nii.gz")
    with scan([tmp_path]) as found:
        assert listed(qtbot, found) == {
            "Patient unknown": {"patient07 · MNI": 2, "patient19 · MNI": 2}
        }


def test_folders_in_an_archive_are_studies(qtbot, tmp_path) -> None:
    for name in ("a", "b"):
        put(tmp_path / name / "x.nii")
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        for name in ("a/x.nii", "b/x.nii"):
            archive.write(tmp_path / name, name)
    with scan([tmp_path / "both.zip"]) as found:
        assert listed(qtbot, found) == {"Patient unknown": {"a · both.zip": 1, "b · both.zip": 1}}


def test_a_bids_session_is_one_study(qtbot, tmp_path) -> None:
    put(tmp_path / "sub-01/ses-02/anat/sub-01_ses-02_FLAIR.nii.gz")
    put(tmp_path / "sub-01/ses-02/dwi/sub-01_ses-02_dwi.nii.gz")
    put(tmp_path / "sub-03/anat/sub-03_FLAIR.nii.gz")
    with scan([tmp_path]) as found:
        assert listed(qtbot, found) == {"Patient unknown": {"sub-01 · ses-02": 2, "sub-03": 1}}


def test_real_patients_lie_apart(qtbot, shared_data) -> None:
    with scan([shared_data / "ms_open_mni" / "MNI"]) as found:
        studies = listed(qtbot, found)["Patient unknown"]
    assert studies["patient19 · MNI"] == 5
    assert studies["patient07 · MNI"] >= 1


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a/MNI/patient19/x.nii", "patient19 · MNI"),
        ("C:\\data\\case 4\\x.nii", "case 4 · data"),
        ("/data/sub-07/anat/x.nii", "sub-07"),
        ("/data/anat/x.nii", "anat · data"),
        ("/x.nii", ""),
    ],
)
def test_words_of_a_folder(path: str, words: str) -> None:
    assert folder_words(folder_of(path)) == words


@pytest.mark.parametrize("size", [(700, 600), (300, 300)])
def test_banner_and_corners_tell_two_flairs_apart(size) -> None:
    seen = set()
    for patient in ("patient07", "patient19"):
        folder = f"/d/MNI/{patient}"
        source = Source("nifti", series_description="FSL5.0", folder=folder)
        volume = Volume(
            "v", "FLAIR_regtoMNI", np.zeros((3, 3, 3), np.int16),
            Geometry((3, 3, 3), np.eye(4)), source,
        )  # fmt: skip
        assert patient_line(source, volume.name) == (
            "Patient unknown", f"{patient} · MNI · FLAIR_regtoMNI",
        )  # fmt: skip
        texts = corner_texts(
            volume, Plane.AXIAL, SlicePosition(1, 3, 1.0, ""), Window(1, 2), 1.0, False, size
        )
        every = " ".join((*texts.top_left, *texts.top_right, *texts.bottom_left))
        assert f"{patient} · MNI" in every
        assert "FLAIR_regtoMNI" in every
        seen.add(every)
    assert len(seen) == 2
