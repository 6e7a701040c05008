"""The benchmark writes what it measured into the card, and nothing else."""

import tomllib
from dataclasses import replace

import pytest

from benchmarks.bench_model import Cost, write_cost
from inference.card_reading import load_card
from inference.registry import InstalledModel


def test_a_measured_cost_replaces_the_one_before(model_copy):
    before = load_card(model_copy)
    model = InstalledModel(before, model_copy)
    for seconds in (3.0, 2.5):
        write_cost(model, Cost(before.id, 9.0, seconds, 812.0))
    after = load_card(model_copy)
    assert after.cost["cpu_seconds"] == 2.5
    assert after.cost["peak_bytes"] == 812 * 2**20
    assert replace(after, cost={}) == before
    assert (model_copy / "card.toml").read_text().count("[cost]") == 1


def test_a_card_that_is_written_anew_keeps_its_cost_while_the_network_is_the_same(model_copy):
    pytest.importorskip("torch")
    from inference.training.shared.package_files import write_card

    card = tomllib.loads((model_copy / "card.toml").read_text())
    write_cost(InstalledModel(load_card(model_copy), model_copy), Cost("tiny", 1.0, 1.5, 1.0))
    write_card(card | {"summary": "Said better."}, model_copy)
    assert load_card(model_copy).cost["cpu_seconds"] == 1.5
    assert load_card(model_copy).summary == "Said better."
    said = {**card["network"], "arguments": {**card["network"]["arguments"], "dims": 3}}
    write_card(card | {"network": said}, model_copy)
    assert load_card(model_copy).cost["cpu_seconds"] == 1.5, "three dimensions go without saying"
    network = {**card["network"], "arguments": {**card["network"]["arguments"], "thin": 8}}
    write_card(card | {"network": network}, model_copy)
    assert not load_card(model_copy).cost


def test_tables_behind_the_cost_stay(model_copy):
    card = model_copy / "card.toml"
    card.write_text(
        'kind = "lesions"\n' + card.read_text() + "\n[cost]\ncpu_seconds = 9\n[training]\nx = 1\n"
    )
    write_cost(InstalledModel(load_card(model_copy), model_copy), Cost("tiny", 1.0, 1.0, 1.0))
    after = load_card(model_copy)
    assert after.training == {"x": 1}
    assert after.cost["cpu_seconds"] == 1.0
