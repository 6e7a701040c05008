"""Which voxels of a draft a person has touched, packed small enough to live in its header.

Between two moves of the threshold these are simply the voxels that differ from the draft cut at
that threshold. They are noted when it moves, because after the move they may look untouched.
"""

from __future__ import annotations

import struct

import numpy as np
import zstandard

from imaging.errors import BadInput
from imaging.geometry import Box

_HEAD = struct.Struct("<9I")


def pack_mask(mask: np.ndarray, at: Box, shape: tuple[int, int, int]) -> bytes:
    """Pack the bool array of a block of a grid; ``b""`` where it is all False.

    Parameters
    ----------
    mask : ndarray of bool
        Of the shape of the block ``at``.
    shape : tuple of int
        The whole grid ``(k, j, i)``.
    """
    tight = Box.around(mask)
    if tight.empty:
        return b""
    bits = np.packbits(mask[tight.slices])
    start, stop = np.add(at.start, tight.start), np.add(at.start, tight.stop)
    head = _HEAD.pack(*shape, *start.tolist(), *stop.tolist())
    return head + zstandard.ZstdCompressor(level=1).compress(bits.tobytes())


def unpack_mask(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """The bool array ``(k, j, i)`` of the whole grid from :func:`pack_mask`.

    Raises
    ------
    BadInput
        Where the bytes are damaged or belong to another grid.
    """
    mask = np.zeros(shape, bool)
    if not data:
        return mask
    try:
        numbers = _HEAD.unpack_from(data)
        box = Box((numbers[3], numbers[4], numbers[5]), (numbers[6], numbers[7], numbers[8]))
        if numbers[:3] != tuple(shape) or box.empty or box.clipped(shape) != box:
            raise ValueError("another grid")
        size = int(np.prod(box.shape))
        room = (size + 7) // 8
        raw = zstandard.ZstdDecompressor().decompress(data[_HEAD.size :], max_output_size=room)
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=size)
        mask[box.slices] = bits.reshape(box.shape)
    except (struct.error, ValueError, zstandard.ZstdError) as error:
        raise BadInput("The marks of work by hand are damaged or of another image") from error
    return mask
