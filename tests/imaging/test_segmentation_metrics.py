"""Figures of agreement: against monai.metrics, on spheres with known answers, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.analysis.probability_metrics import chance_table, doubtful
from imaging.analysis.segmentation_metrics import agreement, surfaces

ONE = (1.0, 1.0, 1.0)


def _ball(shape, centre, radius, spacing=ONE):
    grid = np.moveaxis(np.indices(shape), 0, -1) * np.asarray(spacing)
    return ((grid - np.asarray(centre)) ** 2).sum(-1) < radius**2


def _random_masks(seed):
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(rng.standard_normal((14, 16, 12)), 1.5) for _ in range(2)]
    return [m > np.quantile(m, 0.8) for m in smooth]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [ONE, (3.0, 0.7, 0.9)])
def test_as_monai_counts(seed, spacing):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")

    a, b = _random_masks(seed)
    pair = [torch.from_numpy(m.astype(np.float32))[None, None] for m in (a, b)]
    mine = agreement(a, b, spacing, tolerance_mm=1.0)

    assert mine.dice == pytest.approx(float(metrics.compute_dice(*pair)), abs=1e-6)
    hd = metrics.compute_hausdorff_distance(
        *pair, include_background=True, percentile=95, spacing=list(spacing)
    )
    assert mine.hd95_mm == pytest.approx(float(hd), abs=1e-4)
    nsd = metrics.compute_surface_dice(*pair, [1.0], include_background=True, spacing=list(spacing))
    assert mine.nsd == pytest.approx(float(nsd), abs=1e-6)


def test_concentric_balls():
    spacing = (2.0, 1.0, 1.0)
    small = _ball((30, 60, 60), (30, 30, 30), 8, spacing)
    large = _ball((30, 60, 60), (30, 30, 30), 12, spacing)
    found = agreement(large, small, spacing)

    assert found.volume_error == pytest.approx((12 / 8) ** 3 - 1, rel=0.06)
    assert found.hd95_mm == pytest.approx(4.0, abs=1.1)
    assert found.sensitivity == 1.0
    assert found.ppv == pytest.approx((8 / 12) ** 3, rel=0.06)
    assert found.nsd == 0.0
    assert found.gold_ml == pytest.approx(4 / 3 * np.pi * 8**3 / 1000, rel=0.06)


def test_both_rules_of_lesions():
    gold = np.zeros((6, 6, 40), bool)
    gold[2:5, 2:5, 2:5] = gold[2:5, 2:5, 8:11] = gold[2:5, 2:5, 20:23] = True
    found = np.zeros_like(gold)
    found[2:5, 2:5, 2:11] = True  # one piece over two lesions
    found[2, 2, 30:33] = True  # a false one
    result = agreement(found, gold, ONE)

    assert (result.touch.lesions, result.touch.found) == (3, 2)
    assert (result.touch.marked, result.touch.true) == (2, 1)
    assert (result.match.found, result.match.true) == (1, 1), "one to one"
    assert result.touch.f1 == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert result.found_by_size == ((0, 0), (3, 2), (0, 0), (0, 0))


def test_a_brush_of_one_voxel_is_no_match():
    gold = _ball((20, 20, 20), (10, 10, 10), 6)
    found = np.zeros_like(gold)
    found[10, 10, 10] = True
    result = agreement(found, gold, ONE)
    assert (result.touch.found, result.match.found) == (1, 0)


def test_corners_connect():
    gold = np.zeros((4, 4, 4), bool)
    gold[0, 0, 0] = gold[1, 1, 1] = True
    assert agreement(gold, gold, ONE).touch.lesions == 1


def test_nothing_to_find_is_never_a_dice_of_one():
    empty, some = np.zeros((8, 8, 8), bool), _ball((8, 8, 8), (4, 4, 4), 3)
    for found in (empty, some):
        result = agreement(found, empty, ONE)
        assert result.dice is result.sensitivity is result.ppv is result.volume_error is None
        assert result.touch.f1 is None
        assert result.hd95_mm is None
        assert result.false_ml == pytest.approx(found.sum() / 1000)
        assert result.touch.marked == int(found.any())
    missed = agreement(empty, some, ONE)
    assert (missed.dice, missed.touch.f1, missed.ppv) == (0.0, 0.0, None)


def test_other_grid_is_refused():
    with pytest.raises(ValueError):
        agreement(np.zeros((3, 3, 3)), np.zeros((3, 3, 4)), ONE)


@settings(max_examples=40, deadline=None)
@given(
    shift=st.tuples(*[st.integers(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 4)] * 3),
    order=st.permutations(range(3)),
)
def test_a_shifted_cube(shift, spacing, order):
    """Distance is never larger than the shift; everything is the same with axes exchanged."""
    cube = np.zeros((18, 18, 18), bool)
    cube[6:12, 6:12, 6:12] = True
    moved = np.roll(cube, shift, (0, 1, 2))
    result = agreement(moved, cube, spacing)
    distance = float(np.linalg.norm(np.multiply(shift, spacing)))
    overlap = np.prod([6 - abs(s) for s in shift])

    assert result.dice == pytest.approx(2 * overlap / 432)
    assert result.volume_error == 0
    assert 0 <= result.hd95_mm <= distance + 1e-6
    turned = [np.ascontiguousarray(m.transpose(order)) for m in (moved, cube)]
    other = agreement(*turned, [spacing[n] for n in order])
    assert other.hd95_mm == pytest.approx(result.hd95_mm, abs=1e-6)
    assert other.nsd == pytest.approx(result.nsd, abs=1e-6)


def test_surfaces_at_the_border_of_the_image():
    whole = np.ones((5, 5, 5), bool)
    assert surfaces(whole, whole, ONE) == (0.0, 1.0)


# --- probabilities ----------------------------------------------------------------------------


def test_auc_and_precision_against_all_pairs():
    rng = np.random.default_rng(3)
    truth = rng.random(400) < 0.3
    chance = np.clip(rng.normal(0.3 + 0.3 * truth, 0.2), 0, 1)
    table = chance_table(chance, truth)
    wins = chance[truth][:, None] - chance[~truth][None]
    expected = ((wins > 0) + 0.5 * (wins == 0)).mean()
    assert table.auc == pytest.approx(expected, abs=2e-3)

    order = np.argsort(-chance)
    hits = np.cumsum(truth[order])
    precision = (hits / np.arange(1, 401))[truth[order]].mean()
    assert table.average_precision == pytest.approx(precision, abs=0.01)


def test_calibration_of_honest_and_boasting_maps():
    rng = np.random.default_rng(0)
    chance = rng.random(200_000)
    truth = rng.random(200_000) < chance
    honest, boasting = chance_table(chance, truth), chance_table(np.sqrt(chance), truth)
    assert honest.reliability().error < 0.01
    assert boasting.reliability().error == pytest.approx(2 / 3 - 1 / 2, abs=0.01)
    assert boasting.auc == pytest.approx(honest.auc, abs=0.01)


def test_tables_add_up_and_know_their_limits():
    chance, truth = np.array([0.0, 0.2, 1.0]), np.array([0, 1, 1])
    whole = chance_table(chance, truth)
    parts = chance_table(chance[:1], truth[:1]) + chance_table(chance[1:], truth[1:])
    assert (whole.true == parts.true).all()
    assert (whole.other == parts.other).all()
    assert whole.true.sum() + whole.other.sum() == 3
    assert chance_table(chance, np.ones(3)).auc is None
    assert chance_table(chance, np.zeros(3)).average_precision is None


def test_where_it_is_worth_asking():
    truth = np.zeros((9, 9, 9), bool)
    truth[4, 4, 4] = True
    chance = np.zeros((9, 9, 9), np.float32)
    chance[0, 0, 0] = 0.5
    where = doubtful(chance, truth)
    assert where[4, 4, 6]
    assert where[0, 0, 0]
    assert not where[8, 8, 8]
