"""The click network: how hints reach it, that it learns, that its package runs in the worker."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_head

from imaging.geometry import Box
from inference.card_reading import load_card
from inference.click_input import CHANNELS, alike, local_scale, spots, stacked
from inference.messages import ClickAnswer
from inference.model import Clicks, SourceImage
from inference.registry import InstalledModel
from inference.training.clicks.hand import first_click, next_click
from inference.training.clicks.synthesis import Room, Thing, Things, patients


def room() -> Room:
    """A smooth made-up head."""
    rng = np.random.default_rng(0)
    image = 0.5 + 0.02 * rng.standard_normal((64, 64, 64)).astype(np.float32)
    return Room("made up", image, np.argwhere(np.ones((40, 40, 40), bool)).astype(np.int32) + 12)


def mask_bank() -> list:
    mask = np.zeros((30, 30, 30), np.uint8)
    mask[10:15, 10:16, 10:14] = 1
    mask[20:23, 20:22, 8:12] = 1
    return [[mask], [mask], [mask]]


def things(seed: int = 0) -> Things:
    return Things([room()], mask_bank(), seed)


# --- what goes in ---------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e4), st.floats(-20, 20))
def test_the_scale_does_not_know_the_unit(seed, gain, lift) -> None:
    image = np.random.default_rng(seed).random((9, 8, 7))
    assert np.allclose(local_scale(image), local_scale(gain * (image + lift)), atol=0.02)
    assert np.abs(local_scale(image)).max() <= 1.5
    assert not local_scale(np.full((4, 4, 4), lift)).any()


def test_clicks_are_bells_and_likeness_is_of_value() -> None:
    bells = spots((20, 20, 20), [(5.0, 6.0, 7.0), (-3.0, 0.0, 0.0)])
    assert bells[5, 6, 7] == 1
    assert 0.85 < bells[5, 6, 8] < 0.9
    image = np.zeros((12, 12, 12), np.float32)
    image[:6] = 1
    like = alike(image, [(2.0, 5.0, 5.0)])
    assert like[:6].min() == 1
    assert like[6:].max() < 1e-4
    both = stacked(image, [(2.0, 5.0, 5.0)], [(9.0, 5.0, 5.0)])
    assert both.shape == (CHANNELS, 12, 12, 12)
    assert np.array_equal(both[5], like)


# --- the simulated hand ---------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_a_click_lies_on_the_largest_error(seed) -> None:
    rng = np.random.default_rng(seed)
    truth, found = rng.random((2, 8, 9, 10)) > 0.6
    click = next_click(truth, found, rng)
    assert click is not None
    assert (truth ^ found)[click.at]
    assert click.wanted == truth[click.at]
    assert next_click(truth, truth, rng) is None
    assert truth[first_click(truth, rng).at]


# --- what it learns from --------------------------------------------------------------------


def test_a_thing_is_one_piece_in_a_picture_and_comes_again_from_the_same_seed() -> None:
    one, again = things(5).sample(32), things(5).sample(32)
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.truth, again.truth)
    from inference.training.shared.cases import components

    source = things(1)
    for _ in range(6):
        thing = source.sample(32)
        assert thing.image.shape == thing.truth.shape == (32, 32, 32)
        assert components(thing.truth)[1] == 1
        assert np.isfinite(thing.image).all()


def test_patients_who_judge_are_in_no_bank() -> None:
    training, kept = patients(), patients(validation=True)
    assert len(training) == 16
    assert not {"07", "19"} & {*training, *kept}
    assert not {*training} & {*kept}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny network after 20 steps, as a checkpoint."""
    from inference.training.clicks.train import Settings, Trainer
    from inference.training.clicks.train import run as train

    out = tmp_path_factory.mktemp("run")
    small = Settings(
        channels=(4, 6, 8), thin=4, edges=(16,), batches=(2,), shares=(1.0,), waiting=(4,)
    )
    source = things()
    source.sample = lambda edge: _ball_thing(source.rng, edge)  # type: ignore[method-assign]
    trainer = Trainer(source, small)
    losses = [trainer.step(0.0) for _ in range(8)]
    train(trainer, out, 1.0, 1.0, 20)
    return out, trainer, losses


