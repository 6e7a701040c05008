"""Real scanners' files: clean copies open with the same voxels in the same places."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from imaging.deidentify.folder import run
from imaging.deidentify.key import Key
from imaging.deidentify.options import Options
from imaging.deidentify.survey import look, targets
from imaging.open import load_series, scan
from imaging.series import Series

# pydicom warns of odd values, which is what these files are made of
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KEY = Key(b"the key of one project, 32 bytes")
OPTIONS = Options(keep_private_safe=True, pixels_checked=True)
FOLDERS = (
    "dicom_agfa", "dicom_dicom2nifti_tests", "dicom_enhanced_small", "dicom_ge_mprage",
    "dicom_philips_enh_classic", "dicom_pydicom_tests", "dicom_seg_examples",
    "dicom_siemens_orient", "dicom_siemens_prone", "dicom_transfer_syntaxes",
)  # fmt: skip
#: So many files of a folder are checked by dciodvfy.
CHECKED = 6


@pytest.fixture(scope="module", params=FOLDERS)
def cleaned(request, shared_data, tmp_path_factory):
    """Source, target, names of the copies."""
    source = shared_data / request.param
    if not source.is_dir():
        pytest.skip(f"{request.param} is not here")
    target = tmp_path_factory.mktemp("real") / "clean"
    survey = look(source, OPTIONS)
    report = run(survey, target, OPTIONS, KEY)
    assert report.refused == []
    assert report.written == len(survey.items) > 0
    names = targets(survey, KEY)
    pairs = [(Path(i.path), target / names[i.number]) for i in survey.items if i.kind == "dicom"]
    return source, target, pairs


def test_voxels_and_places_are_the_same(cleaned):
    source, target, _pairs = cleaned
    with scan([source]) as before, scan([target]) as after:
        new = {stack(s): s for s in after.series if s.kind == "dicom"}
        old = {stack(s, KEY): s for s in before.series if s.kind == "dicom"}
        assert new.keys() == old.keys()
        for key, series in old.items():
            copy = new[key]
            assert (series.geometry is None) == (copy.geometry is None)
            if series.geometry is not None and copy.geometry is not None:
                assert np.allclose(series.geometry.affine, copy.geometry.affine, atol=1e-9)
            assert np.array_equal(load_series(series).voxels, load_series(copy).voxels)


def test_names_dates_and_hospitals_of_the_headers_are_gone(cleaned):
    _source, _target, pairs = cleaned
    for old, new in pairs[:40]:
        ds, raw = dcmread(old, stop_before_pixels=True, force=True), new.read_bytes().lower()
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate",
                        "AccessionNumber", "StudyInstanceUID", "DeviceSerialNumber"):  # fmt: skip
            value = str(ds.get(keyword) or "").strip().lower()
            if len(value) >= 6:
                assert value.encode() not in raw, (old.name, keyword)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
def test_no_new_complaint_of_the_validator(cleaned):
    _source, _target, pairs = cleaned
    step = max(1, len(pairs) // CHECKED)
    for old, new in pairs[::step]:
        syntax = str(getattr(dcmread(old, force=True, stop_before_pixels=True).file_meta,
                             "TransferSyntaxUID", ""))  # fmt: skip
        if syntax in ("1.2.840.10008.1.2.1.99", ""):
            continue  # the validator does not read the original, so it has no complaint of it
        assert complaints(new) - complaints(old) == Counter(), old.name


def stack(series: Series, key: Key | None = None) -> frozenset[tuple[str, int]]:
    """Which frames of which files a series is made of, by their new UIDs."""
    return frozenset(
        (key.uid(frame.instance_uid) if key else frame.instance_uid, frame.number)
        for frame in series.frames
    )


def complaints(path: Path) -> Counter[str]:
    """Errors of dciodvfy without the values in them."""
    done = subprocess.run(
        ["dciodvfy", "-new", str(path)], capture_output=True, text=True, errors="replace"
    )
    lines = (done.stdout + done.stderr).splitlines()
    return Counter(re.sub(r"= <[^>]*>", "", x) for x in lines if x.startswith("Error"))
