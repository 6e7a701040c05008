"""Smooth surfaces of labels in patient space; see :mod:`viewer.rendering.surface_files`.

Pure functions: an array and its grid in, points and triangles out. They may run in any thread;
VTK releases the GIL while it works.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from imaging.errors import BadInput
from imaging.geometry import Box, Geometry

#: Windowed sinc smoothing: keeps the volume where the filter's own (Laplacian) smoothing takes
#: 45 % off a lesion of 4 mm radius (1 mm voxels); see benchmarks/bench_3d.py.
SMOOTHING_STEPS = 20
SMOOTHING_PASS_BAND = 0.03


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed triangle mesh.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        float32, LPS mm.
    triangles : ndarray, shape (m, 3)
        int32 indices into ``points``, counter-clockwise as seen from outside.
    anchors : ndarray, shape (n, 3), or None
        Where each point was before smoothing: the middle of eight voxels; LPS mm.
    """

    points: np.ndarray
    triangles: np.ndarray
    anchors: np.ndarray | None = None

    @property
    def empty(self) -> bool:
        """True where there is nothing to draw."""
        return len(self.triangles) == 0

    @cached_property
    def corners(self) -> np.ndarray:
        """The corner points of every triangle, float64, shape (m, 3, 3)."""
        return self.points[self.triangles].astype(np.float64)

    @property
    def volume_ml(self) -> float:
        """What the mesh encloses."""
        return _signed_volume(self.corners) / 1000.0

    @property
    def area_mm2(self) -> float:
        """Sum of the triangles' areas."""
        return float(np.linalg.norm(self._face_vectors, axis=1).sum() / 2.0)

    @property
    def bounds(self) -> np.ndarray:
        """Lowest and highest coordinates, shape (2, 3), LPS mm; zeros where empty."""
        if self.empty:
            return np.zeros((2, 3))
        used = self.points[self.triangles.ravel()]
        return np.stack([used.min(axis=0), used.max(axis=0)]).astype(np.float64)

    @cached_property
    def normals(self) -> np.ndarray:
        """Outward unit vectors at the points, area weighted; float32, shape (n, 3)."""
        count = len(self.points)
        index = self.triangles.ravel()
        faces = np.repeat(self._face_vectors, 3, axis=0)
        total = np.stack(
            [np.bincount(index, faces[:, axis], minlength=count) for axis in range(3)], axis=1
        )
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return (total / np.where(length > 0, length, 1.0)).astype(np.float32)

    def touching(self, mask: np.ndarray, box: Box, geometry: Geometry) -> np.ndarray:
        """The points that stand on voxels of one lesion; bool, shape (n,).

        Parameters
        ----------
        mask : ndarray of bool, shape of the box
            Voxels of the lesion.
        box, geometry : Box, Geometry
            Where that block lies in which grid.
        """
        touched = np.zeros(len(self.points), bool)
        if self.anchors is None or len(self.anchors) == 0:
            return touched
        grown = np.pad(mask, 1)
        first = np.floor(geometry.index(self.anchors)).astype(int) - box.start + 1
        for corner in np.ndindex(2, 2, 2):
            index = first + corner
            inside = ((index >= 0) & (index < grown.shape)).all(axis=1)
            touched[inside] |= grown[tuple(index[inside].T)]
        return touched

    @cached_property
    def _face_vectors(self) -> np.ndarray:
        corners = self.corners
        return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def segment_surface(
    labels: np.ndarray, geometry: Geometry, label: int, smooth: bool = True, step: int = 1
) -> Surface:
    """The surface of one label.

    Parameters
    ----------
    labels : ndarray, shape (k, j, i)
        uint8 label numbers of a block.
    geometry : Geometry
        The grid of that block (``Geometry.cropped``); any affine, sheared and mirrored ones too.
    label : int
        Which number.
    smooth : bool
        Round the steps of the voxels off; the volume stays within a few percent.
    step : int
        2 builds from blocks of 2x2x2 voxels: a quick preview.

    Raises
    ------
    BadInput
        Where the block is not on its grid.

    Source
    ------
    Frisken, "SurfaceNets for Multi-Label Segmentations with Preservation of Sharp Boundaries",
    JCGT 11(1), 2022 (``vtkSurfaceNets3D``); Taubin, Zhang and Golub, "Optimal Surface Smoothing as
    Filter Design", ECCV 1996 (``vtkWindowedSincPolyDataFilter``).
    """
    if labels.shape != geometry.shape:
        raise BadInput(f"A block of {labels.shape} labels is not on a grid of {geometry.shape}")
    mask = labels == label
    box = Box.around(mask)
    if box.empty:
        return Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    mask = mask[box.slices]
    if step > 1:
        mask = _coarse(mask, step)
    anchors, points, triangles = (
        _nets(np.pad(mask, 1), geometry.spacing, smooth) if mask.any() else _NOTHING
    )

    def placed(index: np.ndarray) -> np.ndarray:
        return geometry.world((index - 0.5) * step - 0.5 + box.start).astype(np.float32)

    points = placed(points)
    if _signed_volume(points[triangles].astype(np.float64)) < 0:
        triangles = triangles[:, ::-1]
    return Surface(points, np.ascontiguousarray(triangles), placed(anchors))


