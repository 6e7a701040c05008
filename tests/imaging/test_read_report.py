"""Structured reports as text: what highdicom, dcmtk and other programs wrote."""

from __future__ import annotations

import json
import subprocess

import pydicom
import pytest
from object_makers import balls, dcmqi, make_report, make_seg, make_series

from imaging.dicom.objects.read_report import MAX_LINES, read_report
from imaging.errors import BadInput


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A TID 1500 report about a mask."""
    folder = tmp_path_factory.mktemp("report")
    files, volume = make_series(folder / "images")
    seg = make_seg(folder / "m.dcm", files, volume, balls(volume.geometry))
    return make_report(folder / "r.dcm", files, seg), seg


def test_groups_of_measurements_are_rows(report):
    text = read_report(report[0])
    assert text.title == "Imaging Measurement Report"
    assert text.state == "Complete, not verified"
    assert text.observers == ("Doe, Jane",)
    (group,) = text.groups
    assert (group.title, group.tracking_uid) == ("Lesion 1", "1.2.3.1")
    assert (group.finding, group.site, group.algorithm) == ("Lesion", "Brain", "finder 2.1")
    first, second = group.rows
    assert (first.name, first.value, first.unit) == ("Volume", "1523.4", "mm³")
    assert (second.name, second.value, second.unit) == ("MR signal intensity, mean", "412.5", "")
    assert group.segments == ((str(pydicom.dcmread(report[1]).SOPInstanceUID), 1),)


@pytest.mark.parametrize(
    ("unit", "stored", "shown"),
    [
        ("{counts}", "98.0", "98"), ("1", "98.0", "98"), ("1", "98.", "98"), ("1", "9.8", "9.8"),
        ("mm3", "98.0", "98.0"), ("1", "9.80e1", "9.80e1"), ("1", "-3.000", "-3"),
    ],
)  # fmt: skip
def test_a_whole_count_has_no_point(report, tmp_path, unit, stored, shown):
    ds = pydicom.dcmread(report[0])
    number = next(item for item in _walked(ds) if item.get("ValueType") == "NUM")
    (measured,) = number.MeasuredValueSequence
    measured.NumericValue = stored
    measured.MeasurementUnitsCodeSequence[0].CodeValue = unit
    ds.save_as(tmp_path / "x.dcm")
    assert read_report(tmp_path / "x.dcm").groups[0].rows[0].value == shown


def _walked(ds):
    for item in ds.get("ContentSequence", ()):
        yield item
        yield from _walked(item)


def test_dcmqi_reads_the_same_numbers(report, tmp_path):
    out = tmp_path / "r.json"
    command = [dcmqi("tid1500reader"), "--inputDICOM", str(report[0]), "--outputMetadata", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    (judged,) = json.loads(out.read_text())["Measurements"]
    (group,) = read_report(report[0]).groups
    assert judged["TrackingIdentifier"] == group.title
    assert judged["Finding"]["CodeMeaning"] == group.finding
    values = {item["value"] for item in judged["measurementItems"]}
    assert values == {row.value for row in group.rows}


def test_the_text_holds_every_word_and_no_identifiers(report):
    text = read_report(report[0]).text
    for words in ("Imaging Measurement Report", "Lesion 1", "Volume: 1523.4 mm³", "Doe, Jane"):
        assert words in text
    assert "1.2.3.1" not in text


def test_reports_of_other_programs(shared_data):
    folder = shared_data / "dicom_seg_examples"
    several = read_report(folder / "sr_document_with_multiple_groups.dcm")
    assert [g.title for g in several.groups] == [
        "Image0001", "LungNodule0001", "Aorta0001", "Vertebra0001"
    ]  # fmt: skip
    assert several.groups[1].rows[0][:3] == ("Diameter", "10.0", "mm")
    assert several.groups[0].rows[0].unit == "Hounsfield Unit"
    generic = read_report(shared_data / "dicom_pydicom_tests/test-SR.dcm")
    assert generic.state == "Complete, verified"
    assert "Verified by Riesmeier, Jörg" in generic.observers
    assert not generic.groups
    assert "Diameter: 3 cm" in generic.text


def test_text_that_tries_to_look_like_something_else_is_plain(report, tmp_path):
    ds = pydicom.dcmread(report[0])
    item = pydicom.Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    ds.SpecificCharacterSet = "ISO_IR 192"
    item.TextValue = "a\x1b[31m\u202eevil\r\nline <b>no</b>" + "x" * 5000
    ds.ContentSequence.append(item)
    ds.save_as(tmp_path / "x.dcm")
    line = read_report(tmp_path / "x.dcm").lines[-1].value
    assert not set(line) & set("\x1b\u202e\r\n")
    assert len(line) <= 2000


def test_an_endless_report_ends(report, tmp_path):
    ds = pydicom.dcmread(report[0])
    item = pydicom.Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", "again"
    ds.ContentSequence = [item] * (MAX_LINES + 100)
    ds.save_as(tmp_path / "x.dcm")
    lines = read_report(tmp_path / "x.dcm").lines
    assert len(lines) == MAX_LINES + 1
    assert lines[-1].value == "… and 100 more lines that are not shown"


def test_a_nest_without_a_bottom_is_refused(report, tmp_path):
    ds = pydicom.dcmread(report[0])
    inner = pydicom.Dataset()
    for _ in range(70):
        outer = pydicom.Dataset()
        outer.ValueType, outer.ContentSequence = "CONTAINER", [inner]
        inner = outer
    ds.ContentSequence = [inner]
    ds.save_as(tmp_path / "x.dcm")
    with pytest.raises(BadInput, match="nested too deeply"):
        read_report(tmp_path / "x.dcm")


def test_an_image_is_no_report(report):
    with pytest.raises(BadInput, match="not a structured report"):
        read_report(report[1])
