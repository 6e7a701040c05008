"""Training on tiny phantoms, the bookkeeping of who is left out, and the figures themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch")
from imaging.errors import BadInput  # noqa: E402
from inference.card_reading import load_card  # noqa: E402
from inference.training.lesions import evaluate, package  # noqa: E402
from inference.training.lesions.channels import dropped  # noqa: E402
from inference.training.lesions.evaluate import (  # noqa: E402
    compare,
    drop_small,
    load_run,
    predict,
    segment,
)
from inference.training.lesions.shapes import LargeShape  # noqa: E402
from inference.training.lesions.synthesis import Synthesiser  # noqa: E402
from inference.training.lesions.taught import (  # noqa: E402
    LESION,
    UNKNOWN,
    read_taught,
    taught_heads,
)
from inference.training.lesions.train import (  # noqa: E402
    Settings,
    Trainer,
    lesion_loss,
    run,
    tissue_loss,
    warm_network,
)
from inference.training.planes.teach import agreed  # noqa: E402
from inference.training.shared import cases  # noqa: E402
from inference.training.shared.cases import (  # noqa: E402
    FOLDS,
    NO_PICTURE,
    Anatomy,
    inpaint,
    match_moments,
)
from inference.weights import availability  # noqa: E402

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
    settings = Settings(
        channels=(4, 6, 8, 8), thin=4, patch=PATCH, batch=2, warmup=3, rate=5e-3, steps=26, look=13
    )
    trainer = Trainer(source, settings)
    losses = [trainer.step() for _ in range(24)]
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    trainer.save(tmp_path / "checkpoint.pt", fold="test")
    other = Trainer(source, settings)
    other.load(tmp_path / "checkpoint.pt")
    assert other.steps == 24
    assert run(other, tmp_path, minutes=5)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["steps"] == 26


def test_a_piece_that_runs_out_of_time_says_so_and_keeps_its_steps(source, tmp_path):
    settings = Settings(channels=(4, 6, 8, 8), thin=4, patch=PATCH, batch=1, steps=10**6)
    assert not run(Trainer(source, settings), tmp_path, minutes=0.02)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert 0 < state["steps"] < 10**6


def test_new_channels_change_nothing_until_they_are_trained(tmp_path):
    from safetensors.torch import save_file

    small = Settings(channels=(4, 6, 8, 8), thin=4, inputs=1)
    old = warm_network(small)
    save_file({k: v.contiguous() for k, v in old.state_dict().items()}, str(tmp_path / "old"))
    new = warm_network(Settings(channels=(4, 6, 8, 8), thin=4), tmp_path / "old")
    image = torch.randn(1, 3, 16, 32, 16)
    with torch.inference_mode():
        assert torch.allclose(old(image[:, :1]), new(image), atol=1e-5)
    assert not torch.equal(new(image), new(torch.flip(image, (2,))))


def test_mistakes_are_found_only_where_the_truth_is_known(source):
    settings = Settings(channels=(4, 6, 8, 8), thin=4, patch=PATCH)
    trainer = Trainer(source, settings)
    torch.nn.init.constant_(trainer.network.head.bias, 9.0)  # marks everything
    wrong = trainer.look_for_mistakes(most=50)
    kinds = [a.kind for a in source.anatomies]
    assert kinds.index("template") not in wrong
    for number, (marked, missed) in wrong.items():
        anatomy = source.anatomies[number]
        spots = trainer.source.hard[number]
        assert len(spots) == 50
        assert missed == 0
        assert marked < anatomy.gold.size or not anatomy.gold.any()
        assert not anatomy.gold[tuple(spots.T)].any()
        assert not anatomy.unknown[tuple(spots.T)].any()
    trainer.source.hard.clear()


def test_what_is_missed_is_remembered_beside_what_is_wrong(source):
    trainer = Trainer(source, Settings(channels=(4, 6, 8, 8), thin=4, patch=PATCH))
    torch.nn.init.constant_(trainer.network.head.bias, -9.0)  # marks nothing
    found = trainer.look_for_mistakes()
    seen = 0
    for number, (marked, missed) in found.items():
        anatomy = source.anatomies[number]
        assert marked == 0
        assert missed == np.count_nonzero(anatomy.gold & ~anatomy.unknown)
        spots = trainer.source.hard[number]
        assert anatomy.gold[tuple(spots.T)].all()
        seen += len(spots)
    assert seen
    trainer.source.hard.clear()


def test_heads_are_taught_where_two_networks_agree():
    volumes = np.array([0.9, 0.9, 0.9, 0.1, 0.0], np.float32).reshape(5, 1, 1)
    planes = np.array([0.9, 0.3, 0.0, 0.0, 0.9], np.float32).reshape(5, 1, 1)
    dark = np.zeros((5, 1, 1), bool)
    assert agreed(volumes, planes, dark).ravel().tolist() == [LESION, UNKNOWN, 0, 0, UNKNOWN]
    assert agreed(volumes, planes, ~dark).ravel().tolist() == [LESION, UNKNOWN, UNKNOWN, 0, UNKNOWN]


def test_taught_heads_keep_everything_but_their_labels(tmp_path):
    head = phantom("head")
    labels = np.zeros(head.brain.shape, np.uint8)
    labels[2:4], labels[4:5] = LESION, UNKNOWN
    np.savez_compressed(tmp_path / "taught.npz", **{"1": labels})
    plain, taught = taught_heads([phantom("real"), head], read_taught(tmp_path / "taught.npz"))
    assert plain.kind == "real"
    assert taught.image is head.image
    assert np.array_equal(taught.gold, labels == LESION)
    assert np.array_equal(taught.unknown, labels == UNKNOWN)


def test_tissue_teaches_only_where_it_is_known():
    logits = torch.zeros(1, 4, 2, 2, 2, requires_grad=True)
    tissue = torch.full((1, 2, 2, 2), -1, dtype=torch.int8)
    assert float(tissue_loss(logits, tissue).detach()) == 0
    tissue[0, 0] = 2
    tissue_loss(logits, tissue).backward()
    assert logits.grad is not None
    assert float(logits.grad[0, :, 0].abs().min()) > 0
    assert float(logits.grad[0, :, 1].abs().max()) == 0


def test_t1_and_t2_come_with_the_patches_that_can_have_them():
    source = Synthesiser([phantom("template")], {"99": np.ones(SHAPE, bool)}, seed=3)
    patches = [source.sample(PATCH) for _ in range(16)]
    there = [p.others for p in patches if p.others is not None]
    assert 2 <= len(there) <= 14
    for others in there:
        assert others.shape == (2, *PATCH)
        assert -1 <= others.min() <= others.max() <= 2
    rng = np.random.default_rng(0)
    kept = np.array([[c.any() for c in dropped(rng, there[0])] for _ in range(60)])
    assert 0.6 < kept.mean() < 0.95
    assert not kept.all(axis=1).all()


def test_a_lesion_is_dark_on_t1_and_bright_on_t2():
    ball = phantom("template")
    source = Synthesiser([ball], {"99": np.ones(SHAPE, bool)}, seed=5)
    differences = []
    for _ in range(40):
        patch = source.sample(PATCH)
        white = np.repeat(np.repeat(np.repeat(patch.tissue == 3, 2, 0), 2, 1), 2, 2)
        lesion, healthy = patch.label > 0, white & (patch.label == 0) & (patch.image > -0.4)
        if patch.others is not None and min(lesion.sum(), healthy.sum()) > 500:
            differences.append([c[lesion].mean() - c[healthy].mean() for c in patch.others])
    t1, t2 = np.median(differences, axis=0)
    assert t1 < -0.05
    assert t2 > 0.1


def test_a_large_shape_is_planted_and_labelled():
    mask = np.zeros(SHAPE, np.uint8)
    mask[16:32, 18:40, 14:34] = 1
    shape = LargeShape(mask, np.eye(4), np.argwhere(mask)[::9].astype(float))
    source = Synthesiser([phantom("template")], {"99": mask > 0}, seed=2, large=[shape])
    source._pick_masks = lambda anatomy: []
    source._pick_large = lambda anatomy: shape
    patches = [source.sample(PATCH) for _ in range(8)]
    assert np.mean([p.label.mean() for p in patches]) > 0.05


def test_the_other_channels_reach_the_network():
    network = warm_network(Settings(channels=(4, 6, 8, 8), thin=4))
    rng = np.random.default_rng(0)
    head = np.zeros((30, 40, 40), np.float32)
    head[6:24, 8:32, 8:32] = 100 + rng.normal(0, 5, (18, 24, 24))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])[:, [2, 1, 0, 3]]
    alone = predict(network, head, affine)
    assert np.array_equal(alone, predict(network, head, affine, {}))
    assert not np.allclose(alone, predict(network, head, affine, {"t2": (head[::-1], affine)}))


def test_a_run_without_its_further_channels_answers_as_with_images_missing(source, tmp_path):
    settings = Settings(channels=(4, 6, 8, 8), thin=4, patch=PATCH, batch=1, warmup=1, steps=9)
    trainer = Trainer(source, settings)
    trainer.step()
    trainer.save(tmp_path / "checkpoint.pt")
    image = torch.randn(1, 3, 32, 32, 32)
    image[:, 1:] = 0
    with torch.inference_mode():
        whole, flair = load_run(tmp_path)(image), load_run(tmp_path, 1)(image[:, :1])
    assert torch.allclose(whole, flair, atol=1e-5)


def test_the_mirrored_pass_is_turned_back_before_the_mean(monkeypatch):
    def ramp(network, image):
        return np.broadcast_to(np.linspace(0, 1, image.shape[-1]), image.shape[1:])

    monkeypatch.setattr(evaluate, "_one_pass", ramp)
    network = warm_network(Settings(channels=(4, 6, 8, 8), thin=4))
    head = np.zeros((24, 24, 24), np.float32)
    head[4:20, 4:20, 4:20] = 100
    affine = np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]
    inner = (slice(6, 18),) * 3
    assert np.ptp(predict(network, head, affine)[inner]) > 0.1
    assert predict(network, head, affine, mirrored=True)[inner] == pytest.approx(0.5, abs=1e-5)


def test_unknown_voxels_do_not_teach():
    logits = torch.zeros(1, 1, 4, 4, 4, requires_grad=True)
    weight = torch.ones_like(logits).detach()
    weight[..., 0] = 0
    lesion_loss(logits, torch.ones_like(weight), weight).backward()
    assert logits.grad is not None
    assert float(logits.grad[..., 0].abs().sum()) == 0
    assert float(logits.grad[..., 1:].abs().min()) > 0


def write_figures(path, **dice):
    """Figures as `evaluate` writes them, with a Dice for each patient."""
    figures = {"threshold": 0.5, "lesions": 3, "gold_ml": 1.0, "lesion_f1": 0.5}
    figures |= {"lesion_sensitivity": 0.5, "lesion_ppv": 0.5, "sensitivity": 0.5, "ppv": 0.5}
    figures |= {"volume_ratio": 1.0, "found_by_size": [[4, 0], [3, 1], [2, 2], [1, 1]]}
    path.write_text(json.dumps([{**figures, "case": c[1:], "dice": d} for c, d in dice.items()]))
    return path


def test_weights_that_are_no_better_are_refused_and_the_card_can_say_so(source, tmp_path):
    settings = Settings(channels=(4, 6, 8, 8), thin=4, patch=PATCH, batch=1)
    for name in ("all", "07", "19"):
        (tmp_path / name).mkdir()
        Trainer(source, settings).save(tmp_path / name / "checkpoint.pt", fold=name)
    folder = tmp_path / "flair-wml"
    first = write_figures(tmp_path / "first.json", p07=0.3, p19=0.7)
    package.write_model(tmp_path, folder, first, flair_only=True)
    assert [need.name for need in load_card(folder).inputs] == ["FLAIR"]
    before = (folder / "model.safetensors").read_bytes()
    worse = write_figures(tmp_path / "worse.json", p07=0.4, p19=0.5)
    with pytest.raises(BadInput, match=r"0\.450 .* 0\.500"):
        package.write_model(tmp_path, folder, worse)
    assert (folder / "model.safetensors").read_bytes() == before
    package.write_model(tmp_path, folder, write_figures(tmp_path / "more.json", p07=0.5, p19=0.7))
    kept = (folder / "model.safetensors").read_bytes()
    package.rewrite_card(folder, first, "A longer run was worse.")
    card = load_card(folder)
    assert availability(card, folder) == (True, "")
    assert (folder / "model.safetensors").read_bytes() == kept
    assert card.training["refused"] == "A longer run was worse."
    assert card.figures[0]["lesions_found_by_size"]["10 to 50 mm3"] == "1 of 3"


def test_the_left_out_patient_is_left_out_everywhere():
    for name in ("07", "19"):
        fold = FOLDS[name]
        assert name not in fold.images
        assert name not in fold.bank
        assert len(fold.bank) == 19
    assert len(FOLDS["all"].bank) == 20
    assert not NO_PICTURE.images
    assert not {"07", "19"} & set(NO_PICTURE.bank)


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
    far = ~np.asarray(ndimage.binary_dilation(anatomy.gold, iterations=6), bool)
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
    assert [need.name for need in card.inputs] == ["FLAIR", "T1w", "T2w"]
    assert [need.name for need in card.required] == ["FLAIR"]
    assert availability(card, folder) == (True, "")
    assert card.figures[0]["baselines"]["A z-score, plain"] == 0.1
    network = load_run(tmp_path / "all")
    at = np.zeros((20, 40, 40), np.int16)
    at[4:16, 8:30, 8:30] = 100
    assert segment(network, at, np.diag([1.0, 1.0, 3.0, 1.0])[:, [2, 1, 0, 3]]).shape == at.shape
