"""Networks of MONAI, built from a card: names and arguments that are on a list, and no others.

A card brings words and numbers, never code: its architecture is ``monai:`` and a name of
:data:`NETWORKS`, its arguments are those that the list gives this name. Normalisation is always
over the batch, so that it can be folded into the convolutions (instance normalisation answers
differently on every engine). MONAI takes a second and a half to import; only these functions do.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from imaging.errors import BadInput

__all__ = ["NETWORKS", "PREFIX", "build", "explained_layers", "folded", "load", "store"]

PREFIX = "monai:"
#: No number of a card is larger: a spoiled card must not fill the memory.
_LARGEST = 1024
#: Nor has any network more weights: a package holds ten million at most.
_MOST_WEIGHTS = 50_000_000
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Known:
    """What may be built.

    Parameters
    ----------
    allowed : tuple of str
        Arguments a card may give.
    inputs, outputs : str
        What MONAI calls the numbers of channels here.
    fixed : mapping
        Arguments that are always given, and no card can change.
    classifies : bool
        True where it gives one logit for the whole image instead of one for each voxel.
    """

    allowed: tuple[str, ...]
    inputs: str = "in_channels"
    outputs: str = "out_channels"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    classifies: bool = False


_STEPS = ("channels", "strides", "kernel_size", "up_kernel_size")
NETWORKS: dict[str, Known] = {
    "BasicUNet": Known(("features", "upsample"), fixed={"norm": "batch"}),
    "UNet": Known((*_STEPS, "num_res_units"), fixed={"norm": "batch"}),
    "AttentionUnet": Known(_STEPS),
    "DynUNet": Known(
        ("kernel_size", "strides", "upsample_kernel_size", "filters", "res_block"),
        fixed={"norm_name": "batch"},
    ),
    "SegResNet": Known(
        ("init_filters", "blocks_down", "blocks_up", "upsample_mode"), fixed={"norm": "batch"}
    ),
    "ResNet": Known(
        ("block", "layers", "block_inplanes", "conv1_t_size", "conv1_t_stride", "no_max_pool"),
        inputs="n_input_channels",
        outputs="num_classes",
        fixed={"norm": "batch"},
        classifies=True,
    ),
    "DenseNet": Known(
        ("init_features", "growth_rate", "block_config", "bn_size"),
        fixed={"norm": "batch"},
        classifies=True,
    ),
    "DenseNet121": Known(
        ("init_features", "growth_rate", "block_config", "bn_size"),
        fixed={"norm": "batch", "pretrained": False, "progress": False},
        classifies=True,
    ),
}


def build(name: str, arguments: Mapping[str, Any], most: int = _MOST_WEIGHTS) -> nn.Module:
    """A network with fresh weights.

    Parameters
    ----------
    name : str
        A key of :data:`NETWORKS`, with or without ``monai:`` before it.
    arguments : mapping
        ``inputs``, ``outputs`` (channels), ``dims`` (2 or 3) and what the list allows.
    most : int
        So many weights it may have; it is not built with more.

    Raises
    ------
    BadInput
        Where the name or an argument is not on the list, MONAI is not installed, or the numbers
        make no network, or one that is too large.
    """
    name = name.removeprefix(PREFIX)
    known = NETWORKS.get(name)
    if known is None:
        raise BadInput(f"There is no network '{name}'", "", f"Networks: {', '.join(NETWORKS)}")
    given = dict(arguments)
    ends = {word: given.pop(word, 1) for word in ("inputs", "outputs")}
    dims = given.pop("dims", 3)
    for word, value in (*ends.items(), ("dims", dims), *given.items()):
        _check(name, word, value, word in ends or word == "dims" or word in known.allowed)
    if dims not in (2, 3):
        raise BadInput("A network has 2 or 3 dimensions", name)
    try:
        from monai.networks import nets
    except ImportError as error:
        raise BadInput(
            "The Python package 'monai' is not installed", name,
            "Install Isocenter with its 'ai' extra",
        ) from error  # fmt: skip
    channels = {known.inputs: ends["inputs"], known.outputs: ends["outputs"]}
    make = partial(getattr(nets, name), spatial_dims=dims, **channels, **given, **known.fixed)
    try:
        _check_size(name, make, min(most, _MOST_WEIGHTS))
        network: nn.Module = make()
    except (TypeError, ValueError, RuntimeError, IndexError, AssertionError) as error:
        raise BadInput("These numbers make no network", name) from error
    return _over_the_batch(network)


def _check_size(name: str, make: Callable[[], nn.Module], most: int) -> None:
    """Count the weights of a network without memory for them, and refuse too many."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        count = sum(parameter.numel() for parameter in make().parameters())
    if count > most:
        raise BadInput(f"The network {name} of this card would be far larger than its weights")


def _over_the_batch(network: nn.Module) -> nn.Module:
    """Normalisation over the batch also where MONAI leaves no choice (gates of AttentionUnet)."""
    kinds = {nn.InstanceNorm2d: nn.BatchNorm2d, nn.InstanceNorm3d: nn.BatchNorm3d}
    for name, module in list(network.named_modules()):
        if type(module) in kinds:
            parent, _, last = name.rpartition(".")
            norm = kinds[type(module)](module.num_features)
            setattr(network.get_submodule(parent), last, norm)
    return network


