"""What the user says of a series is known again by content, and is bounded and checked."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from app.settings import Settings, load, save
from app.told_sequences import (
    MAX_TOLD,
    NOT_SURE,
    corrected,
    tell,
    token_of,
    told_guess,
)
from imaging.open import scan


@pytest.fixture
def series(tmp_path):
    path = tmp_path / "Mustermann.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), path)
    with scan([path]) as result:
        return result.series[0]


def test_the_token_follows_the_content_not_the_name(series, tmp_path) -> None:
    token = token_of(series)
    moved = tmp_path / "elsewhere.nii.gz"
    (tmp_path / "Mustermann.nii.gz").rename(moved)
    with scan([moved]) as result:
        assert token_of(result.series[0]) == token
    assert "ustermann" not in token


def test_a_dicom_series_is_known_by_its_key(series) -> None:
    dicom = replace(series, kind="dicom", key="patient|1.2.3")
    assert token_of(dicom) == token_of(replace(dicom, description="another"))
    assert token_of(dicom) != token_of(replace(dicom, key="patient|1.2.4"))
    assert "patient" not in token_of(dicom)


def test_words_hold_and_are_taken_back(series) -> None:
    token = token_of(series)
    told = tell({}, token, "SWI")
    named = corrected(series, told)
    assert (named.sequence, named.source.sequence, named.guess) == ("SWI", "SWI", told_guess("SWI"))
    assert corrected(series, tell(told, token, NOT_SURE)).sequence == ""
    assert corrected(series, tell(told, token, "")) is series


def test_the_oldest_word_goes_first() -> None:
    told: dict[str, str] = {str(n): "T1w" for n in range(MAX_TOLD)}
    told = tell(told, "new", "T2w")
    assert len(told) == MAX_TOLD
    assert "new" in told
    assert "0" not in told


def test_settings_keep_words_and_drop_nonsense(tmp_path) -> None:
    path = tmp_path / "settings.json"
    save(Settings(sequences={"a": "FLAIR", "b": NOT_SURE}, remember_headers=False), path)
    settings, problem = load(path)
    assert (dict(settings.sequences), settings.remember_headers, problem) == (
        {"a": "FLAIR", "b": NOT_SURE}, False, "",
    )  # fmt: skip
    table = json.loads(path.read_text())
    table["sequences"] = {"a": "FLAIR", "b": "rubbish"}
    path.write_text(json.dumps(table))
    assert dict(load(path)[0].sequences) == {"a": "FLAIR"}
