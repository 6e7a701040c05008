"""DICOM files in every transfer syntax, made by code.

The encoders are those of pydicom, pylibjpeg, CharLS and GDCM; high-throughput JPEG 2000, which none
of them writes, is here as code streams made once with OpenJPH.
"""

from __future__ import annotations

import base64
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

_J = "1.2.840.10008.1.2.4."
JPEG, JPEG12, LOSSLESS, LOSSLESS1 = _J + "50", _J + "51", _J + "57", _J + "70"
JPEG_LS, NEAR_LOSSLESS, J2K, J2K_LOSSY = _J + "80", _J + "81", _J + "90", _J + "91"
HTJ2K, HTJ2K_RPCL, HTJ2K_LOSSY = _J + "201", _J + "202", _J + "203"
RLE, ENCAPSULATED, FRAME_DEFLATE = (
    "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1",
)  # fmt: skip

_row, _column = np.mgrid[:16, :12]
#: What the high-throughput code streams below hold.
HT_IMAGES = {
    "unsigned": (_row * 200 + _column * 17).astype(np.uint16),
    "signed": (_row * 200 - _column * 170 - 900).astype(np.int16),
    "colour": np.stack([_row * 16, _column * 20, 255 - _row * 10], -1).astype(np.uint8),
}
_HT_STREAMS = {
    "unsigned": (
        "/0//UQApQAAAAAAMAAAAEAAAAAAAAAAAAAAADAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgAB",
        "AAUEBEAB/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAHoA",
        "Af+TwAAmTfgFB3QAAMAAEsAAEwAiAYd0AEb+Awd0AMAAEsAAE4CZAEt0ACAH+QCjVADAABUwAAVQSkVR/pfg",
        "i3UAggsW/MAhAIy2AMAAK2AAFeAAAAAAAN4KenpwAngAjh0dHR0d/AAY9jGB7LkA/9k=",
    ),
    "signed": (
        "/0//UQApQAAAAAAMAAAAEAAAAAAAAAAAAAAADAAAABAAAAAAAAAAAAABjwEB/1AACAACAAAACv9SAAwAAgAB",
        "AAUEBEAB/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAIAA",
        "Af+TwAAmYf0Ch3QAAMAAE0AAEwBd+wMHdABG/gMHdADAABNAABOAXu8Ai3QAIAf5AKNUAMAAFVAABVD77tu3",
        "75fiC3UAggsW/MAhAIy2AMAALQgABXhTU1NTU1NTU94KenpxgngAjh0dHR0d/AAY9jGB7LkA/9k=",
    ),
    "colour": (
        "/0//UQAvQAAAAAAMAAAAEAAAAAAAAAAAAAAADAAAABAAAAAAAAAAAAADBwEBBwEBBwEB/1AACAACAAAAA/9S",
        "AAwAAgABAQUEBEAB/1wAEyBQWFhYWFhYWFhYWFhYUFBQ/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoA",
        "AAAAARsAAf+TwBKA/QDHdADAEoD+AQd0AMASgPEAx3QAAAAAwAlgBKCqAQd0APoAx3QAwAlgBKBVAYd0ALUB",
        "B3QAwAlgBKBVAYd0ACIBh3QAwAkgBIDtK3MAzBNTAMAJYATAqgBLdADZ7AAjVADACWAEwKoAS3QAkJAAQ1QA",
        "wAqIASgsY+yX4At1AITKjLQAwAqYAVDZLMv+l+CLdQDrWsAAAIy2AMAKmAFS2SzL/pfgi3UARsP4wAhAjLYA",
        "wBVwBaAiIiIi3qenp8J3AAAAAAAAABBwY4GgNFStugDAFbAFWOecc8453gp6enACeABzZmb+/Az3yey3AMAV",
        "sAVQ55xzzjneCnp6cAJ4AN7d3fwM98nstwD/2Q==",
    ),
}


def ht_stream(name: str) -> bytes:
    """A code stream of one of :data:`HT_IMAGES`, made with OpenJPH."""
    return base64.b64decode("".join(_HT_STREAMS[name]))


