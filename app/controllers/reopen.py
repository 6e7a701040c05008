"""The images that a case file or a journal refers to, found and loaded again as they were."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.tasks import Ticket
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.series import LABELS, PARAMETRIC_MAP, FoundObject, Series
from imaging.uneven import true_frame
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.open import ScanResult
    from imaging.storage.codec import VolumeRef


def load_refs(
    refs: Sequence[VolumeRef], ticket: Ticket, recent: Sequence[str], names_as: str = ""
) -> tuple[ScanResult, list[tuple[Series | None, Volume]]]:
    """Scan for the files of stored work and load the images it refers to.

    Parameters
    ----------
    recent : sequence of str
        Folders opened lately: one that holds all the files is scanned whole, so that its other
        series come back too.
    names_as : str
        As for :func:`imaging.open.scan`.

    Returns
    -------
    result : ScanResult
    volumes : list of (Series or None, Volume)
        The images that were found, each with its series; None for the image of a map.
    """
    from imaging.open import load_series, scan

    files = sorted({file for ref in refs for file in ref.files if Path(file).is_file()})
    paths = _as_it_was_opened(files, recent)
    result = scan(paths, cancelled=ticket.cancelled, names_as=names_as)
    loaded: dict[str, Volume] = {}
    volumes = []
    for ref in refs:
        for series in _candidates(ref, result):
            if series.key not in loaded:
                loaded[series.key] = load_series(series)
            volume = as_referred(ref, loaded[series.key])
            if volume is not None:
                volumes.append((series, volume))
                break
        else:
            image = _map_image(ref, result.objects)
            if image is not None:
                volumes.append((None, image))
    return result, volumes


def _candidates(ref: VolumeRef, result: ScanResult) -> list[Series]:
    """The series that may hold an image that is referred to, those of its own files first.

    Images on one grid differ by nothing but their files where they have no UIDs.
    """
    every = (*result.series, *_masks_as_images(ref, result.objects))
    found = [(set(ref.files).isdisjoint(one.source.files), one) for one in every]
    found = [(other, one) for other, one in found if ref.series_uid or not other]
    return [one for _, one in sorted(found, key=lambda pair: pair[0]) if _may_be(ref, one)]


def _masks_as_images(ref: VolumeRef, objects: Sequence[FoundObject]) -> list[Series]:
    """Label images of the files referred to, as the images they were opened as.

    A mask that is opened by itself is an image; found beside images it is only a mask.
    """
    from imaging.storage.label_images import as_series

    found = []
    for one in objects:
        if one.kind == LABELS and one.path in ref.files:
            try:
                found.append(as_series(one))
            except BadInput:  # no label image any more: the work says which image is missing
                continue
    return found


def _map_image(ref: VolumeRef, objects: Sequence[FoundObject]) -> Volume | None:
    """The image of a parametric map that is referred to; it comes from no series."""
    from imaging.objects import ReadItems, read_object

    for found in objects:
        if found.kind == PARAMETRIC_MAP and found.path in ref.files:
            read = read_object(found, None)
            images = read.items if isinstance(read, ReadItems) else ()
            return next((v for v in images if isinstance(v, Volume) and ref.fits(v)), None)
    return None


def _may_be(ref: VolumeRef, series: Series) -> bool:
    """Whether a series may hold the image that is referred to; headers only."""
    if ref.series_uid and ref.series_uid != series.source.series_uid:
        return False
    if ref.even_mm:
        return series.viewable and not set(ref.files).isdisjoint(series.source.files)
    if series.geometry is None:
        return False
    # A series knows the mean grid of uneven slices only; their places are compared when loaded.
    mean = Geometry(ref.geometry.shape, ref.geometry.affine, true_frame(ref.geometry))
    return mean.same_grid(series.geometry)


def as_referred(ref: VolumeRef, volume: Volume) -> Volume | None:
    """A loaded series as it was: with its chosen image, or made even; None where it is another."""
    if ref.even_mm:
        return _made_even_again(ref, volume)
    if volume.repeats is None:
        return volume
    numbers = sorted(range(len(volume.repeats)), key=lambda n: (n != ref.repeat, n))
    # A case from before 4D series names the files of one image only.
    own = [n for n in numbers if set(volume.repeats.sources[n].files) == set(ref.files)]
    images = [volume.at_repeat(n) for n in (*own, *numbers)]
    return next((image for image in images if ref.fits(image)), images[0])


def _made_even_again(ref: VolumeRef, volume: Volume) -> Volume | None:
    from imaging.analysis.regularise import even_volume, why_not_even

    if volume.repeats is not None and ref.repeat < len(volume.repeats):
        volume = volume.at_repeat(ref.repeat)
    if why_not_even(volume):
        return None
    made = even_volume(volume, ref.even_mm)
    return made if ref.fits(made) else None


def _as_it_was_opened(files: list[str], recent: Sequence[str]) -> list[str]:
    """The folder these files were opened from, so that its other series come back too."""
    for path in recent:
        folder = Path(path)
        if files and folder.is_dir() and all(Path(f).is_relative_to(folder) for f in files):
            return [path]
    return files
