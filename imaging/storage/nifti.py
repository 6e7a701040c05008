"""Volumes, masks and maps as NIfTI-1 files on their own grid.

The array is turned from ``(k, j, i)`` to ``(i, j, k)`` (a 4D series from ``(n, k, j, i)`` to
``(i, j, k, n)``) and nothing else: the grid keeps its order, and the affine (RAS) says where it
lies. sform and qform are the same with code 1 (scanner anatomy). Source: nifti1.h of the NIfTI Data
Format Working Group.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imaging.atomic import write_atomic
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.storage.arrays import PACKING, storable, stored
from imaging.storage.label_file import check_label_file, label_file_path, write_label_file
from imaging.storage.sidecar import (
    check_free,
    image_facts,
    map_facts,
    mask_facts,
    must_be_even,
    write_json,
)
from imaging.volume import Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

_SUFFIXES = (".nii", ".nii.gz")
#: sform is float32 in the file; corners read back agree this well.
_TOLERANCE_MM = 2e-2


def write_volume(path: Path, volume: Volume, *, every_image: bool = True) -> list[Path]:
    """Write stored values with the volume's slope and intercept.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz`` or ``.nii``; replaced as a whole or not at all.
    every_image : bool
        All images of a 4D series as one 4D file, with a JSON file beside it that says what tells
        them apart; False for the chosen one only.

    Returns
    -------
    list of Path
        The file, and the JSON file of a 4D series.

    Raises
    ------
    BadInput
        Where the name does not end in ``.nii`` or ``.nii.gz``, or the slices are uneven.
    WorldFailed
        Where the disk refuses or what was read back differs.
    """
    must_be_even(volume)
    if volume.repeats is not None:
        check_free(json_path(path))
    made = stored(volume, every_image=every_image)
    scale = (made.slope, made.intercept)
    written = [_write(path, made.values, volume.geometry, volume.name, scale)]
    if volume.repeats is not None:
        facts = image_facts(volume, every_image=every_image)
        written.append(write_json(json_path(written[0]), facts))
    return written


def json_path(path: Path) -> Path:
    """Where the JSON file of a NIfTI file goes: ``mask.nii.gz`` gives ``mask.json``."""
    return path.with_name(re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) + ".json")


def write_labels(path: Path, segmentation: Segmentation) -> list[Path]:
    """Write label numbers as uint8; ITK-SNAP's label file and what made them (JSON) beside them.

    Returns
    -------
    list of Path
        The NIfTI file, the label file (``name.label.txt``) and the JSON file (``name.json``).

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_volume`.
    """
    check_label_file(label_file_path(path), segmentation.segments)
    check_free(json_path(path))
    written = _write(path, segmentation.labels, segmentation.geometry, segmentation.name)
    named = write_label_file(label_file_path(written), segmentation.segments)
    return [written, *named, write_json(json_path(written), mask_facts(segmentation))]


def write_heatmap(path: Path, heatmap: Heatmap) -> list[Path]:
    """Write the values of a map as float32, and what made it as JSON beside it.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_volume`.
    """
    check_free(json_path(path))
    written = _write(path, heatmap.values, heatmap.geometry, heatmap.name)
    return [written, write_json(json_path(written), map_facts(heatmap))]


def write_array(path: Path, values: np.ndarray, geometry: Geometry, name: str = "") -> Path:
    """Write an array ``(k, j, i)`` on a grid and nothing beside it, for layouts of folders.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_volume`.
    """
    return _write(path, storable(values), geometry, name)


def write_scaled(path: Path, volume: Volume, geometry: Geometry) -> Path:
    """Write the chosen image of a volume on a grid that is the same within tolerance.

    For layouts that want every file of a case to have the very same affine.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_volume`.
    """
    made = stored(volume, every_image=False)
    return _write(path, made.values, geometry, "", (made.slope, made.intercept))


def _write(
    path: Path,
    values: np.ndarray,
    geometry: Geometry,
    name: str,
    scale: tuple[float, float] = (1.0, 0.0),
) -> Path:
    path = Path(path)
    if not path.name.lower().endswith(_SUFFIXES):
        raise BadInput("A NIfTI file must end in .nii or .nii.gz", str(path))
    image = _image(values, geometry, name, scale)

    def verify(aside: Path) -> None:
        _verify(aside, values, geometry, scale)

    return write_atomic(path, lambda aside: _save(image, aside), verify)


def _image(
    values: np.ndarray, geometry: Geometry, name: str, scale: tuple[float, float]
) -> Nifti1Image:
    from nibabel.nifti1 import Nifti1Image

    image = Nifti1Image(values.T, geometry.nifti_affine)
    header = image.header
    header.set_data_dtype(values.dtype)
    header.set_sform(geometry.nifti_affine, code=1)
    header.set_qform(geometry.nifti_affine, code=1, strip_shears=True)
    if not geometry.orthogonal:  # a qform cannot hold a shear, so it must not claim to be right
        header["qform_code"] = 0
    header.set_slope_inter(*scale)
    header.set_xyzt_units("mm", "sec" if values.ndim == 3 else "unknown")
    header["descrip"] = f"Isocenter; {_plain(name)}"[:79].encode("ascii")
    return image


def _save(image: Nifti1Image, path: Path) -> None:
    """Write header and raw voxels ourselves: nibabel would scale them a second time."""
    from isal import igzip

    header = image.header.copy()
    header["vox_offset"], header["magic"] = 352, b"n+1"
    voxels = np.asarray(image.dataobj)
    little = voxels.astype(voxels.dtype.newbyteorder("<"), copy=False)
    head = header.as_byteswapped("<").binaryblock + b"\0\0\0\0"
    # (i, j, k, n) in Fortran order is (n, k, j, i) in C order: no copy for most volumes
    body = little.ravel(order="F").view(np.uint8).data
    if path.name.lower().endswith(".gz"):
        with open(path, "wb") as raw, igzip.IGzipFile("", "wb", PACKING, raw, mtime=0) as packed:
            packed.write(head)
            packed.write(body)
    else:
        with open(path, "wb") as raw:
            raw.write(head)
            raw.write(body)


def _verify(path: Path, values: np.ndarray, geometry: Geometry, scale: tuple[float, float]) -> None:
    from nibabel.nifti1 import Nifti1Image

    back = Nifti1Image.from_filename(path)
    raw = back.dataobj.get_unscaled()  # type: ignore[union-attr]
    placed = Geometry.from_nifti(back.shape[:3], np.asarray(back.affine))
    slope, intercept = back.dataobj.slope, back.dataobj.inter  # type: ignore[union-attr]
    if (
        raw.dtype.newbyteorder("=") != values.dtype.newbyteorder("=")
        or not np.array_equal(raw.T, values, equal_nan=values.dtype.kind == "f")
        or not placed.same_grid(geometry, _TOLERANCE_MM)
        or not np.allclose((slope, intercept), scale, rtol=1e-6)
    ):
        raise WorldFailed("The file read back differs from what was written", path.name)


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")
