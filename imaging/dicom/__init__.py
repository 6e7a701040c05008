"""DICOM in and out, in rooms that go down only: header, pixels, stacks, objects, writing.

A file walks up: ``header`` says what is in it, ``pixels`` decodes, ``stacks`` places the slices,
``objects`` reads what belongs to images, ``writing`` makes new objects. ``index.py`` collects the
files of a folder and says which series and objects they make: read it first. ``codes.py`` holds the
coded concepts. May import pydicom, highdicom and SimpleITK (inside functions),
:mod:`imaging.atomic` and the values of :mod:`imaging`. Files are not trusted: limits live in
``header/vetting.py``.
"""
