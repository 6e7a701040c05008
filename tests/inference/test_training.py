"""Training on tiny phantoms, the bookkeeping of who is left out, and the figures themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch")
from inference.model import availability, load_card  # noqa: E402
from inference.training import cases, package  # noqa: E402
from inference.training.cases import FOLDS, Anatomy, inpaint, match_moments  # noqa: E402
from inference.training.evaluate import compare, drop_small, load_run, segment  # noqa: E402
from inference.training.synthesis import Synthesiser  # noqa: E402
from inference.training.train import Settings, Trainer, lesion_loss, run  # noqa: E402

SHAPE = (48, 56, 48)
PATCH = (32, 32, 32)


def phantom(kind: str) -> Anatomy:
    """Ball-shaped brain with a fluid middle; ``real`` carries one bright lesion."""
    at = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij"))
    radius = np.sqrt((at**2).sum(0)).astype(np.float32)
    white, fluid = ((radius < 20) & (radius >= 5)), radius < 5
    image = np.where(white, 0.0, np.where(fluid, -0.7, -1.0)).astype(np.float32)
    gold = np.zeros(SHAPE, bool)
    if kind == "real":
        gold = np.sqrt(((at - 9) ** 2).sum(0)) < 3
        image[gold] = 0.4
    share = white.astype(np.float32)
    tissue = {"wm": share, "gm": 0.0 * share, "csf": fluid.astype(np.float32)}
    return Anatomy(
        kind=kind,
        image=None if kind == "template" else image,
        gold=gold,
        brain=radius - 20,
        unknown=(image > 0.14) & (kind == "head"),
        place=share,
        to_mni=np.eye(4),
        extra=tissue if kind == "template" else {},
    )


@pytest.fixture(scope="module")
def source() -> Synthesiser:
    """Patches from four kinds of phantom and one mask in the bank."""
    kinds = ("real", "inpainted", "template", "head")
    mask = np.zeros(SHAPE, bool)
    mask[12:17, 26:31, 30:36] = True
    return Synthesiser([phantom(k) for k in kinds], {"99": mask}, seed=1)


def test_patches_are_what_the_network_expects(source):
    patches = [source.sample(PATCH) for _ in range(24)]
    for patch in patches:
        for array in (patch.image, patch.label, patch.weight):
            assert array.shape == PATCH
            assert array.dtype == np.float32
            assert np.isfinite(array).all()
        assert -1 <= patch.image.min() <= patch.image.max() <= 2
        assert set(np.unique(patch.label)) <= {0.0, 1.0}
    assert 0 < np.mean([p.label.mean() for p in patches]) < 0.2


def test_the_same_seed_gives_the_same_patches(source):
    twins = [Synthesiser(source.anatomies, {"99": source.bank[0] > 0}, seed=7) for _ in range(2)]
    first, second = (twin.sample(PATCH) for twin in twins)
    assert np.array_equal(first.image, second.image)


def test_a_few_steps_bring_the_loss_down_and_a_checkpoint_goes_on(source, tmp_path):
    torch.set_num_threads(1)
    settings = Settings(channels=(4, 6, 8, 8), thin=4, patch=PATCH, batch=2, warmup=3)
    trainer = Trainer(source, settings)
    losses = [trainer.step(0.0) for _ in range(24)]
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    trainer.save(tmp_path / "checkpoint.pt", fold="test")
    other = Trainer(source, settings)
    other.load(tmp_path / "checkpoint.pt")
    assert other.steps == 24
    run(other, tmp_path, minutes=5, steps=26)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["steps"] == 26


def test_unknown_voxels_do_not_teach():
    logits = torch.zeros(1, 1, 4, 4, 4, requires_grad=True)
    weight = torch.ones_like(logits).detach()
    weight[..., 0] = 0
    lesion_loss(logits, torch.ones_like(weight), weight).backward()
    assert logits.grad is not None
    assert float(logits.grad[..., 0].abs().sum()) == 0
    assert float(logits.grad[..., 1:].abs().min()) > 0


def test_the_left_out_patient_is_left_out_everywhere():
    for name in ("07", "19"):
        fold = FOLDS[name]
        assert name not in fold.images
        assert name not in fold.bank
        assert len(fold.bank) == 19
    assert len(FOLDS["all"].bank) == 20


def test_leaving_out_holds_for_the_files_that_are_read(shared_data, monkeypatch):
    if not (shared_data / "ms_open_mni").is_dir():
        pytest.skip("the lesion data are not here")
    seen = []
    real = cases.read_nifti
    monkeypatch.setattr(cases, "read_nifti", lambda path: (seen.append(str(path)), real(path))[1])
    fold = FOLDS["19"]
    bank = cases.lesion_bank(fold.bank)
    cases.load_labelled(fold.images[0])
    assert "19" not in bank
    assert seen
    assert not any("ms_open_mni" in s and "patient19" in s for s in seen)


def test_inpainting_removes_a_lesion():
    anatomy = phantom("real")
    assert anatomy.image is not None
    clean = inpaint(anatomy.image, anatomy.gold, anatomy.place, np.random.default_rng(0))
    assert abs(clean[anatomy.gold].mean()) < 0.05
    far = ~ndimage.binary_dilation(anatomy.gold, iterations=6)
    assert np.abs(clean - anatomy.image)[far].max() < 0.02


def test_brains_are_matched_by_place_and_size():
    small, large = np.zeros((2, 40, 40, 40), bool)
    small[5:15, 8:18, 10:20] = True
    large[10:30, 10:30, 10:30] = True
    change = match_moments(small, [large])
    middle = change[:3, :3] @ [9.5, 12.5, 14.5] + change[:3, 3]
    assert middle == pytest.approx([19.5] * 3)
    assert np.diag(change)[:3] == pytest.approx([2.0] * 3, rel=0.02)


def test_figures_of_known_masks():
    gold = np.zeros((20, 20, 20), bool)
    gold[2:6, 2:6, 2:6] = gold[12:14, 12:14, 12:14] = True
    found = np.zeros_like(gold)
    found[3:7, 2:6, 2:6] = found[17:19, 17:19, 2:4] = True
    figures = compare(found, gold, voxel_mm3=2.0)
    assert figures.dice == pytest.approx(2 * 48 / (72 + 72))
    assert (figures.lesions, figures.marked) == (2, 2)
    assert figures.lesion_sensitivity == figures.lesion_ppv == figures.lesion_f1 == 0.5
    assert figures.gold_ml == pytest.approx(0.144)
    assert figures.volume_ratio == 1


def test_diagonal_neighbours_are_one_lesion_and_small_ones_go():
    mask = np.zeros((9, 9, 9), bool)
    mask[1, 1, 1] = mask[2, 2, 2] = mask[3, 3, 3] = mask[7, 7, 7] = True
    assert drop_small(mask, 2.0, 5.0).sum() == 3
    assert not drop_small(mask, 1.0, 5.0).any()


def test_a_run_becomes_a_model_folder_the_application_accepts(source, tmp_path):
    settings = Settings(channels=(4, 6, 8, 8), thin=4, patch=PATCH, batch=1)
    for name in ("all", "07", "19"):
        (tmp_path / name).mkdir()
        Trainer(source, settings).save(tmp_path / name / "checkpoint.pt", fold=name)
    figures = {"case": "07", "threshold": 0.5, "lesions": 3, "gold_ml": 1.0}
    figures |= {"dice": 0.5, "lesion_f1": 0.5, "lesion_sensitivity": 0.5, "lesion_ppv": 0.5}
    figures |= {"sensitivity": 0.5, "ppv": 0.5, "volume_ratio": 1.0}
    figures |= {"baselines": {"A z-score, plain": {"dice": 0.1}}}
    (tmp_path / "figures.json").write_text(json.dumps([figures]))
    folder = tmp_path / "flair-wml"
    package.write_model(tmp_path, folder, tmp_path / "figures.json")
    card = load_card(folder)
    assert availability(card, folder) == (True, "")
    assert card.figures[0]["baselines"]["A z-score, plain"] == 0.1
    network = load_run(tmp_path / "all")
    at = np.zeros((20, 40, 40), np.int16)
    at[4:16, 8:30, 8:30] = 100
    assert segment(network, at, np.diag([1.0, 1.0, 3.0, 1.0])[:, [2, 1, 0, 3]]).shape == at.shape
