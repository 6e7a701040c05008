"""Listing models: cards as data, reasons instead of surprises, no plug-in imported."""

import shutil
from dataclasses import replace
from importlib import import_module

import pytest
from tiny_models import make_head

from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.volume import Source
from inference.registry import (
    PLUGINS,
    find_model,
    installed_models,
    plugin_name,
    suitable,
    user_folder,
)


def test_models_are_listed_from_their_folders(model_copy, caplog):
    root = model_copy.parent
    (root / "broken").mkdir()
    (root / "broken" / "card.toml").write_text("id = 3")
    (root / "no model").mkdir()
    models = installed_models([root, root.parent / "not there"])
    assert [m.card.id for m in models] == ["tiny"]
    assert models[0].available
    assert models[0].folder == model_copy
    assert "model left out" in caplog.text


def test_the_first_of_two_with_the_same_id_is_taken(model_copy, tmp_path):
    second = tmp_path / "second"
    shutil.copytree(model_copy, second / "tiny")
    models = installed_models([model_copy.parent, second])
    assert [m.folder for m in models] == [model_copy]


def test_changed_weights_and_unknown_architectures_are_listed_with_a_reason(model_copy):
    card = model_copy / "card.toml"
    card.write_text(card.read_text().replace('"unet"', '"os.system"'))
    (model,) = installed_models([model_copy.parent])
    assert not model.available
    assert "does not know the architecture 'os.system'" in model.reason
    with pytest.raises(BadInput):
        plugin_name(model.card)


def test_a_model_is_found_by_id_or_the_known_ones_are_told(model_copy):
    assert find_model("tiny", [model_copy.parent]).card.name == "Bright balls"
    with pytest.raises(BadInput, match="Installed models: tiny"):
        find_model("huge", [model_copy.parent])


def test_every_plug_in_can_be_loaded():
    for name in PLUGINS.values():
        module, _, attribute = name.partition(":")
        assert callable(getattr(import_module(module), attribute))


def test_the_user_folder_is_a_folder_for_models():
    assert user_folder().name == "models"
    assert "isocenter" in str(user_folder()).lower()


@pytest.mark.parametrize(
    ("source", "ok", "words"),
    [
        (Source("dicom", sequence="FLAIR"), True, "Looks like"),
        (Source("dicom", sequence="flair"), True, "Looks like"),
        (Source("dicom", sequence="T1w"), False, "looks like T1w, but"),
        (Source("nifti"), False, "not known"),
        (Source("dicom", modality="CT"), False, "not an MR image"),
    ],
)  # fmt: skip
def test_the_sequence_is_checked(tiny_model, source, ok, words):
    volume = replace(make_head()[0], source=source)
    fits, sentence = suitable(tiny_model.card, volume)
    assert fits is ok
    assert words in sentence


def test_slabs_and_thick_slices_are_doubted(tiny_model):
    slab, _ = make_head((4, 72, 60), (5.0, 2.0, 2.0))
    ok, sentence = suitable(tiny_model.card, slab)
    assert not ok
    assert "covers only 20 mm" in sentence
    assert "5.0 mm apart" in sentence


def test_shifted_slices_are_as_far_apart_as_along_their_normal(tiny_model):
    volume, _ = make_head((40, 72, 60), (5.0, 2.0, 2.0))
    affine = volume.geometry.affine.copy()
    affine[:3, 0] += 2.0 * volume.geometry.directions[:, 1]
    _, sentence = suitable(
        tiny_model.card, replace(volume, geometry=Geometry(volume.geometry.shape, affine))
    )
    assert "5.0 mm apart" in sentence
