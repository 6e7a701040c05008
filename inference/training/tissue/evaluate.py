"""Figures of the brain and tissue model, on images that took no part in its training.

``python -m inference.training.tissue.evaluate --out figures.json`` measures the installed package
(``--model FOLDER`` another one): the brain on four raw whole-head FLAIRs and on the stripped scans
of two patients, the tissues against those of the patients' T1w, the sameness over storage
orientations and slice thickness, each beside a simple baseline of the same run. ``--picture FILE``
draws what it found on images without reference.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.card_reading import load_card
from inference.devices import choose_device
from inference.model import SourceImage
from inference.plugins.tissue import BrainTissue, Tissues, brain_and_tissue
from inference.preprocess import to_model_grid, to_source_grid
from inference.reports import Quiet
from inference.training.shared import cases
from inference.training.shared.cases import components, data_root, read_nifti
from inference.training.shared.package_files import MODELS

__all__ = ["Heads", "dice", "evaluate", "otsu_brain", "raw_flairs", "stripped"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Affine = npt.NDArray[np.float64]

FOLDER = MODELS / "brain-tissue"
TISSUES = ("csf", "grey", "white")
SEQUENCES = ("FLAIR", "T1", "T2")
SLICES_MM = (3, 5)


class Heads:
    """The model, asked for one image after the other.

    Parameters
    ----------
    folder : path
        A model package.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.model = BrainTissue(load_card(folder), folder, choose_device("cpu"))
        self.seconds: list[float] = []

    def __call__(self, voxels: npt.NDArray[Any], affine: Affine) -> tuple[Tissues, Any]:
        """Tissues on the model grid, and the grid."""
        begun = time.process_time()
        name = self.model.card.required[0].name
        prepared = self.model.prepare({name: SourceImage(voxels, affine)})
        found = brain_and_tissue(self.model, prepared, Quiet())
        self.seconds.append(time.process_time() - begun)
        return found, prepared.grid

    def labels(self, voxels: npt.NDArray[Any], affine: Affine) -> npt.NDArray[np.uint8]:
        """0 outside, 1 fluid, 2 grey, 3 white matter on the grid of the image."""
        found, grid = self(voxels, affine)
        maps = [to_source_grid(share, grid) for share in found.shares]
        stack = np.stack([1 - np.sum(maps, axis=0), *maps])
        return stack.argmax(axis=0).astype(np.uint8)


def dice(found: Mask, truth: Mask) -> float:
    """Overlap of two masks; 1 where both are empty."""
    both = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / both if both else 1.0


def otsu_brain(voxels: npt.NDArray[Any], affine: Affine) -> Mask:
    """The baseline: Otsu's threshold, opened by 4 mm, largest piece, closed and filled."""
    array, grid = to_model_grid(voxels, affine)
    counts, edges = np.histogram(array, 200, range=(0, float(np.percentile(array, 99.8))))
    at = (edges[1:] + edges[:-1]) / 2
    share = np.cumsum(counts) / counts.sum()
    mean = np.cumsum(counts * at) / counts.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean[-1] * share - mean) ** 2 / (share * (1 - share))
    bright = array > at[int(np.nanargmax(np.where(np.isfinite(between), between, -1)))]
    core = np.asarray(ndimage.binary_erosion(bright, iterations=4), bool)
    pieces, _ = components(core, diagonal=False)
    sizes = np.bincount(pieces.ravel(), minlength=2)
    sizes[0] = 0
    kept = ndimage.binary_dilation(pieces == sizes.argmax(), iterations=5) & bright
    closed = ndimage.binary_closing(np.pad(kept, 6), iterations=5)[6:-6, 6:-6, 6:-6]
    mask = np.asarray(ndimage.binary_fill_holes(closed), np.float32)
    return to_source_grid(mask, grid, order=0) > 0.5


