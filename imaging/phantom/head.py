"""The synthetic head: tissues painted one over the other into three kinds of contrast.

Positions follow the usual atlas frame: origin at the anterior commissure, LPS mm, so ``y`` grows
backwards. The folds of the cortex are sheets where a noise field, nearly constant along the
direction towards the surface, changes its sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.phantom.shapes import (
    Noise,
    Point,
    Space,
    ellipsoid,
    intersection,
    ramp,
    rotated_ellipsoid,
    tube,
    union,
)

#: The grid on which the head is made.
HEAD = Space((-92, -122, -100), (184, 244, 200))
_BRAIN = Space((-78, -78, -76), (156, 190, 160))

#: Relative signal of each tissue: T1w, T2w, FLAIR (fat-suppressed).
TISSUES: dict[str, tuple[float, float, float]] = {
    "air": (0.0, 0.0, 0.0),
    "skin": (0.50, 0.42, 0.38),
    "fat": (0.98, 0.72, 0.30),
    "muscle": (0.42, 0.26, 0.34),
    "bone": (0.07, 0.05, 0.05),
    "marrow": (0.62, 0.42, 0.24),
    "csf": (0.17, 1.00, 0.06),
    "grey": (0.54, 0.56, 0.58),
    "white": (0.80, 0.38, 0.42),
    "stem": (0.74, 0.43, 0.46),
    "thalamus": (0.63, 0.46, 0.53),
    "striatum": (0.57, 0.47, 0.55),
    "pallidum": (0.70, 0.33, 0.43),
    "vessel": (0.14, 0.08, 0.10),
    "vitreous": (0.20, 0.97, 0.10),
    "lens": (0.48, 0.22, 0.30),
    "lesion": (0.50, 0.86, 0.96),
    "black hole": (0.33, 0.93, 0.86),
}


@dataclass(frozen=True)
class Head:
    """A finished head on the grid :data:`HEAD`.

    Parameters
    ----------
    contrasts : ndarray, shape (3, k, j, i)
        float32 signal of T1w, T2w and FLAIR, 0 to about 1.
    white : ndarray, shape (k, j, i)
        Fraction of cerebral white matter before lesions, float32 in [0, 1].
    depth : ndarray, shape (k, j, i)
        Distance in mm from the cortical surface into the brain, float32.
    """

    contrasts: np.ndarray
    white: np.ndarray
    depth: np.ndarray


class Canvas:
    """Three contrasts over one grid, painted with soft edges."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.values = np.zeros((3, *space.shape), np.float32)

    def paint(self, tissue: str, body: np.ndarray, part: Space | None = None, soft: float = 1.0):
        """Cover what lies inside a signed distance; the edge is ``soft`` mm wide."""
        self.blend(tissue, np.clip(0.5 - body / np.float32(soft), 0, 1), part)

    def blend(self, tissue: str, share: np.ndarray, part: Space | None = None) -> None:
        """Mix a tissue in by its share of each voxel."""
        where = self.space.slices(part or self.space)
        for channel, value in zip(self.values, TISSUES[tissue], strict=True):
            target = channel[where]
            target += share * (np.float32(value) - target)


def make_head() -> Head:
    """Paint the whole head, without lesions; the same on every call."""
    canvas = Canvas(HEAD)
    _paint_soft_tissue(canvas)
    depth, white = _paint_brain(canvas)
    _paint_inside(canvas, white)
    _paint_eyes(canvas)
    return Head(canvas.values, white, depth)


def mirrored(point: Point) -> tuple[Point, Point]:
    """The same place on both sides."""
    x, y, z = point
    return (x, y, z), (-x, y, z)


# ---------------------------------------------------------------- skull, scalp and face


def _skull(space: Space) -> np.ndarray:
    """Inner table of the skull."""
    vault = ellipsoid(space, (0, 17, 14), (71, 90, 68))
    base = ellipsoid(space, (0, 55, -30), (56, 45, 35))
    temples = ellipsoid(space, (0, 0, -18), (70, 52, 30))
    body = union(union(vault, base, 18), temples, 12)
    middle = 0.5 * ramp(space.y, -34, -8) * ramp(np.abs(space.x), 12, 26)
    floor = -27 - 40 * np.maximum(middle, ramp(space.y, 2, 30))
    return intersection(body, floor - space.z, 16)