def _ball_thing(rng: np.random.Generator, edge: int) -> Thing:
    grid = np.indices((edge,) * 3) - edge // 2
    truth = (grid**2).sum(0) < rng.uniform(2, 5) ** 2
    return Thing((truth - 0.5 + rng.normal(0, 0.05, truth.shape)).astype(np.float32), truth)


def test_training_learns_clicks_and_goes_on_after_a_kill(run) -> None:
    from inference.training.clicks.train import Trainer

    out, trainer, losses = run
    assert trainer.steps == 20
    assert any(example.clicks > 1 for example in trainer.waiting[16])
    again = Trainer(things(), trainer.settings)
    again.load(out / "checkpoint.pt")
    assert again.steps == 20
    for name, value in again.network.state_dict().items():
        assert np.allclose(value, trainer.network.state_dict()[name])
    assert np.mean([again.step(0.5) for _ in range(1)]) < max(losses)


@pytest.fixture
def package(run, tmp_path) -> InstalledModel:
    """The tiny network, packaged as the real one is."""
    from inference.training.clicks.package import write_package

    part = {
        "after_1": {"mean": 0.1, "interval": [0.0, 0.2]},
        "after_3": {"mean": 0.2, "interval": [0.1, 0.3]},
        "after_5": {"mean": 0.3, "interval": [0.2, 0.4]},
        "clicks_to_0.8": 6.0, "cpu_seconds": 0.1,
    }  # fmt: skip
    group = {"n": 3, "network": part, "classic": part}
    figures = {
        "lesions": {"all": group}, "ventricles": {"all": group}, "made_up": {"all": group},
        "gate": "not passed",
        "run": {"steps": 20, "cpu_minutes": 0.1, "settings": {"seed": 0}},
    }  # fmt: skip
    folder = tmp_path / "click"
    card = write_package(run[0] / "checkpoint.pt", json.loads(json.dumps(figures)), folder)
    assert card.exists()
    return InstalledModel(load_card(folder), folder, True, "")


def test_the_package_answers_on_the_grid_of_any_cut_out(package) -> None:
    from inference.engine import load_runner
    from inference.reports import Quiet

    runner = load_runner(package.folder, "cpu", Quiet())  # type: ignore[arg-type]
    for shape, spacing in (
        ((9, 40, 38), (4.0, 0.7, 0.7)),
        ((1, 50, 44), (5, 1, 1)),
        ((90, 7, 30), (2, 2, 2)),
    ):
        affine = np.eye(4)[[2, 1, 0, 3]] * [*spacing, 1]
        image = SourceImage(np.random.default_rng(0).random(shape), affine)
        point = tuple(n / 2 for n in shape)
        box = Box((0, 0, 0), shape)
        previous = np.ones(shape, bool)
        scribble = np.zeros(shape, np.int8)
        scribble[0, 1, 1] = -1
        found = runner.click(Clicks(image, ((*point, 1),), box, scribble, previous), Quiet())
        assert found.shape == shape
        assert 0 <= found.min() <= found.max() <= 1
        again = runner.click(Clicks(image, ((*point, 1),), box, scribble, previous), Quiet())
        assert np.array_equal(found, again)


def test_the_cut_out_comes_back_where_it_was() -> None:
    from inference.plugins.click import _Cubic

    shape, spacing = (12, 50, 40), (4.0, 0.8, 1.1)
    grid = _Cubic(shape, spacing, 1.0, 16)
    k, j, i = (g - c for g, c in zip(np.indices(shape), (6, 20, 25), strict=True))
    blob = np.exp(-((k * 4.0 / 7) ** 2) - (j * 0.8 / 7) ** 2 - (i * 1.1 / 7) ** 2)
    there = grid.bring(blob.astype(np.float32))
    assert there.shape == grid.cubes
    peak = np.unravel_index(there.argmax(), there.shape)
    assert np.abs(grid.at(np.array([[6.0, 20.0, 25.0]]))[0] - peak).max() < 1
    assert np.abs(grid.take_back(there) - blob).max() < 0.15


def test_the_worker_follows_a_click(client, package) -> None:
    volume, _ = make_head()
    crop = Box((10, 10, 10), (42, 44, 40))
    answer = client.click(volume, package, crop, [(26.0, 27.0, 25.0, 1)]).wait(240)
    assert isinstance(answer, ClickAnswer)
    assert answer.start == crop.start
    assert answer.mask.shape == crop.shape
    assert answer.provenance.algorithm == "Click network"
    assert replace(package.card).kind == "click"
