"""Attacks by file: each costs one sentence, little memory and little time.

Every attack is opened in a fresh program of its own, whose memory and that of its workers is
measured by the system. A program that has opened a good file holds about 100 MB.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import DEFLATED, IMPLICIT, Maker, Plan, at_height, enhanced, stored_values
from encoded_pixels import (
    FRAME_DEFLATE,
    HT_IMAGES,
    HTJ2K,
    J2K,
    JPEG,
    JPEG_LS,
    RLE,
    code_stream,
    describe,
    fill,
    ht_stream,
    items,
    replace_pixels,
    save,
)

from imaging.dicom.header.vetting import check_rle, codestream_facts
from imaging.errors import BadInput
from imaging.open import load_series, scan

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(sys.platform == "win32", reason="memory is measured by getrusage"),
]
_PROGRAM = """
import json, resource, sys
from imaging import sandbox
from imaging.errors import BadInput
from imaging.open import load_series, scan
said = []
with scan([sys.argv[1]]) as result:
    said += [problem.reason for problem in result.problems]
    for series in result.series:
        try:
            said += load_series(series).notes or ["opened"]
        except BadInput as error:
            said.append(error.what)
sandbox.close()
if sys.platform == "linux":  # what getrusage says of ourselves still counts who started us
    lines = open("/proc/self/status").read().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
else:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
peak = max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
unit = 1024 if sys.platform == "linux" else 1 << 20
print(json.dumps({"said": said, "megabytes": peak / unit}))
"""


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def opened(path: Path, limit_mb: float = 300.0, seconds: float = 60.0) -> str:
    """What a fresh program says about a file; the test fails where it crashes, hangs or swells."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcome = json.loads(done.stdout)
    assert outcome["megabytes"] < limit_mb
    assert outcome["said"]
    assert all(sentence.count("\n") == 0 for sentence in outcome["said"])
    return " ".join(outcome["said"])


def head_of(path: Path) -> bytes:
    """Everything up to the image type."""
    raw = path.read_bytes()
    return raw[: raw.index(b"\x08\x00\x08\x00CS")]


def nested(depth: int, tag: int = 0x00081140) -> bytes:
    """Sequences of known length inside one another, as no walker over lengths notices."""
    inner = b""
    for _ in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, len(item))
        inner = head + item
    return inner


def endless(depth: int) -> bytes:
    """Sequences of unknown length that never end."""
    one = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    return (one + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth


@pytest.mark.parametrize("depth", [900, 20000])
def test_endless_nesting(maker: Maker, depth: int) -> None:
    path = maker.write(Plan())
    path.write_bytes(head_of(path) + endless(depth))
    assert "nested too deeply" in opened(path)


@pytest.mark.parametrize("depth", [900, 5000])
def test_nesting_hidden_in_the_functional_groups(maker: Maker, depth: int) -> None:
    data = enhanced(maker, [at_height(Plan(), z) for z in (0.0, 3.0, 6.0)], [1.0] * 3)
    path = save(data, maker.folder / "x")
    raw = path.read_bytes()
    start = raw.index(b"\x00\x52\x30\x92SQ")
    (length,) = struct.unpack_from("<I", raw, start + 8)
    deep = nested(depth)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(deep)) + deep
    groups = struct.pack("<HH2sHI", 0x5200, 0x9230, b"SQ", 0, 3 * len(item)) + item * 3
    path.write_bytes(raw[:start] + groups + raw[start + 12 + length :])
    assert opened(path)


def test_nesting_in_a_header_only_pydicom_follows(maker: Maker) -> None:
    path = maker.write(Plan())
    odd = struct.pack("<HH2sH", 0x0008, 0x0001, b"??", 4) + b"odd "
    path.write_bytes(head_of(path) + odd + nested(5000) + endless(3000))
    assert opened(path)


def zeros(megabytes: int) -> bytes:
    """So many megabytes of zeros, deflated, made without deflating them all."""
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    machine.compress(b"") + machine.flush(zlib.Z_FULL_FLUSH)
    block = machine.compress(bytes(1 << 20)) + machine.flush(zlib.Z_FULL_FLUSH)
    return block * megabytes + machine.flush()


def deflated_bomb(path: Path, keep: Callable[[bytes], bytes], megabytes: int) -> None:
    """Put zeros behind a part of a deflated data set."""
    raw = path.read_bytes()
    start = 144 + struct.unpack_from("<I", raw, 140)[0]
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = machine.compress(keep(zlib.decompress(raw[start:], -15)))
    head += machine.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(raw[:start] + head + zeros(megabytes))


