"""An installed model adapted to a few cases: what learns, what stays, what is promoted."""

from __future__ import annotations

import copy
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_cases import write_list
from tiny_models import seeing_state, write_model

torch = pytest.importorskip("torch")
pytest.importorskip("monai")

from imaging.analysis.probability_metrics import chance_table  # noqa: E402
from imaging.errors import BadInput  # noqa: E402
from inference.card_reading import load_card  # noqa: E402
from inference.training.own.bases import model_base  # noqa: E402
from inference.training.own.choices import Choices  # noqa: E402
from inference.training.own.few_shot import (  # noqa: E402
    RULE,
    adapt,
    adapted,
    keeping_loss,
    merged,
    verdict,
)
from inference.training.own.judge import Judged  # noqa: E402
from inference.training.own.progress import Speaker  # noqa: E402

pytestmark = pytest.mark.xdist_group("own training")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that sees bright balls, and misses dim ones."""
    return write_model(tmp_path_factory.mktemp("base") / "tiny", seeing_state())


def _adapt(cases: Path, out: Path, base: Path, **more):
    stream = io.StringIO()
    usual = {"steps": 30, "threads": 1, "device": "cpu", "changes": {"patch": 32, "rate": 0.1}}
    choices = Choices(
        cases=str(cases), out=str(out), start_from=str(base), few_shot=True, **{**usual, **more}
    )
    done = adapt(choices, Speaker(as_json=True, stream=stream))
    return done, [json.loads(line) for line in stream.getvalue().splitlines()]


# --- what learns ------------------------------------------------------------------------------


def test_at_first_nothing_changes_and_merging_changes_nothing(base):
    network = model_base(str(base)).network().eval()
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        before = network(image)
        corrected = adapted(copy.deepcopy(network), rank=2).eval()
        assert torch.allclose(corrected(image), before, atol=1e-5)
        for name, parameter in corrected.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(0, 0.05)
        changed = corrected(image)
        assert not torch.allclose(changed, before, atol=1e-3)
        assert torch.allclose(merged(corrected)(image), changed, atol=1e-5)
    assert set(corrected.state_dict()) == set(network.state_dict()), "old form, old cost"


def test_most_of_a_network_stays(base):
    from inference.plugins.unet import UNet, fold_batchnorm

    network = adapted(fold_batchnorm(UNet()))
    learning = sum(p.numel() for p in network.parameters() if p.requires_grad)
    every = sum(p.numel() for p in network.parameters())
    assert 0.005 < learning / every < 0.15


def test_agreement_with_the_old_model_is_kept():
    """Drifting away costs where the old model was right, and not where it was wrong."""
    old = torch.nn.Conv3d(1, 1, 1)
    torch.nn.init.constant_(old.weight, 0.0)
    torch.nn.init.constant_(old.bias, -4.0)
    loss = keeping_loss(old, "dice-ce", "cpu")
    image = torch.zeros(1, 1, 4, 4, 4)
    right, wrong = torch.zeros_like(image), torch.ones_like(image)
    from inference.training.own.losses import make_loss

    plain = make_loss("dice-ce")
    drifted = torch.zeros_like(image)
    assert loss(drifted, right, image) > plain(drifted, right) + 0.3
    assert loss(drifted, wrong, image) == pytest.approx(float(plain(drifted, wrong)))


def test_pieces_of_the_old_task_are_judged_by_the_old_model():
    """Their label says only: ask the old one."""
    from inference.training.own.replay import ASK_THE_OLD

    old = torch.nn.Conv3d(1, 1, 1)
    torch.nn.init.constant_(old.weight, 4.0)
    torch.nn.init.constant_(old.bias, 0.0)
    loss = keeping_loss(old, "dice-ce", "cpu")
    image = torch.ones(1, 1, 4, 4, 4)
    image[..., :2] = -1
    asked = torch.full_like(image, ASK_THE_OLD)
    assert loss(4 * image, asked, image) < 0.1 < loss(-4 * image, asked, image)


def test_old_pieces_are_made_up_where_the_template_is(base, shared_data, tmp_path):
    from inference.training.own.replay import ASK_THE_OLD, EVERY, WithReplay, old_task

    class New:
        def batch(self, step):
            return np.full((2, 1, 32, 32, 32), 9.0, np.float32), np.zeros((2, 1, 32, 32, 32))

    one_mm = tmp_path / "one-mm"
    one_mm.mkdir()
    text = (base / "card.toml").read_text().replace("spacing_mm = 2.0", "spacing_mm = 1.0")
    (one_mm / "card.toml").write_text(text)
    (one_mm / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    choices = Choices(cases="", out="", start_from=str(one_mm), few_shot=True)
    assert old_task(model_base(str(base)), choices) is None, "made for another grid"
    old = old_task(model_base(str(one_mm)), choices)
    assert old is not None
    mixed = WithReplay(New(), old, 0, 1)
    images, labels = mixed.batch(EVERY)
    assert (labels[0] == ASK_THE_OLD).all()
    assert (labels[1] == 0).all()
    assert (images[1] == 9).all()
    assert -1.01 <= images[0].min() < images[0].max() <= 2.01
    again, _ = mixed.batch(EVERY)
    assert (again == images).all()
    plain, _ = mixed.batch(EVERY + 1)
    assert (plain == 9).all()


# --- the verdict ------------------------------------------------------------------------------


def _row(case: str, dice: float | None, f1: float = 0.5, false_ml: float = 0.0) -> Judged:
    figures = {"false_ml": false_ml, "gold_ml": 1.0, "found_ml": 1.0}
    if dice is not None:
        figures |= {"dice": dice, "lesion_f1": f1}
    table = chance_table(np.array([0.5]), np.array([1]))
    return Judged(case, case, "", "", figures, (1, 1, 1, 1), (), table)


def _rows(*dices, **more) -> list[Judged]:
    return [_row(f"case{n}", dice, **more) for n, dice in enumerate(dices)]


@pytest.mark.parametrize(
    ("new", "old", "promoted", "words"),
    [
        (_rows(0.6, 0.7), _rows(0.5, 0.6), True, "rises from 0.550 to 0.650"),
        (_rows(0.6), _rows(0.5), False, "too few"),
        ([], [], False, "too few"),
        (_rows(0.6, 0.605), _rows(0.6, 0.6), False, "must rise"),
        (_rows(0.9, 0.4), _rows(0.5, 0.55), False, "no single patient"),
        (_rows(0.7, 0.7, f1=0.3), _rows(0.5, 0.5, f1=0.5), False, "lesion F1"),
        (
            [*_rows(0.7, 0.7), _row("healthy", None, false_ml=2.0)],
            [*_rows(0.5, 0.5), _row("healthy", None, false_ml=0.1)],
            False,
            "nothing is to be found",
        ),
        (_rows(None, None), _rows(None, None), False, "nothing shows"),
    ],
)
def test_the_rule(new, old, promoted, words):
    decided = verdict(new, old)
    assert decided.promoted is promoted
    assert words in decided.reason


def test_two_cases_of_one_patient_are_one_patient():
    same = [replace(row, patient="one") for row in _rows(0.9, 0.9)]
    assert not verdict(same, _rows(0.1, 0.1)).promoted
    assert RULE.patients == 2


# --- the whole --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def promoted(base, tmp_path_factory):
    """Balls too dim for the model, shown to it in three heads."""
    folder = tmp_path_factory.mktemp("dim")
    cases = write_list(folder, 3, contrast=120.0)
    done, said = _adapt(cases, folder / "out", base)
    return folder / "out", done, said


def test_a_better_model_is_promoted_under_an_id_of_its_own(promoted, base):
    out, done, said = promoted
    assert done["promoted"], done["reason"]
    assert said[-1]["kind"] == "done"
    card, old = load_card(Path(done["package"])), load_card(base)
    assert card.id != old.id
    assert card.version == f"{old.version}+adapted"
    assert card.architecture == old.architecture
    assert card.arguments == old.arguments
    assert card.training["begun_from"] == f"{old.name} {old.version}"
    report = json.loads((out / "report.json").read_text())
    assert report["verdict"] == {"promoted": True, "reason": done["reason"]}
    assert report["n"] == 3, "each was left out once"
    assert report["facts"]["Old task"] == card.training["old_task"]
    assert "not replayed" in card.training["old_task"], "its grid is not that of the template"
    assert report["new"]["dice"]["value"] > report["old"]["dice"]["value"] + RULE.gain
    assert "**Promoted.**" in (out / "report.md").read_text()


def test_the_promoted_one_sees_dim_balls_and_the_old_one_stays(promoted, base):
    from own_cases import write_head

    from inference.training.own.case_check import open_case
    from inference.training.own.case_list import CaseFiles
    from inference.training.own.judge import answer_here, judge

    out, done, _ = promoted
    image, mask = write_head(out, 77, contrast=120.0)
    case = open_case(CaseFiles("unseen", image, mask))
    dice = {}
    for name, package in (("new", Path(done["package"])), ("old", base)):
        (answer,) = answer_here(package, [case], "cpu")
        (row,) = judge(load_card(package), case, answer)
        dice[name] = row.figures["dice"]
    assert dice["new"] > dice["old"] + 0.2


def test_a_model_that_gets_worse_is_refused_with_the_reason(base, tmp_path):
    """Masks of the wrong places: whatever is learned from them is no gain."""
    import nibabel as nib

    cases = write_list(tmp_path, 2)
    for n, path in enumerate(sorted(tmp_path.glob("*_mask.nii.gz"))):
        mask = nib.load(path)
        moved = np.roll(np.asarray(mask.dataobj), 9 * (-1) ** n, axis=n)
        nib.save(nib.Nifti1Image(moved, mask.affine), path)
    done, said = _adapt(cases, tmp_path / "out", base, steps=2)
    assert not done["promoted"]
    assert done["package"] == ""
    assert not (tmp_path / "out" / "package").exists()
    assert done["reason"] in said[-1]["sentence"]
    assert "old model stays" in said[-1]["sentence"]
    assert "**Refused.**" in (tmp_path / "out" / "report.md").read_text()


def test_one_case_needs_others_to_judge(base, tmp_path):
    one = write_list(tmp_path / "one", 1, contrast=120.0)
    done, _ = _adapt(one, tmp_path / "alone", base, steps=1)
    assert not done["promoted"]
    assert "too few" in done["reason"]
    others = write_list(tmp_path / "others", 2, contrast=120.0, first=5)
    done, _ = _adapt(one, tmp_path / "judged", base, held_out=str(others))
    assert done["promoted"], done["reason"]
    with pytest.raises(BadInput, match="of a patient that is learned from"):
        _adapt(one, tmp_path / "mixed", base, steps=1, held_out=str(one))


def test_what_cannot_be_adapted(base, tmp_path):
    cases = write_list(tmp_path, 1)
    with pytest.raises(BadInput, match="No model with this id"):
        _adapt(cases, tmp_path / "a", Path("no-such-model"))
    folder = write_model(tmp_path / "two", seeing_state(outputs=1))
    text = (folder / "card.toml").read_text()
    two = text.replace(
        "[preprocess]", '[[outputs.labels]]\nnumber = 2\nname = "Other"\n[preprocess]'
    )
    (folder / "card.toml").write_text(two)
    with pytest.raises(BadInput, match="cannot go on learning"):
        _adapt(cases, tmp_path / "b", folder)
