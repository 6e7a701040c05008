"""The 3D picture: a frozen state in, pixels out. VTK lives here, no widgets.

A :class:`VolumeScene` is created, used and closed in one thread (see ``render_thread``); it owns
one off-screen render window and keeps what did not change between two states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imaging.errors import WorldFailed
from imaging.geometry import Geometry
from imaging.volume import Volume, Window
from viewer.rendering.orbit import VIEW_ANGLE_DEG, Orbit
from viewer.rendering.ray_cast import RayCast, can_cast
from viewer.rendering.surfaces import Surface

BACKGROUND_TOP, BACKGROUND_BOTTOM = (0.085, 0.095, 0.115), (0.02, 0.022, 0.028)
OUTLINE_COLOUR = (0.20, 0.23, 0.28)
HIGHLIGHT_COLOUR = (1.0, 1.0, 0.82)
#: Pixels darker than this (of 255) outside the head are left out of the three planes; their mean
#: over so many pixels squared counts, so that the noise of air does not.
AIR_GREY, AIR_BLUR = 20, 5
SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "swrast", "swr", "gdi generic", "basic render")


@dataclass(frozen=True, eq=False)
class Body:
    """A surface as it is to be drawn.

    Parameters
    ----------
    colour : tuple of float
        Red, green, blue, 0 to 1.
    bright : ndarray of bool, shape (n,), or None
        Points of the lesion that is chosen; the others step back a little.
    """

    surface: Surface
    colour: tuple[float, float, float]
    bright: np.ndarray | None = None


@dataclass(frozen=True)
class SceneState:
    """Everything the picture depends on but the camera.

    Parameters
    ----------
    volume : Volume or None
        The image shown in the planes or the ray cast.
    window : Window
        In real values.
    cursor : tuple of float or None
        Where the three planes meet, LPS mm; None means the middle.
    bodies : tuple of Body
        Surfaces to draw.
    ray_cast : bool
        A translucent head instead of the planes.
    filled : int
        Grows while a series is still loading into the same memory.
    """

    volume: Volume | None = None
    window: Window = Window(0.5, 1.0)
    inverted: bool = False
    cursor: tuple[float, float, float] | None = None
    bodies: tuple[Body, ...] = ()
    ray_cast: bool = False
    filled: int = 0


def index_matrix(geometry: Geometry):
    """A VTK matrix from ``(i, j, k)`` index coordinates to LPS mm."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    matrix.DeepCopy(geometry.affine[:, [2, 1, 0, 3]].ravel().tolist())
    return matrix


def grey_slice(state: SceneState, axis: int, index: int) -> np.ndarray:
    """One array slice through the window, with transparent air; uint8, shape (h, w, 2).

    The second channel is 0 where dark pixels lead along a row or column to the edge.
    """
    from scipy.ndimage import uniform_filter

    assert state.volume is not None
    stored = np.take(state.volume.voxels, index, axis=axis)
    window = state.window
    grey = (state.volume.real(stored) - window.low) * (255.0 / max(window.width, 1e-9))
    grey = np.clip(np.nan_to_num(grey), 0, 255).astype(np.uint8)
    tissue = uniform_filter(255 - grey if state.volume.inverted else grey, AIR_BLUR) > AIR_GREY
    inside = np.ones(grey.shape, bool)
    for line in (0, 1):
        inside &= np.logical_or.accumulate(tissue, axis=line)
        inside &= np.flip(np.logical_or.accumulate(np.flip(tissue, line), axis=line), line)
    if state.inverted:
        grey = 255 - grey
    return np.stack([grey, np.where(inside, np.uint8(255), np.uint8(0))], axis=-1)


