"""A small open case for the tests of panels: two images, a draft with its maps, a mask by hand."""

from __future__ import annotations

import numpy as np

from app.workspace import Workspace
from imaging.deidentify.key import Key
from imaging.edits.edit import AddItem, Group
from imaging.geometry import Geometry
from imaging.heatmap import GRAD_CAM, PROBABILITY, Heatmap
from imaging.segmentation import AUTOMATIC, Provenance, Segment, Segmentation
from imaging.volume import Patient, Source, Volume
from viewer.state.display import Cell, DisplayState, Plane

#: What stands for the patient in file names, with the key of the fixture ``fixed_key``.
TOKEN = Key(bytes([0x5A]) * 32).pseudonym("4711").removeprefix("ANON-")[:6].lower()
STEM = f"20240311-{TOKEN}-flair"
SHAPE = (20, 40, 40)
GRID = Geometry(SHAPE, [[0, 0, 2, -40], [0, 2, 0, -40], [3.2, 0, 0, -32], [0, 0, 0, 1]], "1.2.3")
MADE = Provenance(
    "Test model", "1.0", "ab" * 32, "CPU (2 threads)", "2026-01-02T03:04:05+00:00", 2.5
)
#: Centre and radius in voxels of the three lesions, largest first.
BALLS = (((10, 20, 20), 5), ((5, 8, 8), 3), ((15, 32, 30), 2))


def volume(id: str = "flair", sequence: str = "FLAIR") -> Volume:
    """An image with a patient."""
    source = Source(
        "dicom",
        patient=Patient("DOE^JANE", "4711", "19790412", "F"),
        study_date="20240311",
        study_description="Brain",
        series_description=sequence,
        sequence=sequence,
    )
    return Volume(id, f"{sequence} image", np.zeros(SHAPE, np.int16), GRID, source)


def probability() -> Heatmap:
    """Three balls, brightest in their middle."""
    values = np.zeros(SHAPE, np.float32)
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    for (a, b, c), radius in BALLS:
        away = np.sqrt((k - a) ** 2 + (j - b) ** 2 + (i - c) ** 2)
        values = np.maximum(values, np.clip(1 - away / (2 * radius), 0, 1).astype(np.float32))
    return Heatmap("prob", "Probability of lesions", values, PROBABILITY, GRID, "flair", MADE)


def draft() -> Segmentation:
    """What a model would give: the map cut at 0.5."""
    labels = (probability().values > 0.5).astype(np.uint8)
    segments = (Segment(1, "Lesion", (230, 159, 0), algorithm_type=AUTOMATIC),)
    return Segmentation.from_labels(
        "draft", "Lesions", GRID, "flair", labels, segments=segments, provenance=MADE, draft=True,
        threshold=0.5, probability_id="prob",
    )  # fmt: skip


def grad_cam() -> Heatmap:
    """The evidence for the first lesion."""
    values = np.zeros(SHAPE, np.float32)
    values[8:12, 18:22, 18:22] = 0.9
    return Heatmap("cam", "Grad-CAM", values, GRAD_CAM, GRID, "flair", MADE, "lesion 1")


def by_hand() -> Segmentation:
    """An empty mask with two labels, one of them locked."""
    segments = (
        Segment(1, "Ventricle", (0, 158, 115)),
        Segment(2, "Vessel", (213, 94, 0), locked=True),
    )
    return Segmentation("hand", "My mask", GRID, "flair", segments)


def open_workspace() -> Workspace:
    """Two images, FLAIR in the active cell; no masks."""
    workspace = Workspace()
    workspace.add_volume(volume("t1", "T1w"))
    workspace.add_volume(volume())
    workspace.show(DisplayState(cells=(Cell("a", Plane.ACQUIRED, "flair"),), active="a"))
    return workspace


def add_answer(workspace: Workspace) -> None:
    """The model has answered: map, Grad-CAM and draft in one step."""
    items = (probability(), grad_cam(), draft())
    workspace.execute(Group.of("Run Test model", [AddItem(x, "Add") for x in items]))
