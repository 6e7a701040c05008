"""The weighting of a head is told from its pixels, whichever way it lies, or not told at all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from imaging.analysis.contrast import guess_contrast
from imaging.dicom.stacks.sequence import guess_by_name, with_pixels
from imaging.geometry import Geometry
from imaging.open import load_series, scan
from imaging.series import SequenceGuess

#: Brightness of white matter, grey matter, fluid, skull and scalp.
WEIGHTINGS = {
    "T1w": (1.0, 0.75, 0.3, 0.1, 1.2),
    "T2w": (0.55, 0.7, 1.6, 0.1, 0.8),
    "FLAIR": (0.7, 0.85, 0.15, 0.1, 0.5),
}
STEP = 2.0


def head(weighting: str, skull: bool = True) -> np.ndarray:
    """A head of nested ellipsoids with a folded cortex, float32 (k, j, i), 2 mm, LPS."""
    white, grey, fluid, bone, scalp = WEIGHTINGS[weighting]
    z, y, x = (np.arange(-110, 110, STEP)[(slice(None), *[None] * n)] for n in (2, 1, 0))

    def ball(rx: float, ry: float, rz: float) -> np.ndarray:
        return np.sqrt((x / rx) ** 2 + (y / ry) ** 2 + (z / rz) ** 2)

    image = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.float32)
    if skull:
        image[ball(84, 104, 94) < 1] = scalp
        image[ball(78, 98, 88) < 1] = bone
    brain = ball(70, 90, 80)
    folds = np.sin(x / 6.0) * np.sin(y / 6.5) * np.sin(z / 7.0)
    image[brain < 1] = grey
    image[(brain < 1) & (folds < -0.62)] = fluid
    image[(brain < 0.9) & (folds > -0.1) | (brain < 0.5)] = white
    image[ball(26, 34, 22) < 1] = grey
    image[ball(22, 30, 16) < 1] = fluid
    image = gaussian_filter(image, 0.5)
    rng = np.random.default_rng(1)
    return 1000 * np.abs(image + rng.normal(0, 0.02, image.shape).astype(np.float32))


def grid(shape, axes=(0, 1, 2), flips=()) -> Geometry:
    """A 2 mm grid whose array axes are these of (z, y, x), some of them backwards."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for column, axis in enumerate(axes):
        affine[2 - axis, column] = -STEP if column in flips else STEP
    return Geometry(shape, affine)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("skull", [True, False])
def test_the_three_weightings(weighting: str, skull: bool) -> None:
    image = head(weighting, skull)
    guess = guess_contrast(image, grid(image.shape))
    assert guess.name == weighting
    assert not guess.sure
    assert "in the pixels" in guess.why


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_any_orientation(axes) -> None:
    image = head("T1w").transpose(axes)
    for flips in ((), (0,), (0, 1, 2)):
        flipped = np.flip(image, flips)
        assert guess_contrast(flipped, grid(image.shape, axes, flips)).name == "T1w"


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_scale_and_shading_do_not_matter(weighting: str) -> None:
    image = head(weighting) * np.linspace(0.7, 1.3, 110, dtype=np.float32)
    for scaled in (image, 0.001 * image, image.astype(np.uint16)):
        assert guess_contrast(scaled, grid(image.shape)).name == weighting


def test_what_is_no_head_is_not_named() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(100, 10, (60, 60, 60)).astype(np.float32)
    whole = grid(noise.shape)
    assert guess_contrast(noise, whole).name == ""
    assert guess_contrast(np.zeros((60, 60, 60), np.int16), whole).name == ""
    ball = sum(np.linspace(-1, 1, 100)[(slice(None), *[None] * n)] ** 2 for n in range(3)) < 0.8
    assert guess_contrast(ball.astype(np.uint8) * 100, grid(ball.shape)).name == ""
    image = head("T1w")
    cropped = image[40:70, 40:70, 40:70]  # a block out of the middle
    assert guess_contrast(cropped, grid(cropped.shape)).name == ""


def test_coarse_images_are_not_named() -> None:
    image = head("FLAIR")[::2, ::2, ::2]
    geometry = Geometry(image.shape, grid(image.shape).affine * [2, 2, 2, 1])
    assert guess_contrast(image, geometry).name == ""


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    hnp.arrays(
        st.sampled_from([np.int16, np.float32, np.uint8]),
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=30),
    )
)
def test_any_array_gets_an_answer(voxels: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        assert guess_contrast(voxels, None).confidence <= 0.65


def test_pixels_agree_with_a_name_or_cast_doubt_on_it() -> None:
    seen = SequenceGuess("FLAIR", 0.6, "in the pixels fluid is dark")
    assert with_pixels(SequenceGuess(), seen) == seen
    agreed = with_pixels(guess_by_name("flair"), seen)
    assert agreed.confidence > guess_by_name("flair").confidence
    doubted = with_pixels(guess_by_name("t2"), seen)
    assert doubted.name == "T2w"
    assert not doubted.sure
    assert "but in the pixels fluid is dark" in doubted.why


@pytest.mark.parametrize(
    ("name", "confidence"), [("DWI", 0.8), ("localiser", 0.9), ("", 0.9), ("T1w", 1.0)]
)
def test_pixels_have_no_say_where_they_know_nothing(name: str, confidence: float) -> None:
    """Diffusion, localisers, maps, and what the user said."""
    guess = SequenceGuess(name, confidence, "said so")
    assert with_pixels(guess, SequenceGuess("FLAIR", 0.65, "seen")) == guess


def test_a_contrast_agent_is_not_doubted() -> None:
    seen = SequenceGuess("T1w", 0.6, "seen")
    assert with_pixels(guess_by_name("t1 post gd"), seen).name == "T1w+C"


REAL = {
    "nifti_orientations/AIL.nii.gz": "T1w",
    "ms_open_mni/MNI/patient19/T2_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz":
        "T2w",
    "ms_open_longitudinal/raw/patient03/study2_FLAIR.nii.gz": "FLAIR",
    "normal_t2_fpg/t2.nii.gz": "FLAIR",  # in spite of its name: its fluid is dark
    "dicom_siemens_prone": "T1w",
    "dicom_siemens_orient/In/ax/axasc35": "",
    "spine_cord_nifti/t2s/t2s_uncropped.nii.gz": "",
}  # fmt: skip


@pytest.mark.parametrize("path", REAL)
def test_real_images(shared_data, path: str) -> None:
    with scan([shared_data / path]) as result:
        series = next(s for s in result.series if s.volumetric)
        volume = load_series(series)
    assert guess_contrast(volume.voxels, volume.geometry).name == REAL[path]
