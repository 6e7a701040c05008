"""The window's side of the wall: answers arrive whole, and nothing the worker does hurts."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import dice, make_head

from imaging.errors import BadInput, WorldFailed
from inference.client import WorkerClient
from inference.messages import Cancelled, DeviceAnswer, ExplainAnswer, Failed, SegmentAnswer

WAIT_S = 120
SHM = Path("/dev/shm")


def shared_blocks() -> set[str]:
    """Blocks of this user that Python has made; other tests' may be among them."""
    return {p.name for p in SHM.glob("psm_*")} if SHM.is_dir() else set()


def started(client, volume, model, **options):
    """A run that has told its first progress."""
    told = threading.Event()
    run = client.segment(volume, model, on_progress=lambda p: told.set(), **options)
    assert told.wait(WAIT_S)
    return run


def test_an_answer_comes_whole_with_progress_and_provenance(client, tiny_model):
    volume, truth = make_head()
    told, ends = [], []
    run = client.segment(
        volume, tiny_model, explain=True, on_progress=told.append, on_end=ends.append
    )
    answer = run.wait(WAIT_S)
    assert isinstance(answer, SegmentAnswer)
    assert ends == [answer]
    assert dice(answer.mask, truth) > 0.9
    assert answer.probability.dtype == np.float32
    assert answer.probability.shape == answer.mask.shape == volume.geometry.shape
    assert answer.heatmap is not None
    assert answer.heatmap.max() == pytest.approx(1.0)
    fractions = [p.fraction for p in told]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1
    stages = list(dict.fromkeys(p.stage for p in told))
    assert "Running the model" in stages
    assert stages.index("Resampling to 2 mm") < stages.index("Running the model")
    provenance = answer.provenance
    assert provenance.algorithm == tiny_model.card.name
    assert provenance.digest == tiny_model.card.weights_sha256
    assert provenance.device.startswith(("CPU", "GPU"))
    assert dict(provenance.settings) == {"threshold": "0.5", "min_voxels": "3"}


def test_two_runs_agree_bit_for_bit(client, tiny_model):
    volume, _ = make_head()
    a, b = (client.segment(volume, tiny_model, explain=True).wait(WAIT_S) for _ in range(2))
    np.testing.assert_array_equal(a.probability, b.probability)
    np.testing.assert_array_equal(a.mask, b.mask)
    np.testing.assert_array_equal(a.heatmap, b.heatmap)


def test_a_changed_voxel_is_seen_although_the_volume_is_the_same_object(client, tiny_model):
    volume, truth = make_head()
    stored = volume.voxels.copy()
    volume = replace(volume, voxels=stored)
    assert client.segment(volume, tiny_model).wait(WAIT_S).mask.any()
    stored[truth] = 300
    assert not client.segment(volume, tiny_model).wait(WAIT_S).mask.any()


def test_slope_and_intercept_are_applied(client, tiny_model):
    plain, truth = make_head()
    turned, _ = make_head(slope=-0.5, intercept=700.0)
    answer = client.segment(turned, tiny_model).wait(WAIT_S)
    assert dice(answer.mask, truth) > 0.9
    assert np.corrcoef(plain.voxels.ravel(), turned.voxels.ravel())[0, 1] < -0.99


def test_one_lesion_is_explained_where_it_is(client, tiny_model):
    volume, truth = make_head()
    half = np.arange(truth.shape[2]) < truth.shape[2] // 2
    one, other = truth & half, truth & ~half
    answer = client.explain(volume, tiny_model, one, about="lesion 1").wait(WAIT_S)
    assert isinstance(answer, ExplainAnswer)
    assert answer.about == "lesion 1"
    assert answer.heatmap.shape == truth.shape
    assert answer.heatmap.max() == pytest.approx(1.0)
    assert answer.heatmap[one].mean() > 10 * answer.heatmap[other].mean()


