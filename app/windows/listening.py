"""Widgets that listen to the workspace, and stop when they are destroyed."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from psygnal import SignalInstance
from PySide6.QtWidgets import QWidget

REHEARSAL = "rehearsal"  #: origin of a change that only follows the hand, see Workspace.rehearse


def listen(widget: QWidget, signal: SignalInstance, slot: Callable) -> None:
    """Connect a method of a widget to a signal until Qt destroys the widget.

    Parameters
    ----------
    slot : bound method of the widget
        Held weakly, so that listening never keeps a closed panel alive.
    """
    signal.connect(slot)
    held = weakref.WeakMethod(slot)

    def stop() -> None:
        method = held()
        if method is not None:
            signal.disconnect(method, missing_ok=True)

    widget.destroyed.connect(stop)
