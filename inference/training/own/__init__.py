"""Trainings that users start themselves: own cases in, an honest report and a model package out.

The walk: `choices` (what is wanted) -> `case_list` (which files) -> `case_check` (can they be used)
-> `prepared` (once onto the network's grid) -> `patches` and `augment` -> `loop` (one run) ->
`training` (folds, then all cases) -> `judge` and `figures` (the left-out patients) -> `report` ->
`packing`. `few_shot` adapts an installed model, `pretraining` learns from images without masks,
`evaluation` measures any installed model through the real worker. Read `training` first;
``isocenter train`` and ``isocenter evaluate`` are the doors. This package may import `imaging`, the
rest of `inference`, torch and MONAI; `install`, `choices` and `words` know no torch, so the window
may use them.
"""
