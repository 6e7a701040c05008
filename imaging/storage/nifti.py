"""Volumes, masks and maps as NIfTI-1 files on their own grid.

The array is turned from ``(k, j, i)`` to ``(i, j, k)`` and nothing else: the grid keeps its order,
and the affine (RAS) says where it lies. sform and qform are the same with code 1 (scanner
anatomy). Source: nifti1.h of the NIfTI Data Format Working Group.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imaging.atomic import write_atomic
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.storage.label_file import label_file_path, write_label_file
from imaging.volume import Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

_SUFFIXES = (".nii", ".nii.gz")
#: sform is float32 in the file; corners read back agree this well.
_TOLERANCE_MM = 2e-2


def write_volume(path: Path, volume: Volume) -> list[Path]:
    """Write stored values with the volume's slope and intercept.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz`` or ``.nii``; replaced as a whole or not at all.

    Returns
    -------
    list of Path
        The file.

    Raises
    ------
    BadInput
        Where the name does not end in ``.nii`` or ``.nii.gz``.
    WorldFailed
        Where the disk refuses or what was read back differs.
    """
    values = _storable(volume.voxels)
    scale = (float(volume.slope), float(volume.intercept))
    return [_write(path, values, volume.geometry, volume.name, scale)]


def write_labels(path: Path, segmentation: Segmentation) -> list[Path]:
    """Write label numbers as uint8, and the ITK-SNAP label file beside them.

    Returns
    -------
    list of Path
        The NIfTI file and the label file (``name.label.txt``).

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_volume`.
    """
    written = _write(path, segmentation.labels, segmentation.geometry, segmentation.name)
    return [written, *write_label_file(label_file_path(written), segmentation.segments)]


def write_heatmap(path: Path, heatmap: Heatmap) -> list[Path]:
    """Write the values of a map as float32.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_volume`.
    """
    return [_write(path, heatmap.values, heatmap.geometry, heatmap.name)]


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

    image = Nifti1Image(values.transpose(2, 1, 0), geometry.nifti_affine)
    header = image.header
    header.set_data_dtype(values.dtype)
    header.set_sform(geometry.nifti_affine, code=1)
    header.set_qform(geometry.nifti_affine, code=1, strip_shears=True)
    if not geometry.orthogonal:  # a qform cannot hold a shear, so it must not claim to be right
        header["qform_code"] = 0
    header.set_slope_inter(*scale)
    header.set_xyzt_units("mm", "sec")
    header["descrip"] = f"Isocenter; {_plain(name)}"[:79].encode("ascii")
    return image


def _save(image: Nifti1Image, path: Path) -> None:
    """Write header and raw voxels ourselves: nibabel would scale them a second time."""
    import gzip

    header = image.header.copy()
    header["vox_offset"], header["magic"] = 352, b"n+1"
    voxels = np.asarray(image.dataobj)
    little = voxels.astype(voxels.dtype.newbyteorder("<"), copy=False)
    head = header.as_byteswapped("<").binaryblock + b"\0\0\0\0"
    # (i, j, k) in Fortran order is (k, j, i) in C order: no copy for most volumes
    body = little.ravel(order="F").view(np.uint8).data
    if path.name.lower().endswith(".gz"):
        with open(path, "wb") as raw, gzip.GzipFile("", "wb", 4, raw, mtime=0) as packed:
            packed.write(head)
            packed.write(body)
    else:
        with open(path, "wb") as raw:
            raw.write(head)
            raw.write(body)


def _verify(path: Path, values: np.ndarray, geometry: Geometry, scale: tuple[float, float]) -> None:
    from nibabel.nifti1 import Nifti1Image

    back = Nifti1Image.from_filename(path)
    stored = back.dataobj.get_unscaled()  # type: ignore[union-attr]
    placed = Geometry.from_nifti(back.shape, np.asarray(back.affine))
    slope, intercept = back.dataobj.slope, back.dataobj.inter  # type: ignore[union-attr]
    if (
        stored.dtype.newbyteorder("=") != values.dtype.newbyteorder("=")
        or not np.array_equal(stored.transpose(2, 1, 0), values, equal_nan=values.dtype.kind == "f")
        or not placed.same_grid(geometry, _TOLERANCE_MM)
        or not np.allclose((slope, intercept), scale, rtol=1e-6)
    ):
        raise WorldFailed("The file read back differs from what was written", path.name)


def _storable(values: np.ndarray) -> np.ndarray:
    """The voxels in a type that NIfTI knows and every reader reads."""
    kinds = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")
    kind = values.dtype.kind + str(values.dtype.itemsize)
    if kind in kinds:
        return values
    return values.astype(np.uint8 if kind == "b1" else np.float32 if kind == "f2" else np.float64)


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")
