"""What the window's process and the worker say to each other: one JSON object per line.

Voxels never travel here; they lie in shared memory and only their :class:`ArrayHandle` is sent.
No message has room for a patient's name: the worker sees numbers and a grid, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from imaging.segmentation import Provenance


@dataclass(frozen=True)
class ArrayHandle:
    """An array in shared memory: block name, shape ``(k, j, i)`` and numpy dtype string."""

    name: str
    shape: tuple[int, int, int]
    dtype: str


@dataclass(frozen=True)
class Image:
    """A volume for the worker.

    Parameters
    ----------
    voxels : ArrayHandle
        Stored values; ``stored * slope + intercept`` is the real value.
    affine : tuple of float
        The 16 numbers, row by row, of index ``(k, j, i, 1)`` to LPS mm.
    key : str
        Same key, same content: the worker may keep what it prepared.
    """

    voxels: ArrayHandle
    affine: tuple[float, ...]
    slope: float
    intercept: float
    key: str

    @property
    def matrix(self) -> np.ndarray:
        """The affine as a (4, 4) array."""
        return np.array(self.affine, dtype=np.float64).reshape(4, 4)


@dataclass(frozen=True)
class SegmentRequest:
    """Find and mark; the worker fills ``probability``, ``mask`` and, if wanted, ``heatmap``."""

    ticket: str
    folder: str
    image: Image
    device: str
    probability: ArrayHandle
    mask: ArrayHandle
    heatmap: ArrayHandle | None = None
    layer: str = "fine"


@dataclass(frozen=True)
class ExplainRequest:
    """Why are these voxels marked? The answer is ``heatmap``, on the source grid.

    Parameters
    ----------
    target : ArrayHandle
        uint8 block of the source grid, non-zero where to explain.
    start : tuple of int
        First index ``(k, j, i)`` of that block.
    """

    ticket: str
    folder: str
    image: Image
    device: str
    target: ArrayHandle
    start: tuple[int, int, int]
    heatmap: ArrayHandle
    layer: str = "fine"


@dataclass(frozen=True)
class DeviceRequest:
    """Which device would a run use?"""

    ticket: str
    device: str = "auto"


@dataclass(frozen=True)
class CancelRequest:
    """Stop this run."""

    ticket: str


@dataclass(frozen=True)
class Beat:
    """The worker is alive."""

    pid: int


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Parameters
    ----------
    stage : str
        In words, for example ``"Looking for lesions"``.
    fraction : float
        Of the whole run, 0 to 1, never falling.
    seconds_left : float or None
        None while it cannot be said.
    """

    ticket: str
    stage: str
    fraction: float
    seconds_left: float | None = None


@dataclass(frozen=True)
class Done:
    """The arrays of a request are filled."""

    ticket: str
    device: str
    seconds: float
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A run ended without an answer: what happened and what to do, as sentences."""

    ticket: str
    what: str
    advice: str = ""

    @property
    def sentence(self) -> str:
        """Both parts as text for the user."""
        tail = f" {self.advice.rstrip('.')}." if self.advice else ""
        return f"{self.what.rstrip('.')}.{tail}"


@dataclass(frozen=True)
class Cancelled:
    """A run ended because the user wanted it to."""

    ticket: str


@dataclass(frozen=True, eq=False)
class SegmentAnswer:
    """What the model found, on the grid of the volume that was asked about.

    Parameters
    ----------
    probability : ndarray, shape (k, j, i)
        float32 in [0, 1].
    mask : ndarray, shape (k, j, i)
        uint8: 1 where the cleaned finding is.
    heatmap : ndarray or None
        float32 in [0, 1]: Grad-CAM of the whole finding, if it was asked for.
    notes : tuple of str
        Sentences for the user, for example that memory ran out and tiles were used.
    """

    ticket: str
    probability: np.ndarray
    mask: np.ndarray
    heatmap: np.ndarray | None
    provenance: Provenance
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ExplainAnswer:
    """A Grad-CAM on the grid of the volume: float32 in [0, 1], and what it is about."""

    ticket: str
    heatmap: np.ndarray
    about: str
    provenance: Provenance
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceAnswer:
    """The device a run would use, in words and figures."""

    ticket: str
    words: str
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()


Message = (
    SegmentRequest | ExplainRequest | DeviceRequest | CancelRequest
    | Beat | Progress | Done | Failed | Cancelled
)  # fmt: skip

_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        SegmentRequest, ExplainRequest, DeviceRequest, CancelRequest,
        Beat, Progress, Done, Failed, Cancelled,
    )
}  # fmt: skip


def encode(message: Message) -> str:
    """One line of JSON, without the newline."""
    return json.dumps({"kind": type(message).__name__, **asdict(message)})


def decode(line: str) -> Message:
    """The message of a line.

    Raises
    ------
    ValueError
        Where the line is not one of ours.
    """
    try:
        values = json.loads(line)
        kind = _KINDS[values.pop("kind")]
        known = {f.name for f in fields(kind)}
        return kind(**{name: _value(name, v) for name, v in values.items() if name in known})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a message of the worker protocol") from error


def _value(name: str, value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"name", "shape", "dtype"}:
        return ArrayHandle(value["name"], tuple(value["shape"]), value["dtype"])
    if name == "image":
        parts = {key: _value(key, part) for key, part in value.items()}
        return Image(**parts)
    return tuple(value) if isinstance(value, list) else value
