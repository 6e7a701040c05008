"""From frames to stacks of slices with a known place, and from a stack to a volume.

Read ``frames.py`` -> ``split.py`` -> ``load.py``; ``sequence.py`` says what kind of image it is.
May import the rooms ``pixels`` and ``header``.
"""
