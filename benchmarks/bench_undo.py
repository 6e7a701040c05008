"""What undo and redo cost: through the one door, journal included, views left out.

``python benchmarks/bench_undo.py [--steps 60]``. A 256x256x192 mask gets strokes of ten voxels'
radius, then a whole answer of a model (mask and map) is added; each is undone and redone. Wall ms
until :meth:`Workspace.undo` returns, and CPU ms of the whole process, journal writer included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.workspace import Workspace  # noqa: E402
from imaging.case import Case  # noqa: E402
from imaging.edits.brush import Stroke  # noqa: E402
from imaging.edits.edit import AddItem, Edit, Group  # noqa: E402
from imaging.edits.operations import stroke_edit  # noqa: E402
from imaging.geometry import Geometry  # noqa: E402
from imaging.heatmap import Heatmap  # noqa: E402
from imaging.segmentation import PALETTE, Segment, Segmentation  # noqa: E402
from imaging.storage.journal import Journal  # noqa: E402
from imaging.volume import Source, Volume  # noqa: E402

SHAPE = (192, 256, 256)


class Kept:
    """The journal as the workspace wants it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.journal: Journal | None = None

    def prepare(self, case: Case) -> None:
        """Begin at the first edit."""
        if self.journal is None:
            self.journal = Journal.create(self._folder, "bench", case, "benchmark")

    def append(self, edit: Edit, case: Case, how: str) -> None:
        """Hand over one edit."""
        assert self.journal is not None
        self.journal.append(edit, case, how)


def opened(folder: Path) -> tuple[Workspace, Segmentation]:
    """A workspace with an image and an empty mask that keeps a journal."""
    workspace = Workspace()
    workspace.journal = Kept(folder)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]
    geometry = Geometry(SHAPE, affine)
    voxels = np.zeros(SHAPE, np.int16)
    workspace.add_volume(Volume("v", "FLAIR", voxels, geometry, Source("memory")))
    workspace.execute(AddItem(empty_mask("m", geometry), "Add a mask"))
    return workspace, workspace.case.segmentation("m")


def empty_mask(id: str, geometry: Geometry) -> Segmentation:
    """A mask with one label and no marked voxel."""
    labels = np.zeros(SHAPE, np.uint8)
    segments = (Segment(1, "Lesion", PALETTE[0]),)
    return Segmentation.from_labels(id, "Lesions", geometry, "v", labels, segments=segments)


def paint(workspace: Workspace, mask: Segmentation, steps: int) -> None:
    """Strokes of ten voxels' radius at random places."""
    rng = np.random.default_rng(0)
    done = 0
    while done < steps:
        stroke = Stroke(mask, 1, 10.0)
        point = rng.uniform(0.25, 0.75, 3) * SHAPE
        for _ in range(4):
            stroke.add(mask.geometry.world(point))
            point = point + rng.normal(0, 8, 3)
        voxels = stroke.finish("Brush")
        if voxels is not None:
            workspace.execute(stroke_edit(mask, voxels))
            done += 1


def answer(workspace: Workspace, geometry: Geometry) -> None:
    """What a model gives back: a mask and a map in one step."""
    rng = np.random.default_rng(1)
    grids = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    values = np.zeros(SHAPE, np.float32)
    for _ in range(30):
        centre = rng.uniform(0.3, 0.7, 3) * SHAPE
        away = sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True))
        np.maximum(values, np.exp(-away / 60.0).astype(np.float32), out=values)
    segments = (Segment(1, "Lesion", PALETTE[1]),)
    labels = (values > 0.5).astype(np.uint8)
    mask = Segmentation.from_labels("a", "Draft", geometry, "v", labels, segments=segments)
    heat = Heatmap("h", "Probability", values, "probability", geometry, "v")
    workspace.execute(Group("Run model", (AddItem(mask, "Add"), AddItem(heat, "Add"))))


def timed(step: Callable[[], object], workspace: Workspace) -> tuple[float, float]:
    """Wall ms until the call returns, CPU ms until the journal has it."""
    assert isinstance(workspace.journal, Kept)
    assert workspace.journal.journal is not None
    wall, cpu = time.perf_counter(), time.process_time()
    assert step() is not None
    wall = time.perf_counter() - wall
    workspace.journal.journal.wait()
    return 1000 * wall, 1000 * (time.process_time() - cpu)


def row(what: str, taken: list[tuple[float, float]]) -> str:
    """Median and 95th percentile of both figures."""
    columns = np.array(taken).T
    figures = "".join(f"{np.median(c):9.2f}{np.percentile(c, 95):9.2f}" for c in columns)
    return f"{what:26}{figures}{len(taken):6}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace, mask = opened(Path(folder))
        paint(workspace, mask, options.steps)
        print(f"{'':26}{'wall ms':>9}{'p95':>9}{'CPU ms':>9}{'p95':>9}{'n':>6}")
        painted = mask.labels.copy()
        back = [timed(workspace.undo, workspace) for _ in range(options.steps)]
        print(row("undo a stroke", back))
        assert not mask.labels.any()
        print(row("redo a stroke", [timed(workspace.redo, workspace) for _ in back]))
        assert np.array_equal(mask.labels, painted)
        answer(workspace, mask.geometry)
        ways = [(timed(workspace.undo, workspace), timed(workspace.redo, workspace))
                for _ in range(5)]  # fmt: skip
        print(row("undo an answer", [one for one, _ in ways]))
        print(row("redo an answer", [other for _, other in ways]))
        assert isinstance(workspace.journal, Kept)
        if workspace.journal.journal is not None:
            workspace.journal.journal.close(discard=True)


if __name__ == "__main__":
    main()
