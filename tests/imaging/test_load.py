"""Voxels arrive unchanged, the wanted slice first, within memory, and failures are told."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import (
    BIG_ENDIAN,
    DEFLATED,
    IMPLICIT,
    Maker,
    Plan,
    at_height,
    enhanced,
    place_value,
    stored_values,
)

from imaging.dicom.header import vetting
from imaging.dicom.stacks import load
from imaging.errors import BadInput
from imaging.geometry import Box
from imaging.open import load_series, open_series, scan, thumbnail
from imaging.series import Series
from imaging.volume import Window


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def only(maker: Maker) -> Series:
    with scan([maker.folder]) as result:
        assert result.problems == ()
        (series,) = result.series
        return series


def assert_in_place(series: Series) -> None:
    volume = load_series(series)
    index = np.stack(np.indices(volume.voxels.shape), axis=-1)
    want = place_value(volume.geometry.world(index))
    assert np.abs(volume.real(volume.voxels) - want).max() <= 0.51


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_uncompressed_encodings(maker: Maker, syntax: str) -> None:
    maker.stack([3.0 * k for k in range(4)], Plan(syntax=syntax))
    series = only(maker)
    assert load_series(series).voxels.dtype == np.uint16
    assert_in_place(series)


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"]
)
@pytest.mark.filterwarnings("ignore")
def test_compressed_encodings(maker: Maker, syntax: str) -> None:
    for k in range(4):
        plan = at_height(Plan(rows=32, columns=24), 3.0 * k)
        data = maker.dataset(plan)
        if syntax.endswith(".90"):
            _as_jpeg2000(data, stored_values(plan))
        else:
            data.compress(syntax)
        data.save_as(maker.folder / f"c{k}", enforce_file_format=True)
    assert_in_place(only(maker))


def _as_jpeg2000(data, values: np.ndarray) -> None:
    import io

    from PIL import Image
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless

    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    data.PixelData = encapsulate([stream.getvalue()])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("with_table", [True, False])
def test_compressed_multiframe(maker: Maker, with_table: bool) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_encoder
    from pydicom.uid import RLELossless

    plans = [at_height(Plan(), 2.5 * k) for k in range(5)]
    data = enhanced(maker, plans, [10.0] * 5)
    encoder = get_encoder(RLELossless)
    options = {"rows": 12, "columns": 10, "samples_per_pixel": 1, "bits_allocated": 16,
               "bits_stored": 16, "pixel_representation": 0, "number_of_frames": 1,
               "photometric_interpretation": "MONOCHROME2"}  # fmt: skip
    frames = [encoder.encode(stored_values(plan), **options) for plan in plans]
    data.PixelData = encapsulate(frames, has_bot=with_table)
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = RLELossless
    data.save_as(maker.folder / "multi", enforce_file_format=True)
    assert_in_place(only(maker))


def test_per_slice_rescale_becomes_real_values(maker: Maker) -> None:
    for k in range(5):
        maker.write(at_height(Plan(slope=0.5 + 0.1 * k, intercept=-10.0 * k), 3.0 * k))
    series = only(maker)
    volume = load_series(series)
    assert volume.voxels.dtype == np.float32
    assert (volume.slope, volume.intercept) == (1.0, 0.0)
    assert_in_place(series)


def test_common_rescale_keeps_stored_values(maker: Maker) -> None:
    maker.stack([0.0, 3.0, 6.0], Plan(slope=0.5, intercept=-100.0))
    volume = load_series(only(maker))
    assert volume.voxels.dtype == np.uint16
    assert (volume.slope, volume.intercept) == (0.5, -100.0)


def test_monochrome1_keeps_stored_values_and_says_so(maker: Maker) -> None:
    maker.stack([0.0, 3.0, 6.0], PhotometricInterpretation="MONOCHROME1")
    series = only(maker)
    volume = load_series(series)
    assert volume.inverted
    assert_in_place(series)
    picture = thumbnail(series)
    assert picture[0, 0] > picture[-1, -1]


def test_signed_values_below_sixteen_bits(maker: Maker) -> None:
    values = np.arange(-60, 60, dtype=np.int16).reshape(12, 10)
    for k in range(3):
        stored = (values & 0x0FFF).astype("<u2") | 0x5000
        maker.write(
            at_height(Plan(), 3.0 * k),
            PixelRepresentation=1,
            BitsStored=12,
            HighBit=11,
            PixelData=stored.tobytes(),
        )
    volume = load_series(only(maker))
    assert volume.voxels.dtype == np.int16
    assert (volume.voxels[1] == values).all()


def test_bytes_with_padding_and_colour(maker: Maker) -> None:
    colour = np.zeros((12, 10, 3), np.uint8)
    colour[3, 4] = (255, 0, 0)
    for k in range(3):
        maker.write(
            at_height(Plan(), 3.0 * k),
            SamplesPerPixel=3,
            PlanarConfiguration=0,
            PhotometricInterpretation="RGB",
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelData=colour.tobytes(),
        )
    series = only(maker)
    assert any("colour" in problem for problem in series.problems)
    volume = load_series(series)
    assert volume.voxels.dtype == np.uint8
    assert volume.voxels[1, 3, 4] == 76
    assert volume.voxels[1].sum() == 76


def test_windows_of_the_header_are_offered(maker: Maker) -> None:
    maker.stack([0.0, 3.0, 6.0], WindowCenter=[40, 300], WindowWidth=[80, 1500])
    volume = load_series(only(maker))
    assert volume.window == Window(40, 80)
    assert volume.windows == (Window(40, 80), Window(300, 1500))


def test_slices_with_windows_of_their_own_are_shown_with_the_middling_one(maker: Maker) -> None:
    for k, width in enumerate((300, 310, 320, 6020, 305)):  # the middle slice has hardly tissue
        plan = at_height(Plan(), 3.0 * k)
        maker.write(plan, WindowCenter=width // 2, WindowWidth=width)
    volume = load_series(only(maker))
    assert volume.window == Window(155, 310)
    assert volume.windows == (Window(155, 310),)


def test_windows_that_scatter_wildly_are_not_believed(maker: Maker) -> None:
    for k, width in enumerate((30, 100, 400, 2000, 9000, 9500)):
        plan = at_height(Plan(), 3.0 * k)
        maker.write(plan, WindowCenter=width // 2, WindowWidth=width)
    assert load_series(only(maker)).window is None


def test_a_real_series_with_a_window_for_each_slice(shared_data: Path) -> None:
    with scan([shared_data / "dicom_ge_mprage"]) as result:
        widths = [s.windows[0].width for one in result.series for s in one.frames if s.windows]
        assert max(widths) > 10 * min(widths)
        for series in result.series:
            volume = open_series(series).volume
            assert volume.window is None or volume.window.width < 1000


@pytest.mark.parametrize(
    ("signed", "value", "limit", "expected"),
    [
        (0, 0, None, (0, 0)),
        (0, 40000, 41000, (40000, 41000)),
        (1, -2000, None, (-2000, -2000)),
        (1, -1990, -2000, (-2000, -1990)),
    ],
)
def test_padding_stays_in_the_voxels_and_out_of_the_picture(
    maker: Maker, signed: int, value: int, limit: int | None, expected: tuple[int, int]
) -> None:
    tags = {"PixelPaddingValue": value, "PixelPaddingRangeLimit": limit}
    tags = {name: number for name, number in tags.items() if number is not None}
    for k in range(3):
        data = maker.dataset(at_height(Plan(rows=40, columns=40), 3.0 * k))
        plain = np.arange(1600, dtype=np.int32).reshape(40, 40) % 200 + 100
        padded = np.where(np.mgrid[:40, :40][1] < 20, value, plain)
        data.PixelRepresentation = signed
        data.PixelData = padded.astype("<i2" if signed else "<u2").tobytes()
        for name, number in tags.items():
            data.add_new(name, "SS" if signed else "US", number)
        data.save_as(maker.folder / f"p{k}", enforce_file_format=True)
    series = only(maker)
    volume = load_series(series)
    assert volume.padding == expected
    assert (volume.voxels[:, :, :20] == value).all()
    measured = volume.measured(volume.voxels)
    assert (measured.min(), measured.max()) == (0, 299)
    picture = thumbnail(series, 40)
    assert picture[:, :16].max() < 30
    assert picture[:, 24:].max() > 220


def test_source_names_each_slice_in_array_order(maker: Maker) -> None:
    paths = maker.stack([6.0, 0.0, 3.0])
    source = load_series(only(maker)).source
    assert source.files == tuple(str(paths[n]) for n in (1, 2, 0))
    assert len(set(source.instance_uids)) == 3
    assert source.series_uid == maker.series
    assert source.frames == ()


def test_wanted_slice_comes_first_and_slabs_cover_the_rest(maker: Maker, monkeypatch) -> None:
    monkeypatch.setattr(load, "SLAB_BYTES", 1000)
    maker.stack([3.0 * k for k in range(11)])
    loading = open_series(only(maker))
    assert not loading.volume.voxels.any()
    boxes: list[Box] = []
    memory = loading.volume.voxels

    def arrived(box: Box) -> None:
        assert memory[box.slices].all()
        boxes.append(box)

    volume = loading.load(first=7, on_slab=arrived)
    assert boxes[0] == Box((7, 0, 0), (8, 12, 10))
    covered = sorted(k for box in boxes for k in range(box.start[0], box.stop[0]))
    assert covered == list(range(11))
    assert np.shares_memory(volume.voxels, memory)
    assert loading.complete


def test_default_first_slice_is_the_middle(maker: Maker) -> None:
    maker.stack([3.0 * k for k in range(9)])
    boxes: list[Box] = []
    open_series(only(maker)).load(on_slab=boxes.append)
    assert boxes[0].start[0] == 4


def test_cancel_leaves_the_rest_empty_and_says_so(maker: Maker, monkeypatch) -> None:
    monkeypatch.setattr(load, "SLAB_BYTES", 1)
    maker.stack([3.0 * k for k in range(9)])
    loading = open_series(only(maker))
    boxes: list[Box] = []
    volume = loading.load(on_slab=boxes.append, cancelled=lambda: len(boxes) >= 2)
    assert not loading.complete
    assert 0 < np.count_nonzero(volume.voxels.any(axis=(1, 2))) < 9
    assert "stopped" in volume.notes[-1]


def test_file_that_vanishes_leaves_one_empty_slice_and_a_note(maker: Maker) -> None:
    paths = maker.stack([3.0 * k for k in range(5)])
    series = only(maker)
    paths[3].unlink()
    volume = load_series(series)
    assert not volume.voxels[3].any()
    assert volume.voxels[[0, 1, 2, 4]].all()
    assert "Slice 4 is empty" in volume.notes[-1]


def test_nothing_readable_is_one_clear_error(maker: Maker) -> None:
    for path in maker.stack([3.0 * k for k in range(3)]):
        path.write_bytes(path.read_bytes())
    series = only(maker)
    for path in maker.folder.iterdir():
        path.unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        load_series(series)


@pytest.mark.filterwarnings("ignore")
def test_code_stream_larger_than_its_header_is_refused(maker: Maker) -> None:
    data = maker.dataset(Plan(rows=12, columns=10))
    _as_jpeg2000(data, np.zeros((64, 64), np.uint16))
    data.save_as(maker.folder / "bomb", enforce_file_format=True)
    with pytest.raises(BadInput, match="64 × 64 but its header says 10 × 12"):
        load_series(only(maker))


@pytest.mark.filterwarnings("ignore")
def test_damaged_code_stream_is_one_sentence(maker: Maker) -> None:
    data = maker.dataset(Plan())
    data.compress("1.2.840.10008.1.2.4.80")
    data.save_as(maker.folder / "bad", enforce_file_format=True)
    raw = bytearray((maker.folder / "bad").read_bytes())
    at = raw.index(b"\xff\xd8\xff\xf7")
    raw[at + 15 : at + 40] = b"\xff" * 25
    (maker.folder / "bad").write_bytes(raw)
    with pytest.raises(BadInput, match=r"decoded|damaged"):
        load_series(only(maker))


def test_what_nothing_decodes_is_named(maker: Maker) -> None:
    from pydicom.encaps import encapsulate

    data = maker.dataset(Plan())
    data.PixelData = encapsulate([b"\xff\x0a" + bytes(60)])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.92"
    data.save_as(maker.folder / "part2", enforce_file_format=True)
    series = only(maker)
    assert not series.viewable
    assert "Multi-component" in series.problems[0]
    with pytest.raises(BadInput, match="Multi-component"):
        load_series(series)


def test_too_large_for_memory_is_refused_before_reading(maker: Maker, monkeypatch) -> None:
    maker.stack([0.0, 3.0, 6.0])
    series = only(maker)
    monkeypatch.setattr(vetting, "available_memory", lambda: 1000)
    with pytest.raises(BadInput, match="are free"):
        open_series(series)
    monkeypatch.setattr(vetting, "MAX_VOLUME_BYTES", 100)
    with pytest.raises(BadInput, match="at most 4 GB"):
        open_series(series)


def test_memory_stays_near_the_voxels(maker: Maker) -> None:
    maker.stack([1.0 * k for k in range(40)], Plan(rows=256, columns=256, position=(-40, -50, 0)))
    series = only(maker)
    tracemalloc.start()
    volume = load_series(series)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 1.3 * volume.voxels.nbytes


def test_thumbnail_has_true_proportions(maker: Maker) -> None:
    plan = Plan(rows=50, columns=40, spacing=(2.0, 1.0))
    maker.stack([0.0, 3.0, 6.0], plan)
    picture = thumbnail(only(maker), size=90)
    assert picture.dtype == np.uint8
    assert picture.shape == (90, 36)
    assert picture[-1, -1] > picture[0, 0]


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc3\x00\x0b\x08\x01\x00\x02\x00", (256, 512)),
        (b"\xff\xd8\xff\xf7\x00\x0b\x08\x00\x10\x00\x20", (16, 32)),
        (b"\xff\xd8\xff\xd9", None),
        (b"hello", None),
        (b"", None),
    ],
)
def test_code_stream_sizes(data: bytes, size) -> None:
    facts = vetting.codestream_facts(data + bytes(4) if size else data)
    assert (facts and (facts.rows, facts.columns)) == size
