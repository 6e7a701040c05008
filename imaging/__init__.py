"""Values: where things are, what an image, a mask and a map is, what was read and what is kept.

The ground floor: it may import numpy, scipy, the medical file libraries and nothing of the other
floors; no Qt, no VTK, no torch. Everything is in LPS millimetres, arrays and affines in index
order ``(k, j, i)``. Read ``geometry.py`` first, then ``volume.py``, ``segmentation.py`` and
``case.py``; files come in through ``open.py``.
"""
