"""An even volume has old values at old places, straight lines between, and says what it made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_uneven import rotation, stack

from imaging.analysis.regularise import even_step, even_volume, why_not_even
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.uneven import uneven_geometry
from imaging.volume import Repeats, Source, Volume

WEIGHTS = np.array([3.0, -2.0, 5.0])


def values_at(world: np.ndarray) -> np.ndarray:
    """Linear in the place, so that linear interpolation is exact."""
    return 500.0 + np.asarray(world) @ WEIGHTS


def uneven(heights, axes=None, aside=(0.0, 0.0), dtype=np.float32) -> Volume:
    mean, places = stack(heights, axes, aside, (12, 10))
    grid = uneven_geometry(mean, places, "key")
    index = np.stack(np.indices(mean.shape), axis=-1)
    true = places[:, None, None, :] + index[..., 1:] @ mean.affine[:3, 1:3].T
    voxels = values_at(true)
    voxels = np.rint(voxels).astype(dtype) if np.dtype(dtype).kind in "iu" else voxels.astype(dtype)
    source = Source("dicom", ("a",) * len(places), instance_uids=("1",) * len(places))
    return Volume("v", "head", voxels, grid, source, places=places)


def assert_in_place(volume: Volume, within: float, rim: int = 0) -> None:
    """Every voxel (but a rim in its plane) holds the value of its place."""
    index = np.stack(np.indices(volume.voxels.shape), axis=-1)
    error = np.abs(volume.real(volume.voxels) - values_at(volume.geometry.world(index)))
    inner = slice(rim, -rim or None)
    assert error[:, inner, inner].max() <= within


@settings(max_examples=40, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
    steps=st.lists(st.floats(1.0, 9.0), min_size=2, max_size=7),
    wanted=st.floats(0.7, 4.0),
)
def test_values_lie_where_they_did(angles, steps, wanted) -> None:
    volume = uneven(np.cumsum([0.0, *steps]), rotation(*angles))
    assume("made up" not in why_not_even(volume))
    made = even_volume(volume, wanted)
    assert made.even
    assert made.geometry.orthogonal
    assert made.geometry.spacing[0] == pytest.approx(wanted)
    last = np.cumsum(steps)[-1]
    reach = (made.geometry.shape[0] - 1) * wanted
    inside = made.geometry.shape[0] if reach <= last else made.geometry.shape[0] - 1
    part = replace(
        made,
        voxels=made.voxels[:inside],
        geometry=Geometry((inside, *made.geometry.shape[1:]), made.geometry.affine),
    )
    assert_in_place(part, 0.13)  # a slice within 0.02 mm of a place is taken as it is


def test_a_gap_keeps_the_slices_and_names_what_was_made_up() -> None:
    volume = uneven([0, 3, 6, 15, 18], dtype=np.int16)
    made = even_volume(volume)
    assert made.voxels.dtype == np.int16
    assert made.geometry.shape[0] == 7
    for old, new in enumerate((0, 1, 2, 5, 6)):
        assert np.array_equal(made.voxels[new], volume.voxels[old])
    assert_in_place(made, 0.51)
    assert "2 of them interpolated" in made.notes[0]
    assert made.notes[1] == (
        "Slices 4 to 5 are made up across a gap of 9.0 mm: nothing was seen there."
    )
    assert made.interpolated
    assert made.name == "head (even, 3.0 mm)"
    assert (made.even_mm, made.places) == (3.0, None)


def test_it_names_no_source_images_slice_by_slice() -> None:
    made = even_volume(uneven([0, 3, 6, 12]))
    assert made.source.instance_uids == ()
    assert made.source.files


def test_mixed_distances_give_the_usual_step_unless_another_is_wanted() -> None:
    volume = uneven([0, 3, 6, 9, 14, 19])
    assert even_step(volume) == pytest.approx(3.0)
    assert even_volume(volume).geometry.shape[0] == 7
    assert even_volume(volume, 1.0).geometry.shape[0] == 20
    assert "made up" not in " ".join(even_volume(uneven([0, 3, 7, 10])).notes)


def test_slices_off_the_straight_line_are_moved_back_under_each_other() -> None:
    made = even_volume(uneven([0, 3, 6, 9, 12], aside=(0.5, -0.6)))
    assert made.geometry.orthogonal
    assert_in_place(made, 0.05, rim=4)


def test_a_sheared_stack_becomes_perpendicular() -> None:
    affine = np.array(
        [[0, 0, 1.0, -9], [0.8, 1.0, 0, -8], [3.0, 0, 0, 5], [0, 0, 0, 1]]
    )  # the slices creep along j
    grid = Geometry((6, 14, 10), affine, "1.2")
    index = np.stack(np.indices(grid.shape), axis=-1)
    sheared = Volume("s", "ct", values_at(grid.world(index)).astype(np.float32), grid)
    assert not grid.orthogonal
    made = even_volume(sheared)
    assert made.geometry.orthogonal
    assert made.geometry.frame_of_reference == "1.2"
    assert made.geometry.spacing == pytest.approx((3.0, 1.0, 1.0))
    assert made.geometry.shape == (6, 18, 10)
    assert "sheared" in made.notes[0]
    at = made.geometry.world((5, 10, 4))
    assert made.value_at(at) == pytest.approx(values_at(at), abs=0.01)
    assert made.value_at(at) == pytest.approx(sheared.value_at(at), abs=2.0)


def test_slices_at_one_place_are_used_once_and_named() -> None:
    made = even_volume(uneven([0, 3, 3, 6]))
    assert made.geometry.shape[0] == 3
    assert made.geometry.frame_of_reference == "1.2.3"
    assert_in_place(made, 0.01)
    assert "left out: 3" in made.notes[-1]


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (uneven([0, 0, 0]), "same place"),
        (replace(uneven([0, 3, 9]), places=None, placed=False), "does not say where"),
        (
            Volume("v", "v", np.zeros((3, 3, 3), np.int16), Geometry((3, 3, 3), np.eye(4))),
            "even distances already",
        ),
    ],
)
def test_what_cannot_be_made_even_says_why(volume, words) -> None:
    assert words in why_not_even(volume)
    with pytest.raises(BadInput, match=words):
        even_volume(volume)


def test_a_lone_slice_far_away_makes_no_endless_volume() -> None:
    with pytest.raises(BadInput, match="made up"):
        even_volume(uneven([0, 1, 2, 9000]))


def test_a_volume_that_would_be_mostly_made_up_is_refused_with_numbers() -> None:
    volume = uneven([0, 1.25, 2.5, 204.5])
    words = "161 of the 165 slices of an even volume would be made up"
    assert words in why_not_even(volume)
    with pytest.raises(BadInput, match=words) as refused:
        even_volume(volume)
    assert refused.value.advice == "Read the slices one by one"


def test_a_third_of_made_up_slices_is_still_made() -> None:
    made = even_volume(uneven([0, 3, 6, 9, 18]))  # two of seven
    assert made.geometry.shape[0] == 7
    assert "1 of the" not in why_not_even(uneven([0, 3, 6, 12]))
    assert why_not_even(uneven([0, 3, 6, 18])).startswith("3 of the 7 slices")


def test_of_a_4d_series_the_chosen_image_is_made_even() -> None:
    plain = uneven([0, 3, 9])
    images = np.stack([plain.voxels, plain.voxels + 100])
    repeats = Repeats(
        "echo time", ("TE 1 ms", "TE 2 ms"), images, (plain.source,) * 2, ((1, 0),) * 2
    )
    made = even_volume(replace(plain, repeats=repeats).at_repeat(1))
    assert made.repeats is None
    assert made.repeat == 1
    assert made.name == "head · TE 2 ms (even, 4.5 mm)"
    assert np.array_equal(made.voxels[0], images[1, 0])
