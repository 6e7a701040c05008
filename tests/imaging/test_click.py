"""One click into a thing gives the thing; corrections mend it; any grid, any contrast."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.analysis.click import classic_mask, cleaned
from imaging.analysis.hints import Hints, view_box
from imaging.analysis.proposal import Proposal
from imaging.analysis.walker import walk
from imaging.edits.proposal import proposal_edit
from imaging.errors import EditRefused
from imaging.geometry import Box


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


def ball(
    shape=(40, 40, 40), centre=(20, 20, 20), radius=6.0, spacing=(1.0, 1.0, 1.0)
) -> np.ndarray:
    """A ball of a radius in mm."""
    grid = np.indices(shape).astype(float)
    away = [(g - c) * s for g, c, s in zip(grid, centre, spacing, strict=True)]
    return sum(a**2 for a in away) < radius**2


def picture(truth: np.ndarray, contrast: float = 100.0, noise: float = 5.0) -> np.ndarray:
    rng = np.random.default_rng(3)
    return (200 + contrast * truth + rng.normal(0, noise, truth.shape)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    radius=st.floats(4.0, 9.0),
    contrast=st.sampled_from([-150.0, -60.0, 60.0, 200.0]),
    spacing=st.tuples(*[st.sampled_from([0.8, 1.0, 1.5])] * 3),
    off=st.tuples(*[st.floats(-0.4, 0.4)] * 3),
)
def test_a_click_inside_a_ball_gives_the_ball(radius, contrast, spacing, off) -> None:
    shape = tuple(int(36 / s) for s in spacing)
    centre = tuple(n / 2 for n in shape)
    truth = ball(shape, centre, radius, spacing)
    at = tuple(c + o * radius / s for c, o, s in zip(centre, off, spacing, strict=True))
    found = classic_mask(picture(truth, contrast, 4.0), spacing, Hints((at,)))
    assert dice(found, truth) > 0.85


def test_thick_slices_keep_the_ball_round_in_millimetres() -> None:
    spacing = (4.0, 0.8, 0.8)
    truth = ball((11, 50, 50), (5, 25, 25), 7.0, spacing)
    found = classic_mask(picture(truth), spacing, Hints(((5.0, 26.0, 24.0),)))
    assert dice(found, truth) > 0.85


def test_one_plane_is_enough() -> None:
    truth = ball((1, 60, 60), (0, 30, 30), 8.0)
    found = classic_mask(picture(truth), (5.0, 1.0, 1.0), Hints(((0.0, 31.0, 28.0),)))
    assert dice(found, truth) > 0.9


def test_a_soft_lesion_is_not_the_sharply_cut_brain_around_it() -> None:
    """What goes on beyond the block looked at is no outline, however sharp the rest of its edge."""
    from scipy import ndimage

    truth = ball((65, 65, 65), (32, 32, 32), 8.0)
    head = np.zeros(truth.shape, np.float32)
    head[:, 6:, :] = 65
    head += 26 * np.asarray(ndimage.gaussian_filter(truth.astype(np.float32), 3.0))
    head += np.random.default_rng(1).normal(0, 1, head.shape).astype(np.float32)
    found = classic_mask(head, (1.0, 1.0, 1.0), Hints(((32.0, 32.0, 32.0),)))
    assert dice(found, truth) > 0.5


def test_a_bridge_that_large_steps_overlook_joins_nothing() -> None:
    """Large blocks are judged in steps of two voxels; between them all may hang together."""
    truth = ball((65, 65, 65), (32, 22, 32), 18.5)
    head = 100 * truth.astype(np.float32)
    head[:, 46:] = 99
    head[31, 38:46, 28:37] = 100
    found = classic_mask(head, (1.0, 1.0, 1.0), Hints(((32.0, 22.0, 32.0),)))
    assert dice(found, truth) > 0.7


def test_what_the_end_of_the_image_cuts_is_found() -> None:
    truth = ball((8, 60, 60), (0, 30, 30), 14.0)
    found = classic_mask(picture(truth), (1.0, 1.0, 1.0), Hints(((2.0, 30.0, 30.0),)))
    assert dice(found, truth) > 0.85


def test_of_two_balls_only_the_one_clicked() -> None:
    one, other = ball(centre=(20, 12, 20), radius=5), ball(centre=(20, 30, 20), radius=5)
    found = classic_mask(picture(one | other), (1, 1, 1), Hints(((20.0, 12.0, 20.0),)))
    assert dice(found, one) > 0.9
    assert not (found & other).any()


def test_a_negative_click_takes_away_what_it_lies_on_and_a_positive_one_adds() -> None:
    one, other = ball(centre=(20, 12, 20), radius=5), ball(centre=(20, 30, 20), radius=5)
    bridge = np.zeros_like(one)
    bridge[19:22, 12:30, 19:22] = True
    image = picture(one | other | bridge)
    both = one | other | bridge
    cut = classic_mask(
        image,
        (1, 1, 1),
        Hints(((20.0, 12.0, 20.0),), ((20.0, 30.0, 20.0), (20.0, 22.0, 20.0))),
        both,
    )
    assert not (cut & ball(centre=(20, 30, 20), radius=2)).any()
    assert dice(cut, one) > dice(both, one) + 0.15
    grown = classic_mask(image, (1, 1, 1), Hints(((20.0, 12.0, 20.0), (20.0, 30.0, 20.0))), one)
    assert (grown & ball(centre=(20, 30, 20), radius=3)).sum() > 50


def test_a_box_alone_finds_what_differs_inside_it() -> None:
    truth = ball(radius=6)
    box = Box((12, 12, 12), (29, 29, 29))
    found = classic_mask(picture(truth), (1, 1, 1), Hints(box=box))
    assert dice(found, truth) > 0.85
    outside = found.copy()
    outside[box.slices] = False
    assert not outside.any()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(*[st.integers(1, 24)] * 3),
    data=st.data(),
)
def test_any_picture_gives_a_mask_of_its_shape_that_obeys_the_clicks(seed, shape, data) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 6)
    if seed % 7 == 0:
        image[:] = 4.0
    if seed % 5 == 0:
        image.ravel()[0] = np.nan
    points = [
        tuple(float(data.draw(st.integers(0, n - 1))) for n in shape) for _ in range(1 + seed % 3)
    ]
    before = rng.random(shape) > 0.5 if seed % 2 else None
    wanted, unwanted = (points[0],), tuple(p for p in points[1:] if p != points[0])
    found = classic_mask(image, (1.0, 0.7, 2.0), Hints(wanted, unwanted), before)
    assert found.shape == shape
    assert found.dtype == bool
    assert found[tuple(int(x) for x in wanted[0])]
    for point in unwanted:
        assert not found[tuple(int(x) for x in point)]


def test_nothing_said_finds_nothing() -> None:
    assert not classic_mask(np.zeros((5, 5, 5)), (1, 1, 1), Hints()).any()
    assert not walk(np.zeros((4, 4, 4)), (1, 1, 1), np.zeros((4, 4, 4), np.int8)).any()


def test_the_walker_is_even_between_two_seeds() -> None:
    seeds = np.zeros((1, 1, 11), np.int8)
    seeds[0, 0, 0], seeds[0, 0, -1] = 1, -1
    chance = walk(np.zeros((1, 1, 11)), (1, 1, 1), seeds)
    assert np.allclose(chance[0, 0], np.linspace(1, 0, 11), atol=0.02)


def test_pieces_without_a_click_go_and_holes_are_filled() -> None:
    mask = np.zeros((9, 9, 20), bool)
    mask[1:8, 1:8, 1:8] = True
    mask[4, 4, 4] = False
    mask[3:6, 3:6, 12:15] = True
    kept = cleaned(mask, Hints(((2.0, 2.0, 2.0),)))
    assert kept[4, 4, 4]
    assert not kept[..., 12:].any()
    assert not cleaned(mask, Hints(((2.0, 2.0, 2.0),), ((4.0, 4.0, 4.0),)))[4, 4, 4]


def test_the_view_is_a_cube_in_millimetres_that_holds_the_box() -> None:
    view = view_box((40, 300, 300), (5.0, 0.5, 0.5), Hints(((20.0, 150.0, 150.0),)))
    extent = np.array(view.shape) * (5.0, 0.5, 0.5)
    assert np.all(extent >= 64)
    assert np.all(extent - 64 <= 3 * np.array((5.0, 0.5, 0.5)))
    large = Box((2, 20, 20), (38, 250, 60))
    view = view_box((40, 300, 300), (5.0, 0.5, 0.5), Hints(box=large))
    assert view.union(large) == view


# --- proposals ------------------------------------------------------------------------------


def test_what_lies_outside_the_view_stays() -> None:
    proposal = Proposal((20, 20, 200), (1.0, 1.0, 1.0)).pointed([(10.0, 10.0, 20.0)], wanted=True)

    def rod(view, hints, before):
        found = np.zeros(view.shape, bool)
        found[10 - view.start[0], 10 - view.start[1]] = True
        return found

    one = proposal.refined(rod)
    length = one.mask.sum()
    two = one.pointed([(10.0, 10.0, 60.0)], wanted=True).refined(rod)
    assert two.mask.sum() > length
    assert two.before(Box((10, 10, 20), (11, 11, 21))).all()
    gone = two.pointed([(10.0, 10.0, 60.0)], wanted=False).refined(
        lambda view, hints, before: np.zeros(view.shape, bool)
    )
    assert gone.before(Box((10, 10, 20), (11, 11, 21))).all()


def test_a_proposal_knows_its_place() -> None:
    truth = ball((50, 60, 70), (14, 40, 55), 5)
    image = picture(truth)

    def engine(view, hints, before):
        return classic_mask(image[view.slices], (1, 1, 1), hints, before)

    found = Proposal(truth.shape, (1.0, 1.0, 1.0)).pointed([(14.0, 40.0, 55.0)], wanted=True)
    found = found.refined(engine)
    whole = np.zeros(truth.shape, bool)
    whole[found.box.slices] = found.mask
    assert dice(whole, truth) > 0.9


def test_a_proposal_becomes_one_edit_that_leaves_locked_labels_alone() -> None:
    from small_cases import small_case

    case = small_case()
    mask = case.segmentations[0]
    number = 2
    box = Box((0, 0, 0), mask.geometry.shape)
    everything = np.ones(box.shape, bool)
    before = mask.labels.copy()
    edit = proposal_edit(mask, number, box, everything, "Point", "Engine", "1")
    assert edit is not None
    edit.apply(case)
    locked = [s.number for s in mask.segments if s.locked]
    assert (mask.labels[~np.isin(before, locked)] == number).all()
    assert np.array_equal(mask.labels[np.isin(before, locked)], before[np.isin(before, locked)])
    assert mask.segments[1].algorithm == "Engine"
    assert mask.segments[1].algorithm_type == "SEMIAUTOMATIC"
    edit.inverse().apply(case)
    assert np.array_equal(mask.labels, before)
    assert mask.segments[1].algorithm_type == "MANUAL"
    with pytest.raises(EditRefused):
        proposal_edit(mask, 250, box, everything, "Point")
