"""Training of the plane network: who is held back, how planes lie, what counts, and the cards."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch")
from PIL import Image  # noqa: E402

from inference.card_reading import load_card  # noqa: E402
from inference.devices import choose_device  # noqa: E402
from inference.model import SourceImage  # noqa: E402
from inference.plugins.planes import Planes  # noqa: E402
from inference.reports import Quiet  # noqa: E402
from inference.training.planes import infarct_probe, package  # noqa: E402
from inference.training.planes.calibration import Calibration, Case, fit, uncertainty_report  # noqa: E402
from inference.training.planes.data import (  # noqa: E402
    AXES,
    BANK_PATIENTS,
    StrokePlanes,
    is_test,
    tissue_peak,
    to_units,
    volume_plane,
)
from inference.training.planes.synthesis import (  # noqa: E402
    INFARCT_BRIGHT,
    PlaneSynthesiser,
    thick_slices,
)
from inference.training.planes.train import (  # noqa: E402
    PlaneTrainer,
    Settings,
    load_run,
    plane_loss,
    run,
)
from inference.training.shared import cases  # noqa: E402

SMALL = Settings(channels=(4, 6, 8, 8), thin=3, patch=(48, 48), batch=3, fresh=1, settle=3)


def strip(spots: dict[str, tuple[int, int]] | None = None) -> np.ndarray:
    """A stored strip: an oval brain in each of the three planes, grey 160, and bright pixels."""
    image = np.zeros((189, 503), np.uint8)
    for middle, radii in (((94, 78), (80, 64)), ((121, 251), (60, 80)), ((121, 424), (60, 64))):
        rows, columns = np.ogrid[:189, :503]
        inside = ((rows - middle[0]) / radii[0]) ** 2 + ((columns - middle[1]) / radii[1]) ** 2 < 1
        image[inside] = 160
    for row, column in (spots or {}).values():
        image[row, column] = 252
    return image


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A data folder with made-up strips of ten patients; the third has an infarct."""
    folder = tmp_path / "soop_stroke_flair"
    for part in ("flair_strips", "mask_strips"):
        (folder / part).mkdir(parents=True)
    for number in range(10):
        image, mask = strip(), np.zeros((189, 503), bool)
        if number % 2:
            mask[70:90, 40:60] = True
            image[mask] = 228
        Image.fromarray(image).save(folder / "flair_strips" / f"sub-{number}.png")
        Image.fromarray(mask).save(folder / "mask_strips" / f"sub-{number}.png")
    monkeypatch.setenv("ISOCENTER_DATA", str(tmp_path))
    return folder


def source(planes: StrokePlanes) -> PlaneSynthesiser:
    bank = np.zeros((182, 218, 182), bool)
    bank[85:95, 60:150:12, 60:120:12] = True
    planes._white = {
        name: np.ones((189 if name == "axial" else 136, 189 if name == "sagittal" else 157))
        for name in AXES
    }
    return PlaneSynthesiser(planes, [], {"made up": ndimage.binary_dilation(bank)}, 1)


def test_neither_of_the_measured_patients_is_in_the_bank():
    assert not set(BANK_PATIENTS) & {"07", "19"}
    assert len(BANK_PATIENTS) == 18


def test_held_back_patients_are_a_fifth_and_never_trained_on():
    names = [f"sub-{n}" for n in range(3000)]
    assert 0.17 < np.mean([is_test(n) for n in names]) < 0.23


def test_a_patient_is_on_one_side_only(stored):
    train, test = StrokePlanes(False), StrokePlanes(True)
    assert not set(train.subjects) & set(test.subjects)
    assert len(train.subjects) + len(test.subjects) == 10


def test_planes_are_turned_to_the_model_grid(stored):
    # From the description of the source: axial row 76 - y, column x + 78 (patient left at the
    # image's left); the others row 53 + 85 - z, sagittal column 157 + y + 112, coronal column
    # 346 + x + 78.
    x, y, z = -30, 20, 40
    marks = {
        "axial": (76 - y, x + 78),
        "sagittal": (53 + 85 - z, 157 + y + 112),
        "coronal": (53 + 85 - z, 346 + x + 78),
    }
    Image.fromarray(strip(marks)).save(stored / "flair_strips" / "sub-0.png")
    planes = StrokePlanes(is_test("sub-0"))
    lps = np.linalg.inv(np.array(cases.MNI_AFFINE, float)) @ [-x, -y, z, 1]
    for name, axis in AXES.items():
        plane = planes.plane("sub-0", name)
        found = np.unravel_index(plane.image.argmax(), plane.image.shape)
        start = [s for a, s in enumerate(plane.start) if a != axis]
        wanted = [round(v) for a, v in enumerate(lps[:3]) if a != axis]
        assert [f + s for f, s in zip(found, start, strict=True)] == wanted, name


