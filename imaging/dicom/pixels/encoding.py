"""How the pixels of a DICOM file are stored, checked before anything is read or decoded.

Source: DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (modality LUT), PS3.5 section 8.
"""

from __future__ import annotations

from imaging.dicom.header.tags import (
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
from imaging.dicom.header.vetting import MAX_FRAMES, check_frame
from imaging.dicom.pixels.codestream import LOSSY
from imaging.errors import BadInput
from imaging.series import Encoding

_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_LOSSY_NOTE = "Lossy compression was used on these images: fine detail may be changed."
_PALETTE_NOTE = "The colours of the images come from a palette; they are shown as grey values."
_MODALITY_NOTE = "The values went through a lookup table of the file (modality LUT)."
#: Begins the note on a drawing that a file brings along; see :func:`carries_overlays`.
_OVERLAY_NOTE = "The images carry an overlay plane"
_VOI_NOTE = "The images bring a lookup table for their display; a linear window is used instead."


def checked_encoding(header: Header) -> tuple[Encoding, int]:
    """How the pixels are stored, and the number of frames.

    Raises
    ------
    BadInput
        Where they are of a kind that is not read, pass a limit, or are not all there.
    """
    encoding = _encoding(header)
    count = max(1, header.integer(0x00280008, 1))
    fault = check_frame(encoding.rows, encoding.columns, encoding.samples, encoding.bits_allocated)
    if not fault and count > MAX_FRAMES:
        fault = f"A file of {count} frames is refused"
    fault = fault or _kind_fault(encoding) or _missing_pixels(header, encoding, count)
    if fault:
        raise BadInput(fault, header.path)
    return encoding, count


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
        padding=None if lookup else _padding(header),
    )


def _padding(header: Header) -> tuple[int, int] | None:
    """Stored values that stand where nothing was measured (PS3.3 C.7.5.1.1.2)."""
    value, limit = header.number(0x00280120), header.number(0x00280121)
    if value is None or header.float_pixels:
        return None
    ends = [int(value), int(value if limit is None else limit)]
    if header.integer(0x00280103) == 1:  # the two bytes are then signed, whatever the VR says
        ends = [end - (1 << 16) if end >= 1 << 15 else end for end in ends]
    return min(ends), max(ends)


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
            notes.append(f"{_OVERLAY_NOTE}{f' ({name})' if name else ''}.")
    return tuple(notes)


def carries_overlays(encoding: Encoding) -> bool:
    """True where the file has overlay planes (PS3.3 C.9.2)."""
    return any(note.startswith(_OVERLAY_NOTE) for note in encoding.notes)


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
