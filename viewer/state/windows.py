"""Which window an image is shown with when nobody has chosen one."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from imaging.volume import Repeats, Volume, Window, auto_window
from viewer.state.display import DisplayState

_SAMPLE_VOXELS = 200_000
_automatic: WeakKeyDictionary[Volume | Repeats, Window] = WeakKeyDictionary()


def automatic_window(volume: Volume) -> Window:
    """A window from a sample of the voxels; remembered per volume until :func:`forget`.

    All images of a 4D series share one, so that they can be compared.
    """
    window = _automatic.get(_owner(volume))
    if window is None:
        stride = max(1, round((volume.voxels.size / _SAMPLE_VOXELS) ** (1 / 3)))
        sample = volume.voxels[::stride, ::stride, ::stride]
        window = auto_window(volume.measured(sample), volume.inverted)
        _automatic[_owner(volume)] = window
    return window


def forget(volume: Volume) -> None:
    """Look at the voxels again next time: the loader has brought more of them."""
    _automatic.pop(_owner(volume), None)


def _owner(volume: Volume) -> Volume | Repeats:
    return volume if volume.repeats is None else volume.repeats


def shown_window(volume: Volume, display: DisplayState) -> Window:
    """The window chosen by the user, else that of the header, else an automatic one."""
    return display.windows.get(volume.id) or volume.window or automatic_window(volume)


def shown_inverted(volume: Volume, display: DisplayState) -> bool:
    """True where low values are bright: MONOCHROME1 or the user's wish, not both."""
    return volume.inverted != (volume.id in display.inverted)
