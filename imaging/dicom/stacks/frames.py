"""One record per frame of a DICOM file: single-frame, multi-frame and Siemens mosaic."""

from __future__ import annotations

import math
from dataclasses import replace

from imaging.dicom.header.tags import Header
from imaging.dicom.header.vetting import safe_uid
from imaging.dicom.pixels.encoding import checked_encoding
from imaging.errors import BadInput, OtherFile
from imaging.orientation import ORTHOGONAL_TOLERANCE
from imaging.series import Encoding, Frame
from imaging.volume import Window

#: What tells images at the same place apart, most telling first.
MARKS = ("echo time", "echo", "b-value", "direction", "time point", "trigger time",
         "inversion time", "acquisition", "dimension")  # fmt: skip
_NOT_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.481.3": "a structure set",
    "1.2.840.10008.5.1.4.1.1.104.1": "a PDF document",
    "1.2.840.10008.5.1.4.1.1.104.2": "a text document",
    "1.2.840.10008.5.1.4.1.1.104.3": "a surface model",
    "1.2.840.10008.5.1.4.1.1.104.4": "a surface model",
    "1.2.840.10008.5.1.4.1.1.66": "raw data",
    "1.2.840.10008.5.1.4.1.1.66.1": "a registration",
    "1.2.840.10008.5.1.4.1.1.66.3": "a registration",
    "1.2.840.10008.5.1.4.1.1.66.2": "marked points",
    "1.2.840.10008.5.1.4.1.1.66.5": "a surface mask",
    "1.2.840.10008.5.1.4.1.1.66.6": "fibre tracts",
    "1.2.840.10008.5.1.4.1.1.4.2": "spectra",
    "1.2.840.10008.5.1.4.1.1.481.5": "a radiotherapy plan",
}
_NOT_IMAGE_FAMILIES = {
    "1.2.840.10008.5.1.4.1.1.88.": "a structured report",
    "1.2.840.10008.5.1.4.1.1.11.": "a presentation state",
    "1.2.840.10008.5.1.4.1.1.9.": "curves over time",
}


def read_frames(header: Header) -> list[Frame]:
    """Every frame of a file, in file order.

    Raises
    ------
    BadInput
        Where the file holds no image, an unreadable one, or ends before its pixels do.
    """
    _refuse_other_objects(header)
    encoding, count = checked_encoding(header)
    if header.functional_groups and count >= 1:
        from imaging.dicom.stacks.multiframe import read_multiframe

        return read_multiframe(header, encoding, count)
    if "MOSAIC" in header.texts(0x00080008):
        from imaging.dicom.stacks.mosaic import read_mosaic

        tiles = read_mosaic(header, _single(header, encoding))
        if tiles:
            return tiles
    return _unplaced(header, encoding, count)


def object_frames(header: Header) -> list[Frame]:
    """The frames of a mask or map, whose places are read elsewhere.

    Raises
    ------
    BadInput
        Where the pixels are of a kind that is not read, or are not there.
    """
    if header.pixels is None:
        raise BadInput("The file holds no pixels", header.path)
    encoding, count = checked_encoding(header)
    # The colours of a label map are only for show: its numbers are what counts.
    plain = replace(encoding, photometric="MONOCHROME2", lookup="")
    return _unplaced(header, plain, count)


def _unplaced(header: Header, encoding: Encoding, count: int) -> list[Frame]:
    if count == 1:
        return [_single(header, encoding)]
    return [_numbered(_single(header, encoding), number) for number in range(1, count + 1)]


def _refuse_other_objects(header: Header) -> None:
    sop_class = header.text(0x00080016)
    name = _NOT_IMAGES.get(sop_class, "")
    for family, family_name in _NOT_IMAGE_FAMILIES.items():
        if sop_class.startswith(family):
            name = family_name
    if name:
        raise OtherFile(f"The file holds {name}, not an image", header.path)
    if header.pixels is None:
        promised = header.cut or 0x00280010 in header.values
        if promised:
            raise BadInput("The file is cut off or its header is damaged", header.path)
        raise OtherFile("The file holds no image", header.path)


def _single(header: Header, encoding: Encoding) -> Frame:
    assert header.pixels is not None
    length = header.pixels.length if encoding.encapsulated else encoding.frame_bytes
    slope, intercept = header.number(0x00281053), header.number(0x00281052)
    kind = image_kind(header.texts(0x00080008), header.text(0x00089208))
    if encoding.lookup == "modality":  # instead of a rescale, and never in one stack without it
        slope, intercept, kind = None, None, (*kind, "modality LUT")
    return Frame(
        file=header.path,
        number=0,
        offset=header.pixels.offset,
        length=length,
        encoding=encoding,
        shape=(encoding.rows, encoding.columns),
        instance_uid=safe_uid(header.text(0x00080018)),
        position=triple(header.numbers(0x00200032)),
        orientation=six(header.numbers(0x00200037)),
        spacing=pair(header.numbers(0x00280030)),
        thickness=header_thickness(header),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        windows=pair_windows(header.numbers(0x00281050), header.numbers(0x00281051)),
        kind=kind,
        marks=_marks(header),
        order=header.integer(0x00200013),
    )


