"""What normal would look like: planted things go, and the numbers mean what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import ndimage
from small_heads import SHAPE, ListPool, make_head_at_2mm

from imaging.errors import BadInput
from inference.card_reading import load_card
from inference.devices import CPU, choose_device
from inference.model import DEVIATION, SourceImage
from inference.plugins.deviation import (
    PASSES,
    SCALE,
    Deviation,
    Restored,
    asymmetry,
    brain_or_inside,
)
from inference.plugins.unet import UNet
from inference.selftest import phantom
from inference.training.deviation.evaluate import (
    best_dice_and_auprc,
    fit_threshold,
    network_of,
    save_weights,
)
from inference.training.deviation.package import write_package
from inference.training.deviation.train import Restoration, load_restorer, plant
from inference.training.shared.small_run import Plan, SmallRun


class Quiet:
    """A report that keeps its notes."""

    def __init__(self):
        self.notes: list[str] = []

    def stage(self, words, share): ...
    def step(self, fraction): ...
    def note(self, sentence):
        self.notes.append(sentence)


def small_network() -> UNet:
    torch.manual_seed(0)
    network = UNet(outputs=2, channels=(4, 8), thin=4)
    torch.nn.init.zeros_(network.head.weight)
    return network


def trained(folder, steps=12) -> SmallRun:
    network = small_network()
    run = SmallRun(network, Plan(1.0, warmup=2), folder, {"arguments": network.arguments})
    run.go(Restoration(ListPool([make_head_at_2mm(s) for s in range(2)]), (32, 32, 32)), 5, steps)
    return run


def test_only_what_is_said_to_be_changed_is_changed():
    for seed in range(12):
        head = make_head_at_2mm(seed % 3)
        image, changed = plant(np.random.default_rng(seed), head)
        far = ndimage.maximum_filter(changed, 5) == 0
        assert np.abs(image[far] - head.image[far]).max() < 0.04  # coarse noise fades out
        again, _ = plant(np.random.default_rng(seed), head)
        assert np.array_equal(image, again)


def test_a_piece_goes_on_where_the_last_one_stopped(tmp_path):
    run = trained(tmp_path, 6)
    spent = run.cpu_seconds
    again = trained(tmp_path, 10)
    assert again.steps == 10
    assert again.cpu_seconds > spent
    unet, facts = load_restorer(tmp_path)
    assert facts["steps"] == 10
    assert unet(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)


def test_a_budget_that_is_used_up_trains_no_more(tmp_path):
    trained(tmp_path, 4)
    network = small_network()
    run = SmallRun(network, Plan(1e-6), tmp_path, {"arguments": network.arguments})
    run.go(Restoration(ListPool([make_head_at_2mm()]), (32, 32, 32)), 5)
    assert run.steps == 4


def test_train_package_run(tmp_path):
    """Twenty steps, a threshold, a package, an answer."""
    trained(tmp_path / "run", 20)
    pool = ListPool([make_head_at_2mm(9), make_head_at_2mm(10)])
    network, facts = network_of(tmp_path / "run")
    made_up = fit_threshold(network, pool)
    save_weights(network, tmp_path / "w.safetensors")
    row = {"head": "one", "note": "took no part", "marked_ml": 1.0, "share_of_brain": 0.1}
    figures = {"run": facts, "made_up": made_up, "restoration": {}, "patients": []}
    path = write_package(tmp_path / "w.safetensors", {**figures, "unmarked": [row]}, tmp_path / "m")
    card = load_card(path.parent)
    assert card.kind == DEVIATION
    assert card.threshold * SCALE == pytest.approx(made_up["threshold_spreads"])
    runner = Deviation(card, path.parent, choose_device(CPU))
    volume = phantom()
    report = Quiet()
    source = SourceImage(np.asarray(volume.voxels, np.float32), volume.geometry.affine)
    prepared = runner.prepare({"Head": source})
    found = runner.find(prepared, report)
    assert found.probability.shape == found.picture.shape == prepared.array.shape
    assert 0 <= found.probability.min() <= found.probability.max() <= 1
    assert -1 <= found.picture.min() <= found.picture.max() <= 2
    assert json.loads(json.dumps(found.facts)) == found.facts
    with pytest.raises(BadInput, match="picture of normal"):
        runner.heat(prepared, found.probability > 0, "coarse", report)


def test_every_pass_takes_out_a_part_of_what_is_left():
    network = Restored(outputs=2, channels=(4, 8), thin=4)
    seen = []

    class Half(torch.nn.Module):
        def forward(self, x):
            seen.append(x.clone())
            return torch.cat([-0.5 * x, torch.ones_like(x)], 1)

    network.net = Half()
    x = torch.full((1, 1, 4, 4, 4), 0.8)
    output = network(x)
    assert len(seen) == PASSES == 2
    assert torch.allclose(x + output[:, :1], x / 4)
    assert torch.equal(output[:, 1:], torch.ones_like(x))


def test_no_brain_no_asymmetry():
    assert asymmetry(make_head_at_2mm().image, np.zeros(SHAPE, bool))[1] == 0


def test_an_impossible_brain_becomes_the_inside_of_the_head():
    shape = (90, 100, 90)
    axes = [np.arange(n) - (n - 1) / 2 for n in shape]
    k, j, i = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(k**2 + j**2 + i**2)
    head = np.where(radius < 43, 0.0, -1.0).astype(np.float32)
    right = np.where(radius < 34, 5.0, -5.0)
    brain, known = brain_or_inside(head, right)
    assert known
    assert brain.sum() == pytest.approx((radius < 34).sum(), rel=0.02)
    for logit in (np.full(shape, -5.0), np.where(radius < 43, 5.0, -5.0)):
        brain, known = brain_or_inside(head, logit)
        assert not known
        assert brain.sum() == pytest.approx((radius < 36).sum(), rel=0.05)
    brain, known = brain_or_inside(np.full(shape, -1, np.float32), np.full(shape, -5.0))
    assert not known
    assert not brain.any()


@pytest.mark.parametrize("degrees", [0, 8])
def test_one_sided_things_are_unlike_the_other_side(degrees):
    head = make_head_at_2mm()
    image = head.image.copy()
    image[20:24, 40:44, 30:34] += 0.6
    both = head.image.copy()
    both[20:24, 40:44, 30:34] += 0.6
    both[20:24, 40:44, 48 - 34 : 48 - 30] += 0.6

    def asked(picture):
        def turned(array, fill):
            return ndimage.rotate(array, degrees, (1, 2), reshape=False, order=1, cval=fill)

        brain = turned(head.brain.astype(np.float32), 0.0) > 0.5
        return asymmetry(turned(picture, -1.0), brain)

    one_sided, symmetry = asked(image)
    assert symmetry > 0.9
    spot = np.unravel_index(np.argmax(one_sided), SHAPE)
    away = np.array(spot[1:]) - np.array(SHAPE[1:]) / 2 + 0.5
    angle = np.deg2rad(degrees)
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ away
    planted = np.array([41.5, 31.5]) - np.array(SHAPE[1:]) / 2 + 0.5
    assert min(np.linalg.norm(back - planted), np.linalg.norm(back.T - planted)) < 5
    assert one_sided.max() > 5
    assert asked(both)[0].max() < 0.5 * one_sided.max()


def test_best_dice_and_precision_match_the_slow_way():
    rng = np.random.default_rng(3)
    gold = rng.random((12, 12, 12)) < 0.1
    score = (gold * 0.4 + rng.random(gold.shape)).astype(np.float32)
    dice, area = best_dice_and_auprc(score, gold)
    slow = max(
        2 * (gold & (score >= t)).sum() / (gold.sum() + (score >= t).sum())
        for t in np.unique(score)
    )
    assert dice == pytest.approx(slow)
    order = np.argsort(-score.ravel())
    hits = gold.ravel()[order]
    precision = np.cumsum(hits) / np.arange(1, hits.size + 1)
    assert area == pytest.approx(precision[hits].mean())
