"""A synthetic head made only by code: shapes, tissues and lesions, for the demo study and tests.

Schematic but shaped like a brain; no patient and no template went into it. May import numpy and
scipy and the values of :mod:`imaging`. Read :mod:`imaging.phantom.head` first.
"""
