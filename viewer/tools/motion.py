"""Saying that a drag is going on, so that costly planes are drawn coarser until it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from viewer.tools.tool import Scene


@contextmanager
def in_motion(scene: Scene) -> Iterator[None]:
    """``display.moving`` is True inside, and False again however the gesture ends."""
    scene.show(scene.display.but(moving=True))
    try:
        yield
    finally:
        scene.show(scene.display.but(moving=False))
