"""Arrays in shared memory that are always given back.

The window's process makes every block, inputs and results alike, and is the only one to remove
them; the worker merely looks. So a killed worker leaves nothing behind. A killed window is covered
by the resource tracker of its own process, which outlives it by a moment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker, shared_memory

import numpy as np

from imaging.errors import WorldFailed
from inference.messages import ArrayHandle


class SharedArray:
    """A numpy array in a named block of shared memory.

    Use :meth:`create` in the process that owns the block and :meth:`open` in the other one; both
    are context managers. The owner's :meth:`close` also removes the block.
    """

    def __init__(self, block: shared_memory.SharedMemory, handle: ArrayHandle, owner: bool) -> None:
        self._block, self.handle, self._owner = block, handle, owner
        self.array: np.ndarray = np.ndarray(handle.shape, handle.dtype, buffer=block.buf)

    @classmethod
    def create(cls, shape: tuple[int, ...], dtype: np.dtype | type | str) -> SharedArray:
        """A new block of zeros.

        Raises
        ------
        WorldFailed
            Where the system has no room for it.
        """
        kind = np.dtype(dtype)
        size = max(1, int(np.prod(shape)) * kind.itemsize)
        try:
            block = shared_memory.SharedMemory(create=True, size=size)
        except OSError as error:
            raise WorldFailed(
                f"There is no room for {size / 1e6:.0f} MB of shared memory",
                advice="Close other programs or images and try again",
            ) from error
        return cls(block, ArrayHandle(block.name, shape, kind.str), owner=True)

    @classmethod
    def copy_of(cls, array: np.ndarray) -> SharedArray:
        """A block with the content of an array, in C order."""
        shared = cls.create(array.shape, array.dtype)
        shared.array[...] = array
        return shared

    @classmethod
    def open(cls, handle: ArrayHandle) -> SharedArray:
        """Look at a block of another process.

        Raises
        ------
        FileNotFoundError
            Where its owner has removed it.
        """
        with _untracked():
            block = shared_memory.SharedMemory(name=handle.name)
        return cls(block, handle, owner=False)

    def close(self) -> None:
        """Let go; where we made the block, remove it. Calling it twice is harmless."""
        self.array = np.empty((0, 0, 0), np.uint8)
        try:
            self._block.close()
        except BufferError:  # someone still holds a view: the memory goes with that view
            self._block.close = lambda: None  # type: ignore[method-assign]
        if self._owner:
            self._owner = False
            self._block.unlink()

    def __enter__(self) -> SharedArray:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _untracked() -> Iterator[None]:
    """Attach without telling the resource tracker, which would remove the block at our end.

    Python 3.13 has ``track=False`` for this; before, the registration has to be held back.
    Source: Python issue 82300.
    """
    if sys.platform == "win32":
        yield
        return
    register = resource_tracker.register
    resource_tracker.register = lambda name, rtype: None
    try:
        yield
    finally:
        resource_tracker.register = register