def test_real_planes_lie_on_the_template(shared_data, monkeypatch):
    monkeypatch.setenv("ISOCENTER_DATA", str(shared_data))
    tissues = cases.template_tissues()
    planes = StrokePlanes(True, tissues)
    brain = sum(tissues.values()) > 0.5
    for name, axis in AXES.items():
        overlaps = []
        for subject in planes.subjects[:4]:
            plane = planes.plane(subject, name)
            flat = np.take(brain, plane.start[axis], axis)
            row, column = (s for a, s in enumerate(plane.start) if a != axis)
            rows, columns = plane.brain.shape
            part = flat[row : row + rows, column : column + columns]
            seen = plane.brain[: part.shape[0], : part.shape[1]] < 0
            overlaps.append(2 * (seen & part).sum() / (seen.sum() + part.sum()))
        assert min(overlaps) > 0.9, name
        turned = part[:, ::-1] if name == "sagittal" else part[::-1]
        worse = 2 * (seen & turned).sum() / (seen.sum() + turned.sum())
        assert worse < overlaps[-1] - 0.02, name


def test_grey_values_get_the_scale_of_the_application():
    planes = [np.where(strip() > 0, 160, 0).astype(np.float32)]
    level = tissue_peak(planes)
    assert abs(level - 160) < 4
    image = to_units(np.array([0, level, 2 * level, 4 * level], np.float32), level)
    np.testing.assert_allclose(image, [-1, 0, 1, 2])


def test_patches_hold_both_truths_and_leave_the_unknown_out(stored):
    made = source(StrokePlanes(False))
    patches = [made.sample((64, 64)) for _ in range(30)]
    for patch in patches:
        assert patch.image.shape == (64, 64)
        assert patch.label.shape == patch.weight.shape == (2, 64, 64)
        assert -1 <= patch.image.min() <= patch.image.max() <= 2
        assert set(np.unique(patch.label)) <= {0, 1}
    infarcts = [p for p in patches if p.label[1].any()]
    assert infarcts
    assert any(p.label[0].any() for p in patches if not p.label[1].any())
    for patch in infarcts:
        dark = (patch.label[1] > 0) & (patch.image < INFARCT_BRIGHT - 0.01)
        assert not (patch.weight[0][dark] * (1 - patch.label[0][dark])).any()


def test_bright_spots_nobody_labelled_do_not_count_but_bright_cortex_does(stored):
    image = strip()
    image[100:108, 60:68] = 220  # deep white matter
    image[75:135, 110:130] = 0  # a wide fold
    image[75:135, 106:110] = 196  # its cortex
    Image.fromarray(image).save(stored / "flair_strips" / "sub-0.png")
    planes = StrokePlanes(is_test("sub-0"))
    planes._white = {"axial": np.ones((189, 157), np.float32)}
    unknown = planes.plane("sub-0", "axial").unknown[:, ::-1]
    assert unknown[101:107, 61:67].all()
    assert unknown[85:125, 107:109].mean() < 0.1


def test_pixels_of_weight_zero_teach_nothing():
    logits = torch.randn(2, 2, 8, 8)
    label = (torch.rand(2, 2, 8, 8) > 0.5).float()
    weight = torch.ones_like(label)
    weight[..., 4:] = 0
    other = logits.clone()
    other[..., 4:] += 7
    assert torch.isclose(plane_loss(logits, label, weight), plane_loss(other, label, weight))
    right = (label * 2 - 1) * 9
    assert plane_loss(right, label, weight) < 0.1 < plane_loss(-right, label, weight)


def test_a_run_goes_on_from_its_checkpoint_and_can_be_packed(stored, tmp_path):
    made = source(StrokePlanes(False))
    trainer = PlaneTrainer(made, SMALL)
    run(trainer, tmp_path / "run", 60, 60, steps=4)
    again = PlaneTrainer(made, SMALL)
    again.load(tmp_path / "run" / "checkpoint.pt")
    assert again.steps == 4
    run(again, tmp_path / "run", 60, 60, steps=6)
    assert again.steps == 6
    network = load_run(tmp_path / "run")
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, 32, 48)).shape == (1, 2, 32, 48)
    figures = {"patients": [{"case": "07", "dice": 0.51234}], "marked_without_lesions_ml": {}}
    card_path = package.write_planes(tmp_path / "run", figures, tmp_path / "models")
    card = load_card(card_path.parent)
    assert card.figures[0]["dice"] == 0.512
    one = Planes(card, card_path.parent, choose_device("cpu"))
    head = np.zeros((40, 44, 36))
    head[5:35, 5:40, 5:30] = 100 + np.random.default_rng(0).normal(0, 3, (30, 35, 25))
    ready = one.prepare({"FLAIR": SourceImage(head, np.diag([2.0, 2, 2, 1])[[2, 1, 0, 3]])})
    chance = one.find(ready, Quiet()).probability
    assert chance.shape == ready.array.shape
    assert 0 <= chance.min() <= chance.max() <= 1


