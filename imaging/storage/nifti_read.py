"""NIfTI headers; :mod:`imaging.storage.grid_load` reads the voxels.

Source: nifti1.h and nifti2.h of the NIfTI Data Format Working Group, read by nibabel.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from imaging.errors import BadInput, OtherFile
from imaging.geometry import Geometry
from imaging.series import Series
from imaging.storage.bids_json import b_labels, read_b_values, read_beside, with_end
from imaging.storage.file_head import Head, read_head
from imaging.storage.grid_file import (
    SIDES_SENSELESS,
    SIDES_UNKNOWN,
    GridFile,
    grid_series,
    shape_of,
)
from imaging.storage.packing import GZIP, RAW

_LABEL_INTENT = 1002
#: Intents of more than one number per voxel (nifti1.h): matrices, vectors, points, colours, …
_VECTOR_INTENTS = {1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 2003, 2004}
_COLOUR_TYPES = {128, 2304}
_COMPLEX_TYPES = {32, 1792, 2048}
_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
_UNIT_WORDS = {1: "metres", 3: "micrometres"}
_SFORM_WORDS = {1: "scanner", 2: "another image", 3: "Talairach space", 4: "MNI space"}
#: sform and qform that put a corner further apart than this disagree.
_AGREE_MM = 0.5


def begins_nifti(head: Head) -> bool:
    """True where a file begins with a NIfTI-1 or NIfTI-2 header, gzipped or not."""
    return _version(head.plain) != 0


def header_of(path: str) -> str:
    """The NIfTI or Analyze header an ``.img`` file belongs to; empty where there is none."""
    if path.lower().endswith((".img", ".img.gz")):
        for end in (".hdr", ".hdr.gz", ".HDR"):
            if os.path.isfile(candidate := with_end(path, end)):
                head = read_head(candidate)
                if begins_nifti(head) or begins_analyze(head):
                    return candidate
    return ""


def read_by_image(path: str, shown: str = "") -> GridFile:
    """What the header says that an ``.img`` file belongs to."""
    header = header_of(path)
    if begins_analyze(read_head(header)):
        return refuse_analyze(path)
    return read_grid(header, shown)


def begins_analyze(head: Head) -> bool:
    """True for an Analyze 7.5 header: the size of a NIfTI header, but without its mark."""
    plain = head.plain
    if len(plain) < 348 or _version(plain):
        return False
    for order in ("little", "big"):
        if int.from_bytes(plain[:4], order) == 348:
            dimensions = int.from_bytes(plain[40:42], order)
            named = head.path.lower().endswith((".hdr", ".hdr.gz"))
            return 1 <= dimensions <= 7 and (plain[38:39] == b"r" or named)
    return False


def refuse_analyze(path: str, _shown: str = "") -> GridFile:
    """Say why an Analyze file is not read."""
    raise OtherFile(
        "Analyze files do not say left from right, so they are not read",
        path,
        "Convert it to NIfTI with the program that made it, and check the sides there",
    )


def read_nifti(path: str, shown: str = "") -> list[Series]:
    """The series in a NIfTI file: one, with all its time points.

    Parameters
    ----------
    path : str
        ``.nii``, ``.nii.gz`` or the ``.hdr`` of a pair.
    shown : str
        Name for people where the file itself has none of use.

    Raises
    ------
    BadInput
        Where the header cannot be used or the file is cut off; one sentence.
    """
    return [grid_series(read_grid(path, shown), shown)]


def read_grid(path: str, shown: str = "") -> GridFile:
    """What the header of a NIfTI file says.

    Raises
    ------
    BadInput
        Where it cannot be used.
    """
    head = read_head(path)
    header = _header(head)
    dtype = _stored_type(header, path)
    sizes, images = _extent(header, path)
    data, offset = _data_place(header, path)
    place = _place(header, sizes, path)
    slope, intercept = _scale(header)
    beside = read_beside(path)
    used = tuple(file for file in (data, *beside.used) if file != path)
    packed = GZIP if read_head(data).gzipped else RAW
    grid = GridFile(
        path, "nifti", data, dtype, place.geometry, packing=packed, offset=offset, images=images,
        slope=slope, intercept=intercept, problems=place.problems, description=beside.description,
        manufacturer=beside.manufacturer, facts=beside.facts, used=used,
        says_labels=int(header["intent_code"]) == _LABEL_INTENT,
    )  # fmt: skip
    return _with_b_values(grid)


def _with_b_values(grid: GridFile) -> GridFile:
    values = read_b_values(grid.path, grid.images) if grid.images > 1 else ()
    if not values:
        return grid
    beside = tuple(f for e in (".bval", ".bvec") if os.path.isfile(f := with_end(grid.path, e)))
    return replace(
        grid,
        repeat_axis="b-value",
        repeats=b_labels(values),
        facts=replace(grid.facts, b_value=max(values)),
        used=(*grid.used, *beside),
    )


def _version(head: bytes) -> int:
    if len(head) < 348:
        return 0
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return 1
    size = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    return 2 if 540 in size and head[4:8] in (b"n+2\0", b"ni2\0") else 0


def _header(head: Head) -> Any:
    from io import BytesIO

    import nibabel as nib

    kind = nib.Nifti2Header if _version(head.plain) == 2 else nib.Nifti1Header
    block = head.plain[: kind.sizeof_hdr]
    try:
        return kind.from_fileobj(BytesIO(block), check=False)
    except Exception as error:
        raise BadInput("The NIfTI header is damaged", head.path) from error


def _stored_type(header: Any, path: str) -> np.dtype:
    code = int(header["datatype"])
    if code in _COLOUR_TYPES:
        raise OtherFile("The image is in colour (red, green and blue in a voxel): not read", path)
    if code in _COMPLEX_TYPES:
        raise OtherFile("The image holds complex numbers: not read", path, "Save its magnitude")
    try:
        return np.dtype(header.get_data_dtype())
    except Exception:
        raise BadInput("The numbers of the image are of an unknown type", path) from None


def _extent(header: Any, path: str) -> tuple[tuple[int, int, int], int]:
    """Voxels along (i, j, k) and number of images."""
    sizes = [int(size) for size in header.get_data_shape()]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    sizes += [1] * (3 - len(sizes))
    several = int(np.prod(sizes[3:], dtype=object)) if len(sizes) > 3 else 1
    if several > 1 and int(header["intent_code"]) in _VECTOR_INTENTS:
        raise OtherFile("The file holds several numbers for each voxel (vectors): not read", path)
    if len(sizes) > 4:
        text = " × ".join(str(size) for size in sizes)
        raise OtherFile(f"The file has {len(sizes)} dimensions ({text}); up to 4 are read", path)
    if several < 1:
        raise BadInput("The image is empty", path)
    return shape_of(tuple(sizes[:3]), path), several


def _data_place(header: Any, path: str) -> tuple[str, int]:
    """File with the voxels and where they begin."""
    offset = header["vox_offset"].item()
    if not np.isfinite(offset):
        raise BadInput("The place of the voxels in the file is senseless", path)
    if bytes(header["magic"].item())[:2] != b"ni":
        return path, max(int(offset), int(header.sizeof_hdr) + 4)
    for end in (".img", ".img.gz", ".IMG"):
        candidate = with_end(path, end)
        if os.path.isfile(candidate):
            return candidate, max(int(offset), 0)
    raise BadInput("The .img file that belongs to this header is missing", path)


# --- where the image lies -------------------------------------------------------------------


class _Place(NamedTuple):
    geometry: Geometry
    problems: tuple[str, ...] = ()


def _place(header: Any, sizes: tuple[int, int, int], path: str) -> _Place:
    """The sform where there is a usable one, then the qform, then the voxel sizes alone."""
    unit = int(header["xyzt_units"]) & 7
    scale = _MM.get(unit, 1.0)
    problems: tuple[str, ...] = ()
    if scale != 1.0:
        problems = (f"The file gives lengths in {_UNIT_WORDS[unit]}; they were converted.",)
    sform = _geometry(sizes, _sform(header), scale)
    qform = _geometry(sizes, _qform(header), scale)
    if sform is not None and qform is not None:
        apart = float(np.abs(sform.corners - qform.corners).max())
        if apart > _AGREE_MM:
            problems += (_disagreement(int(header["sform_code"])),)
    coded = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    chosen = sform if sform is not None else qform
    if chosen is not None:
        return _Place(chosen, problems)
    spacing = [abs(float(v)) for v in header["pixdim"][1:4]]
    usable = [v if np.isfinite(v) and v > 0 else 1.0 for v in spacing]
    bare = _geometry(sizes, np.diag([*usable, 1.0]), scale)
    if bare is None:
        raise BadInput("The position of the image in the file is senseless", path)
    if usable != spacing:
        problems += ("The file does not give all voxel sizes; 1 mm stands in.",)
    return _Place(bare, (*problems, SIDES_SENSELESS if coded else SIDES_UNKNOWN))


def _disagreement(code: int) -> str:
    space = _SFORM_WORDS.get(code, "an unnamed space")
    return f"The file places the image twice, differently; the sform ({space}) is used."


def _geometry(sizes: tuple[int, int, int], affine: np.ndarray | None, scale: float):
    """A grid, or None where the matrix cannot be one."""
    if affine is None:
        return None
    try:
        return Geometry.from_nifti(sizes, np.diag([scale, scale, scale, 1.0]) @ affine)
    except (BadInput, ValueError, np.linalg.LinAlgError):
        return None


def _sform(header: Any) -> np.ndarray | None:
    if int(header["sform_code"]) <= 0:
        return None
    return np.asarray(header.get_sform(), dtype=np.float64)


def _qform(header: Any) -> np.ndarray | None:
    """From the quaternion; voxel sizes count without their sign, as in the NIfTI library."""
    if int(header["qform_code"]) <= 0:
        return None
    whole = header.copy()
    whole["pixdim"][1:4] = np.abs(whole["pixdim"][1:4])
    try:
        return np.asarray(whole.get_qform(), dtype=np.float64)
    except Exception:  # nibabel names several errors here, all of them: not a rotation
        return None


def _scale(header: Any) -> tuple[float, float]:
    """Slope and intercept; no slope, a zero or one that is no number means none."""
    slope, intercept = header["scl_slope"].item(), header["scl_inter"].item()
    if not np.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    return float(slope), float(intercept) if np.isfinite(intercept) else 0.0
