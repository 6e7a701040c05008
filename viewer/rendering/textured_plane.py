"""One slice of the volume as a textured quad in patient space."""

from __future__ import annotations

import numpy as np

from viewer.rendering.volume_scene import SceneState, grey_slice


class TexturedPlane:
    """The slice of one array axis that lies at the cursor.

    Parameters
    ----------
    axis : int
        Array axis that the slice is perpendicular to: 0, 1 or 2 for k, j, i.
    """

    def __init__(self, axis: int) -> None:
        from vtkmodules.vtkFiltersSources import vtkPlaneSource
        from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper, vtkTexture

        self._axis = axis
        self._index: int | None = None
        self._quad = vtkPlaneSource()
        mapper = vtkPolyDataMapper()
        mapper.SetInputConnection(self._quad.GetOutputPort())
        self._texture = vtkTexture()
        self._texture.InterpolateOn()
        self._texture.EdgeClampOn()
        self.actor = vtkActor()
        self.actor.SetMapper(mapper)
        self.actor.SetTexture(self._texture)
        self.actor.GetProperty().LightingOff()

    def show(self, state: SceneState, fresh: bool) -> None:
        """Follow the cursor; ``fresh`` says that the picture itself has changed."""
        visible = state.volume is not None and not state.ray_cast
        self.actor.SetVisibility(visible)
        if not visible or state.volume is None:
            self._index = None
            return
        index = _slice_at(state, self._axis)
        if index == self._index and not fresh:
            return
        self._index = index
        self._place(state, index)
        self._paint(grey_slice(state, self._axis, index))

    def _place(self, state: SceneState, index: int) -> None:
        assert state.volume is not None
        geometry = state.volume.geometry
        rows, columns = (a for a in range(3) if a != self._axis)
        corner = np.full(3, -0.5)
        corner[self._axis] = index
        along_columns, along_rows = corner.copy(), corner.copy()
        along_columns[columns] += geometry.shape[columns]
        along_rows[rows] += geometry.shape[rows]
        self._quad.SetOrigin(*geometry.world(corner))
        self._quad.SetPoint1(*geometry.world(along_columns))
        self._quad.SetPoint2(*geometry.world(along_rows))

    def _paint(self, grey: np.ndarray) -> None:
        from vtkmodules.util.numpy_support import numpy_to_vtk
        from vtkmodules.vtkCommonDataModel import vtkImageData

        height, width = grey.shape[:2]
        image = vtkImageData()
        image.SetDimensions(width, height, 1)
        image.GetPointData().SetScalars(numpy_to_vtk(grey.reshape(-1, 2), deep=True))
        self._texture.SetInputData(image)


def _slice_at(state: SceneState, axis: int) -> int:
    assert state.volume is not None
    geometry = state.volume.geometry
    point = geometry.centre if state.cursor is None else np.asarray(state.cursor)
    index = int(np.floor(geometry.index(point)[axis] + 0.5))
    return min(max(index, 0), geometry.shape[axis] - 1)
