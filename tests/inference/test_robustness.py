"""The robustness table: altered heads keep their lesions in place, and folds are really used."""

from __future__ import annotations

import hashlib
import tomllib

import numpy as np
import pytest

from inference.card_reading import load_card
from inference.engine import load_runner
from inference.training.lesions.robustness import (
    STORED_ORDERS,
    Head,
    alterations,
    as_markdown,
    fold_model,
    mark,
)

SHAPE = (60, 66, 54)
#: Groups that change brightness only.
LIGHT = {"gamma", "noise", "shading"}


def head() -> Head:
    """An egg with a bright ball, on a slightly turned grid."""
    k, j, i = np.indices(SHAPE)
    egg = ((k - 30) / 24) ** 2 + ((j - 33) / 28) ** 2 + ((i - 27) / 22) ** 2 < 1
    gold = (k - 36) ** 2 + (j - 38) ** 2 + (i - 33) ** 2 < 36
    affine = np.array([[0, 0.1, 1, -20], [0, 1, -0.1, 4], [1, 0, 0, 7], [0, 0, 0, 1]], float)
    return Head((100.0 * egg + 60 * gold).astype(np.float32), gold, affine)


def centre_and_volume(altered: Head) -> tuple[np.ndarray, float]:
    middle = np.argwhere(altered.gold).mean(0)
    volume = altered.gold.sum() * abs(np.linalg.det(altered.affine[:3, :3]))
    return altered.affine[:3, :3] @ middle + altered.affine[:3, 3], float(volume)


def test_there_are_48_storage_orders_and_all_differ():
    ways = [way for way in alterations() if way.group == "storage order"]
    plain = head()
    grids = {tuple(np.round(way.change(plain).affine[:3].ravel(), 3)) for way in ways}
    assert len(ways) == len(grids) == STORED_ORDERS


@pytest.mark.parametrize("way", alterations(6), ids=lambda way: f"{way.group} {way.name}")
def test_the_lesion_stays_where_it_was(way):
    plain = head()
    altered = way.change(plain)
    assert altered.voxels.shape == altered.gold.shape
    if way.group == "half the field":
        # What is left lies where it lay: its voxels are found again in the whole head.
        spot = altered.affine @ np.append(np.argwhere(altered.voxels > 0)[0], 1)
        index = np.rint(np.linalg.inv(plain.affine) @ spot)[:3].astype(int)
        assert plain.voxels[tuple(index)] == altered.voxels[altered.voxels > 0][0]
        assert altered.voxels.size < 0.75 * plain.voxels.size
        return
    centre, volume = centre_and_volume(altered)
    wanted, whole = centre_and_volume(plain)
    assert np.allclose(centre, wanted, atol=1.0)
    assert volume == pytest.approx(whole, rel=0.2)
    if way.group in LIGHT:
        assert np.array_equal(altered.gold, plain.gold)
        assert not np.array_equal(altered.voxels, plain.voxels)


def test_a_fold_replaces_the_weights(model_copy):
    from safetensors.torch import load_file, save_file

    from inference.training.shared.card_text import as_toml

    state = load_file(str(model_copy / "model.safetensors"))
    blind = {n: v * 0 for n, v in state.items()}
    (model_copy / "folds").mkdir()
    file = model_copy / "folds" / "without-07.safetensors"
    save_file(blind, str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    card = tomllib.loads((model_copy / "card.toml").read_text(encoding="utf-8"))
    fold = {"left_out": "07", "file": "folds/without-07.safetensors", "sha256": digest}
    card["training"] = {"folds": [fold]}
    (model_copy / "card.toml").write_text(as_toml(card), encoding="utf-8")
    with fold_model(model_copy, "07") as (folder, words):
        assert words.endswith("without 07")
        assert load_card(folder).weights_sha256 == digest
        left = load_file(str(folder / "model.safetensors"))
        assert all(not v.any() for v in left.values())
    with fold_model(model_copy, "19") as (folder, words):
        assert words.endswith("as shipped")
        assert load_card(folder).weights_sha256 != digest


class Quiet:
    """A report nobody reads."""

    def stage(self, words, share): ...
    def step(self, fraction): ...
    def note(self, sentence): ...


def test_marking_works_on_the_grid_of_the_altered_head(tiny_model):
    from tiny_models import dice, make_head

    volume, truth = make_head((48, 56, 44), (2.6, 2.6, 2.6))
    plain = Head(np.asarray(volume.voxels, np.float32), truth, volume.geometry.affine)
    runner = load_runner(tiny_model.folder, "cpu", Quiet())
    turned = next(w for w in alterations(5)[2:] if w.group == "storage order").change(plain)
    for one in (plain, turned):
        assert dice(mark(runner, one), one.gold) > 0.75


def test_the_table_has_one_line_for_all_orders():
    rows = [
        {"group": "as stored", "name": "as stored", "dice": 0.7},
        {"group": "storage order", "name": "a", "dice": 0.69},
        {"group": "storage order", "name": "b", "dice": 0.71},
        {"group": "slices", "name": "4 mm axial", "dice": 0.5},
    ]
    asked = [{"given": "T2", "warned": True, "sentence": "…", "dice": 0.1}]
    result = {"case": "19", "weights": "m without 19", "rows": rows, "sequences": asked}
    table = as_markdown("m", [result])
    assert "| 2 storage orders | 0.69 to 0.71 |" in table
    assert "| as stored | 0.70 |" in table
    assert "| slices: 4 mm axial | 0.50 |" in table
    assert "| T2 by mistake | warned, Dice 0.10 |" in table
