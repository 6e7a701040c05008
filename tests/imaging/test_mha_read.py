"""MetaImage files of other programs: every voxel where ITK puts it, nothing outside the folder."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placed_images import itk_image, loaded, misplaced, only_series, refusal
from writing_grids import NAMES, ORIENTATIONS, grid

from imaging.errors import BadInput
from imaging.open import load_series, open_series, scan
from imaging.storage import mha_read

FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "-5 -6 -7",
    "ElementSpacing": "1 2 3",
    "DimSize": "4 3 2",
    "ElementType": "MET_SHORT",
}
VALUES = np.arange(24, dtype="<i2").reshape(2, 3, 4)


def written(
    folder: Path, body: bytes = VALUES.tobytes(), name="a.mha", data="LOCAL", **changes: str | None
) -> Path:
    """A file; fields are changed, or left out with None."""
    fields = {**FIELDS, **changes, "ElementDataFile": data}
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    path = folder / name
    path.write_bytes(("\n".join(lines) + "\n").encode() + body)
    return path


@pytest.mark.parametrize("way", ORIENTATIONS, ids=NAMES)
def test_every_orientation_written_by_itk(tmp_path: Path, way) -> None:
    for oblique, name, packed in (
        (True, "a.mha", True), (False, "b.mha", False), (True, "c.mhd", False),
        (False, "d.mhd", True),
    ):  # fmt: skip
        sitk.WriteImage(itk_image(grid(way, oblique=oblique)), str(tmp_path / name), packed)
    with scan([tmp_path]) as found:
        assert found.problems == ()
        assert len(found.series) == 4
        for series in found.series:
            assert misplaced(load_series(series)) < 0.51
            assert series.problems == ()
            assert series.kind == series.source.kind == "metaimage"


def test_sheared_matrix_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path, TransformMatrix="1 0 0 0 1 0 0 0.3 1")
    series = only_series(path)
    assert series.geometry is not None
    assert "sheared" in series.problems[0]
    np.testing.assert_allclose(series.geometry.affine[:3, 0], (0, 0.9, 3))


@pytest.mark.parametrize(
    ("kind", "code"),
    [("MET_UCHAR", "u1"), ("MET_CHAR", "i1"), ("MET_USHORT", "<u2"), ("MET_INT", "<i4"),
     ("MET_FLOAT", "<f4"), ("MET_DOUBLE", "<f8"), ("MET_SHORT", ">i2"), ("MET_FLOAT", ">f4"),
     ("MET_LONG_LONG", "<i8")],
)  # fmt: skip
def test_number_types_and_byte_orders(tmp_path: Path, kind: str, code: str) -> None:
    big = str(code.startswith(">"))
    path = written(tmp_path, VALUES.astype(code).tobytes(), ElementType=kind,
                   BinaryDataByteOrderMSB=big)  # fmt: skip
    assert (loaded(path).voxels == VALUES).all()
    again = written(tmp_path, VALUES.astype(code).tobytes(), "b.mha", ElementType=kind,
                    BinaryDataByteOrderMSB=None, ElementByteOrderMSB=big)  # fmt: skip
    assert (loaded(again).voxels == VALUES).all()


def test_numbers_as_text(tmp_path: Path) -> None:
    body = "\n".join(map(str, VALUES.ravel())).encode()
    assert (loaded(written(tmp_path, body, BinaryData="False")).voxels == VALUES).all()


def test_other_names_of_the_same_fields(tmp_path: Path) -> None:
    path = written(tmp_path, TransformMatrix=None, Rotation="0 1 0 1 0 0 0 0 -1", Offset=None,
                   Position="1 2 3", ElementSpacing=None, ElementSize="1 1 2")  # fmt: skip
    geometry = loaded(path).geometry
    np.testing.assert_allclose(geometry.origin, (1, 2, 3))
    np.testing.assert_allclose(geometry.affine[:3, :3], [[0, 1, 0], [0, 0, 1], [-2, 0, 0]])


def test_scale_and_units_are_heard(tmp_path: Path) -> None:
    path = written(tmp_path, ElementToIntensityFunctionSlope="0.5",
                   ElementToIntensityFunctionOffset="3", DistanceUnits="cm")  # fmt: skip
    volume = loaded(path)
    assert (volume.slope, volume.intercept) == (0.5, 3.0)
    assert volume.geometry.spacing == (30.0, 20.0, 10.0)
    assert "lengths in cm" in volume.notes[0]


def test_no_matrix_means_sides_unknown(tmp_path: Path) -> None:
    series = only_series(written(tmp_path, TransformMatrix=None))
    assert "sides may be wrong" in series.problems[0]
    flat = only_series(written(tmp_path, VALUES[0].tobytes(), "flat.mha", NDims="2",
                               TransformMatrix="1 0 0 1", Offset="0 0", ElementSpacing="1 2",
                               DimSize="4 3"))  # fmt: skip
    assert flat.shape == (1, 3, 4)
    assert "sides may be wrong" in flat.problems[0]


def test_fourth_axis_is_time(tmp_path: Path) -> None:
    images = np.arange(72, dtype="<i2").reshape(3, 2, 3, 4)
    eye = " ".join(str(int(v)) for v in np.eye(4).ravel())
    path = written(tmp_path, zlib.compress(images.tobytes()), NDims="4", DimSize="4 3 2 3",
                   TransformMatrix=eye, Offset="0 0 0 0", ElementSpacing="1 2 3 1.5",
                   CompressedData="True")  # fmt: skip
    volume = loaded(path)
    assert volume.repeats is not None
    assert volume.repeats.labels[1] == "time point 2"
    assert (volume.repeats.voxels == images).all()


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (VALUES.tobytes(), {}),
        (bytes(12) + VALUES.tobytes(), {"HeaderSize": "12"}),
        (bytes(99) + VALUES.tobytes(), {"HeaderSize": "-1"}),
        (zlib.compress(VALUES.tobytes()), {"CompressedData": "True"}),
    ],
)
def test_voxels_in_a_file_beside(tmp_path: Path, body: bytes, changes) -> None:
    (tmp_path / "a.raw").write_bytes(body)  # comes before its header in the folder
    written(tmp_path, b"", "head.mhd", "a.raw", **changes)
    with scan([tmp_path]) as found:
        assert found.problems == ()
        assert (load_series(found.series[0]).voxels == VALUES).all()


@pytest.mark.parametrize("name", ["/etc/hostname", "../secret.raw", "C:\\x.raw", "link.raw"])
def test_no_file_outside_the_folder_is_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.raw").write_bytes(VALUES.tobytes())
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    path = written(folder, b"", "head.mhd", name)
    with pytest.raises(BadInput, match=r"outside its folder|out of its folder"):
        mha_read.read_grid(str(path))


@pytest.mark.parametrize(
    ("data", "changes", "reason"),
    [
        ("LIST", {}, "several files"),
        ("slice%03d.raw 1 9 1", {}, "several files"),
        ("gone.raw", {}, "missing"),
        ("LOCAL", {"ElementNumberOfChannels": "3"}, "several numbers"),
        ("LOCAL", {"ElementType": "MET_STRING"}, "of a type"),
        ("LOCAL", {"DimSize": "4 3"}, "damaged"),
        ("LOCAL", {"DimSize": "4 3 -2"}, "cannot be shown"),
        ("LOCAL", {"DimSize": "4 3 inf"}, "damaged"),
        ("LOCAL", {"DimSize": "4 3 1e300"}, "cannot be shown"),
        ("LOCAL", {"DimSize": "400 300 200"}, "cut off"),
        ("LOCAL", {"DimSize": "30000 30000 30000"}, "4 GB"),
        ("LOCAL", {"DimSize": "400 300 200", "CompressedData": "True"}, "cut off"),
        ("LOCAL", {"ElementSpacing": "1 2"}, "damaged"),
        ("LOCAL", {"Offset": "nan 0 0"}, "damaged"),
        ("LOCAL", {"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "senseless"),
        ("LOCAL", {"NDims": "7", "DimSize": "1 1 1 1 1 1 1"}, "dimensions"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(tmp_path, data, changes, reason) -> None:
    assert re.search(reason, refusal(written(tmp_path, data=data, **changes)))


def test_a_bomb_is_inflated_as_far_as_announced(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(50_000_000), 9)
    volume = loaded(written(tmp_path, packed, CompressedData="True"))
    assert volume.voxels.nbytes == 48


def test_damage_inside_the_packed_voxels_is_told(tmp_path: Path) -> None:
    packed = bytearray(zlib.compress(VALUES.tobytes(), 0))
    packed[12] ^= 0xFF
    loading = open_series(only_series(written(tmp_path, bytes(packed), CompressedData="True")))
    with pytest.raises(BadInput, match="damaged"):
        loading.load()
    assert not loading.complete


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_no_header_crashes_the_reader(tmp_path: Path, data: st.DataObject) -> None:
    values = st.one_of(
        st.sampled_from([*FIELDS.values(), "4 3 2 1", "LIST", "../x", "-1", "True"]),
        st.text(alphabet="0123456789-.e naif%/=", max_size=30),
    )
    more = ("HeaderSize", "ElementNumberOfChannels", "DistanceUnits", "CompressedDataSize")
    changes = data.draw(st.dictionaries(st.sampled_from([*FIELDS, *more]), values, max_size=4))
    where = data.draw(st.sampled_from(["LOCAL", "LIST", "../x", "", "a.mha"]))
    path = written(tmp_path, data.draw(st.binary(max_size=80)), data=where, **changes)
    with scan([path]) as found:
        assert len(found.series) + len(found.problems) == 1
        assert not any("cannot be understood" in p.reason for p in found.problems)
        for series in found.series:
            try:
                load_series(series)
            except BadInput:
                continue
