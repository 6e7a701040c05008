"""The network: same answer folded and unfolded, on any grid, and from a file without code."""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402

from inference.plugins.unet import UNet, fold_batchnorm, load_unet  # noqa: E402

SMALL = {"inputs": 1, "outputs": 1, "channels": [4, 6, 8, 10], "thin": 3}
MODEL = Path(__file__).resolve().parents[2] / "resources" / "models" / "flair-wml"


@pytest.fixture
def trained() -> UNet:
    """A small network whose normalisation layers have seen something."""
    torch.manual_seed(0)
    network = UNet(**SMALL)
    for _ in range(3):
        network(torch.randn(2, 1, 32, 32, 32) * 2 + 1)
    return network.eval()


def test_folding_changes_nothing_but_the_layers(trained):
    image = torch.randn(1, 1, 32, 48, 32)
    with torch.inference_mode():
        before = trained(image)
        after = fold_batchnorm(trained)(image)
    assert torch.allclose(before, after, atol=1e-5)
    assert not any(isinstance(m, torch.nn.BatchNorm3d) for m in trained.modules())


@pytest.mark.parametrize("shape", [(16, 16, 16), (32, 64, 48), (80, 16, 32)])
def test_output_has_the_grid_of_the_input(shape):
    network = UNet(**SMALL).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, *shape)).shape == (1, 1, *shape)
    assert network.multiple == 16


def test_planes_go_through_the_same_network():
    torch.manual_seed(1)
    network = UNet(**{**SMALL, "outputs": 2}, dims=2)
    for _ in range(3):
        network(torch.randn(2, 1, 32, 48) * 2 + 1)
    image = torch.randn(3, 1, 48, 32)
    with torch.inference_mode():
        before = network.eval()(image)
        after = fold_batchnorm(network)(image)
    assert before.shape == (3, 2, 48, 32)
    assert torch.allclose(before, after, atol=1e-5)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    with pytest.raises(TypeError, match="dimensions"):
        UNet(**SMALL, dims=4)


def test_weights_survive_the_file_in_half_precision(trained, tmp_path):
    folded = fold_batchnorm(trained)
    state = {k: v.half().contiguous() for k, v in folded.state_dict().items()}
    save_file(state, str(tmp_path / "model.safetensors"))
    loaded = load_unet(tmp_path / "model.safetensors", SMALL)
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        difference = (torch.sigmoid(loaded(image)) - torch.sigmoid(folded(image))).abs()
    assert float(difference.max()) < 5e-3
    assert not any(p.requires_grad for p in loaded.parameters())
    assert loaded.stem[1].conv.weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_weights_of_another_shape_are_refused(trained, tmp_path):
    save_file(fold_batchnorm(trained).state_dict(), str(tmp_path / "model.safetensors"))
    with pytest.raises(RuntimeError):
        load_unet(tmp_path / "model.safetensors", {**SMALL, "thin": 5})
    with pytest.raises(TypeError):
        load_unet(tmp_path / "model.safetensors", {**SMALL, "surprise": 1})


def test_stages_can_be_watched_by_name(trained):
    """Explanations hook these stages; gradients must reach them."""
    stages = dict(trained.named_modules())
    seen = {}

    def keep(name, _module, _inputs, output):
        output.retain_grad()
        seen[name] = output

    for name in ("bottleneck", "decoder.0", "decoder.1", "decoder.2", "full_resolution"):
        stages[name].register_forward_hook(partial(keep, name))
    trained(torch.randn(1, 1, 32, 32, 32)).sum().backward()
    assert [32 // seen[n].shape[2] for n in seen] == [16, 8, 4, 2, 1]
    assert all(float(out.grad.abs().sum()) > 0 for out in seen.values())


def test_the_shipped_model_is_silent_on_air_and_repeats_itself():
    card = tomllib.loads((MODEL / "card.toml").read_text(encoding="utf-8"))
    network = load_unet(MODEL / card["weights"]["file"], card["network"]["arguments"])
    air = torch.full((1, 1, 64, 64, 64), -1.0)
    rng = np.random.default_rng(0)
    tissue = air + torch.from_numpy(rng.uniform(0.9, 1.1, air.shape).astype(np.float32))
    with torch.inference_mode():
        assert float(torch.sigmoid(network(air)).max()) < 0.2
        first, second = network(tissue), network(tissue)
    assert torch.equal(first, second)
    assert float(torch.sigmoid(first).mean()) < 0.1
