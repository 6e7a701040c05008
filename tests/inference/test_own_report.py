"""From cases to figures, intervals and a report with its picture; what a network is shown."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree
from zlib import crc32

import numpy as np
import pytest

from imaging.analysis.probability_metrics import chance_table
from inference.training.own.figures import ENOUGH, figures_of
from inference.training.own.judge import Judged, from_plain
from inference.training.own.report import Report, write_report
from inference.training.shared.card_text import as_toml


def _row(case, patient=None, dice=0.5, gold=1.0, found=1.0, group="", label=""):
    rng = np.random.default_rng(crc32(case.encode()))
    chance = rng.random(200)
    table = chance_table(chance, rng.random(200) < chance)
    figures = {"dice": dice, "lesion_f1": 0.4, "gold_ml": gold, "found_ml": found}
    sizes = ((2, 1), (3, 2), (0, 0), (1, 1))
    return Judged(case, patient or case, group, label, figures, (6, 5, 4, 4), sizes, table)


# --- figures ----------------------------------------------------------------------------------


def test_a_patient_with_many_cases_counts_once():
    rows = [_row(f"a{n}", "a", 0.0) for n in range(9)] + [_row("b", "b", 1.0)]
    known = figures_of(rows)
    assert known.named["dice"].value == pytest.approx(0.5)
    assert (known.patients, known.cases) == (2, 10)


def test_intervals_only_where_there_are_enough_patients():
    few = figures_of([_row(f"p{n}", dice=n / 10) for n in range(ENOUGH - 1)])
    assert few.named["dice"].low is None
    many = figures_of([_row(f"p{n}", dice=n / 10) for n in range(9)]).named["dice"]
    assert many.low is not None
    assert many.high is not None
    assert 0.0 < many.low < many.value < many.high < 0.8
    assert many == figures_of([_row(f"p{n}", dice=n / 10) for n in range(9)]).named["dice"]


def test_volumes_that_grow_together():
    rows = [_row(f"p{n}", gold=float(n), found=2.0 * n + 1) for n in range(6)]
    assert figures_of(rows).named["volume_correlation"].value == pytest.approx(1.0)
    assert "volume_correlation" not in figures_of(rows[:2]).named
    assert not figures_of([]).named


def test_answers_of_yes_or_no_models():
    rows = []
    for n, (chance, truth) in enumerate([(0.9, 1), (0.8, 1), (0.3, 0), (0.85, 0)]):
        table = chance_table(np.array([chance]), np.array([truth]))
        right = float((chance > 0.5) == truth)
        figures = {"probability": chance, "answer": float(truth), "accuracy": right}
        rows.append(Judged(f"c{n}", f"p{n}", "", "", figures, (truth, 1, 1, 1), (), table))
    known = figures_of(rows)
    assert known.named["auc"].value == pytest.approx(0.75)
    assert known.named["accuracy"].value == pytest.approx(0.75)
    assert "dice" not in known.named


def test_judged_travels_as_json():
    row = _row("a", "p", group="north")
    again = from_plain(json.loads(json.dumps(row.plain())))
    assert again.plain() == row.plain()
    assert (again.table.true == row.table.true).all()


# --- the report -------------------------------------------------------------------------------


def test_report_of_old_and_new(tmp_path):
    new = [_row(f"p{n}", dice=0.6 + n / 50, group="AB"[n % 2]) for n in range(6)]
    old = [_row(f"p{n}", dice=0.3) for n in range(6)]
    report = Report("Title", {"Cases": "6"}, new, old, ("Careful.",), {"promoted": True,
                    "reason": "Better."})  # fmt: skip
    write_report(report, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["n"] == 6
    assert content["new"]["dice"]["value"] > content["old"]["dice"]["value"]
    assert set(content["subgroups"]) == {"A", "B"}
    assert content["subgroups"]["A"]["dice"]["n"] == 3
    text = (tmp_path / "report.md").read_text()
    for words in ("# Title", "Careful.", "**Promoted.** Better.", "Old model", "### A (n = 3)"):
        assert words in text
    assert text.index("| p0 |") < text.index("| p5 |"), "the worst case comes first"
    picture = ElementTree.fromstring((tmp_path / "report.svg").read_text())
    dots = [e for e in picture.iter() if e.tag.endswith("circle")]
    assert len(dots) >= 6 * 3


def test_report_without_left_out_cases_has_no_figures(tmp_path):
    content = write_report(Report("Title", {}, []), tmp_path)
    assert content["new"] == {}
    assert "no figures" in (tmp_path / "report.md").read_text()
    ElementTree.fromstring((tmp_path / "report.svg").read_text())


def test_labels_of_a_tissue_model_stand_apart(tmp_path):
    rows = [_row("a", label="CSF", dice=0.8), _row("a", label="WM", dice=0.9)]
    content = write_report(Report("T", {}, rows), tmp_path)
    assert content["subgroups"]["WM"]["dice"]["value"] == pytest.approx(0.9)


def test_a_card_survives_as_toml():
    import tomllib

    table = {
        "id": "x", "limits": ["Ünsicher \"1\"", "b"], "empty": [],
        "network": {"arguments": {"channels": [1, 2], "flag": True}},
        "figures": [{"n": 1, "intervals": {"dice": [0.1, 0.2]}}, {"n": 2}],
        "odd key": 1.5,
    }  # fmt: skip
    assert tomllib.loads(as_toml(table)) == table


# --- what a network is shown --------------------------------------------------------------------


def test_pieces_may_reach_beyond_the_image():
    from inference.training.own.patches import cut_block

    image = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4)
    block = cut_block(image, (-2, 1, 3), (4, 2, 4), -9.0)
    assert (block[0, :2] == -9).all()
    assert (block[0, 2:, :, 0] == image[0, :2, 1:3, 3]).all()
    assert (block[0, :, :, 1:] == -9).all()
    assert (cut_block(image, (9, 0, 0), (2, 2, 2), 5.0) == 5).all()


@pytest.mark.parametrize("shape", [(16, 16, 16), (24, 24)])
def test_augmentation_keeps_label_and_image_together(shape):
    """A bright thing stays where its label is, whatever turns and bends them."""
    pytest.importorskip("monai")
    from inference.training.own.augment import Augmenter

    vary = Augmenter(shape)
    image = np.full((1, *vary.cut), -0.5, np.float32)
    middle = tuple(slice(n // 2 - 3, n // 2 + 3) for n in vary.cut)
    image[(0, *middle)] = 1.5
    label = (image > 0).astype(np.float32)
    seen = []
    for seed in range(12):
        varied, where = vary(image, label, seed)
        assert varied.shape == where.shape == (1, *shape)
        assert set(np.unique(where)) <= {0.0, 1.0}
        assert -1 <= varied.min() <= varied.max() <= 2
        seen.append(varied)
        if where.any() and not where.all():
            assert varied[where > 0].mean() > varied[where == 0].mean() + 0.5
    again, _ = vary(image, label, 3)
    assert (again == seen[3]).all(), "a seed gives one picture"
    assert any((a != b).any() for a, b in pairwise(seen))


def test_a_movement_leaves_ghosts_and_no_shift():
    from inference.training.own.augment import moved_during_scan

    image = np.zeros((1, 32, 32, 32), np.float32)
    image[0, 12:20, 12:20, 12:20] = 1.0
    moved = moved_during_scan(image, np.random.default_rng(2))
    assert moved.shape == image.shape
    assert moved.min() >= 0
    outside = moved[image == 0]
    assert outside.max() > 0.01
    assert moved[image > 0].mean() > 5 * outside.mean()


def test_a_missing_image_stays_missing(tmp_path: Path):
    """Zeros stand for an image that is not there, also after augmentation."""
    pytest.importorskip("monai")
    from inference.training.own.choices import Choices
    from inference.training.own.patches import PatchSource
    from inference.training.own.prepared import PreparedCase

    image = np.full((2, 32, 32, 32), -0.2, np.float16)
    image[1] = 0.0
    mask = np.zeros((32, 32, 32), np.uint8)
    mask[14:18, 14:18, 14:18] = 1
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "mask.npy", mask)
    places = np.argwhere(mask).astype(np.int16)
    np.savez(tmp_path / "centres.npz", marked=places, inside=places)
    case = PreparedCase("c", "p", "", "", tmp_path, True)
    choices = Choices(cases="", out="", changes={"patch": 16, "batch": 4})
    images, labels = PatchSource([case], choices, 1).batch(0)
    assert images.shape == (4, 2, 16, 16, 16)
    assert labels.shape == (4, 1, 16, 16, 16)
    assert (images[:, 1] == 0).all()
    assert images[:, 0].any()
    assert labels.any()
    same, _ = PatchSource([case], choices, 1).batch(0)
    ahead = PatchSource([case], choices, 1, ahead=2)
    threaded, _ = ahead.batch(0)
    ahead.close()
    assert (same == images).all()
    assert (threaded == images).all(), "threads change nothing"
