"""``isocenter convert --object``: a mask, contours or a map of another program as image files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from app.cli.convert import check_target
from app.cli.output import Output
from app.cli.scan import found
from imaging.case import Item
from imaging.errors import BadInput
from imaging.heatmap import Heatmap
from imaging.objects import ReadItems, fit, read_object, series_for
from imaging.open import ScanResult, open_series
from imaging.segmentation import Segmentation
from imaging.series import PARAMETRIC_MAP, REPORT, FoundObject
from imaging.volume import Volume


def convert_object(path: Path, out: Path, wanted: str, on: Path | None, output: Output) -> None:
    """Place an object on the images it was made on and write it.

    Parameters
    ----------
    wanted : str
        Id of the listing, or how it begins; empty for the only one.
    on : Path or None
        Where the images are; None: under ``path`` too.

    Raises
    ------
    BadInput
        Where there is no such object, or its images are not there, or it does not fit them.
    WorldFailed
        Where the disk refuses.
    """
    check_target(out)
    with found(path, output, or_objects=True) as result:
        chosen = chosen_object(result, wanted, path)
        if chosen.kind == REPORT:
            raise BadInput("A report is text, not an image", chosen.title, "Read it in the window")
        with found(on, output) if on is not None else nullcontext(result) as images:
            volume = _image_for(chosen, images, explicit=on is not None)
            with output.progress("Reading and placing"):
                read = read_object(chosen, volume)
        assert isinstance(read, ReadItems)
        for note in read.notes:
            output.warn(f"{note}.")
        with output.progress("Writing and reading back"):
            written = _write_all(out, read.items)
    for file in written:
        output.say(f"{file}: written and read back")
    output.result(
        {
            "written": [str(file) for file in written],
            "kind": chosen.kind,
            "title": chosen.title,
            "series_uid": volume.source.series_uid if volume is not None else "",
            "notes": list(read.notes),
        }
    )


def chosen_object(result: ScanResult, wanted: str, path: Path) -> FoundObject:
    """The object whose id begins as asked for; without a wish the only one."""
    fitting = [one for one in result.objects if one.key.startswith(wanted)]
    if len(fitting) == 1:
        return fitting[0]
    names = "; ".join(f"{one.key[:12]} = {one.title}" for one in result.objects)
    if not result.objects:
        raise BadInput("There are no masks, maps or reports here", str(path))
    if not fitting:
        raise BadInput(f"There is no object '{wanted}'", str(path), f"Objects here: {names}")
    raise BadInput(
        f"There are {len(fitting)} objects", str(path), f"Choose one with --object: {names}"
    )


def _image_for(chosen: FoundObject, images: ScanResult, explicit: bool) -> Volume | None:
    """The image an object is placed on; its voxels are not needed."""
    series = series_for(chosen, images.series)
    if series is None and explicit and len(images.series) == 1:
        (only,) = images.series
        series = only if fit(chosen, only.source, only.geometry).possible else None
    if series is not None:
        return open_series(series).volume
    if chosen.kind == PARAMETRIC_MAP:
        return None  # it has a grid of its own
    raise BadInput(
        "The images that it was made on are not here", chosen.title, "Say where with --on PATH"
    )


def _write_all(out: Path, items: Sequence[Item]) -> list[Path]:
    """The first mask gets the name that was asked for; others get words after it."""
    ordered = sorted(items, key=lambda item: not isinstance(item, Segmentation))
    written: list[Path] = []
    count = {Segmentation: 0, Heatmap: 0, Volume: 0}
    for number, item in enumerate(ordered):
        count[type(item)] += 1
        word = "map" if isinstance(item, Heatmap) else "mask"
        target = out if number == 0 else _beside(out, f"{word}-{count[type(item)]}")
        check_target(target)
        written += _write(target, item)
    return written


def _beside(out: Path, word: str) -> Path:
    stem, dot, ends = out.name.partition(".")
    return out.with_name(f"{stem}-{word}{dot}{ends}")


def _write(out: Path, item: Item) -> list[Path]:
    from imaging.storage import mha, nifti, nrrd

    module = {".mha": mha, ".nrrd": nrrd}.get(out.suffix.lower(), nifti)
    if isinstance(item, Segmentation):
        return module.write_labels(out, item)
    if isinstance(item, Volume):
        return module.write_volume(out, item)
    if module is nrrd:
        return [nrrd.write_grid(out, item.values, item.geometry, name=item.name)]
    return module.write_heatmap(out, item)
