"""What is seen and touched: plans, tools, pictures, views.

May import ``imaging``, PySide6 and VTK (``vtkmodules.*``, inside functions, never at start).
Rooms: ``widgets > rendering | tools > state``. Read ``state/display.py`` first (what the user
wants), then ``state/plan.py`` (what a view shall show).
"""
