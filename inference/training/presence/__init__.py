"""The classifier that says whether a head holds lesions at all.

May import every other room but `own`, and torch. Read `train`.
"""
