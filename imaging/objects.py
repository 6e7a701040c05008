"""Masks, contours, maps and reports of other programs become items of the open case.

Read :func:`fit` first (does an object belong to an image?), then :func:`read_object`. Files are
read in a worker process limited in memory and time; what comes back is placed by patient
coordinates, never by array order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from imaging.case import Item
from imaging.dicom.objects.find_objects import kind_of
from imaging.dicom.objects.read_map import ParametricMap
from imaging.dicom.objects.read_report import ReportText
from imaging.dicom.objects.read_rtstruct import StructureContent
from imaging.dicom.objects.read_seg import SegLayers
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.heatmap import DEVIATION, GRAD_CAM, PICTURE, PROBABILITY, UNCERTAINTY, Heatmap
from imaging.segmentation import AUTOMATIC, OPENED_ID, Segmentation
from imaging.series import (
    LABELS,
    PARAMETRIC_MAP,
    REPORT,
    SEGMENTATION,
    STRUCTURE_SET,
    FoundObject,
    Series,
)
from imaging.uneven import true_frame
from imaging.volume import Source, Volume, auto_window

if TYPE_CHECKING:
    from imaging.dicom.objects.layers import Layer

#: What reading one object may take in the worker.
SECONDS, MEMORY_BYTES = 180.0, 6 << 30
#: Quantities of a parametric map that are shares of something, by code.
_MEANINGS = {
    "122157": PROBABILITY,
    "130402": "class activation",
    "130403": GRAD_CAM,
    "130404": "saliency",
    "UNCERTAINTY": UNCERTAINTY,
    "DEVIATION": DEVIATION,
    "PICTURE": PICTURE,
}
_NO_UNITS = ("", "1", "{no units}", "{ratio}", "[0:1]", "{0:1}")
_GUESSED = "It does not say which images it belongs to; it was placed by coordinates alone"


class Fit(NamedTuple):
    """Whether an object belongs to an image.

    Parameters
    ----------
    possible : bool
        False where it must not be laid over the image.
    sure : bool
        True where object and image name each other, or share a frame of reference.
    why : str
        One sentence, without a full stop.
    """

    possible: bool
    sure: bool
    why: str


class ReadItems(NamedTuple):
    """Masks, maps or images that a file holds, in the order to add them, and what to say."""

    items: tuple[Item, ...]
    notes: tuple[str, ...]


# --- which image ------------------------------------------------------------------------------


def fit(found: FoundObject, source: Source, geometry: Geometry | None) -> Fit:
    """Whether an object may be laid over an image.

    Parameters
    ----------
    source, geometry
        Of a series or an open volume.
    """
    if geometry is None:
        return Fit(False, False, "The image does not say where its slices lie")
    own, other = found.frame_of_reference, true_frame(geometry)
    if own and other and own != other:
        return Fit(False, False, "It belongs to another frame of reference than the image")
    if source.series_uid and source.series_uid in found.series_uids:
        return Fit(True, True, "It refers to this series")
    if set(found.instance_uids) & set(source.instance_uids):
        return Fit(True, True, "It refers to images of this series")
    if own and own == other:
        return Fit(True, True, "It lies in the same frame of reference")
    patients = found.source.patient.id, source.patient.id
    if all(patients) and patients[0] != patients[1]:
        return Fit(False, False, "It belongs to another patient")
    return Fit(True, False, _GUESSED)


def series_for(found: FoundObject, series: Iterable[Series]) -> Series | None:
    """The series that an object was made on; one of its frame of reference where that is missing.

    None where no series fits for sure.
    """
    fitting = [
        one for one in series
        if one.viewable and fit(found, one.source, one.geometry).sure
    ]  # fmt: skip
    return max(fitting, key=lambda one: _nearness(found, one), default=None)


def _nearness(found: FoundObject, series: Series) -> tuple:
    wanted = set(found.instance_uids)
    named = len(wanted & set(series.source.instance_uids))
    study = series.source.study_uid == found.source.study_uid
    size = int(np.prod(series.shape))
    return named, series.source.series_uid in found.series_uids, study, series.volumetric, size


def labels_of(series: Series) -> FoundObject:
    """A series of whole numbers taken as a mask."""
    return FoundObject(
        key=f"labels-{series.key}",
        kind=LABELS,
        path=series.source.files[0],
        title=series.description,
        source=series.source,
        frame_of_reference=series.geometry.frame_of_reference if series.geometry else "",
    )


def only_objects(paths: Sequence[str]) -> bool:
    """True where all of a few files are masks, contours, maps or reports, and none an image."""
    return bool(paths) and len(paths) <= 32 and all(_is_object(path) for path in paths)


def _is_object(path: str) -> bool:
    from imaging.dicom.header.read import read_header
    from imaging.storage.file_head import read_head
    from imaging.storage.formats import format_of

    if not Path(path).is_file():
        return False
    known = format_of(read_head(path))
    try:
        if known is not None:
            return bool(known.read(path).objects)
        return bool(kind_of(read_header(path)))
    except BadInput:
        return False


# --- reading ----------------------------------------------------------------------------------


def read_object(found: FoundObject, volume: Volume | None) -> ReadItems | ReportText:
    """Read an object, placed on an open image.

    Parameters
    ----------
    volume : Volume or None
        The image; a report, and a map that is an image of its own, need none.

    Raises
    ------
    BadInput
        Where the object does not fit the image or cannot be read; the sentence says why.
    WorldFailed
        Where no process can be started to read it.
    """
    if found.kind == REPORT:
        return _limited("read_report:read_report_at", found, kind=ReportText)
    if found.kind == PARAMETRIC_MAP:
        return _maps(found, volume)
    if volume is None:
        raise BadInput("Open the images first that it was made on", found.title)
    judged = _judged(found, volume)
    read = {SEGMENTATION: _masks, STRUCTURE_SET: _structures, LABELS: _labels}[found.kind]
    result = read(found, volume)
    return result if judged.sure else result._replace(notes=(*result.notes, judged.why))


def read_as_mask(series: Series, volume: Volume) -> ReadItems:
    """An image of whole numbers as a mask over another image, because the user says so.

    Raises
    ------
    BadInput
        Where its numbers are no labels, or it does not fit the image.
    """
    found = labels_of(series)
    if series.kind != "dicom":
        return cast(ReadItems, read_object(found, volume))
    from imaging.open import load_series
    from imaging.storage.label_voxels import image_layers

    judged = _judged(found, volume)
    content = image_layers(load_series(series), volume.geometry, volume.places)
    masks = _as_masks(found, volume, content.layers, content.provenance)
    return ReadItems(masks, content.notes if judged.sure else (*content.notes, judged.why))


def _judged(found: FoundObject, volume: Volume) -> Fit:
    """How well an object fits an image; BadInput where it cannot."""
    judged = fit(found, volume.source, volume.geometry)
    if not judged.possible or not volume.placed:
        why = judged.why if volume.placed else "Nobody knows where the slices of the image lie"
        raise BadInput(why, found.title, "Open it together with the images it was made on")
    return judged


def _limited(function: str, found: FoundObject, *arguments: Any, kind: Any) -> Any:
    from imaging.sandbox import run_limited

    return run_limited(
        f"imaging.dicom.objects.{function}", found.path, *arguments,
        where=found.path, kind=kind, seconds=SECONDS, memory=MEMORY_BYTES,
    )  # fmt: skip


def _grid(volume: Volume) -> tuple[list[int], list[float], str, list[float]]:
    """A grid as plain values for the worker."""
    geometry = volume.geometry
    places = [] if volume.places is None else [float(v) for v in volume.places.ravel()]
    affine = [float(v) for v in geometry.affine.ravel()]
    return list(geometry.shape), affine, true_frame(geometry), places


def _masks(found: FoundObject, volume: Volume) -> ReadItems:
    content: SegLayers = _limited("read_seg:read_seg_at", found, *_grid(volume), kind=SegLayers)
    maps = tuple(
        Heatmap(
            f"map-{found.key}-{number}", _joined(found.title, one.segment.name), one.values,
            one.meaning, volume.geometry, volume.id, content.provenance, one.segment.name,
        )
        for number, one in enumerate(content.fractions, 1)
    )  # fmt: skip
    masks = _as_masks(found, volume, content.layers, content.provenance)
    if len(maps) == len(masks) == 1 and maps[0].meaning == PROBABILITY:
        masks[0].threshold, masks[0].probability_id = 0.5, maps[0].id  # it was cut from this map
    return ReadItems((*maps, *masks), content.notes)


def _joined(title: str, name: str) -> str:
    return title if name == title else f"{title} · {name}"


def _structures(found: FoundObject, volume: Volume) -> ReadItems:
    content: StructureContent = _limited(
        "read_rtstruct:read_rtstruct_at", found, *_grid(volume), kind=StructureContent
    )
    masks = _as_masks(found, volume, content.layers, content.provenance)
    return ReadItems(masks, content.notes)


def _as_masks(
    found: FoundObject, volume: Volume, layers: Sequence[Layer], provenance
) -> tuple[Segmentation, ...]:
    """One mask per label map; the later ones hold what lies on top of the first.

    What an algorithm found alone, with one label, is a proposal as that of our own models.
    """
    every = [segment for layer in layers for segment in layer.segments]
    draft = len(every) == 1 and every[0].algorithm_type == AUTOMATIC
    begins = "mask-" if draft else OPENED_ID
    return tuple(
        Segmentation.from_labels(
            f"{begins}{found.key}" + (f"-{number}" if number > 1 else ""),
            found.title + (f" ({number})" if number > 1 else ""),
            volume.geometry,
            volume.id,
            layer.labels,
            segments=layer.segments,
            provenance=provenance,
            draft=draft,
        )
        for number, layer in enumerate(layers, 1)
    )


def _labels(found: FoundObject, volume: Volume) -> ReadItems:
    from imaging.storage.label_images import read_label_layers

    content = read_label_layers(found.path, volume.geometry, volume.places)
    return ReadItems(_as_masks(found, volume, content.layers, content.provenance), content.notes)


# --- maps -------------------------------------------------------------------------------------


def _maps(found: FoundObject, volume: Volume | None) -> ReadItems:
    """Shares of something (probability, activation) as a map over the image, else an image."""
    grid = () if volume is None else _grid(volume)
    if volume is not None and not fit(found, volume.source, volume.geometry).possible:
        volume, grid = None, ()
    read: tuple[ParametricMap, ...] = _limited(
        "read_map:read_map_at", found, *grid, kind=tuple[ParametricMap, ...]
    )
    items: list[Item] = []
    notes: list[str] = []
    for number, one in enumerate(read, 1):
        share = _as_share(one)
        if share is None or volume is None:
            items.append(_image(found, one, number))
        else:
            items.append(_heatmap(found, one, share, number, volume))
        notes += [note for note in one.notes if note not in notes]
    return ReadItems(tuple(items), tuple(notes))


class _Share(NamedTuple):
    """How values become 0 to 1, and what that means."""

    divisor: float
    meaning: str
    about: str


def _as_share(one: ParametricMap) -> _Share | None:
    """None where the numbers are measurements: times, diffusion, concentrations."""
    low, high = float(one.values.min()), float(one.values.max())
    meaning, unit = _MEANINGS.get(one.quantity.value, ""), one.unit.value
    words = meaning or (one.quantity.meaning or one.label or "map").lower()
    if low < 0:
        return None
    if unit == "%" and high <= 100:
        return _Share(100.0, words, "1 means 100 %")
    if high <= 1 and (meaning or unit in _NO_UNITS):
        return _Share(1.0, words, "")
    if meaning:
        return _Share(
            high, words, f"1 means {high:.4g} {unit if unit not in _NO_UNITS else ''}".strip()
        )
    return None


def _heatmap(
    found: FoundObject, one: ParametricMap, share: _Share, number: int, volume: Volume
) -> Heatmap:
    values = np.clip(one.values / np.float32(share.divisor), 0, 1)
    geometry = Geometry(one.values.shape, np.reshape(one.affine, (4, 4)), one.frame)
    if geometry.same_grid(volume.geometry):
        geometry = volume.geometry
    return Heatmap(
        _numbered(f"map-{found.key}", number), _title(found, one, number), values, share.meaning,
        geometry, volume.id, one.provenance, share.about,
    )  # fmt: skip


def _image(found: FoundObject, one: ParametricMap, number: int) -> Volume:
    """A map of measurements is an image of its own, on its own grid."""
    geometry = Geometry(one.values.shape, np.reshape(one.affine, (4, 4)), one.frame)
    source = replace(found.source, files=(found.path,))
    name = _title(found, one, number)
    unit = "" if one.unit.value in _NO_UNITS else one.unit.value
    return Volume(
        _numbered(f"image-{found.key}", number), name, one.values, geometry, source,
        window=auto_window(one.values[one.values != 0]), unit=unit, notes=one.notes,
    )  # fmt: skip


def _numbered(id: str, number: int) -> str:
    return id if number == 1 else f"{id}-{number}"


def _title(found: FoundObject, one: ParametricMap, number: int) -> str:
    said = one.quantity.meaning or one.label
    if number == 1 or not said:
        return found.title + (f" ({number})" if number > 1 else "")
    return f"{found.title} · {said}"


# --- where to look ----------------------------------------------------------------------------


def shown_place(items: Iterable[Item]) -> np.ndarray | None:
    """A place (LPS mm) where the first mask or map that shows something can be seen.

    It lies in the slice with most of it, inside of it. None where all are empty.
    """
    for item in items:
        if isinstance(item, Segmentation):
            seen = item.labels > 0
        elif isinstance(item, Heatmap):
            seen = item.values > 0.5 * float(item.values.max()) if item.values.any() else None
        else:
            continue
        if seen is not None and seen.any():
            return _inside(seen, item.geometry)
    return None


def place_of_label(mask: Segmentation, number: int) -> np.ndarray | None:
    """A place (LPS mm) inside one label of a mask, None where it is empty."""
    seen = mask.labels == number
    return _inside(seen, mask.geometry) if seen.any() else None


def _inside(seen: np.ndarray, geometry: Geometry) -> np.ndarray:
    k = int(seen.sum((1, 2)).argmax())
    points = np.argwhere(seen[k])
    away = ((points - points.mean(0)) ** 2).sum(1)
    j, i = points[int(away.argmin())]
    return geometry.world((k, int(j), int(i)))
