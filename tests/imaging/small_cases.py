"""Small grids, masks and cases for the tests, made by code."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from imaging.case import Case
from imaging.geometry import Box, Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import AUTOMATIC, MANUAL, Provenance, Segment, Segmentation
from imaging.volume import Source, Volume

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

#: k runs to S, j to P, i to L with 1 mm.
STRAIGHT = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)


def straight(shape=(12, 14, 16), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)) -> Geometry:
    affine = STRAIGHT @ np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Geometry(shape, affine, "1.2.3")


def turned(shape=(12, 14, 16), spacing=(3.0, 1.0, 0.8), angle=0.4, shear=0.0) -> Geometry:
    """Axes turned about two patient axes, optionally sheared."""
    c, s = np.cos(angle), np.sin(angle)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ STRAIGHT[:3, :3] @ np.diag(spacing)
    affine[:3, 0] += shear * affine[:3, 1]
    affine[:3, 3] = (-20.0, 11.0, 5.0)
    return Geometry(shape, affine, "1.2.3")


@st.composite
def geometries(draw, max_edge: int = 12, shear: bool = True) -> Geometry:
    """Any sane grid: turned, anisotropic, mirrored, sheared."""
    shape = tuple(draw(st.integers(1, max_edge)) for _ in range(3))
    angles = [draw(st.floats(-3.1, 3.1)) for _ in range(3)]
    spacing = [draw(st.floats(0.3, 6.0)) * draw(st.sampled_from([1, -1])) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = _rotation(*angles) @ np.diag(spacing)
    if shear and draw(st.booleans()):
        affine[:3, 0] += draw(st.floats(-0.3, 0.3)) * affine[:3, 1]
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return Geometry(shape, affine)


def _rotation(a: float, b: float, c: float) -> np.ndarray:
    def turn(angle: float, x: int, y: int) -> np.ndarray:
        m = np.eye(3)
        m[x, x] = m[y, y] = np.cos(angle)
        m[x, y], m[y, x] = -np.sin(angle), np.sin(angle)
        return m

    return turn(a, 0, 1) @ turn(b, 1, 2) @ turn(c, 0, 2)


@st.composite
def boxes(draw, edge: int = 10) -> Box:
    """Boxes, empty and reversed ones among them."""
    corner = st.tuples(*[st.integers(-2, edge + 2)] * 3)
    return Box(draw(corner), draw(corner))


def segments() -> tuple[Segment, ...]:
    return (
        Segment(1, "Draft lesion", (230, 159, 0), algorithm_type=AUTOMATIC),
        Segment(2, "Accepted lesion", (86, 180, 233), algorithm_type=MANUAL),
        Segment(5, "Vessel", (0, 158, 115), locked=True),
    )


def mask_on(geometry: Geometry, labels: np.ndarray | None = None, **rest) -> Segmentation:
    rest = {"segments": segments(), **rest}
    if labels is None:
        labels = np.zeros(geometry.shape, np.uint8)
    return Segmentation.from_labels("mask", "Lesions", geometry, "flair", labels, **rest)


def volume_on(geometry: Geometry, seed: int = 0, id: str = "flair", **rest) -> Volume:
    voxels = np.random.default_rng(seed).integers(0, 1000, geometry.shape).astype(np.int16)
    source = Source("nifti", ("flair.nii.gz",), series_uid="1.2.840.1", study_uid="1.2.840")
    return Volume(id, "FLAIR", voxels, geometry, source, **rest)


def blobs(geometry: Geometry, seed: int = 0, count: int = 4) -> np.ndarray:
    """A probability map with some round maxima; float32 in [0, 1]."""
    rng = np.random.default_rng(seed)
    index = np.indices(geometry.shape).astype(float)
    values = np.zeros(geometry.shape)
    for _ in range(count):
        centre = rng.uniform(0, geometry.shape)
        width, height = rng.uniform(1.0, 3.0), rng.uniform(0.4, 1.0)
        squared = sum((index[axis] - centre[axis]) ** 2 for axis in range(3))
        values = np.maximum(values, height * np.exp(-squared / (2 * width * width)))
    return values.astype(np.float32)


def map_on(geometry: Geometry, values: np.ndarray | None = None, id: str = "map") -> Heatmap:
    values = blobs(geometry) if values is None else values
    provenance = Provenance("Test model", "1", settings=(("min_voxels", "3"),))
    return Heatmap(id, "Probability", values, "probability", geometry, "flair", provenance)


def small_case(seed: int = 0) -> Case:
    """A volume, a random mask and a map on one grid."""
    geometry = straight()
    labels = np.random.default_rng(seed).choice(
        np.array([0, 0, 0, 0, 1, 2, 5], np.uint8), geometry.shape
    )
    items = [volume_on(geometry, seed), mask_on(geometry, labels), map_on(geometry)]
    return Case({item.id: item for item in items})


def same_items(one: Case, other: Case) -> bool:
    """True where two cases hold the same masks and maps, voxel by voxel."""
    if [s.id for s in one.segmentations] != [s.id for s in other.segmentations]:
        return False
    if [h.id for h in one.heatmaps] != [h.id for h in other.heatmaps]:
        return False
    masks = all(
        a.header() == b.header()
        and a.geometry.same_grid(b.geometry)
        and np.array_equal(a.labels, b.labels)
        for a, b in zip(one.segmentations, other.segmentations, strict=True)
    )
    return masks and all(
        np.array_equal(a.values, b.values) and a.provenance == b.provenance
        for a, b in zip(one.heatmaps, other.heatmaps, strict=True)
    )