def test_deflate_bombs(maker: Maker) -> None:
    """600 MB in the header, behind the pixels, and as a frame of 240 bytes."""
    header = maker.write(Plan(syntax=DEFLATED))
    deflated_bomb(header, lambda data: data[: data.rindex(b"\xe0\x7f")], 600)
    behind = maker.write(Plan(syntax=DEFLATED))
    deflated_bomb(behind, lambda data: data, 600)
    data = maker.dataset(at_height(Plan(), 30.0))
    fill(data, FRAME_DEFLATE, [zeros(600)])
    save(data, maker.folder / "frame")
    assert sum(path.stat().st_size for path in maker.folder.iterdir()) < 4 << 20
    said = opened(maker.folder, limit_mb=400)
    assert "far too strongly" in said
    assert "another size" in said


def larger(stream: bytes, rows: int, columns: int) -> bytes:
    """A code stream that says another size than it holds."""
    facts = codestream_facts(stream)
    assert facts is not None
    if stream[:2] == b"\xff\x4f":
        old = struct.pack(">II", facts.columns, facts.rows)
        return stream.replace(old, struct.pack(">II", columns, rows))
    old = struct.pack(">HH", facts.rows, facts.columns)
    return stream.replace(old, struct.pack(">HH", rows, columns), 1)


def test_code_streams_that_are_far_larger_than_their_header(maker: Maker) -> None:
    for syntax in (J2K, HTJ2K, JPEG, JPEG_LS):
        values = np.zeros((64, 64), np.uint8 if syntax == JPEG else np.uint16)
        values = HT_IMAGES["unsigned"] if syntax == HTJ2K else values
        stream = ht_stream("unsigned") if syntax == HTJ2K else code_stream(syntax, values)
        data = Maker(maker.folder).dataset(Plan())
        describe(data, values)
        fill(data, syntax, [larger(stream, 12000, 12000)])
        save(data, maker.folder / syntax)
    assert opened(maker.folder).count("12000 × 12000 but its header says") == 4


def test_a_code_stream_and_its_header_that_lie_together(maker: Maker) -> None:
    """16 thousand square: the decoder may try, within its memory and time."""
    data = maker.dataset(Plan())
    fill(data, J2K, [larger(code_stream(J2K, np.zeros((64, 64), np.uint16)), 16000, 16000)])
    data.Rows = data.Columns = 16000
    # 488 MB for the image itself, which is there before its decoder fails.
    assert opened(save(data, maker.folder / "x"), limit_mb=6000)


def test_numbers_that_promise_too_much(maker: Maker) -> None:
    maker.write(Plan(), NumberOfFrames=2_000_000_000)
    maker.write(Plan(), NumberOfFrames=99_999)
    maker.write(Plan(), Rows=65535, Columns=65535)
    maker.write(Plan(), BitsAllocated=64, Rows=16384)
    data = maker.dataset(Plan(), NumberOfFrames=99_999)
    fill(data, RLE, [code_stream(RLE, stored_values(Plan()))])
    save(data, maker.folder / "x")
    said = opened(maker.folder)
    for words in ("frames is refused", "of 23999760 bytes", "pixels is refused", "64 bits",
                  "too short for them"):  # fmt: skip
        assert words in said


def test_an_element_of_four_gigabytes_in_a_small_file(maker: Maker) -> None:
    path = maker.write(Plan())
    raw = path.read_bytes()
    at = raw.rindex(b"\xe0\x7f\x10\x00OW")
    huge = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, 0xFFFFFFF0)
    path.write_bytes(raw[:at] + huge + raw[at:])
    assert opened(path)


def test_a_private_element_of_two_gigabytes_that_is_really_there(maker: Maker) -> None:
    path = maker.write(Plan())
    raw = path.read_bytes()
    at = raw.rindex(b"\xe0\x7f\x10\x00OW")
    with open(path, "wb") as file:
        file.write(raw[:at] + struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, 2 << 30))
        file.seek(2 << 30, os.SEEK_CUR)  # a hole: no disk is used
        file.write(raw[at:])
    assert opened(path) == "opened"


def test_fragments_that_lie(maker: Maker) -> None:
    stream = code_stream(RLE, stored_values(Plan()))
    table = struct.pack("<3I", 0, 2**31, 7)
    cases = {
        "descending table": items(table, stream, stream),
        "endless table": struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFF0) + stream,
        "many empty items": items(b"", *[b""] * 100_000),
        "longer than the file": items(b"")[:-8]
        + struct.pack("<HHI", 0xFFFE, 0xE000, 1 << 31)
        + stream,
        "no items": b"",
        "one for all": items(b"", stream),
    }
    for name, element in cases.items():
        own = Maker(maker.folder)
        data = enhanced(own, [at_height(Plan(), z) for z in (0.0, 3.0, 6.0)], [1.0] * 3)
        fill(data, RLE, [stream] * 3)
        replace_pixels(save(data, maker.folder / name), element)
    said = opened(maker.folder)
    for words in ("does not fit", "cut off or damaged", "which frame they belong to",
                  "ends before its image"):  # fmt: skip
        assert words in said
    assert "opened" not in said


