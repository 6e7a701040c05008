"""NIfTI headers to :class:`Series`; :mod:`imaging.storage.nifti_load` reads the voxels.

Source: NIfTI-1 and NIfTI-2 headers as nibabel reads them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass, replace
from typing import IO, Any, cast

import numpy as np

from imaging.dicom.describe import name_sequence
from imaging.dicom.split import plane_of
from imaging.dicom.vetting import MAX_VOLUME_BYTES
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.series import Encoding, Frame, Series
from imaging.storage.file_head import Found, Head, read_head
from imaging.volume import Source

#: Of a file with more time points only so many are listed.
MAX_TIME_POINTS = 64
_DTYPES = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"}


def begins_nifti(head: Head) -> bool:
    """True where a file begins with a NIfTI-1 or NIfTI-2 header, gzipped or not."""
    return _version(head.plain) != 0


def is_nifti(path: str) -> bool:
    """True where the content is a NIfTI-1 or NIfTI-2 header, gzipped or not."""
    return begins_nifti(read_head(path))


def read(path: str, shown: str = "") -> Found:
    """What a NIfTI file holds, for the table of formats."""
    series = tuple(read_nifti(path, shown))
    return Found(series, used=tuple({s.frames[0].file for s in series} - {path}))


def looks_gzipped(path: str) -> bool:
    """True where the file begins as a gzip file does."""
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except OSError:
        return False


def opened(path: str) -> IO[bytes]:
    """The file, its packing taken off."""
    if looks_gzipped(path):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return open(path, "rb")


def _version(head: bytes) -> int:
    if len(head) < 348:
        return 0
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return 1
    size = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    return 2 if 540 in size and head[4:8] in (b"n+2\0", b"ni2\0") else 0


def read_nifti(path: str, shown: str = "") -> list[Series]:
    """The series in a NIfTI file: one per time point.

    Parameters
    ----------
    path : str
        ``.nii``, ``.nii.gz`` or the ``.hdr`` of a pair.
    shown : str
        Name for people where the file itself has none of use.

    Returns
    -------
    list of Series

    Raises
    ------
    BadInput
        Where the header cannot be used or the file is cut off; one sentence.
    """
    header = _read_header(path)
    name = _display_name(shown or path)
    dtype = _stored_type(header, path)
    shape, times = _extent(header, path)
    data, offset = _data_place(header, path)
    volume_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if volume_bytes > MAX_VOLUME_BYTES:
        raise BadInput("The image is larger than 4 GB", path)
    if not looks_gzipped(data) and os.path.getsize(data) < offset + volume_bytes * times:
        raise BadInput("The file is cut off: voxels are missing", path)
    geometry, problems = _geometry(header, shape, path)
    slope, intercept = _scale(header)
    first = Frame(
        file=data,
        number=0,
        offset=offset,
        length=volume_bytes,
        encoding=_encoding(dtype, shape),
        shape=(shape[1], shape[0]),
        slope=slope,
        intercept=intercept,
    )
    if times > MAX_TIME_POINTS:
        problems += (
            f"The file holds {times} time points; the first {MAX_TIME_POINTS} are listed.",
        )
    key = shown or os.path.abspath(path)
    base = _Base(path, key, name, geometry, problems, first, times, shape)
    return [base.series(time) for time in range(min(times, MAX_TIME_POINTS))]


@dataclass(frozen=True)
class _Base:
    path: str
    key: str
    name: str
    geometry: Geometry
    problems: tuple[str, ...]
    first: Frame
    times: int
    shape: tuple[int, int, int]

    def series(self, time: int) -> Series:
        several = self.times > 1
        sequence = name_sequence(self.name)
        key = f"{self.key}|{time}"
        directions = self.geometry.directions
        frame = replace(
            self.first, number=time, offset=self.first.offset + time * self.first.length
        )
        return Series(
            key=hashlib.sha1(key.encode(errors="replace"), usedforsecurity=False).hexdigest(),
            kind="nifti",
            source=Source(
                "nifti", files=(self.path,), series_description=self.name, sequence=sequence
            ),
            description=self.name + (f" · time point {time + 1}" if several else ""),
            shape=self.geometry.shape,
            geometry=self.geometry,
            frames=(frame,),
            problems=self.problems,
            sequence=sequence,
            plane=plane_of((*directions[:, 2], *directions[:, 1])),
            bits=self.first.encoding.bits_allocated,
        )


def _read_header(path: str) -> Any:
    import nibabel as nib

    try:
        with opened(path) as file:
            version = _version(file.read(348))
            file.seek(0)
            kind = nib.Nifti2Header if version == 2 else nib.Nifti1Header
            return kind.from_fileobj(file, check=False)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput("The file is damaged or cannot be read", path) from error
    except Exception as error:
        raise BadInput("The NIfTI header is damaged", path) from error


def _display_name(path: str) -> str:
    name = os.path.basename(path.replace("\\", "/"))
    for end in (".gz", ".nii", ".hdr"):
        name = name[: -len(end)] if name.lower().endswith(end) else name
    return name or "Unnamed image"


def _stored_type(header: Any, path: str) -> np.dtype:
    try:
        dtype = np.dtype(header.get_data_dtype())
    except Exception:
        raise BadInput("The numbers of the image are of an unknown type", path) from None
    if dtype.str[1:] not in _DTYPES:
        raise BadInput("Colour, complex and other than plain numbers are not read", path)
    return dtype


def _extent(header: Any, path: str) -> tuple[tuple[int, int, int], int]:
    """Voxels along (i, j, k) and number of time points."""
    sizes = [int(size) for size in header.get_data_shape()]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    sizes += [1] * (3 - len(sizes))
    if len(sizes) > 4 or min(sizes) < 1 or max(sizes) > 1 << 20:
        text = " × ".join(str(size) for size in sizes)
        raise BadInput(f"An image of {text} voxels cannot be shown", path)
    return (sizes[0], sizes[1], sizes[2]), sizes[3] if len(sizes) == 4 else 1


def _data_place(header: Any, path: str) -> tuple[str, int]:
    """File with the voxels and where they begin."""
    offset = int(header.get_data_offset())
    if bytes(header["magic"].item())[:2] != b"ni":
        return path, max(offset, 352)
    stem = path[:-3] if path.lower().endswith(".gz") else path
    for end in (".img", ".img.gz", ".IMG"):
        candidate = os.path.splitext(stem)[0] + end
        if os.path.isfile(candidate):
            return candidate, max(offset, 0)
    raise BadInput("The .img file that belongs to this header is missing", path)


def _geometry(
    header: Any, shape: tuple[int, int, int], path: str
) -> tuple[Geometry, tuple[str, ...]]:
    problems: tuple[str, ...] = ()
    coded = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    if not coded:
        problems = ("The file does not say how the image lies in the patient; sides may be wrong.",)
    try:
        geometry = Geometry.from_nifti(shape, header.get_best_affine())
    except (BadInput, ValueError):
        spacing = [abs(float(v)) or 1.0 for v in header["pixdim"][1:4]]
        usable = np.isfinite(spacing).all()
        try:
            geometry = Geometry.from_nifti(shape, np.diag([*(spacing if usable else (1, 1, 1)), 1]))
        except BadInput:
            raise BadInput("The position of the image in the file is senseless", path) from None
        problems = ("The place of the image in the file is senseless; sides may be wrong.",)
    if not geometry.orthogonal:
        problems += ("The grid of the image is sheared; it is kept as it is.",)
    return geometry, problems


def _scale(header: Any) -> tuple[float, float]:
    try:
        slope, intercept = header.get_slope_inter()
    except Exception:
        return 1.0, 0.0
    if slope is None or not np.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    return float(slope), float(intercept) if intercept and np.isfinite(intercept) else 0.0


def _encoding(dtype: np.dtype, shape: tuple[int, int, int]) -> Encoding:
    bits = dtype.itemsize * 8
    return Encoding(
        syntax=dtype.newbyteorder("=").str[1:],
        rows=shape[1],
        columns=shape[0],
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        signed=dtype.kind != "u",
        big_endian=dtype.newbyteorder(">") == dtype and dtype.itemsize > 1,
    )
