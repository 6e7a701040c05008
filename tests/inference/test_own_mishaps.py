"""What may befall a training: corrected masks, spoiled files, a lost loss, a dying window."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from own_cases import SMALL, write_head, write_list

torch = pytest.importorskip("torch")
pytest.importorskip("monai")

from imaging.errors import BadInput, WorldFailed  # noqa: E402
from inference.training.own import case_check, loop, packing  # noqa: E402
from inference.training.own.case_check import check_cases, open_case  # noqa: E402
from inference.training.own.case_list import CaseFiles, read_cases  # noqa: E402
from inference.training.own.choices import Choices, keep_choices  # noqa: E402
from inference.training.own.judge import answer_by_worker  # noqa: E402
from inference.training.own.packing import card_of, network_of, new_card_table  # noqa: E402
from inference.training.own.prepared import Store, anew_where_changed  # noqa: E402
from inference.training.own.progress import Speaker, Stopped  # noqa: E402
from inference.training.own.training import CHANGED, judged, look_at_cases, train  # noqa: E402

pytestmark = pytest.mark.xdist_group("own training")


def quiet() -> tuple[Speaker, io.StringIO]:
    """A speaker whose lines can be read afterwards."""
    stream = io.StringIO()
    return Speaker(as_json=True, stream=stream), stream


def choices(cases: Path, out: Path, **more) -> Choices:
    """A small training."""
    usual = {"steps": 2, "folds": 2, "threads": 1, "device": "cpu", "changes": SMALL}
    return Choices(cases=str(cases), out=str(out), **{**usual, **more})


def correct(mask: Path) -> None:
    """Take half of what is marked away."""
    known = nib.load(mask)
    assert isinstance(known, nib.Nifti1Image)
    array = np.asarray(known.dataobj).copy()
    array[: array.shape[0] // 2] = 0
    nib.save(nib.Nifti1Image(array, known.affine), mask)


def test_a_corrected_mask_is_prepared_again_and_an_equal_one_is_not(tmp_path):
    image, mask = write_head(tmp_path, 1)
    wanted = choices(tmp_path, tmp_path / "out")
    store = Store(tmp_path / "out", card_of(new_card_table(wanted, "FLAIR", ())))
    files = CaseFiles("one", image, mask, patient="p")

    def kept() -> tuple[int, int]:
        (note,) = check_cases([files], keep=store.keep)
        (case,) = store.cases([note])
        return int(case.mask.sum()), (case.folder / "image.npy").stat().st_mtime_ns

    first, when = kept()
    assert kept() == (first, when)
    correct(mask)
    second, later = kept()
    assert 0 < second < first
    assert later > when


def test_after_a_correction_runs_and_figures_are_made_anew(tmp_path):
    """A training that is done goes on after a correction as if it had begun with it."""
    cases = write_list(tmp_path / "cases", 2)
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    train(choices(cases, out), quiet()[0])
    before = json.loads((out / "report.json").read_text())
    speaker, stream = quiet()
    train(choices(cases, out), speaker, resume=True)
    assert CHANGED not in stream.getvalue()
    assert json.loads((out / "report.json").read_text())["each"] == before["each"]

    correct(tmp_path / "cases" / "head0_FLAIR_mask.nii.gz")
    speaker, stream = quiet()
    train(choices(cases, out), speaker, resume=True)
    assert CHANGED in stream.getvalue()
    train(choices(cases, fresh), quiet()[0])
    after, right = (json.loads((one / "report.json").read_text()) for one in (out, fresh))
    assert after["each"] == right["each"]
    assert after["each"] != before["each"]


def test_figures_hold_only_for_the_weights_they_were_measured_with(tmp_path, monkeypatch):
    cases = write_list(tmp_path / "cases", 1)
    wanted = choices(cases, tmp_path / "out")
    known = look_at_cases(wanted, quiet()[0])
    asked = []
    module = "inference.training.own.training"
    monkeypatch.setattr(f"{module}.answer_here", lambda *a: asked.append(a) or ["answer"])
    monkeypatch.setattr(f"{module}.judge", lambda *a: [])
    for seed, count in ((0, 1), (0, 1), (1, 2)):
        torch.manual_seed(seed)
        judged(tmp_path / "j", known, network_of(known.table), read_cases(cases), wanted,
               quiet()[0])  # fmt: skip
        assert len(asked) == count


def test_a_case_that_cannot_be_prepared_does_not_stop_the_others(tmp_path):
    files = read_cases(write_list(tmp_path, 2))

    def keep(case) -> None:
        if case.files.name == files[0].name:
            raise BadInput("It is no head", str(tmp_path / "secret.nii"))

    first, second = check_cases(files, keep=keep)
    assert not first.ok
    assert "no head" in first.sentence
    assert str(tmp_path) not in first.sentence
    assert second.ok

    def full(case) -> None:
        raise WorldFailed("The disk is full")

    with pytest.raises(WorldFailed):
        check_cases(files, keep=full)


@pytest.mark.parametrize("where", ["loss", "slope"])
def test_a_loss_that_is_no_number_ends_it_before_the_weights_are_spoiled(tmp_path, where):
    class Lost(torch.autograd.Function):
        @staticmethod
        def forward(_context, value):
            return value.clone()

        @staticmethod
        def backward(_context, slope):
            return slope * float("nan")

    wanted = choices(tmp_path, tmp_path / "out")
    network = network_of(new_card_table(wanted, "FLAIR", ()))
    seen = []

    def loss(logits, label, image):
        seen.append(1)
        value = logits.square().mean()
        if len(seen) < 3:
            return value
        return value * float("nan") if where == "loss" else Lost.apply(value)

    class Source:
        def batch(self, step):
            image = np.random.default_rng(step).normal(size=(1, 1, 32, 32, 32)).astype(np.float32)
            return image, np.zeros_like(image)

    run = loop.Run(network, wanted, tmp_path / "run", loss=loss)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_S", -1.0)
        with pytest.raises(BadInput, match="astray: at step 2"):
            run.train(Source(), loop.Until(steps=9), quiet()[0])
    state = torch.load(tmp_path / "run" / loop.CHECKPOINT, weights_only=True)
    assert state["steps"] == 2
    assert all(bool(torch.isfinite(value).all()) for value in state["network"].values())


def test_spoiled_choices_are_a_sentence(tmp_path):
    wanted = choices(tmp_path, tmp_path / "out")
    keep_choices(wanted, resume=False)
    keep_choices(wanted, resume=True)
    (tmp_path / "out" / "choices.json").write_text('{"cases": ')
    with pytest.raises(BadInput, match="cannot be read"):
        keep_choices(wanted, resume=True)


def test_the_old_package_stays_until_the_new_one_has_its_name(tmp_path, monkeypatch):
    new, old = tmp_path / "package.part", tmp_path / "package"
    for folder in (new, old):
        folder.mkdir()
        (folder / "card.toml").write_text(folder.name)
    renamed = Path.rename

    def refuses(self, target):
        if self == new:
            raise OSError("no")
        return renamed(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuses)
        with pytest.raises(WorldFailed):
            packing._put_in_place(new, old)
    assert (old / "card.toml").read_text() == "package"
    packing._put_in_place(new, old)
    assert (old / "card.toml").read_text() == "package.part"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["package"]


def test_what_a_run_learned_from_is_remembered(tmp_path):
    wanted = choices(write_list(tmp_path / "cases", 2), tmp_path / "out")
    cases = look_at_cases(wanted, quiet()[0]).prepared
    folder = tmp_path / "run"
    assert not anew_where_changed(folder, cases)
    (folder / loop.CHECKPOINT).write_bytes(b"x")
    assert not anew_where_changed(folder, cases)
    assert (folder / loop.CHECKPOINT).exists()
    assert anew_where_changed(folder, [replace(cases[0], digest="other"), cases[1]])
    assert not (folder / loop.CHECKPOINT).exists()


def test_a_question_to_the_worker_ends_when_asked(tmp_path):
    """Ctrl-C in the middle of a case does not wait for its end."""

    class Never:
        def wait(self, _seconds):
            return None

    class Client:
        def segment(self, *_words, **_more):
            return Never()

    image, mask = write_head(tmp_path, 1)
    case = open_case(CaseFiles("one", image, mask))
    model = type(
        "M", (), {"card": card_of(new_card_table(choices(image, tmp_path / "run"), "FLAIR", ()))}
    )
    speaker, _ = quiet()
    speaker.stop()
    with pytest.raises(Stopped):
        answer_by_worker(Client(), model(), case, heed=speaker.heed)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "stop\n"])
def test_a_pipe_that_ends_means_stop(text, monkeypatch):
    out, into = os.pipe()
    os.write(into, text.encode())
    os.close(into)
    with os.fdopen(out) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        speaker, _ = quiet()
        speaker._hear()
        assert speaker.stopping


def test_a_file_as_input_that_ends_does_not_mean_stop(tmp_path, monkeypatch):
    (tmp_path / "empty").write_text("")
    with (tmp_path / "empty").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        speaker, _ = quiet()
        speaker._hear()
        assert not speaker.stopping


def test_a_listener_who_is_gone_is_a_stop_and_no_crash():
    class Gone(io.StringIO):
        def write(self, _text):
            raise BrokenPipeError

    speaker = Speaker(as_json=True, stream=Gone())
    speaker.note("Nobody hears this.")
    assert speaker.stopping
    with pytest.raises(BrokenPipeError):
        Speaker(as_json=False, stream=Gone()).note("A reader such as head has seen enough.")


def test_the_digest_knows_image_mask_and_answer(tmp_path):
    image, mask = write_head(tmp_path, 1)
    case = open_case(CaseFiles("one", image, mask))
    assert case.mask is not None
    other = case.mask.copy()
    other[0, 0, 0] ^= 1
    same = case_check.OpenCase(case.files, case.volume, case.others, case.mask.copy())
    assert same.digest == case.digest
    changed = {
        case_check.OpenCase(case.files, case.volume, case.others, other).digest,
        case_check.OpenCase(case.files, case.volume, {"T1w": case.volume}, case.mask).digest,
        replace(case, files=replace(case.files, answer=True)).digest,
        replace(case, volume=replace(case.volume, slope=2.0)).digest,
    }
    assert len(changed) == 4
    assert case.digest not in changed
