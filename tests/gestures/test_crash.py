"""After a crash the next start offers exactly the state after the last finished stroke."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).with_name("edit_until_killed.py")


def test_work_comes_back_after_kill_9(private_home, demo, start, tmp_path):
    note = tmp_path / "strokes.json"
    child = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(demo), str(note)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == "painted":
            break
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)
    told = json.loads(note.read_text())

    hand = start()
    notice = hand.program.window.notice
    hand.wait(lambda: notice.text, 20)
    assert "Unsaved work" in notice.text
    notice.choose("Restore")
    hand.wait(lambda: hand.program.workspace.case.segmentations, 60)
    mask = hand.program.workspace.case.segmentations[0]
    assert int(np.count_nonzero(mask.labels)) == told["voxels"]
    assert int(np.flatnonzero(mask.labels).sum()) == told["places"]
