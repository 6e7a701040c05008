"""``isocenter selftest``: does this computer do what Isocenter needs, and what to do if not."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from app.cli.output import Output
from imaging.errors import ImagingError
from inference.selftest import Check, run_selftest

_DRAWING_REMEDY = (
    "Update the graphics driver; on Linux install libegl1 and libgl1-mesa-dri. "
    "Everything but the 3D view works without."
)
_JOURNAL_REMEDY = "Free some disk space and make the user data folder writable."


def selftest(output: Output) -> bool:
    """Run all checks and print each as soon as it is done; True where all are well."""

    def tell(check: Check) -> None:
        output.say(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.words}")
        if check.remedy:
            output.say(f"      → {check.remedy}")

    with output.progress("Checking"):
        checks = run_selftest(tell)
        for own in (journal_check, drawing_check):
            check = own()
            tell(check)
            checks.append(check)
    well = all(check.ok for check in checks)
    output.say("All is well." if well else "Something needs your attention (see above).")
    output.result({"ok": well, "checks": [asdict(check) for check in checks]})
    return well


def journal_check(folder: Path | None = None) -> Check:
    """Paint a stroke into a throw-away journal and recover it.

    Parameters
    ----------
    folder : Path, optional
        Where journals lie; the user's data folder by default.
    """
    if folder is None:
        from platformdirs import user_data_path

        folder = user_data_path("isocenter", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".selftest-") as place:
            milliseconds = _stroke_and_recovery(Path(place))
    except (OSError, ImagingError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Check("Journal", False, f"Strokes cannot be kept safe ({reason}).", _JOURNAL_REMEDY)
    if milliseconds is None:
        words = "A stroke written to the journal did not come back."
        return Check("Journal", False, words, _JOURNAL_REMEDY)
    words = f"A stroke was on the disk after {milliseconds:.0f} ms and came back whole."
    return Check("Journal", True, words, "", {"milliseconds": round(milliseconds, 1)})


def _stroke_and_recovery(folder: Path) -> float | None:
    """Milliseconds until the stroke was on the disk; None where it was not recovered."""
    from imaging.case import Case
    from imaging.edits.edit import AddItem, VoxelEdit
    from imaging.geometry import Box, Geometry
    from imaging.segmentation import PALETTE, Segment, Segmentation
    from imaging.storage.journal import Journal
    from imaging.storage.recovery import recover, recoverable
    from imaging.volume import Volume

    grid = Geometry((16, 16, 16), np.eye(4))
    case = Case({"v": Volume("v", "Self test", np.zeros(grid.shape, np.int16), grid)})
    journal = Journal.create(folder, "self-test", case)
    mask = Segmentation("s", "Mask", grid, "v", (Segment(1, "Lesion", PALETTE[0]),))
    box = Box((4, 4, 4), (9, 9, 9))
    stroke = VoxelEdit.between(
        "s", "Brush stroke", box, np.zeros(box.shape, np.uint8), np.ones(box.shape, np.uint8)
    )
    start = time.perf_counter()
    for edit in (AddItem(mask, "New mask"), stroke):
        edit.check(case)
        edit.apply(case)
        journal.append(edit, case)
    kept = journal.wait(10.0)
    milliseconds = (time.perf_counter() - start) * 1000.0
    journal.close(timeout=1.0)
    if not kept:
        journal.close(discard=True)
        return None
    found = recoverable(folder)
    items = recover(found[0].path)[0] if found else []
    same = [
        i for i in items
        if isinstance(i, Segmentation) and np.array_equal(i.labels, mask.labels)
    ]  # fmt: skip
    return milliseconds if same else None


def drawing_check() -> Check:
    """Draw a red ball off-screen with VTK and look for it in the pixels."""
    from imaging.geometry import Geometry
    from viewer.rendering.orbit import Orbit
    from viewer.rendering.surfaces import segment_surface
    from viewer.rendering.volume_scene import Body, SceneState, VolumeScene

    grid = Geometry((24, 24, 24), np.eye(4)[[2, 1, 0, 3]])
    away = np.linalg.norm(np.indices(grid.shape) - 11.5, axis=0)
    surface = segment_surface((away < 9).astype(np.uint8), grid, 1)
    state = SceneState(bodies=(Body(surface, (1.0, 0.0, 0.0)),))
    orbit = Orbit().framing(grid.corners)
    try:
        scene = VolumeScene()
    except ImagingError as error:
        return Check("Drawing", False, str(error), _DRAWING_REMEDY)
    try:
        scene.draw(state, orbit, (256, 256))
        start = time.perf_counter()
        frame = scene.draw(state, orbit.turned(5, 0), (256, 256)).astype(int)
        milliseconds = (time.perf_counter() - start) * 1000.0
        figures = {
            "renderer": scene.renderer_name,
            "software": scene.software,
            "milliseconds": round(milliseconds, 1),
        }
    finally:
        scene.close()
    middle, corner = frame[128, 128], frame[4, 4]
    where = "the processor" if figures["software"] else "the graphics card"
    words = f"A 3D frame took {milliseconds:.0f} ms on {where} ({figures['renderer']})."
    if middle[0] < 90 or middle[1] > 0.6 * middle[0] or corner[0] > 90:
        words = f"The graphics driver ({figures['renderer']}) draws wrong pictures."
        return Check("Drawing", False, words, _DRAWING_REMEDY, figures)
    return Check("Drawing", True, words, "", figures)
