"""How pictures are made: slices with numpy, oblique slices and 3D with VTK; no widgets.

May import ``imaging``, ``viewer.state`` and, inside functions, ``vtkmodules``. Slices: read
``slice_engine.py`` first (pure functions), then ``slice_pictures.py`` (what is kept between
paints). 3D: ``volume_scene.py``.
"""
