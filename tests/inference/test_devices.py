"""The ladder goes down one step at a time, tells each, and never hides another error."""

import pytest

from imaging.errors import BadInput, WorldFailed
from inference import devices
from inference.devices import Step, climb_down, ladder


def full(*_):
    raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")


def test_the_ladder_of_a_gpu_ends_on_the_cpu():
    steps = ladder("cuda")
    assert steps[0] == Step("cuda", None)
    edges = [s.tile for s in steps if s.device == "cuda"][1:]
    assert edges == sorted(edges, reverse=True)
    assert [s.device for s in steps] == sorted((s.device for s in steps), reverse=True)
    assert steps[len(edges) + 1 :] == ladder("cpu")
    assert ladder("cpu")[0] == Step("cpu", None)


@pytest.mark.parametrize("refused", range(len(ladder("cuda"))))
def test_each_refusal_is_one_step_down_and_one_note(refused):
    steps, tried, notes = ladder("cuda"), [], []

    def run(step):
        tried.append(step)
        return full() if len(tried) <= refused else "answer"

    assert climb_down(steps, run, notes.append) == ("answer", steps[refused])
    assert tried == list(steps[: refused + 1])
    assert len(notes) == refused
    for note, step, following in zip(notes, steps, steps[1:], strict=False):
        assert step.words in note
        assert following.words in note


def test_a_step_that_cannot_fit_is_not_tried():
    steps, tried = ladder("cpu"), []
    run = lambda step: tried.append(step) or "answer"  # noqa: E731
    _, step = climb_down(steps, run, lambda note: None, lambda s: s.tile is not None)
    assert tried == [step] == [steps[1]]


def test_the_end_of_the_ladder_is_a_sentence():
    with pytest.raises(WorldFailed, match="not even in small tiles"):
        climb_down(ladder("cpu"), full, lambda note: None)


def test_other_errors_are_not_taken_for_memory():
    def broken(step):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        climb_down(ladder("cuda"), broken, lambda note: None)


def test_devices_are_said_in_words():
    device = devices.choose_device("cpu")
    assert device.kind == "cpu"
    assert device.words.startswith(f"CPU, {devices.cores()} thread")
    with pytest.raises(BadInput, match="auto, cuda or cpu"):
        devices.choose_device("gpu")


def test_a_gpu_that_was_insisted_on_but_cannot_work_is_refused(monkeypatch):
    monkeypatch.setattr(devices, "_cuda_problem", lambda: "its driver refused a test run")
    with pytest.raises(BadInput, match="driver refused"):
        devices.choose_device("cuda")
    device = devices.choose_device("auto")
    assert device.kind == "cpu"
    assert "driver refused" in device.note


def test_the_room_of_a_control_group_counts(tmp_path):
    assert devices._group_room(tmp_path) == []
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("100\n")
    assert devices._group_room(tmp_path) == []
    (tmp_path / "memory.max").write_text("1000\n")
    assert devices._group_room(tmp_path) == [900]


def test_free_memory_is_a_sensible_number():
    free = devices.available_memory_bytes()
    assert free is None or 0 <= free < 2**50
