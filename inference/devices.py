"""Which device a model runs on, and what to do when its memory does not suffice.

The ladder: the whole head on the GPU, tiles, smaller tiles, the whole head on the CPU, tiles on
the CPU. Every step down is told to the user. A GPU says when its memory is full; a CPU process
is simply killed, so there the need is estimated first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from imaging.errors import BadInput, WorldFailed

T = TypeVar("T")

CUDA, CPU = "cuda", "cpu"
#: Tile edges in voxels, large to small; multiples of every network's own grid so far.
CUDA_TILES = (128, 64)
CPU_TILES = (96, 64)
#: Share of the free memory that a pass on the CPU may take.
CPU_SHARE = 0.8


@dataclass(frozen=True)
class Device:
    """Where a model runs.

    Parameters
    ----------
    kind : str
        ``"cuda"`` or ``"cpu"``.
    words : str
        For the user, for example ``"CPU, 2 threads (no CUDA device found)"``.
    memory_bytes : int
        Free memory of the device; 0 where unknown.
    note : str
        Why it is not the better one, as a sentence; empty otherwise.
    """

    kind: str
    words: str
    memory_bytes: int = 0
    note: str = ""


@dataclass(frozen=True)
class Step:
    """One rung of the ladder: a device and a tile edge (None: the whole grid at once)."""

    device: str
    tile: int | None = None

    @property
    def words(self) -> str:
        """For the user, for example ``"the GPU in tiles of 128 voxels"``."""
        place = "the GPU" if self.device == CUDA else "the CPU"
        return place if self.tile is None else f"{place} in tiles of {self.tile} voxels"


def cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_device(preference: str = "auto") -> Device:
    """The device to use; imports torch.

    Parameters
    ----------
    preference : str
        ``"auto"`` takes a GPU that works, else the CPU; ``"cuda"`` and ``"cpu"`` insist.

    Raises
    ------
    BadInput
        Where ``"cuda"`` is insisted on and no CUDA device works, or the word is unknown.
    """
    if preference not in ("auto", CUDA, CPU):
        raise BadInput(f"The device must be auto, cuda or cpu, not '{preference}'")
    if preference == CPU:
        return _cpu("as chosen")
    problem = _cuda_problem()
    if not problem:
        return _cuda()
    if preference == CUDA:
        raise BadInput(
            f"The GPU cannot be used: {problem}", advice="Choose 'auto' or 'cpu' as the device"
        )
    if problem == _NO_CUDA:
        return _cpu(problem)
    return _cpu(problem, note=f"The GPU could not be used ({problem}); the CPU was.")


_NO_CUDA = "no CUDA device found"


def _cuda_problem() -> str:
    """Why CUDA cannot be used; empty where a small convolution ran on it."""
    import torch

    if not torch.cuda.is_available():
        return _NO_CUDA
    try:
        image = torch.zeros(1, 1, 8, 8, 8, device=CUDA)
        torch.nn.functional.conv3d(image, torch.ones(1, 1, 3, 3, 3, device=CUDA)).sum().item()
    except RuntimeError as error:
        return "out of memory" if is_out_of_memory(error) else "its driver refused a test run"
    return ""


def _cuda() -> Device:
    import torch

    free, total = torch.cuda.mem_get_info()
    name = torch.cuda.get_device_name()
    name = name if name.startswith("NVIDIA") else f"NVIDIA {name}"
    return Device(CUDA, f"GPU: {name}, {total / 2**30:.0f} GB", free)


def _cpu(why: str, note: str = "") -> Device:
    n = cores()
    words = f"CPU, {n} thread{'s' if n != 1 else ''} ({why})"
    return Device(CPU, words, available_memory_bytes() or 0, note)


def ladder(kind: str) -> tuple[Step, ...]:
    """The steps to try in turn on a device of this kind."""
    cpu = (Step(CPU), *(Step(CPU, edge) for edge in CPU_TILES))
    if kind == CPU:
        return cpu
    return (Step(CUDA), *(Step(CUDA, edge) for edge in CUDA_TILES), *cpu)


def climb_down(
    steps: Sequence[Step],
    run: Callable[[Step], T],
    note: Callable[[str], None],
    fits: Callable[[Step], bool] = lambda step: True,
) -> tuple[T, Step]:
    """Try the steps in turn until one has enough memory.

    Parameters
    ----------
    run : callable
        Does the work; out of memory it raises what :func:`is_out_of_memory` knows.
    note : callable
        Told one sentence per step down.
    fits : callable
        False skips a step that would need more memory than there is.

    Returns
    -------
    result, step
        What ``run`` gave, and on which step.

    Raises
    ------
    WorldFailed
        Where not even the last step has enough memory.
    """
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if fits(step):
            try:
                return run(step), step
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
        release_memory()
        if following is not None:
            note(f"Not enough memory on {step.words}; continued on {following.words}.")
    raise WorldFailed(
        "There is not enough memory for this model, not even in small tiles",
        advice="Close other programs or images and try again",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch or numpy means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return any(
        words in text
        for words in ("out of memory", "can't allocate memory", "cublas_status_alloc_failed")
    )


def release_memory() -> None:
    """Give back what a failed attempt has left behind."""
    import gc
    import sys

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def available_memory_bytes() -> int | None:
    """Main memory a new allocation can have without swapping; None where it cannot be told.

    On Linux the smaller of the kernel's estimate and the room left in the control group.
    """
    try:
        if os.name == "nt":
            return _windows_memory()
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    return min([free * 1024, *_group_room()])


def _group_room(root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            room = int((root / limit).read_text()) - int((root / used).read_text())
        except (OSError, ValueError):  # no control group, or "max"
            continue
        return [max(0, room)]
    return []


def _windows_memory() -> int | None:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "a", "b", "c", "d")),
            ("e", ctypes.c_ulonglong),
        ]

    status = Status()
    status.length = ctypes.sizeof(Status)
    windll = getattr(ctypes, "windll", None)
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.available)
