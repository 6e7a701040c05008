"""What the user wants to export, as a value between the dialog and the writers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportChoice:
    """What shall be written, and where.

    Parameters
    ----------
    folder : Path
        An existing folder; nothing in it is overwritten.
    kinds : tuple of str
        Ids out of ``KINDS`` of the export dialog.
    segmentation_id : str
        The mask; empty where none is written.
    accepted_only : bool
        Leave out labels nobody has taken over.
    volume_id : str
        The image, also the one a mask refers to.
    heatmap_ids : tuple of str
        The maps that are written.
    """

    folder: Path
    kinds: tuple[str, ...]
    segmentation_id: str = ""
    accepted_only: bool = False
    volume_id: str = ""
    heatmap_ids: tuple[str, ...] = ()
