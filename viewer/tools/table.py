"""The tools of the left button: one row each."""

from __future__ import annotations

from viewer.tools import brush, click, crosshair, oblique, window_level
from viewer.tools.tool import Tool

TOOLS: tuple[Tool, ...] = (
    window_level.TOOL,
    crosshair.TOOL,
    oblique.TOOL,
    brush.BRUSH,
    brush.ERASER,
    click.TOOL,
)

TOOL_BY_ID: dict[str, Tool] = {tool.id: tool for tool in TOOLS}


def tool_of(id: str) -> Tool:
    """The tool with this id, the reading tool where there is none."""
    return TOOL_BY_ID.get(id, window_level.TOOL)
