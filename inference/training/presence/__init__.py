"""The classifier that says whether a head holds lesions at all. Read train.py first."""