def three_means(image: Array, brain: Mask, darkest_first: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """The baseline of tissues: three means of brightness inside a brain, their order known."""
    values = image[brain][::7]
    levels = np.percentile(values, [10, 45, 85])
    for _ in range(30):
        nearest = np.abs(values[:, None] - levels).argmin(1)
        levels = np.array([values[nearest == n].mean() for n in range(3)])
    number = np.array(darkest_first, np.uint8)[np.abs(image[..., None] - levels).argmin(-1)]
    return np.where(brain, number, 0).astype(np.uint8)


ORDER = {"FLAIR": (1, 3, 2), "T1": (1, 2, 3), "T2": (3, 2, 1)}
"""Fluid (1), grey (2), white matter (3) from dark to bright."""


def raw_flairs() -> Iterator[tuple[str, npt.NDArray[Any], Affine, Mask, Mask]]:
    """Name, voxels, affine, reference brain, and where the reference had an image to look at."""
    import SimpleITK as sitk

    for patient in ("01", "03"):
        folder = data_root() / "ms_open_longitudinal" / "raw" / f"patient{patient}"
        common = sitk.ReadImage(str(folder / "brainmask.nii.gz"), sitk.sitkFloat32)
        for study in (1, 2):
            path = folder / f"study{study}_FLAIR.nii.gz"
            back = sitk.ReadTransform(str(folder / f"study{study}_FLAIR_to_common_space.txt"))
            back = back.GetInverse()
            native = sitk.ReadImage(str(path))
            brain = sitk.Resample(common, native, back, sitk.sitkLinear, 0.0)
            field = sitk.Resample(common * 0 + 1, native, back, sitk.sitkLinear, 0.0)
            voxels, affine = read_nifti(path)
            yield (
                f"patient {patient}, study {study}",
                voxels,
                affine,
                sitk.GetArrayFromImage(brain) > 0.5,
                sitk.GetArrayFromImage(field) > 0.5,
            )


def stripped(patient: str, sequence: str) -> tuple[Array, Affine, Mask]:
    """A stripped scan, its affine, and its brain: what is not background, filled."""
    voxels, affine = read_nifti(cases.mni_file(patient, sequence))
    image = np.asarray(voxels, np.float32)
    brain = ndimage.binary_closing(image > 0.02 * np.percentile(image, 99), iterations=2)
    return image, affine, np.asarray(ndimage.binary_fill_holes(brain), bool)


def t1_labels(patient: str) -> npt.NDArray[np.uint8]:
    """Tissues by the patient's T1w (`cases.t1_tissues`), lesions as white matter, file order."""
    gold = np.ascontiguousarray(cases.load_labelled(patient).gold[:, ::-1])
    shares = cases.t1_tissues(patient, gold)
    stack = np.stack([shares["csf"], shares["gm"], shares["wm"]])[:, :, ::-1]
    return np.where(stack.sum(0) > 0.5, stack.argmax(0) + 1, 0).astype(np.uint8)


def thick(image: Array, affine: Affine, axis: int, width: int) -> tuple[Array, Affine]:
    """Slices of ``width`` voxels along an axis, averaged."""
    n = image.shape[axis] // width
    cut = np.moveaxis(image, axis, 0)[: n * width]
    slices = cut.reshape(n, width, *cut.shape[1:]).mean(1)
    change = np.eye(4)
    change[axis, axis], change[axis, 3] = width, (width - 1) / 2
    return np.moveaxis(slices, 0, axis), affine @ change


PARTS = ("raw", "stripped", "thick", "orientations")


def evaluate(
    heads: Heads, parts: Sequence[str] = PARTS, report: Callable[[str], None] = print
) -> dict[str, Any]:
    """Figures as plain numbers, of the parts asked for."""
    figures: dict[str, Any] = {}
    if "raw" in parts:
        figures["raw_flair"] = [_raw_row(heads, *case) for case in raw_flairs()]
        report(json.dumps(figures["raw_flair"]))
    pairs = [(p, s) for p in cases.IMAGE_PATIENTS for s in SEQUENCES]
    if "stripped" in parts:
        rows = [_stripped_rows(heads, *pair) for pair in pairs]
        figures["stripped"], figures["tissue"] = [a for a, _ in rows], [b for _, b in rows]
        report(json.dumps(figures["stripped"]) + json.dumps(figures["tissue"]))
    if "thick" in parts:
        figures["thick_slices"] = [r for pair in pairs for r in _thick_rows(heads, *pair)]
        report(json.dumps(figures["thick_slices"]))
    if "orientations" in parts:
        figures["orientations"] = _orientations(heads)
        report(json.dumps(figures["orientations"]))
    return figures


def _raw_row(
    heads: Heads, name: str, voxels: npt.NDArray[Any], affine: Affine, truth: Mask, field: Mask
) -> dict[str, Any]:
    brain = heads.labels(voxels, affine) > 0
    return {
        "image": name,
        "brain_dice": round(dice(brain, truth), 4),
        "brain_dice_in_reference_field": round(dice(brain & field, truth), 4),
        "sensitivity": round(float((brain & truth).sum() / truth.sum()), 4),
        "baseline_otsu": round(dice(otsu_brain(voxels, affine), truth), 4),
        "millilitres": round(_ml(brain, affine), 1),
        "reference_ml": round(_ml(truth, affine), 1),
    }


def _ml(mask: Mask, affine: Affine) -> float:
    return float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)


