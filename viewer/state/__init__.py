"""What the user wants to see and what follows from it, as frozen values; no Qt, no VTK.

May import ``imaging`` and numpy. ``display.py`` is the wish, ``plan.py`` the one way from case
and display to a picture; ``planes.py`` holds the geometry, ``linking.py`` the cursor,
``cameras.py`` zoom, pan, flips and turns.
"""
