"""A card says what a model is for, or says which field is wrong; changed weights are refused."""

import importlib.util
import tomllib

import pytest
from tiny_models import card_text

from imaging.errors import BadInput
from inference.card_reading import card_from_table, load_card
from inference.weights import availability, check_weights


def table(**changes):
    return tomllib.loads(card_text("a" * 64, **changes))


def test_a_complete_card_is_read():
    card = card_from_table(table())
    assert (card.id, card.version, card.threshold) == ("tiny", "0.1", 0.5)
    assert card.inputs[0].sequence == "FLAIR"
    assert card.labels[0].number == 1
    assert card.architecture == "unet"
    assert card.arguments["channels"] == [4, 6, 8, 8]


@pytest.mark.parametrize(
    "field",
    ["id", "name", "version", "summary", "intended_use", "not_for", "licence", "inputs",
     "outputs", "preprocess", "network", "weights"],
)  # fmt: skip
def test_a_missing_field_is_named(field):
    values = table()
    del values[field]
    with pytest.raises(BadInput, match=field):
        card_from_table(values, "card.toml")


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("outputs", "threshold", 1.0),
        ("outputs", "threshold", True),
        ("outputs", "min_component_voxels", -1),
        ("preprocess", "spacing_mm", 0.0),
        ("preprocess", "multiple", 0),
        ("weights", "sha256", "abc"),
        ("weights", "file", "../other/model.safetensors"),
        ("weights", "file", "model.pt"),
    ],
)
def test_an_impossible_value_is_named(section, field, value):
    values = table()
    values[section][field] = value
    with pytest.raises(BadInput, match=field):
        card_from_table(values)


def test_two_labels_with_one_number_are_refused():
    values = table()
    values["outputs"]["labels"] = [{"name": "a", "number": 2}, {"name": "b", "number": 2}]
    with pytest.raises(BadInput, match="same number"):
        card_from_table(values)


def test_broken_or_missing_files_are_one_sentence(tmp_path):
    with pytest.raises(BadInput, match="no readable card"):
        load_card(tmp_path)
    (tmp_path / "card.toml").write_text("id = ")
    with pytest.raises(BadInput, match="not valid TOML"):
        load_card(tmp_path)


def test_weights_are_accepted_only_bit_for_bit(model_copy):
    card = load_card(model_copy)
    path = check_weights(card, model_copy)
    assert availability(card, model_copy) == (True, "")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match="not the ones its card describes"):
        check_weights(card, model_copy)
    ok, reason = availability(card, model_copy)
    assert not ok
    assert "not the ones its card describes" in reason


def test_missing_weights_and_missing_torch_are_reasons(model_copy, monkeypatch):
    card = load_card(model_copy)
    (model_copy / card.weights_file).unlink()
    assert "missing" in availability(card, model_copy)[1]
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else real(name)
    )
    ok, reason = availability(card, model_copy)
    assert not ok
    assert "'torch' is not installed" in reason
