"""The 3D picture and its camera: pixels stand where the patient does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.geometry import Geometry
from imaging.volume import Volume, Window
from viewer.rendering.framing import head_corners
from viewer.rendering.orbit import SIDES, Orbit
from viewer.rendering.picking import first_hit, into_label
from viewer.rendering.ray_cast import shrunken
from viewer.rendering.surfaces import segment_surface
from viewer.rendering.volume_scene import Body, SceneState, VolumeScene, grey_slice

SIZE = (240, 200)
RED = (1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def scene():
    made = VolumeScene()
    yield made
    made.close()


def head(shape=(40, 50, 60), affine=None, value=200) -> Volume:
    """A bright ellipsoid in a dark box."""
    index = np.indices(shape).reshape(3, -1).T
    away = (((index / (np.array(shape) - 1.0) - 0.5) / 0.4) ** 2).sum(axis=1).reshape(shape)
    voxels = np.where(away < 1, value, 0).astype(np.int16)
    if affine is None:
        affine = np.diag([2.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]]
    return Volume("v", "Head", voxels, Geometry(shape, affine))


def marker(volume: Volume, where: tuple[int, int, int], half: int = 2) -> Body:
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[tuple(slice(c - half, c + half + 1) for c in where)] = 1
    return Body(segment_surface(labels, volume.geometry, 1), RED)


def redness(frame: np.ndarray) -> np.ndarray:
    rgb = frame[..., :3].astype(int)
    return (
        (rgb[..., 0] > 90) & (rgb[..., 1] < 0.6 * rgb[..., 0]) & (rgb[..., 2] < 0.6 * rgb[..., 0])
    )


def spot(frame: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(redness(frame))
    assert rows.size > 4, "the marker is not in the picture"
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


AFFINES = {
    "axial": np.diag([2.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]],
    "flipped": np.diag([-2.0, -2.0, 2.0, 1.0])[[2, 1, 0, 3]],
    "sagittal": np.diag([2.0, 2.0, 2.0, 1.0])[[0, 2, 1, 3]],
    "sheared": np.array([[0.5, 0, 2, 9], [0.4, 1.8, 0.3, -30], [2.0, 0.2, 0, 5], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("side", SIDES)
def test_a_lesion_appears_where_the_camera_value_projects_it(scene, affine, side):
    volume = head(affine=affine)
    where = (8, 12, 45)
    body = marker(volume, where)
    orbit = Orbit().framing(volume.geometry.corners, 1.2).seen_from(side)
    state = SceneState(volume, Window(100, 200), bodies=(body,), ray_cast=False)
    bare = Volume("e", "Empty", np.zeros_like(volume.voxels), volume.geometry)
    frame = scene.draw(SceneState(bare, Window(100, 200), bodies=state.bodies), orbit, SIZE)
    expected = orbit.projected(volume.geometry.world([where]), *SIZE)[0, :2]
    assert np.abs(spot(frame) - expected).max() < 2.5


def test_left_of_the_patient_is_on_the_right_of_the_picture_from_the_front():
    left, right = Orbit().seen_from("A").projected(np.array([[50, 0, 0], [-50, 0, 0]]), 200, 200)
    assert left[0] > right[0]
    head_up, _ = Orbit().seen_from("A").projected(np.array([[0, 0, 50], [0, 0, -50]]), 200, 200)
    assert head_up[1] < 100


@pytest.mark.parametrize("side", SIDES)
def test_each_side_is_looked_at_from_its_own_direction(side):
    outward = {"A": (0, -1, 0), "P": (0, 1, 0), "L": (1, 0, 0), "R": (-1, 0, 0)}
    outward |= {"S": (0, 0, 1), "I": (0, 0, -1)}
    orbit = Orbit(distance=100.0).seen_from(side)
    assert orbit.eye == pytest.approx(np.array(outward[side]) * 100.0, abs=1e-9)


angles = st.floats(-720, 720)
pixels = st.floats(-400, 400)


@given(angles, st.floats(-90, 90), pixels, pixels)
def test_turning_keeps_a_right_handed_view_with_the_head_up(azimuth, elevation, dx, dy):
    orbit = Orbit((3.0, 4.0, 5.0), azimuth, elevation, 300.0).turned(dx, dy)
    axes = np.stack(orbit.axes)
    assert axes @ axes.T == pytest.approx(np.eye(3), abs=1e-9)
    assert np.linalg.det(np.stack([axes[0], axes[1], -axes[2]])) == pytest.approx(1.0)
    assert orbit.axes[1][2] >= -1e-9
    assert -90 <= orbit.elevation <= 90


@given(angles, st.floats(-80, 80), st.floats(-99, 99), st.floats(-99, 99))
def test_the_ray_through_a_pixel_projects_back_to_it(azimuth, elevation, x, y):
    orbit = Orbit((1.0, 2.0, 3.0), azimuth, elevation, 400.0)
    eye, direction = orbit.ray(120 + x, 100 + y, *SIZE)
    back = orbit.projected((eye + direction * 350.0)[None], *SIZE)[0]
    assert back[:2] == pytest.approx((120 + x, 100 + y), abs=1e-6)


@given(pixels, pixels)
def test_panning_moves_the_focal_point_with_the_hand(dx, dy):
    orbit = Orbit((0.0, 0.0, 0.0), 25.0, 15.0, 400.0)
    moved = orbit.panned(dx, dy, SIZE[1])
    seen = moved.projected(np.array([[0.0, 0.0, 0.0]]), *SIZE)[0]
    assert seen[:2] == pytest.approx((120 + dx, 100 + dy), abs=1e-6)


def test_framing_keeps_every_corner_in_the_picture():
    corners = head(affine=AFFINES["sheared"]).geometry.corners
    for side in SIDES:
        orbit = Orbit().framing(corners, 1.2).seen_from(side)
        points = orbit.projected(corners, *SIZE)
        assert (points[:, :2] >= 0).all()
        assert (points[:, :2] <= SIZE).all()


def test_the_planes_meet_at_the_cursor(scene):
    volume = head()
    orbit = Orbit().framing(volume.geometry.corners, 1.2).seen_from("S")
    low = volume.geometry.world((8, 25, 30))
    high = volume.geometry.world((30, 25, 30))
    frames = [
        scene.draw(SceneState(volume, Window(100, 200), cursor=tuple(p)), orbit, SIZE).astype(int)
        for p in (low, high)
    ]
    bright = [(frame[..., :3].min(axis=-1) > 150).sum() for frame in frames]
    assert bright[0] > 200
    assert bright[0] != bright[1]


def test_the_window_and_new_voxels_change_the_planes(scene):
    volume = head()
    orbit = Orbit().framing(volume.geometry.corners, 1.2).seen_from("S")

    def brightness(**changes) -> float:
        state = SceneState(volume, **{"window": Window(100, 200), **changes})
        return float(scene.draw(state, orbit, SIZE)[..., :3].mean())

    usual = brightness()
    assert brightness(window=Window(300, 600)) < usual
    assert brightness(inverted=True) < usual
    assert brightness() == pytest.approx(usual)
    writable = volume.voxels.base
    writable[:] //= 2
    assert brightness(filled=1) < usual


def test_noisy_air_around_the_head_is_left_out_but_dark_parts_inside_stay():
    noise = np.abs(np.random.default_rng(3).normal(0, 4, (3, 40, 40)))
    voxels = noise.astype(np.int16)
    voxels[:, 10:30, 10:30] = 100
    voxels[:, 16:22, 16:22] = 0
    volume = Volume("v", "Ring", voxels, Geometry(voxels.shape, np.eye(4)))
    picture = grey_slice(SceneState(volume, Window(50, 100)), 0, 1)
    kept = picture[..., 1] == 255
    assert kept[10:30, 10:30].all()
    far = np.ones((40, 40), bool)
    far[8:32, 8:32] = False
    assert not kept[far].any()
    assert (picture[16:22, 16:22, 0] == 0).all()


def test_air_is_clear_in_an_image_whose_low_values_are_bright(scene):
    volume = head()
    turned = Volume("m", "Inverted", 200 - volume.voxels, volume.geometry, inverted=True)
    np.testing.assert_array_equal(head_corners(turned), head_corners(volume))
    plain = grey_slice(SceneState(volume, Window(100, 200)), 0, 20)
    same = grey_slice(SceneState(turned, Window(100, 200), inverted=True), 0, 20)
    np.testing.assert_array_equal(plain, same)
    orbit = Orbit().framing(volume.geometry.corners, 1.2)
    frames = [
        scene.draw(SceneState(v, Window(100, 200), ray_cast=True), orbit, SIZE).astype(int)
        for v in (volume, turned)
    ]
    assert np.abs(frames[0] - frames[1]).mean() < 3
    assert np.abs(frames[0][5:20, 5:20] - frames[1][5:20, 5:20]).max() < 3


def test_the_ray_cast_shows_the_head_and_a_lesion_shines_through(scene):
    volume = head()
    orbit = Orbit().framing(volume.geometry.corners, 1.2)
    state = SceneState(volume, Window(100, 200), ray_cast=True)
    empty = scene.draw(SceneState(), orbit, SIZE)[..., :3].astype(int)
    cast = scene.draw(state, orbit, SIZE)[..., :3].astype(int)
    assert ((cast - empty).max(axis=-1) > 12).sum() > 2000
    inside = marker(volume, (20, 25, 30), half=5)
    with_lesion = scene.draw(
        SceneState(volume, Window(100, 200), bodies=(inside,), ray_cast=True), orbit, SIZE
    ).astype(int)
    redder = (with_lesion[..., 0] - with_lesion[..., 2]) - (cast[..., 0] - cast[..., 2])
    assert (redder > 25).sum() > 30


@pytest.mark.parametrize("mapper", ["cpu", "gpu"])
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_the_ray_cast_lies_where_the_surface_of_the_same_voxels_lies(
    scene, affine, mapper, monkeypatch
):
    monkeypatch.setattr(scene, "software", mapper == "cpu")
    volume = head(affine=affine)
    block = np.zeros(volume.geometry.shape, np.int16)
    block[4:16, 6:22, 8:20] = 200
    volume = Volume("b", "Block", block, volume.geometry)
    orbit = Orbit().framing(volume.geometry.corners, 1.2)
    bare = Volume("e", "Empty", np.zeros_like(block), volume.geometry)
    nothing = scene.draw(SceneState(bare, Window(100, 200)), orbit, SIZE)[..., :3].astype(int)
    cast = scene.draw(SceneState(volume, Window(100, 200), ray_cast=True), orbit, SIZE)
    drawn = (cast[..., :3].astype(int) - nothing).max(axis=-1) > 5
    surface = segment_surface((block > 0).astype(np.uint8), volume.geometry, 1)
    solid = scene.draw(
        SceneState(bare, Window(100, 200), bodies=(Body(surface, RED),)), orbit, SIZE
    )
    shape = redness(solid)
    assert (drawn & shape).sum() / (drawn | shape).sum() > 0.85


def test_a_thin_stack_falls_back_to_planes(scene):
    volume = head(shape=(3, 50, 60))
    orbit = Orbit().framing(volume.geometry.corners, 1.2).seen_from("S")
    frames = [
        scene.draw(SceneState(volume, Window(100, 200), ray_cast=cast), orbit, SIZE)
        for cast in (False, True)
    ]
    np.testing.assert_array_equal(*frames)


def test_the_chosen_lesion_is_brighter_than_the_others(scene):
    volume = head()
    body = marker(volume, (20, 25, 30), half=6)
    orbit = Orbit().framing(volume.geometry.corners, 1.2)
    bare = Volume("e", "Empty", np.zeros_like(volume.voxels), volume.geometry)

    def light(bright) -> float:
        chosen = Body(body.surface, RED, bright)
        frame = scene.draw(SceneState(bare, bodies=(chosen,)), orbit, SIZE)
        return float(frame[80:120, 100:140, :3].mean())

    everything = np.ones(len(body.surface.points), bool)
    assert light(everything) > light(None) > light(~everything)


def test_shrinking_keeps_place_and_mean():
    volume = head(shape=(30, 64, 65), affine=AFFINES["sheared"])
    values, geometry, span = shrunken(volume, edge=32)
    assert max(values.shape) <= 32
    real = values / 255.0 * span.width + span.low
    assert real.mean() == pytest.approx(volume.voxels.mean(), rel=0.08)
    weights = values.astype(float).ravel()
    centre = (geometry.world(np.indices(values.shape).reshape(3, -1).T) * weights[:, None]).sum(0)
    full = volume.voxels.astype(float).ravel()
    expected = (
        volume.geometry.world(np.indices(volume.voxels.shape).reshape(3, -1).T) * full[:, None]
    ).sum(0)
    assert centre / weights.sum() == pytest.approx(expected / full.sum(), abs=1.5)


def test_the_head_is_found_in_a_large_empty_field():
    voxels = np.zeros((60, 100, 100), np.int16)
    voxels[20:40, 30:60, 45:75] = 100
    volume = Volume("v", "Head", voxels, Geometry(voxels.shape, np.eye(4)))
    corners = head_corners(volume)
    assert corners.min(axis=0) == pytest.approx((20, 30, 45), abs=2)
    assert corners.max(axis=0) == pytest.approx((39, 59, 74), abs=2)
    nothing = Volume("n", "Empty", np.zeros_like(voxels), volume.geometry)
    np.testing.assert_array_equal(head_corners(nothing), volume.geometry.corners)


def test_picking_meets_the_nearest_surface_and_finds_its_voxel():
    volume = head()
    geometry = volume.geometry
    labels = np.zeros(geometry.shape, np.uint8)
    labels[18:23, 5:10, 28:33] = 1
    labels[18:23, 35:40, 28:33] = 2
    surfaces = [segment_surface(labels, geometry, n) for n in (1, 2)]
    focal = tuple(float(v) for v in geometry.world((20, 25, 30)))
    for side, expected in (("A", 0), ("P", 1)):
        orbit = Orbit(focal, distance=400.0).seen_from(side)
        eye, direction = orbit.ray(120, 100, *SIZE)
        hit = first_hit(surfaces, eye, direction)
        assert hit is not None
        number, point = hit
        assert number == expected
        found = into_label(labels, geometry, expected + 1, point, direction)
        assert labels[geometry.nearest(found)] == expected + 1
    eye, direction = Orbit(focal, distance=400.0).seen_from("A").ray(5, 5, *SIZE)
    assert first_hit(surfaces, eye, direction) is None


def test_without_an_opengl_driver_the_refusal_is_a_sentence():
    import os
    import subprocess
    import sys

    code = (
        "from viewer.rendering.volume_scene import VolumeScene\n"
        "from imaging.errors import WorldFailed\n"
        "try:\n    VolumeScene()\nexcept WorldFailed as e:\n    print('REFUSED', e)\n"
        "else:\n    print('RENDERS')\n"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    env |= {"__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent", "EGL_PLATFORM": ""}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("REFUSED 3D") or run.stdout.startswith("RENDERS")
    if sys.platform == "linux" and not _osmesa():
        assert "no OpenGL driver" in run.stdout


def _osmesa() -> bool:
    from ctypes.util import find_library

    return find_library("OSMesa") is not None
