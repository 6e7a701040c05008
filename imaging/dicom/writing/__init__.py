"""New objects of the source's study: series, masks, maps, contours, reports, pictures.

Read ``write.py`` and ``references.py`` first, then ``seg.py``. Every file is read back and
compared. May import every other room, pydicom and highdicom (inside functions).
"""
