"""What lasts: the journal of every finished gesture, case files, and the other file formats.

May import apsw, zstandard, nibabel (inside functions), :mod:`imaging.edits` and the values of
:mod:`imaging`. Read ``journal.py`` first (why no edit is lost), then ``case_file.py`` (what a
person saves); ``nifti.py``, ``nrrd.py``, ``label_file.py`` and ``table.py`` write for other
programs.
"""
