"""A child that speaks as ``isocenter train --json`` does, and trains nothing.

Started as ``python fake_training.py MODE train --json ...``; modes: ``good``, ``slow`` (until it is
asked to stop), ``deaf`` (never stops), ``worse``, ``dies``, ``fails``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

REPORT = {
    "n": 4,
    "new": {"dice": {"value": 0.62, "low": 0.48, "high": 0.75}, "ece": 0.03, "of tomorrow": 1},
    "old": {"dice": {"value": 0.55, "low": 0.4, "high": 0.7}},
    "subgroups": {"3 T": {"dice": 0.7}},
}


CHOICES = {
    "network": "residual", "dims": "3", "folds": 3, "loss": "focal", "minutes": 7.0, "seed": 4,
    "start_from": "", "few_shot": False,
}  # fmt: skip


def _after(arguments: list[str], word: str) -> str:
    return arguments[arguments.index(word) + 1]


def say(kind: str, **values) -> None:
    print(json.dumps({"kind": kind, **values}), flush=True)


def check() -> None:
    say("cases", cases=[
        {"case": "a", "patient": "1", "ok": True, "sentence": ""},
        {"case": "b", "patient": "2", "ok": False, "sentence": "The mask lies on another grid."},
    ])  # fmt: skip


def train(mode: str, out: Path, arguments: list[str]) -> None:
    print("some library says hello", flush=True)
    say("stage", words="Training fold 1 of 2", fraction=0.0, seconds_left=90)
    say("step", step=10, steps=20, fold=1, folds=2, loss=0.9, validation=None, fraction=0.2)
    say("step", step=20, steps=20, fold=1, folds=2, loss=0.5, validation=0.4, fraction=0.5)
    say("note", sentence="Case a has no lesion.")
    out.mkdir(parents=True, exist_ok=True)
    (out / "arguments.json").write_text(json.dumps(arguments))
    if mode == "dies":
        sys.exit(3)
    if mode == "fails":
        say("failed", what="The disk is full", advice="Free some space.")
        sys.exit(1)
    if mode == "slow":
        while sys.stdin.readline().strip() != "stop":
            time.sleep(0.01)
        (out / "checkpoint.pt").write_text("weights")
        (out / "choices.json").write_text(
            json.dumps(CHOICES | {"cases": _after(arguments, "--cases")})
        )
        say("stopped")
        print(json.dumps({"error": "Interrupted."}), flush=True)  # as the command line does
        sys.exit(130)
    if mode == "deaf":
        time.sleep(600)
    (out / "report.json").write_text(json.dumps(REPORT))
    (out / "report.md").write_text("# Report")
    better = mode == "good"
    say("done", package=str(out / "package"), report=str(out / "report.json"), promoted=better,
        reason="" if better else "Dice fell by 0.03 on 4 patients.")  # fmt: skip


def main() -> None:
    mode, *arguments = sys.argv[1:]
    if "--check" in arguments:
        check()
    else:
        train(mode, Path(_after(arguments, "--out")), arguments)


if __name__ == "__main__":
    main()
