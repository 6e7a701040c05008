"""The synthetic head: tissues painted one over the other into three kinds of contrast.

Positions follow the usual atlas frame: origin at the anterior commissure, LPS mm, so ``y`` grows
backwards.
"""

from __future__ import annotations

import numpy as np

from imaging.phantom.brain import paint_brain, paint_inside, skull_inside
from imaging.phantom.canvas import HEAD, Canvas, Head, mirrored
from imaging.phantom.shapes import Noise, Space, ellipsoid, ramp, tube, union


def make_head() -> Head:
    """Paint the whole head, without lesions; the same on every call."""
    canvas = Canvas(HEAD)
    _paint_soft_tissue(canvas)
    depth, white = paint_brain(canvas)
    paint_inside(canvas, white)
    _paint_eyes(canvas)
    return Head(canvas.values, white, depth)


def _paint_soft_tissue(canvas: Canvas) -> None:
    space = HEAD
    wobble = Noise(11, 70).over(space)
    skull = skull_inside(space) + 0.8 * wobble
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
    lower = Space(space.low, (*space.size[:2], 90))
    inner = ramp(-head[space.slices(lower)], 6, 10)
    fatty = np.clip(1.4 * Noise(13, 16).over(lower) - 0.7, 0, 0.75)
    canvas.blend("fat", fatty * inner, lower)
    canvas.blend("bone", np.clip(0.18 * texture[space.slices(lower)], 0, 0.3) * inner, lower)
    _paint_airways(canvas)
    thickness = 6.5 - 0.9 * wobble
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
