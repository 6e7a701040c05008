"""Brush and eraser: a stroke is previewed until the hand lifts, then it is one edit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imaging.case import Case
from imaging.edits.brush import Stroke
from imaging.edits.operations import stroke_edit
from imaging.errors import EditRefused
from imaging.geometry import Box
from imaging.segmentation import Segmentation
from imaging.uneven import UnevenGeometry
from imaging.volume import Volume
from viewer.state.display import DisplayState
from viewer.state.windows import shown_window
from viewer.tools.tool import Gesture, PointerEvent, Preview, Scene, Tool

BRUSH_RANGE_MM = (0.25, 60.0)
#: A Ctrl press that moves less than this (logical pixels) picks the label instead of erasing.
PICK_PIXELS = 3.0


def brush_target(case: Case, display: DisplayState) -> tuple[str, int]:
    """Mask and label that a stroke on the active view paints; an empty id for a mask to be made.

    What was chosen, while it is there; else the newest mask on that image, a shown one first. Masks
    of tissues and other parts of the body are painted only where somebody has chosen them.
    """
    chosen = case.items.get(display.brush.segmentation_id)
    if isinstance(chosen, Segmentation):
        return chosen.id, display.brush.label
    cell = display.cell(display.active)
    volume = case.items.get(cell.volume_id if cell else "") or next(iter(case.volumes), None)
    masks = [
        mask
        for mask in case.segmentations
        if volume and mask.volume_id == volume.id and not mask.anatomical
    ]
    if not masks:
        return "", 1
    mask = ([mask for mask in masks if display.overlay(mask.id).visible] or masks)[-1]
    return mask.id, mask.segments[0].number if mask.segments else 1


def brush_sized(display: DisplayState, steps: int) -> DisplayState:
    """A larger or smaller brush, a tenth of its size per step."""
    radius = display.brush.radius_mm * 1.1**steps
    radius = min(max(radius, BRUSH_RANGE_MM[0]), BRUSH_RANGE_MM[1])
    return display.but(brush=replace(display.brush, radius_mm=radius))


def brush(start: PointerEvent, scene: Scene) -> Gesture:
    """Paint; with Ctrl erase, with Alt only inside the shown range; Ctrl+click picks the label."""
    if "ctrl" in start.modifiers:
        return _erase_or_pick(start, scene)
    return _paint(start, scene, erase=False)


def eraser(start: PointerEvent, scene: Scene) -> Gesture:
    """Set voxels back to background."""
    return _paint(start, scene, erase=True)


def _erase_or_pick(start: PointerEvent, scene: Scene) -> Gesture:
    event = yield
    while event.kind != "release" and _distance(start, event) < PICK_PIXELS:
        event = yield
    if _distance(start, event) < PICK_PIXELS:
        pick_label(start, scene)
        return
    painting = _paint(start, scene, erase=True)
    next(painting)
    try:
        while True:
            try:
                painting.send(event)
            except StopIteration:
                return
            event = yield
    finally:
        painting.close()


def pick_label(at: PointerEvent, scene: Scene) -> None:
    """Paint from now on with the label under the hand."""
    segmentation = _target(scene)
    index = segmentation.geometry.nearest(at.world)
    label = 0 if index is None else int(segmentation.labels[index])
    segment = segmentation.segment(label)
    if segment is None:
        scene.say("There is no label here to pick")
        return
    scene.show(scene.display.but(brush=replace(scene.display.brush, label=label)))
    scene.say(f"Label: {segment.name}")


def _paint(start: PointerEvent, scene: Scene, erase: bool) -> Gesture:
    segmentation = _target(scene)
    _check_frame(start, scene, segmentation)
    stroke = _stroke(start, scene, segmentation, erase)
    _make_visible(scene, segmentation)
    event, covered = start, False
    try:
        while True:
            dirty = stroke.add(event.world)
            if not dirty.empty:
                covered = True
                scene.preview(_preview(stroke, dirty))
            if event.kind == "release":
                break
            event = yield
        edit = stroke.finish("Eraser stroke" if erase else "Brush stroke")
        if edit is not None:
            scene.execute(stroke_edit(segmentation, edit))
        elif not covered:
            scene.say(f"The brush is outside the mask {segmentation.name}")
    finally:
        scene.preview(None)


def _stroke(start: PointerEvent, scene: Scene, segmentation: Segmentation, erase: bool) -> Stroke:
    settings = scene.display.brush
    limited = "alt" in start.modifiers or (settings.only_range and not erase)
    volume = _painted_volume(start, scene, segmentation) if limited else None
    window = shown_window(volume, scene.display) if volume else None
    return Stroke(
        segmentation,
        settings.label,
        settings.radius_mm,
        "disc" if settings.shape == "disc" else "ball",
        normal=start.normal,
        erase=erase,
        intensity_range=(window.low, window.high) if window else None,
        volume=volume,
    )


def _make_visible(scene: Scene, segmentation: Segmentation) -> None:
    """Nobody paints on a mask that is not seen: show it, and say so."""
    display = scene.display
    look = display.overlay(segmentation.id)
    hidden = look.hidden_segments - {display.brush.label}
    if display.overlays_shown and look.visible and look.opacity and hidden == look.hidden_segments:
        return
    opacity = look.opacity or 0.5
    shown = display.with_overlay(
        segmentation.id, visible=True, opacity=opacity, hidden_segments=hidden
    )
    scene.show(shown.but(overlays_shown=True))
    scene.say(f"{segmentation.name} was hidden and is shown again")


def _preview(stroke: Stroke, dirty: Box) -> Preview:
    return Preview(stroke.segmentation.id, dirty, stroke.view(dirty), dirty)


def _target(scene: Scene) -> Segmentation:
    item = scene.case.items.get(scene.display.brush.segmentation_id)
    if not isinstance(item, Segmentation):
        raise EditRefused("There is no mask to paint on", "", "Choose or add one under Segments")
    if isinstance(item.geometry, UnevenGeometry):
        raise EditRefused(
            "This mask lies on slices at uneven distances", item.name,
            "Make an even volume and paint on that",
        )  # fmt: skip
    return item


def _check_frame(start: PointerEvent, scene: Scene, segmentation: Segmentation) -> None:
    """A place in another frame of reference means nothing to the mask."""
    cell = scene.display.cell(start.cell)
    volume = scene.case.items.get(cell.volume_id if cell else "")
    if isinstance(volume, Volume) and not volume.geometry.same_frame(segmentation.geometry):
        raise EditRefused(
            "This view is not in the frame of reference of the mask", segmentation.name,
            "Paint in a view of the image the mask lies on",
        )  # fmt: skip


def _painted_volume(start: PointerEvent, scene: Scene, segmentation: Segmentation) -> Volume:
    """The volume whose values limit the brush: the one seen, where it shares the mask's grid."""
    cell = scene.display.cell(start.cell)
    for id in (cell.volume_id if cell else "", segmentation.volume_id):
        volume = scene.case.items.get(id)
        if isinstance(volume, Volume) and volume.geometry.same_grid(segmentation.geometry):
            return volume
    raise EditRefused("The intensity range needs the image this mask lies on", segmentation.name)


def _distance(a: PointerEvent, b: PointerEvent) -> float:
    return float(np.hypot(a.screen[0] - b.screen[0], a.screen[1] - b.screen[1]))


BRUSH = Tool("brush", "Brush", True, brush)
ERASER = Tool("eraser", "Eraser", True, eraser)
