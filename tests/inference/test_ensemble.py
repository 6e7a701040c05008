"""Planes through a volume, and the ensemble: same place, calibrated, doubt where members differ."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import ARGUMENTS, dice, make_head, seeing_state, write_model

torch = pytest.importorskip("torch")
from imaging.errors import BadInput  # noqa: E402
from inference.card_reading import load_card  # noqa: E402
from inference.devices import choose_device  # noqa: E402
from inference.messages import SegmentAnswer  # noqa: E402
from inference.model import RunCancelled, SourceImage  # noqa: E402
from inference.plugins.ensemble import (  # noqa: E402
    Ensemble,
    calibrated,
    case_facts,
    doubt,
    soft_dice_confidence,
)
from inference.plugins.planes import Planes, plane_probability  # noqa: E402
from inference.plugins.unet import UNet, fold_batchnorm  # noqa: E402
from inference.registry import InstalledModel  # noqa: E402


class Heard:
    """Keeps what a run says; may stop it."""

    def __init__(self, stop_at: float = 2.0) -> None:
        self.steps: list[float] = []
        self.notes: list[str] = []
        self._stop_at = stop_at

    def stage(self, words: str, share: float) -> None:
        """Not wanted here."""

    def step(self, fraction: float) -> None:
        self.steps.append(fraction)
        if fraction >= self._stop_at:
            raise RunCancelled

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


def plane_state() -> dict:
    """The hand-made network of volumes, cut to one plane."""
    flat = {}
    for name, value in seeing_state().items():
        if value.ndim == 5:
            # The middle of a 3-edge kernel; all of a stride-2 one, which averages.
            value = value[:, :, 1] if value.shape[2] == 3 else value[:, :, 0]
            if name.startswith("stem.0") or (".0.conv" in name):
                value = value * 2
        flat[name] = value.contiguous()
    return flat


def rewritten(folder: Path, **changes: str) -> Path:
    """Replace lines of a card."""
    path = folder / "card.toml"
    text = path.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A network of volumes, one of planes and the ensemble of both."""
    root = tmp_path_factory.mktemp("models")
    write_model(root / "tiny", seeing_state())
    folder = write_model(root / "tiny-planes", plane_state(), id="tiny-planes")
    text = (folder / "card.toml").read_text(encoding="utf-8")
    text = text.replace('architecture = "unet"', 'architecture = "planes"')
    text = text.replace("thin = 4", 'thin = 4, dims = 2, directions = ["axial", "coronal"]')
    (folder / "card.toml").write_text(text, encoding="utf-8")
    digests = {i: load_card(root / i).weights_sha256 for i in ("tiny", "tiny-planes")}
    text = text.split("[network]")[0].replace('"tiny-planes"', '"both"')
    text = text.replace("[outputs]\n", '[outputs]\nmaps = ["uncertainty"]\n')
    text += "[network]\narchitecture = 'ensemble'\n"
    text += "[network.arguments]\nslope = 1.2\noffset = 0.1\nmirrored = ['tiny']\n"
    for id, digest in digests.items():
        text += f"[[network.members]]\nid = {json.dumps(id)}\nsha256 = '{digest}'\n"
    (root / "both").mkdir()
    (root / "both" / "card.toml").write_text(text, encoding="utf-8")
    return root


def runner(models: Path, id: str):
    kind = {"tiny-planes": Planes, "both": Ensemble}[id]
    return kind(load_card(models / id), models / id, choose_device("cpu"))


def prepared(one, volume):
    return one.prepare({"FLAIR": SourceImage(volume.voxels.astype(float), volume.geometry.affine)})


def test_planes_find_the_balls_and_tell_their_progress(models):
    one = runner(models, "tiny-planes")
    volume, _ = make_head()
    ready, heard = prepared(one, volume), Heard()
    chance = one.find(ready, heard).probability
    truth = ready.array > 0.5
    assert truth.sum() > 100
    assert dice(chance > 0.5, truth) > 0.8
    assert heard.steps == sorted(heard.steps)
    assert heard.steps[-1] == pytest.approx(1.0)


