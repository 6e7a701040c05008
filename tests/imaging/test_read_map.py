"""Parametric maps of other programs: values, units, and places frame by frame."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from object_makers import PLANES, T1, all_orders, make_map, make_series

from imaging.dicom.objects.placing import Target
from imaging.dicom.objects.read_map import read_map
from imaging.errors import BadInput
from imaging.geometry import Geometry


@pytest.fixture(scope="module", params=list(PLANES))
def series(request, tmp_path_factory):
    """Files and volume of a series in one direction."""
    return make_series(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def axial(tmp_path_factory):
    """Files and volume of an axial series."""
    return make_series(tmp_path_factory.mktemp("axial"))


def _places(geometry: Geometry) -> np.ndarray:
    """A value that says where a voxel lies, 0 to 1."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
    return ((geometry.world(index) + 60) @ [1, 3, 7] / 1500).astype(np.float32)


def test_every_value_at_its_place_in_every_order_of_axes(series, tmp_path):
    files, volume = series
    path = make_map(tmp_path / "p.dcm", files, volume, _places(volume.geometry))
    for geometry in all_orders(volume.geometry):
        (one,) = read_map(path, Target(geometry))
        np.testing.assert_allclose(np.reshape(one.affine, (4, 4)), geometry.affine)
        np.testing.assert_allclose(one.values, _places(geometry), atol=1e-6)


def test_alone_it_keeps_its_own_grid(series, tmp_path):
    files, volume = series
    path = make_map(tmp_path / "p.dcm", files, volume, _places(volume.geometry))
    (one,) = read_map(path)
    geometry = Geometry(one.values.shape, np.reshape(one.affine, (4, 4)))
    np.testing.assert_allclose(one.values, _places(geometry), atol=1e-6)
    assert one.frame == volume.geometry.frame_of_reference
    assert one.notes == ()


@pytest.mark.parametrize("kind", ["float64", "uint16"])
def test_numbers_go_through_their_mapping(axial, tmp_path, kind):
    files, volume = axial
    stored = (np.arange(np.prod(volume.geometry.shape)) % 3000).reshape(volume.geometry.shape)
    path = make_map(
        tmp_path / "p.dcm", files, volume, stored.astype(kind), T1,
        ("ms", "UCUM", "milliseconds"), (0.5, -10.0),
    )  # fmt: skip
    (one,) = read_map(path, Target(volume.geometry))
    np.testing.assert_allclose(one.values, stored * 0.5 - 10, rtol=1e-6)
    assert (one.quantity.meaning, one.unit.value) == ("T1", "ms")
    assert one.provenance.algorithm == "Mapper"


def test_a_table_of_values_is_followed(axial, tmp_path):
    files, volume = axial
    stored = (np.arange(np.prod(volume.geometry.shape)) % 4).reshape(volume.geometry.shape)
    path = make_map(tmp_path / "p.dcm", files, volume, stored.astype(np.uint16))
    ds = pydicom.dcmread(path)
    groups = (*ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence)
    for group in groups:
        for mapping in group.get("RealWorldValueMappingSequence", []):
            del mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept
            mapping.RealWorldValueFirstValueMapped = 0
            mapping["RealWorldValueFirstValueMapped"].VR = "US"
            mapping.RealWorldValueLUTData = [0.0, 2.5, 7.0, 9.0]
    ds.save_as(path)
    (one,) = read_map(path, Target(volume.geometry))
    np.testing.assert_array_equal(one.values, np.array([0, 2.5, 7, 9], np.float32)[stored])


def test_odd_values_and_missing_slices_are_said(axial, tmp_path):
    files, volume = axial
    values = _places(volume.geometry)
    values[3, 4, 5] = np.nan
    path = make_map(tmp_path / "p.dcm", files, volume, values)
    ds = pydicom.dcmread(path)
    frames = list(ds.PerFrameFunctionalGroupsSequence)
    size = int(ds.Rows) * int(ds.Columns) * 4
    ds.PerFrameFunctionalGroupsSequence = frames[:2] + frames[3:]
    ds.FloatPixelData = ds.FloatPixelData[: 2 * size] + ds.FloatPixelData[3 * size :]
    ds.NumberOfFrames = len(frames) - 1
    ds.save_as(path)
    (one,) = read_map(path, Target(volume.geometry))
    assert np.isfinite(one.values).all()
    assert {note.split()[0] for note in one.notes} == {"1", "Values"}
    assert int((one.values == 0).all((1, 2)).sum()) == 1


def test_two_maps_on_the_same_places_come_apart(axial, tmp_path):
    files, volume = axial
    path = make_map(tmp_path / "p.dcm", files, volume, _places(volume.geometry))
    ds = pydicom.dcmread(path)
    ds.PerFrameFunctionalGroupsSequence = list(ds.PerFrameFunctionalGroupsSequence) * 2
    first = np.frombuffer(ds.FloatPixelData, np.float32)
    ds.FloatPixelData = np.concatenate([first, first / 2]).tobytes()
    ds.NumberOfFrames = 2 * volume.geometry.shape[0]
    ds.save_as(path)
    one, other = read_map(path, Target(volume.geometry))
    np.testing.assert_allclose(one.values / 2, other.values)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("numbers mean", lambda ds: [delattr(group, "RealWorldValueMappingSequence")
            for group in (*ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence)
            if "RealWorldValueMappingSequence" in group]),
        ("where its frames lie", lambda ds: delattr(
            ds.PerFrameFunctionalGroupsSequence[0], "PlanePositionSequence")),
        ("each of its frames", lambda ds: setattr(ds, "NumberOfFrames", 3)),
        ("decoded", lambda ds: setattr(ds, "FloatPixelData", b"\0" * 80)),
        ("not a parametric map", lambda ds: setattr(ds, "SOPClassUID", "1.2.3")),
    ],
)  # fmt: skip
def test_a_damaged_map_is_one_sentence(axial, tmp_path, words, change):
    files, volume = axial
    path = make_map(tmp_path / "p.dcm", files, volume, _places(volume.geometry))
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(tmp_path / "x.dcm")
    with pytest.raises(BadInput, match=words):
        read_map(tmp_path / "x.dcm")
