"""Surface files, judged by pyvista (VTK's readers) in patient space."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_surfaces import ball
from test_surfaces import grid as plain_grid

from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from viewer.rendering.surface_files import (
    GLTF_FROM_LPS,
    NamedSurface,
    read_glb,
    write_glb,
    write_obj,
    write_ply,
    write_stl,
)
from viewer.rendering.surfaces import Surface, segment_surface, with_true_volume

pyvista = pytest.importorskip("pyvista")

COLOUR = (230, 159, 0)
ORDERS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
WAYS = [(order, (a, b, c)) for order in ORDERS for a in (1, -1) for b in (1, -1) for c in (1, -1)]
NAMES = ["".join("xyz"[o] + "+-"[s < 0] for o, s in zip(*way, strict=True)) for way in WAYS]


def turned(way, shape=(14, 30, 24)) -> Geometry:
    """An anisotropic oblique grid with its array axes along the given patient axes."""
    order, signs = way
    axes = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        axes[axis, column] = sign
    c, s = np.cos(0.4), np.sin(0.4)
    oblique = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ [[1, 0, 0], [0, c, -s], [0, s, c]]
    affine = np.eye(4)
    affine[:3, :3] = oblique @ axes * (2.4, 1.1, 0.9)
    affine[:3, 3] = (-31.0, 12.5, 47.0)
    return Geometry(shape, affine)


def shape_in(geometry: Geometry) -> np.ndarray:
    """A body without any symmetry."""
    labels = np.zeros(geometry.shape, np.uint8)
    labels[3:11, 5:24, 4:19] = 1
    labels[7:11, 14:24, 11:19] = 0
    return labels


def named(surface: Surface, word="Lesion", name="Lesion") -> NamedSurface:
    return NamedSurface(word, name, COLOUR, surface, {"notice": "research use"})


def written(folder, kind: str, surface: Surface):
    """The mesh as pyvista reads it, in LPS mm."""
    path = folder / f"a.{kind}"
    if kind == "stl":
        write_stl(path, [surface])
    elif kind == "ply":
        write_ply(path, surface, COLOUR, "Lesion")
    elif kind == "obj":
        write_obj(path, [named(surface)])
    else:
        write_glb(path, [named(surface)])
    mesh = pyvista.read(path)
    if kind != "glb":
        return mesh
    parts = [part for part in _leaves(mesh) if part.n_points]
    (whole,) = parts
    whole = whole.extract_surface(algorithm="dataset_surface").copy()
    whole.points = np.asarray(whole.points, float) @ np.linalg.inv(GLTF_FROM_LPS).T
    return whole


def _leaves(block):
    for part in block:
        if isinstance(part, pyvista.MultiBlock):
            yield from _leaves(part)
        elif part is not None:
            yield part


@pytest.mark.parametrize("kind", ["stl", "ply", "obj", "glb"])
@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_in_every_orientation_it_lies_on_its_voxels_with_their_volume(tmp_path, way, kind):
    geometry = turned(way)
    labels = shape_in(geometry)
    surface = with_true_volume(segment_surface(labels, geometry, 1))
    mesh = written(tmp_path, kind, surface).clean()
    assert mesh.is_manifold
    voxels_mm3 = labels.sum() * geometry.voxel_ml * 1000
    assert mesh.volume == pytest.approx(voxels_mm3, rel=0.02)
    places = geometry.world(np.argwhere(labels))
    assert mesh.center_of_mass() == pytest.approx(places.mean(axis=0), abs=1.0)
    low_high = np.reshape(mesh.bounds, (3, 2)).T
    reach = np.abs(geometry.affine[:3, :3]).sum(axis=1) / 2
    assert low_high[0] == pytest.approx(places.min(axis=0) - reach, abs=1.3)
    assert low_high[1] == pytest.approx(places.max(axis=0) + reach, abs=1.3)


def test_small_lesions_keep_the_volume_that_the_list_says(tmp_path):
    for spacing, radius in (((3.0, 1.0, 1.0), 3.0), ((1.0, 1.0, 1.0), 2.0), ((3.0, 0.7, 0.7), 3.0)):
        geometry = plain_grid(spacing, radius)
        labels = ball(radius, geometry)
        smooth = segment_surface(labels, geometry, 1)
        true = with_true_volume(smooth)
        voxels_ml = labels.sum() * geometry.voxel_ml
        assert smooth.volume_ml < 0.9 * voxels_ml
        assert true.volume_ml == pytest.approx(voxels_ml, rel=0.01)
        write_stl(tmp_path / "a.stl", [true])
        assert pyvista.read(tmp_path / "a.stl").volume / 1000 == pytest.approx(voxels_ml, rel=0.01)


def test_each_part_grows_about_its_own_middle():
    geometry = Geometry((20, 20, 60), np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]])
    labels = np.zeros(geometry.shape, np.uint8)
    labels[5:8, 5:8, 5:8] = labels[5:8, 5:8, 50:53] = 1
    surface = with_true_volume(segment_surface(labels, geometry, 1))
    first = surface.points[surface.points[:, 0] < 20]
    assert first.mean(axis=0) == pytest.approx((6, 6, 6), abs=0.05)
    assert surface.volume_ml == pytest.approx(54 / 1000, rel=0.01)


def test_an_empty_surface_stays_empty():
    geometry = plain_grid((1.0, 1.0, 1.0), 4.0)
    assert with_true_volume(segment_surface(ball(4.0, geometry), geometry, 2)).empty


@pytest.fixture
def surface() -> Surface:
    geometry = plain_grid((1.0, 1.0, 1.0), 5.0)
    return segment_surface(ball(5.0, geometry), geometry, 1)


def test_files_say_their_space_unit_and_that_they_are_for_research(tmp_path, surface):
    write_stl(tmp_path / "a.stl", [surface])
    write_ply(tmp_path / "a.ply", surface, COLOUR, "Lésion")
    write_obj(tmp_path / "a.obj", [named(surface)])
    for name in ("a.stl", "a.ply", "a.obj"):
        head = (tmp_path / name).read_bytes()[:400]
        assert b"SPACE=LPS" in head
        assert b"unit mm" in head
        assert b"not for diagnosis" in head
    write_glb(tmp_path / "a.glb", [named(surface)])
    tables, _body = read_glb(tmp_path / "a.glb")
    extras = tables["scenes"][0]["extras"]
    assert "metres" in extras["space"]
    back = np.reshape(extras["lpsMmFromScene"], (4, 4))
    assert back[:3, :3] @ GLTF_FROM_LPS == pytest.approx(np.eye(3))


def test_what_is_ahead_of_the_patient_is_in_front_of_a_gltf():
    left, front, top = np.eye(3) * (1000, -1000, 1000)
    np.testing.assert_allclose(GLTF_FROM_LPS @ left, (1, 0, 0))
    np.testing.assert_allclose(GLTF_FROM_LPS @ front, (0, 0, 1))
    np.testing.assert_allclose(GLTF_FROM_LPS @ top, (0, 1, 0))
    assert np.linalg.det(GLTF_FROM_LPS) > 0


def test_colours_are_kept(tmp_path, surface):
    write_ply(tmp_path / "a.ply", surface, COLOUR)
    mesh = pyvista.read(tmp_path / "a.ply")
    assert np.array_equal(np.unique(mesh.point_data["RGB"], axis=0), [COLOUR])
    obj, mtl = write_obj(tmp_path / "a.obj", [named(surface)])
    assert f"mtllib {mtl.name}" in obj.read_text()
    (line,) = [x for x in mtl.read_text().splitlines() if x.startswith("Kd")]
    assert [round(float(x) * 255) for x in line.split()[1:]] == list(COLOUR)
    write_glb(tmp_path / "a.glb", [named(surface)])
    (material,) = read_glb(tmp_path / "a.glb")[0]["materials"]
    linear = np.array(material["pbrMetallicRoughness"]["baseColorFactor"][:3])
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.rint(srgb * 255).astype(int).tolist() == list(COLOUR)


def test_a_glb_has_a_node_for_each_label_that_has_voxels(tmp_path, surface):
    other = Surface(surface.points + np.float32(40), surface.triangles)
    nothing = Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    three = [named(surface), named(other, "Cyst", "Zyste 髄"), named(nothing, "None", "None")]
    write_glb(tmp_path / "a.glb", three)
    tables, _body = read_glb(tmp_path / "a.glb")
    assert [node["name"] for node in tables["nodes"]] == ["Lesion", "Zyste 髄"]
    assert tables["nodes"][0]["extras"] == {"notice": "research use"}
    assert sum(p.n_cells for p in _leaves(pyvista.read(tmp_path / "a.glb"))) == 2 * len(
        surface.triangles
    )
    write_obj(tmp_path / "a.obj", three)
    text = (tmp_path / "a.obj").read_text()
    assert [x for x in text.splitlines() if x.startswith("o ")] == ["o Lesion", "o Cyst"]
    assert pyvista.read(tmp_path / "a.obj").n_cells == 2 * len(surface.triangles)


@given(name=st.text(max_size=40))
@settings(max_examples=20, deadline=None)
def test_any_name_leaves_the_files_readable(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("s")
    tetra = Surface(
        np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]], np.float32),
        np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
    )
    write_ply(folder / "a.ply", tetra, COLOUR, name)
    write_obj(folder / "a.obj", [named(tetra, "x", name)])
    write_glb(folder / "a.glb", [named(tetra, "x", name)])
    for kind in ("ply", "obj"):
        assert pyvista.read(folder / f"a.{kind}").volume == pytest.approx(121.5)
    (node,) = read_glb(folder / "a.glb")[0]["nodes"]
    assert node["name"] == name.encode("utf-8", "replace").decode()
    json.dumps(node)


def test_nothing_to_write_and_no_place_for_it_are_sentences(tmp_path, surface):
    nothing = Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    for write in (
        lambda path, one: write_ply(path, one, COLOUR),
        lambda path, one: write_obj(path, [named(one)]),
        lambda path, one: write_glb(path, [named(one)]),
    ):
        with pytest.raises(BadInput, match="no surface"):
            write(tmp_path / "a.obj", nothing)
        with pytest.raises(WorldFailed, match="folder does not exist"):
            write(tmp_path / "nowhere" / "a.obj", surface)
    assert list(tmp_path.iterdir()) == []


def test_a_cut_off_glb_is_refused(tmp_path, surface):
    write_glb(tmp_path / "a.glb", [named(surface)])
    content = (tmp_path / "a.glb").read_bytes()
    for size in (5, 27, 200, len(content) - 3):
        (tmp_path / "b.glb").write_bytes(content[:size])
        with pytest.raises(BadInput, match="whole GLB"):
            read_glb(tmp_path / "b.glb")
