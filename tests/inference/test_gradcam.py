"""Grad-CAM must depend on the weights, repeat itself, and look where the evidence is."""

import numpy as np
import pytest
import torch
from tiny_models import ARGUMENTS, seeing_state

from imaging.geometry import Box
from inference.plugins.flair_wml import FlairLesions
from inference.plugins.forward import as_image
from inference.plugins.gradcam import grad_cam
from inference.plugins.unet import UNet, fold_batchnorm
from inference.plugins.whole_head import CROPS, _lattice


def brain_with_ball(centre=(20, 24, 28), radius=5, shape=(48, 48, 48)):
    """A normalised image (brain 0, ball 1) with some noise, and the ball as a mask."""
    grid = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    ball = (grid**2).sum(0) < radius**2
    image = np.random.default_rng(5).normal(0, 0.05, shape) + ball
    return image.astype(np.float32), ball


def network(state=None):
    made = fold_batchnorm(UNet(**ARGUMENTS))
    made.load_state_dict(state or seeing_state())
    return made.requires_grad_(False)


def random_network(seed):
    torch.manual_seed(seed)
    return fold_batchnorm(UNet(**ARGUMENTS)).requires_grad_(False)


@pytest.fixture(scope="module")
def seeing():
    return network()


def heat_of(net, layer="decoder.1", method="xres", **rest):
    image, ball = brain_with_ball()
    return grad_cam(net, as_image(image, "cpu"), ball, layer, method, **rest), ball


@pytest.mark.parametrize("layer", ["bottleneck", "decoder.0", "decoder.1", "decoder.2"])
@pytest.mark.parametrize("method", ["xres", "grad"])
def test_the_map_lies_on_the_grid_and_is_not_negative(seeing, layer, method):
    heat, ball = heat_of(seeing, layer, method)
    assert heat.shape == ball.shape
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() > 0


def test_the_map_repeats_itself(seeing):
    np.testing.assert_array_equal(heat_of(seeing)[0], heat_of(seeing)[0])


def test_the_heat_is_at_the_lesion(seeing):
    """The pointing game, and nearly all the heat within 10 voxels of the ball's edge."""
    heat, _ = heat_of(seeing)
    grid = np.indices(heat.shape) - np.reshape((20, 24, 28), (3, 1, 1, 1))
    distance = np.sqrt((grid**2).sum(0))
    assert distance.flat[heat.argmax()] <= 5
    assert heat[distance < 15].sum() > 0.95 * heat.sum()


def test_only_the_marked_lesion_is_explained(seeing):
    image, one = brain_with_ball((16, 16, 16), 4)
    _, other = brain_with_ball((36, 36, 36), 4)
    image[other] += 1
    heat = grad_cam(seeing, as_image(image, "cpu"), one, "decoder.1")
    assert heat[one].mean() > 20 * heat[other].mean()


@pytest.mark.parametrize(("layer", "limit"), [("bottleneck", 0.5), ("decoder.1", 0.75)])
def test_other_weights_give_another_map(seeing, layer, limit):
    """Weight randomisation: a map that did not depend on the weights would explain nothing.

    A fine layer keeps some likeness whatever the weights, because only places near the marked
    voxels can matter to them at all; the coarse one has to lose nearly all of it.
    """
    heat, _ = heat_of(seeing, layer)
    others = [heat_of(random_network(seed), layer)[0] for seed in range(6)]
    likeness = [np.corrcoef(heat.ravel(), o.ravel())[0, 1] for o in others if o.any()]
    assert np.mean(likeness) < limit


def test_randomising_only_the_head_changes_the_map(seeing):
    state = seeing_state()
    state["head.weight"] = -state["head.weight"]
    heat, _ = heat_of(network(state))
    assert not heat.any()  # the evidence now speaks against the finding


def test_the_gradient_is_that_of_the_summed_logits(seeing):
    """Against finite differences, through a layer whose output we move a little."""
    image, ball = brain_with_ball()
    tensor = as_image(image, "cpu")
    moved = {"by": 0.0}
    where = (0, 0, 5, 6, 7)

    def nudge(module, inputs, output):
        output = output.clone()
        output[where] += moved["by"]
        return output

    handle = seeing.get_submodule("decoder.1").register_forward_hook(nudge)
    sums = []
    for by in (-0.01, 0.01):
        moved["by"] = by
        with torch.no_grad():
            sums.append(float(seeing(tensor)[0, 0][torch.from_numpy(ball)].double().sum()))
    handle.remove()
    from inference.plugins.gradcam import _activation_and_gradient

    module = seeing.get_submodule("decoder.1")
    _, gradient = _activation_and_gradient(seeing, module, tensor, ball)
    assert float(gradient[where]) == pytest.approx((sums[1] - sums[0]) / 0.02, rel=1e-2, abs=1e-3)
    assert float(gradient[where]) != 0


def test_pooling_the_gradient_spreads_the_heat(seeing):
    sharp, ball = heat_of(seeing)
    wide, _ = heat_of(seeing, window=4)
    assert wide[~ball].sum() / wide.sum() >= sharp[~ball].sum() / sharp.sum()


def test_impossible_questions_are_refused(seeing):
    image, ball = brain_with_ball()
    tensor = as_image(image, "cpu")
    with pytest.raises(ValueError, match="marked"):
        grad_cam(seeing, tensor, np.zeros_like(ball), "bottleneck")
    with pytest.raises(ValueError, match="layer"):
        grad_cam(seeing, tensor, ball, "attic")
    with pytest.raises(ValueError, match="method"):
        grad_cam(seeing, tensor, ball, "bottleneck", "lime")


@pytest.fixture
def runner(tiny_folder):
    from inference.card_reading import load_card
    from inference.devices import choose_device

    return FlairLesions(load_card(tiny_folder), tiny_folder, choose_device("cpu"))


def test_large_findings_are_cut_so_that_each_voxel_is_explained_once(runner):
    target = np.zeros((48, 320, 80), bool)
    target[10:20, 5:300:9, 20:60:7] = True
    for edge in CROPS:
        seen = np.zeros(target.shape, int)
        for crop, wanted in runner._cut(target, edge):
            assert crop.clipped(target.shape) == crop
            assert all(start % 16 == 0 for start in crop.start)
            assert all(n % 16 == 0 for n in crop.shape)
            seen[crop.slices] += wanted
        np.testing.assert_array_equal(seen, target)


def test_little_memory_is_met_with_pieces_and_said(runner, monkeypatch):
    from inference.plugins import whole_head

    notes = []
    report = type("R", (), {"note": staticmethod(notes.append)})()
    target = np.zeros((48, 320, 80), bool)
    target[20, 5:300, 40] = True
    many = runner._pieces(target, report)
    assert notes == []
    monkeypatch.setattr(whole_head, "available_memory_bytes", lambda: 1)
    assert len(runner._pieces(target, report)) > len(many)
    assert "in pieces" in notes[0]


def test_a_block_is_cut_evenly_and_completely():
    parts = _lattice(Box((3, 0, 0), (103, 40, 7)), 48)
    assert sum(np.prod(p.shape) for p in parts) == 100 * 40 * 7
    assert max(max(p.shape) for p in parts) <= 48
    assert _lattice(Box((0, 0, 0), (0, 0, 0)), 48) == []
