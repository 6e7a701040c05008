"""Panels, dialogs and the main window: they show values and say what was asked, no more.

May import PySide6, ``viewer.widgets`` and values of the floors below; they know no controller and
no worker. Read ``main_window.py`` first, then ``controls.py`` and ``theme.py``, which every
panel stands on.
"""
