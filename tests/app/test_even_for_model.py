"""Before a model looks at a stack that is no box of perpendicular axes, somebody is asked."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from app.controllers.even import EvenController
from app.workspace import Workspace
from imaging.geometry import Geometry
from imaging.volume import Volume


def even(shear: float):
    workspace = Workspace()
    grid = Geometry((4, 6, 6), [[0, 0, 1, 0], [shear, 1, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1]], "1.2")
    workspace.add_volume(Volume("v", "T2", np.arange(144, dtype=np.int16).reshape(4, 6, 6), grid))
    shown = []

    def run(work, then, _failed):
        then(work(None))

    cases = SimpleNamespace(why_not_loaded=lambda _id: "", show_made=shown.append)
    controller = EvenController(workspace, SimpleNamespace(run=run), cases)
    asked, used = [], []
    controller.asked.connect(lambda words, choices: asked.append((words, choices)))
    return controller, asked, used, shown


def test_a_sheared_stack_is_asked_about_and_resampled(qapp) -> None:
    controller, asked, used, shown = even(1.0)
    assert controller.needed_for_model("v", used.append)
    [(words, choices)] = asked
    assert "shifted against each other" in words
    assert "perpendicular for the model?" in words
    assert used == []
    choices[0][1]()
    assert shown[0].geometry.orthogonal
    assert used == [shown[0].id]


@pytest.mark.parametrize("how", ["needed", "needed_for_model"])
def test_a_straight_stack_is_not(qapp, how) -> None:
    controller, asked, used, _ = even(0.0)
    assert not getattr(controller, how)("v", used.append)
    assert asked == used == []
