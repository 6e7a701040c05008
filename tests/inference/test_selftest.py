"""The self test says what is there, what is not, and what to do."""

import os
from dataclasses import replace

import pytest

from inference import selftest
from inference.client import WorkerClient
from inference.model import Member
from inference.registry import InstalledModel
from inference.selftest import (
    Gpu,
    device_check,
    driver_check,
    gpus_from_csv,
    memory_check,
    models_check,
    quick_model,
    run_check,
    run_selftest,
    writing_check,
)


def test_all_checks_run_and_are_told_as_they_come(client, tiny_model, monkeypatch, tmp_path):
    monkeypatch.setattr(selftest, "installed_models", lambda: [tiny_model])
    monkeypatch.setattr(selftest, "user_folder", lambda: tmp_path / "isocenter" / "models")
    told = []
    checks = run_selftest(told.append, client)
    assert told == checks
    assert [c.name for c in checks] == [
        "Driver", "Memory", "Models", "Device", "Model run", "Writing",
    ]  # fmt: skip
    run = next(c for c in checks if c.name == "Model run")
    assert run.ok, run.words
    assert run.figures["seconds"] > 0
    for check in checks:
        assert check.words.endswith(".")
        assert bool(check.remedy) is not check.ok


def test_a_crashing_worker_is_a_finding_not_an_error(faulty, tiny_model):
    check = run_check(faulty("crash"), tiny_model)
    assert not check.ok
    assert "unexpectedly" in check.words
    assert check.remedy


def test_no_worker_and_no_model_are_findings(tmp_path):
    with WorkerClient([str(tmp_path / "missing")]) as client:
        check = device_check(client, has_gpu=False)
    assert not check.ok
    assert "could not be started" in check.words
    assert not run_check(client, None).ok


def test_an_unused_gpu_gets_a_remedy(client):
    outcome = client.device("auto").wait(120)
    check = device_check(client, has_gpu=True)
    assert check.ok is (outcome.facts["kind"] == "cuda")
    assert bool(check.remedy) is not check.ok


def test_the_driver_is_named():
    check = driver_check([Gpu("NVIDIA RTX 4060", "550.54", 8 * 2**30)])
    assert check.ok
    assert "550.54" in check.words
    assert "RTX 4060 (8 GB)" in check.words
    assert "run on the CPU" in driver_check([]).words


def test_the_driver_s_own_tool_is_understood():
    text = "NVIDIA H200, 570.1, 143771\nFailed to initialize NVML\n"
    assert gpus_from_csv(text) == [Gpu("NVIDIA H200", "570.1", 143771 * 2**20)]


@pytest.mark.parametrize(("free", "ok"), [(None, True), (8 * 2**30, True), (2**29, False)])
def test_memory(free, ok):
    check = memory_check(free)
    assert check.ok is ok
    assert bool(check.remedy) is not ok


def test_models_that_cannot_run_are_listed_with_the_reason(tiny_model):
    broken = replace(tiny_model, available=False, reason="The weights are missing.")
    check = models_check([broken])
    assert not check.ok
    assert "The weights are missing." in check.words
    assert models_check([tiny_model]).ok
    assert not models_check([]).ok


def test_a_folder_that_cannot_be_written_is_found(tmp_path):
    assert writing_check(tmp_path / "new").ok
    assert os.listdir(tmp_path / "new") == []
    (tmp_path / "file").write_text("in the way")
    check = writing_check(tmp_path / "file")
    assert not check.ok
    assert "cannot be written" in check.words
    assert str(tmp_path / "file") in check.remedy


def test_the_cheapest_model_of_findings_is_tried(tiny_model):
    def listed(id: str, **changes) -> InstalledModel:
        return replace(tiny_model, card=replace(tiny_model.card, id=id, **changes))

    quick, slow = (
        listed("quick", cost={"cpu_seconds": 1.0}),
        listed("slow", cost={"cpu_seconds": 3}),
    )
    both = listed("both", cost={"cpu_seconds": 0.5}, members=(Member("quick", "0" * 64),))
    click, tissue = listed("click", kind="click"), listed("tissue", kind="tissue")
    broken = replace(quick, available=False)
    order = [click, both, slow, tissue, quick]
    assert quick_model(order) is quick
    assert quick_model([click, broken, tissue]) is tissue
    assert quick_model([click]) is None
