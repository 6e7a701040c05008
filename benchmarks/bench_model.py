"""How long models take and how much memory: all installed ones, or one of them in detail.

``python -m benchmarks.bench_model`` prints a table of all models, each in a worker of its own, with
its cost against the quick lesion model; ``--write`` puts processor seconds (what a run takes on one
idle core) and memory into the cards, with ``--model ID`` into that one only. ``--model ID`` alone
prints one model in detail: whole head, Grad-CAM of one lesion and of all. Figures are the worker's
own: wall seconds, processor seconds (all threads, user and system) and the peak of its resident
memory since it started. With a real head in ``../shared/data`` that one is used, else the built-in
phantom. Wall seconds need an idle computer; processor seconds hardly do.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imaging.geometry import Box, Geometry
from imaging.volume import Source, Volume
from inference.card_reading import load_card
from inference.client import Run, WorkerClient
from inference.devices import cores
from inference.messages import ClickAnswer, ExplainAnswer, SegmentAnswer
from inference.model import CARD_NAME, CLICK, LESIONS, PRESENCE
from inference.registry import InstalledModel, find_model, installed_models

REAL_HEAD = (
    Path(__file__).resolve().parents[2]
    / "shared/data/ms_open_mni/MNI/patient19"
    / "FLAIR_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
)


def head_volume(path: Path = REAL_HEAD) -> tuple[Volume, str]:
    """The volume to measure with, and what it is."""
    if path.is_file():
        import nibabel
        from nibabel.nifti1 import Nifti1Image

        image = nibabel.load(path)  # type: ignore[attr-defined]
        assert isinstance(image, Nifti1Image)
        assert image.affine is not None
        voxels = np.asarray(image.dataobj, np.float32).transpose(2, 1, 0)
        geometry = Geometry.from_nifti(image.shape, image.affine)
        return Volume("head", "FLAIR", voxels, geometry, Source("nifti", sequence="FLAIR")), "real"
    return phantom_volume(), "phantom"


def phantom_volume(shape: tuple[int, int, int] = (182, 218, 182)) -> Volume:
    """A bright ellipsoid with a grid of small brighter balls, 1 mm."""
    affine = np.eye(4)[[2, 1, 0, 3]]
    k, j, i = np.ogrid[tuple(slice(0, n) for n in shape)]
    middle = [(n - 1) / 2 for n in shape]
    inside = (
        ((k - middle[0]) / 70) ** 2 + ((j - middle[1]) / 88) ** 2 + ((i - middle[2]) / 68) ** 2
    ) < 1
    voxels = np.where(inside, 300.0, 0.0) + np.random.default_rng(0).normal(0, 8, shape)
    balls = (k % 36 - 18) ** 2 + (j % 36 - 18) ** 2 + (i % 36 - 18) ** 2 < 16
    voxels[balls & inside] += 280
    source = Source("memory", sequence="FLAIR")
    return Volume("head", "Phantom", voxels.astype(np.float32), Geometry(shape, affine), source)


def worker_cost(pid: int) -> tuple[float, float]:
    """Processor seconds so far and peak resident MB of a process; zeros where not known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0, 0.0
    import os

    ticks = os.sysconf("SC_CLK_TCK")
    peak = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM"))
    return (int(fields[11]) + int(fields[12])) / ticks, peak / 1024


def measured(client: WorkerClient, what: str, start) -> tuple[object, str]:
    """Run once; the outcome and a row of the table."""
    before = worker_cost(client.worker_pid)[0] if client.worker_pid else 0.0
    begun = time.perf_counter()
    run: Run = start()
    outcome = run.wait()
    wall = time.perf_counter() - begun
    if not isinstance(outcome, (SegmentAnswer, ExplainAnswer)):
        raise SystemExit(f"{what}: {outcome}")
    cpu, peak = worker_cost(client.worker_pid or 0)
    return outcome, f"| {what} | {wall:.2f} | {cpu - before:.2f} | {peak:.0f} |"


def rows(model: InstalledModel, volume: Volume, repeats: int) -> Iterator[str]:
    """All measurements, the cold start first."""
    with WorkerClient() as client:
        answer, row = measured(
            client, "whole head, cold start", lambda: client.segment(volume, model)
        )
        yield row
        for number in range(1, repeats + 1):
            # A changed voxel makes the worker prepare the volume anew, as for another study.
            voxels = volume.voxels.copy()
            voxels[0, 0, 0] += number
            volume = Volume("head", "Head", voxels, volume.geometry, volume.source)
            what = f"whole head, warm {number}"
            answer, row = measured(client, what, lambda v=volume: client.segment(v, model))
            yield row
        assert isinstance(answer, SegmentAnswer)
        if model.card.kind not in (LESIONS, PRESENCE):
            return
        for what, target in targets(answer.mask > 0):
            start = lambda t=target: client.explain(volume, model, t)  # noqa: E731
            yield measured(client, f"Grad-CAM, {what}", start)[1]


