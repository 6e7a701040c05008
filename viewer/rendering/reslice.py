"""Slices that do not lie along the array, by ``vtkImageReslice`` on the borrowed buffer.

VTK is imported at the first such slice, never at start.
"""

from __future__ import annotations

import numpy as np

#: An index map entry smaller than this (voxels over the whole picture) counts as zero.
_STRAIGHT_VOXELS = 1e-3


def reslice(
    array: np.ndarray,
    index_map: np.ndarray,
    columns: int,
    rows: int,
    linear: bool,
    outside: float,
) -> np.ndarray:
    """Sample an array on a plane.

    Parameters
    ----------
    array : ndarray, shape (k, j, i)
        C-contiguous arrays are borrowed, others copied.
    index_map : ndarray, shape (3, 3)
        Maps ``(column, row, 1)`` to the array index (rows k, j, i).
    columns, rows : int
        Size of the picture.
    linear : bool
        Linear interpolation, else the nearest voxel.
    outside : float
        Value of pixels that miss the array.

    Returns
    -------
    ndarray, shape (rows, columns)
        Same type as the array.
    """
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonMath import vtkMatrix4x4
    from vtkmodules.vtkImagingCore import vtkImageReslice

    axes = vtkMatrix4x4()
    normal = np.cross(index_map[::-1, 0], index_map[::-1, 1])
    for row in range(3):
        axes.SetElement(row, 0, index_map[2 - row, 0])
        axes.SetElement(row, 1, index_map[2 - row, 1])
        axes.SetElement(row, 2, normal[row])
        axes.SetElement(row, 3, index_map[2 - row, 2])
    slicer = vtkImageReslice()
    slicer.SetInputData(_borrowed(array))
    slicer.SetResliceAxes(axes)
    slicer.SetOutputDimensionality(2)
    slicer.SetOutputSpacing(1.0, 1.0, 1.0)
    slicer.SetOutputOrigin(0.0, 0.0, 0.0)
    slicer.SetOutputExtent(0, columns - 1, 0, rows - 1, 0, 0)
    slicer.SetBackgroundLevel(outside)
    if linear:
        slicer.SetInterpolationModeToLinear()
    else:
        slicer.SetInterpolationModeToNearestNeighbor()
    slicer.Update()
    scalars = slicer.GetOutput().GetPointData().GetScalars()
    return vtk_to_numpy(scalars).reshape(rows, columns)


def nearest(
    array: np.ndarray, index_map: np.ndarray, columns: int, rows: int, outside: int
) -> np.ndarray:
    """The nearest voxel under each pixel of a plane; as :func:`reslice`, without VTK if straight.

    Straight means that each screen axis runs along one array axis, as when a mask lies on another
    grid with the same directions.
    """
    straight = _straight_lookup(array.shape, index_map, columns, rows)
    if straight is None:
        return reslice(array, index_map, columns, rows, linear=False, outside=outside)
    index, inside, row_axis, column_axis = straight
    block = array[
        np.ix_(*(np.clip(n, 0, size - 1) for n, size in zip(index, array.shape, strict=True)))
    ]
    plane = block.squeeze(axis=3 - row_axis - column_axis)
    if row_axis > column_axis:
        plane = plane.T
    seen = inside[row_axis][:, None] & inside[column_axis] & inside[3 - row_axis - column_axis]
    return np.where(seen, plane, np.asarray(outside, array.dtype))


def _straight_lookup(
    shape: tuple[int, ...], index_map: np.ndarray, columns: int, rows: int
) -> tuple[list[np.ndarray], list[np.ndarray], int, int] | None:
    """For each array axis the indices wanted and which of them exist; row and column axis.

    None where a screen axis runs along more than one array axis.
    """
    reach = np.abs(index_map[:, :2]) * (columns, rows)
    column_axis, row_axis = int(reach[:, 0].argmax()), int(reach[:, 1].argmax())
    reach[column_axis, 0] = reach[row_axis, 1] = 0.0
    if column_axis == row_axis or reach.max() > _STRAIGHT_VOXELS:
        return None
    steps: list[np.ndarray] = [np.zeros(1)] * 3
    steps[column_axis] = index_map[column_axis, 0] * np.arange(columns)
    steps[row_axis] = index_map[row_axis, 1] * np.arange(rows)
    index = [np.floor(s + index_map[a, 2] + 0.5).astype(np.intp) for a, s in enumerate(steps)]
    inside = [(n >= 0) & (n < size) for n, size in zip(index, shape, strict=True)]
    return index, inside, row_axis, column_axis


def _borrowed(array: np.ndarray):
    """A vtkImageData over the array's own memory, one voxel per unit, ``(i, j, k)`` order."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData

    if not array.flags.c_contiguous or not array.dtype.isnative:
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    scalars = numpy_to_vtk(array.reshape(-1), deep=False)
    image = vtkImageData()
    image.SetDimensions(array.shape[2], array.shape[1], array.shape[0])
    image.GetPointData().SetScalars(scalars)
    return image
