"""nnU-Net raw data sets, judged by SimpleITK as nnU-Net itself reads them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from writing_grids import NAMES, ORIENTATIONS, assert_same_in_patient, grid, itk_judge, volume

from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.segmentation import AUTOMATIC, Provenance, Segment, Segmentation
from imaging.storage import nnunet
from imaging.storage.nnunet import add_case, dataset_folder

SEGMENTS = (
    Segment(3, "Lesion", (1, 2, 3), algorithm_type=AUTOMATIC),
    Segment(9, "Ventricle", (4, 5, 6)),
)


def mask(geometry: Geometry, segments=SEGMENTS) -> Segmentation:
    numbers = [0, *(s.number for s in segments)]
    labels = np.random.default_rng(0).choice(numbers, geometry.shape).astype(np.uint8)
    return Segmentation.from_labels(
        "m", "Mask", geometry, "v", labels, segments=segments,
        provenance=Provenance("Test model", "1", "ab" * 32),
    )  # fmt: skip


def channels(geometry: Geometry):
    return [("FLAIR", volume(geometry)), ("T1w", replace(volume(geometry), id="w", slope=0.5))]


def told(root) -> dict:
    return json.loads((root / "dataset.json").read_text())


@pytest.mark.parametrize("way", ORIENTATIONS, ids=NAMES)
def test_every_orientation_lands_where_it_was(tmp_path, way):
    geometry = grid(way)
    made, images = mask(geometry), channels(geometry)
    report = add_case(tmp_path, 7, "MS", images, made)
    root = tmp_path / "Dataset007_MS"
    assert report.root == root
    label = root / "labelsTr" / "case_001.nii.gz"
    table = np.zeros(256, np.uint8)
    table[[3, 9]] = 1, 2
    assert_same_in_patient(geometry, table[made.labels], *itk_judge(label))
    first = root / "imagesTr" / "case_001_0000.nii.gz"
    assert_same_in_patient(geometry, images[0][1].voxels, *itk_judge(first))
    second = sitk.ReadImage(str(root / "imagesTr" / "case_001_0001.nii.gz"))
    np.testing.assert_allclose(sitk.GetArrayFromImage(second), images[1][1].voxels * 0.5)
    grids = [sitk.ReadImage(str(path)) for path in (label, first)] + [second]
    assert len({(g.GetOrigin(), g.GetSpacing(), g.GetDirection()) for g in grids}) == 1


def test_the_description_is_what_nnunet_asks_for(tmp_path):
    root = add_case(tmp_path, 7, "MS", channels(grid()), mask(grid())).root
    body = told(root)
    assert body["channel_names"] == {"0": "FLAIR", "1": "T1w"}
    assert body["labels"] == {"background": 0, "Lesion": 1, "Ventricle": 2}
    assert body["numTraining"] == 1
    assert body["file_ending"] == ".nii.gz"
    facts = json.loads((root / "provenance" / "case_001.json").read_text())
    assert facts["algorithm"]["weights_sha256"] == "ab" * 32


def test_the_next_case_is_added_and_new_labels_come_after_the_old(tmp_path):
    add_case(tmp_path, 7, "MS", channels(grid()), mask(grid()))
    root = tmp_path / "Dataset007_MS"
    before = {p: p.read_bytes() for p in root.rglob("*.nii.gz")}
    other = mask(grid(), (Segment(1, "Cyst", (1, 1, 1)), Segment(2, "Lesion", (1, 2, 3))))
    report = add_case(root, 7, "MS", channels(grid()), other)  # the data set itself may be chosen
    assert (report.case, report.cases) == ("case_002", 2)
    assert told(root)["labels"] == {"background": 0, "Lesion": 1, "Ventricle": 2, "Cyst": 3}
    assert told(root)["numTraining"] == 2
    assert before
    assert {path: path.read_bytes() for path in before} == before
    back = sitk.GetArrayFromImage(sitk.ReadImage(str(root / "labelsTr" / "case_002.nii.gz")))
    np.testing.assert_array_equal(back == 3, other.labels == 1)
    np.testing.assert_array_equal(back == 1, other.labels == 2)


def test_what_a_person_wrote_into_the_description_stays(tmp_path):
    root = add_case(tmp_path, 7, "MS", channels(grid()), mask(grid())).root
    body = {**told(root), "licence": "CC0", "overwrite_image_reader_writer": "SimpleITKIO"}
    (root / "dataset.json").write_text(json.dumps(body))
    add_case(tmp_path, 7, "MS", channels(grid()), mask(grid()))
    assert told(root)["licence"] == "CC0"
    assert told(root)["overwrite_image_reader_writer"] == "SimpleITKIO"


def test_a_case_is_never_overwritten(tmp_path):
    add_case(tmp_path, 7, "MS", channels(grid()), mask(grid()), case="patient-a")
    with pytest.raises(BadInput, match="already"):
        add_case(tmp_path, 7, "MS", channels(grid()), mask(grid()), case="patient-a")


def test_two_at_once_get_a_name_each(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        jobs = [
            pool.submit(add_case, tmp_path, 7, "MS", channels(grid()), mask(grid()))
            for _ in range(6)
        ]
    assert sorted(job.result().case for job in jobs) == [f"case_{n:03d}" for n in range(1, 7)]
    assert told(tmp_path / "Dataset007_MS")["numTraining"] == 6


def test_images_on_another_grid_are_refused(tmp_path):
    moved = grid().affine.copy()
    moved[0, 3] += 1.0
    images = [("FLAIR", volume(grid())), ("T1w", volume(Geometry((4, 5, 11), moved)))]
    with pytest.raises(BadInput, match=r"grid of the mask.*T1w"):
        add_case(tmp_path, 7, "MS", images, mask(grid()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"number": 0}, "1 to 999"),
        ({"name": "a b"}, "letters, digits"),
        ({"name": "../x"}, "letters, digits"),
        ({"case": "../x"}, "name of a case"),
        ({"channels": []}, "at least one image"),
        ({"segmentation": mask(grid(), ())}, "no labels"),
        (
            {
                "segmentation": mask(
                    grid(), (Segment(1, "A", (1, 1, 1)), Segment(2, "A", (1, 1, 1)))
                )
            },
            "same name",
        ),
        ({"segmentation": mask(grid(), (Segment(1, "background", (1, 1, 1)),))}, "background"),
    ],
)
def test_impossible_wishes_are_sentences(tmp_path, change, words):
    wish = {
        "number": 7, "name": "MS", "channels": channels(grid()), "segmentation": mask(grid()),
        "case": "",
    } | change  # fmt: skip
    with pytest.raises(BadInput, match=words):
        add_case(tmp_path, **wish)
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_other_channels_than_those_of_the_data_set_are_refused(tmp_path):
    add_case(tmp_path, 7, "MS", channels(grid()), mask(grid()))
    for images in (channels(grid())[::-1], channels(grid())[:1]):
        with pytest.raises(BadInput, match="has the channels FLAIR, T1w"):
            add_case(tmp_path, 7, "MS", images, mask(grid()))
    assert told(tmp_path / "Dataset007_MS")["numTraining"] == 1


def test_a_number_that_another_data_set_has_is_refused(tmp_path):
    add_case(tmp_path, 7, "MS", channels(grid()), mask(grid()))
    with pytest.raises(BadInput, match="another name"):
        dataset_folder(tmp_path, 7, "Stroke")


@pytest.mark.parametrize(
    "body",
    ["[]", "{", '{"labels": {"background": 0, "a": [1, 2]}, "channel_names": {"0": "FLAIR"}}'],
)
def test_a_description_that_makes_no_sense_is_left_alone(tmp_path, body):
    root = tmp_path / "Dataset007_MS"
    root.mkdir()
    (root / "dataset.json").write_text(body)
    with pytest.raises(BadInput):
        add_case(tmp_path, 7, "MS", channels(grid())[:1], mask(grid()))
    assert (root / "dataset.json").read_text() == body


def test_a_failure_on_the_way_leaves_no_half_case(tmp_path, monkeypatch):
    add_case(tmp_path, 7, "MS", channels(grid()), mask(grid()))
    root = tmp_path / "Dataset007_MS"
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def full(*_args):
        raise WorldFailed("The disk is full", "there")

    monkeypatch.setattr(nnunet, "write_json", full)
    with pytest.raises(WorldFailed, match="full"):
        add_case(tmp_path, 7, "MS", channels(grid()), mask(grid()))
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_an_image_is_one_case_of_a_data_set(tmp_path):
    add_case(tmp_path, 7, "MS", channels(grid()), mask(grid()), image="A")
    with pytest.raises(BadInput, match="already, as case_001"):
        add_case(tmp_path, 7, "MS", channels(grid()), mask(grid()), image="A")
    assert add_case(tmp_path, 7, "MS", channels(grid()), mask(grid()), image="B").cases == 2
    assert add_case(tmp_path, 8, "MS2", channels(grid()), mask(grid()), image="A").cases == 1
