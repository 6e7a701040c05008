"""A training from cases to a package that runs and explains itself; seeds, stops and kills."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from own_cases import SMALL, write_list

torch = pytest.importorskip("torch")
pytest.importorskip("monai")

from imaging.errors import BadInput  # noqa: E402
from inference.card_reading import load_card  # noqa: E402
from inference.registry import InstalledModel, find_model  # noqa: E402
from inference.training.own.case_check import open_case  # noqa: E402
from inference.training.own.case_list import read_cases  # noqa: E402
from inference.training.own.choices import Choices  # noqa: E402
from inference.training.own.install import install_package  # noqa: E402
from inference.training.own.progress import Speaker, Stopped  # noqa: E402
from inference.training.own.training import train  # noqa: E402

pytestmark = pytest.mark.xdist_group("own training")


def quiet() -> tuple[Speaker, io.StringIO]:
    """A speaker whose lines can be read afterwards."""
    stream = io.StringIO()
    return Speaker(as_json=True, stream=stream), stream


def lines(stream: io.StringIO) -> list[dict]:
    """What it said."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def choices(cases: Path, out: Path, **more) -> Choices:
    """A small training."""
    usual = {"steps": 4, "folds": 0, "threads": 1, "device": "cpu", "changes": SMALL}
    return Choices(cases=str(cases), out=str(out), **{**usual, **more})


