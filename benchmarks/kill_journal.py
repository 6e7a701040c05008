"""Kill an editing program at random moments and see what its journal gives back.

``python benchmarks/kill_journal.py --kills 200`` starts this file again as a child that paints,
erases, undoes, redoes, adds and removes masks and maps, and reports each gesture on its output
when it begins and when the program would say "saved". The child is killed without warning
(SIGKILL; TerminateProcess on Windows), the journal is recovered, and the result must be the state
after the last reported gesture or, at most, after the one in progress. Every second child resumes
from what was recovered, so that compaction and resumption are killed as well.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from imaging.case import Case  # noqa: E402
from imaging.edits.brush import Stroke  # noqa: E402
from imaging.edits.edit import AddItem, Edit, RemoveItem  # noqa: E402
from imaging.edits.history import History  # noqa: E402
from imaging.edits.operations import add_segment, stroke_edit  # noqa: E402
from imaging.geometry import Geometry  # noqa: E402
from imaging.heatmap import Heatmap  # noqa: E402
from imaging.segmentation import AUTOMATIC, Segment, Segmentation  # noqa: E402
from imaging.storage.file_lock import CaseInUse  # noqa: E402
from imaging.storage.journal import Journal  # noqa: E402
from imaging.storage.recovery import recover, recoverable  # noqa: E402

SHAPE = (96, 128, 128)


def main() -> int:
    """Run as the referee, or as the child where ``--child`` is given."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--longest", type=float, default=0.6, help="seconds before a kill")
    options.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.child is not None:
        return edit_for_ever(chosen.child, chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        score = run(Path(folder), chosen.kills, chosen.seed, chosen.longest)
    print(json.dumps(vars(score)))
    return 0 if score.clean else 1


@dataclass
class Score:
    """What the referee counted."""

    kills: int = 0
    gestures: int = 0
    unreadable: int = 0
    wrong_state: int = 0
    lost_saved: int = 0
    lost_unfinished: int = 0
    recover_ms: list[float] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """True where no promise was broken."""
        return self.unreadable == self.wrong_state == self.lost_saved == 0


def run(folder: Path, kills: int, seed: int = 0, longest: float = 0.6) -> Score:
    """Kill so many children; each second one starts from what the one before left."""
    score, rng = Score(), random.Random(seed)
    for number in range(kills):
        if number % 2 == 0:
            for path in folder.iterdir():
                path.unlink()
        said = _kill_one(folder, seed + number, rng.uniform(0.0, longest))
        _judge(folder, said, score)
    times = score.recover_ms
    score.recover_ms = [round(float(np.percentile(times, p)), 1) for p in (50, 95, 100)]
    return score


def _kill_one(folder: Path, seed: int, delay: float) -> list[list]:
    """What one child said before it was killed."""
    command = [sys.executable, __file__, "--child", str(folder), "--seed", str(seed)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    first = child.stdout.readline()  # ready: everything is imported and recovered
    time.sleep(delay)
    child.kill()
    text = first + child.stdout.read()
    child.wait()
    lines = text.split(b"\n")[:-1]  # the last line may be cut
    return [json.loads(line) for line in lines if line]


def _judge(folder: Path, said: list[list], score: Score) -> None:
    """Compare what comes back with what the child said."""
    begun = [state for word, state in said if word == "begin"]
    saved = [state for word, state in said if word in ("saved", "start")]
    score.kills += 1
    score.gestures += len(begun)
    found = recoverable(folder)
    if not found:
        _note(score, "empty", begun, saved)
        return
    start = time.perf_counter()
    items, report = recover(found[0].path)
    score.recover_ms.append((time.perf_counter() - start) * 1000)
    if len(found) > 1 or not found[0].readable or report.damaged:
        score.unreadable += 1
    _note(score, fingerprint(Case({item.id: item for item in items})), begun, saved)


def _note(score: Score, state: str, begun: list[str], saved: list[str]) -> None:
    if begun and state == begun[-1]:
        return
    if state == (saved[-1] if saved else "empty"):
        score.lost_unfinished += len(begun) >= len(saved)
    elif state in begun or state in saved or state == "empty":
        score.lost_saved += 1
    else:
        score.wrong_state += 1


def fingerprint(case: Case) -> str:
    """A checksum over every mask and map of a case; ``"empty"`` for none."""
    total = 0
    for item in case:
        array = item.labels if isinstance(item, Segmentation) else None
        head = item.header() if isinstance(item, Segmentation) else item.name
        if isinstance(item, Heatmap):
            array = item.values
        assert array is not None
        total = zlib.crc32(np.ascontiguousarray(array).data, zlib.crc32(repr(head).encode(), total))
    return f"{total:08x}" if case.items else "empty"


# --- the child ------------------------------------------------------------------------------


def edit_for_ever(folder: Path, seed: int) -> int:
    """Edit until killed; one line before and one after every gesture."""
    rng = np.random.default_rng(seed)
    case, journal = _open(folder)
    history = History()
    _say("start", case)
    for edit, how in _gestures(case, history, rng):
        edit.check(case)
        edit.apply(case)
        _say("begin", case)
        journal.append(edit, case, how).wait()
        _say("saved", case)
        if journal.wants_base or rng.random() < 0.05:
            journal.compact(case)
    return 0


def _open(folder: Path) -> tuple[Case, Journal]:
    """Recover what is there, as the program does at its start."""
    found = recoverable(folder)
    if not found:
        return Case(), Journal.create(folder, "kill test", Case())
    items, report = recover(found[0].path)
    case = Case({item.id: item for item in items})
    for _ in range(100):
        try:
            return case, Journal.resume(found[0].path, case, report.damaged)
        except CaseInUse:  # the killed process is not quite gone
            time.sleep(0.02)
    raise SystemExit("the journal stayed locked")


def _say(word: str, case: Case) -> None:
    sys.stdout.write(json.dumps([word, fingerprint(case)]) + "\n")
    sys.stdout.flush()


def _gestures(case: Case, history: History, rng: np.random.Generator) -> Iterator[tuple[Edit, str]]:
    """Edits in any order, each to be applied before the next is asked for."""
    count = 0
    while True:
        dice = rng.random()
        if dice < 0.15 and history.undo_name:
            yield history.step_back().inverse(), "undo"
            continue
        if dice < 0.25 and history.redo_name:
            yield history.step_forward(), "redo"
            continue
        count += 1
        edit = _fresh(case, rng, dice, f"{rng.integers(1 << 40):x}{count}")
        if edit is not None:
            yield edit, "do"
            history.record(edit)


def _fresh(case: Case, rng: np.random.Generator, dice: float, id: str) -> Edit | None:
    geometry = Geometry(SHAPE, np.diag([1.0, 1.0, 1.0, 1.0]))
    masks = case.segmentations
    if not masks or dice > 0.98:
        segments = (Segment(1, "Draft", (230, 159, 0), algorithm_type=AUTOMATIC),)
        return AddItem(Segmentation(id, "Lesions", geometry, "volume", segments), "Add mask")
    if dice > 0.95:
        values = rng.random(SHAPE, dtype=np.float32).round(1)
        return AddItem(Heatmap(id, "Map", values, "probability", geometry, "volume"), "Add map")
    if dice > 0.92 and len(case.items) > 1:
        return RemoveItem(list(case)[int(rng.integers(len(case.items)))], "Remove")
    mask = masks[int(rng.integers(len(masks)))]
    if dice > 0.88 and len(mask.segments) < 20:
        return add_segment(mask, f"Label {id}")
    return _stroke(mask, rng)


def _stroke(mask: Segmentation, rng: np.random.Generator) -> Edit | None:
    label = mask.segments[int(rng.integers(len(mask.segments)))].number
    stroke = Stroke(mask, label, float(rng.uniform(1, 8)), erase=bool(rng.random() < 0.3))
    point = rng.uniform(0, SHAPE)
    for _ in range(int(rng.integers(1, 6))):
        stroke.add(point)
        point = point + rng.normal(0, 8, 3)
    edit = stroke.finish("Brush")
    return None if edit is None else stroke_edit(mask, edit)


if __name__ == "__main__":
    sys.exit(main())
