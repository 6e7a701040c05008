"""De-identification: what may leave a file, what replaces it, and the proof that nothing stayed.

:class:`~imaging.deidentify.deidentifier.Deidentifier` makes a clean copy of one data set or one
file; :mod:`imaging.deidentify.folder` does it for everything under a path. The rules are data:
``profile.tsv`` is the table of DICOM PS3.15 Annex E, ``words.txt`` what may stay of a description.
Read :mod:`imaging.deidentify.walk` first. May import every other room of :mod:`imaging`; knows no
window.
"""
