"""Everything that can be undone: edits that know their inverse, the brush, the history.

Nothing here changes a case by itself; the Workspace executes edits. May import numpy, zstandard,
:mod:`imaging.analysis` and the values of :mod:`imaging`; no files. Read ``edit.py`` first, then
``operations.py`` (functions that return an edit) and ``brush.py``.
"""