def _check(name: str, word: str, value: Any, allowed: bool) -> None:
    if not allowed:
        raise BadInput(f"'{word}' cannot be chosen for the network {name}")
    parts = list(_flat(value))
    numbers = [part for part in parts if isinstance(part, int)]
    plain = all(isinstance(part, (int, str)) for part in parts) and len(parts) <= 64
    if not plain or any(not 0 <= number <= _LARGEST for number in numbers):
        raise BadInput(f"'{word}' of the network {name} must be small whole numbers")


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _flat(part)
    else:
        yield value


def classifies(name: str) -> bool:
    """Whether a network of the list answers for the whole image."""
    known = NETWORKS.get(name.removeprefix(PREFIX))
    return known is not None and known.classifies


# --- weights ----------------------------------------------------------------------------------


def store(network: nn.Module, file: Path) -> None:
    """Weights as safetensors: float16, but for what has one number a channel (float32)."""
    from safetensors.torch import save_file

    state = {}
    for name, value in network.state_dict().items():
        small = value.ndim < 2 or not value.is_floating_point()
        state[name] = (value if small else value.half()).detach().cpu().clone().contiguous()
    save_file(state, str(file), metadata={"format": "pt"})
    file.chmod(0o644)


def load(name: str, arguments: Mapping[str, Any], file: Path, edge: int = 32) -> nn.Module:
    """A network with stored weights, normalisation folded, in evaluation mode and float32.

    Parameters
    ----------
    edge : int
        Edge of an image that the network accepts; see :func:`folded`.

    Raises
    ------
    BadInput
        As :func:`build`.
    RuntimeError
        Where the weights do not fit the network.
    """
    from safetensors.torch import load_file

    network = build(name, arguments, file.stat().st_size // 2)  # a weight takes two bytes or more
    state = {
        key: value.float() if value.is_floating_point() else value
        for key, value in load_file(str(file)).items()
    }
    network.load_state_dict(state, strict=True)
    network.requires_grad_(False)
    shape = (1, arguments.get("inputs", 1), *(edge,) * arguments.get("dims", 3))
    return folded(network, shape)


@torch.no_grad()
def folded(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Fold every batch normalisation that follows a convolution at once into it; in place.

    Which ones follow is seen in one pass, not read from names: a normalisation is folded where its
    input is the very tensor that a convolution gave and nobody else used. Those before a
    convolution (SegResNet, DenseNet) stay; in evaluation mode they are a plain scale and shift.

    Parameters
    ----------
    shape : tuple of int
        Of an image the network accepts, ``(1, c, ...)``.
    """
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    network.eval()
    for conv_name, norm_name in _followed(network, shape):
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        assert isinstance(conv, _CONVOLUTIONS)
        assert isinstance(norm, _NORMS)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var,
            norm.eps, norm.weight, norm.bias,
        )  # fmt: skip
        parent, _, last = norm_name.rpartition(".")
        setattr(network.get_submodule(parent) if parent else network, last, nn.Identity())
    return network.requires_grad_(False).eval()


def _followed(network: nn.Module, shape: tuple[int, ...]) -> list[tuple[str, str]]:
    """Names of convolutions and of the normalisation that alone uses the output of each."""
    made: dict[int, str] = {}
    taken: list[tuple[int, str]] = []
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, _CONVOLUTIONS):

            def after(_module: nn.Module, _inputs: tuple, output: Any, name: str = name) -> None:
                made[id(output)] = name

            handles.append(module.register_forward_hook(after))
        elif isinstance(module, _NORMS):

            def before(_module: nn.Module, inputs: tuple, name: str = name) -> None:
                taken.append((id(inputs[0]), name))

            handles.append(module.register_forward_pre_hook(before))
    try:
        with _Uses() as uses:
            network(torch.zeros(shape))
    finally:
        for handle in handles:
            handle.remove()
    return [(made[key], norm) for key, norm in taken if key in made and uses.count[key] == 1]


class _Uses(TorchFunctionMode):
    """Counts into how many operations each tensor goes (shortcuts are no modules)."""

    _QUESTIONS = ("__get__", "dim", "size")

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        self._kept: list[torch.Tensor] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") not in self._QUESTIONS:
            tensors = [value for value in _flat(list(args)) if isinstance(value, torch.Tensor)]
            self.count.update({id(value) for value in tensors})
            self._kept += tensors  # while they live, no other tensor has their id
        return func(*args, **(kwargs or {}))


# --- explanation ------------------------------------------------------------------------------


@torch.no_grad()
def explained_layers(network: nn.Module, shape: tuple[int, ...]) -> dict[str, str]:
    """Submodules to explain at: ``coarse`` (smallest grid) and ``fine`` (a quarter of the edge).

    Parameters
    ----------
    shape : tuple of int
        Of an image the network accepts, ``(1, c, ...)``.
    """
    seen: dict[str, int] = {}

    def note(name: str):
        def hook(_module: nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
            seen.pop(name, None)
            seen[name] = output.shape[-1]

        return hook

    probe = copy.deepcopy(network).to("cpu").eval()
    handles = [
        module.register_forward_hook(note(name))
        for name, module in probe.named_modules()
        if isinstance(module, _CONVOLUTIONS)
    ]
    probe(torch.zeros(shape))
    for handle in handles:
        handle.remove()
    smallest, quarter = min(seen.values()), max(shape[-1] // 4, min(seen.values()))
    near = min(seen.values(), key=lambda edge: abs(edge - quarter))
    last = {edge: name for name, edge in seen.items()}
    return {"coarse": last[smallest], "fine": last[near]}
