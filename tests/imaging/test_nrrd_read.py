"""NRRD files of other programs: every voxel where the header says, nothing outside the folder."""

from __future__ import annotations

import bz2
import gzip
import re
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placed_images import itk_image, loaded, misplaced, only_series, placed_values, refusal
from writing_grids import NAMES, ORIENTATIONS, grid

from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.open import load_series, scan
from imaging.storage import nrrd_read
from imaging.storage.file_head import read_head

FIELDS = {
    "type": "int16",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "4 3 2",
    "space directions": "(1,0,0) (0,2,0) (0,0,3)",
    "space origin": "(-5,-6,-7)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
}
VALUES = np.arange(24, dtype="<i2").reshape(2, 3, 4)


def text(**changes: str | None) -> bytes:
    """A header; fields are changed, or left out with None. Underscores stand for spaces."""
    fields = {**FIELDS, **{name.replace("_", " "): value for name, value in changes.items()}}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return ("\n".join(["NRRD0004", *lines]) + "\n\n").encode()


def written(folder: Path, body: bytes = VALUES.tobytes(), name="a.nrrd", **changes) -> Path:
    path = folder / name
    path.write_bytes(text(**changes) + body)
    return path


@pytest.mark.parametrize("way", ORIENTATIONS, ids=NAMES)
def test_every_orientation_written_by_itk(tmp_path: Path, way) -> None:
    for oblique, name, packed in (
        (True, "a.nrrd", True), (False, "b.nrrd", False), (True, "c.nhdr", False),
        (False, "d.nhdr", True),
    ):  # fmt: skip
        sitk.WriteImage(itk_image(grid(way, oblique=oblique)), str(tmp_path / name), packed)
    with scan([tmp_path]) as found:
        assert found.problems == ()
        assert len(found.series) == 4
        for series in found.series:
            assert misplaced(load_series(series)) < 0.51
            assert series.problems == ()
            assert series.kind == series.source.kind == "nrrd"


@pytest.mark.parametrize("space", ["left-posterior-superior", "RAS", "LAS"])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_spaces_and_packings_written_by_pynrrd(tmp_path: Path, space: str, encoding: str) -> None:
    geometry = grid(((1, 0, 2), (-1, 1, 1)))
    flips = {"RAS": (-1, -1, 1), "LAS": (1, -1, 1)}.get(space, (1, 1, 1))
    affine = np.diag([*flips, 1]) @ geometry.affine
    values = placed_values(geometry)
    header = {
        "space": space,
        "space directions": affine[:3, :3].T[::-1],
        "space origin": affine[:3, 3],
        "encoding": encoding,
    }
    nrrd.write(str(tmp_path / "a.nrrd"), values, header, index_order="C")
    volume = loaded(tmp_path / "a.nrrd")
    assert misplaced(volume) < 0.51
    assert volume.geometry.same_grid(geometry)


def test_sheared_grid_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path, space_directions="(1,0,0) (0,2,0) (0,0.8,3)")
    series = only_series(path)
    assert series.geometry is not None
    assert not series.geometry.orthogonal
    np.testing.assert_allclose(series.geometry.affine[:3, 0], (0, 0.8, 3))
    assert "sheared" in series.problems[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"space": "3D-right-handed"}, "sides may be wrong"),
        ({"space": "scanner-xyz"}, "sides may be wrong"),
        ({"space": None, "space_dimension": "3"}, "sides may be wrong"),
        ({"space_origin": None}, "sides may be wrong"),
        ({"space_units": '"um" "um" "um"'}, "lengths in um"),
    ],
)
def test_what_a_header_leaves_open_is_said(tmp_path: Path, changes, sentence: str) -> None:
    assert sentence in " ".join(only_series(written(tmp_path, **changes)).problems)


def test_spacings_without_a_space(tmp_path: Path) -> None:
    path = written(tmp_path, space=None, space_directions=None, space_origin=None,
                   spacings="0.5 0.75 4")  # fmt: skip
    series = only_series(path)
    assert series.geometry is not None
    assert series.geometry.spacing == (4.0, 0.75, 0.5)
    assert (load_series(series).voxels == VALUES).all()


def test_units_are_converted(tmp_path: Path) -> None:
    volume = loaded(written(tmp_path, space_units='"cm" "cm" "cm"'))
    assert volume.geometry.spacing == (30.0, 20.0, 10.0)
    np.testing.assert_allclose(volume.geometry.origin, (-50, -60, -70))


