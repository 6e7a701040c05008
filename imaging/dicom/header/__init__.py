"""What a DICOM file says of itself, read fast and without trust.

Elements, transfer syntax, limits, character sets, the table of contents of a disc. Read
``read.py`` first, then ``tags.py``; what is refused and why stands in ``vetting.py``. May import
pydicom (inside functions), :mod:`imaging.sandbox` and :mod:`imaging.errors`, no other room.
"""
