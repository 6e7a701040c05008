"""The brain of the synthetic head: folded cortex, hindbrain, deep nuclei and ventricles.

The folds of the cortex are sheets where a noise field, nearly constant along the direction
towards the surface, changes its sign; the grey ribbon follows them at an even thickness.
"""

from __future__ import annotations

import numpy as np

from imaging.phantom.canvas import BRAIN, HEAD, Canvas
from imaging.phantom.shapes import (
    Mirrored,
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


def skull_inside(space: Space) -> np.ndarray:
    """Inner table of the skull."""
    vault = ellipsoid(space, (0, 17, 14), (71, 90, 68))
    base = ellipsoid(space, (0, 55, -30), (56, 45, 35))
    temples = ellipsoid(space, (0, 0, -18), (70, 52, 30))
    body = union(union(vault, base, 18), temples, 12)
    middle = 0.5 * ramp(space.y, -34, -8) * ramp(np.abs(space.x), 12, 26)
    floor = -27 - 40 * np.maximum(middle, ramp(space.y, 2, 30))
    return intersection(body, floor - space.z, 16)


def _hull(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Outer surface of both cerebral hemispheres, and distance from the Sylvian fissure."""
    lateral = Mirrored(space)
    across = lateral.x
    main = ellipsoid(lateral, (15, 17, 16), (53, 87, 63))
    floor = -25 + 16 * ramp(space.y, 18, 52) * ramp(-across, -52, -14) - 0.06 * across
    main = intersection(main, floor - space.z, 9)
    temporal = rotated_ellipsoid(lateral, (44, 5, -21), (43, 22, 20), (0.06, 1, 0.20))
    sylvian = _sheet(main - temporal, 0.6)
    return union(main, temporal, 3), sylvian


def _towards_surface(space: Space) -> np.ndarray:
    """Points that hardly move along the way to the surface, shape (3, k, j, i) as (z, y, x)."""
    dx, dy, dz = np.abs(space.x) - 22, space.y - 17, space.z - 12
    norm = np.sqrt(np.square(dx / 42) + np.square(dy / 86) + np.square(dz / 58))
    pull = np.maximum(norm, np.float32(0.12)) ** np.float32(-0.85)
    points = np.empty((3, *space.shape), np.float32)
    for target, offset in zip(points, (dz, dy, dx), strict=True):
        np.multiply(offset, pull, out=target)
    return points


def _folds(points: np.ndarray, middle: int, seed: int, wavelength: float, mix: float) -> np.ndarray:
    """Distance in mm to the nearest sheet of a folding pattern; the two sides differ by a mix."""
    common, own = Noise(seed, wavelength), Noise(seed + 1, wavelength)
    field = np.empty(points.shape[1:], np.float32)
    for side, share in ((slice(0, middle), -mix), (slice(middle, None), mix)):
        field[..., side] = common.plus(own, share).at(points[..., side])
    return _sheet(field, 0.35)


def _sheet(field: np.ndarray, flattest: float) -> np.ndarray:
    """Distance in mm to where a field is zero; gradients below a share of the mean count as it."""
    steep = np.sqrt(sum(np.square(g) for g in np.gradient(field)))
    return np.abs(field) / np.maximum(steep, np.float32(flattest) * steep.mean())


def paint_brain(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Cerebrum, cerebellum and brain stem; gives cortical depth and white matter share."""
    space = BRAIN
    hull, sylvian = _hull(space)
    wide = Noise(21, 45).over(space)
    deep = ellipsoid(space, (0, 7, -2), (60, 45, 28))
    fissure = np.hypot(space.x + 0.9 * wide, np.maximum(0, -deep))
    inside = np.minimum(-hull, 1.5 * fissure)
    basal = ellipsoid(space, (0, 10, -4), (40, 50, 30))
    points, middle = _towards_surface(space), -space.low[0]
    folds = _folds(points, middle, 22, 29, 0.45)
    minor = _folds(points, middle, 24, 17, 0.6)
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
    space = BRAIN.around([(-58, 28, -74), (58, 100, -6)], 0)
    body = union(
        ellipsoid(Mirrored(space), (24, 60, -35), (31, 34, 27)),
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
    canvas.paint("csf", np.maximum(canal, skull_inside(middle)), middle)
    canvas.paint("csf", np.maximum(canal, middle.z + 60), middle)
    canvas.paint("stem", trunk, middle)
    where = HEAD.slices(middle)
    white[where] = np.maximum(white[where], np.clip(0.5 - trunk, 0, 1))
    white[HEAD.slices(space)] = np.maximum(white[HEAD.slices(space)], np.clip(0.5 - core / 2, 0, 1))
    canvas.paint("csf", ellipsoid(middle, (0, 42, -33), (6.5, 5, 8)), middle)


def paint_inside(canvas: Canvas, white: np.ndarray) -> None:
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
        caudate: list[Point] = [(17 * side, -10, 14), (18 * side, 5, 20), (22 * side, 22, 20)]
        body: list[Point] = [
            (12 * side, -33, 3), (9 * side, -18, 12), (8.5 * side, 0, 19), (12 * side, 18, 20),
            (20 * side, 34, 16), (24 * side, 42, 8),
        ]  # fmt: skip
        parts.append(("striatum", caudate, [4.5, 3.8, 2.5]))
        parts.append(("csf", body, [3.6, 6.0, 5.6, 5.8, 6.6, 7.6]))
        parts.append(("csf", [(24 * side, 42, 8), (22 * side, 66, 6)], [6.0, 1.8]))
        temporal: list[Point] = [(25 * side, 42, 5), (32 * side, 28, -10), (33 * side, 8, -20)]
        parts.append(("csf", temporal, [6.0, 3.0, 2.2]))
    return parts
