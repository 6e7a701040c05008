"""How a proposal is drawn before it is accepted: a layer of its own, and the box being opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imaging.edits.edit import AddItem
from imaging.segmentation import PROPOSED_ID, Segment, Segmentation
from imaging.volume import Volume
from viewer.tools.tool import Preview

if TYPE_CHECKING:
    from imaging.analysis.proposal import Proposal
    from imaging.geometry import Box
    from viewer.state.display import DisplayState

#: No label begins with this colour, so a proposal is told from what is accepted.
COLOUR = (255, 240, 120)


def layer_edit(volume: Volume, proposal: Proposal) -> AddItem | None:
    """What is rehearsed to show a proposal; None where nothing was found."""
    if proposal.empty:
        return None
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[proposal.box.slices] = proposal.mask
    layer = Segmentation.from_labels(
        PROPOSED_ID,
        "Proposal",
        volume.geometry,
        volume.id,
        labels,
        segments=(Segment(1, "Proposal (Enter accepts)", COLOUR),),
    )
    return AddItem(layer, "Proposal")


def with_layer_look(display: DisplayState) -> DisplayState:
    """A display that draws the proposal as an outline, whatever the masks look like."""
    return display.with_overlay(PROPOSED_ID, visible=True, outline=True, opacity=1.0)


def revealed(display: DisplayState, mask_id: str, label: int) -> DisplayState:
    """A display that shows a label of a mask; the same one where it is shown already."""
    look = display.overlay(mask_id)
    if label in look.hidden_segments:
        display = display.with_overlay(mask_id, hidden_segments=look.hidden_segments - {label})
    if not look.visible:
        display = display.with_overlay(mask_id, visible=True)
    if look.opacity <= 0:
        display = display.with_overlay(mask_id, opacity=type(look)().opacity)
    return display if display.overlays_shown else display.but(overlays_shown=True)


def frame(mask: Segmentation, box: Box, normal: np.ndarray, label: int) -> Preview:
    """The rim of a box as a preview, so that the plane with this normal shows a rectangle."""
    along = int(np.abs(mask.geometry.directions.T @ np.asarray(normal)).argmax())
    rims = np.zeros(box.shape, bool)
    for axis, size in enumerate(box.shape):
        if size > 2 and axis != along:
            rim = np.zeros(size, bool)
            rim[[0, -1]] = True
            rims |= rim.reshape([-1 if a == axis else 1 for a in range(3)])
    labels = mask.labels[box.slices].copy()
    labels[rims] = label
    return Preview(mask.id, box, labels, box)
