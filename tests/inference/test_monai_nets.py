"""MONAI's networks from a card: only what is on the list, and the same answer folded."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("monai")

from imaging.errors import BadInput  # noqa: E402
from inference.plugins.gradcam import grad_cam  # noqa: E402
from inference.plugins.monai_nets import (  # noqa: E402
    NETWORKS,
    build,
    explained_layers,
    folded,
    load,
    store,
)
from inference.plugins.monai_runner import as_planes  # noqa: E402

SMALL = {
    "BasicUNet": {"features": [4, 4, 8, 8, 8, 4]},
    "UNet": {"channels": [4, 8, 8], "strides": [2, 2], "num_res_units": 1},
    "AttentionUnet": {"channels": [4, 8, 8], "strides": [2, 2]},
    "DynUNet": {
        "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 8], "res_block": True,
    },
    "SegResNet": {"init_filters": 4, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
    "ResNet": {"block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [4, 4, 8, 8]},
    "DenseNet": {"init_features": 4, "growth_rate": 4, "block_config": [2, 2]},
    "DenseNet121": {"init_features": 4, "growth_rate": 4, "block_config": [1, 1, 1, 1]},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny networks: threads would wait for each other more than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _used(name, dims, inputs=2):
    """A network whose normalisation has seen something, and an image for it."""
    torch.manual_seed(0)
    network = build(name, {**SMALL[name], "inputs": inputs, "dims": dims})
    shape = (2, inputs, *((32,) * dims))
    network.train()
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
    for _ in range(2):
        network(torch.randn(shape) + 0.5)
    return network.eval(), torch.randn(1, *shape[1:])


def test_every_network_of_the_list_is_tried():
    assert set(SMALL) == set(NETWORKS)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", SMALL)
def test_folded_it_says_the_same(name, dims):
    network, image = _used(name, dims)
    with torch.no_grad():
        before = network(image)
        other = folded(copy.deepcopy(network), tuple(image.shape))
        after = other(image)
    assert torch.allclose(before, after, rtol=1e-3, atol=1e-4)

    def norms(n):
        return sum(isinstance(m, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)) for m in n.modules())

    assert norms(other) < norms(network)
    kinds = (torch.nn.InstanceNorm2d, torch.nn.InstanceNorm3d)
    assert not any(isinstance(module, kinds) for module in network.modules())


@pytest.mark.parametrize("name", ["BasicUNet", "SegResNet", "ResNet"])
def test_stored_and_loaded_it_says_nearly_the_same(name, tmp_path):
    network, image = _used(name, 3)
    store(network, tmp_path / "w.safetensors")
    arguments = {**SMALL[name], "inputs": 2}
    loaded = load(f"monai:{name}", arguments, tmp_path / "w.safetensors")
    with torch.no_grad():
        before, after = network(image), loaded(image)
    assert torch.allclose(before, after, atol=0.02 * float(before.abs().max()) + 1e-3)
    with pytest.raises((RuntimeError, BadInput)):
        load(f"monai:{name}", {**arguments, "inputs": 3}, tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", SMALL)
def test_every_network_can_be_explained(name):
    network, image = _used(name, 3, inputs=1)
    network = folded(network, (1, 1, 32, 32, 32))
    layers = explained_layers(network, (1, 1, 32, 32, 32))
    target = np.array(True)
    if not NETWORKS[name].classifies:
        target = np.zeros((32, 32, 32), bool)
        target[10:20, 10:20, 10:20] = True
    for layer in layers.values():
        heat = grad_cam(network, image, target, layer)
        assert heat.shape == (32, 32, 32)
        assert np.isfinite(heat).all()


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("Transformer", {}, "no network"),
        ("os.system", {}, "no network"),
        ("BasicUNet", {"norm": "instance"}, "cannot be chosen"),
        ("UNet", {"act": "RELU"}, "cannot be chosen"),
        ("BasicUNet", {"features": [4, 4, 8, 8, 8, 10**9]}, "small whole numbers"),
        ("BasicUNet", {"features": {"a": 1}}, "small whole numbers"),
        ("BasicUNet", {"features": [0.5] * 6}, "small whole numbers"),
        ("BasicUNet", {"features": [4, 4]}, "no network"),
        ("BasicUNet", {"features": [1024] * 6}, "far larger"),
        ("BasicUNet", {"dims": 4}, "2 or 3"),
        ("UNet", {"channels": [4, 8], "strides": ["import os"]}, "no network"),
    ],
)
def test_nothing_else_is_built(name, arguments, words):
    with pytest.raises(BadInput, match=words):
        build(name, arguments)


def test_planes_and_their_neighbours():
    channels = np.arange(2 * 5 * 2 * 2, dtype=np.float32).reshape(2, 5, 2, 2)
    planes = as_planes(channels, 3)
    assert planes.shape == (5, 6, 2, 2)
    assert (planes[2, 1] == channels[0, 2]).all(), "the plane itself is in the middle"
    assert (planes[2, 0] == channels[0, 1]).all()
    assert (planes[2, 5] == channels[1, 3]).all()
    assert (planes[0, 0] == channels[0, 0]).all(), "the first is its own neighbour"