def targets(mask: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The lesion of median size, the largest lesion, and the whole finding."""
    from imaging.analysis.morphology import find_parts

    parts = find_parts(mask)
    order = np.argsort(parts.sizes)
    for number in dict.fromkeys((order[len(order) // 2], order[-1])) if len(order) else ():
        lesion = np.zeros(mask.size, bool)
        lesion[parts.positions[parts.part == number]] = True
        yield f"lesion of {parts.sizes[number]} voxels", lesion.reshape(mask.shape)
    if len(order):
        yield f"whole finding ({mask.sum()} voxels)", mask


#: The model all others are compared with.
COMPARED_WITH = "flair-wml"


@dataclass(frozen=True)
class Cost:
    """What one warm run of a model on the head costs."""

    id: str
    seconds: float
    cpu_seconds: float
    peak_mb: float

    def row(self, base: Cost | None) -> str:
        """A row of the table of all models."""
        ratio = f"{self.cpu_seconds / base.cpu_seconds:.2f}" if base else ""
        return (
            f"| {self.id} | {self.seconds:.2f} | {self.cpu_seconds:.2f} | {ratio} "
            f"| {self.peak_mb:.0f} |"
        )


def cost_of(model: InstalledModel, volume: Volume, repeats: int) -> Cost:
    """The cheapest of some warm runs of a model, in a worker of its own."""
    with WorkerClient() as client:
        runs = []
        for number in range(repeats + 1):
            voxels = volume.voxels.copy()
            voxels[0, 0, 0] += number  # another study for the worker
            fresh = Volume("head", "Head", voxels, volume.geometry, volume.source)
            before = worker_cost(client.worker_pid)[0] if client.worker_pid else 0.0
            begun = time.perf_counter()
            outcome = asked(client, model, fresh).wait()
            if not isinstance(outcome, (SegmentAnswer, ClickAnswer)):
                raise SystemExit(f"{model.card.id}: {outcome}")
            seconds = time.perf_counter() - begun
            runs.append((seconds, worker_cost(client.worker_pid or 0)[0] - before))
        peak = worker_cost(client.worker_pid or 0)[1]
    seconds, cpu = min(runs[1:], key=lambda pair: pair[1])
    return Cost(model.card.id, seconds, cpu, peak)


def asked(client: WorkerClient, model: InstalledModel, volume: Volume) -> Run:
    """A whole head, or of a click model one click into the middle of the head."""
    if model.card.kind != CLICK:
        return client.segment(volume, model)
    k, j, i = (n // 2 for n in volume.geometry.shape)
    crop = Box((k - 32, j - 32, i - 32), (k + 32, j + 32, i + 32))
    return client.click(volume, model, crop, [(k, j, i, 1)])


def write_cost(model: InstalledModel, cost: Cost) -> None:
    """Put the measured cost into the card, in place of what stood there."""
    path = model.folder / CARD_NAME
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\n*^\[cost\]\n(?:(?!\[).*\n?)*", "\n\n", text, flags=re.MULTILINE).rstrip()
    lines = (
        "[cost]",
        f"cpu_seconds = {cost.cpu_seconds:.2f}",
        "cpu_threads = 1",
        f"peak_bytes = {round(cost.peak_mb * 2**20)}",
    )
    path.write_text(text + "\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    load_card(model.folder)


def all_models(volume: Volume, repeats: int, write: bool) -> None:
    """Print the table of all models, and write the cards where that is wanted."""
    print("| model | seconds | processor seconds | against the quick one | worker peak MB |")
    print("| --- | --- | --- | --- | --- |")
    models = [model for model in installed_models() if model.available]
    models.sort(key=lambda model: model.card.id != COMPARED_WITH)
    base = None
    for model in models:
        cost = cost_of(model, volume, repeats)
        base = base or cost
        print(cost.row(base), flush=True)
        if write:
            write_cost(model, cost)


def main() -> None:
    """Print the table of all models, or of one in detail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", help="one model in detail; default: all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--phantom", action="store_true", help="never the real head")
    parser.add_argument("--write", action="store_true", help="put the costs into the cards")
    options = parser.parse_args()
    volume, kind = (phantom_volume(), "phantom") if options.phantom else head_volume()
    shape = " x ".join(str(n) for n in volume.geometry.shape)
    if not options.model:
        print(f"On a {kind} head of {shape} voxels, {cores()} CPU threads\n")
        all_models(volume, options.repeats, options.write)
        return
    model = find_model(options.model)
    if options.write:
        write_cost(model, cost_of(model, volume, options.repeats))
        return
    print(f"{model.card.name} {model.card.version} on a {kind} head of {shape} voxels\n")
    print("| what | seconds | CPU-seconds | worker peak MB |\n| --- | --- | --- | --- |")
    for row in rows(model, volume, options.repeats):
        print(row, flush=True)


if __name__ == "__main__":
    main()
