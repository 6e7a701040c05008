"""Masks, contours and maps of other programs on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from app import cli
from imaging.geometry import LPS_TO_RAS

sys.path.append(str(Path(__file__).parents[1] / "imaging"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Images in one folder, objects in another: (images, objects, volume, expected balls)."""
    import object_makers as make

    folder = tmp_path_factory.mktemp("study")
    files, volume = make.make_series(folder / "images", "oblique")
    objects = folder / "objects"
    objects.mkdir()
    masks = make.balls(volume.geometry)
    seg = make.make_seg(objects / "mask.dcm", files, volume, masks)
    make.make_report(objects / "report.dcm", files, seg)
    times = (masks[0] * 900 + 300).astype(np.uint16)
    make.make_map(objects / "t1.dcm", files, volume, times, make.T1, ("ms", "UCUM", "milliseconds"))
    over = make.balls(volume.geometry, overlap=True)
    make.make_seg(folder / "two.dcm", files, volume, over)
    return folder, volume, masks, over


def _run(capsys, *words: object) -> tuple[int, str, str]:
    code = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def _at_places(path: Path, volume) -> np.ndarray:
    """What nibabel finds at the places of the volume's voxels."""
    image = nib.load(path)
    index = np.argwhere(np.ones(volume.geometry.shape, bool))
    ras = volume.geometry.world(index) @ LPS_TO_RAS[:3, :3]
    other = np.rint(nib.affines.apply_affine(np.linalg.inv(image.affine), ras)).astype(int)
    return np.asarray(image.dataobj)[tuple(other.T)].reshape(volume.geometry.shape)


def test_the_listing_names_them(capsys, study):
    code, out, _ = _run(capsys, "scan", study[0], "--json")
    assert code == 0
    kinds = sorted(o["kind"] for o in json.loads(out)["objects"])
    assert kinds == ["parametric map", "report", "segmentation", "segmentation"]
    _, text, _ = _run(capsys, "scan", study[0])
    assert "Two balls" in text
    assert "2 segments · finder" in text


def test_a_mask_on_its_images_for_an_independent_reader(capsys, study, tmp_path):
    folder, volume, masks, _ = study
    target = tmp_path / "mask.nii.gz"
    words = ("convert", folder / "objects/mask.dcm", "--on", folder / "images", "-o", target)
    code, out, err = _run(capsys, *words, "--json")
    assert code == 0, err
    assert json.loads(out)["series_uid"] == volume.source.series_uid
    found = _at_places(target, volume)
    for number, mask in enumerate(masks, 1):
        np.testing.assert_array_equal(found == number, mask)


def test_overlapping_segments_become_two_files(capsys, study, tmp_path):
    folder, volume, _, over = study
    target = tmp_path / "mask.nii.gz"
    words = ("convert", folder / "two.dcm", "--on", folder / "images", "-o", target)
    code, _, err = _run(capsys, *words)
    assert code == 0, err
    np.testing.assert_array_equal(_at_places(target, volume) > 0, over[0])
    np.testing.assert_array_equal(_at_places(tmp_path / "mask-mask-2.nii.gz", volume) > 0, over[1])


def test_an_object_of_a_study_by_its_id(capsys, study, tmp_path):
    _, out, _ = _run(capsys, "scan", study[0], "--json")
    objects = {o["kind"]: o["id"] for o in json.loads(out)["objects"]}
    target = tmp_path / "t1.nii.gz"
    wanted = objects["parametric map"][:12]
    code, _, err = _run(capsys, "convert", study[0], "--object", wanted, "-o", target)
    assert code == 0, err
    found = _at_places(target, study[1])
    np.testing.assert_array_equal(found, np.where(study[2][0], 1200, 300))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("objects/mask.dcm", "--object", "zzz"), "no object 'zzz'"),
        (("objects", "--object", ""), "no images"),
        (("objects/mask.dcm", "--on", "objects"), "no images"),
        (("objects/report.dcm", "--on", "images"), "text, not an image"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(capsys, study, tmp_path, words, sentence):
    path, option, value = words
    value = study[0] / value if option == "--on" else value
    code, _, err = _run(
        capsys, "convert", study[0] / path, option, value, "-o", tmp_path / "x.nii.gz"
    )
    assert code == 1
    assert sentence in err
    assert not list(tmp_path.iterdir())


def test_images_that_are_missing_are_asked_for(capsys, study, tmp_path):
    _, out, _ = _run(capsys, "scan", study[0] / "objects", "--json")
    (mask,) = [o["id"] for o in json.loads(out)["objects"] if o["kind"] == "segmentation"]
    words = ("convert", study[0] / "objects", "--object", mask, "-o", tmp_path / "x.nii.gz")
    code, _, err = _run(capsys, *words)
    assert code == 1
    assert "--on PATH" in err
