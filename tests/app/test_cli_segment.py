"""``isocenter segment`` with every kind of model: what is asked first, and what is written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from test_cli import FakeRun

from app.cli import main
from imaging.geometry import Geometry
from imaging.segmentation import Code, Provenance
from imaging.series import SequenceGuess
from imaging.storage import nifti
from imaging.volume import Volume
from inference.messages import SegmentAnswer
from inference.model import InputNeed, Member, OutputLabel
from inference.registry import find_model

SHAPE = (70, 72, 74)
MADE = Provenance("Test model", "1.0", "ab" * 32, "CPU (1 thread)", "2026-01-01T00:00:00", 1.0)


def image_file(folder: Path, name: str, shape=SHAPE, affine=None) -> Path:
    """A file whose name says what sequence it is."""
    k, j, i = np.ogrid[: shape[0], : shape[1], : shape[2]]
    voxels = np.broadcast_to(k + j + i, shape).astype(np.int16)
    grid = Geometry(shape, np.eye(4) if affine is None else affine)
    return nifti.write_volume(folder / name, Volume("v", name, voxels, grid))[0]


@pytest.fixture
def desk(tmp_path, capsys, monkeypatch):
    """Files, an installed model that can be changed, and a worker that answers at once."""
    import inference.client
    import inference.registry

    model = find_model("flair-wml")
    asked: list[dict] = []
    state = SimpleNamespace(model=model, asked=asked, folder=tmp_path, answer=an_answer())

    class Client:
        def __enter__(self):
            return self

        def __exit__(self, *_) -> None: ...

        def segment(self, volume, model, **rest):
            asked.append({"volume": volume, "model": model, **rest})
            return FakeRun(state.answer)

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["segment", *map(str, words), "--model", "m", "-o", str(tmp_path / "out")])
        out = capsys.readouterr()
        return code, out.out, out.err

    monkeypatch.setattr(inference.client, "WorkerClient", Client)
    monkeypatch.setattr(inference.registry, "find_model", lambda id: state.model)
    monkeypatch.setattr(inference.registry, "installed_models", lambda: [state.model])
    state.run = run
    state.written = lambda: {p.name for p in (tmp_path / "out").glob("*")}
    return state


def an_answer(**changes) -> SegmentAnswer:
    probability = np.zeros(SHAPE, np.float32)
    probability[30:40, 30:40, 30:40] = 0.95
    mask = (probability > 0.5).astype(np.uint8)
    return replace(SegmentAnswer("t", probability, mask, None, MADE), **changes)


def of_kind(desk, kind: str, **changes) -> None:
    desk.model = replace(desk.model, card=replace(desk.model.card, kind=kind, **changes))


def test_another_sequence_needs_a_yes(desk):
    t2 = image_file(desk.folder, "head_T2w.nii.gz")
    code, _, err = desk.run(t2)
    assert code == 3
    assert "looks like T2w" in err
    assert "--yes" in err
    assert desk.asked == []
    assert desk.written() == set()
    code, _, err = desk.run(t2, "--yes")
    assert code == 0
    assert len(desk.asked) == 1
    assert "looks like T2w" in err
    report = json.loads((desk.folder / "out" / "report.json").read_text())
    assert "looks like T2w" in " ".join(report["notes"])


def test_pixels_of_another_sequence_need_a_yes_whatever_the_name_says(desk, monkeypatch):
    seen = SequenceGuess("T1w", 0.6, "in the pixels fluid is dark and white matter bright")
    monkeypatch.setattr("inference.suitability.seen_in_pixels", lambda _volume: seen)
    code, _, err = desk.run(image_file(desk.folder, "head_FLAIR.nii.gz"))
    assert code == 3
    assert "pixels look like T1w" in err


def test_at_a_terminal_the_question_is_asked(desk, monkeypatch):
    t2 = image_file(desk.folder, "head_T2w.nii.gz")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, code in ((False, 3), (True, 0)):
        monkeypatch.setattr("typer.confirm", lambda *_, answer=answer, **__: answer)
        assert desk.run(t2)[0] == code


def test_a_sheared_stack_is_asked_about(desk):
    affine = np.eye(4)
    affine[1, 0] = 0.3
    file = image_file(desk.folder, "head_FLAIR.nii.gz", affine=affine)
    code, _, err = desk.run(file)
    assert code == 3
    assert "sheared stack" in err
    assert "--even" in err
    assert desk.run(file, "--yes")[0] == 0
    assert desk.asked[-1]["volume"].geometry.shape == SHAPE
    even = (70, 93, 74)  # the stack leans over by 21 rows
    desk.answer = an_answer(probability=np.zeros(even, np.float32), mask=np.zeros(even, np.uint8))
    assert desk.run(file, "--even")[0] == 0
    assert desk.asked[-1]["volume"].geometry.orthogonal


def test_further_images_go_by_the_names_of_the_card(desk):
    needs = (InputNeed("FLAIR", "FLAIR"), InputNeed("T1", "T1w", False))
    of_kind(desk, "lesions", inputs=needs)
    flair = image_file(desk.folder, "head_FLAIR.nii.gz")
    t1 = image_file(desk.folder, "head_T1w.nii.gz")
    assert desk.run(flair, "--t1", t1)[0] == 0
    assert list(desk.asked[0]["others"]) == ["T1"]
    code, _, err = desk.run(flair, "--t2", t1)
    assert code == 1
    assert "no use for a T2w image" in err


def test_a_further_image_of_another_position_is_asked_about(desk):
    needs = (InputNeed("FLAIR", "FLAIR"), InputNeed("T1", "T1w", False))
    of_kind(desk, "lesions", inputs=needs)
    flair = image_file(desk.folder, "head_FLAIR.nii.gz")
    t1 = image_file(desk.folder, "head_T1w.nii.gz", (60, 72, 74))
    code, _, err = desk.run(flair, "--t1", t1)
    assert code == 3
    assert "same position" in err


def test_a_model_that_needs_two_images_says_so(desk):
    of_kind(desk, "lesions", inputs=(InputNeed("FLAIR", "FLAIR"), InputNeed("T1", "T1w")))
    code, _, err = desk.run(image_file(desk.folder, "head_FLAIR.nii.gz"))
    assert code == 1
    assert "also needs the T1w image" in err


def test_uncertainty_is_written_where_it_is_asked_for(desk):
    flair = image_file(desk.folder, "head_FLAIR.nii.gz")
    code, _, err = desk.run(flair, "--uncertainty")
    assert code == 1
    assert "does not say how sure" in err
    of_kind(desk, "lesions", maps=("uncertainty",))
    unsure = np.full(SHAPE, 0.25, np.float32)
    desk.answer = an_answer(uncertainty=unsure, facts={"sentences": ["Fairly sure."], "dice": 0.8})
    assert desk.run(flair)[0] == 0
    assert "uncertainty.nii.gz" not in desk.written()
    code, out, _ = desk.run(flair, "--uncertainty")
    assert "Fairly sure." in out
    written = nib.load(desk.folder / "out" / "uncertainty.nii.gz").get_fdata()
    assert np.allclose(written, 0.25)
    assert json.loads((desk.folder / "out" / "facts.json").read_text())["dice"] == 0.8


def test_thorough_takes_the_ensemble(desk, monkeypatch):
    import inference.registry

    quick = desk.model
    card = replace(quick.card, id="slow", members=(Member(quick.card.id, "0" * 64),))
    both = [quick, replace(quick, card=card)]
    flair = image_file(desk.folder, "head_FLAIR.nii.gz")
    assert "No thorough version" in desk.run(flair, "--thorough")[2]
    monkeypatch.setattr(inference.registry, "installed_models", lambda: both)
    assert desk.run(flair, "--thorough")[0] == 0
    assert desk.asked[-1]["model"].card.id == "slow"


def test_tissues_are_written_with_their_volumes_and_no_lesion_table(desk):
    labels = tuple(
        OutputLabel(n, name, (9 * n, 9, 9), Code("85756007", "SCT", "Tissue"))
        for n, name in enumerate(("CSF", "Grey matter"), 1)
    )
    of_kind(desk, "tissue", labels=labels, inputs=(InputNeed("Head", "any"),))
    mask = an_answer().mask * 2
    desk.answer = an_answer(mask=mask, probability=np.zeros((2, *SHAPE), np.float32))
    file = image_file(desk.folder, "head_T2w.nii.gz")
    code, out, _ = desk.run(file, "--json")
    assert code == 0
    assert json.loads(out)["volumes_ml"] == {"CSF": 0.0, "Grey matter": 1.0}
    assert json.loads(out)["brain_volumes_ml"] == {}  # no fluid, no two brains
    assert {"mask.nii.gz", "report.json"} <= desk.written()
    assert not desk.written() & {"lesions.csv", "probability.nii.gz"}
    assert desk.run(file, "--threshold", "0.4")[0] == 1


def test_it_is_said_which_brain_volume_holds_the_fluid(desk):
    labels = tuple(
        OutputLabel(n, name, (9 * n, 9, 9), Code("85756007", "SCT", "Tissue"))
        for n, name in enumerate(("CSF", "Grey matter"), 1)
    )
    of_kind(desk, "tissue", labels=labels, inputs=(InputNeed("Head", "any"),))
    mask = an_answer().mask * 2
    mask[tuple(np.argwhere(mask).T[:, :250])] = 1  # a quarter is fluid
    facts = {"brain_ml": 1.0, "csf_ml": 0.2, "brain_parenchymal_fraction": 0.75}
    stack = np.zeros((2, *SHAPE), np.float32)
    desk.answer = an_answer(mask=mask, probability=stack, facts=facts)
    code, out, _ = desk.run(image_file(desk.folder, "head_T2w.nii.gz"))
    assert code == 0
    told = dict(re.findall(r"(Brain with(?:out)? fluid)\s+([\d.]+)", out))
    whole = np.count_nonzero(mask) / 1000
    assert told == {
        "Brain without fluid": f"{whole - 0.25:.1f}", "Brain with fluid": f"{whole:.1f}",
    }  # fmt: skip
    assert "share of the brain without fluid" in out
    assert "brain ml" not in out


def test_places_come_from_the_tissue_model_where_there_is_one(desk, monkeypatch):
    import inference.registry

    labels = tuple(OutputLabel(n, name, (9, 9, 9)) for n, name in enumerate("cgw", 1))
    card = replace(desk.model.card, id="tissue", kind="tissue", labels=labels)
    tissue = replace(desk.model, card=card)
    flair = image_file(desk.folder, "head_FLAIR.nii.gz")
    desk.run(flair)
    assert "pattern" not in json.loads((desk.folder / "out" / "report.json").read_text())
    code, out, _ = desk.run(flair, "--places", "--json")
    assert code == 0
    assert json.loads(out)["pattern"]["basis"] != "tissue"  # nothing but brightness to go by
    monkeypatch.setattr(inference.registry, "installed_models", lambda: [desk.model, tissue])
    code, out, _ = desk.run(flair, "--places", "--json")
    assert code == 0
    pattern = json.loads(out)["pattern"]
    assert pattern["basis"] == "tissue"
    assert [1] in [place["lesions"] for place in pattern["places"]]
    assert desk.asked[-1]["model"].card.id == "tissue"


def test_a_deviation_is_written_as_maps(desk):
    of_kind(desk, "deviation")
    facts = {"deviating_ml": 1.25, "image_scale": [0, 1]}
    desk.answer = an_answer(picture=np.zeros(SHAPE, np.float32), facts=facts)
    code, out, _ = desk.run(image_file(desk.folder, "head_FLAIR.nii.gz"))
    assert code == 0
    assert "deviating ml" in out
    assert "1.25" in out
    assert "image scale" not in out
    assert {"deviation.nii.gz", "normal.nii.gz"} <= desk.written()
    assert "mask.nii.gz" not in desk.written()


def test_a_yes_or_no_is_written_as_facts(desk):
    of_kind(desk, "presence")
    desk.answer = an_answer(facts={"sentences": ["Lesions are likely."]})
    code, out, _ = desk.run(image_file(desk.folder, "head_FLAIR.nii.gz"))
    assert code == 0
    assert "Lesions are likely." in out
    assert desk.written() == {"facts.json", "report.json"}


def test_a_click_model_is_for_the_window(desk):
    of_kind(desk, "click")
    code, _, err = desk.run(image_file(desk.folder, "head_FLAIR.nii.gz"))
    assert code == 1
    assert "follows clicks" in err
