"""From an answer to items of a case."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import make_head

from imaging.analysis.morphology import draft_mask
from imaging.edits.operations import min_voxels_of
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.heatmap import DEVIATION, GRAD_CAM, PICTURE, PROBABILITY, UNCERTAINTY
from imaging.segmentation import AUTOMATIC, PALETTE, Code, Provenance
from inference.messages import ExplainAnswer, SegmentAnswer
from inference.model import OutputLabel
from inference.postprocess import as_items, explanation_item, min_voxels


def an_answer(volume, truth, heat=False):
    probability = np.where(truth, 0.9, 0.1).astype(np.float32)
    made_by = Provenance("Bright balls", "0.1", "a" * 64, settings=(("min_voxels", "3"),))
    heatmap = probability if heat else None
    return SegmentAnswer("t", probability, truth.astype(np.uint8), heatmap, made_by)


def test_the_draft_says_that_it_is_one_and_where_it_comes_from(tiny_model):
    volume, truth = make_head()
    made = as_items(an_answer(volume, truth), volume, tiny_model.card)
    draft, probability = made.segmentation, made.probability
    assert draft.draft
    assert draft.threshold == 0.5
    assert draft.volume_id == probability.volume_id == volume.id
    assert draft.probability_id == probability.id
    assert draft.segments[0].name == "Lesion (AI draft)"
    assert draft.segments[0].algorithm_type == AUTOMATIC
    assert draft.provenance.digest == "a" * 64
    assert min_voxels_of(draft) == 3
    assert probability.meaning == PROBABILITY
    assert made.grad_cam is None
    assert made.items == (probability, draft)
    np.testing.assert_array_equal(draft.labels, truth)


def test_each_answer_gets_ids_of_its_own(tiny_model):
    volume, truth = make_head()
    answer = an_answer(volume, truth, heat=True)
    a, b = (as_items(answer, volume, tiny_model.card) for _ in range(2))
    ids = [item.id for item in (*a.items, *b.items)]
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
    with pytest.raises(BadInput, match="grid of the image"):
        as_items(an_answer(volume, truth[1:]), volume, tiny_model.card)


TISSUES = tuple(
    OutputLabel(n, name, PALETTE[n], Code("85756007", "SCT", "Tissue"))
    for n, name in enumerate(("CSF", "Grey matter", "White matter"), 1)
)


def test_tissues_are_no_findings_and_bring_no_maps(tiny_model):
    volume, truth = make_head()
    card = replace(tiny_model.card, kind="tissue", labels=TISSUES)
    answer = an_answer(volume, truth)
    stack = np.stack([answer.probability] * 3) / 3
    made = as_items(replace(answer, probability=stack, facts={"ml": 3}), volume, card)
    assert made.items == (made.segmentation,)
    assert made.segmentation.anatomical
    assert not made.segmentation.draft
    assert [s.name for s in made.segmentation.segments] == ["CSF", "Grey matter", "White matter"]
    assert made.facts == {"ml": 3}


def test_a_deviation_is_a_map_and_a_picture_in_the_units_of_the_image(tiny_model):
    volume, truth = make_head()
    picture = np.full(truth.shape, -1.0, np.float32)
    picture[truth] = 0.0
    picture[0, 0, :2] = 1.0, 2.0  # beyond +1 the normalised scale is halved
    answer = replace(
        an_answer(volume, truth), picture=picture, facts={"image_scale": [10.0, 310.0]}
    )
    made = as_items(answer, volume, replace(tiny_model.card, kind="deviation"))
    assert made.segmentation is None
    assert made.probability is None
    assert {item.meaning for item in made.items} == {DEVIATION, PICTURE}
    settings = dict(made.picture.provenance.settings)
    low, high = float(settings["picture_low"]), float(settings["picture_high"])
    shown = low + made.picture.values * (high - low)
    assert shown[truth] == pytest.approx(310.0)
    np.testing.assert_allclose(shown[0, 0, :3], [610.0, 1210.0, 10.0])


def test_a_yes_or_no_answer_marks_nothing(tiny_model):
    volume, truth = make_head()
    made = as_items(
        an_answer(volume, truth, heat=True), volume, replace(tiny_model.card, kind="presence")
    )
    assert made.items == (made.grad_cam,)


def test_uncertainty_comes_beside_the_draft(tiny_model):
    volume, truth = make_head()
    answer = replace(an_answer(volume, truth), uncertainty=truth.astype(np.float32))
    made = as_items(answer, volume, tiny_model.card)
    assert made.uncertainty.meaning == UNCERTAINTY
    assert made.items[-1] is made.segmentation


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
