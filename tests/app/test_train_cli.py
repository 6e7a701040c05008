"""``isocenter train`` and ``isocenter evaluate`` as people and the window call them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from imaging.geometry import Geometry
from imaging.storage import nifti
from imaging.volume import Volume

pytest.importorskip("torch")
pytest.importorskip("monai")

pytestmark = pytest.mark.xdist_group("own training")

RECIPE = '{"spacing_mm": 4.0, "patch": 32, "arguments": {"features": [4, 4, 4, 4, 4, 4]}}'


def _head(folder: Path, number: int) -> str:
    """A head with a bright ball, and its mask; returns a line of a list."""
    shape = (30, 34, 30)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])[:, [2, 1, 0, 3]]
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    geometry = Geometry(shape, affine)
    world = geometry.world(np.moveaxis(np.indices(shape), 0, -1))
    image = np.random.default_rng(number).normal(0, 8, shape)
    image[((world / np.array([48.0, 56.0, 50.0])) ** 2).sum(-1) < 1] += 300
    truth = ((world - np.array([10.0 * number - 10, 5, 8])) ** 2).sum(-1) < 100
    image[truth] += 290
    for name, array in ((f"h{number}_FLAIR", image), (f"h{number}_truth", truth)):
        volume = Volume("v", name, np.round(array).astype(np.int16), geometry)
        nifti.write_volume(folder / f"{name}.nii.gz", volume)
    return f"h{number}_FLAIR.nii.gz,h{number}_truth.nii.gz,p{number}"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of three heads."""
    folder = tmp_path_factory.mktemp("cases")
    rows = ["image,mask,patient", *(_head(folder, n) for n in range(3))]
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models."""
    folder = tmp_path / "models"
    for module in ("inference.registry", "inference.training.own.install"):
        monkeypatch.setattr(f"{module}.user_folder", lambda: folder)
    return folder


def _train(*words: object) -> int:
    usual = ["--threads", "1", "--device", "cpu", "--recipe", RECIPE]
    return main(["train", *map(str, words), *usual])


def test_checking_says_what_can_be_used_and_leaves_nothing_behind(cases, tmp_path, capsys):
    assert _train("--cases", cases, "--out", tmp_path / "out", "--check", "--json") == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (checked,) = [line for line in said if line["kind"] == "cases"]
    assert checked["sentence"] == "3 of 3 cases can be used, of 3 people."
    assert [row["case"] for row in checked["cases"]] == ["h0_FLAIR", "h1_FLAIR", "h2_FLAIR"]
    assert all(row["ok"] for row in checked["cases"])
    assert not (tmp_path / "out").exists()


def test_trained_installed_and_measured(cases, tmp_path, mine, capsys):
    out = tmp_path / "run"
    words = ("--cases", cases, "--out", out, "--folds", 0, "--steps", 3, "--id", "balls")
    assert _train(*words, "--install") == 0
    assert "Installed as balls." in capsys.readouterr().out
    assert (mine / "balls" / "card.toml").exists()

    code = main(
        ["evaluate", "--model", "balls", "--cases", str(cases), "--out", str(tmp_path / "figures"),
         "--device", "cpu", "--json"]
    )  # fmt: skip
    captured = capsys.readouterr()
    assert code == 0, captured.err
    told = json.loads(captured.out)
    written = json.loads((tmp_path / "figures" / "report.json").read_text())
    assert told["new"] == written["new"]
    assert (told["n"], told["cases"]) == (3, 3)
    assert (tmp_path / "figures" / "report.md").exists()
    assert "balls" in written["facts"]["Model"]

    assert _train(*words[:2], "--out", tmp_path / "second", "--id", "balls") == 1
    assert "installed already" in capsys.readouterr().err


def test_the_line_stop_ends_it_with_a_checkpoint(cases, tmp_path):
    words = [sys.executable, "-m", "app", "train", "--cases", str(cases), "--json", "--folds", "0"]
    words += ["--out", str(tmp_path / "run"), "--steps", "100000", "--threads", "1"]
    words += ["--device", "cpu", "--recipe", RECIPE]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdin is not None
    for line in child.stdout:
        if '"kind": "step"' in line:
            break
    child.stdin.write("stop\n")
    child.stdin.flush()
    last = [json.loads(line) for line in child.stdout][-1]
    assert child.wait(120) == 4
    assert last["kind"] == "stopped"
    assert "--resume" in last["sentence"]
    assert (tmp_path / "run" / "all" / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--out", "x"], "either --cases or --pretrain"),
        (["train", "--out", "x", "--cases", "no.csv"], "no such list"),
        (["train", "--out", "x", "--cases", "no.csv", "--network", "vit"], "network must be one"),
        (["train", "--out", "x", "--cases", "no.csv", "--few-shot"], "--from"),
        (["train", "--out", "x", "--cases", "no.csv", "--recipe", '{"a": 1}'], "no 'a'"),
        (["train", "--out", "x", "--cases", "no.csv", "--recipe", '{"patch": "big"}'], "whole"),
        (["train", "--out", "x", "--cases", "no.csv", "--recipe", "[1]"], "table"),
        (["train", "--out", "x", "--cases", "no.csv", "--recipe", "{"], "recipe"),
        (["evaluate", "--model", "no-such", "--cases", ".", "--out", "x"], "No model"),
        (["evaluate", "--model", "flair-wml", "--cases", "gone", "--out", "x"], "no such list"),
    ],
)
def test_misuse_is_one_sentence(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) in (1, 2)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in lines[0]


def test_a_failure_is_told_to_the_window_as_a_line(tmp_path, capsys):
    assert _train("--cases", tmp_path / "gone.csv", "--out", tmp_path / "out", "--json") == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["kind"] == "failed"
    assert "no such list" in last["what"]
    assert str(tmp_path) not in json.dumps(last)


def _examples() -> list[list[str]]:
    """The commands of "In one minute" of the page about trainings, as words."""
    page = Path(__file__).parents[2] / "docs" / "training.md"
    block = page.read_text(encoding="utf-8").split("## In one minute")[1].split("```")[1]
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines() if line.strip()]


def test_the_examples_of_the_page_are_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases.csv").write_text("image,mask\n")
    heard: list[str] = []
    monkeypatch.setattr(
        "app.cli.train.train", lambda choices, **_more: heard.append(choices.out) or 0
    )
    monkeypatch.setattr("app.cli.evaluate.evaluate", lambda *words: heard.append(str(words[2])))
    examples = _examples()
    assert len(examples) >= 6
    for words in examples:
        assert main(words) == 0, words
    assert heard == [words[words.index("--out") + 1] for words in examples]