def _numbered(frame: Frame, number: int) -> Frame:
    at = frame.offset
    if not frame.encoding.encapsulated:
        at += (number - 1) * frame.length
    return replace(frame, number=number, offset=at, position=None, order=number)


def header_thickness(header: Header) -> float:
    """Distance to the next slice as the top level says, mm; 0 where it does not."""
    for tag in (0x00180088, 0x00180050):
        value = header.number(tag)
        if value is not None and math.isfinite(value) and value > 0:
            return value
    return 0.0


def image_kind(image_type: tuple[str, ...], component: str) -> tuple[str, ...]:
    """The words of an image type that tell stacks apart (PS3.3 C.8.3.1.1.1, C.8.13.3.1.1)."""
    ignored = {"ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "", "NONE"}
    words = tuple(word for word in image_type if word not in ignored)
    return (*words, component) if component and component not in words else words


def pair_windows(centres: tuple[float, ...], widths: tuple[float, ...]) -> tuple[Window, ...]:
    """Display windows; senseless ones are left out."""
    return tuple(
        Window(centre, width)
        for centre, width in zip(centres, widths, strict=False)
        if math.isfinite(centre) and math.isfinite(width) and width >= 1e-9
    )


def triple(values: tuple[float, ...]) -> tuple[float, float, float] | None:
    """Three numbers or None."""
    return (values[0], values[1], values[2]) if len(values) == 3 else None


def pair(values: tuple[float, ...]) -> tuple[float, float] | None:
    """Two numbers or None."""
    return (values[0], values[1]) if len(values) == 2 else None


def six(values: tuple[float, ...]) -> tuple[float, ...] | None:
    """Six numbers or None."""
    return tuple(values) if len(values) == 6 else None


def _marks(header: Header) -> tuple[float | None, ...]:
    return (
        rounded(header.number(0x00180081), 3),
        header.number(0x00180086),
        b_value(header),
        direction_mark(header.numbers(0x00189089) or header.numbers(0x0019100E)),
        header.number(0x00200100),
        rounded(header.number(0x00181060), 3),
        rounded(header.number(0x00180082), 3),
        header.number(0x00200012),
    )


def rounded(value: float | None, digits: int) -> float | None:
    """A value without its rounding noise."""
    return None if value is None else round(value, digits)


def b_value(header: Header) -> float | None:
    """The diffusion b-value in s/mm², standard or as the makers write it."""
    value = header.number(0x00189087)
    if value is None and header.text(0x00190010) == "SIEMENS MR HEADER":
        value = header.number(0x0019100C)
    if value is None and header.text(0x00430010) == "GEMS_PARM_01":
        value = header.number(0x00431039)
        value = None if value is None else value % 100000.0
    if value is None and header.text(0x20010010).startswith("Philips"):
        value = header.number(0x20011003)
    return value if value is not None and math.isfinite(value) else None


def direction_mark(direction: tuple[float, ...]) -> float | None:
    """One number that differs between gradient directions."""
    if len(direction) != 3 or not all(math.isfinite(v) for v in direction):
        return None
    x, y, z = (round(v, 3) for v in direction)
    return round(x * 1e6 + y * 1e3 + z, 3)


def frame_fault(frame: Frame) -> str:
    """Why the place of a frame cannot be trusted; empty where it can or where it has none."""
    numbers = (*(frame.position or ()), *(frame.orientation or ()), *(frame.spacing or ()))
    if not all(math.isfinite(value) for value in (*numbers, frame.slope, frame.intercept)):
        return "The position or scale of the image is not a finite number"
    if frame.spacing is not None and min(frame.spacing) <= 0:
        return "The distance between pixels is zero or negative"
    if frame.slope == 0:
        return "The rescale slope of the image is zero"
    if frame.orientation is not None:
        return _axes_fault(frame.orientation)
    return ""


def _axes_fault(axes: tuple[float, ...]) -> str:
    row, column = axes[:3], axes[3:]
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    lengths = (math.hypot(*row), math.hypot(*column))
    crooked = abs(dot) > ORTHOGONAL_TOLERANCE
    if crooked or any(abs(length - 1) > 1e-2 for length in lengths):
        return "The rows and columns of the image are not perpendicular unit directions"
    return ""
