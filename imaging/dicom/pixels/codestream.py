"""Code streams: which library decodes which transfer syntax, and how it is called.

One decoder for each syntax, chosen by name: the fastest that gives the same values as another one
on every test image (``benchmarks/bench_decode.py``). They are native code and meet data of
strangers, so they are called in the worker processes of :mod:`imaging.sandbox` only.

Source: DICOM PS3.5 section 8.2 and annexes A.4 and G, PS3.6 annex A.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable

import numpy as np

from imaging.dicom.header.tags import DEFLATED_FRAMES, ENCAPSULATED_LE, RLE
from imaging.dicom.header.vetting import StreamFacts, bare_jpeg2000, check_rle, codestream_facts
from imaging.dicom.pixels.minimal_file import grey_or_colour, minimal_file
from imaging.errors import BadInput
from imaging.series import Encoding

_JPEG_FAMILY = "1.2.840.10008.1.2.4."
JPEG_EXTENDED = _JPEG_FAMILY + "51"
#: Syntaxes that lose detail whatever the header says.
LOSSY = frozenset(_JPEG_FAMILY + end for end in ("50", "51", "81"))
_DAMAGED = "The compressed image is damaged"

#: Names that pydicom does not know yet.
_NEWER = {
    _JPEG_FAMILY + "110": "JPEG XL Lossless",
    _JPEG_FAMILY + "111": "JPEG XL JPEG Recompression",
    _JPEG_FAMILY + "112": "JPEG XL",
}

Pixels = np.ndarray
Decoder = Callable[[bytes, Encoding, StreamFacts], Pixels]


def stored_dtype(code: Encoding) -> np.dtype:
    """The number type of a frame as it is read, in native byte order."""
    return np.dtype(np.uint16) if code.lookup else container(code)


def container(code: Encoding) -> np.dtype:
    """The number type of the samples in the file, in native byte order."""
    if code.real:
        return np.dtype(f"f{code.bits_allocated // 8}")
    kind = "i" if code.signed and code.samples == 1 and code.bits_allocated > 1 else "u"
    return np.dtype(f"{kind}{max(1, code.bits_allocated // 8)}")


def decode(data: bytes, code: Encoding, path: str) -> Pixels:
    """Decode the code stream of one frame.

    Parameters
    ----------
    data : bytes
        All fragments of the frame joined.
    code : Encoding
    path : str
        For messages.

    Returns
    -------
    ndarray, shape (rows, columns) or (rows, columns, 3)
        Stored values; of colour images what :func:`gives_luminance` says.

    Raises
    ------
    BadInput
        Where nothing here decodes this transfer syntax, or the stream is of another make than the
        header says.
    """
    if code.syntax == RLE:
        return _rle(data, code, path)
    if code.syntax in (ENCAPSULATED_LE, DEFLATED_FRAMES):
        return _plain(data, code, path)
    decoder = _DECODERS.get(code.syntax)
    if decoder is None:
        raise BadInput(undecodable_reason(code), path)
    data = bare_jpeg2000(data)
    facts = _checked(data, code, path)
    try:
        pixels = decoder(data, code, facts)
    except (RuntimeError, ValueError, SystemError, TypeError, LookupError):
        raise BadInput("The compressed image cannot be decoded", path) from None
    shape = (code.rows, code.columns, code.samples)[: 2 if code.samples == 1 else 3]
    if pixels.shape != shape:
        raise BadInput(_DAMAGED, path)
    return pixels


def decodable(code: Encoding) -> bool:
    """True where something here decodes images of this kind."""
    return code.syntax in _DECODERS or code.syntax in (RLE, ENCAPSULATED_LE, DEFLATED_FRAMES)


def undecodable_reason(code: Encoding) -> str:
    """Why nothing here decodes images of this kind; empty where something does."""
    if not code.encapsulated or decodable(code):
        return ""
    from pydicom.uid import UID

    name = _NEWER.get(code.syntax) or UID(code.syntax).name or "an unnamed transfer syntax"
    if "MPEG" in name or "HEVC" in name or "ST 2110" in name:
        return f"Videos ({name}) are not opened; this program reads images"
    return f"Images compressed as {name} cannot be decoded"


def gives_luminance(code: Encoding) -> bool:
    """True where the first sample of a decoded colour image is its luminance.

    JPEG 2000 decoders undo the colour transform of the code stream; all others leave it as it is.
    """
    return code.photometric in ("YBR_FULL", "YBR_FULL_422")


def prepare() -> None:
    """Load every decoder, so that the first image does not wait for it."""
    import gdcm  # noqa: F401
    import jpeg_ls  # noqa: F401
    import openjpeg  # noqa: F401
    import rle  # noqa: F401


def _checked(data: bytes, code: Encoding, path: str) -> StreamFacts:
    """What the code stream announces, compared with the header before anything is decoded."""
    facts = codestream_facts(data)
    if facts is None:
        raise BadInput(_DAMAGED, path)
    if (facts.rows, facts.columns) != (code.rows, code.columns):
        raise BadInput(
            f"The compressed image is {facts.columns} × {facts.rows} but its header says "
            f"{code.columns} × {code.rows}",
            path,
        )
    if facts.samples != code.samples:
        raise BadInput(
            f"The compressed image has {facts.samples} samples per pixel but its header says "
            f"{code.samples}",
            path,
        )
    if facts.bits > code.bits_allocated:
        raise BadInput(
            f"The compressed image has {facts.bits} bits per sample but its header says "
            f"{code.bits_allocated}",
            path,
        )
    return facts


def _rle(data: bytes, code: Encoding, path: str) -> Pixels:
    from rle.utils import decode_pixel_data

    fault = check_rle(data, code.samples * max(1, code.bits_allocated // 8))
    if fault:
        raise BadInput(fault, path)
    try:
        raw = decode_pixel_data(
            data,
            version=2,
            rows=code.rows,
            columns=code.columns,
            bits_allocated=code.bits_allocated,
        )
    except ValueError:
        raise BadInput(_DAMAGED, path) from None
    planes = np.frombuffer(raw, container(code))
    if code.samples == 1:
        return planes.reshape(code.rows, code.columns)
    return np.moveaxis(planes.reshape(code.samples, code.rows, code.columns), 0, -1)


def _plain(data: bytes, code: Encoding, path: str) -> Pixels:
    """Frames that are stored as they are, or deflated one by one (PS3.5 A.4.11, A.4.12)."""
    if code.syntax == DEFLATED_FRAMES:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, code.frame_bytes + 2)
        except zlib.error:
            raise BadInput(_DAMAGED, path) from None
    if not code.frame_bytes <= len(data) <= code.frame_bytes + 1:
        raise BadInput("The compressed image is of another size than its header says", path)
    if code.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return bits[: code.rows * code.columns].reshape(code.rows, code.columns)
    raw = np.frombuffer(data[: code.frame_bytes], container(code))
    if code.samples == 1:
        return raw.reshape(code.rows, code.columns)
    if code.planar == 1:
        return np.moveaxis(raw.reshape(3, code.rows, code.columns), 0, -1)
    return raw.reshape(code.rows, code.columns, 3)


def _gdcm(data: bytes, code: Encoding, facts: StreamFacts) -> Pixels:
    """JPEG (up to 8 bits lossy, any lossless) and JPEG 2000 by GDCM."""
    import gdcm

    if code.syntax == JPEG_EXTENDED and facts.bits > 8:
        return _itk(data, code, facts)
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((code.columns, code.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(grey_or_colour(code))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if code.samples > 1:
        image.SetPlanarConfiguration(code.planar)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(code.syntax)))
    bits = _container_bits(facts.bits) if _is_jpeg2000(data) else code.bits_allocated
    stored = facts.bits if _is_jpeg2000(data) else code.bits_stored
    image.SetPixelFormat(gdcm.PixelFormat(code.samples, bits, stored, stored - 1, int(code.signed)))
    raw = image.GetBuffer().encode("utf-8", "surrogateescape")
    signed = facts.signed if _is_jpeg2000(data) else code.signed
    pixels = np.frombuffer(raw, f"{'i' if signed else 'u'}{bits // 8}")
    return _as_container(pixels, code)


def _openjpeg(data: bytes, code: Encoding, facts: StreamFacts) -> Pixels:
    """High-throughput JPEG 2000 by OpenJPEG."""
    from openjpeg.utils import decode as decode_jpeg2000

    return _as_container(decode_jpeg2000(data, j2k_format=0), code)


def _jpeg_ls(data: bytes, code: Encoding, facts: StreamFacts) -> Pixels:
    """JPEG-LS by CharLS."""
    import jpeg_ls

    raw, info = jpeg_ls.decode_pixel_data(data)
    pixels = np.frombuffer(raw, f"u{_container_bits(facts.bits) // 8}")
    if code.samples > 1 and info["interleave_mode"] == 0:
        pixels = np.moveaxis(pixels.reshape(code.samples, code.rows, code.columns), 0, -1)
    return _as_container(pixels, code)


def _itk(data: bytes, code: Encoding, facts: StreamFacts) -> Pixels:
    """JPEG with 12 bits by the GDCM inside SimpleITK, through a minimal file of our own.

    python-gdcm is built without this decoder's output for 12 bits.
    """
    import SimpleITK as sitk

    handle, name = tempfile.mkstemp(prefix="isocenter-", suffix=".dcm")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(minimal_file(data, code))
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(name)
        pixels = sitk.GetArrayFromImage(reader.Execute())
    finally:
        os.unlink(name)
    return _as_container(pixels.ravel(), code)


_DECODERS: dict[str, Decoder] = {
    **{_JPEG_FAMILY + end: _gdcm for end in ("50", "51", "57", "70", "90", "91")},
    **{_JPEG_FAMILY + end: _jpeg_ls for end in ("80", "81")},
    **{_JPEG_FAMILY + end: _openjpeg for end in ("201", "202", "203")},
}


def _is_jpeg2000(data: bytes) -> bool:
    return data[:2] == b"\xff\x4f"


def _container_bits(precision: int) -> int:
    return 8 if precision <= 8 else 16 if precision <= 16 else 32


def _as_container(pixels: Pixels, code: Encoding) -> Pixels:
    """Decoded samples in the number type that the header promises; the bits stay as they are."""
    shape = (code.rows, code.columns, code.samples)[: 2 if code.samples == 1 else 3]
    return pixels.reshape(shape).astype(container(code), copy=False)
