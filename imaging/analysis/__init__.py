"""What can be measured in masks and images: parts, volumes, diameters, overlap, place in the head.

Pure functions from values to values. May import numpy, scipy and the values of :mod:`imaging`; no
files, no edits. Read ``lesions.py`` first: what a lesion is and what the list says about it.
"""
