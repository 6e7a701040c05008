"""Views as Qt widgets: told what to show, telling what the hand does.

May import every other room of ``viewer``. Read ``view_grid.py`` first (who is told what), then
``slice_view.py`` and ``pointer.py`` (Qt events to gestures).
"""
