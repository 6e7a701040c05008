"""Is anything there? Pairs that differ by lesions only, a calibrated answer, and its evidence."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import ndimage
from small_heads import ListPool, make_head_at_2mm

from imaging.geometry import Geometry
from imaging.volume import Source, Volume
from inference.card_reading import load_card
from inference.devices import CPU, choose_device
from inference.model import PRESENCE, SourceImage
from inference.plugins.monai_nets import store
from inference.plugins.presence import SPOT, SURE, Presence, SoftMaximum, Sorter, verdict
from inference.registry import suitable
from inference.selftest import phantom
from inference.training.presence import train
from inference.training.presence.evaluate import (
    area_under_curve,
    calibration,
    chance_of,
    dose_response,
)
from inference.training.presence.package import write_package
from inference.training.presence.train import (
    Pairs,
    load_classifier,
    pair,
)
from inference.training.shared.lesion_load import lesion_load, thinned
from inference.training.shared.small_run import Plan, SmallRun

SMALL = {**train.ARGUMENTS, "block_inplanes": [4, 6, 8, 8]}
RESTORER = {"outputs": 2, "channels": [4, 8], "thin": 4}
FACTS = {"arguments": SMALL, "restorer": RESTORER, "restorer_steps": 7}


class Quiet:
    """A report nobody reads."""

    def stage(self, words, share): ...
    def step(self, fraction): ...
    def note(self, sentence): ...


def test_the_soft_maximum_lies_between_mean_and_maximum():
    x = torch.randn(3, 5, 4, 6, 5)
    soft = SoftMaximum()(x)
    assert (soft <= x.amax((2, 3, 4)) + 1e-5).all()
    assert (soft >= x.mean((2, 3, 4)) - 1e-5).all()
    x[0, 0, 2, 3, 1] = 30
    assert SoftMaximum()(x)[0, 0] > 25


def test_lesions_are_taken_whole_until_the_load_is_reached():
    head = make_head_at_2mm(3)
    share = head.lesions[0]
    everything = lesion_load(share)
    for wanted in (0.05, 0.2, 0.5, 100.0):
        some = thinned(np.random.default_rng(0), share, wanted)
        assert ((some == 0) | (some == share)).all()
        assert lesion_load(some) <= min(1.3 * wanted + 0.02, everything) + 1e-6
    assert lesion_load(thinned(np.random.default_rng(0), share, 100.0)) == everything


def test_a_pair_differs_by_its_lesions_only():
    head = make_head_at_2mm(0)
    for seed in range(5):
        without, with_lesions, load = pair(np.random.default_rng(seed), head)
        difference = np.abs(with_lesions - without)
        either = np.maximum(*head.lesions)
        either = np.maximum(either, either[..., ::-1])  # the pair may be mirrored
        assert load > 0
        assert difference[either > 0.9].max() > 0.02
        away = ~ndimage.binary_dilation(either > 0, iterations=3)
        assert difference[away].max() < 1e-3


def test_only_flair_heads_are_examples(monkeypatch):
    torch.manual_seed(0)
    sorter = Sorter(RESTORER, SMALL)
    flair, other = make_head_at_2mm(0), make_head_at_2mm(1, "T1w")
    asked = []
    monkeypatch.setattr(train, "pair", lambda rng, head: asked.append(head) or pair(rng, head))
    seen = train.examples(sorter, ListPool([other, flair]), 3, 0)
    assert all(head is flair for head in asked)
    assert seen.shape == (3, 2, SMALL["inputs"], *(n // 2 for n in flair.image.shape))


def test_a_spot_that_drowns_in_the_average_is_seen():
    sorter = Sorter(RESTORER, SMALL)
    x = torch.zeros(1, 1, 16, 16, 16)
    x[0, 0, 8, 7, 9] = 0.6
    maps = sorter.seen(x)[0]
    cell = (4, 3, 4)
    assert maps[0][cell] == pytest.approx(0.6 / 8)
    assert maps[2][cell] == pytest.approx(SPOT * 0.6 * (1 - 1 / 125), rel=1e-4)
    assert maps[2].max() == maps[2][cell]
    assert sorter.seen(x + 0.3)[0, 2] == pytest.approx(maps[2], abs=1e-5)  # wherever it is bright
    two = Sorter(RESTORER, {**SMALL, "inputs": 2})
    assert two.seen(x).shape[1] == 2


class Recorder(torch.nn.Module):
    """A residual network that keeps what it was shown, and answers the same to all."""

    def __init__(self):
        super().__init__()
        self.shown: list[np.ndarray] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.shown.append(x.numpy().copy())
        return torch.zeros(len(x), 1)


def test_both_heads_of_a_pair_are_varied_alike_and_lesions_stay():
    rng = np.random.default_rng(0)
    pairs = np.zeros((1, 2, 3, 16, 18, 16), np.float16)
    pairs[0] = rng.normal(0, 0.3, pairs.shape[2:])
    for spot in ((4, 5, 4), (12, 12, 11), (4, 13, 12)):
        pairs[0, 1, 0][spot] += 0.8
    sorter = Sorter(RESTORER, SMALL)
    sorter.net = Recorder()
    learn = Pairs(pairs, 2)
    for _ in range(20):
        assert float(learn(sorter, rng)) == pytest.approx(2 * np.log(2), abs=1e-4)
    counts = set()
    for batch in sorter.net.shown:
        for without, with_lesions in zip(batch[::2], batch[1::2], strict=True):
            difference = (with_lesions - without)[0]
            assert difference.sum() > train.LEAST_LIGHT * 0.7
            assert (difference > -1e-3).all()
            counts.add(int((difference > 0.3).sum()))
    assert counts >= {1, 2, 3}  # often only some of the lesions are left in


def test_the_loss_asks_for_lesions_above_none():
    class Asked(torch.nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = weight

        def forward(self, x):
            return self.weight * x[:, 1].amax((1, 2, 3))[:, None]

    pairs = np.zeros((1, 2, 3, 8, 8, 8), np.float16)
    pairs[0, 1, :, 3, 4, 3] = 1
    sorter = Sorter(RESTORER, SMALL)
    losses = []
    for weight in (-4.0, 0.0, 4.0):
        sorter.net = Asked(weight)
        losses.append(float(Pairs(pairs, 2)(sorter, np.random.default_rng(1))))
    assert losses[0] > losses[1] > losses[2]


def made_up_answers(rng: np.random.Generator, count: int = 400) -> list[dict[str, float]]:
    rows = []
    for number in range(count):
        rows.append({"head": number, "load_ml": 0.0, "logit": float(rng.normal(-0.5, 0.5))})
        rows.append(
            {"head": number, "load_ml": 3.0, "dose": 3.0, "logit": float(rng.normal(0.5, 0.5))}
        )
    return rows


def test_calibration_finds_the_true_odds():
    rows = made_up_answers(np.random.default_rng(0))
    slope, offset = calibration(rows)
    # Two normals of spread 0.5, one unit apart: log odds are 4 times the answer.
    assert slope == pytest.approx(4, rel=0.2)
    assert offset == pytest.approx(0, abs=0.25)
    assert chance_of(0.6, slope, offset) == pytest.approx(0.917, abs=0.04)
    table = dose_response(rows, slope, offset)
    assert [row["dose_ml"] for row in table] == [0.0, 3.0]
    assert table[0]["called_present"] == pytest.approx(0.16, abs=0.05)
    assert table[1]["low"] < table[1]["called_present"] < table[1]["high"]
    assert area_under_curve(rows, 3.0) == pytest.approx(0.921, abs=0.03)


def test_the_words_say_how_sure_it_is():
    assert verdict(SURE, 0.5)["verdict"] == "present"
    assert verdict(1 - SURE, 0.5)["verdict"] == "absent"
    unsure = verdict(0.55, 0.5)
    assert unsure["verdict"] == "unsure"
    assert unsure["present"] is True
    assert "55%" in unsure["sentences"][0]


def test_train_package_run_explain(tmp_path):
    torch.manual_seed(0)
    network = Sorter(RESTORER, SMALL)
    run = SmallRun(network, Plan(1.0, warmup=2), tmp_path / "run", FACTS)
    before = network.restorer.state_dict()["head.weight"].clone()
    pool = ListPool([make_head_at_2mm(s) for s in range(2)])
    run.go(Pairs(train.examples(network, pool, 3, 0), 2), 5, 6)
    trained, facts = load_classifier(tmp_path / "run")
    assert torch.equal(trained.restorer.state_dict()["head.weight"], before)  # it only shows
    store(trained, tmp_path / "w.safetensors")
    table = [
        {"dose_ml": dose, "heads": 10, "called_present": share, "low": 0.1, "high": 0.9}
        for dose, share in ((0.0, 0.1), (1.0, 0.4), (3.0, 0.9))
    ]
    fitted = {"slope": 2.0, "offset": 0.5, "heads": 10, "error_before": 0.2, "error_after": 0.1}
    figures = {"run": facts, "calibration": fitted, "dose_response": table, "real": []}
    path = write_package(tmp_path / "w.safetensors", figures, tmp_path / "m")
    card = load_card(path.parent)
    assert card.kind == PRESENCE
    assert "smallest planted load seen in at least 80 % is 3 ml" in " ".join(card.limits)
    runner = Presence(card, path.parent, choose_device(CPU))
    volume = phantom()
    source = SourceImage(np.asarray(volume.voxels, np.float32), volume.geometry.affine)
    prepared = runner.prepare({"FLAIR": source})
    found = runner.find(prepared, Quiet())
    assert found.probability.shape == prepared.array.shape
    assert not found.probability.any()
    assert json.loads(json.dumps(found.facts)) == found.facts
    from inference.plugins.unlike import halved

    image = torch.from_numpy(halved(prepared.array))[None, None]
    with torch.inference_mode():
        expected = chance_of(float(trained(image)[0, 0]), 2.0, 0.5)
    assert found.facts["probability"] == pytest.approx(expected, abs=0.01)
    heat, start = runner.heat(prepared, np.ones(prepared.array.shape, bool), "coarse", Quiet())
    assert start == (0, 0, 0)
    assert heat.shape == prepared.array.shape
    assert heat.min() >= 0
    other = Volume(
        "v", "T2", volume.voxels, Geometry(volume.voxels.shape, volume.geometry.affine),
        Source("nifti", modality="MR", sequence="T2w"),
    )  # fmt: skip
    assert not suitable(card, other)[0]
