"""Masks, contours, maps and reports of other programs, placed by patient coordinates.

Read ``find_objects.py`` (during a scan), then ``read_seg.py`` as the pattern of the others.
May import the rooms ``stacks``, ``pixels`` and ``header``, and pydicom inside functions.
"""
