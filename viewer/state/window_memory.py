"""What window a sequence was last read with, in shares of each image's automatic window.

MR values have no unit, so a window is carried over relative to what the image itself suggests: a
share ``(centre, width)`` of ``(0.5, 1.0)`` is the automatic window of any image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from imaging.volume import Window
from viewer.state.display import DisplayState

Share = tuple[float, float]
Shares = Mapping[str, Share]  #: sequence name, such as ``"FLAIR"``, to the share chosen last


def share_of(window: Window, automatic: Window) -> Share:
    """A window as centre and width in shares of the automatic one."""
    width = max(automatic.width, 1e-12)
    return (window.centre - automatic.low) / width, window.width / width


def window_of(share: Share, automatic: Window) -> Window:
    """The window of an image, in real values, that a share stands for."""
    centre, width = share
    return Window(automatic.low + centre * automatic.width, width * automatic.width)


def remembered(
    shares: Shares, sequence: str, window: Window, automatic: Window
) -> dict[str, Share]:
    """The shares after the user chose a window; the automatic one is forgetting."""
    if window == automatic:
        return forgotten(shares, sequence)
    share = share_of(window, automatic)
    if not sequence or not all(map(math.isfinite, share)) or share[1] <= 0:
        return dict(shares)
    return {**shares, sequence: share}


def forgotten(shares: Shares, sequence: str) -> dict[str, Share]:
    """The shares without one sequence: its images open with the window of their header again."""
    return {name: share for name, share in shares.items() if name != sequence}


def chosen_windows(old: DisplayState, new: DisplayState) -> dict[str, Window]:
    """Volume id to window where windows, and nothing else, changed: the hand or a key did it.

    A stored arrangement that comes back changes more than that and is nobody's new choice.
    """
    if old.windows == new.windows or old.but(windows=new.windows) != new:
        return {}
    return {id: w for id, w in new.windows.items() if old.windows.get(id) != w}