def _stripped_rows(
    heads: Heads, patient: str, sequence: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Brain, and tissues, of one stripped scan."""
    image, affine, truth = stripped(patient, sequence)
    reference = t1_labels(patient)
    labels = heads.labels(image, affine)
    about: dict[str, Any] = {"patient": patient, "sequence": sequence}
    brain = about | {"brain_dice": round(dice(labels > 0, truth), 4)}
    brain["baseline_otsu"] = round(dice(otsu_brain(image, affine), truth), 4)
    simple = three_means(image, truth, ORDER[sequence])
    tissue = {**about}
    for number, name in enumerate(TISSUES, 1):
        tissue[name] = round(dice(labels == number, reference == number), 4)
        tissue[f"baseline_{name}"] = round(dice(simple == number, reference == number), 4)
    return brain, tissue


def _thick_rows(heads: Heads, patient: str, sequence: str) -> list[dict[str, Any]]:
    """The same scan in thick axial slices, against the answer at 1 mm."""
    image, affine, _ = stripped(patient, sequence)
    labels = heads.labels(image, affine)
    axis = int(np.abs(affine[2, :3]).argmax())
    rows = []
    for width in SLICES_MM:
        found = heads.labels(*thick(image, affine, axis, width))
        whole = np.moveaxis(labels, axis, 0)[: found.shape[axis] * width]
        wide = np.moveaxis(np.repeat(found, width, axis), axis, 0)
        row: dict[str, Any] = {"patient": patient, "sequence": sequence, "slices_mm": width}
        row["brain_dice"] = round(dice(wide > 0, whole > 0), 4)
        for number, name in enumerate(TISSUES, 1):
            row[name] = round(dice(wide == number, whole == number), 4)
        rows.append(row)
    return rows


def _orientations(heads: Heads) -> dict[str, Any]:
    """How far the answers on one head stored in 16 ways are the same, on the model grid."""
    answers = {}
    for path in sorted((data_root() / "nifti_orientations").glob("*.nii.gz")):
        answers[path.name.split(".")[0]] = heads(*read_nifti(path))[0].labels
    first = next(iter(answers.values()))
    same = [a for a in answers.values() if a.shape == first.shape]
    agree = [float((a == first).mean()) for a in same]
    return {
        "orientations": len(answers),
        "on_the_same_grid": len(same),
        "least_share_of_equal_voxels": round(min(agree), 5),
        "least_brain_dice": round(min(dice(a > 0, first > 0) for a in same), 5),
    }


def as_markdown(figures: dict[str, Any]) -> str:
    """The figures as tables for the documentation."""
    parts = [
        "| raw whole-head FLAIR | brain Dice | in the reference's field | found / reference, ml | "
        "Otsu and morphology |\n|---|---|---|---|---|"
    ]
    for row in figures["raw_flair"]:
        parts.append(
            f"| {row['image']} | **{row['brain_dice']:.3f}** | "
            f"{row['brain_dice_in_reference_field']:.3f} | "
            f"{row['millilitres']:.0f} / {row['reference_ml']:.0f} | {row['baseline_otsu']:.3f} |"
        )
    parts.append(
        "\n| stripped scan | brain | fluid | grey | white | three means in the true brain, order "
        "known (fluid / grey / white) |\n|---|---|---|---|---|---|"
    )
    for brain, row in zip(figures["stripped"], figures["tissue"], strict=True):
        tissues = " | ".join(f"{row[t]:.2f}" for t in TISSUES)
        simple = " / ".join(f"{row[f'baseline_{t}']:.2f}" for t in TISSUES)
        parts.append(
            f"| patient {row['patient']}, {row['sequence']} | {brain['brain_dice']:.3f} | "
            f"{tissues} | {simple} |"
        )
    if "thick_slices" in figures:
        parts += _thick_table(figures["thick_slices"])
    if "orientations" in figures:
        same = figures["orientations"]
        parts.append(
            f"\nOne head stored in {same['orientations']} orientations: at least "
            f"{same['least_share_of_equal_voxels']:.2%} of the voxels get the same label."
        )
    return "\n".join(parts) + "\n"


def _thick_table(figures: list[dict[str, Any]]) -> list[str]:
    parts = []
    parts.append(
        "\n| thick slices against 1 mm (mean over both patients) | brain | fluid | grey | white |\n"
        "|---|---|---|---|---|"
    )
    for sequence in SEQUENCES:
        for width in SLICES_MM:
            rows = [r for r in figures if (r["sequence"], r["slices_mm"]) == (sequence, width)]
            means = (np.mean([r[n] for r in rows]) for n in ("brain_dice", *TISSUES))
            parts.append(
                f"| {sequence}, {width} mm | " + " | ".join(f"{m:.2f}" for m in means) + " |"
            )
    return parts


def looked_at() -> Iterator[tuple[str, npt.NDArray[Any], Affine]]:
    """Images without a reference, for the eye; two of them (arc, prone) took part in training."""
    root = data_root()
    for patient, study in (("01", 1), ("03", 2)):
        path = root / "ms_open_longitudinal" / "raw" / f"patient{patient}"
        yield f"raw FLAIR {patient}", *read_nifti(path / f"study{study}_FLAIR.nii.gz")
    for sequence in SEQUENCES:
        image, affine, _ = stripped("19", sequence)
        yield f"stripped {sequence} 19", image, affine
    yield "T2w, 5.5 mm slices", *read_nifti(root / "normal_t2_fpg" / "t2.nii.gz")
    folder = root / "stroke_unlabelled_t2_flair"
    yield "stroke FLAIR, stripped", *read_nifti(folder / "niivue_FLAIR.nii.gz")
    yield "stroke T2w (in training)", *read_nifti(folder / "arc_M2265_T2w.nii.gz")
    from imaging.open import load_series, scan

    with scan([root / "dicom_siemens_prone" / "In"]) as found:
        volume = load_series(found.series[0])
    yield "T1w, prone (in training)", volume.voxels, volume.geometry.affine


def picture(heads: Heads, path: Path) -> None:
    """A row for each image: three axial, two coronal and one sagittal plane with the tissues."""
    from PIL import Image, ImageDraw

    rows = []
    for name, voxels, affine in looked_at():
        found, _ = heads(voxels, affine)
        array, _ = to_model_grid(voxels, affine, 1.0, heads.model.card.multiple)
        planes = [(0, 0.35), (0, 0.55), (0, 0.75), (1, 0.35), (1, 0.6), (2, 0.47)]
        row = np.concatenate([_plane(array, found, axis, at) for axis, at in planes], axis=1)
        image = Image.fromarray(row)
        ImageDraw.Draw(image).text((4, 4), name, fill=(255, 255, 255))
        rows.append(np.asarray(image))
    whole = Image.fromarray(np.concatenate(rows))
    whole.quantize(48).save(path, optimize=True)


EDGE = 150
COLOURS = np.array([[0, 0, 0], [40, 130, 255], [255, 170, 40], [120, 230, 120]], np.float32)


def _plane(array: Array, found: Tissues, axis: int, at: float) -> npt.NDArray[np.uint8]:
    """One plane of `EDGE` pixels with the tissues over it, brain in the middle."""
    where = np.argwhere(found.brain) if found.brain.any() else np.argwhere(array >= array.min())
    low, high = where.min(0), where.max(0)
    place = int(low[axis] + at * (high[axis] - low[axis]))
    plane, labels = np.take(array, place, axis), np.take(found.labels, place, axis)
    if axis:
        plane, labels = plane[::-1], labels[::-1]
    top = float(np.percentile(array, 99.5))
    grey = np.clip(plane / max(top, 1e-6), 0, 1)[..., None] * 255 * np.ones(3, np.float32)
    tint = COLOURS[labels]
    mixed = np.where(labels[..., None] > 0, 0.6 * grey + 0.4 * tint, grey).astype(np.uint8)
    scale = EDGE / 210
    rows, columns = (
        np.clip(((np.arange(EDGE) - EDGE / 2) / scale + n / 2).round().astype(int), -1, n)
        for n in plane.shape
    )
    inside = ((rows >= 0) & (rows < plane.shape[0]))[:, None] & (
        (columns >= 0) & (columns < plane.shape[1])
    )
    chosen = mixed[np.clip(rows, 0, plane.shape[0] - 1)][:, np.clip(columns, 0, plane.shape[1] - 1)]
    return np.where(inside[..., None], chosen, 0).astype(np.uint8)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, help="figures as JSON")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--markdown", type=Path, help="the same as tables")
    parser.add_argument("--picture", type=Path, help="PNG")
    given = parser.parse_args()
    heads = Heads(given.model)
    if given.picture:
        picture(heads, given.picture)
    if given.out:
        before = given.out.exists()
        figures = json.loads(given.out.read_text(encoding="utf-8")) if before else {}
        figures |= evaluate(heads, given.parts)
        figures["cpu_seconds_median"] = round(float(np.median(heads.seconds)), 2)
        given.out.write_text(json.dumps(figures, indent=1), encoding="utf-8")
        if given.markdown:
            given.markdown.write_text(as_markdown(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
