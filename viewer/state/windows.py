"""Which window an image is shown with when nobody has chosen one."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from imaging.volume import Volume, Window, auto_window
from viewer.state.display import DisplayState

_SAMPLE_VOXELS = 200_000
_automatic: WeakKeyDictionary[Volume, Window] = WeakKeyDictionary()


def automatic_window(volume: Volume) -> Window:
    """A window from a sample of the voxels; remembered per volume until :func:`forget`."""
    window = _automatic.get(volume)
    if window is None:
        stride = max(1, round((volume.voxels.size / _SAMPLE_VOXELS) ** (1 / 3)))
        sample = volume.voxels[::stride, ::stride, ::stride]
        window = auto_window(volume.real(np.ascontiguousarray(sample)))
        _automatic[volume] = window
    return window


def forget(volume: Volume) -> None:
    """Look at the voxels again next time: the loader has brought more of them."""
    _automatic.pop(volume, None)


def shown_window(volume: Volume, display: DisplayState) -> Window:
    """The window chosen by the user, else that of the header, else an automatic one."""
    return display.windows.get(volume.id) or volume.window or automatic_window(volume)


def shown_inverted(volume: Volume, display: DisplayState) -> bool:
    """True where low values are bright: MONOCHROME1 or the user's wish, not both."""
    return volume.inverted != (volume.id in display.inverted)