def test_an_extended_table_that_points_outside(maker: Maker) -> None:
    data = enhanced(maker, [at_height(Plan(), z) for z in (0.0, 3.0, 6.0)], [1.0] * 3)
    fill(data, RLE, [code_stream(RLE, stored_values(Plan()))] * 3, "extended")
    data.ExtendedOffsetTable = struct.pack("<3Q", 0, 2**63, 2**40)
    said = opened(save(data, maker.folder / "x"))
    assert "cut off or damaged" in said


def rle_frame(segments: list[bytes], count: int | None = None, shift: int = 0) -> bytes:
    offsets, at = [], 64
    for segment in segments:
        offsets.append(at + shift)
        at += len(segment)
    head = struct.pack("<16I", count if count is not None else len(segments),
                       *offsets, *[0] * (15 - len(offsets)))  # fmt: skip
    return head + b"".join(segments)


@pytest.mark.parametrize(
    "stream",
    [
        rle_frame([b"\x81\0" * 4000, b"\x81\0" * 4000]),  # half a megabyte for 240 bytes
        rle_frame([b"\x81\0" * 4], count=2**32 - 1),
        rle_frame([b"\0\0"] * 15),
        rle_frame([b"\0\0", b"\0\0"], shift=2**30),
        b"\2\0\0\0",
    ],
    ids=["bomb", "count", "planes", "offsets", "stub"],
)
def test_rle_segments_that_lie(maker: Maker, stream: bytes) -> None:
    data = maker.dataset(Plan())
    fill(data, RLE, [stream + b"\0" * (len(stream) % 2)])
    save(data, maker.folder / "x")
    with scan([maker.folder]) as result, pytest.raises(BadInput, match="compressed image"):
        load_series(result.series[0])


def test_rle_vetting_knows_a_good_frame() -> None:
    assert check_rle(code_stream(RLE, stored_values(Plan())), 2) == ""


def test_a_code_stream_far_larger_than_its_image_is_not_read(maker: Maker) -> None:
    data = maker.dataset(Plan())
    stream = code_stream(JPEG_LS, stored_values(Plan()))
    fill(data, JPEG_LS, [stream + bytes(20 << 20)])
    assert "far larger" in opened(save(data, maker.folder / "x"))


def test_lookup_tables_that_lie(maker: Maker) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    data = maker.dataset(Plan())
    item = Dataset()
    item.add_new(0x00283002, "US", [0, 0, 16])
    item.ModalityLUTType = "US"
    item.add_new(0x00283006, "OW", b"\1\2")
    data.ModalityLUTSequence = Sequence([item])
    assert "lookup table" in opened(save(data, maker.folder / "x"))


@pytest.mark.parametrize("syntax", [RLE, J2K, JPEG_LS, JPEG, HTJ2K])
def test_damaged_code_streams_never_end_the_program(maker: Maker, syntax: str) -> None:
    """60 frames with random damage in one series: each is an image or one sentence."""
    rng = np.random.default_rng(11)
    values = np.arange(72 * 64).reshape(72, 64).astype(np.uint8 if syntax == JPEG else np.uint16)
    values = HT_IMAGES["unsigned"] if syntax == HTJ2K else values
    whole = ht_stream("unsigned") if syntax == HTJ2K else code_stream(syntax, values)
    for k in range(60):
        stream = bytearray(whole)
        for at in rng.integers(0, len(stream), 1 + k % 6):
            stream[at] = rng.integers(256)
        data = maker.dataset(at_height(Plan(), 1.0 * k))
        describe(data, values)
        fill(data, syntax, [bytes(stream)])
        save(data, maker.folder / f"x{k:02}")
    assert opened(maker.folder, limit_mb=900)


def test_names_and_numbers_do_not_reach_the_log(maker: Maker, caplog) -> None:
    path = maker.write(Plan(), PatientName="Secret^Person", PatientID="SECRET-1")
    path.write_bytes(head_of(path) + struct.pack("<HH2sH", 0x0010, 0x0010, b"??", 14)
                     + b"Secret^Person " + endless(3))  # fmt: skip
    with caplog.at_level("DEBUG"), scan([path]) as result:
        said = " ".join(problem.reason for problem in result.problems)
    assert said
    assert "ecret" not in said + caplog.text


@pytest.mark.parametrize("syntax", [IMPLICIT, DEFLATED])
def test_truncation_anywhere_is_a_sentence(maker: Maker, syntax: str) -> None:
    whole = maker.write(Plan(syntax=syntax)).read_bytes()
    folder = maker.folder / "cut"
    folder.mkdir()
    for length in range(0, len(whole) - 1, max(1, len(whole) // 60)):
        (folder / f"{length:05}").write_bytes(whole[:length])
    with scan([folder]) as result:
        assert len(result.problems) + len(result.series) >= 60
        for series in result.series:  # an inflated image may be whole before its stream is
            assert load_series(series).voxels.all()
        assert not [p for p in result.problems if "cannot be understood" in p.reason]
