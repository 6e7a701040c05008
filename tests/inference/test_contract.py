"""What every installed model must keep: any grid in, the same grid out, sane and repeatable."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tiny_models import BALLS_MM, dice, make_head

from imaging.errors import ImagingError, WorldFailed
from imaging.geometry import Box
from imaging.heatmap import GRAD_CAM, PROBABILITY, UNCERTAINTY
from inference.devices import is_out_of_memory
from inference.engine import load_runner
from inference.messages import Cancelled, ClickAnswer, SegmentAnswer
from inference.model import CLICK, DEVIATION, LESIONS, PRESENCE, TISSUE, SourceImage
from inference.postprocess import as_items
from inference.registry import installed_models
from inference.selftest import phantom

WAIT_S = 240
AXES = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)  # k, j, i to superior, posterior, left
SAGITTAL = np.array([[-1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
TILT = Rotation.from_euler("xyz", [14, -9, 21], degrees=True).as_matrix()

GRIDS = {
    "plain": ((64, 72, 60), (2.0, 2.0, 2.0), AXES),
    "fine": ((110, 130, 110), (1.1, 1.0, 1.05), AXES),
    "thick slices": ((34, 120, 110), (3.6, 1.1, 1.1), AXES),
    "sagittal, flipped": ((60, 64, 72), (2.0, 2.0, 2.0), SAGITTAL),
    "left-handed": ((64, 72, 60), (2.0, 2.0, 2.0), AXES * [1, 1, -1]),
    "oblique": ((70, 80, 70), (1.9, 1.8, 1.7), TILT @ AXES),
    "oblique, permuted, anisotropic": ((130, 40, 120), (1.0, 3.2, 1.1), TILT @ AXES[:, [2, 0, 1]]),
}  # fmt: skip


def near(mask, geometry, centre, radius):
    """Mean place (LPS mm) of the marked voxels near a point."""
    points = geometry.world(np.argwhere(mask))
    return points[np.linalg.norm(points - centre, axis=1) < radius].mean(axis=0)


@pytest.mark.parametrize("name", GRIDS)
def test_the_answer_lies_on_the_lesions_of_any_grid(client, tiny_model, name):
    shape, spacing, directions = GRIDS[name]
    volume, truth = make_head(shape, spacing, directions)
    answer = client.segment(volume, tiny_model, explain=True).wait(WAIT_S)
    assert isinstance(answer, SegmentAnswer)
    assert answer.mask.shape == answer.probability.shape == shape
    # Preprocessing blurs edges by 0.7 voxel.
    assert dice(answer.mask, truth) > (0.7 if max(spacing) > 3 else 0.82)
    for *centre, radius in BALLS_MM:  # mm: no half-voxel shift on the way
        marked, wanted = (
            near(m, volume.geometry, centre, radius + 6) for m in (answer.mask, truth)
        )
        assert np.linalg.norm(marked - wanted) < 0.6
    assert 0 <= answer.heatmap.min() <= answer.heatmap.max() <= 1
    assert answer.heatmap[truth].mean() > 5 * answer.heatmap[~truth].mean()


def test_a_head_partly_outside_the_field_of_view_is_no_problem(client, tiny_model):
    volume, _ = make_head((20, 72, 60))
    answer = client.segment(volume, tiny_model, explain=True).wait(WAIT_S)
    assert isinstance(answer, SegmentAnswer)
    assert answer.mask.shape == (20, 72, 60)


def test_an_image_without_a_finding_stays_empty_and_says_why_nothing_is_explained(
    client, tiny_model
):
    volume, truth = make_head()
    stored = volume.voxels.copy()
    stored[truth] = 300
    plain = type(volume)("v", "Plain", stored, volume.geometry, volume.source)
    answer = client.segment(plain, tiny_model, explain=True).wait(WAIT_S)
    assert not answer.mask.any()
    assert not answer.heatmap.any()
    assert any("nothing to explain" in note for note in answer.notes)


def test_voxels_without_a_number_become_background(client, tiny_model):
    volume, truth = make_head()
    stored = volume.voxels.astype(np.float32)
    stored[:2] = np.nan
    stored[-1, -1, -1] = np.inf
    holed = type(volume)("v", "Holed", stored, volume.geometry, volume.source)
    answer = client.segment(holed, tiny_model).wait(WAIT_S)
    assert dice(answer.mask, truth) > 0.9
    assert any("held no number" in note for note in answer.notes)
    again = client.segment(holed, tiny_model).wait(WAIT_S)  # prepared before, and still said
    assert again.notes == answer.notes


@pytest.mark.parametrize("kind", [np.uint8, ">i2", np.uint16, np.int32, np.float64])
def test_any_kind_of_number_gives_the_same_finding(client, tiny_model, kind):
    volume, truth = make_head()
    stored = np.clip(volume.voxels.astype(float) / 3 + 20, 0, 255).astype(kind)
    other = type(volume)("v", "Other", stored, volume.geometry, volume.source)
    answer = client.segment(other, tiny_model).wait(WAIT_S)
    assert dice(answer.mask, truth) > 0.9


INSTALLED = installed_models()
SEARCHING = [model for model in INSTALLED if model.card.kind != CLICK]
CLICKING = [model for model in INSTALLED if model.card.kind == CLICK]
#: What a model of each kind gives, by meaning of map; a mask where marked.
GIVES = {
    LESIONS: {PROBABILITY, UNCERTAINTY, GRAD_CAM},
    TISSUE: {UNCERTAINTY, GRAD_CAM},
    DEVIATION: {"deviation", "picture", UNCERTAINTY, GRAD_CAM},
    PRESENCE: {GRAD_CAM},
}
#: What it must give of these, asked to explain itself where it can.
MUST = {
    LESIONS: {PROBABILITY},
    TISSUE: set(),
    DEVIATION: {"deviation", "picture"},
    PRESENCE: {GRAD_CAM},
}


def usable(model):
    if not model.available:
        pytest.skip(model.reason)
    return model


@pytest.mark.parametrize("model", SEARCHING, ids=lambda m: m.card.id)
def test_each_installed_model_keeps_the_contract(client, model):
    usable(model)
    volume, card = phantom(), model.card
    explains = card.kind in (LESIONS, PRESENCE)
    first = client.segment(volume, model, explain=explains).wait(WAIT_S)
    assert isinstance(first, SegmentAnswer), first
    again = client.segment(volume, model).wait(WAIT_S)
    np.testing.assert_array_equal(first.probability, again.probability)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert json.loads(json.dumps(first.facts)) == json.loads(json.dumps(again.facts))
    assert first.provenance.digest == card.weights_sha256
    maps = (first.probability, first.uncertainty, first.heatmap)
    for values in (one for one in maps if one is not None):
        assert values.shape[-3:] == volume.geometry.shape
        assert 0 <= values.min() <= values.max() <= 1
    if first.probability.ndim == 4:
        assert len(first.probability) == len(card.labels)
        assert card.kind != TISSUE or first.probability.sum(axis=0).max() < 1.004
    assert set(np.unique(first.mask)) <= {0, *(label.number for label in card.labels)}
    for name in card.maps:
        assert getattr(first, name) is not None
    made = as_items(first, volume, card)
    assert {item.meaning for item in made.maps} >= MUST[card.kind]
    if explains:
        assert first.heatmap is not None
        # A mask without a voxel has nothing to explain; a yes or no always has.
        assert first.heatmap.any() or (card.kind == LESIONS and not first.mask.any())
    assert {item.meaning for item in made.maps} <= GIVES[card.kind]
    mask = made.segmentation
    assert (mask is not None) is (card.kind in (LESIONS, TISSUE))
    if mask is not None:
        assert mask.geometry.same_grid(volume.geometry)
        assert mask.draft is (card.kind == LESIONS)
        assert mask.anatomical is (card.kind == TISSUE)
    if card.kind == LESIONS and len(card.labels) == 1:
        assert mask.probability_id == made.probability.id


@pytest.mark.parametrize("model", SEARCHING, ids=lambda m: m.card.id)
def test_each_installed_model_can_be_cancelled(client, model):
    usable(model)
    volume = phantom()
    fresh = replace(volume, voxels=volume.voxels + np.float32(1.0))  # nothing of it is prepared
    told: list = []
    run = client.segment(fresh, model, on_progress=told.append)
    end = time.monotonic() + WAIT_S
    while not told and not run.ended and time.monotonic() < end:
        time.sleep(0.01)
    run.cancel()
    assert isinstance(run.wait(WAIT_S), Cancelled)


@pytest.mark.parametrize("model", SEARCHING, ids=lambda m: m.card.id)
def test_each_installed_model_is_honest_about_memory(model, monkeypatch):
    """In this process: every convolution says that there is no memory left."""
    usable(model)
    import torch

    def full(*_, **__):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    notes: list[str] = []
    report = SimpleNamespace(stage=lambda *_: None, step=lambda _fraction: None, note=notes.append)
    runner = load_runner(model.folder, "cpu", report)
    volume = phantom()
    name = model.card.required[0].name
    prepared = runner.prepare({name: SourceImage(volume.voxels, volume.geometry.affine)})
    for kind in ("conv2d", "conv3d"):
        monkeypatch.setattr(torch.nn.functional, kind, full)
    with pytest.raises((ImagingError, RuntimeError)) as caught:
        runner.find(prepared, report)
    words = str(caught.value)
    assert "memory" in words
    assert isinstance(caught.value, WorldFailed) or is_out_of_memory(caught.value)


@pytest.mark.parametrize("model", CLICKING, ids=lambda m: m.card.id)
def test_each_installed_click_model_keeps_the_contract(client, model):
    usable(model)
    volume = phantom()
    lesion = (47, 54, 54)  # the bright spot on the patient's left
    crop = Box((30, 36, 36), (64, 72, 72))
    runs = [client.click(volume, model, crop, [(*lesion, 1)]) for _ in range(2)]
    first, again = (run.wait(WAIT_S) for run in runs)
    assert isinstance(first, ClickAnswer), first
    assert first.probability.shape == crop.shape
    assert 0 <= first.probability.min() <= first.probability.max() <= 1
    np.testing.assert_array_equal(first.probability, again.probability)
    k, j, i = (a - b for a, b in zip(lesion, crop.start, strict=True))
    assert first.mask[k, j, i]
    taken_back = client.click(
        volume, model, crop, [(*lesion, 1), (*lesion, -1)], previous=first.mask
    ).wait(WAIT_S)
    assert taken_back.probability[k, j, i] < first.probability[k, j, i]
