"""The study-level answer: counts by place, and words that say no more than was measured."""

from __future__ import annotations

import re
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cases import mask_on

from imaging.analysis.brain_places import BrainPlaces, places_from_image, places_from_tissue
from imaging.analysis.lesion_pattern import PLACES, lesion_pattern
from imaging.analysis.lesions import find_lesions
from imaging.geometry import Geometry
from imaging.volume import Volume

STEP = 2.0
#: Superior, posterior, left; the brain is 150 x 180 x 140 mm with air around it.
SHAPE = (88, 104, 84)
MIDDLE = np.array([44.0, 52.0, 42.0])
#: Where lesions of the phantom lie, (k, j, i), and what they must be called.
PLANTED = {
    "periventricular": (48, 50, 50),
    "juxtacortical": (60, 50, 69),
    "deep": (66, 50, 54),
    "infratentorial": (18, 74, 46),
}


def grid() -> Geometry:
    affine = np.zeros((4, 4))
    affine[:3, :3] = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) * STEP
    affine[:3, 3] = -MIDDLE[::-1] * STEP
    affine[3, 3] = 1
    return Geometry(SHAPE, affine)


def tissues() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An egg of white matter in a shell of grey, with two lateral ventricles."""
    k, j, i = np.indices(SHAPE)
    radius = np.sqrt(((k - 44) / 37) ** 2 + ((j - 52) / 45) ** 2 + ((i - 42) / 35) ** 2)
    brain = radius < 1
    grey = brain & (radius > 0.93)
    side = np.abs(i - 42)
    csf = (np.abs(k - 50) < 5) & (np.abs(j - 50) < 14) & (side > 2) & (side < 7)
    return csf, grey, brain & ~grey & ~csf


def ball(centre: tuple[int, int, int], radius: float = 2.2) -> np.ndarray:
    away = np.indices(SHAPE) - np.array(centre).reshape(3, 1, 1, 1)
    return np.asarray((away**2).sum(0) <= radius**2)


def planted() -> np.ndarray:
    return np.any([ball(spot) for spot in PLANTED.values()], axis=0)


def turned(array: np.ndarray, order: tuple[int, ...], flips: tuple[bool, ...]) -> np.ndarray:
    return array.transpose(order)[tuple(slice(None, None, -1 if f else 1) for f in flips)]


def turned_grid(order: tuple[int, ...], flips: tuple[bool, ...]) -> Geometry:
    old = grid()
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        change[axis, new] = -1 if flip else 1
        change[axis, 3] = old.shape[axis] - 1 if flip else 0
    return Geometry([old.shape[a] for a in order], old.affine @ change)


def lesions_of(mask: np.ndarray, geometry: Geometry):
    return find_lesions(mask_on(geometry, mask.astype(np.uint8)))


def test_each_lesion_is_counted_in_its_place_with_its_number():
    geometry, mask = grid(), planted()
    lesions = lesions_of(mask, geometry)
    pattern = lesion_pattern(lesions, places_from_tissue(*tissues(), geometry, mask))
    for place, spot in PLANTED.items():
        number = next(
            les.number for les in lesions if any(np.array_equal(spot, v) for v in les.indices)
        )
        assert pattern.place_of(number) == place
    assert [p.place for p in pattern.places] == list(PLACES)
    assert pattern.count == 4
    assert pattern.regions == 3
    assert pattern.total_ml == pytest.approx(mask.sum() * STEP**3 / 1000)


@pytest.mark.parametrize(
    ("order", "flips"),
    [
        (order, flips)
        for n, (order, flips) in enumerate(
            product(permutations(range(3)), product((False, True), repeat=3))
        )
        if n % 11 == 3
    ],
)
def test_storage_order_changes_nothing(order, flips):
    geometry, mask = turned_grid(order, flips), turned(planted(), order, flips)
    maps = [turned(m, order, flips) for m in tissues()]
    pattern = lesion_pattern(lesions_of(mask, geometry), places_from_tissue(*maps, geometry, mask))
    assert {p.place: len(p.lesions) for p in pattern.places} == dict.fromkeys(PLACES, 1)


def test_the_lesions_may_lie_on_a_finer_grid():
    coarse, mask = grid(), planted()
    places = places_from_tissue(*tissues(), coarse, mask)
    fine = np.kron(mask, np.ones((2, 2, 2), bool))
    affine = coarse.affine @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = coarse.world((-0.25, -0.25, -0.25))
    pattern = lesion_pattern(lesions_of(fine, Geometry(fine.shape, affine)), places)
    assert {p.place: len(p.lesions) for p in pattern.places} == dict.fromkeys(PLACES, 1)


def test_a_cut_brain_is_not_judged_below_the_tentorium():
    csf, grey, white = (m[:, :70] for m in tissues())
    geometry = Geometry((SHAPE[0], 70, SHAPE[2]), grid().affine)
    mask = planted()[:, :70]
    places = places_from_tissue(csf, grey, white, geometry, mask)
    pattern = lesion_pattern(lesions_of(mask, geometry), places)
    assert pattern.not_told == ("infratentorial",)
    assert [p.place for p in pattern.places] == ["periventricular", "juxtacortical", "deep"]
    words = " ".join(pattern.sentences())
    assert "Infratentorial is not told" in words
    assert "Of 2 judged brain regions" in words


def test_grey_specks_of_a_lesion_are_no_cortex():
    csf, grey, white = tissues()
    mask = ball(PLANTED["deep"])
    grey, white = grey | mask, white & ~mask
    pattern = lesion_pattern(
        lesions_of(mask, grid()), places_from_tissue(csf, grey, white, grid(), mask)
    )
    assert pattern.place_of(1) == "deep"


def test_without_a_tissue_map_brightness_decides_and_the_words_say_so():
    csf, grey, white = tissues()
    rng = np.random.default_rng(0)
    values = (100 * white + 115 * grey + 15 * csf + rng.normal(0, 2, SHAPE)).astype(np.float32)
    mask = planted()
    values[mask] = 170
    geometry = grid()
    places = places_from_image(Volume("v", "v", values, geometry))
    assert places is not None
    pattern = lesion_pattern(lesions_of(mask, geometry), places)
    assert {p.place: len(p.lesions) for p in pattern.places} == dict.fromkeys(PLACES, 1)
    assert "there is no tissue map" in pattern.sentences()[-1]


def test_an_image_of_nothing_gives_no_places():
    assert places_from_image(Volume("v", "v", np.zeros(SHAPE, np.float32), grid())) is None
    speck = np.zeros(SHAPE, np.float32)
    speck[40:44, 40:44, 40:44] = 100
    assert places_from_image(Volume("v", "v", speck, grid())) is None
    pattern = lesion_pattern(lesions_of(planted(), grid()), None)
    assert pattern.places == ()
    assert "no brain was found" in pattern.sentences()[-1]


def test_no_lesion_is_one_sentence():
    empty = np.zeros(SHAPE, bool)
    places = places_from_tissue(*tissues(), grid())
    pattern = lesion_pattern(lesions_of(empty, grid()), places)
    assert pattern.sentences() == ("No lesion is marked.",)
    assert pattern.largest is None


def read_back(sentences: tuple[str, ...]) -> dict:
    """Numbers out of the words, for the comparison with what was measured."""
    first = re.fullmatch(
        r"(\d+) lesions?, ([\d.]+) ml in all; the largest is lesion (\d+) with ([\d.]+) ml\.",
        sentences[0],
    )
    assert first
    told: dict = {
        "count": int(first[1]),
        "total": float(first[2]),
        "largest": int(first[3]),
        "largest_ml": float(first[4]),
        "long": int(sentences[1].removesuffix(".").rsplit(" ", 1)[1]),
    }
    keys = {name: place for place, name in PLACES.items()}
    for sentence in sentences:
        name, _, rest = sentence.partition(": ")
        if name in keys:
            found = re.fullmatch(r"(\d+) lesions?, ([\d.]+) ml \(([\d, ]+)\)\.", rest)
            assert found or rest == "none."
            numbers = tuple(int(n) for n in found[3].split(", ")) if found else ()
            told[keys[name]] = (numbers, float(found[2]) if found else 0.0)
            assert not found or int(found[1]) == len(numbers)
    return told


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 14))
def test_the_words_hold_exactly_what_was_measured(seed, pieces):
    rng = np.random.default_rng(seed)
    shape = (20, 22, 24)
    geometry = Geometry(shape, np.diag([*rng.uniform(0.6, 4.0, 3), 1.0]))
    mask = np.zeros(shape, bool)
    for _ in range(pieces):
        k, j, i = (int(rng.integers(0, n - 3)) for n in shape)
        mask[k : k + 2, j : j + int(rng.integers(1, 4)), i : i + 2] = True
    places = BrainPlaces(
        geometry,
        rng.uniform(0, 12, shape).astype(np.float32),
        rng.uniform(0, 12, shape).astype(np.float32),
        rng.random(shape) < 0.3,
        "tissue",
    )
    lesions = lesions_of(mask, geometry)
    pattern = lesion_pattern(lesions, places)
    told = read_back(pattern.sentences())
    assert told["count"] == pattern.count == len(lesions)
    assert told["total"] == round(pattern.total_ml, 2)
    assert told["largest"] == pattern.largest
    assert told["largest_ml"] == round(pattern.largest_ml, 2)
    assert told["long"] == sum(les.longest_diameter_mm >= 3 for les in lesions)
    for place in pattern.places:
        assert told[place.place] == (place.lesions, round(place.volume_ml, 2))
    counted = sorted(n for place in pattern.places for n in place.lesions)
    assert counted == [les.number for les in lesions]


def test_patient_19_has_most_of_the_load_at_the_ventricles(shared_data):
    from inference.training.shared import cases

    case = cases.load_labelled("19")
    geometry = Geometry(case.flair.shape, case.affine)
    places = places_from_image(Volume("v", "v", case.flair, geometry))
    pattern = lesion_pattern(lesions_of(case.gold, geometry), places)
    by_place = {p.place: p.volume_ml for p in pattern.places}
    assert pattern.count == 98
    assert by_place["periventricular"] > 0.8 * pattern.total_ml
    assert by_place["infratentorial"] < 0.1
