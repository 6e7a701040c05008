"""Contours of a structure set become the voxels whose centres they enclose."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from object_makers import (
    MIDDLE,
    PLANES,
    SLICES,
    STEP,
    all_orders,
    circle,
    make_rtstruct,
    make_series,
)

from imaging.dicom.objects.fill_contours import fill_polygons
from imaging.dicom.objects.placing import Target
from imaging.dicom.objects.read_rtstruct import read_rtstruct
from imaging.errors import BadInput
from imaging.geometry import Geometry

RADIUS = 6.3


@pytest.fixture(scope="module", params=list(PLANES))
def series(request, tmp_path_factory):
    """Files and volume of a series in one direction."""
    return make_series(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def axial(tmp_path_factory):
    """Files and volume of an axial series."""
    return make_series(tmp_path_factory.mktemp("axial"))


def _read(path, geometry: Geometry):
    return read_rtstruct(path, Target(geometry))


def _in_cylinder(
    geometry: Geometry, like: Geometry, radius: float, slices: tuple[float, float]
) -> np.ndarray:
    """Voxels of a grid inside the cylinder of circles on slices of another grid."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
    world = geometry.world(index)
    axis = like.directions[:, 0]
    away = (world - MIDDLE) - ((world - MIDDLE) @ axis)[..., None] * axis
    k = like.index(world)[..., 0]
    return ((away**2).sum(-1) < radius**2) & (k > slices[0]) & (k <= slices[1])


def test_a_cylinder_lies_where_it_was_drawn_in_every_order_of_axes(series, tmp_path):
    files, volume = series
    drawn = [circle(MIDDLE, RADIUS, volume.geometry, k) for k in range(2, 7)]
    path = make_rtstruct(tmp_path / "s.dcm", files, {"Cylinder": drawn})
    for geometry in all_orders(volume.geometry):
        content = _read(path, geometry)
        (layer,) = content.layers
        expected = _in_cylinder(geometry, volume.geometry, RADIUS, (1.5, 6.5))
        wrong = (layer.labels > 0) != expected
        assert wrong.sum() <= 10  # the circle is drawn as 180 straight lines
        assert content.notes == ()


def test_the_volume_of_a_ball_is_that_of_the_formula(tmp_path):
    files, volume = make_series(tmp_path / "images", slices=21, step=1.0)
    radius, geometry = 8.0, volume.geometry
    middle_k = float(geometry.index(MIDDLE)[0])
    drawn = []
    for k in range(21):
        height = (k - middle_k) * geometry.spacing[0]
        if abs(height) < radius:
            drawn.append(circle(MIDDLE, float(np.sqrt(radius**2 - height**2)), geometry, k))
    path = make_rtstruct(tmp_path / "s.dcm", files, {"Ball": drawn})
    found = int((_read(path, geometry).layers[0].labels > 0).sum()) * geometry.voxel_ml
    assert found == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.02)


def test_a_contour_inside_another_cuts_a_hole(axial, tmp_path):
    files, volume = axial
    drawn = [circle(MIDDLE, r, volume.geometry, k) for k in (3, 4) for r in (7.6, 4.1)]
    path = make_rtstruct(tmp_path / "s.dcm", files, {"Ring": drawn})
    labels = _read(path, volume.geometry).layers[0].labels > 0
    outer = _in_cylinder(volume.geometry, volume.geometry, 7.6, (2.5, 4.5))
    inner = _in_cylinder(volume.geometry, volume.geometry, 4.1, (2.5, 4.5))
    assert ((labels != (outer & ~inner)).sum()) <= 4
    assert labels.any()


def test_a_keyhole_is_a_hole_too(axial, tmp_path):
    files, volume = axial
    outer, inner = (circle(MIDDLE, r, volume.geometry, 4) for r in (7.6, 4.1))
    joined = np.concatenate([outer, outer[:1], inner[:1], inner[::-1]])
    two = make_rtstruct(tmp_path / "two.dcm", files, {"Ring": [outer, inner]})
    one = make_rtstruct(tmp_path / "one.dcm", files, {"Ring": [joined]})
    first, second = (_read(path, volume.geometry).layers[0].labels for path in (two, one))
    np.testing.assert_array_equal(first, second)