def test_an_empty_or_foreign_target_is_refused_at_once(client, tiny_model):
    volume, truth = make_head()
    with pytest.raises(BadInput, match="Nothing is marked"):
        client.explain(volume, tiny_model, np.zeros_like(truth))
    with pytest.raises(BadInput, match="grid"):
        client.explain(volume, tiny_model, truth[1:])


def test_the_device_is_told(client):
    answer = client.device("cpu").wait(WAIT_S)
    assert isinstance(answer, DeviceAnswer)
    assert answer.words.startswith("CPU")
    assert answer.facts["threads"] >= 1


def test_an_image_of_one_value_is_a_sentence(client, tiny_model):
    volume, _ = make_head()
    flat = replace(volume, voxels=np.full(volume.geometry.shape, 7, np.int16))
    outcome = client.segment(flat, tiny_model).wait(WAIT_S)
    assert isinstance(outcome, Failed)
    assert "same value" in outcome.sentence


def test_a_model_that_cannot_run_is_refused_with_its_reason(client, tiny_model):
    broken = replace(tiny_model, available=False, reason="The weights are missing.")
    with pytest.raises(BadInput, match="weights are missing"):
        client.segment(make_head()[0], broken)


def test_one_run_at_a_time_one_waits_the_third_is_refused(client, tiny_model):
    volume, _ = make_head()
    order = []
    first, second, third = (
        client.segment(volume, tiny_model, on_end=lambda end, n=n: order.append((n, end)))
        for n in range(3)
    )
    assert isinstance(third.wait(WAIT_S), Failed)
    assert isinstance(first.wait(WAIT_S), SegmentAnswer)
    assert isinstance(second.wait(WAIT_S), SegmentAnswer)
    assert [n for n, _ in order] == [2, 0, 1]


def test_cancel_acts_within_half_a_second_and_costs_only_the_run(client, tiny_model):
    volume, _ = make_head((200, 220, 200), (0.8, 0.8, 0.8))
    small, truth = make_head()
    assert isinstance(client.segment(small, tiny_model).wait(WAIT_S), SegmentAnswer)
    run = started(client, volume, tiny_model)
    begun = time.monotonic()
    run.cancel()
    outcome = run.wait(WAIT_S)
    assert time.monotonic() - begun < 0.5
    assert isinstance(outcome, Cancelled)
    answer = client.segment(small, tiny_model).wait(WAIT_S)
    assert dice(answer.mask, truth) > 0.9


def test_a_waiting_run_can_be_cancelled(client, tiny_model):
    volume, _ = make_head()
    first, second = (client.segment(volume, tiny_model) for _ in range(2))
    second.cancel()
    assert isinstance(second.wait(WAIT_S), Cancelled)
    assert isinstance(first.wait(WAIT_S), SegmentAnswer)
    first.cancel()  # after the end: harmless
    assert isinstance(first.outcome, SegmentAnswer)


def test_a_failing_callback_does_not_stop_the_client(client, tiny_model, caplog):
    def clumsy(_):
        raise RuntimeError("the panel is gone")

    volume, _ = make_head()
    run = client.segment(volume, tiny_model, on_progress=clumsy, on_end=clumsy)
    assert isinstance(run.wait(WAIT_S), SegmentAnswer)
    assert "callback" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_worker_costs_only_the_run(client, tiny_model, number):
    before = shared_blocks()
    volume, truth = make_head((200, 220, 200), (0.8, 0.8, 0.8))
    run = started(client, volume, tiny_model)
    os.kill(client.worker_pid, number)
    outcome = run.wait(10)
    assert isinstance(outcome, Failed)
    assert signal.Signals(number).name in outcome.sentence
    assert shared_blocks() <= before
    small, truth = make_head()
    assert dice(client.segment(small, tiny_model).wait(WAIT_S).mask, truth) > 0.9


