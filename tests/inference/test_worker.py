"""The worker: memory that runs out, libraries that chatter, mistakes of our own, a lost window."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_models import dice, make_head

from inference.client import WorkerClient
from inference.engine import TicketReport
from inference.messages import Beat, Cancelled, Failed, SegmentAnswer, decode
from inference.model import RunCancelled
from inference.process import worker_environment

WAIT_S = 120


@pytest.mark.parametrize(
    ("refused", "last", "device"),
    [(0, "cuda:None", "GPU"), (1, "cuda:128", "GPU"), (2, "cuda:64", "GPU"),
     (3, "cpu:None", "CPU"), (4, "cpu:96", "CPU")],
)  # fmt: skip
def test_out_of_memory_goes_down_the_ladder_and_says_so(
    faulty, tiny_model, client, tmp_path, refused, last, device
):
    volume, truth = make_head()
    answer = faulty(f"oom{refused}").segment(volume, tiny_model).wait(WAIT_S)
    assert isinstance(answer, SegmentAnswer)
    tried = (tmp_path / "fault").read_text().split()
    assert tried[-1] == last
    assert len(tried) == refused + 1
    memory = [note for note in answer.notes if "Not enough memory" in note]
    assert len(memory) == refused
    assert answer.provenance.device.startswith(device)
    assert dice(answer.mask, truth) > 0.9
    if refused == 2:  # tiles differ from the whole only near their edges
        whole = client.segment(volume, tiny_model).wait(WAIT_S)
        assert dice(answer.mask, whole.mask) > 0.98


def test_memory_that_never_suffices_is_a_sentence(faulty, tiny_model):
    outcome = faulty("oom99").segment(make_head()[0], tiny_model).wait(WAIT_S)
    assert isinstance(outcome, Failed)
    assert "not enough memory" in outcome.sentence
    assert "Close other programs" in outcome.sentence


def test_a_plain_memory_error_is_a_sentence(faulty, tiny_model):
    outcome = faulty("exhaust").segment(make_head()[0], tiny_model).wait(WAIT_S)
    assert isinstance(outcome, Failed)
    assert "ran out of memory" in outcome.sentence


def test_our_own_mistake_names_its_kind_and_nothing_of_the_patient(faulty, tiny_model):
    client = faulty("blunder")
    outcome = client.segment(make_head()[0], tiny_model).wait(WAIT_S)
    assert isinstance(outcome, Failed)
    assert "KeyError" in outcome.sentence
    assert "DOE" not in outcome.sentence
    pid = client.worker_pid
    client.segment(make_head()[0], tiny_model).wait(WAIT_S)
    assert client.worker_pid == pid  # a mistake does not cost the worker


def test_chatter_on_standard_output_does_not_disturb(faulty, tiny_model):
    volume, truth = make_head()
    answer = faulty("chatty").segment(volume, tiny_model).wait(WAIT_S)
    assert dice(answer.mask, truth) > 0.9


def test_changed_weights_never_reach_the_network(model_copy):
    from inference.card_reading import load_card
    from inference.registry import InstalledModel

    card = load_card(model_copy)
    weights = model_copy / card.weights_file
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 4
    weights.write_bytes(content)
    with WorkerClient() as client:  # as if the file changed after it was listed
        outcome = client.segment(make_head()[0], InstalledModel(card, model_copy)).wait(WAIT_S)
    assert isinstance(outcome, Failed)
    assert "not the ones its card describes" in outcome.sentence


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_the_worker_is_polite(client):
    client.device("cpu").wait(WAIT_S)
    pid = client.worker_pid
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 10
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) >= 800


def test_threads_wait_without_spinning():
    environment = worker_environment()
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    root = str(Path(__file__).parents[2])
    assert root in environment["PYTHONPATH"].split(os.pathsep)


def test_the_worker_ends_with_its_input():
    command = [sys.executable, "-m", "inference.worker"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=worker_environment()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert decode(process.stdout.readline()) == Beat(process.pid)
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


def told_by(shares, cancelled=lambda: False):
    """Messages of a report that walks through stages of these shares."""
    messages = []
    report = TicketReport("t", messages.append, cancelled)
    report.expect(sum(shares))
    for number, share in enumerate(shares):
        report.stage(f"stage {number}", share)
        time.sleep(0.1)
        report.step(1.0)
    return messages


def test_progress_never_falls_and_ends_full():
    messages = told_by([0.2, 0.1, 0.3])
    fractions = [m.fraction for m in messages]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == pytest.approx(1)
    assert messages[-1].seconds_left == pytest.approx(0, abs=0.1)


def test_a_cancelled_report_stops_the_work():
    with pytest.raises(RunCancelled):
        told_by([1.0], cancelled=lambda: True)


def test_a_note_is_told_once():
    report = TicketReport("t", lambda m: None, lambda: False)
    report.note("Little memory.")
    report.note("Little memory.")
    assert report.notes == ["Little memory."]


def test_cancel_leaves_a_warm_worker_when_it_listens(client, tiny_model):
    volume, _ = make_head((160, 180, 160), (1.0, 1.0, 1.0))
    small = make_head()[0]
    assert isinstance(client.segment(small, tiny_model).wait(WAIT_S), SegmentAnswer)
    run = client.segment(volume, tiny_model)
    run.cancel()
    assert isinstance(run.wait(WAIT_S), Cancelled)
    assert isinstance(client.segment(small, tiny_model).wait(WAIT_S), SegmentAnswer)
    assert np.isfinite(client.worker_pid)
