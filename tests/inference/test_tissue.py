"""Brain and tissue: brightness, pieces, volumes, made-up heads, and a model from start to end."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from imaging.errors import BadInput  # noqa: E402
from inference.card_reading import load_card  # noqa: E402
from inference.devices import choose_device  # noqa: E402
from inference.model import RunCancelled, SourceImage  # noqa: E402
from inference.plugins.atlas import Atlas, bright_brain, lay_over, moved  # noqa: E402
from inference.plugins.tissue import (  # noqa: E402
    BrainTissue,
    Classes,
    Tissues,
    class_channels,
    fitted_classes,
    whole_pieces,
)
from inference.training.tissue.evaluate import (  # noqa: E402
    FOLDER,
    Heads,
    dice,
    otsu_brain,
    raw_flairs,
    thick,
)
from inference.training.tissue.heads import Head  # noqa: E402
from inference.training.tissue.package import write_anatomy  # noqa: E402
from inference.training.tissue.synthesis import TISSUE, HeadMaker  # noqa: E402
from inference.training.tissue.train import AnatomyTrainer, run  # noqa: E402

EDGE = 48
SMALL = replace(TISSUE, shape=(32, 32, 32), channels=(4, 4, 8, 8), thin=4)


def ball_head(real: bool = False) -> Head:
    """Shells of white, grey and fluid in a cube, like an onion; outside a skull and air."""
    at = np.indices((EDGE,) * 3) - (EDGE - 1) / 2
    radius = np.sqrt((at**2).sum(0)).astype(np.float32)
    wm, csf = (radius < 9).astype(np.float32), ((radius >= 13) & (radius < 15)).astype(np.float32)
    gm = ((radius >= 9) & (radius < 13)).astype(np.float32)
    outer = ((radius > 15) & (radius < 20)).astype(np.uint8) * 2
    image = wm + 0.7 * gm + 0.2 * csf + 0.9 * (outer > 0)
    return Head("ball", csf, gm, wm, radius - 15, outer, image if real else None, 1.0)


def big_brain(levels, seed=0):
    """White, grey and fluid in shells as thick as a brain's, a ventricle, noise; 2 mm voxels."""
    at = np.indices((64, 64, 64)) - 31.5
    radius = 2 * np.sqrt((at**2).sum(0))
    tissue = np.select([radius < 10, radius < 46, radius < 56, radius < 60], [1, 3, 2, 1], 0)
    noise = np.random.default_rng(seed).normal(0, 0.03, tissue.shape)
    return tissue, np.array([0.0, *levels])[tissue] + noise * (tissue > 0)


@pytest.mark.parametrize(
    "levels", [(0.2, 0.6, 0.9), (1.1, 0.6, 0.4), (0.15, 0.8, 0.65), (0.9, 0.8, 0.6)]
)
@pytest.mark.parametrize("gain", [1.0, 700.0])
def test_the_order_of_the_tissues_is_found_for_any_sequence(levels, gain):
    tissue, image = big_brain(levels)
    found = fitted_classes(image.astype(np.float32) * np.float32(gain), tissue > 0, 2.0)
    np.testing.assert_allclose(np.array(found.means) / gain, levels, atol=0.05)


def test_melted_grey_and_white_matter_of_a_flair_are_told_apart():
    tissue, image = big_brain((0.15, 0.72, 0.71))
    found = fitted_classes(image.astype(np.float32), tissue > 0, 2.0)
    assert found.means[0] == pytest.approx(0.15, abs=0.05)
    assert 0.72 < found.means[1] < 0.76
    assert 0.66 < found.means[2] < 0.70


def test_what_the_second_network_sees_is_the_same_for_two_sequences():
    tissue, first = big_brain((0.2, 0.6, 0.9))
    _, second = big_brain((1.1, 0.6, 0.3))
    brain = torch.from_numpy((tissue > 0).astype(np.float32))
    seen = []
    for image in (first, second):
        classes = fitted_classes(image, tissue > 0, 2.0)
        seen.append(class_channels(torch.from_numpy(image.astype(np.float32)), brain, classes))
    inside = brain > 0.5
    assert (seen[0] - seen[1])[:, inside].abs().mean() < 0.05
    for channel, number in ((0, 1), (1, 2)):
        assert seen[0][channel][torch.from_numpy(tissue == number)].mean() > 0.9


def test_far_from_all_tissues_none_is_preferred():
    classes = Classes((0.2, 0.5, 0.8), (0.05, 0.05, 0.05))
    image = torch.full((4, 4, 4), 9.0)
    seen = class_channels(image, torch.ones(4, 4, 4), classes)
    assert torch.allclose(seen[:2], torch.full((2, 4, 4, 4), 1 / 3), atol=1e-5)


