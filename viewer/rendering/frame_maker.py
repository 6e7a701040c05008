"""Makes 3D frames away from the main thread: the window never waits for a slow picture."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np

from viewer.rendering.latest_thread import LatestThread
from viewer.rendering.orbit import Orbit
from viewer.rendering.volume_scene import SceneState, VolumeScene

#: Cocoa allows windows, off-screen ones too, only in the main thread.
THREADED = sys.platform != "darwin"


@dataclass(frozen=True, eq=False)
class FrameRequest:
    """What to draw: the scene, from where, how large (device pixels), and how carefully."""

    state: SceneState
    orbit: Orbit
    size: tuple[int, int]
    moving: bool = False


@dataclass(frozen=True, eq=False)
class Frame:
    """A finished picture and the request it answers.

    Parameters
    ----------
    pixels : ndarray, shape (height, width, 4)
        uint8 RGBA, top row first.
    seconds : float
        How long it took.
    """

    pixels: np.ndarray
    request: FrameRequest
    seconds: float = 0.0


class FrameMaker:
    """Owns the scene; the newest request wins.

    Parameters
    ----------
    bell : callable
        Called (in any thread) when :meth:`collect` has something.
    """

    def __init__(self, bell: Callable[[], None]) -> None:
        self._scene: VolumeScene | None = None
        self._thread = LatestThread("3D frames", self._draw, bell, self._give_back)
        self._bell = bell
        self._direct: list[Frame | BaseException] = []

    def ask(self, request: FrameRequest) -> None:
        """Draw this as soon as possible."""
        if THREADED:
            self._thread.ask("frame", request)
            return
        try:
            self._direct.append(self._draw(request))
        except Exception as error:
            self._direct.append(error)
        self._bell()

    def collect(self) -> list[Frame | BaseException]:
        """Finished frames and failures since the last call."""
        direct, self._direct = self._direct, []
        return direct + [error or frame for _, frame, error in self._thread.collect()]

    def wait(self, timeout_s: float) -> bool:
        """Block until all frames asked for are done; False where it took longer."""
        return self._thread.wait_idle(timeout_s) if THREADED else True

    def close(self, timeout_s: float = 3.0) -> None:
        """Give the OpenGL context back."""
        self._thread.close(timeout_s)
        if not THREADED:
            self._give_back()

    def _draw(self, request: FrameRequest) -> Frame:
        if self._scene is None:
            self._scene = VolumeScene()
        start = monotonic()
        pixels = self._scene.draw(request.state, request.orbit, request.size, request.moving)
        return Frame(pixels, request, monotonic() - start)

    def _give_back(self) -> None:
        if self._scene is not None:
            self._scene.close()
            self._scene = None
