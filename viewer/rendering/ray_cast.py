"""The translucent head: volume rendering of one image, sized to what the machine can do."""

from __future__ import annotations

import numpy as np

from imaging.geometry import Geometry
from imaging.volume import Volume, Window

FEWEST_SLICES = 5
LARGEST_EDGE = 256  #: voxels along an axis, at most
#: Opacity per mm and brightness over the window (0 = low end, 1 = high end): air gone, skin a veil,
#: brain clearer than its edges, the brightest tissue denser.
OPACITY = ((0.0, 0.0), (0.1, 0.0), (0.22, 0.012), (0.38, 0.012), (0.62, 0.05), (1.0, 0.09))
COLOUR = (
    (0.0, (0.30, 0.26, 0.24)),
    (0.25, (0.72, 0.62, 0.56)),
    (0.60, (1.0, 0.93, 0.86)),
    (1.0, (1.0, 1.0, 0.97)),
)
#: Share of that opacity by the step in grey per mm: flat inside is clear, edges are seen.
GRADIENT = ((0.0, 0.12), (8.0, 0.3), (30.0, 1.0), (255.0, 1.0))


def shrunken(volume: Volume, edge: int = LARGEST_EDGE) -> tuple[np.ndarray, Geometry, Window]:
    """The volume in 256 grey levels and at most ``edge`` voxels along each axis.

    Returns
    -------
    values : ndarray, shape (k, j, i)
        uint8; blocks of voxels are averaged.
    geometry : Geometry
        Its grid, in the same place.
    span : Window
        Real values of grey 0 and 255.
    """
    steps = [-(-n // edge) for n in volume.geometry.shape]
    whole = [n // s * s for n, s in zip(volume.geometry.shape, steps, strict=True)]
    sample = volume.real(volume.voxels[::4, ::4, ::4])
    low, high = np.nanmin(sample), np.nanpercentile(sample, 99.9)
    high = max(float(high), float(low) + 1e-6)
    values = np.empty([n // s for n, s in zip(whole, steps, strict=True)], np.uint8)
    for k in range(len(values)):
        slab = volume.voxels[k * steps[0] : (k + 1) * steps[0], : whole[1], : whole[2]]
        mean = slab.reshape(steps[0], values.shape[1], steps[1], values.shape[2], steps[2]).mean(
            axis=(0, 2, 4), dtype=np.float32
        )
        grey = (volume.real(mean) - low) * (255.0 / (high - low))
        values[k] = np.clip(np.nan_to_num(grey), 0, 255)
    affine = volume.geometry.affine.copy()
    affine[:3, 3] = volume.geometry.world([(s - 1) / 2.0 for s in steps])
    affine[:3, :3] *= steps
    span = Window(float(low + high) / 2.0, float(high - low))
    return values, Geometry(values.shape, affine), span


def can_cast(volume: Volume) -> bool:
    """False for a stack too thin to be seen from all sides."""
    return min(volume.geometry.shape) >= FEWEST_SLICES


class RayCast:
    """Volume rendering of one volume.

    Parameters
    ----------
    software : bool
        True where OpenGL runs on the CPU: the fixed-point mapper is then 4-10 times faster than
        the GPU one.
    """

    def __init__(self, volume: Volume, software: bool) -> None:
        from vtkmodules.util.numpy_support import numpy_to_vtk
        from vtkmodules.vtkCommonDataModel import vtkImageData
        from vtkmodules.vtkRenderingCore import vtkVolume

        values, geometry, self._span = shrunken(volume)
        image = vtkImageData()
        image.SetDimensions(*reversed(values.shape))
        image.SetSpacing(*reversed(geometry.spacing))
        image.GetPointData().SetScalars(numpy_to_vtk(values.reshape(-1), deep=True))
        self._mapper = _mapper(software)
        self._mapper.SetInputData(image)
        self.prop = vtkVolume()
        self.prop.SetMapper(self._mapper)
        self.prop.SetUserMatrix(_placed(geometry))
        self._window: Window | None = None
        self._inverted = volume.inverted
        self._step = min(geometry.spacing)

    def set_window(self, window: Window) -> None:
        """The values between clear and dense; inversion of the display does not count."""
        if window == self._window:
            return
        self._window = window
        self.prop.SetProperty(_property(window, self._span, self._inverted))

    def set_detail(self, moving: bool, software: bool) -> None:
        """Fewer rays while the hand moves."""
        coarse = 3.0 if software else 2.0
        self._mapper.SetAutoAdjustSampleDistances(False)
        self._mapper.SetImageSampleDistance(coarse if moving else 1.0)
        self._mapper.SetSampleDistance(self._step * (1.5 if moving else 0.8))


def _mapper(software: bool):
    if software:
        from vtkmodules.vtkRenderingVolume import vtkFixedPointVolumeRayCastMapper

        return vtkFixedPointVolumeRayCastMapper()
    from vtkmodules.vtkRenderingVolume import vtkGPUVolumeRayCastMapper

    return vtkGPUVolumeRayCastMapper()


def _placed(geometry: Geometry):
    """A VTK matrix from ``(i, j, k)`` mm along the axes to LPS mm (sheared axes stay sheared)."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    affine = geometry.affine.copy()
    affine[:3, :3] = geometry.directions
    matrix = vtkMatrix4x4()
    matrix.DeepCopy(affine[:, [2, 1, 0, 3]].ravel().tolist())
    return matrix


def _property(window: Window, span: Window, inverted: bool):
    from vtkmodules.vtkCommonDataModel import vtkPiecewiseFunction
    from vtkmodules.vtkRenderingCore import vtkColorTransferFunction, vtkVolumeProperty

    def grey(share: float) -> float:
        share = 1.0 - share if inverted else share  # MONOCHROME1: air has the highest values
        return (window.low + share * window.width - span.low) * 255.0 / span.width

    opacity, colour, gradient = (
        vtkPiecewiseFunction(),
        vtkColorTransferFunction(),
        vtkPiecewiseFunction(),
    )
    for share, value in OPACITY:
        opacity.AddPoint(grey(share), value)
    for share, rgb in COLOUR:
        colour.AddRGBPoint(grey(share), *rgb)
    for step, value in GRADIENT:
        gradient.AddPoint(step, value)
    look = vtkVolumeProperty()
    look.SetScalarOpacity(opacity)
    look.SetColor(colour)
    look.SetGradientOpacity(gradient)
    look.SetScalarOpacityUnitDistance(1.0)
    look.SetInterpolationTypeToLinear()
    look.ShadeOn()
    look.SetAmbient(0.45)
    look.SetDiffuse(1.0)
    look.SetSpecular(0.25)
    look.SetSpecularPower(20.0)
    return look