@pytest.mark.parametrize(
    ("kind", "code"),
    [("short", "<i2"), ("unsigned char", "u1"), ("uint16", ">u2"), ("double", "<f8"),
     ("float", ">f4"), ("int", "<i4"), ("signed char", "i1"), ("long long", "<i8")],
)  # fmt: skip
def test_number_types_and_byte_orders(tmp_path: Path, kind: str, code: str) -> None:
    endian = "big" if code.startswith(">") else "little"
    path = written(tmp_path, VALUES.astype(code).tobytes(), type=kind, endian=endian)
    volume = loaded(path)
    assert volume.voxels.dtype.itemsize <= 4
    assert (volume.voxels == VALUES).all()


def test_odd_but_right_ways_to_write_a_header(tmp_path: Path) -> None:
    head = text(space_directions="( 1, 0, 0 ) (0 ,2, 0) ( 0,0,3)").replace(b"\n", b"\r\n")
    head = head.replace(b"NRRD0004\r\n", b"NRRD0005\r\n# a remark: with a colon\r\n")
    (tmp_path / "a.nrrd").write_bytes(head.replace(b"sizes", b"SIZES") + VALUES.tobytes())
    assert (loaded(tmp_path / "a.nrrd").voxels == VALUES).all()


@pytest.mark.parametrize(
    ("name", "pack", "changes"),
    [
        ("voxels.raw", bytes, {}),
        ("deep/voxels.raw", bytes, {}),
        ("deep\\voxels.raw", bytes, {}),
        ("voxels.raw.gz", gzip.compress, {"encoding": "gz"}),
        ("voxels.bz2", bz2.compress, {"encoding": "bz2"}),
        ("voxels.raw", lambda b: b"one\ntwo\n" + b, {"line_skip": "2"}),
        ("voxels.raw", lambda b: bytes(7) + b, {"byte_skip": "7"}),
        ("voxels.raw", lambda b: bytes(9) + b, {"byte_skip": "-1"}),
    ],
)
def test_voxels_in_a_file_beside(tmp_path: Path, name: str, pack, changes) -> None:
    target = tmp_path / name.replace("\\", "/")
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(pack(VALUES.tobytes()))
    written(tmp_path, b"", "head.nhdr", data_file=name, **changes)
    with scan([tmp_path]) as found:
        assert found.problems == ()  # the voxel file is no puzzle of its own
        assert (load_series(found.series[0]).voxels == VALUES).all()


@pytest.mark.parametrize(
    "name",
    ["/etc/hostname", "../secret.raw", "deep/../../secret.raw", "C:\\secret.raw", "\\\\host\\x",
     "link.raw", "a\0b"],
)  # fmt: skip
def test_no_file_outside_the_folder_is_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.raw").write_bytes(VALUES.tobytes())
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    path = written(folder, b"", "head.nhdr", data_file=name)
    with pytest.raises(BadInput, match=r"outside its folder|out of its folder"):
        nrrd_read.read_grid(str(path))


def test_missing_and_several_voxel_files_are_refused(tmp_path: Path) -> None:
    assert "missing" in refusal(written(tmp_path, b"", data_file="gone.raw"))
    assert "several files" in refusal(written(tmp_path, b"", data_file="x%03d.raw 1 9 1"))
    assert "several files" in refusal(written(tmp_path, b"", data_file="LIST"))


def four(axes: str, **changes) -> dict[str, str]:
    first = axes == "first"
    space = FIELDS["space directions"]
    return {
        "dimension": "4",
        "sizes": "5 4 3 2" if first else "4 3 2 5",
        "space_directions": f"none {space}" if first else f"{space} none",
        "kinds": "list domain domain domain" if first else "domain domain domain list",
        **changes,
    }


@pytest.mark.parametrize("encoding", ["raw", "gzip", "text"])
@pytest.mark.parametrize("axes", ["first", "last"])
def test_a_list_axis_makes_a_4d_series(tmp_path: Path, axes: str, encoding: str) -> None:
    images = np.arange(120, dtype="<i2").reshape(5, 2, 3, 4)
    stored = np.ascontiguousarray(np.moveaxis(images, 0, -1)) if axes == "first" else images
    packed = {"gzip": gzip.compress(stored.tobytes()), "raw": stored.tobytes(),
              "text": " ".join(map(str, stored.ravel())).encode()}[encoding]  # fmt: skip
    series = only_series(written(tmp_path, packed, **four(axes, encoding=encoding)))
    assert (series.repeat_axis, series.repeats[4]) == ("image", "image 5")
    volume = load_series(series)
    assert volume.repeats is not None
    assert (volume.repeats.voxels == images).all()
    assert (volume.at_repeat(3).voxels == images[3]).all()