def describe(data: Dataset, pixels: np.ndarray, bits: int = 0) -> None:
    """Write the make of pixels of shape (rows, columns[, 3]) into the header."""
    size = pixels.dtype.itemsize * 8
    data.Rows, data.Columns = pixels.shape[:2]
    data.BitsAllocated, data.BitsStored = size, bits or size
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    data.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0


def code_stream(syntax: str, pixels: np.ndarray, bits: int = 0) -> bytes:
    """One frame, encoded."""
    bits = bits or pixels.dtype.itemsize * 8
    if syntax == ENCAPSULATED:
        return pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    if syntax == FRAME_DEFLATE:
        machine = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        return machine.compress(pixels.tobytes()) + machine.flush()
    if syntax in (J2K, J2K_LOSSY, JPEG_LS, NEAR_LOSSLESS, RLE):
        return _by_pydicom(syntax, pixels, bits)
    return _by_gdcm(syntax, pixels, bits)


def _by_pydicom(syntax: str, pixels: np.ndarray, bits: int) -> bytes:
    from pydicom.pixels import get_encoder

    colour = pixels.ndim == 3
    options = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "number_of_frames": 1,
        "samples_per_pixel": 3 if colour else 1,
        "bits_allocated": pixels.dtype.itemsize * 8,
        "bits_stored": bits,
        "pixel_representation": int(pixels.dtype.kind == "i"),
        "photometric_interpretation": "RGB" if colour else "MONOCHROME2",
    }
    if colour:
        options["planar_configuration"] = 0
    if syntax == J2K_LOSSY:
        options["j2k_cr"] = [4]
    if syntax == NEAR_LOSSLESS:
        options["jls_error"] = 2
    return get_encoder(UID(syntax)).encode(pixels, **options)


def _by_gdcm(syntax: str, pixels: np.ndarray, bits: int) -> bytes:
    import gdcm
    import pydicom
    from pydicom.encaps import get_frame

    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain", Path(folder) / "packed"
        save(_smallest(pixels, bits), plain)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return get_frame(pydicom.dcmread(packed).PixelData, 0, number_of_frames=1)


def _smallest(pixels: np.ndarray, bits: int) -> Dataset:
    """The least that is a DICOM image."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, generate_uid()
    describe(data, pixels, bits)
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    return data


def fill(data: Dataset, syntax: str, streams: list[bytes], table: str = "basic", parts: int = 1):
    """Put code streams into a data set as fragments.

    ``table`` is ``"basic"``, ``"none"`` or ``"extended"``; ``parts`` is the fragments per frame.
    """
    if table == "extended":
        element, offsets, lengths = encapsulate_extended(streams)
        data.ExtendedOffsetTable, data.ExtendedOffsetTableLengths = offsets, lengths
        data.PixelData = element
    else:
        data.PixelData = encapsulate(streams, fragments_per_frame=parts, has_bot=table == "basic")
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = UID(syntax)


def save(data: Dataset, path: Path) -> Path:
    """Write it."""
    if data.file_meta.TransferSyntaxUID != FRAME_DEFLATE:
        data.save_as(path, enforce_file_format=True)
        return path
    # Unknown to pydicom: written under a name of the same length.
    data.file_meta.TransferSyntaxUID = UID(ENCAPSULATED)
    data.save_as(path, enforce_file_format=True)
    path.write_bytes(
        path.read_bytes().replace(ENCAPSULATED.encode(), b"1.2.840.10008.1.2.8.1\0", 1)
    )
    return path


def replace_pixels(path: Path, element: bytes) -> None:
    """Put raw bytes in the place of the value of the pixel element, as an attacker would."""
    raw = path.read_bytes()
    at = raw.rindex(b"\xe0\x7f\x10\x00") + 12
    path.write_bytes(raw[:at] + element)


def items(*values: bytes) -> bytes:
    """Items of an encapsulated element, with its end; the first is the offset table."""
    packed = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(v)) + v for v in values)
    return packed + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