def test_a_run_of_planes_can_be_taken_back(models):
    one = runner(models, "tiny-planes")
    with pytest.raises(RunCancelled):
        one.find(prepared(one, make_head()[0]), Heard(stop_at=0.3))


def test_evidence_of_planes_lies_on_the_finding(models):
    one = runner(models, "tiny-planes")
    ready = prepared(one, make_head()[0])
    target = ready.array > 0.5
    heat, start = one.heat(ready, target, "fine", Heard())
    whole = np.zeros(ready.array.shape, np.float32)
    whole[tuple(slice(s, s + n) for s, n in zip(start, heat.shape, strict=True))] = heat
    assert whole[target].mean() > 5 * whole[~target].mean()


def test_planes_left_out_lie_between_their_neighbours_and_air_has_no_lesion():
    torch.manual_seed(0)
    network = fold_batchnorm(UNet(**{**ARGUMENTS, "outputs": 2}, dims=2))
    head = np.full((21, 37, 26), -1, np.float32)
    head[4:17, 8:30, 5:20] = 0
    every = plane_probability(network, head, ("axial",), Heard(), step=1)
    second = plane_probability(network, head, ("axial",), Heard(), step=2)
    assert every.shape == (2, 21, 37, 26)
    assert not every[:, :4].any()
    assert not every[:, 17:].any()
    np.testing.assert_allclose(second[:, 4:17:2], every[:, 4:17:2], atol=1e-6)
    np.testing.assert_allclose(second[:, 5], (every[:, 4] + every[:, 6]) / 2, atol=1e-6)


def test_an_unknown_direction_is_refused(models, tmp_path):
    folder = Path(shutil.copytree(models / "tiny-planes", tmp_path / "tiny-planes"))
    rewritten(folder, coronal="backwards")
    with pytest.raises(BadInput, match="do not fit"):
        Planes(load_card(folder), folder, choose_device("cpu"))


def test_the_ensemble_answers_through_the_worker_with_doubt_and_a_sentence(client, models):
    volume, truth = make_head()
    model = InstalledModel(load_card(models / "both"), models / "both")
    answer = client.segment(volume, model, explain=True).wait(240)
    assert isinstance(answer, SegmentAnswer), answer
    assert dice(answer.mask, truth) > 0.8
    assert 0 <= answer.uncertainty.min() < answer.uncertainty.max() <= 1
    edge = (answer.probability > 0.2) & (answer.probability < 0.8)
    assert answer.uncertainty[edge].mean() > 5 * answer.uncertainty[~edge].mean()
    assert answer.facts["findings"] == 2
    assert "the members disagree" in answer.facts["sentences"][0]
    assert answer.heatmap[truth].mean() > 5 * answer.heatmap[~truth].mean()


def test_mirrored_passes_come_back_to_their_own_side(models):
    one = runner(models, "both")
    ready = prepared(one, make_head()[0])
    plain = one.members[0].find(ready, Heard()).probability
    one.mirrored = ("tiny",)
    both = one.find(ready, Heard()).probability
    # Balls of different size lie left and right: a flip left undone would mark four places.
    assert dice(both > 0.5, plain > 0.5) > 0.9


def test_other_weights_of_a_member_are_refused(models, tmp_path):
    for name in ("tiny", "tiny-planes", "both"):
        shutil.copytree(models / name, tmp_path / name)
    state = seeing_state()
    state["head.bias"] = state["head.bias"] - 1
    write_model(tmp_path / "tiny", state)
    with pytest.raises(BadInput, match="another version"):
        Ensemble(load_card(tmp_path / "both"), tmp_path / "both", choose_device("cpu"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("spacing_mm = 2.0", "spacing_mm = 1.0", "voxels of another size"),
        ('kind = "lesions"', 'kind = "presence"', "another kind"),
        ('id = "tiny"', 'id = "../tiny"', "small letters"),
    ],
)
def test_a_member_that_does_not_fit_is_refused(models, tmp_path, old, new, words):
    for name in ("tiny", "tiny-planes", "both"):
        shutil.copytree(models / name, tmp_path / name)
    both = tmp_path / "both"
    if "kind" in old:
        text = (both / "card.toml").read_text(encoding="utf-8")
        (both / "card.toml").write_text(f"{new}\n{text}", encoding="utf-8")
    else:
        rewritten(both, **{old: new})
    with pytest.raises(BadInput, match=words):
        Ensemble(load_card(both), both, choose_device("cpu"))


