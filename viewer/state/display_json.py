"""The display state as plain JSON, for case files; reading forgives what it does not know."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from typing import Any

from imaging.volume import Window
from viewer.state.colour_tables import COLOUR_TABLES, DEFAULT_COLOUR_TABLE
from viewer.state.display import Brush, Camera, Cell, DisplayState, Layout, Overlay, Plane


def display_to_json(display: DisplayState) -> dict[str, Any]:
    """What is worth keeping: cells, layout, crosshair, windows, overlays."""
    return {
        "cells": [{**asdict(cell), "plane": cell.plane.value} for cell in display.cells],
        "layout": display.layout.value,
        "active": display.active,
        "cursor": display.cursor,
        "frame": display.frame,
        "windows": {id: list(window) for id, window in display.windows.items()},
        "inverted": sorted(display.inverted),
        "overlays": {
            id: {**asdict(o), "hidden_segments": sorted(o.hidden_segments)}
            for id, o in display.overlays.items()
        },
        "brush": {"radius_mm": display.brush.radius_mm, "shape": display.brush.shape},
    }


def overlays_to_json(display: DisplayState) -> dict[str, Any]:
    """What lies over the images and how it is shown, for the journal."""
    return {
        "overlays": display_to_json(display)["overlays"],
        "overlays_shown": display.overlays_shown,
    }


def overlays_from_json(
    stored: Mapping[str, Any], fallback: DisplayState, ids: Collection[str]
) -> DisplayState:
    """The display with the overlays of these items as they were; ``fallback`` is used where
    that makes no sense.
    """
    try:
        known = {id: _overlay(o) for id, o in stored["overlays"].items() if id in ids}
        shown = bool(stored["overlays_shown"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return fallback
    return fallback.but(overlays={**fallback.overlays, **known}, overlays_shown=shown)


def display_from_json(
    stored: Mapping[str, Any], fallback: DisplayState, ids: Mapping[str, str]
) -> DisplayState:
    """The display state that was stored.

    Parameters
    ----------
    fallback : DisplayState
        Used as it is where the stored one makes no sense.
    ids : mapping
        Stored volume ids to the ids they have now.
    """
    try:
        cells = tuple(_cell(one, ids) for one in stored["cells"])
        if not cells:
            return fallback
        return fallback.but(
            cells=cells,
            layout=Layout(stored["layout"]),
            active=str(stored["active"]),
            cursor=_point(stored.get("cursor")),
            frame=str(stored.get("frame", "")),
            windows={
                ids.get(id, id): Window(_number(w[0]), _number(w[1]))
                for id, w in stored.get("windows", {}).items()
            },
            inverted=frozenset(ids.get(i, i) for i in stored.get("inverted", ())),
            overlays={id: _overlay(o) for id, o in stored.get("overlays", {}).items()},
            brush=_brush(stored.get("brush", {})),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return fallback


def _cell(stored: Mapping[str, Any], ids: Mapping[str, str]) -> Cell:
    volume_id = str(stored["volume_id"])
    return Cell(
        str(stored["id"]),
        Plane(stored["plane"]),
        ids.get(volume_id, volume_id),
        _camera(stored["camera"]),
        _point(stored.get("normal")),
        _point(stored.get("right")),
    )


def _camera(stored: Mapping[str, Any]) -> Camera:
    known = _known(Camera, stored)
    right, down = known.get("pan_mm", (0.0, 0.0))
    known["pan_mm"] = _number(right), _number(down)
    camera = Camera(**known)
    if _number(camera.zoom) <= 0 or camera.quarter_turns not in range(4):
        raise ValueError("a picture without size or with half turns")
    return camera


def _overlay(stored: Mapping[str, Any]) -> Overlay:
    known = _known(Overlay, stored)
    known["hidden_segments"] = frozenset(int(n) for n in known.get("hidden_segments", ()))
    if known.get("colour_table") not in COLOUR_TABLES:
        known["colour_table"] = DEFAULT_COLOUR_TABLE
    overlay = Overlay(**known)
    if not all(0 <= _number(v) <= 1 for v in (overlay.opacity, overlay.low, overlay.high)):
        raise ValueError("an opacity or range outside 0 to 1")
    return overlay


def _brush(stored: Mapping[str, Any]) -> Brush:
    known = _known(Brush, stored)
    brush = Brush(_number(known.get("radius_mm", 4.0)), str(known.get("shape", "disc")))
    if brush.radius_mm <= 0 or brush.shape not in ("disc", "ball"):
        raise ValueError("no brush")
    return brush


def _known(kind: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in stored.items() if name in names}


def _point(values: Any) -> tuple[float, float, float] | None:
    return None if values is None else (_number(values[0]), _number(values[1]), _number(values[2]))


def _number(value: Any) -> float:
    if isinstance(value, str) or not math.isfinite(value):
        raise ValueError("not a number")
    return float(value)
