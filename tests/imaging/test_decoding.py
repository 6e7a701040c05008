"""Pixels come out as they went in, whatever they were packed with and however they are stored."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import numpy as np
import psutil
import pydicom
import pydicom.data
import pytest
from dicom_phantoms import BIG_ENDIAN, DEFLATED, Maker, Plan, at_height, enhanced, stored_values
from encoded_pixels import (
    ENCAPSULATED,
    FRAME_DEFLATE,
    HT_IMAGES,
    HTJ2K,
    HTJ2K_LOSSY,
    HTJ2K_RPCL,
    J2K,
    J2K_LOSSY,
    JPEG,
    JPEG_LS,
    LOSSLESS,
    LOSSLESS1,
    NEAR_LOSSLESS,
    RLE,
    code_stream,
    describe,
    fill,
    ht_stream,
    save,
)

from imaging import sandbox
from imaging.dicom.header.read import read_header
from imaging.dicom.pixels.read import read_frame
from imaging.dicom.stacks.frames import read_frames
from imaging.errors import BadInput
from imaging.open import load_series, scan
from imaging.series import Series
from imaging.storage.header_index import HeaderIndex

TEST_FILES = Path(pydicom.data.__file__).parent / "test_files"
pytestmark = pytest.mark.filterwarnings("ignore")

LOSSLESS_SYNTAXES = (
    RLE, LOSSLESS, LOSSLESS1, JPEG_LS, J2K, ENCAPSULATED, FRAME_DEFLATE,
)  # fmt: skip


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def picture(dtype: str, bits: int) -> np.ndarray:
    """Every value from the least to the greatest, some noise, and the extremes in the corners."""
    kind = np.dtype(dtype)
    low, high = (0, 2**bits - 1) if kind.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    ramp = np.linspace(low, high, 72 * 64)
    noise = np.random.default_rng(3).integers(-3, 4, ramp.size)
    values = np.clip(np.rint(ramp) + noise, low, high).astype(kind).reshape(72, 64)
    values[0, 0], values[-1, -1] = low, high
    return values


def only(folder: Path) -> Series:
    with scan([folder]) as result:
        assert result.problems == ()
        (series,) = result.series
        return series


def first_image(path: Path) -> np.ndarray:
    return read_frame(read_frames(read_header(str(path)))[0])


@pytest.mark.parametrize(
    ("dtype", "bits"), [("u1", 8), ("u2", 12), ("u2", 16), ("i2", 12), ("i2", 16)]
)
@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES)
def test_lossless_syntaxes_return_the_very_values(
    maker: Maker, syntax: str, dtype: str, bits: int
) -> None:
    values = picture(dtype, bits)
    data = maker.dataset(Plan())
    describe(data, values, bits)
    stored = values
    if values.dtype.kind == "i" and syntax in (LOSSLESS, LOSSLESS1):
        stored = values.view(np.uint16) & np.uint16(2**bits - 1)  # no sign there: the bits count
    fill(data, syntax, [code_stream(syntax, stored, bits)])
    got = first_image(save(data, maker.folder / "x"))
    assert got.dtype == values.dtype
    assert (got == values).all()


@pytest.mark.parametrize("name", ["unsigned", "signed"])
@pytest.mark.parametrize("syntax", [HTJ2K, HTJ2K_RPCL, HTJ2K_LOSSY])
def test_high_throughput_jpeg_2000(maker: Maker, syntax: str, name: str) -> None:
    data = maker.dataset(Plan())
    describe(data, HT_IMAGES[name])
    fill(data, syntax, [ht_stream(name)])
    got = first_image(save(data, maker.folder / "x"))
    assert got.dtype == HT_IMAGES[name].dtype
    assert (got == HT_IMAGES[name]).all()


def test_a_jpeg_2000_stream_left_in_its_boxes(maker: Maker) -> None:
    import io

    from PIL import Image

    values = picture("u2", 16)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "JPEG2000", irreversible=False)
    assert stream.getvalue()[4:8] == b"jP  "
    data = maker.dataset(Plan())
    describe(data, values)
    fill(data, J2K, [stream.getvalue()])
    assert (first_image(save(data, maker.folder / "x")) == values).all()


@pytest.mark.parametrize(("syntax", "off"), [(JPEG, 3), (NEAR_LOSSLESS, 2), (J2K_LOSSY, 25)])
def test_lossy_images_are_near_and_marked(maker: Maker, syntax: str, off: int) -> None:
    row, column = np.mgrid[:40, :32]
    values = (row * 3 + column * 2).astype(np.uint8)
    for k in range(3):
        data = maker.dataset(at_height(Plan(), 3.0 * k))
        describe(data, values)
        fill(data, syntax, [code_stream(syntax, values)])
        if syntax == J2K_LOSSY:
            data.LossyImageCompression = "01"
        save(data, maker.folder / f"x{k}")
    series = only(maker.folder)
    assert any("Lossy" in note for note in series.problems)
    volume = load_series(series)
    assert any("Lossy" in note for note in volume.notes)
    assert np.abs(volume.voxels.astype(int) - values).max() <= off


def test_lossless_images_are_not_marked(maker: Maker) -> None:
    data = maker.dataset(Plan())
    data.LossyImageCompression = "00"
    fill(data, JPEG_LS, [code_stream(JPEG_LS, stored_values(Plan()))])
    save(data, maker.folder / "x")
    assert not any("ossy" in note for note in only(maker.folder).problems)


@pytest.mark.parametrize(
    ("syntax", "table", "parts"),
    [
        (RLE, "basic", 1), (RLE, "none", 1), (RLE, "extended", 1),
        (J2K, "basic", 3), (J2K, "none", 3), (J2K, "extended", 1),
        (JPEG_LS, "basic", 2), (JPEG_LS, "none", 2), (LOSSLESS1, "none", 4),
        (ENCAPSULATED, "basic", 2), (FRAME_DEFLATE, "none", 1),
    ],
)  # fmt: skip
def test_frames_are_told_apart_with_any_table(
    maker: Maker, syntax: str, table: str, parts: int
) -> None:
    plans = [at_height(Plan(rows=70, columns=66), 2.5 * k) for k in range(5)]
    data = enhanced(maker, plans, [10.0] * 5)
    fill(data, syntax, [code_stream(syntax, stored_values(p)) for p in plans], table, parts)
    save(data, maker.folder / "x")
    volume = load_series(only(maker.folder))
    assert (volume.voxels == [stored_values(plan) for plan in plans]).all()


def test_fragments_without_owner_are_refused(maker: Maker) -> None:
    plans = [at_height(Plan(), 2.5 * k) for k in range(3)]
    data = enhanced(maker, plans, [10.0] * 3)
    streams = [code_stream(ENCAPSULATED, stored_values(p)) for p in plans]
    fill(data, ENCAPSULATED, streams, "none", 2)
    save(data, maker.folder / "x")
    with pytest.raises(BadInput, match="which frame they belong to"):
        load_series(only(maker.folder))


@pytest.mark.parametrize("syntax", [RLE, J2K, JPEG_LS, LOSSLESS1, ENCAPSULATED, FRAME_DEFLATE])
def test_colour_becomes_grey(maker: Maker, syntax: str) -> None:
    colour = np.tile(HT_IMAGES["colour"], (5, 6, 1))
    data = maker.dataset(Plan())
    describe(data, colour)
    fill(data, syntax, [code_stream(syntax, colour)])
    got = first_image(save(data, maker.folder / "x"))
    assert got.dtype == np.uint8
    assert (got == np.rint(colour @ np.array([0.299, 0.587, 0.114]))).all()


def test_colour_in_high_throughput_jpeg_2000(maker: Maker) -> None:
    colour = HT_IMAGES["colour"]
    data = maker.dataset(Plan())
    describe(data, colour)
    data.PhotometricInterpretation = "YBR_RCT"
    fill(data, HTJ2K, [ht_stream("colour")])
    got = first_image(save(data, maker.folder / "x"))
    assert (got == np.rint(colour @ np.array([0.299, 0.587, 0.114]))).all()


# pydicom's own files: the same values as from an independent decoder -------------------------


def by_simpleitk(path: Path) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
        "JPGExtended.dcm", "JPEG-lossy.dcm", "JPEG2000.dcm", "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm",
        "MR_small_padded.dcm",
    ],
)  # fmt: skip
def test_files_of_other_writers(name: str) -> None:
    path = TEST_FILES / name
    got, wanted = first_image(path), by_simpleitk(path)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    slope = float(header.get("RescaleSlope", 1))
    shift = float(header.get("RescaleIntercept", 0))
    assert got.shape == wanted.shape
    assert np.abs(got * slope + shift - wanted).max() < 1e-6


@pytest.mark.parametrize("name", ["J2K_pixelrep_mismatch.dcm", "693_J2KI.dcm"])
def test_sign_of_header_and_code_stream_disagree(name: str) -> None:
    path = TEST_FILES / name
    wanted = pydicom.dcmread(path)
    wanted.pixel_array_options(decoding_plugin="pylibjpeg")
    assert (first_image(path) == wanted.pixel_array).all()


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_jpeg.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle.dcm", "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_jls_lossy_sample.dcm", "SC_rgb_gdcm_KY.dcm", "GDCMJ2K_TextGBR.dcm",
        "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "SC_ybr_full_422_uncompressed.dcm",
        "examples_palette.dcm", "examples_ybr_color.dcm", "SC_rgb_small_odd_jpeg.dcm",
    ],
)  # fmt: skip
def test_colour_files_of_other_writers_have_the_right_grey(name: str) -> None:
    from pydicom.pixels import pixel_array
    from pydicom.pixels.processing import apply_color_lut

    data = pydicom.dcmread(TEST_FILES / name)
    colour = pixel_array(data, index=0, raw=True)
    if data.PhotometricInterpretation == "PALETTE COLOR":
        colour = apply_color_lut(colour, data)[..., :3]
    wanted = colour.astype(float) @ [0.299, 0.587, 0.114]
    if data.PhotometricInterpretation in ("YBR_FULL", "YBR_FULL_422"):
        wanted = colour[..., 0].astype(float)
    assert np.abs(first_image(TEST_FILES / name) - wanted).max() <= 1


def test_real_scanners_compressed_files(shared_data: Path) -> None:
    """The same sheet in nine syntaxes, and mosaics in JPEG 2000 and JPEG lossless."""
    folder = shared_data / "dicom_transfer_syntaxes" / "In"
    sheets = [first_image(path) for path in sorted(folder.glob("*.dcm"))]
    assert len(sheets) == 9
    assert all((sheet == sheets[0]).all() for sheet in sheets)
    compressed = sorted((shared_data / "dicom_siemens_orient" / "In" / "axmb").glob("*/j*"))
    assert compressed
    for path in compressed:
        assert (first_image(path) == by_simpleitk(path)).all()


@pytest.mark.parametrize(
    "name", ["emri_small_RLE", "emri_small_jpeg_2k_lossless", "emri_small_jpeg_ls_lossless",
             "emri_small_big_endian"],
)  # fmt: skip
def test_enhanced_files_in_every_packing_hold_the_same(shared_data: Path, name: str) -> None:
    folder = shared_data / "dicom_pydicom_tests" / "pydicom-data"
    plain, packed = (
        [read_frame(f) for f in read_frames(read_header(str(folder / f"{n}.dcm")))]
        for n in ("emri_small", name)
    )
    assert len(plain) == len(packed) == 10
    assert (np.stack(plain) == np.stack(packed)).all()


# Kinds of pixels --------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [8, 10, 13])
def test_one_bit_per_pixel_frames_follow_bit_by_bit(maker: Maker, columns: int) -> None:
    plans = [at_height(Plan(rows=7, columns=columns), 2.0 * k) for k in range(4)]
    data = enhanced(maker, plans, [10.0] * 4)
    masks = np.random.default_rng(1).integers(0, 2, (4, 7, columns), dtype=np.uint8)
    data.BitsAllocated = data.BitsStored = 1
    data.HighBit = 0
    packed = np.packbits(masks.ravel(), bitorder="little").tobytes()
    data.PixelData = packed + b"\0" * (len(packed) % 2)
    data["PixelData"].VR = "OB"
    save(data, maker.folder / "x")
    volume = load_series(only(maker.folder))
    assert volume.voxels.dtype == np.uint8
    assert (volume.voxels == masks).all()


@pytest.mark.parametrize(
    ("dtype", "keyword"), [("<f4", "FloatPixelData"), ("<f8", "DoubleFloatPixelData")]
)
def test_images_of_real_numbers(maker: Maker, dtype: str, keyword: str) -> None:
    values = np.linspace(-1.5, 2.5, 120).reshape(12, 10).astype(dtype)
    for k in range(3):
        data = maker.dataset(at_height(Plan(), 3.0 * k), PixelData=None)
        data.BitsAllocated = values.dtype.itemsize * 8
        for name in ("BitsStored", "HighBit", "PixelRepresentation"):
            delattr(data, name)
        setattr(data, keyword, values.tobytes())
        save(data, maker.folder / f"x{k}")
    volume = load_series(only(maker.folder))
    assert volume.voxels.dtype == np.float32
    assert (volume.voxels == values.astype(np.float32)).all()


@pytest.mark.parametrize(("dtype", "signed"), [("<u4", 0), ("<i4", 1)])
def test_whole_numbers_of_32_bits(maker: Maker, dtype: str, signed: int) -> None:
    values = (np.arange(120).reshape(12, 10) * 70000 - 3000000 * signed).astype(dtype)
    for k in range(3):
        maker.write(
            at_height(Plan(), 3.0 * k),
            BitsAllocated=32,
            BitsStored=32,
            HighBit=31,
            PixelRepresentation=signed,
            PixelData=values.tobytes(),
        )
    volume = load_series(only(maker.folder))
    assert (volume.voxels == values).all()


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", RLE])
def test_twelve_bits_high_in_sixteen_with_an_old_overlay_below(maker: Maker, syntax: str) -> None:
    """The old ACR style: pixels in the upper bits, an overlay plane in bit 0."""
    values = picture("u2", 12)
    stored = (values << 4) | (np.indices(values.shape).sum(axis=0) % 2).astype(np.uint16)
    data = maker.dataset(Plan())
    describe(data, values, 12)
    data.HighBit = 15
    data.PixelData = stored.tobytes()
    if syntax == RLE:
        fill(data, RLE, [code_stream(RLE, stored)])
    assert (first_image(save(data, maker.folder / "x")) == values).all()


def test_odd_lengths_of_eight_bit_images(maker: Maker) -> None:
    plans = [at_height(Plan(rows=3, columns=5), 2.0 * k) for k in range(3)]
    values = np.arange(45, dtype=np.uint8).reshape(3, 3, 5)
    data = enhanced(maker, plans, [10.0] * 3)
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelData = 7, values.tobytes() + b"\0"
    save(data, maker.folder / "x")
    assert (load_series(only(maker.folder)).voxels == values).all()


def _with_modality_table(data) -> np.ndarray:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    table = (np.arange(256) ** 2 % 60000).astype(np.uint16)
    item = Dataset()
    item.add_new(0x00283002, "US", [256, 10, 16])
    item.ModalityLUTType = "US"
    item.add_new(0x00283006, "OW", table.tobytes())
    data.ModalityLUTSequence = Sequence([item])
    return table


def test_a_modality_table_is_applied_and_told(maker: Maker) -> None:
    values = np.arange(120, dtype=np.uint8).reshape(12, 10)
    table = np.array([])
    for k in range(3):
        data = maker.dataset(at_height(Plan(), 3.0 * k))
        describe(data, values)
        data.PixelData = values.tobytes()
        table = _with_modality_table(data)
        save(data, maker.folder / f"x{k}")
    series = only(maker.folder)
    assert any("modality LUT" in note for note in series.problems)
    volume = load_series(series)
    assert (volume.slope, volume.intercept) == (1.0, 0.0)
    assert (volume.voxels[1] == table[np.clip(values.astype(int) - 10, 0, 255)]).all()


def test_slices_with_and_without_a_table_are_not_mixed(maker: Maker) -> None:
    maker.stack([0.0, 3.0, 6.0])
    for k in range(3):
        data = maker.dataset(at_height(Plan(), 9.0 + 3.0 * k))
        _with_modality_table(data)
        save(data, maker.folder / f"x{k}")
    with scan([maker.folder]) as result:
        assert sorted(series.shape[0] for series in result.series) == [3, 3]


def test_real_modality_and_display_tables(shared_data: Path) -> None:
    folder = shared_data / "dicom_pydicom_tests" / "pydicom-data"
    from pydicom.pixels.processing import apply_modality_lut

    data = pydicom.dcmread(folder / "mlut_18.dcm")
    wanted = apply_modality_lut(data.pixel_array, data)
    assert (first_image(folder / "mlut_18.dcm") == wanted).all()
    with scan([folder / "vlut_04.dcm"]) as result:
        assert any("linear window" in note for note in result.series[0].problems)


def test_palette_images_say_that_they_are_grey_now() -> None:
    with scan([TEST_FILES / "examples_palette.dcm"]) as result:
        assert any("palette" in note for note in result.series[0].problems)


@pytest.mark.parametrize("syntax", [BIG_ENDIAN, DEFLATED])
def test_multiframe_in_old_encodings(maker: Maker, syntax: str) -> None:
    plans = [at_height(Plan(syntax=syntax), 2.5 * k) for k in range(5)]
    data = enhanced(maker, plans, [10.0] * 5)
    order = ">u2" if syntax == BIG_ENDIAN else "<u2"
    data.PixelData = b"".join(stored_values(p).astype(order).tobytes() for p in plans)
    save(data, maker.folder / "x")
    volume = load_series(only(maker.folder))
    assert (volume.voxels == [stored_values(plan) for plan in plans]).all()


@pytest.mark.parametrize(
    ("end", "words"),
    [("102", "Videos (MPEG-4"), ("107", "Videos (HEVC"), ("112", "compressed as JPEG XL cannot")],
)
def test_what_nothing_decodes_is_named(maker: Maker, end: str, words: str) -> None:
    data = maker.dataset(Plan())
    fill(data, J2K, [b"\0\0\0\1" + bytes(60)])
    path = save(data, maker.folder / "x")
    old, new = b"1.2.840.10008.1.2.4.90", f"1.2.840.10008.1.2.4.{end}".encode()
    path.write_bytes(
        path.read_bytes().replace(b"UI" + struct.pack("<H", 22) + old, b"UI\x18\0" + new + b"\0")
    )
    header = read_header(str(path))
    assert header.syntax == new.decode()
    series = only(maker.folder)
    assert not series.viewable
    assert words in series.problems[0]


def test_a_damaged_frame_spares_the_others(maker: Maker) -> None:
    plans = [at_height(Plan(rows=70, columns=66), 2.5 * k) for k in range(12)]
    for k, plan in enumerate(plans):
        stream = code_stream(J2K, stored_values(plan))
        data = maker.dataset(plan)
        fill(data, J2K, [stream[:60] if k == 5 else stream])
        save(data, maker.folder / f"x{k:02}")
    volume = load_series(only(maker.folder))
    assert "Slice 6 is empty" in volume.notes[-1]
    kept = [k for k in range(12) if k != 5]
    assert (volume.voxels[kept] == [stored_values(plans[k]) for k in kept]).all()


# Worker processes --------------------------------------------------------------------------------


def reading_workers() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if "imaging.sandbox.worker" in child.cmdline()]


def test_plain_series_start_no_process(maker: Maker) -> None:
    sandbox.close()
    maker.stack([3.0 * k for k in range(5)])
    (maker.folder / "junk").write_bytes(b"junk" * 100)
    with scan([maker.folder]) as result:
        load_series(result.series[0])
    assert reading_workers() == []


def test_workers_start_while_headers_of_compressed_files_are_read(maker: Maker) -> None:
    sandbox.close()
    data = maker.dataset(Plan())
    fill(data, RLE, [code_stream(RLE, stored_values(Plan()))])
    save(data, maker.folder / "x")
    with scan([maker.folder]):
        pass
    wait_for_workers()


def wait_for_workers() -> None:
    deadline = time.monotonic() + 30
    while len(reading_workers()) < sandbox.workers() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(reading_workers()) == sandbox.workers()


def test_workers_start_as_well_where_headers_are_remembered(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "plain").mkdir()
    maker, other = Maker(tmp_path / "images"), Maker(tmp_path / "plain")
    data = maker.dataset(Plan())
    fill(data, RLE, [code_stream(RLE, stored_values(Plan()))])
    save(data, maker.folder / "x")
    other.stack([3.0 * k for k in range(5)])
    for file in (*maker.folder.iterdir(), *other.folder.iterdir()):
        os.utime(file, (1_600_000_000, 1_600_000_000))
    with HeaderIndex(tmp_path / "cache", settled_s=0.0) as remembered:
        for folder in (maker.folder, other.folder):
            with scan([folder], remembered=remembered):
                pass
        sandbox.close()
        with scan([other.folder], remembered=remembered) as result:
            assert result.series
        assert reading_workers() == []
        with scan([maker.folder], remembered=remembered) as result:
            assert result.series
        wait_for_workers()