def _paint_soft_tissue(canvas: Canvas) -> None:
    space = HEAD
    wobble = Noise(11, 70).over(space)
    skull = _skull(space) + 0.8 * wobble
    face = ellipsoid(space, (0, -42, -62), (62, 58, 74))
    neck = np.hypot(space.x / 1.08, space.y - 38) - 56 + 0 * space.z
    neck = np.maximum(neck, space.z + 52)
    head = union(union(skull - 13, face, 22), neck, 30)
    nose = tube(space.around([(0, -108, -60)], 34), [(0, -90, -26), (0, -104, -54)], [6, 11])
    part = space.around([(0, -108, -60)], 34)
    where = space.slices(part)
    head[where] = union(head[where], nose, 10)
    texture = Noise(12, 9).over(space)
    canvas.paint("skin", head)
    canvas.paint("fat", head + 2.5)
    canvas.paint("muscle", head + 7.5 + 1.5 * wobble)
    fatty = np.clip(1.4 * Noise(13, 16).over(space) - 0.7, 0, 0.75) * ramp(-head, 6, 10)
    canvas.blend("fat", fatty)
    canvas.blend("bone", np.clip(0.18 * texture, 0, 0.3) * ramp(-head, 6, 10))
    _paint_airways(canvas)
    thickness = 6.5 + 0.9 * Noise(14, 40).over(space)
    canvas.paint("fat", skull - thickness - 1.5, soft=2)
    canvas.paint("bone", skull - thickness)
    above = ramp(np.broadcast_to(space.z, space.shape), -30, 0)
    diploe = np.abs(skull - thickness / 2) - 1.3 - 0.5 * texture
    canvas.blend("marrow", np.clip(0.5 - diploe, 0, 1) * above)
    canvas.paint("csf", skull)
    part = space.around([(0, 0, -40)], 62)
    ridges = np.minimum(
        *(tube(part, [(14 * s, 4, -44), (60 * s, 32, -41)], [6, 9]) for s in (1, -1))
    )
    canvas.paint("bone", ridges, part)
    canvas.blend("marrow", 0.8 * np.clip(-ridges / 3 - 0.7, 0, 1), part)


def _paint_airways(canvas: Canvas) -> None:
    for points, radii, tissue in (
        ([(0, -88, -48), (0, -52, -52)], [5, 9], "air"),
        ([(14, -78, -34), (12, -55, -40)], [5, 7], "air"),
        ([(-14, -78, -34), (-12, -55, -40)], [5, 7], "air"),
        ([(30, -66, -62), (30, -58, -66)], [13, 13], "air"),
        ([(-30, -66, -62), (-30, -58, -66)], [13, 13], "air"),
        ([(0, -36, -54), (0, -14, -72), (0, -8, -110)], [7, 8, 9], "air"),
        ([(12, -79, -4), (-12, -79, -4)], [4, 4], "air"),
    ):
        part = HEAD.around(points, 20)
        body = tube(part, points, radii)
        canvas.paint("bone", body - 1.8, part)
        canvas.paint(tissue, body, part)
    for centre in mirrored((46, 34, -38)):
        part = HEAD.around([centre], 20)
        cells = ellipsoid(part, centre, (9, 12, 14)) + 2.0 * Noise(15, 7).over(part)
        canvas.paint("bone", cells, part, soft=2)


def _paint_eyes(canvas: Canvas) -> None:
    for side in (1, -1):
        eye = (32 * side, -70, -24)
        cone = [(32 * side, -63, -24), (12 * side, -32, -20)]
        part = HEAD.around([eye, *cone], 24)
        canvas.paint("fat", tube(part, cone, [16, 3]), part)
        for dx, dz in ((9, 0), (-9, 0), (0, 8), (0, -8)):
            start = (eye[0] + dx, -64, eye[2] + dz)
            canvas.paint("muscle", tube(part, [start, cone[1]], [1.6, 1.4]), part)
        nerve = [(31 * side, -62, -23), (18 * side, -42, -22), (10 * side, -28, -20)]
        canvas.paint("white", tube(part, nerve, [1.9, 1.9, 1.9]), part)
        ball = ellipsoid(part, eye, (12.2, 12.2, 12.2))
        canvas.paint("skin", ball - 1.0, part)
        canvas.paint("vitreous", ball, part)
        canvas.paint("lens", ellipsoid(part, (eye[0], -79, eye[2]), (4.6, 2.2, 4.6)), part)


# ---------------------------------------------------------------- brain


