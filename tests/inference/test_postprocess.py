"""From an answer to items of a case."""

import numpy as np
import pytest
from tiny_models import make_head

from imaging.analysis.morphology import draft_mask
from imaging.edits.operations import min_voxels_of
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.heatmap import GRAD_CAM, PROBABILITY
from imaging.segmentation import AUTOMATIC, Provenance
from inference.messages import ExplainAnswer, SegmentAnswer
from inference.postprocess import as_items, explanation_item, min_voxels


def an_answer(volume, truth, heat=False):
    probability = np.where(truth, 0.9, 0.1).astype(np.float32)
    made_by = Provenance("Bright balls", "0.1", "a" * 64, settings=(("min_voxels", "3"),))
    heatmap = probability if heat else None
    return SegmentAnswer("t", probability, truth.astype(np.uint8), heatmap, made_by)


def test_the_draft_says_that_it_is_one_and_where_it_comes_from(tiny_model):
    volume, truth = make_head()
    draft, probability, heat = as_items(an_answer(volume, truth), volume, tiny_model.card)
    assert draft.draft
    assert draft.threshold == 0.5
    assert draft.volume_id == probability.volume_id == volume.id
    assert draft.probability_id == probability.id
    assert draft.segments[0].name == "Lesion (AI draft)"
    assert draft.segments[0].algorithm_type == AUTOMATIC
    assert draft.provenance.digest == "a" * 64
    assert min_voxels_of(draft) == 3
    assert probability.meaning == PROBABILITY
    assert heat is None
    np.testing.assert_array_equal(draft.labels, truth)


def test_each_answer_gets_ids_of_its_own(tiny_model):
    volume, truth = make_head()
    answer = an_answer(volume, truth, heat=True)
    a, b = (as_items(answer, volume, tiny_model.card) for _ in range(2))
    ids = [item.id for item in (*a, *b)]
    assert len(set(ids)) == 6
    assert a.grad_cam.meaning == GRAD_CAM
    assert a.grad_cam.about == "whole finding"


def test_taken_ids_are_not_taken_again(tiny_model, monkeypatch):
    from types import SimpleNamespace

    from inference import postprocess

    volume, truth = make_head()
    names = iter(["aaaaaaaa", "bbbbbbbb", "cccccccc"])
    monkeypatch.setattr(postprocess, "uuid4", lambda: SimpleNamespace(hex=next(names)))
    taken = {"tiny-probability-aaaaaaaa"}
    items = as_items(an_answer(volume, truth), volume, tiny_model.card, taken)
    assert items.probability.id == "tiny-probability-bbbbbbbb"


def test_an_answer_on_another_grid_is_refused(tiny_model):
    volume, truth = make_head()
    with pytest.raises(BadInput, match="own grid"):
        as_items(an_answer(volume, truth[1:]), volume, tiny_model.card)


def test_an_explanation_says_what_it_is_about(tiny_model):
    volume, truth = make_head()
    answer = ExplainAnswer("t", truth.astype(np.float32), "lesion 3", Provenance("x"))
    item = explanation_item(answer, volume, tiny_model.card)
    assert (item.meaning, item.about) == (GRAD_CAM, "lesion 3")
    assert item.name.endswith("lesion 3")


@pytest.mark.parametrize(
    ("spacing", "expected"), [((2, 2, 2), 3), ((1, 1, 1), 24), ((6, 4, 1), 1), ((9, 9, 9), 1)]
)
def test_the_smallest_finding_keeps_its_volume(tiny_model, spacing, expected):
    """The card's 3 voxels of 2 mm are 24 cubic millimetres on any grid."""
    affine = np.diag([*map(float, spacing), 1.0])
    assert min_voxels(tiny_model.card, Geometry((4, 4, 4), affine)) == expected


def test_the_pipeline_and_the_threshold_slider_cut_alike(client, tiny_model):
    volume, _ = make_head()
    answer = client.segment(volume, tiny_model).wait(120)
    smallest = int(dict(answer.provenance.settings)["min_voxels"])
    again = draft_mask(answer.probability, tiny_model.card.threshold, smallest)
    np.testing.assert_array_equal(answer.mask > 0, again)
