"""Headers that the fast walker cannot follow, read by pydicom; called in a worker process.

Source: DICOM PS3.5 section 7, and pydicom's patience with what writers made of it.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from imaging.dicom.header.read import identified, open_data, read_sequences
from imaging.dicom.header.tags import FLOAT_PIXELS, PER_FRAME_GROUPS, PIXEL_DATA, WANTED, Header
from imaging.errors import BadInput

_UNDEFINED = 0xFFFFFFFF


def read_slowly(path: str) -> tuple[dict[int, bytes], int, int, bool, bool]:
    """The wanted elements of a file.

    Returns
    -------
    values : dict
        Raw bytes by tag; empty ones for sequences.
    offset, length : int
        Of the pixel element; offset 0 where there is none, length -1 where it is encapsulated.
    float_pixels, functional_groups : bool

    Raises
    ------
    BadInput
        Where not even pydicom follows.
    """
    from pydicom.dataelem import RawDataElement

    header = identified(path)
    values: dict[int, bytes] = {}
    with open_data(header) as source:
        try:
            data = read_sequences(header, source, (*WANTED, PER_FRAME_GROUPS))
            for tag in list(data.keys()):
                element = data.get_item(tag)
                if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
                    values[int(tag)] = element.value
                elif element.VR == "SQ":
                    values[int(tag)] = b""
        except MemoryError:
            raise
        except Exception:
            raise BadInput("The header is damaged", path) from None
        tag, offset, length = _pixel_place(header, source)
    groups = values.pop(PER_FRAME_GROUPS, None) is not None
    return values, offset, length, tag in FLOAT_PIXELS, groups


def _pixel_place(header: Header, source: BinaryIO) -> tuple[int, int, int]:
    """Tag, offset and length of the pixel element before which pydicom stopped."""
    position = source.tell()
    raw = source.read(12)
    if len(raw) < 12:
        return 0, 0, 0
    order = "<" if header.little else ">"
    group, element = struct.unpack_from(order + "HH", raw)
    tag = group << 16 | element
    if tag != PIXEL_DATA and tag not in FLOAT_PIXELS:
        return 0, 0, 0
    skip = 12 if raw[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN") else 8
    length = struct.unpack_from(order + "I", raw, skip - 4)[0]
    return tag, position + skip, -1 if length == _UNDEFINED else length
