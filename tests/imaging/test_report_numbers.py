"""Numbers of reports as people read them."""

from __future__ import annotations

import pytest

from imaging.dicom.objects.object_file import made_by
from imaging.dicom.objects.read_report import _number


def num(value: str):
    from pydicom.dataset import Dataset

    unit, measured, item = Dataset(), Dataset(), Dataset()
    unit.CodeValue, unit.CodeMeaning = "mm", "millimetre"
    measured.MeasurementUnitsCodeSequence = [unit]
    measured.add_new("NumericValue", "DS", value)
    item.MeasuredValueSequence = [measured]
    return item


@pytest.mark.parametrize(
    ("written", "read"),
    [("-119.08214569091", "-119.1"), ("1523.4", "1523.4"), ("12.345678", "12.3"),
     ("0.00123456789", "0.001235"), ("1.50", "1.50"), ("123456.7", "123456.7")],
)  # fmt: skip
def test_no_more_digits_than_were_measured(written, read) -> None:
    assert _number(num(written)) == (read, "mm")


def test_a_maker_that_calls_its_program_like_itself_is_named_once() -> None:
    from pydicom.dataset import Dataset

    ds = Dataset()
    ds.Manufacturer, ds.ManufacturerModelName = "Isocenter", "Isocenter"
    assert made_by(ds, []).device == "Isocenter"
    ds.ManufacturerModelName = "Other"
    assert made_by(ds, []).device == "Isocenter Other"
