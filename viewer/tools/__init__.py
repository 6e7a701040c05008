"""What the hand can do, one generator per gesture; no Qt, no VTK.

May import ``imaging`` and ``viewer.state``. Read ``tool.py`` first (events, scene, previews),
then ``window_level.py`` (a short gesture) and ``brush.py``; ``table.py`` lists the tools.
"""