def test_diffusion_directions_name_the_images(tmp_path: Path) -> None:
    gradients = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, np.sqrt(0.5)), (0, 0, 0)]
    pairs = "".join(
        f"DWMRI_gradient_{n:04d}:={' '.join(map(str, g))}\n" for n, g in enumerate(gradients)
    )
    head = text(**four("last", kinds="domain domain domain vector"))[:-1]
    extra = f"modality:=DWMRI\nDWMRI_b-value:=1000\n{pairs}\n".encode()
    (tmp_path / "dwi.nrrd").write_bytes(head + extra + np.zeros(120, "<i2").tobytes())
    series = only_series(tmp_path / "dwi.nrrd")
    assert series.repeat_axis == "b-value"
    assert series.repeats == (
        "b 0 · image 1", "b 1000 · direction 1", "b 1000 · direction 2", "b 500", "b 0 · image 2",
    )  # fmt: skip
    assert series.guess.name == "DWI"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (four("first", kinds="RGB-color domain domain domain"), "rgb-color"),
        (four("first", kinds="vector domain domain domain"), "vector"),
        (four("first", kinds="3D-masked-symmetric-matrix domain domain domain"), "matrix"),
        ({"type": "block"}, "unknown type"),
        ({"encoding": "hex"}, "packed in a way"),
        ({"endian": None}, "byte order"),
        ({"sizes": "4 3"}, "damaged"),
        ({"sizes": "4 3 -2"}, "cannot be shown"),
        ({"sizes": "4 3 nan"}, "damaged|cannot be shown"),
        ({"sizes": "99999999 9 9"}, "cannot be shown"),
        ({"sizes": "30000 30000 30000"}, "4 GB"),
        ({"sizes": "40 30 20"}, "cut off"),
        ({"encoding": "gzip", "sizes": "400 300 200"}, "cut off"),
        ({"space directions": "(1,0,0) (2,0,0) (0,0,3)"}, "senseless"),
        ({"space directions": "(1,0,0) (0,nan,0) (0,0,inf)"}, "axes of the file"),
        ({"space origin": "(nan,0,0)"}, "senseless"),
        ({"byte skip": "-7"}, "senseless"),
        ({"byte skip": "99999999999"}, "senseless|cut off"),
        ({"line skip": "1e9"}, "damaged|senseless"),
        ({"line skip": "-1"}, "senseless"),
        ({"encoding": "gzip", "byte skip": "-1"}, "senseless"),
        ({"dimension": "1", "sizes": "24", "kinds": "domain", "space directions": "(1,0,0)"},
         "axes of the file"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused_in_a_sentence(tmp_path: Path, changes, reason: str) -> None:
    assert re.search(reason, refusal(written(tmp_path, **changes)))


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"x: y\n" * 1_000_000)
    assert "no end" in refusal(tmp_path / "a.nrrd")


def test_damage_inside_the_packed_voxels_is_told(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(VALUES.tobytes(), 0))
    packed[20] ^= 0xFF
    series = only_series(written(tmp_path, bytes(packed), encoding="gzip"))
    with pytest.raises(BadInput, match="damaged"):
        load_series(series)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_no_header_crashes_the_reader(tmp_path: Path, data: st.DataObject) -> None:
    values = st.one_of(
        st.sampled_from([*FIELDS.values(), "none none none", "4 3 2 1", "LIST", "../x", "-1"]),
        st.text(alphabet="0123456789-.,()e naif%/", max_size=30),
    )
    names = st.sampled_from(
        [*FIELDS, "byte skip", "line skip", "data file", "spacings", "space units"]
    )
    changes = data.draw(st.dictionaries(names, values, max_size=4))
    body = data.draw(st.binary(max_size=80))
    path = written(tmp_path, body, **changes)
    if not nrrd_read.begins_nrrd(read_head(str(path))):
        return
    with scan([path]) as found:
        assert len(found.series) + len(found.problems) == 1
        assert not any("cannot be understood" in p.reason for p in found.problems)
        for series in found.series:
            assert isinstance(series.geometry, Geometry)
            try:
                load_series(series)
            except BadInput:
                continue