def test_a_worker_that_crashes_again_and_again_is_not_started_for_ever(faulty, tiny_model):
    client = faulty("crash", restarts=1)
    volume, _ = make_head()
    sentences = [client.segment(volume, tiny_model).wait(WAIT_S).sentence for _ in range(3)]
    assert "unexpectedly" in sentences[0]
    assert "times in a row" in sentences[2]
    assert client.worker_pid is None


def test_a_hung_model_is_stopped_and_reported(faulty, tiny_model):
    client = faulty("hang", stall_s=4.0)
    outcome = client.segment(make_head()[0], tiny_model).wait(WAIT_S)
    assert isinstance(outcome, Failed)
    assert "no progress for 4 s" in outcome.sentence


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_frozen_worker_is_stopped_and_reported(faulty, tiny_model):
    client = faulty("freeze", beat_s=3.0, start_s=3.0)
    outcome = client.segment(make_head()[0], tiny_model).wait(WAIT_S)
    assert isinstance(outcome, Failed)
    assert "no sign of life" in outcome.sentence


def test_cancel_kills_a_worker_that_does_not_listen(faulty, tiny_model):
    client = faulty("hang")
    run = started(client, make_head()[0], tiny_model)
    time.sleep(0.5)
    begun = time.monotonic()
    run.cancel()
    assert isinstance(run.wait(WAIT_S), Cancelled)
    assert time.monotonic() - begun < 0.5


def test_a_worker_that_cannot_start_is_a_sentence(tmp_path, tiny_model):
    with WorkerClient([str(tmp_path / "missing")]) as client:
        outcome = client.segment(make_head()[0], tiny_model).wait(WAIT_S)
    assert isinstance(outcome, Failed)
    assert "could not be started" in outcome.sentence


def test_a_worker_that_ends_at_once_is_a_sentence(faulty, tiny_model):
    outcome = faulty("exit").segment(make_head()[0], tiny_model).wait(WAIT_S)
    assert isinstance(outcome, Failed)
    assert "exit code 3" in outcome.sentence


def test_close_ends_what_runs_and_gives_everything_back(tiny_model):
    before = shared_blocks()
    client = WorkerClient()
    run = started(client, make_head()[0], tiny_model)
    pid = client.worker_pid
    client.close()
    client.close()
    assert isinstance(run.outcome, Cancelled)
    assert shared_blocks() <= before
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(WorldFailed, match="closing"):
        client.segment(make_head()[0], tiny_model)


def test_the_window_never_imports_torch_and_leaves_no_worker_behind(tiny_folder):
    """In a fresh process: ask, let the process end without close(), look for what is left."""
    here = str(Path(__file__).parent)
    script = f"""
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from tiny_models import make_head
from inference.client import WorkerClient
from inference.card_reading import load_card
from inference.postprocess import as_items
from inference.registry import InstalledModel, installed_models, suitable
import inference.selftest
installed_models()
folder = Path({str(tiny_folder)!r})
model = InstalledModel(load_card(folder), folder)
client = WorkerClient()
volume = make_head()[0]
suitable(model.card, volume)
answer = client.segment(volume, model).wait({WAIT_S})
as_items(answer, volume, model.card)
print(int(answer.mask.sum()), client.worker_pid, "torch" in sys.modules, "PySide6" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_S,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "resource_tracker" not in done.stderr
    found, pid, torch_loaded, qt_loaded = done.stdout.split()
    assert int(found) > 100
    assert (torch_loaded, qt_loaded) == ("False", "False")
    for _ in range(50):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_a_mistake_of_ours_ends_the_run_and_not_the_client(faulty):
    client = faulty("hang")

    def broken(_job):
        raise KeyError("DOE^JANE")

    for _ in range(2):  # the thread that serves runs is still there for the second one
        run = client._supervisor.submit(broken, broken, lambda _p: None, lambda _e: None)
        outcome = run.wait(10)
        assert isinstance(outcome, Failed)
        assert "KeyError" in outcome.what
        assert "DOE" not in outcome.sentence
