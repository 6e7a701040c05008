"""One record per frame of a DICOM file: single-frame, multi-frame and Siemens mosaic."""

from __future__ import annotations

import math
from dataclasses import replace

from imaging.dicom.codestream import LOSSY
from imaging.dicom.tags import (
    DEFLATED_LE,
    EXPLICIT_BE,
    MODALITY_LUT,
    NATIVE_SYNTAXES,
    OVERLAY_DESCRIPTION,
    OVERLAY_GROUPS,
    OVERLAY_LABEL,
    OVERLAY_ROWS,
    VOI_LUT,
    Header,
)
from imaging.dicom.vetting import MAX_FRAMES, check_frame, safe_uid
from imaging.errors import BadInput
from imaging.orientation import ORTHOGONAL_TOLERANCE
from imaging.series import Encoding, Frame
from imaging.volume import Window

#: What tells images at the same place apart, most telling first.
MARKS = ("echo time", "echo", "b-value", "direction", "time point", "trigger time",
         "inversion time", "acquisition", "dimension")  # fmt: skip
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_LOSSY_NOTE = "Lossy compression was used on these images: fine detail may be changed."
_PALETTE_NOTE = "The colours of the images come from a palette; they are shown as grey values."
_MODALITY_NOTE = "The values went through a lookup table of the file (modality LUT)."
_VOI_NOTE = "The images bring a lookup table for their display; a linear window is used instead."
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
    encoding, count = _checked_encoding(header)
    if header.functional_groups and count >= 1:
        from imaging.dicom.multiframe import read_multiframe

        return read_multiframe(header, encoding, count)
    if "MOSAIC" in header.texts(0x00080008):
        from imaging.dicom.mosaic import read_mosaic

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
    encoding, count = _checked_encoding(header)
    # The colours of a label map are only for show: its numbers are what counts.
    plain = replace(encoding, photometric="MONOCHROME2", lookup="")
    return _unplaced(header, plain, count)


def _unplaced(header: Header, encoding: Encoding, count: int) -> list[Frame]:
    if count == 1:
        return [_single(header, encoding)]
    return [_numbered(_single(header, encoding), number) for number in range(1, count + 1)]


def _checked_encoding(header: Header) -> tuple[Encoding, int]:
    """How the pixels are stored, and the number of frames."""
    encoding = _encoding(header)
    count = max(1, header.integer(0x00280008, 1))
    fault = check_frame(encoding.rows, encoding.columns, encoding.samples, encoding.bits_allocated)
    if not fault and count > MAX_FRAMES:
        fault = f"A file of {count} frames is refused"
    fault = fault or _kind_fault(encoding) or _missing_pixels(header, encoding, count)
    if fault:
        raise BadInput(fault, header.path)
    return encoding, count


def _refuse_other_objects(header: Header) -> None:
    sop_class = header.text(0x00080016)
    name = _NOT_IMAGES.get(sop_class, "")
    for family, family_name in _NOT_IMAGE_FAMILIES.items():
        if sop_class.startswith(family):
            name = family_name
    if name:
        raise BadInput(f"The file holds {name}, not an image", header.path)
    if header.pixels is None:
        promised = header.cut or 0x00280010 in header.values
        reason = "The file is cut off or its header is damaged" if promised else ""
        raise BadInput(reason or "The file holds no image", header.path)


def _encoding(header: Header) -> Encoding:
    bits = header.integer(0x00280100)
    stored = header.integer(0x00280101, bits) or bits
    syntax, lookup = header.syntax, _lookup(header)
    return Encoding(
        syntax=syntax,
        rows=header.integer(0x00280010),
        columns=header.integer(0x00280011),
        bits_allocated=bits,
        bits_stored=bits if header.float_pixels else min(stored, bits),
        high_bit=header.integer(0x00280102, stored - 1),
        signed=header.integer(0x00280103) == 1,
        samples=header.integer(0x00280002, 1) or 1,
        photometric=header.text(0x00280004) or "MONOCHROME2",
        planar=header.integer(0x00280006),
        encapsulated=syntax not in NATIVE_SYNTAXES,
        big_endian=syntax == EXPLICIT_BE,
        deflated=syntax == DEFLATED_LE,
        real=header.float_pixels,
        lookup=lookup,
        notes=_notes(header, lookup),
    )


def _lookup(header: Header) -> str:
    """Which table of the file the stored values go through (PS3.3 C.11.1, C.7.6.3.1.5)."""
    if header.text(0x00280004) == "PALETTE COLOR":
        return "palette"
    return "modality" if MODALITY_LUT in header.values and not header.float_pixels else ""


def _notes(header: Header, lookup: str) -> tuple[str, ...]:
    """What is said to the user about the values of a file."""
    notes = []
    if header.text(0x00282110) == "01" or header.syntax in LOSSY:
        notes.append(_LOSSY_NOTE)
    if lookup:
        notes.append(_PALETTE_NOTE if lookup == "palette" else _MODALITY_NOTE)
    if VOI_LUT in header.values:
        notes.append(_VOI_NOTE)
    for group in OVERLAY_GROUPS:
        if group << 16 | OVERLAY_ROWS in header.values:
            name = header.human(group << 16 | OVERLAY_LABEL)
            name = name or header.human(group << 16 | OVERLAY_DESCRIPTION)
            notes.append(f"The images carry an overlay plane{f' ({name})' if name else ''}.")
    return tuple(notes)


def _kind_fault(encoding: Encoding) -> str:
    """Why pixels of this make are not read; empty where they are."""
    bits, colour = encoding.bits_allocated, encoding.samples == 3
    if encoding.photometric not in (_COLOUR if colour else _GREY):
        return f"Images of the kind {encoding.photometric} are not read"
    if encoding.real:
        return (
            "" if bits in (32, 64) and not colour else f"Real numbers of {bits} bits are not read"
        )
    if bits == 64 or (bits == 1 and colour):
        return f"Images with {bits} bits per sample are not read"
    if encoding.lookup and bits not in (8, 16):
        return f"Images with {bits} bits per sample and a lookup table are not read"
    return ""


def _missing_pixels(header: Header, encoding: Encoding, count: int) -> str:
    place = header.pixels
    assert place is not None
    there = max(0, header.size - place.offset)
    if encoding.encapsulated:
        if place.length != -1 and not _begins_with_item(header):
            return "The compressed image is not stored in fragments as it must be"
        if there < 16:
            return "The file ends before its image"
        if count > 1 and there < 8 * count:
            return f"The header promises {count} frames and the file is too short for them"
        return ""
    if place.length == -1:
        return "The image has no length though it is not compressed"
    needed = encoding.frame_bytes * count
    if encoding.bits_allocated == 1:
        needed = (encoding.rows * encoding.columns * count + 7) // 8
    if place.length < needed:
        return f"The image holds {place.length} of {needed} bytes"
    if there < needed:
        return f"The file is cut off: {there} of {needed} bytes of the image are there"
    return ""


def _begins_with_item(header: Header) -> bool:
    """True where a writer gave the length of its fragments, which it must not (PS3.5 A.4)."""
    assert header.pixels is not None
    with open(header.path, "rb") as file:
        file.seek(header.pixels.offset)
        return file.read(4) == b"\xfe\xff\x00\xe0"


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
