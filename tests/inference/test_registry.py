"""Listing models: cards as data, reasons instead of surprises, no plug-in imported."""

import shutil
from dataclasses import replace
from importlib import import_module

import pytest
from tiny_models import make_head

from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.open import load_series, scan
from imaging.series import SequenceGuess
from imaging.volume import Source
from inference.model import InputNeed
from inference.registry import (
    PLUGINS,
    find_model,
    installed_models,
    plugin_name,
    suitable,
    user_folder,
)
from inference.suitability import companions, doubts, pixel_doubt, seen_in_pixels


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


@pytest.mark.parametrize(
    ("said", "seen", "ok", "words"),
    [
        ("FLAIR", "FLAIR", True, "Looks like"),
        ("", "FLAIR", True, "Looks like"),
        ("FLAIR", "", True, "Looks like"),
        ("FLAIR", "T2w", False, "pixels look like T2w (fluid is bright)"),
        ("", "T1w", False, "pixels look like T1w"),
        ("T2w", "FLAIR", False, "looks like T2w, but"),
        ("", "", False, "not known"),
    ],
)  # fmt: skip
def test_pixels_are_a_second_witness(tiny_model, said, seen, ok, words):
    volume = replace(make_head()[0], source=Source("nifti", sequence=said))
    guess = SequenceGuess(seen, 0.6 if seen else 0.0, "in the pixels fluid is bright")
    fits, sentence = suitable(tiny_model.card, volume, guess)
    assert fits is ok
    assert words in sentence


def test_only_another_kind_of_image_is_wrong_thick_slices_are_a_limit(tiny_model):
    thick = make_head((24, 72, 60), (5.0, 2.0, 2.0), sequence="T2w")[0]
    found = doubts(tiny_model.card, thick)
    assert "T2w" in " ".join(found.wrong)
    assert "apart" in " ".join(found.limits)


def test_a_card_may_take_several_sequences_or_any(tiny_model):
    volume = make_head(sequence="T1w+C")[0]
    for wanted, ok in (("any", True), ("T1w+C, T2w or FLAIR", True), ("T2w / FLAIR", False)):
        card = replace(tiny_model.card, inputs=(InputNeed("Head", wanted),))
        assert suitable(card, volume)[0] is ok


@pytest.mark.parametrize(
    ("said", "wanted", "words"),
    [
        ("T1w+C", "T1w, T2w or FLAIR", "taken with contrast agent"),
        ("T1w", "T1w+C", "taken without contrast agent"),
        ("T1w+C", "T2w", "looks like T1w+C, but"),
    ],
)
def test_contrast_agent_is_asked_about(tiny_model, said, wanted, words):
    card = replace(tiny_model.card, inputs=(InputNeed("Head", wanted),))
    volume = make_head(sequence=said)[0]
    assert words in " ".join(doubts(card, volume).wrong)
    plain = SequenceGuess("T1w", 0.6, "in the pixels fluid is dark")
    assert pixel_doubt(InputNeed("Head", "T1w+C"), plain) == ""  # pixels do not tell


def test_an_image_with_contrast_agent_is_no_silent_companion(tiny_model):
    card = replace(
        tiny_model.card, inputs=(InputNeed("FLAIR", "FLAIR"), InputNeed("T1w", "T1w", False))
    )
    flair = make_head(sequence="FLAIR")[0]
    given, plain = (replace(make_head(sequence=said)[0], id=said) for said in ("T1w+C", "T1w"))
    assert companions(card, flair, [flair, given]) == {}
    assert companions(card, flair, [flair, given, plain])["T1w"].id == "T1w"


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("ms_open_longitudinal/raw/patient01/study1_FLAIR.nii.gz", True),
        ("ms_open_longitudinal/raw/patient03/study1_FLAIR.nii.gz", True),
        ("ms_open_longitudinal/raw/patient03/study2_FLAIR.nii.gz", True),
        ("ms_open_mni/MNI/patient07/FLAIR_*", True),
        ("ms_open_mni/MNI/patient07/T2_*", False),
        ("ms_open_mni/MNI/patient07/T1_*", False),
        ("stroke_unlabelled_t2_flair/arc_M2265_T2w.nii.gz", False),
    ],
)
def test_of_real_heads_only_the_wrong_ones_are_asked_about(shared_data, tiny_model, pattern, fits):
    """Whatever the files are called: the name of the sequence is taken away first."""
    (path,) = shared_data.glob(pattern)
    with scan([path]) as found:
        volume = load_series(found.series[0])
    for said in ("", "FLAIR"):
        named = replace(volume, source=replace(volume.source, sequence=said))
        asked = doubts(tiny_model.card, named, seen_in_pixels(named)).wrong
        assert bool(asked) is not fits


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