def test_the_infarct_card_needs_a_passed_probe(tmp_path):
    with pytest.raises(ValueError, match="probe"):
        package.write_infarct(tmp_path, {"ships": False}, tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("spoilt", "auc", "texture", "ships"),
    [(0.58, 0.95, 0.05, True), (0.4, 0.95, 0.05, False), (0.58, 0.8, 0.05, False),
     (0.58, 0.95, 0.4, False)],
)  # fmt: skip
def test_the_rule_of_the_probe(spoilt, auc, texture, ships):
    figures = {
        "as stored": {"dice_pooled": 0.6},
        "blur and noise": {"dice_pooled": spoilt, "auc_pixels": auc},
        "fine texture only": {"dice_pooled": texture},
    }
    assert infarct_probe.may_ship(figures) is ships


def test_the_probe_counts_what_a_seeing_network_finds(stored):
    class Seeing(torch.nn.Module):
        multiple = 16

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            bright = 40 * (image - 0.2)
            return torch.cat([bright, bright], 1)

    planes = StrokePlanes(False)
    rows = infarct_probe.probe(Seeing(), planes, infarct_probe.SPOILS["as stored"])
    figures = infarct_probe.summary(rows)
    assert figures["dice_pooled"] > 0.9
    assert figures["auc_pixels"] > 0.99
    assert figures["clean_planes_marked"] == 0
    texture = infarct_probe.probe(Seeing(), planes, infarct_probe.SPOILS["fine texture only"])
    assert infarct_probe.summary(texture)["dice_pooled"] < 0.3
    assert json.loads(json.dumps(figures)) == figures


def test_thick_slices_keep_the_mean_and_lose_the_detail():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(60, 20)).astype(np.float32)
    thick = thick_slices(image, 4.0, 0.3)
    assert thick.shape == image.shape
    assert thick.std() < 0.6 * image.std()
    np.testing.assert_allclose(thick_slices(np.ones((40, 5), np.float32), 3.3, 0.5), 1, atol=1e-5)


def test_calibration_undoes_a_known_distortion():
    rng = np.random.default_rng(3)
    true = rng.normal(0, 2, (30, 40, 30)).astype(np.float32)
    gold = rng.random(true.shape) < 1 / (1 + np.exp(-true))
    said = (1 / (1 + np.exp(-(true * 2 + 1)))).astype(np.float32)
    case = Case("made up", (said, said), gold, np.ones(gold.shape, bool))
    found = fit([case])
    assert abs(found.slope - 0.5) < 0.05
    assert abs(found.offset + 0.5) < 0.1
    assert abs(found.of(case.answers).mean() - gold.mean()) < 0.01
    np.testing.assert_allclose(Calibration().of(case.answers), said, atol=1e-5)


def test_uncertainty_that_knows_the_mistakes_ranks_and_retains():
    gold = np.zeros((40, 40, 40), bool)
    gold[4:10, 4:10, 4:10] = True
    sure = np.where(gold, 0.98, 0.01).astype(np.float32)
    unsure = sure.copy()
    unsure[20:24, 20:24, 20:24] = 0.7  # a false finding the members disagree about
    other = sure.copy()
    other[20:24, 20:24, 20:24] = 0.4
    case = Case("made up", (unsure, other), gold, np.ones(gold.shape, bool))
    report = uncertainty_report(Calibration(), case)
    assert report["both"]["findings_false"] == 1
    assert report["both"]["auroc_false_above_true"] == 1.0
    assert report["both"]["retention_area"] < report["random_retention_area"]


def test_a_slice_of_a_volume_keeps_its_place():
    shape = (12, 14, 16)
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    volume = cases.Anatomy(
        kind="head",
        image=image,
        gold=np.zeros(shape, bool),
        brain=image,
        unknown=image > 100,
        place=image,
        to_mni=np.eye(4),
        extra={"gm": image},
    )
    plane = volume_plane(volume, 1, 5)
    assert plane.start == (0, 5, 0)
    np.testing.assert_array_equal(plane.image, image[:, 5])
    np.testing.assert_array_equal(plane.tissues["gm"], image[:, 5])
