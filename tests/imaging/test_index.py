"""What is wrong with a file is said in one sentence, and the good ones are used."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from dicom_phantoms import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    Maker,
    Plan,
    at_height,
    enhanced,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imaging.dicom.header.read import read_header
from imaging.dicom.index import Index
from imaging.dicom.stacks.sequence import name_sequence
from imaging.errors import BadInput
from imaging.open import load_series, scan


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def reasons(folder: Path) -> dict[str, str]:
    with scan([folder]) as result:
        return {Path(problem.path).name: problem.reason for problem in result.problems}


def test_junk_beside_a_series_is_listed_and_harmless(maker: Maker) -> None:
    whole = maker.stack([3.0 * k for k in range(4)])
    (maker.folder / "empty").write_bytes(b"")
    (maker.folder / "letter.txt").write_text("Dear colleague, enclosed please find the images")
    (maker.folder / "cut").write_bytes(whole[0].read_bytes()[:-40])
    (maker.folder / "stub").write_bytes(whole[0].read_bytes()[:300])
    (maker.folder / "noise").write_bytes(bytes(range(256)) * 40)
    with scan([maker.folder]) as result:
        (series,) = result.series
        assert series.shape[0] == 4
        assert series.regular
        listed = {Path(p.path).name: p.reason for p in result.problems}
    assert listed["empty"] == "The file is empty."
    assert "not a DICOM, NIfTI" in listed["letter.txt"]
    assert "cut off: 200 of 240 bytes" in listed["cut"]
    assert "stub" in listed
    assert "noise" in listed


def test_a_truncated_copy_does_not_displace_the_whole_file(maker: Maker) -> None:
    whole = maker.stack([0.0, 3.0, 6.0])
    (maker.folder / "aaa").write_bytes(whole[1].read_bytes()[:-10])
    with scan([maker.folder]) as result:
        assert result.series[0].shape[0] == 3
        assert len(result.problems) == 1


def test_copies_are_used_once_and_named(maker: Maker) -> None:
    whole = maker.stack([0.0, 3.0, 6.0])
    (maker.folder / "zcopy").write_bytes(whole[2].read_bytes())
    with scan([maker.folder]) as result:
        assert result.series[0].shape[0] == 3
        assert result.series[0].regular
        (problem,) = result.problems
    assert Path(problem.path).name == "zcopy"
    assert "already there" in problem.reason


def test_one_slice_without_position_is_dropped_by_name(maker: Maker) -> None:
    maker.stack([0.0, 3.0, 6.0])
    lost = maker.write(Plan(), ImagePositionPatient=None)
    with scan([maker.folder]) as result:
        (series,) = result.series
        assert series.shape[0] == 3
        assert series.regular
        assert [Path(p.path) for p in result.problems] == [lost]
        assert "no position" in result.problems[0].reason


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PixelSpacing": [0.0, 1.0]}, "zero or negative"),
        ({"PixelSpacing": [-1.0, 1.0]}, "zero or negative"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.3, 1, 0]}, "perpendicular"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "perpendicular"),
        ({"SamplesPerPixel": 2}, "samples per pixel"),
        ({"BitsAllocated": 12}, "12 bits"),
        ({"Rows": 0}, "pixels is refused"),
        ({"Rows": 20000}, "pixels is refused"),
        ({"NumberOfFrames": 2_000_000_000}, "frames is refused"),
        ({"PhotometricInterpretation": "HSV"}, "HSV"),
        ({"BitsAllocated": 64}, "64 bits"),
    ],
)
def test_senseless_headers_are_refused_with_a_reason(maker: Maker, tags, words) -> None:
    maker.stack([0.0, 3.0, 6.0])
    bad = maker.write(at_height(Plan(), 9.0), **tags)
    with scan([maker.folder]) as result:
        assert result.series[0].shape[0] == 3
        assert {Path(p.path) for p in result.problems} == {bad}
        assert words in result.problems[0].reason


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "PixelSpacing"])
def test_not_a_number_is_refused(maker: Maker, tag: str) -> None:
    path = maker.stack([0.0, 3.0, 6.0])[1]
    number = b"-50.0" if tag == "ImagePositionPatient" else b"1.25"
    raw = path.read_bytes()
    assert number in raw
    path.write_bytes(raw.replace(number, b"nan".ljust(len(number)), 1))
    assert "not a finite number" in reasons(maker.folder)[path.name]


def test_what_is_neither_image_nor_object_is_named(maker: Maker) -> None:
    maker.write(Plan(), "state", SOPClassUID="1.2.840.10008.5.1.4.1.1.11.1")
    maker.write(Plan(), "paper", SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1")
    listed = reasons(maker.folder)
    assert "a presentation state" in listed["state"]
    assert "a PDF document" in listed["paper"]


def test_a_mask_and_a_report_are_objects_and_no_problems(maker: Maker) -> None:
    maker.write(Plan(), "seg", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    maker.write(Plan(), "report", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33")
    with scan([maker.folder]) as result:
        assert result.problems == ()
        assert {found.kind for found in result.objects} == {"segmentation", "report"}


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_headers_in_every_encoding_read_the_same(maker: Maker, syntax: str) -> None:
    path = maker.write(Plan(syntax=syntax, position=(-1.5, 2.25, 3.125)))
    header = read_header(str(path))
    assert header.numbers(0x00200032) == (-1.5, 2.25, 3.125)
    assert header.integer(0x00280010) == 12
    assert header.human(0x00100010) == "Phantom^Place"
    assert header.pixels is not None


@pytest.mark.parametrize("syntax", [IMPLICIT, "1.2.840.10008.1.2.1"])
def test_files_without_preamble_are_read(maker: Maker, syntax: str) -> None:
    path = maker.write(Plan(syntax=syntax))
    raw = path.read_bytes()
    meta = struct.unpack_from("<I", raw, 140)[0]
    path.write_bytes(raw[144 + meta :])
    with scan([maker.folder]) as result:
        assert result.problems == ()
        volume = load_series(result.series[0])
    assert volume.voxels[0, 0, 0] == (4000 - 40 * 3 - 50 * 5)


def test_sequences_of_undefined_length_are_skipped(maker: Maker) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    inner, outer = Dataset(), Dataset()
    inner.ImagePositionPatient = [9, 9, 9]
    inner.is_undefined_length_sequence_item = True
    outer.ReferencedImageSequence = Sequence([inner])
    outer.is_undefined_length_sequence_item = True
    data = maker.dataset(Plan(), ReferencedImageSequence=Sequence([outer]))
    data["ReferencedImageSequence"].is_undefined_length = True
    outer["ReferencedImageSequence"].is_undefined_length = True
    path = maker.folder / "nested"
    data.save_as(path, enforce_file_format=True)
    assert read_header(str(path)).numbers(0x00200032) == (-40.0, -50.0, 0.0)


def test_endless_nesting_is_refused_quickly(maker: Maker) -> None:
    path = maker.write(Plan())
    raw = path.read_bytes()
    head = raw[: raw.index(b"\x08\x00\x08\x00CS")]
    nest = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    nest += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    path.write_bytes(head + nest * 20000)
    assert "nested too deeply" in reasons(maker.folder)[path.name]


def test_deflate_bomb_costs_little(maker: Maker) -> None:
    import zlib

    path = maker.write(Plan(syntax=DEFLATED))
    raw = path.read_bytes()
    start = 144 + struct.unpack_from("<I", raw, 140)[0]
    head = zlib.decompress(raw[start:], -15)
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = machine.compress(head[: head.rindex(b"\xe0\x7f")])
    for _ in range(400):
        bomb += machine.compress(bytes(1 << 20))
    path.write_bytes(raw[:start] + bomb + machine.flush())
    assert reasons(maker.folder)[path.name]


def test_person_names_in_other_scripts(maker: Maker) -> None:
    path = maker.write(Plan(), SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg")
    index = Index()
    group = index.add(str(path))
    assert group is not None
    assert index.series(group)[0].source.patient.name == "Müller, Jörg"


def test_malformed_uids_do_not_get_in(maker: Maker) -> None:
    path = maker.write(Plan())
    raw = path.read_bytes()
    uid = read_header(str(path)).text(0x00080018).encode()
    path.write_bytes(raw.replace(uid, b"../../../../x".ljust(len(uid), b"y")))
    with scan([path]) as result:
        assert result.series[0].source.instance_uids == ("",)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        read_header(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "sequence"),
    [
        ("AX T2 FLAIR FS", "FLAIR"),
        ("t1_mprage_sag_p2_iso", "T1w"),
        ("3D Ax T1 MP-RAGE_R22", "T1w"),
        ("T2W_TSE", "T2w"),
        ("ep2d_diff_4scan_trace_ADC", "ADC"),
        ("ep2d_diff_4scan_trace", "DWI"),
        ("Survey_MST", "localiser"),
        ("pd_tse_tra", "PD"),
        ("SWI_Images", "SWI"),
        ("something else", ""),
    ],
)
def test_sequence_by_name(text: str, sequence: str) -> None:
    assert name_sequence(text) == sequence


@pytest.mark.parametrize(
    ("tags", "sequence"),
    [
        ({"RepetitionTime": 9000, "EchoTime": 110, "InversionTime": 2500}, "FLAIR"),
        ({"RepetitionTime": 4500, "EchoTime": 100}, "T2w"),
        ({"RepetitionTime": 500, "EchoTime": 12}, "T1w"),
        ({"RepetitionTime": 2500, "EchoTime": 15}, "PD"),
        ({"RepetitionTime": 1200, "EchoTime": 60}, ""),
    ],
)
def test_sequence_by_timing(maker: Maker, tags, sequence: str) -> None:
    maker.write(Plan(), ScanningSequence="SE", **tags)
    with scan([maker.folder]) as result:
        assert result.series[0].sequence == sequence


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> list[bytes]:
    """Files of several makes to damage."""
    maker = Maker(tmp_path_factory.mktemp("healthy"))
    plans = [at_height(Plan(), 3.0 * k) for k in range(4)]
    enhanced(maker, plans, [10.0] * 4).save_as(maker.folder / "multi", enforce_file_format=True)
    for syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED):
        maker.write(Plan(syntax=syntax))
    packed = maker.dataset(Plan())
    packed.compress("1.2.840.10008.1.2.5")
    packed.save_as(maker.folder / "packed", enforce_file_format=True)
    return [path.read_bytes() for path in sorted(maker.folder.iterdir())]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_bytes_never_surprise(healthy, tmp_path, data) -> None:
    """Either it opens or it is refused with a sentence; no other exception gets out."""
    raw = bytearray(data.draw(st.sampled_from(healthy)))
    spots = st.tuples(st.integers(132, len(raw) - 1), st.integers(0, 255))
    for at, value in data.draw(st.lists(spots, min_size=1, max_size=12)):
        raw[at] = value
    path = tmp_path / "damaged"
    path.write_bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw) - 9, len(raw) // 2]))])
    with scan([path]) as result:
        assert not [p for p in result.problems if "cannot be understood" in p.reason]
        for series in result.series:
            with contextlib.suppress(BadInput):
                load_series(series)


def test_header_longer_than_its_file_is_called_cut_off(maker: Maker) -> None:
    path = maker.write(Plan())
    path.write_bytes(path.read_bytes()[:-250])
    assert "cut off" in reasons(maker.folder)[path.name]


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("REST1 w SMS", ""),
        ("3DT1w", "T1w"),
        ("sagT2", "T2w"),
        ("sub-1_space-FLAIR_T1w", "T1w"),
        ("T2_FLAIR_sag", "FLAIR"),
        ("T1_N4_regtoFLAIR_brain", "T1w"),
        ("FLAIR registered to T1", "FLAIR"),
    ],
)
def test_a_name_speaks_of_its_own_sequence(name, sequence):
    assert name_sequence(name) == sequence