def test_names_colours_and_structures_that_overlap(axial, tmp_path):
    files, volume = axial
    wide = [circle(MIDDLE, 7.0, volume.geometry, k) for k in range(2, 7)]
    small = [circle(MIDDLE, 3.0, volume.geometry, 4)]
    path = make_rtstruct(tmp_path / "s.dcm", files, {"Body": wide, "Tumour": small, "Empty": []})
    first, second = _read(path, volume.geometry).layers
    assert [s.name for s in first.segments] == ["Body", "Empty"]
    assert [s.name for s in second.segments] == ["Tumour"]
    assert first.segments[0].colour == (10, 200, 11)
    tumour = second.labels > 0
    assert tumour.sum() > 10
    assert (first.labels[tumour] == first.segments[0].number).all()


def test_points_and_lines_are_named_not_filled(axial, tmp_path):
    files, volume = axial
    ring = circle(MIDDLE, 5.0, volume.geometry, 4)
    rois = {"Mixed": [ring, ("POINT", MIDDLE[None]), ("OPEN_PLANAR", ring[:20])]}
    content = _read(make_rtstruct(tmp_path / "s.dcm", files, rois), volume.geometry)
    assert content.layers[0].labels.any()
    assert content.notes == ("2 points or open lines enclose nothing and are not shown",)


def test_contours_beside_the_slices_go_to_the_nearest_and_it_is_said(axial, tmp_path):
    files, volume = axial
    drawn = [circle(MIDDLE, RADIUS, volume.geometry, k + 0.3) for k in range(2, 7)]
    content = _read(make_rtstruct(tmp_path / "s.dcm", files, {"C": drawn}), volume.geometry)
    expected = _in_cylinder(volume.geometry, volume.geometry, RADIUS, (1.5, 6.5))
    assert ((content.layers[0].labels > 0) != expected).sum() <= 10
    assert "other slices" in content.notes[0]


def test_contours_of_thick_slices_fill_the_thin_ones_between(tmp_path):
    files, thick = make_series(tmp_path / "thick")
    drawn = [circle(MIDDLE, RADIUS, thick.geometry, k) for k in range(2, 7)]
    path = make_rtstruct(tmp_path / "s.dcm", files, {"C": drawn})
    _files, thin = make_series(tmp_path / "thin", slices=5 * SLICES, step=STEP / 5)
    geometry = Geometry(
        thin.geometry.shape, thin.geometry.affine, thick.geometry.frame_of_reference
    )
    content = _read(path, geometry)
    found = int((content.layers[0].labels > 0).sum()) * geometry.voxel_ml
    assert found == pytest.approx(np.pi * RADIUS**2 * 5 * STEP / 1000, rel=0.03)
    assert "other slices" in content.notes[0]


def test_two_far_slices_are_not_joined(axial, tmp_path):
    files, volume = axial
    drawn = [circle(MIDDLE, RADIUS, volume.geometry, k) for k in (2, 7)]
    content = _read(make_rtstruct(tmp_path / "s.dcm", files, {"C": drawn}), volume.geometry)
    filled = np.flatnonzero(content.layers[0].labels.any((1, 2)))
    assert filled.tolist() == [2, 7]


def test_contours_across_the_slices_of_another_series(tmp_path):
    files, axial = make_series(tmp_path / "axial", slices=21, step=1.0)
    _files, oblique = make_series(tmp_path / "oblique", "oblique", slices=21, step=1.0)
    drawn = [circle(MIDDLE, RADIUS, axial.geometry, k) for k in range(4, 17)]
    path = make_rtstruct(tmp_path / "s.dcm", files, {"C": drawn})
    geometry = Geometry(
        oblique.geometry.shape, oblique.geometry.affine, axial.geometry.frame_of_reference
    )
    content = _read(path, geometry)
    found = content.layers[0].labels > 0
    expected = _in_cylinder(geometry, axial.geometry, RADIUS, (3.5, 16.5))
    assert (found & expected).sum() / (found | expected).sum() > 0.93
    assert found.sum() == pytest.approx(expected.sum(), rel=0.03)
    assert any("across the slices" in note for note in content.notes)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-4, 14, width=32), st.floats(-4, 14, width=32)),
        min_size=3, max_size=12,
    )
)  # fmt: skip
def test_filling_counts_crossings_in_any_direction(points):
    polygon = np.array(points, float)
    filled = fill_polygons([polygon], slice(0, 10), slice(0, 10))
    for row in range(10):
        for column in range(10):
            if _distance(polygon, row, column) > 1e-4:
                assert filled[row, column] == _odd_upwards(polygon, row, column)