_NOTHING = np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3), np.int32)


def _coarse(mask: np.ndarray, step: int) -> np.ndarray:
    """Blocks of ``step`` cubed voxels, true where at least half of a block is."""
    grown = np.pad(mask, [(0, -n % step) for n in mask.shape])
    k, j, i = (n // step for n in grown.shape)
    filled = grown.reshape(k, step, j, step, i, step).sum(axis=(1, 3, 5), dtype=np.uint16)
    return filled * 2 >= step**3


def _nets(
    mask: np.ndarray, spacing: tuple[float, float, float], smooth: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points before and after smoothing, as indices ``(k, j, i)``, and triangles of a padded mask.

    The filters see the true spacing, so that smoothing is even in mm; the affine comes after.
    """
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkSurfaceNets3D

    values = np.ascontiguousarray(mask, np.uint8)
    image = vtkImageData()
    image.SetDimensions(*reversed(values.shape))
    image.SetSpacing(*reversed(spacing))
    image.GetPointData().SetScalars(numpy_to_vtk(values.reshape(-1)))
    nets = vtkSurfaceNets3D()
    nets.SetInputData(image)
    nets.SetValue(0, 1)
    nets.SetOutputMeshTypeToTriangles()
    nets.SetSmoothing(False)
    last = _sinc(nets) if smooth else nets
    last.Update()

    def index(mesh) -> np.ndarray:
        points = vtk_to_numpy(mesh.GetPoints().GetData())
        return points[:, ::-1].astype(np.float64) / np.asarray(spacing)

    triangles = vtk_to_numpy(last.GetOutput().GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return index(nets.GetOutput()), index(last.GetOutput()), triangles.astype(np.int32)


def _sinc(source):
    from vtkmodules.vtkFiltersCore import vtkWindowedSincPolyDataFilter

    sinc = vtkWindowedSincPolyDataFilter()
    sinc.SetInputConnection(source.GetOutputPort())
    sinc.SetNumberOfIterations(SMOOTHING_STEPS)
    sinc.SetPassBand(SMOOTHING_PASS_BAND)
    sinc.NormalizeCoordinatesOn()
    sinc.NonManifoldSmoothingOn()
    sinc.FeatureEdgeSmoothingOff()
    return sinc


def _signed_volume(corners: np.ndarray) -> float:
    """Divergence theorem over triangles (m, 3, 3); positive where they face outward."""
    if len(corners) == 0:
        return 0.0
    corners = corners - corners[0, 0]
    cross = np.cross(corners[:, 1], corners[:, 2])
    return float(np.einsum("mi,mi->", corners[:, 0], cross) / 6.0)


def with_true_volume(surface: Surface) -> Surface:
    """The surface with each of its parts grown until it encloses as much as its voxels.

    Smoothing takes a share off small parts: nothing above some hundred voxels, a tenth or more of
    twenty. What is measured on an exported file shall be what the lesion list says.
    """
    if surface.empty or surface.anchors is None:
        return surface
    part = _parts(surface)
    count = int(part.max()) + 1
    home = part[surface.triangles[:, 0]]
    points = surface.points.astype(np.float64)
    anchors = surface.anchors.astype(np.float64)
    meant = _volumes(anchors, surface.triangles, home, count)
    have = _volumes(points, surface.triangles, home, count)
    usable = (meant * have > 0) & (np.abs(have) > 1e-9)
    factor = np.cbrt(np.where(usable, meant / np.where(usable, have, 1.0), 1.0)).clip(0.5, 2.0)
    size = np.bincount(part, minlength=count).clip(min=1)
    centre = np.stack([np.bincount(part, points[:, n], count) / size for n in range(3)], axis=1)
    grown = centre[part] + (points - centre[part]) * factor[part, None]
    return Surface(grown.astype(np.float32), surface.triangles, surface.anchors)


def _parts(surface: Surface) -> np.ndarray:
    """Which connected part each point belongs to; int, shape (n,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(surface.points)
    start = surface.triangles[:, [0, 1]].ravel()
    end = surface.triangles[:, [1, 2]].ravel()
    edges = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(count, count))
    return connected_components(edges, directed=False)[1]


def _volumes(points: np.ndarray, triangles: np.ndarray, home: np.ndarray, count: int) -> np.ndarray:
    """Signed volume of each part, mm3."""
    corners = points[triangles] - points[triangles[0, 0]]
    each = np.einsum("mi,mi->m", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6.0
    return np.bincount(home, each, count)
