"""The picture of a report: Dice of each patient, volumes, calibration, as one SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from inference.training.own.figures import Figures
from inference.training.own.judge import Judged

__all__ = ["picture"]

_SIZE, _GAP, _TOP, _LEFT = 250, 78, 46, 58
_NEW, _OLD, _LINE, _TEXT = "#1f6fb2", "#b0b6bd", "#8a9099", "#2b2f33"

Place = Callable[[float, float], tuple[float, float]]


def picture(rows: Sequence[Judged], figures: Figures, old: Sequence[Judged] = ()) -> str:
    """SVG text; panels that have nothing to show are left out.

    Parameters
    ----------
    rows : sequence of Judged
        Left-out cases.
    figures : Figures
        Of those.
    old : sequence of Judged
        The same cases by an older model, drawn in grey.
    """
    panels = []
    dices = [row.figures["dice"] for row in rows if "dice" in row.figures]
    if dices:
        before = [row.figures["dice"] for row in old if "dice" in row.figures]
        panels.append(lambda x: _dice(x, dices, before))
        volumes = [(r.figures["gold_ml"], r.figures["found_ml"]) for r in rows]
        panels.append(lambda x: _volumes(x, volumes))
    if figures.table is not None and int((figures.table.true + figures.table.other).sum()):
        panels.append(lambda x: _calibration(x, figures))
    width = _LEFT + len(panels) * (_SIZE + _GAP)
    body = "".join(draw(_LEFT + n * (_SIZE + _GAP)) for n, draw in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_SIZE + 110}" '
        f'viewBox="0 0 {width} {_SIZE + 110}" font-family="sans-serif" font-size="13">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{body}</svg>\n'
    )


def _frame(x: float, title: str, across: str, up: str, ticks: Sequence[tuple[float, str]],
           tall: Sequence[tuple[float, str]]) -> str:  # fmt: skip
    bottom = _TOP + _SIZE
    parts = [
        f'<text x="{x}" y="{_TOP - 18}" font-size="15" fill="{_TEXT}">{escape(title)}</text>',
        f'<rect x="{x}" y="{_TOP}" width="{_SIZE}" height="{_SIZE}" fill="none" stroke="{_LINE}"/>',
        f'<text x="{x + _SIZE / 2}" y="{bottom + 44}" text-anchor="middle" fill="{_TEXT}">'
        f"{escape(across)}</text>",
        f'<text x="{x - 40}" y="{_TOP + _SIZE / 2}" text-anchor="middle" fill="{_TEXT}" '
        f'transform="rotate(-90 {x - 40} {_TOP + _SIZE / 2})">{escape(up)}</text>',
    ]
    for share, words in ticks:
        parts.append(_label(x + share * _SIZE, bottom + 20, "middle", words))
    for share, words in tall:
        parts.append(_label(x - 8, bottom - share * _SIZE + 4, "end", words))
    return "".join(parts)


def _label(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_TEXT}">{words}</text>'


def _dot(x: float, y: float, colour: str, radius: float = 4.5) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" fill-opacity="0.8"/>'


def _diagonal(x: float) -> str:
    return (
        f'<line x1="{x}" y1="{_TOP + _SIZE}" x2="{x + _SIZE}" y2="{_TOP}" stroke="{_LINE}" '
        'stroke-dasharray="4 4"/>'
    )


_SHARES = [(v, f"{v:g}") for v in (0.0, 0.25, 0.5, 0.75, 1.0)]


def _dice(x: float, new: Sequence[float], old: Sequence[float]) -> str:
    ordered = sorted(range(len(new)), key=lambda n: new[n])
    parts = [_frame(x, "Dice of each left-out case", "cases, worst first", "Dice", [], _SHARES)]
    for place, n in enumerate(ordered):
        at = x + _SIZE * (place + 0.5) / len(new)
        if len(old) == len(new):
            parts.append(_dot(at, _TOP + _SIZE * (1 - old[n]), _OLD))
        parts.append(_dot(at, _TOP + _SIZE * (1 - new[n]), _NEW))
    if len(old) == len(new):
        words = "grey: old model, blue: new model"
        parts.append(_label(x + _SIZE / 2, _TOP + _SIZE + 20, "middle", words))
    return "".join(parts)


def _volumes(x: float, pairs: Sequence[tuple[float, float]]) -> str:
    """On a scale of roots, so that small lesion loads are seen beside large ones."""
    largest = max([1e-3, *(v for pair in pairs for v in pair)])
    step = 10 ** math.floor(math.log10(largest))
    marks = [v for v in (0, step / 4, step, 2 * step, 5 * step) if v <= largest]
    ticks = [(math.sqrt(v / largest), f"{v:g}") for v in marks]
    parts = [_frame(x, "Volume", "reference, ml", "found, ml", ticks, ticks), _diagonal(x)]
    for gold, found in pairs:
        a, b = math.sqrt(gold / largest), math.sqrt(found / largest)
        parts.append(_dot(x + a * _SIZE, _TOP + (1 - b) * _SIZE, _NEW))
    return "".join(parts)


def _calibration(x: float, figures: Figures) -> str:
    assert figures.table is not None
    curve = figures.table.reliability()
    title = f"Calibration, error {curve.error:.3f}"
    parts = [_frame(x, title, "said", "true", _SHARES, _SHARES), _diagonal(x)]
    most = max(curve.voxels)
    for said, true, count in zip(curve.said, curve.true, curve.voxels, strict=True):
        radius = 3 + 5 * math.sqrt(count / most)
        parts.append(_dot(x + said * _SIZE, _TOP + (1 - true) * _SIZE, _NEW, radius))
    return "".join(parts)