def test_an_eye_on_a_thin_stalk_is_no_brain_and_a_ventricle_is():
    at = np.indices((60, 60, 60))
    brain = ((at - 25) ** 2).sum(0) < 18**2
    ventricle = ((at - 25) ** 2).sum(0) < 5**2
    eye = ((at - np.array([25, 25, 51]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 6**2
    stalk = (abs(at[0] - 25) < 2) & (abs(at[1] - 25) < 2) & (at[2] > 40) & (at[2] < 48)
    kept = whole_pieces((brain & ~ventricle) | eye | stalk)
    assert kept[25, 25, 25]
    assert not kept[25, 25, 51]
    assert dice(kept, brain) > 0.99


def test_volumes_are_those_of_the_likeliest_tissue():
    shares = np.zeros((3, 10, 10, 10), np.float32)
    shares[0, :2], shares[1, 2:6], shares[2, 6:9] = 1.0, 0.7, 0.8
    shares[2, 2:6] = 0.3
    brain = shares.sum(0) > 0.5
    facts = Tissues(shares, brain, False).facts(10.0)
    assert (facts["csf_ml"], facts["grey_matter_ml"], facts["white_matter_ml"]) == (200, 400, 300)
    assert facts["brain_ml"] == 900
    assert facts["brain_parenchymal_fraction"] == pytest.approx(7 / 9, abs=1e-3)


@pytest.mark.parametrize("real", [False, True])
def test_made_up_heads_are_complete_and_differ(real):
    maker = HeadMaker([ball_head(real)], SMALL, 5)
    examples = [maker.sample() for _ in range(6)]
    for example in examples:
        assert example.image.shape == (3, *SMALL.shape)
        assert torch.isfinite(example.image).all()
        assert example.image.min() >= 0
        assert example.image.max() <= 1
        assert set(example.label.unique().tolist()) <= {0, 1, 2, 3}
    assert any((e.label > 0).sum() > 500 for e in examples)
    assert not torch.equal(examples[0].image, examples[1].image)
    again = HeadMaker([ball_head(real)], SMALL, 5).sample()
    assert torch.equal(again.image, examples[0].image)


def test_the_tissue_that_fits_best_is_mostly_the_one_labelled():
    maker = HeadMaker([ball_head()], SMALL, 1)
    right = []
    for _ in range(10):
        example = maker.sample()
        csf, gm = example.image[:2]
        best = torch.stack([csf, gm, 1 - csf - gm]).argmax(0) + 1
        inside = example.label > 0
        right.append(float((best == example.label)[inside].float().mean()))
    assert np.median(right) > 0.6


def ball_atlas():
    """The same onion as average brain, at 2.5 mm, its middle elsewhere."""
    head = ball_head(real=True)
    affine = np.array([[0, 0, 2.5, -70], [0, 2.5, 0, -40], [2.5, 0, 0, -66], [0, 0, 0, 1.0]])
    brain = (head.distance < 0).astype(np.float32)
    return Atlas((head.wm + 0.7 * head.gm + 0.2 * head.csf).astype(np.float32), brain, affine)


PLACE = np.array([[0, 0, 2.5, -50], [0, 2.5, 0, -50], [2.5, 0, 0, -50], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def small_package(tmp_path_factory):
    """A model trained for twenty steps, packaged and ready to run."""
    folder = tmp_path_factory.mktemp("run")
    torch.set_num_threads(1)
    trainer = AnatomyTrainer(HeadMaker([ball_head()], SMALL), 0)
    assert run(trainer, folder, 60, 60, 20)
    figures = folder / "figures.json"
    figures.write_text(
        json.dumps({"raw_flair": [{"image": "a", "brain_dice": 0.9}]}), encoding="utf-8"
    )
    write_anatomy(folder, ball_atlas(), folder / "package", figures, SMALL)
    return folder


def test_twenty_steps_teach_something_and_a_stopped_run_goes_on(small_package):
    lines = (small_package / "log.jsonl").read_text(encoding="utf-8").splitlines()
    first, later = (json.loads(line)["loss"] for line in lines)
    assert later < first
    trainer = AnatomyTrainer(HeadMaker([ball_head()], SMALL), 0)
    trainer.load(small_package / "checkpoint.pt")
    assert trainer.steps == 20
    assert not run(trainer, small_package / "more", 60, 0.0, 30)
    assert trainer.steps == 21


@pytest.mark.parametrize("levels", [(0.2, 0.7, 1.0), (1.3, 0.8, 0.5)])
def test_an_average_brain_finds_its_like_in_any_contrast(levels):
    tissue, image = big_brain(levels)
    ring = np.linalg.norm(np.indices(tissue.shape) - 31.5, axis=0)
    image = (image + 0.8 * ((ring > 31) & (ring < 33))).astype(np.float32)
    _, average = big_brain((0.2, 0.6, 0.9), seed=1)
    place = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    elsewhere = place.copy()
    elsewhere[:3, 3] = (9, -7, 12)
    brain = (tissue > 0).astype(np.float32)
    atlas = Atlas(average.astype(np.float32), brain, elsewhere)
    transform = lay_over(image, place, atlas)
    found = moved(brain, elsewhere, transform, image, place) > 0.5
    assert dice(found, tissue > 0) > 0.85


def test_a_search_that_ran_away_is_not_believed():
    head = ball_head(real=True)  # too few voxels at 4 mm to tell any size
    transform = lay_over(head.image, PLACE, ball_atlas())
    size = np.linalg.det(np.reshape(transform.GetMatrix(), (3, 3)))
    assert 0.45 < size < 1 / 0.45


def test_the_search_for_the_brain_can_be_cancelled():
    class Stop:
        def step(self, fraction):
            raise RunCancelled

    with pytest.raises(RunCancelled):
        lay_over(ball_head(True).image, PLACE, ball_atlas(), Stop())


def test_an_eye_beside_the_average_brain_is_no_brain():
    at = np.indices((80, 80, 80))
    brain = ((at - 36) ** 2).sum(0) < 28**2
    eye = ((at - np.array([36, 36, 72]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 6**2
    image = (brain | eye).astype(np.float32)
    found = bright_brain(image, ((at - 37) ** 2).sum(0) < 27**2)
    assert not (found & eye).any()
    assert dice(found, brain) > 0.95


def test_the_package_runs_and_answers_on_the_grid_of_the_image(small_package):
    folder = small_package / "package"
    card = load_card(folder)
    assert card.kind == "tissue"
    assert [label.name for label in card.labels] == [
        "Cerebrospinal fluid",
        "Grey matter",
        "White matter",
    ]
    assert {label.type.scheme for label in card.labels} == {"SCT"}
    assert card.figures[0]["brain_dice"] == 0.9
    head = ball_head(real=True)
    labels = Heads(folder).labels(head.image, PLACE)
    assert labels.shape == head.image.shape
    assert labels.max() <= 3


def test_tissues_are_not_explained_and_a_missing_image_is_a_sentence(small_package):
    folder = small_package / "package"
    model = BrainTissue(load_card(folder), folder, choose_device("cpu"))
    with pytest.raises(BadInput, match="needs an image"):
        model.prepare({})
    affine = np.eye(4)[[2, 1, 0, 3]]
    prepared = model.prepare({"Head": SourceImage(ball_head(True).image, affine)})
    with pytest.raises(BadInput, match="not explained"):
        model.heat(prepared, prepared.array > 0.5, "fine", None)


def test_the_baseline_finds_a_bright_brain_in_a_dark_skull():
    head = ball_head(real=True)
    image = np.kron(head.image, np.ones((3, 3, 3)))
    at = np.eye(4)[[2, 1, 0, 3]]
    brain = np.kron(head.distance < -2, np.ones((3, 3, 3), bool))
    skull = np.kron(head.outer > 0, np.ones((3, 3, 3), bool))
    image = np.where(skull, 0.05, image)
    assert dice(otsu_brain(image, at), brain) > 0.9


def test_thick_slices_stay_where_they_were():
    image = np.arange(12, dtype=np.float32)[:, None, None] * np.ones((1, 3, 3), np.float32)
    affine = np.eye(4)[[2, 1, 0, 3]] @ np.diag([1, 1, 1, 1.0])
    slices, place = thick(image, affine, 0, 3)
    assert slices[:, 0, 0].tolist() == [1, 4, 7, 10]
    for k in range(4):  # the value is the height in mm
        assert (place @ [k, 0, 0, 1])[2] == slices[k, 0, 0]


@pytest.mark.skipif(not (FOLDER / "card.toml").exists(), reason="the model is not installed")
def test_the_installed_model_finds_the_brain_of_a_raw_head(shared_data):
    name, voxels, affine, truth, field = next(raw_flairs())
    heads = Heads()
    labels = heads.labels(voxels, affine)
    figure = next(f for f in heads.model.card.figures if f.get("image") == name)
    assert dice((labels > 0) & field, truth) == pytest.approx(
        figure["brain_dice_in_reference_field"], abs=0.004
    )
    assert dice(labels > 0, truth) > dice(otsu_brain(voxels, affine), truth)
    turned = np.transpose(voxels, (2, 0, 1))[:, ::-1]
    change = np.zeros((4, 4))
    change[2, 0] = change[0, 1] = change[1, 2] = change[3, 3] = 1
    change[0, 1], change[0, 3] = -1, voxels.shape[0] - 1
    again = heads.labels(turned, affine @ change)
    assert (np.transpose(labels, (2, 0, 1))[:, ::-1] == again).mean() > 0.999
