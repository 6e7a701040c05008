"""One slice on screen: a QWidget that paints what its plan says, without OpenGL.

The view is told (:meth:`SliceView.apply`, ``voxels_changed``, ``preview``) and tells about the
hand by signals; it never writes state. Pictures are made when Qt asks for a paint, so many
changes between two frames cost one.
"""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, Qt, Signal
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QWidget

from imaging.case import Case
from imaging.geometry import Box
from imaging.segmentation import Segmentation
from imaging.volume import Volume
from viewer.rendering.outline import enlarged, outlined
from viewer.rendering.slice_engine import box_on_cut, mask_picture
from viewer.rendering.slice_pictures import MaskPicture, Patch, SlicePictures
from viewer.state.display import Plane
from viewer.state.slice_plan import SlicePlan
from viewer.tools.table import tool_of
from viewer.tools.tool import Preview, Scene
from viewer.widgets import slice_paint as marks
from viewer.widgets.offer import even_offer
from viewer.widgets.pointer import Hand

_RGB = QImage.Format.Format_RGB32
_ARGB = QImage.Format.Format_ARGB32_Premultiplied
#: Outlines are this thick, in logical pixels.
OUTLINE_PIXELS = 1.5


class SliceView(QWidget):
    """A slice of a volume with its overlays and marks.

    Signals
    -------
    hovered(world, volume_id)
        The point under the pointer (LPS mm, shape (3,)), told anew when another plane comes
        under a pointer that rests; ``(None, "")`` when it leaves.
    activated(cell)
        A button was pressed here.
    maximise_requested(cell)
        Double click.
    menu_requested(cell, place)
        Right click at a global screen position.
    clicked(world, volume_id)
        A left click without a drag while reading.
    even_wanted(volume_id)
        The offer to make an even volume was taken.
    """

    hovered = Signal(object, str)
    activated = Signal(str)
    maximise_requested = Signal(str)
    menu_requested = Signal(str, QPoint)
    clicked = Signal(object, str)
    even_wanted = Signal(str)

    def __init__(self, cell: str, scene: Scene, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cell = cell
        self.hand = Hand(scene)
        self._plan = SlicePlan(cell, Plane.AXIAL, (1, 1))
        self._case = Case()
        self._pictures = SlicePictures()
        self._backdrop = QImage()
        self._backdrop_key: object = None
        self._pointer: QPointF | None = None
        self._ring: tuple[float, bool] = (0.0, False)
        self._told: tuple[str, np.ndarray] | None = None
        self._loading = ""
        self._offer = even_offer(self)
        self._offer.clicked.connect(lambda: self.even_wanted.emit(self._plan.uneven))
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setMinimumSize(64, 64)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setAccessibleName(f"slice view {cell}")

    # --- told ---------------------------------------------------------------------------------
    @property
    def plan(self) -> SlicePlan:
        """What is shown now."""
        return self._plan

    def apply(self, plan: SlicePlan, case: Case) -> None:
        """Show a plan; nothing is drawn where it equals the one before."""
        same = plan == self._plan and case is self._case and self._ring == self._ring_now()
        self._plan, self._case = plan, case
        if plan.volume_id not in case.items:
            self._pictures = SlicePictures()
        if not same:
            self._offer.place(bool(plan.uneven))
            self._mark_pointer()
            self.update()
            self._tell_other_point()

    def voxels_changed(self, item: object, box: Box | None) -> None:
        """Voxels of a volume or mask have changed inside a block, or anywhere."""
        if isinstance(item, Volume) and item.id == self._plan.volume_id:
            self._pictures.forget_neighbours()
            if self._meets(item, box):
                self._pictures.forget_voxels()
                self.update()
        elif isinstance(item, Segmentation):
            whole = Box.whole(item.geometry.shape)
            self._redraw(self._pictures.mask_changed(item, box or whole))

    def preview(self, preview: Preview) -> None:
        """Draw other labels inside a block until they are taken back."""
        item = self._case.items.get(preview.item)
        if not isinstance(item, Segmentation):
            return
        self._redraw(self._pictures.patch_mask(item, preview.labels, preview.box))

    def set_loading(self, sentence: str) -> None:
        """Say that more slices are on their way; empty takes it back."""
        if sentence != self._loading:
            self._loading = sentence
            self.update()

    # --- painting -----------------------------------------------------------------------------
    def paintEvent(self, event) -> None:
        """Paint the backdrop, the masks, the drawings of the files and the marks."""
        painter = QPainter(self)
        plan = self._plan
        if plan.message or plan.volume_id not in self._case.items:
            painter.fillRect(self.rect(), marks.BACKGROUND)
            marks.paint_message(painter, plan.message, plan.size)
            if plan.volume_id:
                self._paint_marks(painter)
            marks.paint_frame(painter, plan.size, plan.active)
            return
        self._pictures.make(plan, self._case.items)
        self._paint_backdrop(painter)
        for picture in self._pictures.masks:
            self._paint_mask(painter, picture)
        if self._pictures.drawing is not None:
            self._paint_drawing(painter, self._pictures.drawing)
        self._paint_marks(painter)
        marks.paint_frame(painter, plan.size, plan.active)

    def _paint_backdrop(self, painter: QPainter) -> None:
        """The image and the maps; from the second paint on from a copy at the screen's size."""
        plan, ratio = self._plan, self.devicePixelRatioF()
        key = (self._pictures.backdrop, plan.picture, plan.size, ratio)
        if key != self._backdrop_key:
            self._backdrop_key, self._backdrop = key, QImage()
            self._paint_image(painter)
            return
        if self._backdrop.isNull():
            self._backdrop = QImage((self.size().toSizeF() * ratio).toSize(), _RGB)
            self._backdrop.setDevicePixelRatio(ratio)
            copier = QPainter(self._backdrop)
            self._paint_image(copier)
            copier.end()
        painter.drawImage(0, 0, self._backdrop)

    def _paint_image(self, painter: QPainter) -> None:
        blended = _image(self._pictures.grey, _RGB)
        if self._pictures.maps:
            # Maps are blended at the size of the slice, so that Qt scales one picture only.
            blended = blended.copy()
            blender = QPainter(blended)
            for picture in self._pictures.maps:
                blender.drawImage(0, 0, _image(picture, _ARGB))
            blender.end()
        painter.fillRect(self.rect(), marks.BACKGROUND)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, True)
        painter.drawImage(QRectF(*self._plan.picture), blended)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)

    def _paint_mask(self, painter: QPainter, picture: MaskPicture) -> None:
        if not picture.layer.outline:
            painter.drawImage(QRectF(*self._plan.picture), _image(picture.colours, _ARGB))
            return
        ratio = self.devicePixelRatioF()
        left, top, width, height = (v * ratio for v in self._plan.picture)
        size = (round(self.width() * ratio), round(self.height() * ratio))
        labels = enlarged(picture.labels, (left, top, width, height), size)
        edges = outlined(labels, max(1, round(OUTLINE_PIXELS * ratio)))
        image = _image(mask_picture(edges, picture.layer), _ARGB)
        image.setDevicePixelRatio(ratio)
        painter.drawImage(0, 0, image)

    def _paint_drawing(self, painter: QPainter, colours: np.ndarray) -> None:
        """Pixel by pixel; only a picture that shrinks is smoothed, so that no thin line is lost."""
        target = QRectF(*self._plan.picture)
        shrinks = target.width() * self.devicePixelRatioF() < colours.shape[1]
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, shrinks)
        painter.drawImage(target, _image(colours, _ARGB))
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)

    def _paint_marks(self, painter: QPainter) -> None:
        plan = self._plan
        marks.paint_crosshair(painter, plan)
        if plan.scale_bar is not None:
            marks.paint_scale_bar(painter, plan.scale_bar, plan.size)
        if plan.legend is not None:
            marks.paint_legend(painter, plan.legend, plan.size)
        marks.paint_texts(painter, plan.texts, plan.size)
        marks.paint_letters(painter, plan.letters, plan.size)
        if self._loading:
            marks.paint_pill(painter, self._loading, plan.size)
        self._paint_brush(painter)

    def _paint_brush(self, painter: QPainter) -> None:
        self._ring = radius, erase = self._ring_now()
        if self._pointer is not None and radius:
            marks.paint_brush(painter, self._pointer, radius, erase)

    # --- what to redraw -----------------------------------------------------------------------
    def _meets(self, volume: Volume, box: Box | None) -> bool:
        cut = self._plan.cut
        return box is None or cut is None or bool(box_on_cut(box, cut, volume.geometry.shape))

    def _redraw(self, patch: Patch | None) -> None:
        if patch is None:
            return
        left, top, width, height = self._plan.picture
        grid = self._plan.grid
        across, down = width / max(1, grid.columns), height / max(1, grid.rows)
        rect = QRectF(
            left + patch.columns.start * across,
            top + patch.rows.start * down,
            (patch.columns.stop - patch.columns.start) * across,
            (patch.rows.stop - patch.rows.start) * down,
        )
        self.update(rect.toAlignedRect().adjusted(-3, -3, 3, 3))

    def _brush_radius(self) -> float:
        display = self.hand.scene.display
        if display.tool not in ("brush", "eraser") or not self._plan.volume_id:
            return 0.0
        return display.brush.radius_mm / self._plan.mm_per_pixel

    def _ring_now(self) -> tuple[float, bool]:
        """Radius of the brush's circle, 0 for none, and whether it erases."""
        return self._brush_radius(), self.hand.scene.display.tool == "eraser"

    def _mark_pointer(self) -> None:
        """Redraw where the brush circle is."""
        radius = self._brush_radius()
        if self._pointer is not None and radius:
            reach = int(radius) + 4
            here = self._pointer.toPoint()
            self.update(QRect(here.x() - reach, here.y() - reach, 2 * reach, 2 * reach))

    # --- the hand -----------------------------------------------------------------------------
    def mousePressEvent(self, event) -> None:
        """A gesture begins."""
        self.activated.emit(self.cell)
        self.hand.press(event, self._plan)

    def mouseMoveEvent(self, event) -> None:
        """The hand moves, with or without a button."""
        self._mark_pointer()
        self._pointer = event.position()
        self._mark_pointer()
        if self._plan.volume_id:
            self._tell_point(event.position())
        self.hand.move(event, self._plan)

    def mouseReleaseEvent(self, event) -> None:
        """The gesture ends; a right click asks for the menu."""
        still = self.hand.is_click(event)
        if self.hand.release(event, self._plan):
            self.menu_requested.emit(self.cell, event.globalPosition().toPoint())
        elif still and self._plan.volume_id:
            world = self._plan.world(event.position().x(), event.position().y())
            self.clicked.emit(world, self._plan.volume_id)

    def mouseDoubleClickEvent(self, event) -> None:
        """Maximise or restore; while editing the second click of two is a dab like the first."""
        editing = tool_of(self.hand.scene.display.tool).editing
        if event.button() == Qt.MouseButton.LeftButton and not editing:
            self.maximise_requested.emit(self.cell)
        else:
            self.mousePressEvent(event)

    def wheelEvent(self, event) -> None:
        """Slices, zoom or brush size."""
        self.hand.wheel(event, self._plan)
        event.accept()

    def keyPressEvent(self, event) -> None:
        """Esc cancels the gesture; all other keys are for the window."""
        if event.key() == Qt.Key.Key_Escape and self.hand.cancel():
            event.accept()
        else:
            event.ignore()

    def hideEvent(self, event) -> None:
        """Keep no pictures that nobody sees."""
        self.hand.cancel()
        self._pictures, self._backdrop = SlicePictures(), QImage()
        self._backdrop_key = None
        super().hideEvent(event)

    def focusOutEvent(self, event) -> None:
        """A gesture does not outlive the focus."""
        self.hand.cancel()
        super().focusOutEvent(event)

    def leaveEvent(self, event) -> None:
        """No pointer, no brush circle."""
        self._mark_pointer()
        self._pointer = None
        self._tell_nothing()
        super().leaveEvent(event)

    # --- the point under the pointer ----------------------------------------------------------
    def _tell_point(self, at: QPointF) -> None:
        world = self._plan.world(at.x(), at.y())
        self._told = self._plan.volume_id, world
        self.hovered.emit(world, self._plan.volume_id)

    def _tell_nothing(self) -> None:
        self._told = None
        self.hovered.emit(None, "")

    def _tell_other_point(self) -> None:
        """The plane has changed under a pointer that rests: what it points at, too."""
        if self._pointer is None or self._told is None:
            return
        if not self._plan.volume_id:
            self._tell_nothing()
            return
        volume_id, point = self._told
        here = self._plan.world(self._pointer.x(), self._pointer.y())
        if volume_id != self._plan.volume_id or not np.array_equal(point, here):
            self._tell_point(self._pointer)


def _image(pixels: np.ndarray, kind: QImage.Format) -> QImage:
    """A QImage over a C-contiguous array, which must outlive it."""
    rows, columns = pixels.shape
    return QImage(pixels.data, columns, rows, columns * pixels.itemsize, kind)