def test_the_grid_suits_the_member_that_asks_for_most(models, tmp_path):
    ready = prepared(runner(models, "both"), make_head()[0])
    assert ready.array.shape == (64, 80, 64)  # planes are padded one by one
    shutil.copytree(models / "tiny", tmp_path / "tiny")
    shutil.copytree(models / "both", tmp_path / "both")
    deep = [4, 6, 8, 8, 8]
    folder = write_model(tmp_path / "deep", seeing_state(channels=deep), id="deep")
    rewritten(folder, **{str(ARGUMENTS["channels"]): str(deep), "multiple = 16": "multiple = 32"})
    planes, other = (load_card(f).weights_sha256 for f in (models / "tiny-planes", folder))
    rewritten(tmp_path / "both", **{"tiny-planes": "deep", planes: other})
    one = runner(tmp_path, "both")
    ready = prepared(one, make_head()[0])
    assert ready.array.shape == (64, 96, 64)
    assert dice(one.find(ready, Heard()).probability > 0.5, ready.array > 0.5) > 0.8


def test_unknown_arguments_are_refused(models, tmp_path):
    for name in ("tiny", "tiny-planes", "both"):
        shutil.copytree(models / name, tmp_path / name)
    rewritten(tmp_path / "both", **{"slope = 1.2": "slope = 1.2\ntemperature = 3"})
    with pytest.raises(BadInput, match="unknown arguments"):
        Ensemble(load_card(tmp_path / "both"), tmp_path / "both", choose_device("cpu"))


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.3, 3.0), st.floats(-2, 2))
def test_calibration_keeps_the_order(a, b, slope, offset):
    low, high = sorted((a, b))
    answers = [np.array([low, high], np.float32)]
    said = calibrated(answers, slope, offset)
    assert said[0] <= said[1] + 1e-6
    np.testing.assert_allclose(calibrated(answers, 1, 0), answers[0], atol=1e-5)


def test_doubt_is_largest_where_members_differ_and_none_where_they_agree():
    chance = np.array([0.0, 1.0, 0.5, 0.5], np.float32)
    apart = np.array([0.0, 0.0, 0.0, 0.5], np.float32)
    np.testing.assert_allclose(doubt(chance, apart), [0, 0, 0.5, 1.0], atol=1e-4)


def test_soft_dice_confidence_is_the_expected_dice_of_sure_voxels():
    mask = np.array([True, True, False, False])
    assert soft_dice_confidence(np.array([1, 1, 0, 0.0]), mask) == pytest.approx(1)
    assert soft_dice_confidence(np.array([0.6, 0.6, 0.4, 0.4]), mask) == pytest.approx(0.6)
    assert soft_dice_confidence(np.zeros(4), np.zeros(4, bool)) is None


def test_facts_count_the_findings_the_members_disagree_about():
    chance = np.zeros((9, 9, 9), np.float32)
    apart = np.zeros_like(chance)
    chance[1:3, 1:3, 1:3] = 0.95
    chance[6:8, 6:8, 6:8] = 0.6
    apart[6:8, 6:8, 6:8] = 0.4
    facts = case_facts(chance, apart, 0.5, 2)
    assert (facts["findings"], facts["disagreed"]) == (2, 1)
    assert "1 of 2 findings" in facts["sentences"][0]
    assert json.loads(json.dumps(facts)) == facts
    nothing = case_facts(chance * 0.1, apart, 0.5, 2)
    assert nothing["findings"] == 0
    assert "Nothing was marked" in nothing["sentences"][0]


def test_digest_of_the_ensemble_names_its_members(models):
    card = load_card(models / "both")
    assert {m.id for m in card.members} == {"tiny", "tiny-planes"}
    lines = "\n".join(sorted(f"{m.id} {m.sha256}" for m in card.members))
    assert card.weights_sha256 == hashlib.sha256(lines.encode()).hexdigest()