def _odd_upwards(polygon: np.ndarray, row: int, column: int) -> bool:
    """Crossings above a pixel centre, edge by edge; the reader counts those to the left."""
    inside = False
    for (r0, c0), (r1, c1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if (c0 <= column) != (c1 <= column):
            inside ^= r0 + (column - c0) * (r1 - r0) / (c1 - c0) <= row
    return inside


def _distance(polygon: np.ndarray, row: int, column: int) -> float:
    """Distance of a pixel centre from the nearest edge."""
    start, edge = polygon, np.roll(polygon, -1, 0) - polygon
    to = np.array([row, column]) - start
    length = np.maximum((edge**2).sum(1), 1e-30)
    share = np.clip((to * edge).sum(1) / length, 0, 1)
    return float(np.sqrt(((to - share[:, None] * edge) ** 2).sum(1)).min())


def test_polygons_that_share_an_edge_share_no_pixel():
    left = np.array([(1, 1), (1, 5), (6, 5), (6, 1)], float)
    right = left + np.array([0, 4])
    block = slice(0, 12), slice(0, 12)
    one, other = fill_polygons([left], *block), fill_polygons([right], *block)
    assert not (one & other).any()
    assert one.sum() == other.sum() == 20


class TestRefusals:
    """One sentence, whatever is wrong."""

    def test_another_frame_of_reference(self, axial, tmp_path):
        files, volume = axial
        drawn = {"C": [circle(MIDDLE, 5.0, volume.geometry, 4)]}
        path = make_rtstruct(tmp_path / "s.dcm", files, drawn)
        other = Geometry(volume.geometry.shape, volume.geometry.affine, "2.25.9")
        with pytest.raises(BadInput, match="frame of reference"):
            _read(path, other)

    def test_another_kind_of_file(self, axial):
        files, volume = axial
        with pytest.raises(BadInput, match="not a structure set"):
            _read(files[0], volume.geometry)

    @pytest.mark.parametrize(
        "data", [["nan"] * 9, ["1", "2"], ["abc", "2", "3"] * 3, [], ["1e300"] * 9]
    )
    def test_senseless_points_are_left_out(self, axial, tmp_path, data):
        files, volume = axial
        drawn = {"C": [circle(MIDDLE, 5.0, volume.geometry, 4)] * 2}
        path = make_rtstruct(tmp_path / "s.dcm", files, drawn)
        ds = pydicom.dcmread(path)
        item = ds.ROIContourSequence[0].ContourSequence[0]
        from pydicom.dataelem import RawDataElement
        from pydicom.tag import Tag

        raw = "\\".join(data).encode()
        tag = Tag(0x30060050)
        item._dict[tag] = RawDataElement(tag, "DS", len(raw), raw, 0, False, True)
        ds.save_as(path)
        content = _read(path, volume.geometry)
        assert (content.layers[0].labels > 0).any()
        assert content.notes


def test_uneven_slices_show_the_contours_drawn_on_them_and_no_others(axial, tmp_path):
    files, volume = axial
    kept = [0, 1, 3, 4, 8]
    places = volume.geometry.world(np.array([(k, 0, 0) for k in kept]))
    affine = volume.geometry.affine.copy()
    affine[:3, 0] *= 2
    drawn = [circle(MIDDLE, RADIUS, volume.geometry, k) for k in range(1, 7)]
    path = make_rtstruct(tmp_path / "s.dcm", files, {"C": drawn})
    content = read_rtstruct(path, Target(Geometry((5, 20, 18), affine), places))
    whole = _read(path, volume.geometry).layers[0].labels
    np.testing.assert_array_equal(content.layers[0].labels, whole[kept])
    assert content.notes == ("3 contours lie outside the image and are not shown",)