def weights(folder: Path) -> dict:
    """Of a package."""
    from safetensors.torch import load_file

    return load_file(str(folder / "model.safetensors"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of four heads."""
    return write_list(tmp_path_factory.mktemp("cases"), 4)


@pytest.fixture(scope="module")
def trained(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """Twenty steps in each of two folds and with all cases."""
    out = tmp_path_factory.mktemp("runs") / "Balls of mine"
    speaker, stream = quiet()
    train(choices(cases, out, steps=20, folds=2), speaker)
    return out, lines(stream)


def test_it_tells_where_it_is(trained):
    _, said = trained
    kinds = [line["kind"] for line in said]
    assert kinds[-1] == "done"
    assert kinds.count("cases") == 1
    fractions = [line["fraction"] for line in said if "fraction" in line]
    assert fractions == sorted(fractions)
    steps = [line for line in said if line["kind"] == "step"]
    assert {line["fold"] for line in steps} == {1, 2, 3}
    assert all(line["folds"] == 2 and line["steps"] == 20 for line in steps)
    assert any(line["validation"] is not None for line in steps if line["fold"] < 3)
    assert all(line["validation"] is None for line in steps if line["fold"] == 3)


def test_the_report_is_of_left_out_patients_only(trained):
    out, said = trained
    report = json.loads((out / "report.json").read_text())
    assert said[-1]["report"] == str(out / "report.json")
    assert (report["n"], report["cases"]) == (4, 4)
    assert sorted(row["patient"] for row in report["each"]) == ["p0", "p1", "p2", "p3"]
    assert set(report["subgroups"]) == {"even", "odd"}
    assert {"dice", "auc", "ece", "volume_error_ml"} <= set(report["new"])
    assert report["new"]["dice"]["low"] is None, "four patients give no interval"
    assert "Fewer than" in (out / "report.md").read_text()
    assert (out / "report.svg").read_text().startswith("<svg")
    learned = (out / "fold-1" / "log.csv").read_text().splitlines()
    assert learned[0] == "step,seconds,loss,rate,validation"
    assert float(learned[-1].split(",")[2]) < float(learned[1].split(",")[2])


def test_the_card_is_filled_by_the_run(trained):
    out, said = trained
    package = Path(said[-1]["package"])
    card = load_card(package)
    assert card.id == "own-balls-of-mine"
    assert card.architecture == "monai:BasicUNet"
    assert card.figures[0]["n"] == 4
    assert card.training["seed"] == 0
    assert any("trained on all cases" in sentence for sentence in card.limits)
    report = json.loads((out / "report.json").read_text())
    assert card.figures[0]["dice"] == report["new"]["dice"]["value"]


def test_installed_it_runs_and_explains(trained, cases, client, tmp_path):
    """Through the worker, as the window does it."""
    from inference.messages import ExplainAnswer, SegmentAnswer

    _, said = trained
    installed = install_package(Path(said[-1]["package"]), tmp_path)
    model = find_model("own-balls-of-mine", [tmp_path])
    assert model.available, model.reason
    assert model.folder == installed.folder
    case = open_case(read_cases(cases)[0])
    found = client.segment(case.volume, model, device="cpu").wait(240)
    assert isinstance(found, SegmentAnswer), found
    assert found.probability.shape == case.volume.geometry.shape
    assert found.probability.max() > 0
    why = client.explain(case.volume, model, case.mask, device="cpu").wait(240)
    assert isinstance(why, ExplainAnswer), why
    assert np.isfinite(why.heatmap).all()
    assert why.heatmap.max() == pytest.approx(1.0)


def test_the_window_s_way_and_the_training_s_agree(trained, cases, client):
    from inference.training.own.judge import answer_by_worker, answer_here

    _, said = trained
    package = Path(said[-1]["package"])
    case = open_case(read_cases(cases)[1])
    (here,) = answer_here(package, [case], "cpu")
    there = answer_by_worker(client, InstalledModel(load_card(package), package), case, "cpu")
    assert np.allclose(here.probability, there.probability, atol=1e-4)
    assert (here.mask == there.mask).mean() > 0.9999


def test_nothing_old_is_replaced(trained, tmp_path):
    _, said = trained
    package = Path(said[-1]["package"])
    install_package(package, tmp_path)
    with pytest.raises(BadInput, match="installed already"):
        install_package(package, tmp_path)
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    (spoiled / "card.toml").write_text((package / "card.toml").read_text())
    (spoiled / "model.safetensors").write_bytes(b"other")
    with pytest.raises(BadInput, match="not the ones"):
        install_package(spoiled, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


# --- seeds and stops --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Weights of four uninterrupted steps."""
    out = tmp_path_factory.mktemp("reference") / "run"
    train(choices(cases, out), quiet()[0])
    return weights(out / "package")


def test_same_seed_same_weights(cases, reference, tmp_path):
    train(choices(cases, tmp_path / "again"), quiet()[0])
    again = weights(tmp_path / "again" / "package")
    assert all(torch.equal(again[name], value) for name, value in reference.items())
    train(choices(cases, tmp_path / "other", seed=1), quiet()[0])
    other = weights(tmp_path / "other" / "package")
    assert any(not torch.equal(other[name], value) for name, value in reference.items())


def test_stopped_and_gone_on_with_gives_the_same_weights(cases, reference, tmp_path):
    speaker, _ = quiet()
    told = Speaker.step

    def after_two(self, step, *others, **more):
        told(self, step, *others, **more)
        if step >= 2:
            self.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Speaker, "step", after_two)
        patch.setattr("inference.training.own.loop.TELL_S", 0.0)
        with pytest.raises(Stopped):
            train(choices(cases, tmp_path / "run"), speaker)
    assert not (tmp_path / "run" / "package").exists()
    with pytest.raises(BadInput, match="already holds a training"):
        train(choices(cases, tmp_path / "run"), quiet()[0])
    with pytest.raises(BadInput, match="another choice of seed"):
        train(choices(cases, tmp_path / "run", seed=5), quiet()[0], resume=True)
    train(choices(cases, tmp_path / "run"), quiet()[0], resume=True)
    gone_on = weights(tmp_path / "run" / "package")
    assert all(torch.equal(gone_on[name], value) for name, value in reference.items())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_killed_and_gone_on_with_gives_the_same_weights(cases, reference, tmp_path):
    code = (
        "import sys, inference.training.own.loop as loop\n"
        "loop.SAVE_S = loop.TELL_S = 0.0\n"
        "from app.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    )
    words = ["train", "--cases", str(cases), "--out", str(tmp_path / "run"), "--json"]
    words += ["--folds", "0", "--steps", "4", "--threads", "1", "--device", "cpu"]
    words += ["--recipe", json.dumps(SMALL)]
    child = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert child.stdout is not None
    seen = b""
    for seen in child.stdout:
        if b'"step": 3' in seen:
            break
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert b'"step": 3' in seen
    assert (tmp_path / "run" / "all" / "checkpoint.pt").exists()
    train(choices(cases, tmp_path / "run"), quiet()[0], resume=True)
    gone_on = weights(tmp_path / "run" / "package")
    assert all(torch.equal(gone_on[name], value) for name, value in reference.items())


# --- other networks ---------------------------------------------------------------------------

TINY = {
    "unet": {"channels": [4, 6, 8, 8], "thin": 4},
    "attention-unet": {"channels": [4, 8, 8], "strides": [2, 2]},
    "residual": {"init_filters": 4, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
    "basic-unet": SMALL["arguments"],
}


@pytest.mark.parametrize(
    ("network", "dims", "loss", "optimiser"),
    [
        ("unet", "3", "tversky", "sgd"),
        ("attention-unet", "3", "focal", "adamw"),
        ("residual", "2.5", "dice-ce", "adamw"),
        ("basic-unet", "2.5", "tversky", "adamw"),
    ],
)
def test_every_network_becomes_a_package_that_answers(
    cases, tmp_path, network, dims, loss, optimiser
):
    from inference.training.own.judge import answer_here

    changes = {**SMALL, "arguments": TINY[network], "patch": 32}
    wanted = choices(
        cases, tmp_path / "run", steps=2, network=network, dims=dims, loss=loss,
        optimiser=optimiser, changes=changes,
    )  # fmt: skip
    train(wanted, quiet()[0])
    case = open_case(read_cases(cases)[0])
    (answer,) = answer_here(tmp_path / "run" / "package", [case], "cpu")
    assert answer.probability.shape == case.volume.geometry.shape
    assert 0 < answer.probability.max() <= 1


def test_planes_explain_themselves_where_they_were_asked(cases, tmp_path):
    from inference.devices import choose_device
    from inference.plugins.monai_runner import make_runner
    from inference.reports import Quiet

    train(choices(cases, tmp_path / "run", dims="2.5", steps=2), quiet()[0])
    package = tmp_path / "run" / "package"
    runner = make_runner(load_card(package), package, choose_device("cpu"))
    prepared = runner.prepare(open_case(read_cases(cases)[0]).images("FLAIR"))
    target = np.zeros(prepared.array.shape, bool)
    target[10:12, 20:24, 20:24] = True
    heat, first = runner.heat(prepared, target, "coarse", Quiet())
    assert first == (10, 0, 0)
    assert heat.shape == (2, *prepared.array.shape[1:])
    assert np.isfinite(heat).all()


def test_a_yes_or_no_model(cases, client, tmp_path):
    """Heads with balls against heads without; the answer comes in the facts."""
    from own_cases import write_head

    from inference.messages import ExplainAnswer, SegmentAnswer

    rows = ["image,answer,patient"]
    for number in range(6):
        image, _ = write_head(tmp_path, number, balls=4 if number % 2 else 0)
        rows.append(f"{image.name},{number % 2},p{number}")
    (tmp_path / "l.csv").write_text("\n".join(rows) + "\n")
    tiny = {"block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [4, 4, 8, 8]}
    changes = {"spacing_mm": 6.0, "batch": 2, "arguments": tiny}
    wanted = choices(
        tmp_path / "l.csv", tmp_path / "run", network="resnet", folds=2, steps=3, changes=changes
    )
    train(wanted, quiet()[0])
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["n"] == 6
    assert {"accuracy", "auc", "ece"} <= set(report["new"])
    package = tmp_path / "run" / "package"
    card = load_card(package)
    assert card.kind == "presence"
    model = InstalledModel(card, package)
    volume = open_case(read_cases(tmp_path / "l.csv")[1], with_mask=False).volume
    found = client.segment(volume, model, device="cpu", explain=True).wait(240)
    assert isinstance(found, SegmentAnswer), found
    assert 0 <= found.facts["probability"] <= 1
    assert not found.mask.any()
    why = client.explain(volume, model, np.ones(volume.geometry.shape), device="cpu").wait(240)
    assert isinstance(why, ExplainAnswer), why


def test_pretraining_gives_a_training_its_beginning(cases, tmp_path, monkeypatch):
    from inference.training.own.pretraining import pretrain

    monkeypatch.setattr("inference.training.own.loop.TELL_S", 0.0)  # each step by itself
    wanted = choices(cases, tmp_path / "before", steps=6)
    speaker, stream = quiet()
    pretrain(wanted, cases.parent, speaker)
    losses = [line["loss"] for line in lines(stream) if line["kind"] == "step"]
    assert losses[-1] < losses[0]
    facts = json.loads((tmp_path / "before" / "pretraining.json").read_text())
    assert facts["images"] >= 4
    start = choices(cases, tmp_path / "run", steps=1, start_from=str(tmp_path / "before"))
    train(start, quiet()[0])
    other = choices(
        cases, tmp_path / "other", start_from=str(tmp_path / "before"), network="residual",
        changes={**SMALL, "arguments": TINY["residual"]},
    )  # fmt: skip
    with pytest.raises(BadInput, match="pretraining was of the network basic-unet"):
        train(other, quiet()[0])


def test_all_of_a_model_may_go_on_learning(cases, tiny_folder, tmp_path):
    """The package has the grid and network of the model it began with."""
    start = choices(
        cases, tmp_path / "run", steps=2, start_from=str(tiny_folder), changes={"patch": 32}
    )
    train(start, quiet()[0])
    old, new = load_card(tiny_folder), load_card(tmp_path / "run" / "package")
    assert (new.architecture, new.arguments) == (old.architecture, old.arguments)
    assert (new.spacing_mm, new.multiple) == (old.spacing_mm, old.multiple)
    assert new.id != old.id
    before, after = weights(tiny_folder), weights(tmp_path / "run" / "package")
    ends = ("stem.0.conv.weight", "bottleneck.0.conv.weight", "full_resolution.conv.weight")
    assert not any(torch.allclose(before[name], after[name].float(), atol=1e-4) for name in ends)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"network": "transformer"}, "network must be one of"),
        ({"id": "My model"}, "small letters"),
        ({"device": "tpu"}, "auto, cuda or cpu"),
        ({"folds": 1}, "folds"),
        ({"network": "resnet", "dims": "2.5"}, "no form for planes"),
        ({"loss": "hope"}, "loss"),
        ({"few_shot": True}, "--from"),
    ],
)
def test_choices_that_make_no_training(tmp_path, more, words):
    with pytest.raises(BadInput, match=words):
        choices(tmp_path, tmp_path, **more)