class VolumeScene:
    """One off-screen window with planes, surfaces, outline and ray cast.

    Raises
    ------
    WorldFailed
        Where no OpenGL context can be had.
    """

    def __init__(self) -> None:
        from vtkmodules.vtkRenderingCore import vtkLightKit, vtkRenderer

        self._window = _off_screen_window()
        self.renderer_name = _renderer_name(self._window)
        self.software = any(s in self.renderer_name.lower() for s in SOFTWARE_RENDERERS)
        self._renderer = vtkRenderer()
        self._renderer.GradientBackgroundOn()
        self._renderer.SetBackground(*BACKGROUND_BOTTOM)
        self._renderer.SetBackground2(*BACKGROUND_TOP)
        self._renderer.SetBackgroundAlpha(1.0)
        self._renderer.LightFollowCameraOn()
        lights = vtkLightKit()
        lights.AddLightsToRenderer(self._renderer)
        self._lights = lights
        self._window.AddRenderer(self._renderer)
        self._planes: list = []
        self._outline = None
        self._bodies: dict[int, tuple[Body, Any]] = {}
        self._ray_cast: RayCast | None = None
        self._shown = SceneState()

    def draw(
        self, state: SceneState, orbit: Orbit, size: tuple[int, int], moving: bool = False
    ) -> np.ndarray:
        """Render a frame.

        Parameters
        ----------
        size : tuple of int
            Width and height in device pixels.
        moving : bool
            Coarser rays while the hand moves.

        Returns
        -------
        ndarray, shape (height, width, 4)
            uint8 RGBA, top row first, opaque.
        """
        if state.ray_cast and not (state.volume is not None and can_cast(state.volume)):
            state = replace(state, ray_cast=False)
        self._take_over(state)
        if self._ray_cast is not None:
            self._ray_cast.set_detail(moving, self.software)
        width, height = max(size[0], 8), max(size[1], 8)
        self._window.SetSize(width, height)
        self._aim(orbit)
        self._renderer.SetUseFXAA(not moving)
        self._window.Render()
        return self._pixels(width, height)

    def close(self) -> None:
        """Give the context back; the scene cannot be used afterwards."""
        self._renderer.RemoveAllViewProps()
        self._planes, self._bodies, self._ray_cast = [], {}, None
        self._window.Finalize()

    def _take_over(self, state: SceneState) -> None:
        old, self._shown = self._shown, state
        if state.volume is not old.volume:
            self._show_outline(state.volume)
        self._show_planes(state, old)
        self._show_ray_cast(state, old)
        self._show_bodies(state.bodies)

    def _show_outline(self, volume: Volume | None) -> None:
        if self._outline is not None:
            self._renderer.RemoveViewProp(self._outline)
            self._outline = None
        if volume is not None:
            self._outline = _outline_actor(volume.geometry)
            self._renderer.AddViewProp(self._outline)

    def _show_planes(self, state: SceneState, old: SceneState) -> None:
        from viewer.rendering.textured_plane import TexturedPlane

        if not self._planes:
            self._planes = [TexturedPlane(axis) for axis in range(3)]
            for plane in self._planes:
                self._renderer.AddViewProp(plane.actor)
        fresh = _picture(state) != _picture(old)
        for plane in self._planes:
            plane.show(state, fresh)

    def _show_ray_cast(self, state: SceneState, old: SceneState) -> None:
        volume = state.volume if state.ray_cast else None
        if self._ray_cast is not None and (
            volume is None or volume is not old.volume or state.filled != old.filled
        ):
            self._renderer.RemoveViewProp(self._ray_cast.prop)
            self._ray_cast = None
        if volume is None:
            return
        if self._ray_cast is None:
            self._ray_cast = RayCast(volume, self.software)
            self._renderer.AddViewProp(self._ray_cast.prop)
        self._ray_cast.set_window(state.window)

    def _show_bodies(self, bodies: tuple[Body, ...]) -> None:
        wanted = {id(body): body for body in bodies}
        for key in [key for key in self._bodies if key not in wanted]:
            self._renderer.RemoveViewProp(self._bodies.pop(key)[1])
        for key, body in wanted.items():
            if key not in self._bodies and not body.surface.empty:
                actor = _body_actor(body)
                self._bodies[key] = (body, actor)
                self._renderer.AddViewProp(actor)

    def _aim(self, orbit: Orbit) -> None:
        camera = self._renderer.GetActiveCamera()
        camera.SetViewAngle(VIEW_ANGLE_DEG)
        camera.SetFocalPoint(*orbit.focal)
        camera.SetPosition(*orbit.eye)
        camera.SetViewUp(*orbit.axes[1])
        self._renderer.ResetCameraClippingRange()

    def _pixels(self, width: int, height: int) -> np.ndarray:
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkCommonCore import vtkUnsignedCharArray

        data = vtkUnsignedCharArray()
        self._window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 0, data, 0)
        frame = vtk_to_numpy(data).reshape(height, width, 4)[::-1].copy()
        frame[..., 3] = 255
        return frame


