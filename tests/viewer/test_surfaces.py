"""Surfaces: the right size, in the right place, whole on disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.analysis.lesions import find_lesions
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.segmentation import PALETTE, Segment, Segmentation
from viewer.rendering.surface_files import read_stl, write_stl
from viewer.rendering.surfaces import Surface, segment_surface


def ball(radius_mm: float, geometry: Geometry) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    away = np.linalg.norm(geometry.world(index) - geometry.centre, axis=-1)
    return (away < radius_mm).astype(np.uint8)


def grid(spacing: tuple[float, float, float], radius_mm: float, rotation=None) -> Geometry:
    shape = [int(2 * radius_mm / s) + 7 for s in spacing]
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[:, ::-1] if rotation is None else rotation) * spacing
    affine[:3, 3] = (40.0, -70.0, 15.0)
    return Geometry(shape, affine)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (1.0, 0.5, 0.5)])
@pytest.mark.parametrize("radius_mm", [4.0, 10.0])
def test_a_ball_keeps_its_volume_and_area(spacing, radius_mm):
    geometry = grid(spacing, radius_mm)
    labels = ball(radius_mm, geometry)
    surface = segment_surface(labels, geometry, 1)
    assert surface.volume_ml == pytest.approx(labels.sum() * geometry.voxel_ml, rel=0.05)
    assert surface.area_mm2 == pytest.approx(4 * np.pi * radius_mm**2, rel=0.06)


def test_without_smoothing_the_volume_is_that_of_the_voxels():
    geometry = grid((2.0, 1.0, 1.0), 8.0)
    labels = ball(8.0, geometry)
    surface = segment_surface(labels, geometry, 1, smooth=False)
    assert surface.volume_ml == pytest.approx(labels.sum() * geometry.voxel_ml, rel=0.01)


def rotated(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ np.eye(3)[:, ::-1]


@pytest.mark.parametrize(
    "axes",
    [
        rotated(0.0),
        rotated(0.6),
        rotated(0.6) * [1, -1, 1],
        -rotated(0.2),
        np.eye(3)[:, [1, 0, 2]],
        rotated(0.3) + np.array([[0.3, 0, 0], [0, 0, 0], [0, 0, 0]]),
    ],
    ids=["straight", "oblique", "mirrored", "point-mirrored", "swapped", "sheared"],
)
def test_it_lies_where_the_voxels_lie_and_faces_outward(axes):
    geometry = grid((2.0, 1.0, 1.5), 9.0, axes)
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2:5, 3:9, 4:12] = 3
    surface = segment_surface(labels, geometry, 3)
    voxels = geometry.world(np.argwhere(labels == 3))
    assert surface.bounds.mean(axis=0) == pytest.approx(
        (voxels.min(axis=0) + voxels.max(axis=0)) / 2.0, abs=0.3
    )
    assert surface.volume_ml == pytest.approx((labels == 3).sum() * geometry.voxel_ml, rel=0.12)
    middle = voxels.mean(axis=0)
    outward = np.einsum("ni,ni->n", surface.points - middle, surface.normals)
    assert (outward > 0).mean() > 0.98


@given(
    start=st.tuples(*[st.integers(0, 6)] * 3),
    size=st.tuples(*[st.integers(1, 6)] * 3),
)
@settings(max_examples=40, deadline=None)
def test_every_block_gives_a_closed_mesh_near_its_voxels(start, size):
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = 7
    geometry = Geometry(labels.shape, np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]])
    surface = segment_surface(labels, geometry, 7)
    edges = np.sort(surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 2).all()
    low, high = np.array(start) - 0.5, np.array(start) + size - 0.5
    index = geometry.index(surface.points)
    assert (index >= low - 0.35).all()
    assert (index <= high + 0.35).all()


def test_a_label_that_is_not_there_has_an_empty_surface():
    geometry = grid((1.0, 1.0, 1.0), 4.0)
    surface = segment_surface(ball(4.0, geometry), geometry, 2)
    assert surface.empty
    assert surface.volume_ml == 0.0
    assert (surface.bounds == 0).all()


def test_neighbouring_labels_each_get_their_own_whole_surface():
    geometry = grid((1.0, 1.0, 1.0), 8.0)
    labels = ball(8.0, geometry)
    labels[:, :, labels.shape[2] // 2 :] *= 2
    both = [segment_surface(labels, geometry, n).volume_ml for n in (1, 2)]
    assert sum(both) == pytest.approx((labels > 0).sum() * geometry.voxel_ml, rel=0.08)


def test_half_resolution_is_a_rough_likeness():
    geometry = grid((1.0, 1.0, 1.0), 12.0)
    labels = ball(12.0, geometry)
    full = segment_surface(labels, geometry, 1)
    quick = segment_surface(labels, geometry, 1, step=2)
    assert len(quick.triangles) < len(full.triangles) / 2
    assert quick.volume_ml == pytest.approx(full.volume_ml, rel=0.25)
    assert quick.bounds == pytest.approx(full.bounds, abs=1.5)


def test_labels_that_are_not_on_the_grid_are_refused():
    with pytest.raises(BadInput, match="not on a grid"):
        segment_surface(np.ones((3, 3, 3), np.uint8), grid((1, 1, 1), 4.0), 1)


def test_threads_give_the_same_surface_as_one_thread():
    geometry = grid((1.0, 1.0, 1.0), 10.0)
    labels = ball(10.0, geometry)
    alone = segment_surface(labels, geometry, 1)
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(lambda _: segment_surface(labels, geometry, 1), range(12)))
    for other in many:
        np.testing.assert_array_equal(other.points, alone.points)
        np.testing.assert_array_equal(other.triangles, alone.triangles)


def test_the_points_of_one_lesion_are_found_even_where_a_shell_lies_inside():
    geometry = Geometry((20, 20, 40), np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]])
    labels = np.zeros(geometry.shape, np.uint8)
    labels[4:14, 4:14, 4:14] = 1
    labels[7:10, 7:10, 7:10] = 0
    labels[4:14, 4:14, 16:22] = 1
    mask = Segmentation.from_labels(
        "s", "m", geometry, "v", labels, segments=(Segment(1, "Lesion", PALETTE[0]),)
    )
    surface = segment_surface(labels, geometry, 1)
    lesions = find_lesions(mask)
    assert len(lesions) == 2
    parts = [surface.touching(x.mask, x.box, x.geometry) for x in lesions]
    assert not (parts[0] & parts[1]).any()
    used = np.zeros(len(surface.points), bool)
    used[surface.triangles.ravel()] = True
    assert (parts[0] | parts[1])[used].all()
    first = surface.points[:, 0] < 14.8
    holds_first = parts[0] if lesions[0].box.start[2] == 4 else parts[1]
    assert (holds_first == first)[used].all()


def test_an_stl_file_holds_what_an_independent_reader_finds(tmp_path):
    from vtkmodules.vtkIOGeometry import vtkSTLReader

    geometry = grid((1.0, 1.0, 1.0), 6.0)
    surface = segment_surface(ball(6.0, geometry), geometry, 1)
    shifted = Surface(surface.points + np.float32(30), surface.triangles)
    target = tmp_path / "lesions.stl"
    write_stl(target, [surface, shifted])
    assert b"SPACE=LPS; unit mm" in target.read_bytes()[:80]
    assert b"not for diagnosis" in target.read_bytes()[:80]
    reader = vtkSTLReader()
    reader.SetFileName(str(target))
    reader.Update()
    mesh = reader.GetOutput()
    assert mesh.GetNumberOfCells() == 2 * len(surface.triangles)
    low_high = np.reshape(mesh.GetBounds(), (3, 2)).T
    np.testing.assert_allclose(low_high[0], surface.bounds[0], atol=1e-4)
    np.testing.assert_allclose(low_high[1], shifted.bounds[1], atol=1e-4)
    np.testing.assert_array_equal(read_stl(target)[: len(surface.triangles)], surface.corners)


def test_pyvista_measures_the_volume_we_list(tmp_path):
    pyvista = pytest.importorskip("pyvista")
    geometry = grid((1.0, 1.0, 1.0), 9.0)
    surface = segment_surface(ball(9.0, geometry), geometry, 1)
    write_stl(tmp_path / "ball.stl", [surface])
    mesh = pyvista.read(tmp_path / "ball.stl").clean()
    assert mesh.is_manifold
    assert mesh.volume / 1000 == pytest.approx(surface.volume_ml, rel=1e-3)
    assert np.allclose(np.reshape(mesh.bounds, (3, 2)).T, surface.bounds, atol=1e-3)


def test_nothing_to_export_and_no_place_to_export_to_are_sentences(tmp_path):
    geometry = grid((1.0, 1.0, 1.0), 4.0)
    labels = ball(4.0, geometry)
    with pytest.raises(BadInput, match="no surface"):
        write_stl(tmp_path / "a.stl", [segment_surface(labels, geometry, 9)])
    with pytest.raises(WorldFailed, match="folder does not exist"):
        write_stl(tmp_path / "nowhere" / "a.stl", [segment_surface(labels, geometry, 1)])
    assert list(tmp_path.iterdir()) == []


def test_a_cut_off_stl_is_refused(tmp_path):
    geometry = grid((1.0, 1.0, 1.0), 4.0)
    target = tmp_path / "a.stl"
    write_stl(target, [segment_surface(ball(4.0, geometry), geometry, 1)])
    target.write_bytes(target.read_bytes()[:-7])
    with pytest.raises(BadInput, match="whole binary STL"):
        read_stl(target)
