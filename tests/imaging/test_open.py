"""The one door: what is found, how it is reported, and that real scanners' files are in place."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_phantoms import Maker, Plan

from imaging import scanning
from imaging.open import load_series, open_series, scan, thumbnail
from imaging.series import Problem, Series
from imaging.volume import Volume


def test_folders_are_searched_and_kinds_told_by_content(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    Maker(deep).stack([0.0, 3.0, 6.0])
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), tmp_path / "head.nii")
    (tmp_path / "a" / "disguised.dcm").write_bytes((tmp_path / "head.nii").read_bytes())
    (tmp_path / ".hidden").write_text("nobody wants to know")
    with scan([tmp_path]) as result:
        assert [series.kind for series in result.series] == ["dicom", "nifti", "nifti"]
        assert result.problems == ()


def test_missing_path_is_a_problem_not_an_error(tmp_path: Path) -> None:
    with scan([tmp_path / "nowhere"]) as result:
        assert result.series == ()
        assert "no such file" in result.problems[0].reason


def test_same_file_given_twice_is_read_once(tmp_path: Path) -> None:
    paths = Maker(tmp_path).stack([0.0, 3.0, 6.0])
    with scan([tmp_path, paths[0]]) as result:
        assert result.problems == ()
        assert result.series[0].shape[0] == 3


def test_series_are_told_early_and_again_when_grown(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(scanning, "_REPORT_SECONDS", 0.0)
    Maker(tmp_path).stack([3.0 * k for k in range(12)])
    told: list[Series] = []
    progress: list[tuple[int, int]] = []
    with scan([tmp_path], told.append, on_progress=lambda *p: progress.append(p)) as result:
        (series,) = result.series
    assert len({each.key for each in told}) == 1
    depths = [each.shape[0] for each in told]
    assert depths[0] == 1
    assert depths[-1] == 12
    assert depths == sorted(set(depths))
    assert told[-1] is series
    assert progress[-1] == (12, 12)


def test_problems_are_told_while_scanning(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    told: list[Problem] = []
    with scan([tmp_path], on_problem=told.append) as result:
        assert tuple(told) == result.problems
        assert len(told) == 1


def test_cancel_keeps_what_is_there(tmp_path: Path) -> None:
    Maker(tmp_path).stack([3.0 * k for k in range(20)])
    calls = iter(range(1000))
    with scan([tmp_path], cancelled=lambda: next(calls) > 8) as result:
        assert result.stopped
        assert 0 < result.series[0].shape[0] < 20


def test_unforeseen_failure_of_one_file_spares_the_others(tmp_path: Path, monkeypatch) -> None:
    Maker(tmp_path).stack([0.0, 3.0, 6.0])
    (tmp_path / "zz").write_bytes(b"x" * 500)
    original = scanning.format_of

    def fails(head):
        if head.path.endswith("zz"):
            raise LookupError("patient name")
        return original(head)

    monkeypatch.setattr(scanning, "format_of", fails)
    with scan([tmp_path]) as result:
        assert result.series[0].shape[0] == 3
        assert result.problems[0].reason == "The file cannot be understood (LookupError)."


def test_dicomdir_stands_for_its_folder(shared_data: Path) -> None:
    folder = shared_data / "dicom_pydicom_tests" / "dicomdirtests"
    with scan([folder / "DICOMDIR"]) as result, scan([folder]) as whole:
        assert [s.key for s in result.series] == [s.key for s in whole.series]
        assert len(result.series) >= 5
        assert not any("DICOMDIR" in problem.path for problem in result.problems)


def test_empty_series_list_of_an_empty_folder(tmp_path: Path) -> None:
    with scan([tmp_path]) as result:
        assert (result.series, result.problems) == ((), ())


def test_stack_without_place_has_a_thumbnail(tmp_path: Path) -> None:
    Maker(tmp_path).write(Plan(), ImagePositionPatient=None)
    with scan([tmp_path]) as result:
        assert thumbnail(result.series[0], 48).shape == (48, 33)


@pytest.mark.parametrize(
    "order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2), (0, 2, 1), (2, 1, 0)]
)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, -1), (-1, -1, -1)])
def test_thumbnails_are_upright_however_the_voxels_are_stored(tmp_path, order, signs) -> None:
    lps = np.full((24, 24, 24), 10, np.int16)  # axes towards L, P, S
    lps[12:, 12:, 12:] = 30
    lps[:12, :12, 12:] = 60  # right, front, above
    lps[:12, 12:, :12] = 100
    data = lps.transpose(order)[tuple(slice(None, None, s) for s in signs)]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (along, sign) in enumerate(zip(order, signs, strict=True)):
        affine[along, axis] = sign * (-1 if along < 2 else 1)  # NIfTI counts towards R, A, S
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "x.nii")
    with scan([tmp_path]) as result:
        picture = thumbnail(result.series[0], 24).astype(int)
    across = order[2]  # the last axis of a NIfTI file is the slice
    at = (slice(None),) * across + (12 if signs[2] > 0 else 11,)
    plane = lps[at]  # the other two axes in the order L, P, S
    wanted = {0: plane.T[::-1], 1: plane.T[::-1], 2: plane.T}[across]
    assert np.corrcoef(picture.ravel(), wanted.ravel())[0, 1] > 0.98


# Real files: random voxels agree with the reference in world space --------------------------


def agrees(
    volume: Volume, path: Path, scaled_freely: bool = False, time: int | None = None
) -> bool:
    """True where 500 random voxels have the reference's value at the same place.

    ``scaled_freely`` allows one linear relation between the values (maker's private scaling);
    ``time`` asks for one image of a 4D reference, else any of them will do.
    """
    image = nib.load(path)
    data = np.asanyarray(image.dataobj)
    inverse = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)
    rng = np.random.default_rng(7)
    index = np.stack([rng.integers(0, n, 500) for n in volume.voxels.shape], axis=1)
    there = volume.geometry.world(index) @ inverse[:3, :3].T + inverse[:3, 3]
    near = np.rint(there).astype(int)
    if np.abs(there - near).max() > 1e-2 or (near < 0).any() or (near >= data.shape[:3]).any():
        return False
    got = volume.real(volume.voxels[tuple(index.T)])
    times = data[..., None] if data.ndim == 3 else data
    wanted = times[tuple(near.T)].astype(float)
    wanted = wanted if time is None else wanted[:, [time]]
    if scaled_freely:
        return bool(max(np.corrcoef(got, want)[0, 1] for want in wanted.T) > 1 - 1e-9)
    return bool(np.abs(wanted.T - got).max(axis=1).min() < 1e-3)


def volumes(path: Path) -> list[Volume]:
    """Every image of every series, those of a 4D series in their order."""
    with scan([path]) as result:
        loaded = [load_series(series) for series in result.series if series.kind == "dicom"]
    return [
        image
        for volume in loaded
        for image in (
            [volume]
            if volume.repeats is None
            else [volume.at_repeat(n) for n in range(len(volume.repeats))]
        )
    ]


@pytest.mark.parametrize(
    ("folder", "reference"),
    [
        ("sag/sagdesc35", "sag_desc_35sl_23"),
        ("sag/sagint36", "sag_int_36sl_21"),
        ("cor/cordesc35", "cor_desc_35sl_17"),
        ("axmb/AxInt36mb", "fMRI_MB_int_26"),
        ("axmb/AxAsc36mb2a", "fMRI_MB_asc_25"),
        ("ax/axasc35", "ax_asc_35sl_6"),
    ],
)
def test_siemens_mosaics(shared_data: Path, folder: str, reference: str) -> None:
    data = shared_data / "dicom_siemens_orient"
    found = volumes(data / "In" / folder)
    assert [volume.id for volume in found] == [found[0].id] * 2
    for time, volume in enumerate(found):
        assert agrees(volume, data / "Ref" / f"{reference}.nii", time=time)


@pytest.mark.parametrize("number", range(1, 10))
def test_nine_transfer_syntaxes(shared_data: Path, number: int) -> None:
    data = shared_data / "dicom_transfer_syntaxes"
    (volume,) = volumes(data / "In" / f"{number}.dcm")
    assert agrees(volume, data / "Ref" / f"{number}.nii")


def test_enhanced_siemens(shared_data: Path) -> None:
    data = shared_data / "dicom_enhanced_small"
    found = volumes(data / "In" / "Siemens")
    assert [volume.voxels.shape for volume in found] == [(6, 64, 64)] * 4
    assert len({volume.id for volume in found}) == 1
    for time, volume in enumerate(found):
        assert agrees(volume, data / "Ref" / "Siemens_REST1_w_SMS_PF7-8_6.nii", time=time)


def test_nine_files_of_one_series_are_nine_images(shared_data: Path) -> None:
    found = volumes(shared_data / "dicom_transfer_syntaxes" / "In")
    assert len(found) == 9
    assert len({volume.id for volume in found}) == 1
    assert all(np.array_equal(volume.voxels, found[0].voxels) for volume in found)


def test_enhanced_philips_field_map(shared_data: Path) -> None:
    data = shared_data / "dicom_enhanced_small"
    found = volumes(data / "In" / "Philips")
    assert len(found) == 2
    for name in ("e1", "e2_fieldmaphz"):
        reference = data / "Ref" / f"Philips_WIP_B0_NS_801_{name}.nii"
        assert sum(agrees(volume, reference, scaled_freely=True) for volume in found) == 1


@pytest.mark.parametrize(
    ("source", "reference"),
    [("cl", "1901_WIP_3DpCASL_cl"), ("enh/1901_WIP_3DpCASL_real.dcm", "1901_WIP_3DpCASL_enh_real")],
)
def test_philips_classic_and_enhanced(shared_data: Path, source: str, reference: str) -> None:
    data = shared_data / "dicom_philips_enh_classic"
    (volume,) = volumes(data / "In" / source)
    assert agrees(volume, data / "Ref" / f"{reference}.nii.gz")


def test_philips_two_echoes_magnitude_and_phase_in_one_file(shared_data: Path) -> None:
    data = shared_data / "dicom_philips_enh_classic"
    found = volumes(data / "In" / "enh" / "2001_WIP_fcMRI_Field_Mapping_e2_phMag.dcm")
    assert [volume.title.split(" · ", 1)[1] for volume in found] == [
        "magnitude · TE 2.3 ms", "magnitude · TE 4.6 ms", "phase · TE 2.3 ms", "phase · TE 4.6 ms",
    ]  # fmt: skip
    for volume, name in zip(found, ("e1", "e2", "e1_ph", "e2_ph"), strict=True):
        reference = data / "Ref" / f"2001_WIP_fcMRI_Field_Mapping_enh_{name}.nii.gz"
        assert agrees(volume, reference, scaled_freely=True)


@pytest.mark.parametrize(
    "name",
    [
        "philips_enhanced/anatomical/001",
        "generic/compressed_rle/001",
        "generic/compressed/001",
        "generic/compressed_jpegls/001",
        "generic/compressed_jpeg/001",
        "generic/anatomical/002_non_isotropic",
        "philips/anatomical/001",
        "failing/slicecount/001",
        "siemens_multiframe/anatomical/001",
        "hitachi/anatomical/001",
        "hyperfine/anatomical/001",
    ],
)
def test_dicom2nifti_ground_truth(shared_data: Path, name: str) -> None:
    data = shared_data / "dicom_dicom2nifti_tests"
    (volume,) = volumes(data / name)
    assert agrees(volume, data / f"{name}_ground_truth.nii.gz")


@pytest.mark.parametrize(
    ("folder", "shape"),
    [("dicom_ge_mprage", (130, 256, 256)), ("dicom_siemens_prone", (35, 256, 256))],
)
def test_one_regular_series_of_one_head(shared_data: Path, folder: str, shape) -> None:
    with scan([shared_data / folder / "In"]) as result:
        (series,) = result.series
        assert series.shape == shape
        assert series.volumetric
        assert series.problems == ()
        assert series.sequence == "T1w"
        loading = open_series(series)
        volume = loading.load()
        assert volume.voxels.max() > 100
        assert volume.window is not None


def test_planes_of_two_orientations_in_one_real_series(shared_data: Path) -> None:
    with scan([shared_data / "dicom_dicom2nifti_tests" / "failing" / "sliceorientation"]) as result:
        assert sorted(series.plane for series in result.series) == ["oblique axial", "sagittal"]
