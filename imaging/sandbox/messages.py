"""What the program and its workers say to each other: MessagePack with a length in front.

Nothing here can run code: messages are typed by msgspec, and arrays travel as raw bytes whose
number type and shape are checked.
"""

from __future__ import annotations

import math
import struct
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np

#: A message without its arrays is never longer.
MAX_MESSAGE_BYTES = 256 << 20
#: All arrays of one message together are never larger.
MAX_ARRAY_BYTES = 8 << 30
_LENGTH = struct.Struct("<Q")
_ARRAY = 1


class Job(msgspec.Struct, tag="job"):
    """Call a function with arguments.

    Parameters
    ----------
    function : str
        ``"package.module:name"``.
    arguments : bytes
        MessagePack of the list of arguments.
    seconds : float
        For each result.
    memory : int
        Bytes the worker may grow by.
    """

    function: str
    arguments: bytes
    seconds: float
    memory: int


class ArrayHead(msgspec.Struct, array_like=True):
    """Number type and shape of an array whose bytes follow the message."""

    dtype: str
    shape: tuple[int, ...]


class Ready(msgspec.Struct, tag="ready"):
    """The worker has started."""


class Result(msgspec.Struct, tag="result"):
    """One result; ``value`` is MessagePack in which arrays are numbers."""

    value: bytes
    arrays: list[ArrayHead]


class Done(msgspec.Struct, tag="done"):
    """The function has returned."""


class Failed(msgspec.Struct, tag="failed"):
    """The function has raised; ``kind`` is the exception's type, the rest our own words."""

    kind: str
    what: str = ""
    advice: str = ""


Answer = Ready | Result | Done | Failed
_answer = msgspec.msgpack.Decoder(Answer)
_job = msgspec.msgpack.Decoder(Job)


class LinkBroken(Exception):
    """The other side has gone, or says what makes no sense."""


def write_message(stream: BinaryIO, message: Job | Answer) -> None:
    """Write one message; the caller flushes."""
    packed = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(packed)) + packed)


def _read_exactly(stream: BinaryIO, view: memoryview) -> None:
    done = 0
    while done < len(view):
        got = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            raise LinkBroken("the stream has ended")
        done += got


def _read_packed(stream: BinaryIO) -> bytearray:
    head = bytearray(_LENGTH.size)
    _read_exactly(stream, memoryview(head))
    (length,) = _LENGTH.unpack(head)
    if length > MAX_MESSAGE_BYTES:
        raise LinkBroken("a message is too long")
    packed = bytearray(length)
    _read_exactly(stream, memoryview(packed))
    return packed


def read_job(stream: BinaryIO) -> Job:
    """The next job.

    Raises
    ------
    LinkBroken
        Where the program has gone.
    """
    return _job.decode(_read_packed(stream))


def read_answer(stream: BinaryIO) -> Answer:
    """The next answer of a worker; the arrays of a result still have to be read.

    Raises
    ------
    LinkBroken
        Where the worker has gone or breaks the protocol.
    """
    try:
        return _answer.decode(_read_packed(stream))
    except msgspec.MsgspecError:
        raise LinkBroken("a message makes no sense") from None


def write_value(stream: BinaryIO, value: Any) -> None:
    """Write a result: a plain value that may hold numpy arrays."""
    arrays: list[np.ndarray] = []

    def aside(thing: Any) -> Any:
        if isinstance(thing, np.ndarray):
            arrays.append(np.ascontiguousarray(thing))
            return msgspec.msgpack.Ext(_ARRAY, len(arrays).to_bytes(4, "little"))
        raise NotImplementedError(type(thing).__name__)

    packed = msgspec.msgpack.encode(value, enc_hook=aside)
    heads = [ArrayHead(array.dtype.str, array.shape) for array in arrays]
    write_message(stream, Result(packed, heads))
    for array in arrays:
        if array.nbytes:
            stream.write(memoryview(cast(Any, array)).cast("B"))
    stream.flush()


def read_value(stream: BinaryIO, result: Result, kind: Any = Any) -> Any:
    """The value of a result, its arrays read from the stream.

    Parameters
    ----------
    kind : type
        What the value must be, as msgspec checks it.

    Raises
    ------
    LinkBroken
        Where it is something else.
    """
    arrays = [_read_array(stream, head) for head in result.arrays]

    def array(code: int, data: memoryview) -> np.ndarray:
        number = int.from_bytes(data, "little")
        if code != _ARRAY or not 1 <= number <= len(arrays):
            raise LinkBroken("an unknown value")
        return arrays[number - 1]

    def as_is(wanted: type, thing: Any) -> Any:
        if isinstance(thing, wanted):
            return thing
        raise TypeError(wanted.__name__)

    try:
        return msgspec.msgpack.decode(result.value, type=kind, ext_hook=array, dec_hook=as_is)
    except msgspec.MsgspecError:
        raise LinkBroken("a value makes no sense") from None


def _read_array(stream: BinaryIO, head: ArrayHead) -> np.ndarray:
    try:
        dtype = np.dtype(head.dtype)
    except TypeError:
        raise LinkBroken("an unknown number type") from None
    size = math.prod(head.shape) * dtype.itemsize
    if dtype.kind not in "biuf" or min(head.shape, default=0) < 0 or size > MAX_ARRAY_BYTES:
        raise LinkBroken("an array makes no sense")
    array = np.empty(head.shape, dtype)
    if size:
        _read_exactly(stream, memoryview(cast(Any, array)).cast("B"))
    return array
