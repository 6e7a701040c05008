"""The few header elements a viewer needs: which they are and what their bytes mean.

:func:`imaging.dicom.header.read.read_header` collects the bytes; values are decoded on request.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from imaging.dicom.header.charsets import decode_text

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
ENCAPSULATED_LE = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
RLE = "1.2.840.10008.1.2.5"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
NATIVE_SYNTAXES = (IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE)

#: Media Storage Directory: a DICOMDIR.
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
PIXEL_DATA = 0x7FE00010
FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
PER_FRAME_GROUPS = 0x52009230
EXTENDED_OFFSETS, EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
MODALITY_LUT, VOI_LUT = 0x00283000, 0x00283010
#: Groups of overlay planes (PS3.3 C.9.2), and what is asked of them.
OVERLAY_GROUPS = tuple(range(0x6000, 0x6020, 2))
OVERLAY_ROWS, OVERLAY_DESCRIPTION, OVERLAY_LABEL = 0x0010, 0x0022, 0x1500
#: Elements that are read, with the form their value has.
WANTED: dict[int, str] = {
    0x00020010: "text",  # Transfer Syntax UID
    0x00080005: "text",  # Specific Character Set
    0x00080008: "text",  # Image Type
    0x00080016: "text",  # SOP Class UID
    0x00080018: "text",  # SOP Instance UID
    0x00080020: "text",  # Study Date
    0x00080060: "text",  # Modality
    0x00080070: "text",  # Manufacturer
    0x00081030: "text",  # Study Description
    0x0008103E: "text",  # Series Description
    0x00089208: "text",  # Complex Image Component
    0x00089209: "text",  # Acquisition Contrast
    0x00100010: "text",  # Patient's Name
    0x00100020: "text",  # Patient ID
    0x00100030: "text",  # Patient's Birth Date
    0x00100040: "text",  # Patient's Sex
    0x00180010: "text",  # Contrast/Bolus Agent
    0x00180012: "bytes",  # Contrast/Bolus Agent Sequence
    0x00180020: "text",  # Scanning Sequence
    0x00180021: "text",  # Sequence Variant
    0x00180024: "text",  # Sequence Name
    0x00189005: "text",  # Pulse Sequence Name
    0x00189008: "text",  # Echo Pulse Sequence
    0x00189018: "text",  # Echo Planar Pulse Sequence
    0x00180050: "text",  # Slice Thickness
    0x00180080: "text",  # Repetition Time
    0x00180081: "text",  # Echo Time
    0x00180082: "text",  # Inversion Time
    0x00180086: "text",  # Echo Number(s)
    0x00180087: "text",  # Magnetic Field Strength
    0x00180088: "text",  # Spacing Between Slices
    0x00180091: "text",  # Echo Train Length
    0x00181030: "text",  # Protocol Name
    0x00181060: "text",  # Trigger Time
    0x00181314: "text",  # Flip Angle
    0x00189087: "FD",  # Diffusion b-value
    0x00189089: "FD",  # Diffusion Gradient Orientation
    0x00190010: "text",
    0x0019100A: "US",  # Siemens: number of images in mosaic
    0x0019100C: "text",  # Siemens: b-value
    0x0019100E: "FD",  # Siemens: gradient direction
    0x0020000D: "text",  # Study Instance UID
    0x0020000E: "text",  # Series Instance UID
    0x00200011: "text",  # Series Number
    0x00200012: "text",  # Acquisition Number
    0x00200013: "text",  # Instance Number
    0x00200032: "text",  # Image Position (Patient)
    0x00200037: "text",  # Image Orientation (Patient)
    0x00200052: "text",  # Frame of Reference UID
    0x00200100: "text",  # Temporal Position Identifier
    0x00280002: "US",  # Samples per Pixel
    0x00280004: "text",  # Photometric Interpretation
    0x00280006: "US",  # Planar Configuration
    0x00280008: "text",  # Number of Frames
    0x00280010: "US",  # Rows
    0x00280011: "US",  # Columns
    0x00280030: "text",  # Pixel Spacing
    0x00280100: "US",  # Bits Allocated
    0x00280101: "US",  # Bits Stored
    0x00280102: "US",  # High Bit
    0x00280103: "US",  # Pixel Representation
    0x00280120: "US",  # Pixel Padding Value
    0x00280121: "US",  # Pixel Padding Range Limit
    0x00281050: "text",  # Window Center
    0x00281051: "text",  # Window Width
    0x00281052: "text",  # Rescale Intercept
    0x00281053: "text",  # Rescale Slope
    0x00281101: "bytes",  # Red Palette Color Lookup Table Descriptor
    0x00282110: "text",  # Lossy Image Compression
    0x00282112: "text",  # Lossy Image Compression Ratio
    MODALITY_LUT: "bytes",
    VOI_LUT: "bytes",
    0x00290010: "text",
    0x00291010: "bytes",  # Siemens CSA image header
    0x00430010: "text",
    0x00431039: "text",  # GE: b-value
    0x20010010: "text",
    0x20011003: "FL",  # Philips: b-value
    **{
        group << 16 | element: form
        for group in OVERLAY_GROUPS
        for element, form in (
            (OVERLAY_ROWS, "US"),
            (OVERLAY_DESCRIPTION, "text"),
            (OVERLAY_LABEL, "text"),
        )
    },
    EXTENDED_OFFSETS: "bytes",
    EXTENDED_LENGTHS: "bytes",
}


#: Sequences of longer headers are read in a worker process.
WORKER_BYTES = 4 << 20


class PixelPlace(NamedTuple):
    """Where the pixel element lies in the (inflated) file; ``length`` is -1 if encapsulated."""

    offset: int
    length: int


@dataclass(slots=True)
class Header:
    """The wanted elements of one file as raw bytes, decoded on request."""

    path: str
    syntax: str = ""
    size: int = 0
    start: int = 0
    little: bool = True
    implicit: bool = False
    values: dict[int, bytes] = field(default_factory=dict)
    pixels: PixelPlace | None = None
    float_pixels: bool = False
    functional_groups: bool = False
    media_class: str = ""
    cut: bool = False  #: an element runs past the end of the file
    names_as: str = ""  #: a key of NAME_CHARSETS for files that do not say their character set

    @property
    def long(self) -> bool:
        """True where libraries should read its sequences in a worker process only."""
        end = self.size if self.pixels is None else self.pixels.offset
        return end - self.start > WORKER_BYTES

    def text(self, tag: int) -> str:
        """A value as plain text, padding removed; empty where absent."""
        return self.values.get(tag, b"").decode("latin-1").strip(" \0\r\n\t")

    def texts(self, tag: int) -> tuple[str, ...]:
        """The parts of a multi-valued text."""
        text = self.text(tag)
        return tuple(part.strip() for part in text.split("\\")) if text else ()

    def human(self, tag: int) -> str:
        """A value written for people, decoded with the file's character set (PS3.5 6.1)."""
        raw = self.values.get(tag, b"").strip(b" \0")
        return decode_text(raw, self.texts(0x00080005), self.names_as)

    def numbers(self, tag: int) -> tuple[float, ...]:
        """The numbers of an element; empty where absent or not numbers."""
        raw = self.values.get(tag)
        if not raw:
            return ()
        form = WANTED[tag]
        try:
            if form == "text":
                return tuple(float(part) for part in self.texts(tag))
            code, width = {"US": ("H", 2), "FL": ("f", 4), "FD": ("d", 8)}[form]
            order = "<" if self.little else ">"
            return struct.unpack_from(f"{order}{len(raw) // width}{code}", raw)
        except (ValueError, struct.error, KeyError):
            return ()

    def number(self, tag: int) -> float | None:
        """The first number of an element, None where there is none."""
        values = self.numbers(tag)
        return values[0] if values else None

    def integer(self, tag: int, default: int = 0) -> int:
        """The first number as a whole number."""
        value = self.number(tag)
        if value is None or not abs(value) < 1e15:
            return default
        return int(value)
