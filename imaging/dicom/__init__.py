"""DICOM in and out: headers to series, series to volumes, volumes, masks and maps to objects.

May import pydicom, highdicom and SimpleITK (inside functions), :mod:`imaging.atomic` and the values
of :mod:`imaging`. Reading: ``header.py`` -> ``frames.py`` -> ``split.py`` -> ``index.py`` ->
``load.py``; read ``series.py`` first. Writing: ``write.py``, ``derived.py``, ``seg.py``,
``parametric_map.py``. Files are not trusted: limits live in ``vetting.py``.
"""