def _picture(state: SceneState) -> tuple:
    return id(state.volume), state.window, state.inverted, state.filled


def _off_screen_window():
    import vtkmodules.vtkRenderingFreeType
    import vtkmodules.vtkRenderingOpenGL2
    import vtkmodules.vtkRenderingVolumeOpenGL2  # noqa: F401
    from vtkmodules.vtkCommonCore import vtkLogger
    from vtkmodules.vtkRenderingCore import vtkRenderWindow

    verbosity = vtkLogger.GetCurrentVerbosityCutoff()
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    try:
        window = vtkRenderWindow()
        window.SetOffScreenRendering(1)
        window.SetShowWindow(False)
        window.SetMultiSamples(0)
        _refuse_missing_mesa(window)
        if not window.SupportsOpenGL():
            raise WorldFailed("3D needs OpenGL 3.2, which this graphics driver does not offer")
        window.SetSize(8, 8)
        window.Render()
    finally:
        vtkLogger.SetStderrVerbosity(vtkLogger.ConvertToVerbosity(verbosity))
    return window


def _refuse_missing_mesa(window) -> None:
    """VTK's last resort is OSMesa, and it crashes where that library is not installed."""
    if "OSOpenGL" not in window.GetClassName():
        return
    from ctypes import CDLL
    from ctypes.util import find_library

    try:
        CDLL(find_library("OSMesa") or "libOSMesa.so.8")
    except OSError:
        raise WorldFailed(
            "3D is not available because no OpenGL driver was found",
            advice="Install libegl1 and the Mesa drivers (libgl1-mesa-dri), then start again",
        ) from None


def _renderer_name(window) -> str:
    for line in window.ReportCapabilities().splitlines():
        if line.lower().startswith("opengl renderer string"):
            return line.split(":", 1)[1].strip()
    return ""


def _outline_actor(geometry: Geometry):
    from vtkmodules.vtkFiltersSources import vtkOutlineSource
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper

    k, j, i = geometry.shape
    source = vtkOutlineSource()
    source.SetBounds(-0.5, i - 0.5, -0.5, j - 0.5, -0.5, k - 0.5)
    mapper = vtkPolyDataMapper()
    mapper.SetInputConnection(source.GetOutputPort())
    actor = vtkActor()
    actor.SetMapper(mapper)
    actor.SetUserMatrix(index_matrix(geometry))
    actor.GetProperty().SetColor(*OUTLINE_COLOUR)
    actor.GetProperty().LightingOff()
    return actor


def _body_actor(body: Body):
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper

    surface = body.surface
    points, cells = vtkPoints(), vtkCellArray()
    points.SetData(numpy_to_vtk(surface.points, deep=True))
    triangles = np.ascontiguousarray(surface.triangles, np.int64)
    cells.SetData(3, numpy_to_vtkIdTypeArray(triangles.ravel(), deep=True))
    mesh = vtkPolyData()
    mesh.SetPoints(points)
    mesh.SetPolys(cells)
    mesh.GetPointData().SetNormals(numpy_to_vtk(surface.normals, deep=True))
    mesh.GetPointData().SetScalars(numpy_to_vtk(_colours(body), deep=True))
    mapper = vtkPolyDataMapper()
    mapper.SetInputData(mesh)
    mapper.SetColorModeToDirectScalars()
    actor = vtkActor()
    actor.SetMapper(mapper)
    material = actor.GetProperty()
    material.SetInterpolationToPhong()
    material.SetAmbient(0.18)
    material.SetDiffuse(0.85)
    material.SetSpecular(0.35)
    material.SetSpecularPower(28.0)
    return actor


def _colours(body: Body) -> np.ndarray:
    """RGB per point, uint8: the chosen lesion bright, the others of its mask dimmed."""
    colour = np.asarray(body.colour)
    rgb = np.broadcast_to(colour, (len(body.surface.points), 3)).copy()
    if body.bright is not None:
        rgb[~body.bright] *= 0.7
        rgb[body.bright] = 0.35 * colour + 0.65 * np.asarray(HIGHLIGHT_COLOUR)
    return np.round(rgb * 255).astype(np.uint8)
