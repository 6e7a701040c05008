"""The display state as plain JSON, for case files; reading forgives what it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from imaging.volume import Window
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
                ids.get(id, id): Window(float(w[0]), float(w[1]))
                for id, w in stored.get("windows", {}).items()
            },
            inverted=frozenset(ids.get(i, i) for i in stored.get("inverted", ())),
            overlays={id: _overlay(o) for id, o in stored.get("overlays", {}).items()},
            brush=replace(Brush(), **_known(Brush, stored.get("brush", {}))),
        )
    except (KeyError, TypeError, ValueError, IndexError):
        return fallback


def _cell(stored: Mapping[str, Any], ids: Mapping[str, str]) -> Cell:
    camera = _known(Camera, stored["camera"])
    camera["pan_mm"] = tuple(camera.get("pan_mm", (0.0, 0.0)))
    return Cell(
        str(stored["id"]),
        Plane(stored["plane"]),
        ids.get(stored["volume_id"], stored["volume_id"]),
        Camera(**camera),
        _point(stored.get("normal")),
        _point(stored.get("right")),
    )


def _overlay(stored: Mapping[str, Any]) -> Overlay:
    known = _known(Overlay, stored)
    known["hidden_segments"] = frozenset(int(n) for n in known.get("hidden_segments", ()))
    return Overlay(**known)


def _known(kind: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in stored.items() if name in names}


def _point(values: Any) -> tuple[float, float, float] | None:
    return None if values is None else (float(values[0]), float(values[1]), float(values[2]))
