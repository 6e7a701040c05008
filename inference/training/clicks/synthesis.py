"""Pictures with one thing in them that is meant, made up on the fly for the click network.

A picture is cut out of a *room* (a raw head, a T1, a T2, a spine, or the template's tissues in a
made-up contrast), turned and mirrored at random. Then one thing is chosen or planted: a real
lesion mask (multiple sclerosis, stroke) among its real neighbours, a blob, a vessel, a piece of
ventricle, the cord. Bright or dark, sharp or soft; then noise, bias, thick slices.

Patients 07 and 19, whose lesions judge the network, are in no room and no bank.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.click_input import local_scale
from inference.preprocess import to_model_grid
from inference.training.shared.cases import (
    MASK_PATIENTS,
    components,
    data_root,
    lesion_bank,
    read_nifti,
    template_tissues,
)
from inference.training.shared.fields import looked_up

__all__ = ["Room", "Thing", "Things", "banks", "rooms"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

JUDGES = ("07", "19")
"""Their lesions judge the network; nothing of them is seen in training."""
VALIDATION = ("04", "12")
"""Masks kept for the synthetic validation."""
STROKES = 70
"""Stroke masks of each source that a run holds in memory, the same for every run."""


@dataclass(frozen=True, eq=False)
class Thing:
    """One example: picture in [-1.5, 1.5] (`local_scale`) and what is meant, ``(k, j, i)``."""

    image: Array
    truth: Mask


@dataclass(frozen=True, eq=False)
class Room:
    """A place to find or plant things in, cubic voxels of 1 mm.

    Attributes
    ----------
    name : str
        For the log.
    image : ndarray or None
        Values of about 0 (background) to 1; None where a contrast is made up from ``tissues``.
    spots : ndarray, shape (n, 3)
        Voxels inside the head.
    tissues : ndarray, shape (3, k, j, i), or None
        Shares of fluid, grey and white matter, 0 to 255.
    things : dict of str to ndarray of bool
        Structures with a known outline.
    """

    name: str
    image: Array | None
    spots: npt.NDArray[np.int32]
    tissues: npt.NDArray[np.uint8] | None = None
    things: dict[str, Mask] = field(default_factory=dict)


# --- what there is --------------------------------------------------------------------------


def rooms() -> list[Room]:
    """Everything pictures are cut from; about ten seconds and 250 MB."""
    root = data_root()
    found = [_tissue_room()]
    for patient in ("01", "03"):
        for study in (1, 2):
            path = root / "ms_open_longitudinal" / "raw" / f"patient{patient}"
            voxels, affine = read_nifti(path / f"study{study}_FLAIR.nii.gz")
            found.append(_image_room(f"raw-{patient}-{study}", voxels, affine))
    template = "normal_templates_mni/icbm152_2009a/mni_icbm152_t1_tal_nlin_sym_09a_converted"
    for name in (
        template,
        "stroke_unlabelled_t2_flair/arc_M2265_T2w",
        "stroke_unlabelled_t2_flair/niivue_FLAIR",
        "normal_t2_fpg/t2",
    ):
        voxels, affine = read_nifti(root / f"{name}.nii.gz")
        found.append(_image_room(name, voxels, affine))
    found.append(_ge_room())
    for image, mask in (
        ("t1/t1w", "t1/t1w_seg-manual"),
        ("t2/t2", "t2/t2_seg-manual"),
    ):
        folder = root / "spine_cord_nifti"
        voxels, affine = read_nifti(folder / f"{image}.nii.gz")
        cord, _ = read_nifti(folder / f"{mask}.nii.gz")
        found.append(_image_room(image, voxels, affine, cord > 0))
    return found


def _ge_room() -> Room:
    import SimpleITK as sitk

    folder = data_root() / "dicom_ge_mprage" / "In"
    series = next(p for p in sorted(folder.iterdir()) if p.is_dir())
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series))
    image = sitk.ReadImage(files)
    directions = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3] = directions[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return _image_room("ge-t1", sitk.GetArrayFromImage(image), affine)


def _image_room(
    name: str,
    voxels: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    thing: npt.NDArray[Any] | None = None,
) -> Room:
    image, grid = to_model_grid(np.asarray(voxels, np.float32), affine)
    low, high = np.percentile(image, (1, 99.5))
    image = np.clip((image - low) / max(high - low, 1e-6), 0, 1.5).astype(np.float32)
    inside = ndimage.binary_fill_holes(ndimage.gaussian_filter(image, 2) > 0.12)
    deep = ndimage.binary_erosion(inside, iterations=12) if thing is None else inside
    things = {}
    if thing is not None:
        from inference.preprocess import resample_to_model

        things["cord"] = resample_to_model(thing.astype(np.float32), grid, fill=0.0) > 0.5
    return Room(name, image, _spots(np.asarray(deep)), things=things)


def _tissue_room() -> Room:
    tissues = template_tissues()
    shares = np.stack([np.rint(255 * tissues[n]).astype(np.uint8) for n in ("csf", "gm", "wm")])
    fluid = shares[0] > 128
    deep = ndimage.binary_erosion(shares.sum(0) > 100, iterations=24) & fluid
    pieces, count = components(np.asarray(ndimage.binary_opening(deep), bool), diagonal=False)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    ventricles = ndimage.binary_dilation(pieces == sizes.argmax(), iterations=2) & fluid
    return Room(
        "tissues", None, _spots(shares[2] > 100), shares, {"ventricles": np.asarray(ventricles)}
    )


def _spots(mask: Mask, most: int = 60_000) -> npt.NDArray[np.int32]:
    found = np.argwhere(mask).astype(np.int32)
    return found[:: max(1, len(found) // most)]


def banks(validation: bool = False) -> list[list[npt.NDArray[np.uint8]]]:
    """Real masks by source: multiple sclerosis, SOOP strokes, LESYMAP strokes.

    Parameters
    ----------
    validation : bool
        The masks no training run sees: MS patients 04 and 12, and strokes whose file name's
        md5 is a multiple of five.
    """
    root = data_root()
    found = [[_cropped(m) for m in lesion_bank(patients(validation)).values()]]
    for folder in ("soop_stroke_flair/masks_mni", "stroke_lesymap_masks"):
        files = sorted((root / folder).glob("*.nii.gz"), key=lambda f: _md5(f.name))
        files = [f for f in files if (_md5(f.name) % 5 == 0) == validation]
        masks = [np.asarray(read_nifti(f)[0] > 0) for f in files[:STROKES]]
        found.append([_cropped(m) for m in masks if m.any()])
    return found


def patients(validation: bool = False) -> tuple[str, ...]:
    """MS patients whose masks give shapes."""
    free = (p for p in MASK_PATIENTS if p not in JUDGES)
    return tuple(p for p in free if (p in VALIDATION) == validation)


def _md5(name: str) -> int:
    return int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(), 16)


def _cropped(mask: Mask) -> npt.NDArray[np.uint8]:
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    return np.pad(mask[box], 4).astype(np.uint8)


# --- making one -----------------------------------------------------------------------------


class Things:
    """Endless source of examples.

    Parameters
    ----------
    rooms : sequence of Room
    banks : sequence of sequence of ndarray
        Real masks, see `banks`.
    seed : int
    """

    def __init__(
        self,
        rooms: Sequence[Room],
        banks: Sequence[Sequence[npt.NDArray[np.uint8]]],
        seed: int = 0,
    ) -> None:
        self.rooms = list(rooms)
        self.chance = np.array([_room_share(r) for r in self.rooms])
        self.chance /= self.chance.sum()
        self.banks = [[_Bank(m) for m in masks] for masks in banks]
        self.rng = np.random.default_rng(seed)

    def sample(self, edge: int) -> Thing:
        """Make one example of ``edge`` voxels along each axis."""
        while True:
            thing = self._try(edge)
            if thing is not None:
                return thing

    def _try(self, edge: int) -> Thing | None:
        rng = self.rng
        room = self.rooms[int(rng.choice(len(self.rooms), p=self.chance))]
        known = ""
        if room.things and rng.random() < (0.2 if room.image is None else 0.7):
            known = str(rng.choice(list(room.things)))
        centre = self._centre(room, known)
        points = _points(rng, edge, centre, 0.75, 1.4)
        image = _picture(rng, room, points)
        if known:
            share = looked_up(room.things[known].view(np.uint8), points)
            others = np.zeros_like(share)
        else:
            share, others = self._planted(edge)
            image = _lit(rng, image, share, others)
        image, share = _scanned(rng, image, share)
        truth = _meant(share > 0.45)
        if truth is None or not 6 <= truth.sum() <= 0.6 * truth.size:
            return None
        return Thing(local_scale(image), truth)

    def _centre(self, room: Room, known: str) -> npt.NDArray[np.float64]:
        rng = self.rng
        spots = np.argwhere(room.things[known]) if known else room.spots
        return spots[rng.integers(len(spots))] + rng.uniform(-4, 4, 3)

    def _planted(self, edge: int) -> tuple[Array, Array]:
        """Soft share of the thing meant and of its neighbours that are not meant."""
        rng = self.rng
        choice = rng.random()
        if choice < 0.14:
            return _blob(rng, edge), _others(rng, edge)
        if choice < 0.22:
            return _vessel(rng, edge), _others(rng, edge)
        source = int(rng.choice(3, p=[0.76, 0.16, 0.08]))
        bank = self.banks[source][rng.integers(len(self.banks[source]))]
        limits = (0.75, 1.4) if source == 0 else (1.0, 2.6)
        points = _points(rng, edge, bank.spot(rng) + rng.uniform(-3, 3, 3), *limits)
        for axis in range(3):
            points[axis] += noise(rng, edge, 5) * np.float32(rng.uniform(0, 1.2))
        all_of_it = looked_up(bank.mask, points)
        meant = _meant(all_of_it > 0.45)
        if meant is None:
            return np.zeros_like(all_of_it), all_of_it
        near = np.asarray(ndimage.binary_dilation(meant, iterations=2), np.float32)
        return all_of_it * near, all_of_it * (1 - near)


class _Bank:
    """A real mask and where its pieces are: small ones as often as large ones."""

    def __init__(self, mask: npt.NDArray[np.uint8]) -> None:
        self.mask = mask
        labels, count = components(mask > 0)
        order = np.argsort(labels[mask > 0], kind="stable")
        self._voxels = np.argwhere(mask > 0)[order]
        self._starts = np.searchsorted(labels[mask > 0][order], np.arange(1, count + 2))
        sizes = np.diff(self._starts).astype(float)
        self._chance = sizes**0.4 / (sizes**0.4).sum()

    def spot(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        piece = int(rng.choice(len(self._chance), p=self._chance))
        return self._voxels[rng.integers(self._starts[piece], self._starts[piece + 1])]


def _room_share(room: Room) -> float:
    if room.image is None:
        return 5.0
    if room.name.startswith("raw"):
        return 1.3
    return 0.4 if room.things else 1.0


def _meant(mask: Mask) -> Mask | None:
    """The connected piece nearest to the middle, if it is near."""
    middle = np.array(mask.shape) // 2
    labels, count = components(mask)
    if not count:
        return None
    number = int(labels[tuple(middle)])
    if not number:
        reach = 7
        block = labels[tuple(slice(m - reach, m + reach + 1) for m in middle)]
        at = np.argwhere(block)
        if not len(at):
            return None
        nearest = at[((at - reach) ** 2).sum(1).argmin()]
        number = int(block[tuple(nearest)])
    return np.asarray(labels == number)


def noise(rng: np.random.Generator, edge: int, cells: int) -> Array:
    """Smooth random field, mean 0, spread about 1, ``cells`` knots along each axis."""
    result = rng.standard_normal((cells,) * 3).astype(np.float32)
    at = np.linspace(0, cells - 1, edge)
    first = np.minimum(at.astype(int), cells - 2)
    share = at - first
    share = share * share * (3 - 2 * share)
    weights = np.zeros((edge, cells), np.float32)
    weights[np.arange(edge), first] = 1 - share
    weights[np.arange(edge), first + 1] += share
    for _ in range(3):
        result = np.tensordot(result, weights, ([0], [1]))
    return np.ascontiguousarray(result * np.float32(1.6))


def _points(
    rng: np.random.Generator,
    edge: int,
    centre: npt.NDArray[np.float64],
    smallest: float,
    largest: float,
) -> Array:
    """Source positions of a turned, mirrored and scaled cube ``(3, k, j, i)``."""
    turn = np.eye(3)[rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)
    tilt, _ = np.linalg.qr(np.eye(3) + rng.normal(0, 0.15, (3, 3)))
    scale = np.exp(rng.uniform(np.log(smallest), np.log(largest))) * rng.uniform(0.9, 1.1, 3)
    matrix = (turn @ (tilt * np.sign(np.diag(tilt))) * scale).astype(np.float32)
    axis = np.arange(edge, dtype=np.float32) - edge // 2
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    points = np.tensordot(matrix, grid, 1)
    points += centre.astype(np.float32)[:, None, None, None]
    return points


def _picture(rng: np.random.Generator, room: Room, points: Array) -> Array:
    """What is there before anything is planted, about 0 to 1."""
    edge = points.shape[1]
    if room.image is not None:
        return looked_up(room.image, points)
    assert room.tissues is not None
    fluid, grey, white = (looked_up(t, points) / np.float32(255) for t in room.tissues)
    choice = rng.random()
    if choice < 0.55:
        levels = (rng.uniform(0.05, 0.3), rng.uniform(0.5, 0.7), rng.uniform(0.45, 0.6))
    elif choice < 0.7:
        levels = (rng.uniform(0.05, 0.25), rng.uniform(0.4, 0.6), rng.uniform(0.65, 0.95))
    elif choice < 0.85:
        levels = (rng.uniform(0.8, 1.1), rng.uniform(0.4, 0.6), rng.uniform(0.25, 0.4))
    else:
        levels = tuple(rng.uniform(0.1, 1.0, 3))
    image = np.zeros(fluid.shape, np.float32)
    for share, level in zip((fluid, grey, white), levels, strict=True):
        image += share * (level + noise(rng, edge, 7) * np.float32(rng.uniform(0, 0.04)))
    return image


def _blob(rng: np.random.Generator, edge: int) -> Array:
    """A round or knobbly thing in the middle, soft share."""
    axis = np.arange(edge, dtype=np.float32) - edge // 2
    radius = np.exp(rng.uniform(np.log(1.6), np.log(edge * 0.3))) * rng.uniform(0.7, 1.4, 3)
    k, j, i = (axis / r for r in radius)
    distance = np.sqrt(k[:, None, None] ** 2 + j[None, :, None] ** 2 + i**2)
    distance += noise(rng, edge, int(rng.integers(4, 10))) * np.float32(rng.uniform(0, 0.3))
    return np.clip((1 - distance) * float(radius.mean()) + 0.5, 0, 1).astype(np.float32)


def _vessel(rng: np.random.Generator, edge: int) -> Array:
    """A bent tube through the middle."""
    along = np.linspace(-1, 1, 40)[:, None] * rng.uniform(0.2, 0.45) * edge
    way, bend = rng.normal(size=(2, 3))
    way, bend = way / np.linalg.norm(way), bend / np.linalg.norm(bend)
    path = along * way + (along**2 / edge) * bend * rng.uniform(0, 1.5) + edge // 2
    line = np.zeros((edge,) * 3, bool)
    path = np.clip(np.rint(path).astype(int), 0, edge - 1)
    line[tuple(path.T)] = True
    distance = np.asarray(ndimage.distance_transform_edt(~line), np.float32)
    return np.clip(rng.uniform(1.2, 3.2) - distance + 0.5, 0, 1).astype(np.float32)


def _others(rng: np.random.Generator, edge: int) -> Array:
    """A few things that are not meant, away from the middle."""
    result = np.zeros((edge,) * 3, np.float32)
    for _ in range(int(rng.integers(0, 4))):
        shift = rng.integers(edge // 5, edge // 2, 3) * rng.choice([-1, 1], 3)
        result = np.maximum(result, np.roll(_blob(rng, edge), shift, (0, 1, 2)))
    middle = np.arange(edge) - edge // 2
    far = np.maximum(np.maximum.outer(abs(middle), abs(middle))[..., None], abs(middle)) > 6
    return result * far


def _lit(rng: np.random.Generator, image: Array, share: Array, others: Array) -> Array:
    """Change the picture where things lie: the one meant and its neighbours of the same kind."""
    edge = image.shape[0]
    everything = np.maximum(share, others)
    soft = ndimage.gaussian_filter(everything, rng.uniform(0.4, 1.0))
    level, ramp = rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.9)
    soft = np.clip((soft - level) / ramp + 0.5, 0, 1)
    around = soft > 0.5
    here = float(np.median(image[around])) if around.any() else 0.5
    span = float(np.percentile(image[::2, ::2, ::2], 95) - np.percentile(image[::2, ::2, ::2], 5))
    strength = np.exp(rng.uniform(np.log(0.18), np.log(1.1))) * max(span, 0.2)
    sign = 1.0 if rng.random() < 0.78 else -1.0
    varied = np.clip(1 + rng.uniform(0, 0.35) * noise(rng, edge, 9), 0.3, 1.8)
    # A lesion of FLAIR lies on tissue, not on fluid: its own level, softly mixed in.
    own = here + sign * strength * varied
    if rng.random() < 0.5:
        return (image * (1 - soft) + own * soft).astype(np.float32)
    dark = np.clip((image - 0.3 * here) / max(0.5 * here, 1e-3), 0, 1) if sign > 0 else 1.0
    return (image + sign * strength * varied * soft * dark).astype(np.float32)


def _scanned(rng: np.random.Generator, image: Array, share: Array) -> tuple[Array, Array]:
    """Blur, thick slices, bias, noise, gamma; sometimes the picture as its negative."""
    edge = image.shape[0]
    if rng.random() < 0.4:
        image = np.asarray(ndimage.gaussian_filter(image, rng.uniform(0.2, 0.9, 3)), np.float32)
    if rng.random() < 0.35:
        axis, width, start = int(rng.integers(3)), rng.uniform(2, 6), rng.random()
        image, share = (_thick(a, axis, width, start) for a in (image, share))
    bias = np.exp(noise(rng, edge, 3) * np.float32(rng.uniform(0, 0.12)))
    image = np.asarray(image * bias, np.float32)
    rough: Array = rng.standard_normal(image.shape, np.float32)
    if rng.random() < 0.6:
        rough = np.asarray(ndimage.gaussian_filter(rough, 0.7), np.float32) * np.float32(3)
    image = np.asarray(image + rough * np.float32(abs(rng.normal(0, 0.035))), np.float32)
    if rng.random() < 0.5:
        image = np.asarray(np.power(np.clip(image, 0, None), rng.uniform(0.75, 1.35)), np.float32)
    if rng.random() < 0.1:
        image = -image
    return image.astype(np.float32), share


def _thick(array: Array, axis: int, width: float, start: float) -> Array:
    """Average over slices of ``width`` voxels and interpolate back."""
    smooth = ndimage.gaussian_filter1d(array, 0.36 * width, axis)
    size = array.shape[axis]
    places = np.arange(start * width, size - 1, width)
    rows = np.zeros((size, size), np.float32)
    at = np.clip((np.arange(size) - places[0]) / width, 0, len(places) - 1)
    for row, position in enumerate(at):
        below = min(int(position), max(len(places) - 2, 0))
        for number, weight in ((below, 1 - (position - below)), (below + 1, position - below)):
            if weight > 0 and number < len(places):
                low = min(int(places[number]), size - 2)
                rest = places[number] - low
                rows[row, low] += weight * (1 - rest)
                rows[row, low + 1] += weight * rest
    return np.moveaxis(np.tensordot(smooth, rows, ([axis], [1])), -1, axis).astype(np.float32)