def _hull(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Outer surface of both cerebral hemispheres, and distance from the Sylvian fissure."""
    across = np.abs(space.x)
    lateral = _Mirrored(space, across)
    main = ellipsoid(lateral, (15, 17, 16), (53, 87, 63))  # type: ignore[arg-type]
    floor = -25 + 16 * ramp(space.y, 18, 52) * ramp(-across, -52, -14) - 0.06 * across
    main = intersection(main, floor - space.z, 9)
    temporal = rotated_ellipsoid(lateral, (44, 5, -21), (43, 22, 20), (0.06, 1, 0.20))  # type: ignore[arg-type]
    sylvian = _sheet(main - temporal, 0.6)
    return union(main, temporal, 3), sylvian


@dataclass(frozen=True)
class _Mirrored:
    """A space seen through ``|x|``, for bodies that are the same on both sides."""

    space: Space
    x: np.ndarray

    @property
    def y(self) -> np.ndarray:
        return self.space.y

    @property
    def z(self) -> np.ndarray:
        return self.space.z


def _folds(space: Space, seed: int, wavelength: float, mix: float) -> np.ndarray:
    """Distance in mm to the nearest sheet of a folding pattern."""
    across = np.abs(space.x)
    dx, dy, dz = across - 22, space.y - 17, space.z - 12
    norm = np.sqrt(np.square(dx / 42) + np.square(dy / 86) + np.square(dz / 58))
    pull = np.maximum(norm, 0.12) ** np.float32(-0.85)
    own = np.float32(40) * (space.x > 0)  # the two sides differ a little
    field = Noise(seed, wavelength).at(dx * pull, dy * pull, dz * pull)
    field += mix * Noise(seed + 1, wavelength).at(dx * pull + own, dy * pull, dz * pull)
    return _sheet(field, 0.35)


def _sheet(field: np.ndarray, flattest: float) -> np.ndarray:
    """Distance in mm to where a field is zero; gradients below a share of the mean count as it."""
    steep = np.sqrt(sum(np.square(g) for g in np.gradient(field)))
    return np.abs(field) / np.maximum(steep, np.float32(flattest) * steep.mean())


def _paint_brain(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Cerebrum, cerebellum and brain stem; gives cortical depth and white matter share."""
    space = _BRAIN
    hull, sylvian = _hull(space)
    wide = Noise(21, 45).over(space)
    deep = ellipsoid(space, (0, 7, -2), (60, 45, 28))
    fissure = np.hypot(space.x + 0.9 * wide, np.maximum(0, -deep))
    inside = np.minimum(-hull, 1.5 * fissure)
    basal = ellipsoid(space, (0, 10, -4), (40, 50, 30))
    folds = _folds(space, 22, 29, 0.45)
    minor = _folds(space, 24, 17, 0.6)
    width = 0.35 + 0.75 * ramp(-inside, -9, 0)
    cuts = np.hypot(folds, np.maximum(0, inside - 16 - 5 * wide)) - width
    cuts = np.minimum(cuts, np.hypot(minor, np.maximum(0, inside - 7 - 2 * wide)) - 0.7 * width)
    cuts = np.minimum(cuts, np.hypot(sylvian, np.maximum(0, inside - 20)) - 0.9)
    cuts = intersection(cuts, -basal, 4)
    surface = intersection(hull, -cuts, 3.0)
    surface = intersection(surface, 0.8 - fissure, 3.0)
    ribbon = 2.7 + 0.35 * wide
    buried = ramp(-basal, 0, 6)
    core = surface + ribbon * (1 - buried)
    canvas.paint("grey", surface, space)
    canvas.paint("white", core, space, soft=1.6)
    white = np.zeros(HEAD.shape, np.float32)
    white[HEAD.slices(space)] = np.clip(0.5 - core / 1.6, 0, 1)
    depth = np.full(HEAD.shape, -50, np.float32)
    depth[HEAD.slices(space)] = -surface
    _paint_hindbrain(canvas, white)
    return depth, white


def _paint_hindbrain(canvas: Canvas, white: np.ndarray) -> None:
    space = _BRAIN.around([(-58, 28, -74), (58, 100, -6)], 0)
    lateral = _Mirrored(space, np.abs(space.x))
    body = union(
        ellipsoid(lateral, (24, 60, -35), (31, 34, 27)),  # type: ignore[arg-type]
        ellipsoid(space, (0, 58, -30), (14, 28, 24)),
        6,
    )
    roof = -5 - 0.30 * np.abs(space.x) - 0.10 * np.abs(space.y - 50)
    body = intersection(body, space.z - roof, 5)
    turn = np.arctan2(space.z + 36, space.y - 40) * 24 + 1.1 * Noise(31, 22).over(space)
    radius = np.hypot(space.y - 40, space.z + 36)
    period = 5.2
    leaf = np.abs(np.mod(turn, period) - period / 2) * np.maximum(radius, 6) / 24
    inside = -body
    cuts = np.hypot(leaf, np.maximum(0, inside - 9)) - 0.35
    surface = intersection(body, -cuts, 1.5)
    canvas.paint("csf", body - 1.0, space)
    canvas.paint("grey", surface, space)
    core = surface + 1.9 + 1.2 * ramp(-inside, -7, 0)
    canvas.paint("white", core, space, soft=2.0)
    middle = HEAD.around([(0, 30, -60)], 46)
    stem = [(0, 18, -6), (0, 24, -20), (0, 30, -40), (0, 38, -60), (0, 42, -100)]
    trunk = tube(middle, stem, [12, 12, 11, 7.5, 6])
    pons = ellipsoid(middle, (0, 21, -29), (17, 13, 14))
    for side in (1, -1):
        arm = tube(middle, [(10 * side, 28, -31), (24 * side, 50, -34)], [8, 5])
        trunk = union(trunk, arm, 5)
    trunk = union(trunk, pons, 5)
    cistern = ellipsoid(middle, (0, 4, -28), (14, 14, 12))
    canvas.paint("csf", np.maximum(cistern, -trunk - 1), middle)
    canal = tube(middle, stem[3:], [13, 11])
    canvas.paint("csf", np.maximum(canal, _skull(middle)), middle)
    canvas.paint("csf", np.maximum(canal, middle.z + 60), middle)
    canvas.paint("stem", trunk, middle)
    where = HEAD.slices(middle)
    white[where] = np.maximum(white[where], np.clip(0.5 - trunk, 0, 1))
    white[HEAD.slices(space)] = np.maximum(white[HEAD.slices(space)], np.clip(0.5 - core / 2, 0, 1))
    canvas.paint("csf", ellipsoid(middle, (0, 42, -33), (6.5, 5, 8)), middle)


def _paint_inside(canvas: Canvas, white: np.ndarray) -> None:
    """Deep nuclei, then ventricles, then the great sinus."""
    for side in (1, -1):
        for tissue, centre, radii, axis in (
            ("thalamus", (11, 17, 7), (14.5, 8.5, 9), (0.35, 1, 0.1)),
            ("striatum", (26, -1, 3), (17, 5.5, 10), (0.30, 1, 0.0)),
            ("pallidum", (19.5, 3, 0), (10, 4.6, 7), (0.42, 1, 0.0)),
            ("striatum", (14, -17, 6), (11, 6, 9), (0.30, 1, -0.4)),
        ):
            place = (centre[0] * side, centre[1], centre[2])
            part = HEAD.around([place], 20)
            body = rotated_ellipsoid(part, place, radii, (axis[0] * side, axis[1], axis[2]))
            _carve(canvas, white, tissue, body, part, 1.4)
    for tissue, points, radii in ventricle_parts():
        part = HEAD.around(points, 14)
        body = tube(part, points, radii) + 0.5 * Noise(41, 18).over(part)
        _carve(canvas, white, tissue, body, part, 1.2)
    part = HEAD.around([(0, 8, 0)], 24)
    _carve(canvas, white, "csf", ellipsoid(part, (0, 9, 0), (2.4, 14, 10)), part, 1.2)
    sinus = [(0, -68, 32), (0, -40, 70), (0, 17, 83), (0, 75, 66), (0, 106, 24), (0, 100, -4)]
    part = HEAD.around(sinus, 8)
    canvas.paint("vessel", tube(part, sinus, [2, 2.6, 3, 3.4, 4, 4.5]), part)


def _carve(canvas: Canvas, white: np.ndarray, tissue: str, body, part: Space, soft: float) -> None:
    canvas.paint(tissue, body, part, soft)
    white[HEAD.slices(part)] *= np.clip(0.5 + body / np.float32(soft), 0, 1)


def ventricle_parts() -> list[tuple[str, list[Point], list[float]]]:
    """Caudate bodies, then the lateral ventricles with their horns, on both sides."""
    parts: list[tuple[str, list[Point], list[float]]] = []
    for side in (1.0, -1.0):
        caudate = [(17 * side, -10, 14), (18 * side, 5, 20), (22 * side, 22, 20)]
        body = [
            (12 * side, -33, 3), (9 * side, -18, 12), (8.5 * side, 0, 19), (12 * side, 18, 20),
            (20 * side, 34, 16), (24 * side, 42, 8),
        ]  # fmt: skip
        parts.append(("striatum", caudate, [4.5, 3.8, 2.5]))
        parts.append(("csf", body, [3.6, 6.0, 5.6, 5.8, 6.6, 7.6]))
        parts.append(("csf", [(24 * side, 42, 8), (22 * side, 66, 6)], [6.0, 1.8]))
        temporal = [(25 * side, 42, 5), (32 * side, 28, -10), (33 * side, 8, -20)]
        parts.append(("csf", temporal, [6.0, 3.0, 2.2]))
    return parts
