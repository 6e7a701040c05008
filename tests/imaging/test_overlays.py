"""Drawings over an image are told of, and lie where the file puts them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_phantoms import BIG_ENDIAN, DEFLATED, EXPLICIT, Maker, Plan, at_height, enhanced

from imaging.dicom.pixels.overlays import read_drawings, read_overlays
from imaging.drawings import Drawings
from imaging.errors import BadInput
from imaging.open import scan
from imaging.series import Frame

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def drawing(shape: tuple[int, ...] = (12, 10)) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 2, shape).astype(bool)


def add_plane(data, mask: np.ndarray, group: int = 0x6000, origin=(1, 1), **more: object) -> None:
    rows, columns = mask.shape[-2:]
    packed = np.packbits(mask.ravel(), bitorder="little").tobytes()
    packed += b"\0" * (len(packed) % 2)
    if data.file_meta.TransferSyntaxUID == BIG_ENDIAN:
        packed = np.frombuffer(packed, "u2").byteswap().tobytes()
    data.add_new(group << 16 | 0x0010, "US", rows)
    data.add_new(group << 16 | 0x0011, "US", columns)
    data.add_new(group << 16 | 0x0040, "CS", "G")
    data.add_new(group << 16 | 0x0050, "SS", list(origin))
    data.add_new(group << 16 | 0x0100, "US", 1)
    data.add_new(group << 16 | 0x0102, "US", 0)
    for tag, (vr, value) in more.items():
        data.add_new(group << 16 | int(tag[1:], 16), vr, value)
    data.add_new(group << 16 | 0x3000, "OW", packed)


def frames_of(maker: Maker, data) -> list[Frame]:
    data.save_as(maker.folder / "x", enforce_file_format=True)
    with scan([maker.folder]) as result:
        assert any("overlay plane" in problem for problem in result.series[0].problems)
        return list(result.series[0].frames)


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_a_plane_of_the_size_of_the_image(maker: Maker, syntax: str) -> None:
    data = maker.dataset(Plan(syntax=syntax))
    add_plane(data, drawing(), x1500=("LO", "Scale"))
    (overlay,) = read_overlays(frames_of(maker, data)[0])
    assert overlay.name == "Scale"
    assert (overlay.mask == drawing()).all()


@pytest.mark.parametrize("origin", [(3, 4), (-2, 0), (11, 9), (40, 40)])
def test_origin_inside_and_outside_the_image(maker: Maker, origin: tuple[int, int]) -> None:
    mask = drawing((6, 5))
    data = maker.dataset(Plan())
    add_plane(data, mask, origin=origin)
    (overlay,) = read_overlays(frames_of(maker, data)[0])
    for row in range(12):
        for column in range(10):
            j, i = row - (origin[0] - 1), column - (origin[1] - 1)
            inside = 0 <= j < 6 and 0 <= i < 5
            assert overlay.mask[row, column] == (inside and mask[j, i])


def test_several_planes_and_their_names(maker: Maker) -> None:
    data = maker.dataset(Plan())
    add_plane(data, drawing(), 0x6000)
    add_plane(data, ~drawing(), 0x6002, x0022=("LO", "Region of interest"))
    first, second = read_overlays(frames_of(maker, data)[0])
    assert (first.name, second.name) == ("overlay 1", "Region of interest")
    assert (first.mask == ~second.mask).all()
    with scan([maker.folder]) as result:
        notes = " ".join(result.series[0].problems)
    assert "overlay plane (Region of interest)" in notes


def test_a_plane_for_each_frame(maker: Maker) -> None:
    data = enhanced(maker, [at_height(Plan(), 2.0 * k) for k in range(4)], [1.0] * 4)
    masks = drawing((3, 12, 10))
    add_plane(data, masks, x0015=("IS", 3), x0051=("US", 2))
    frames = sorted(frames_of(maker, data), key=lambda frame: frame.number)
    planes = [read_overlays(frame) for frame in frames]
    assert planes[0] == []
    for plane, mask in zip(planes[1:], masks, strict=True):
        assert (plane[0].mask == mask).all()


def test_a_plane_in_an_unused_bit_of_the_pixels(maker: Maker) -> None:
    mask = drawing()
    values = np.arange(120, dtype=np.uint16).reshape(12, 10)
    data = maker.dataset(Plan(), BitsStored=12, HighBit=11)
    data.PixelData = (values | mask.astype(np.uint16) << 15).tobytes()
    for element, vr, value in ((0x10, "US", 12), (0x11, "US", 10), (0x102, "US", 15)):
        data.add_new(0x60000000 | element, vr, value)
    (overlay,) = read_overlays(frames_of(maker, data)[0])
    assert (overlay.mask == mask).all()


def test_a_plane_that_is_cut_off_is_refused(maker: Maker) -> None:
    data = maker.dataset(Plan())
    add_plane(data, drawing())
    data[0x60003000].value = b"\0\0"
    with pytest.raises(BadInput, match="cut off"):
        read_overlays(frames_of(maker, data)[0])


def test_the_middle_slice_of_a_series_comes_first_and_each_slice_keeps_its_own(maker) -> None:
    masks = drawing((5, 12, 10))
    for k, mask in enumerate(masks):
        data = maker.dataset(at_height(Plan(), 2.0 * k))
        if k != 1:
            add_plane(data, mask, x1500=("LO", "Scale"))
            add_plane(data, ~mask if k == 3 else mask & False, 0x6002, x1500=("LO", "Scale"))
        data.save_as(maker.folder / f"{k}", enforce_file_format=True)
    with scan([maker.folder]) as result:
        (series,) = result.series
    heights = [frame.position[2] for frame in series.frames if frame.position]
    assert heights == sorted(heights)
    grown = list(read_drawings(series.frames, 5, 2))
    first, last = grown[0], grown[-1]
    assert isinstance(first, Drawings)
    assert isinstance(last, Drawings)
    assert set(first.packed) == {("Scale", 0, 2)}
    assert last.names == ("Scale", "Scale (2)")
    assert [last.names_on(0, k) for k in range(5)] == [
        ("Scale",), (), ("Scale",), ("Scale", "Scale (2)"), ("Scale",)
    ]  # fmt: skip
    for k in (0, 2, 3, 4):
        assert (last.mask(("Scale",), 0, k) == masks[k]).all()
    assert (last.mask(("Scale (2)",), 0, 3) == ~masks[3]).all()
    assert not last.mask(last.names, 0, 1).any()


def test_a_damaged_plane_is_told_and_the_others_are_read(maker: Maker) -> None:
    for k in range(3):
        data = maker.dataset(at_height(Plan(), 2.0 * k))
        add_plane(data, drawing())
        if k == 1:
            data[0x60003000].value = b"\0\0"
        data.save_as(maker.folder / f"{k}", enforce_file_format=True)
    with scan([maker.folder]) as result:
        grown = list(read_drawings(result.series[0].frames, 3, 1))
    assert isinstance(grown[0], BadInput)
    assert isinstance(grown[-1], Drawings)
    assert {k for _, _, k in grown[-1].packed} == {0, 2}


def test_a_plane_over_a_mosaic_is_cut_into_its_tiles(maker: Maker) -> None:
    data = maker.dataset(Plan())
    add_plane(data, drawing())
    sheet = frames_of(maker, data)[0]
    for row, column in ((0, 0), (6, 0), (6, 5)):
        tile = replace(sheet, tile=(row, column), shape=(6, 5))
        (overlay,) = read_overlays(tile)
        assert (overlay.mask == drawing()[row : row + 6, column : column + 5]).all()


def test_real_planes_as_pydicom_sees_them(shared_data: Path) -> None:
    folder = shared_data / "dicom_pydicom_tests"
    for path in (folder / "examples_overlay.dcm",
                 folder / "pydicom-data" / "MR-SIEMENS-DICOM-WithOverlays.dcm"):  # fmt: skip
        data = pydicom.dcmread(path)
        groups = [g for g in range(0x6000, 0x6020, 2) if (g << 16 | 0x3000) in data]
        with scan([path]) as result:
            found = read_overlays(result.series[0].frames[0])
        assert groups
        assert len(found) == len(groups)
        for overlay, group in zip(found, groups, strict=True):
            wanted = data.overlay_array(group).astype(bool)
            assert overlay.mask.any()
            assert (overlay.mask[: wanted.shape[0], : wanted.shape[1]] == wanted).all()
