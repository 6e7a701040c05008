"""What every installed model must keep: any grid in, the same grid out, sane and repeatable."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tiny_models import BALLS_MM, dice, make_head

from imaging.heatmap import GRAD_CAM, PROBABILITY
from inference.messages import SegmentAnswer
from inference.postprocess import as_items
from inference.registry import installed_models
from inference.selftest import phantom

WAIT_S = 240
AXES = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)  # k, j, i to superior, posterior, left
SAGITTAL = np.array([[-1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
TILT = Rotation.from_euler("xyz", [14, -9, 21], degrees=True).as_matrix()

GRIDS = {
    "plain": ((64, 72, 60), (2.0, 2.0, 2.0), AXES),
    "fine": ((110, 130, 110), (1.1, 1.0, 1.05), AXES),
    "thick slices": ((34, 120, 110), (3.6, 1.1, 1.1), AXES),
    "sagittal, flipped": ((60, 64, 72), (2.0, 2.0, 2.0), SAGITTAL),
    "left-handed": ((64, 72, 60), (2.0, 2.0, 2.0), AXES * [1, 1, -1]),
    "oblique": ((70, 80, 70), (1.9, 1.8, 1.7), TILT @ AXES),
    "oblique, permuted, anisotropic": ((130, 40, 120), (1.0, 3.2, 1.1), TILT @ AXES[:, [2, 0, 1]]),
}  # fmt: skip


def near(mask, geometry, centre, radius):
    """Mean place (LPS mm) of the marked voxels near a point."""
    points = geometry.world(np.argwhere(mask))
    return points[np.linalg.norm(points - centre, axis=1) < radius].mean(axis=0)


@pytest.mark.parametrize("name", GRIDS)
def test_the_answer_lies_on_the_lesions_of_any_grid(client, tiny_model, name):
    shape, spacing, directions = GRIDS[name]
    volume, truth = make_head(shape, spacing, directions)
    answer = client.segment(volume, tiny_model, explain=True).wait(WAIT_S)
    assert isinstance(answer, SegmentAnswer)
    assert answer.mask.shape == answer.probability.shape == shape
    # Preprocessing blurs edges by 0.7 voxel.
    assert dice(answer.mask, truth) > (0.7 if max(spacing) > 3 else 0.82)
    for *centre, radius in BALLS_MM:  # mm: no half-voxel shift on the way
        marked, wanted = (
            near(m, volume.geometry, centre, radius + 6) for m in (answer.mask, truth)
        )
        assert np.linalg.norm(marked - wanted) < 0.6
    assert 0 <= answer.heatmap.min() <= answer.heatmap.max() <= 1
    assert answer.heatmap[truth].mean() > 5 * answer.heatmap[~truth].mean()


def test_a_head_partly_outside_the_field_of_view_is_no_problem(client, tiny_model):
    volume, _ = make_head((20, 72, 60))
    answer = client.segment(volume, tiny_model, explain=True).wait(WAIT_S)
    assert isinstance(answer, SegmentAnswer)
    assert answer.mask.shape == (20, 72, 60)


def test_an_image_without_a_finding_stays_empty_and_says_why_nothing_is_explained(
    client, tiny_model
):
    volume, truth = make_head()
    stored = volume.voxels.copy()
    stored[truth] = 300
    plain = type(volume)("v", "Plain", stored, volume.geometry, volume.source)
    answer = client.segment(plain, tiny_model, explain=True).wait(WAIT_S)
    assert not answer.mask.any()
    assert not answer.heatmap.any()
    assert any("nothing to explain" in note for note in answer.notes)


def test_voxels_without_a_number_become_background(client, tiny_model):
    volume, truth = make_head()
    stored = volume.voxels.astype(np.float32)
    stored[:2] = np.nan
    stored[-1, -1, -1] = np.inf
    holed = type(volume)("v", "Holed", stored, volume.geometry, volume.source)
    answer = client.segment(holed, tiny_model).wait(WAIT_S)
    assert dice(answer.mask, truth) > 0.9
    assert any("held no number" in note for note in answer.notes)


@pytest.mark.parametrize("kind", [np.uint8, ">i2", np.uint16, np.int32, np.float64])
def test_any_kind_of_number_gives_the_same_finding(client, tiny_model, kind):
    volume, truth = make_head()
    stored = np.clip(volume.voxels.astype(float) / 3 + 20, 0, 255).astype(kind)
    other = type(volume)("v", "Other", stored, volume.geometry, volume.source)
    answer = client.segment(other, tiny_model).wait(WAIT_S)
    assert dice(answer.mask, truth) > 0.9


@pytest.mark.parametrize("model", installed_models(), ids=lambda m: m.card.id)
def test_each_installed_model_keeps_the_contract(client, model):
    if not model.available:
        pytest.skip(model.reason)
    volume = phantom()
    first = client.segment(volume, model, explain=True).wait(WAIT_S)
    again = client.segment(volume, model).wait(WAIT_S)
    assert isinstance(first, SegmentAnswer)
    np.testing.assert_array_equal(first.probability, again.probability)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first.provenance.digest == model.card.weights_sha256
    made = as_items(first, volume, model.card)
    draft, probability, heat = made.segmentation, made.probability, made.grad_cam
    assert draft.draft
    assert draft.geometry.same_grid(volume.geometry)
    assert set(np.unique(draft.labels)) <= {0, *(label.number for label in model.card.labels)}
    assert probability.meaning == PROBABILITY
    assert draft.probability_id == probability.id
    assert heat is not None
    assert heat.meaning == GRAD_CAM
