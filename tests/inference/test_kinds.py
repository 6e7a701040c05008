"""Models of every kind through the worker: images in, maps, labels, facts and clicks out."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import make_head

from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from imaging.volume import Source
from inference.card_reading import load_card
from inference.client import WorkerClient
from inference.messages import Cancelled, ClickAnswer, Failed, LoadAnswer, SegmentAnswer
from inference.model import InputNeed
from inference.registry import InstalledModel

WAIT_S = 120
HERE = Path(__file__).parent

CARD = """
id = "{id}"
kind = "{kind}"
name = "Plain"
version = "1"
summary = "s"
intended_use = "u"
not_for = "n"
licence = "l"
[[inputs]]
name = "FLAIR"
sequence = "any"
[[inputs]]
name = "T1w"
sequence = "T1w"
required = false
[outputs]
threshold = 0.5
min_component_voxels = 0
maps = {maps}
{labels}
[preprocess]
spacing_mm = 2.0
multiple = 16
[network]
architecture = "{architecture}"
arguments = {{ {arguments} }}
[weights]
file = "model.safetensors"
sha256 = "{digest}"
"""


@pytest.fixture
def model(tmp_path):
    """Makes installed models of a kind."""

    def make(kind: str, architecture="plain", maps="[]", labels=("Lesion",), arguments=""):
        folder = tmp_path / f"{kind}-{architecture}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"none")
        digest = hashlib.sha256(b"none").hexdigest()
        rows = "\n".join(
            f'[[outputs.labels]]\nnumber = {3 * n}\nname = "{name}"'
            for n, name in enumerate(labels, 1)
        )
        text = CARD.format(
            id=folder.name, kind=kind, maps=maps, labels=rows, architecture=architecture,
            arguments=arguments, digest=digest,
        )  # fmt: skip
        (folder / "card.toml").write_text(text)
        return InstalledModel(load_card(folder), folder)

    return make


@pytest.fixture(scope="module")
def worker():
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(HERE), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        with WorkerClient([sys.executable, str(HERE / "kinds_worker.py")]) as client:
            yield client


def ended(run, kind=SegmentAnswer):
    outcome = run.wait(WAIT_S)
    assert isinstance(outcome, kind), outcome
    return outcome


def test_uncertainty_and_picture_come_back_on_the_grid_of_the_image(worker, model):
    volume, truth = make_head((64, 72, 60), (2.0, 2.0, 2.0))
    card = model("deviation", maps='["uncertainty", "picture"]')
    answer = ended(worker.segment(volume, card))
    assert answer.uncertainty.shape == answer.picture.shape == truth.shape
    assert answer.picture.min() >= -1.01
    assert answer.picture[0, 0, 0] == pytest.approx(-1, abs=0.05)  # background, not grey
    assert answer.picture[truth].max() < 0.3  # the lesions are gone from the picture
    assert answer.probability[truth].mean() > 0.6
    background, peak = answer.facts["image_scale"]
    assert background == pytest.approx(0, abs=40)
    assert peak == pytest.approx(300, abs=30)


def test_maps_the_card_does_not_name_are_not_carried(worker, model):
    answer = ended(worker.segment(make_head()[0], model("lesions")))
    assert answer.uncertainty is None
    assert answer.picture is None
    assert answer.facts["sentences"] == ["Told."]


def test_several_labels_give_each_voxel_its_likeliest_one(worker, model):
    volume, truth = make_head()
    tissue = model("tissue", labels=("Bright", "Brain", "Nothing"))
    answer = ended(worker.segment(volume, tissue))
    assert answer.probability.shape == (3, *truth.shape)
    assert (answer.mask[truth] == 3).mean() > 0.7  # number of the first label
    brain = (volume.voxels > 150) & ~truth
    assert (answer.mask[brain] == 6).mean() > 0.8
    assert answer.mask[0, 0, 0] == 0
    assert set(np.unique(answer.mask)) == {0, 3, 6}
    assert "threshold" not in dict(answer.provenance.settings)


def test_another_image_is_placed_by_patient_coordinates(worker, model):
    volume, _ = make_head()
    fine, _ = make_head((90, 100, 84), (1.4, 1.4, 1.4), sequence="T1w")
    other = replace(fine, id="t1", name="T1")
    card = model("lesions")
    answer = ended(worker.segment(volume, card, others={"T1w": other}))
    assert answer.used == (("FLAIR", "v1"), ("T1w", "t1"))
    assert dict(answer.provenance.settings)["images"] == "FLAIR + T1w"
    assert -0.4 < answer.facts["T1w"] < 0.4  # brain lies at 0 on the scale of the first image
    away = replace(other, geometry=Geometry(fine.geometry.shape, shifted(fine.geometry.affine)))
    missed = ended(worker.segment(volume, card, others={"T1w": away}))
    assert missed.facts["T1w"] != answer.facts["T1w"]


def shifted(affine: np.ndarray) -> np.ndarray:
    moved = affine.copy()
    moved[:3, 3] += 60.0
    return moved


def test_images_a_card_does_not_know_are_refused(worker, model):
    volume, _ = make_head()
    with pytest.raises(BadInput, match="no use for another image 'T2w'"):
        worker.segment(volume, model("lesions"), others={"T2w": volume})
    two = model("presence")
    needs = tuple(replace(need, required=True) for need in two.card.inputs)
    with pytest.raises(BadInput, match="also needs the T1w"):
        worker.segment(volume, replace(two, card=replace(two.card, inputs=needs)))


def test_a_model_that_cannot_explain_says_so_and_answers_all_the_same(worker, model):
    volume, _ = make_head()
    answer = ended(worker.segment(volume, model("tissue", labels=("A", "B", "C")), explain=True))
    assert answer.mask.any()
    assert "This model does not explain itself." in answer.notes


def test_a_yes_or_no_marks_nothing_and_explains_the_whole_head(worker, model):
    answer = ended(worker.segment(make_head()[0], model("presence"), explain=True))
    assert not answer.mask.any()
    assert answer.heatmap.max() == pytest.approx(1)


def test_a_wrong_image_is_told_by_its_pixels(worker, model, shared_data):
    from imaging.open import load_series, scan

    (path,) = shared_data.glob("stroke_unlabelled_t2_flair/arc_M2265_T2w.nii.gz")
    with scan([path]) as found:
        volume = load_series(found.series[0])
    small = replace(
        volume, source=Source("nifti", sequence="FLAIR"), voxels=volume.voxels[::2, ::2, ::2],
        geometry=Geometry(*halved(volume.geometry)),
    )  # fmt: skip
    for sequence, told in (("FLAIR", True), ("T2w", False)):
        made = model("lesions", arguments=f'x = "{sequence}"', architecture="plain")
        text = (made.folder / "card.toml").read_text().replace('"any"', f'"{sequence}"')
        (made.folder / "card.toml").write_text(text)
        fresh = InstalledModel(load_card(made.folder), made.folder)
        answer = ended(worker.segment(small, fresh))
        assert any("look like T2w" in note for note in answer.notes) is told
        made.folder.rename(made.folder.with_name(f"used-{sequence}"))


def halved(geometry: Geometry):
    affine = geometry.affine.copy()
    affine[:3, :3] *= 2
    return tuple(-(-n // 2) for n in geometry.shape), affine


def test_a_run_without_memory_is_an_honest_end(worker, model):
    outcome = worker.segment(make_head()[0], model("lesions", arguments="greedy = true"))
    assert "out of memory" in ended(outcome, Failed).what


def test_a_run_of_any_kind_can_be_cancelled(worker, model):
    tissue = model("tissue", labels=("A", "B", "C"), arguments="slow = 900")
    started: list = []
    run = worker.segment(make_head()[0], tissue, on_progress=started.append)
    end = time.monotonic() + WAIT_S
    while not any(p.stage == "Running the model" for p in started) and time.monotonic() < end:
        time.sleep(0.02)
    assert worker.busy
    run.cancel()
    ended(run, Cancelled)


# --- clicks ----------------------------------------------------------------------------------
def two_levels():
    """100 everywhere, 300 in one block, 500 in another; stored with slope 2."""
    volume, _ = make_head((40, 44, 48), (2.0, 1.0, 1.0))
    voxels = np.full(volume.geometry.shape, 100, np.int16)
    voxels[10:16, 10:16, 10:16] = 300
    voxels[10:16, 10:16, 20:26] = 500
    return replace(volume, voxels=(voxels // 2).astype(np.int16), slope=2.0)


CROP = Box((8, 8, 8), (30, 30, 30))


@pytest.fixture
def follower(model):
    return model("click", "follower")


def test_a_click_gives_the_thing_pointed_at_on_the_cut_out(worker, follower):
    volume = two_levels()
    answer = ended(worker.click(volume, follower, CROP, [(12, 12, 12, 1)]), ClickAnswer)
    assert answer.start == CROP.start
    assert answer.mask.shape == CROP.shape
    real = volume.voxels[CROP.slices] * 2
    np.testing.assert_array_equal(answer.mask, real == 300)
    assert answer.provenance.digest == follower.card.weights_sha256


def test_all_that_was_said_about_the_thing_travels_with_the_click(worker, follower):
    volume = two_levels()
    real = volume.voxels[CROP.slices] * 2
    previous = real == 500
    scribble = np.zeros(CROP.shape, np.int8)
    scribble[:, :, :4] = -1
    box = Box((0, 0, 0), (13, 40, 40))  # reaches beyond the cut-out
    answer = ended(
        worker.click(
            volume, follower, CROP, [(12, 12, 12, 1)], previous=previous, scribble=scribble, box=box
        ),
        ClickAnswer,
    )
    expected = (real == 300) | previous
    expected[:, :, :4] = False
    expected[5:] = False
    np.testing.assert_array_equal(answer.mask, expected)


def test_a_cut_out_is_kept_inside_the_image(worker, follower):
    crop = Box((8, 12, 14), (60, 60, 60))
    answer = ended(worker.click(two_levels(), follower, crop, [(12, 13, 22, 1)]), ClickAnswer)
    assert answer.mask.shape == (32, 32, 34)
    assert answer.mask.sum() == 6 * 4 * 6
    with pytest.raises(BadInput, match="outside the image"):
        worker.click(two_levels(), follower, Box((99, 0, 0), (120, 9, 9)), [(99, 1, 1, 1)])
    with pytest.raises(BadInput, match="part of the image"):
        worker.click(two_levels(), follower, CROP, [], previous=np.zeros((2, 2, 2)))


def test_clicks_and_searches_are_not_mixed_up(worker, model, follower):
    volume = two_levels()
    with pytest.raises(BadInput, match="does not follow clicks"):
        worker.click(volume, model("lesions"), CROP, [(12, 12, 12, 1)])
    with pytest.raises(BadInput, match="does not search by itself"):
        worker.segment(volume, follower)


def test_a_click_between_two_runs_throws_nothing_away(worker, model, follower):
    """The big model, its prepared image and the click model stay loaded side by side."""
    volume, _ = make_head()
    lesions = model("lesions")
    ended(worker.segment(volume, lesions))
    assert isinstance(worker.load(follower).wait(WAIT_S), LoadAnswer)
    ended(worker.click(two_levels(), follower, CROP, [(12, 12, 12, 1)]), ClickAnswer)
    stages: list[str] = []
    ended(worker.segment(volume, lesions, on_progress=lambda p: stages.append(p.stage)))
    assert not any(words.startswith(("Starting", "Resampling")) for words in stages)
    stages.clear()
    ended(
        worker.click(
            two_levels(), follower, CROP, [(12, 12, 12, 1)],
            on_progress=lambda p: stages.append(p.stage),
        ),
        ClickAnswer,
    )  # fmt: skip
    assert not any(words.startswith("Starting") for words in stages)
    assert not worker.busy


def test_a_card_with_two_inputs_of_one_name_is_refused(model):
    made = model("lesions")
    text = (made.folder / "card.toml").read_text().replace('name = "T1w"', 'name = "FLAIR"')
    (made.folder / "card.toml").write_text(text)
    with pytest.raises(BadInput, match="same name"):
        load_card(made.folder)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('kind = "lesions"', 'kind = "magic"', "'kind' must be one of"),
        ("maps = []", 'maps = ["aura"]', "'outputs.maps'"),
        ('sequence = "any"', 'sequence = "any"\nrequired = false', "required image"),
    ],
)
def test_impossible_cards_are_refused_by_name(model, before, after, words):
    made = model("lesions")
    text = (made.folder / "card.toml").read_text()
    assert before in text
    (made.folder / "card.toml").write_text(text.replace(before, after))
    with pytest.raises(BadInput, match=words):
        load_card(made.folder)


def test_sequences_of_an_input_are_told_apart():
    assert InputNeed("x", "T1w, T2w or FLAIR").sequences == ("T1w", "T2w", "FLAIR")
    assert InputNeed("x", "any MR contrast").sequences == ()
