"""Every benchmark, one after the other, as one page of text.

``python benchmarks/run_all.py [-o FILE] [--quick]``. Each script runs in a process of its own, so
that none warms or burdens the next; what it prints stands under its name, with how busy the machine
was before it began. ``--quick`` leaves out what takes minutes. A script that fails or misses a
budget is named at the end, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Script, its arguments, what it shows, whether it takes minutes.
SCRIPTS = (
    ("bench_start.py", [], "process start to first window", False),
    ("bench_loading.py", [], "headers, first image, whole series", False),
    ("bench_index.py", [], "second opening of a big folder", False),
    ("bench_decode.py", [], "compressed series", False),
    ("bench_grid_files.py", [], "NIfTI, NRRD, MetaImage", False),
    ("bench_views.py", [], "scroll, window, oblique, stroke", False),
    ("bench_undo.py", [], "undo and redo", False),
    ("bench_journal.py", [], "the journal", False),
    ("bench_3d.py", [], "surfaces and 3D frames", False),
    ("bench_export.py", [], "exports", False),
    ("bench_model.py", [], "model and Grad-CAM", False),
    ("bench_sequences.py", [], "sequences told from pixels", True),
    ("bench_contention.py", [], "views while the model runs", True),
    ("kill_journal.py", ["--kills", "200"], "killed 200 times", True),
)


def load() -> str:
    """How many processes wanted a core in the last minute, where the system says."""
    try:
        return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    except (AttributeError, OSError):
        return f"{os.cpu_count()} cores"


def run(name: str, arguments: list[str]) -> tuple[str, int]:
    """What a script prints, and its exit code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.setdefault("QT_QPA_PLATFORM", "offscreen")
    command = [sys.executable, str(ROOT / "benchmarks" / name), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    told = done.stdout.rstrip()
    if done.returncode and not told:
        told = done.stderr.rstrip()[-2000:]
    return told, done.returncode


def main() -> int:
    """Run them and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, help="also write the page to this file")
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    options = parser.parse_args()
    page, failed = [], []
    for name, arguments, title, slow in SCRIPTS:
        if slow and options.quick:
            continue
        before, start = load(), time.monotonic()
        told, code = run(name, arguments)
        seconds = time.monotonic() - start
        page.append(f"## {title}\n\n`{name}`, {before} before, {seconds:.0f} s\n\n```\n{told}\n```")
        print(page[-1] + "\n", flush=True)
        if code:
            failed.append(name)
        if options.out:
            options.out.write_text("\n\n".join(page) + "\n", encoding="utf-8")
    if failed:
        print("failed, or over a budget:", ", ".join(failed))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
