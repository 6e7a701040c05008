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
    """An array in shared memory: block name, shape ``(..., k, j, i)`` and numpy dtype string."""

    name: str
    shape: tuple[int, ...]
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
    """Find and mark; the worker fills the arrays.

    Parameters
    ----------
    images : mapping of str to Image
        By the card's name for each input; the first required one gives the grid of the answer.
    probability : ArrayHandle
        float32 ``(k, j, i)``, or float16 ``(labels, k, j, i)`` for a model of several labels.
    heatmap, uncertainty, picture : ArrayHandle or None
        float32 ``(k, j, i)``; None: not wanted.
    """

    ticket: str
    folder: str
    images: Mapping[str, Image]
    device: str
    probability: ArrayHandle
    mask: ArrayHandle
    heatmap: ArrayHandle | None = None
    layer: str = "fine"
    uncertainty: ArrayHandle | None = None
    picture: ArrayHandle | None = None


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
    images: Mapping[str, Image]
    device: str
    target: ArrayHandle
    start: tuple[int, int, int]
    heatmap: ArrayHandle
    layer: str = "fine"


@dataclass(frozen=True)
class ClickRequest:
    """Which thing was pointed at? The worker fills ``probability``.

    Parameters
    ----------
    image : Image
        A cut-out of the image.
    points : tuple of tuple
        ``(k, j, i, sign)`` in indices of the cut-out; sign +1 "this", -1 "not this".
    box : tuple or None
        First index and the one past the last, six numbers, in indices of the cut-out.
    scribble : ArrayHandle or None
        int8 on the cut-out: +1, -1, 0.
    previous : ArrayHandle or None
        uint8 on the cut-out: the mask so far.
    """

    ticket: str
    folder: str
    image: Image
    device: str
    probability: ArrayHandle
    points: tuple[tuple[float, ...], ...] = ()
    box: tuple[int, ...] | None = None
    scribble: ArrayHandle | None = None
    previous: ArrayHandle | None = None


@dataclass(frozen=True)
class LoadRequest:
    """Have this model ready, so that the first question is answered quickly."""

    ticket: str
    folder: str
    device: str = "auto"


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
    """The arrays of a request are filled.

    Parameters
    ----------
    facts : mapping
        What the model says about the study, or what the device is.
    filled : tuple of str
        Names of the optional arrays that hold an answer.
    """

    ticket: str
    device: str
    seconds: float
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    filled: tuple[str, ...] = ()


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
    probability : ndarray, shape (k, j, i) or (labels, k, j, i)
        In [0, 1]; float32, of several labels float16 (a stack of maps takes much memory).
    mask : ndarray, shape (k, j, i)
        uint8: numbers of the card's labels where the cleaned finding is, 0 elsewhere.
    heatmap : ndarray or None
        float32 in [0, 1]: Grad-CAM of the whole finding, if it was asked for.
    notes : tuple of str
        Sentences for the user, for example that memory ran out and tiles were used.
    uncertainty : ndarray or None
        float32 ``(k, j, i)`` in [0, 1].
    picture : ndarray or None
        float32 ``(k, j, i)``: the model's guess of normal, in normalised units (background -1,
        main tissue peak 0).
    facts : mapping
        What the model says about the whole study.
    used : tuple of (str, str)
        The card's name of each image that took part, and the id of its volume.
    """

    ticket: str
    probability: np.ndarray
    mask: np.ndarray
    heatmap: np.ndarray | None
    provenance: Provenance
    notes: tuple[str, ...] = ()
    uncertainty: np.ndarray | None = None
    picture: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    used: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class ClickAnswer:
    """The thing pointed at, on a cut-out of the volume.

    Parameters
    ----------
    start : tuple of int
        First index ``(k, j, i)`` of the cut-out in the volume.
    probability : ndarray, shape (k, j, i) of the cut-out
        float32 in [0, 1].
    mask : ndarray, shape (k, j, i) of the cut-out
        bool: above the card's threshold.
    """

    ticket: str
    start: tuple[int, int, int]
    probability: np.ndarray
    mask: np.ndarray
    provenance: Provenance
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadAnswer:
    """The model is loaded."""

    ticket: str
    words: str
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
    SegmentRequest | ExplainRequest | ClickRequest | LoadRequest | DeviceRequest | CancelRequest
    | Beat | Progress | Done | Failed | Cancelled
)  # fmt: skip

_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        SegmentRequest, ExplainRequest, ClickRequest, LoadRequest, DeviceRequest, CancelRequest,
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
        return _image(value)
    if name == "images":
        return {key: _image(part) for key, part in value.items()}
    return _tuple(value)


def _image(value: Mapping[str, Any]) -> Image:
    return Image(**{key: _value(key, part) for key, part in value.items()})


def _tuple(value: Any) -> Any:
    """JSON knows lists only; ours are tuples, also within each other."""
    return tuple(_tuple(part) for part in value) if isinstance(value, list) else value
