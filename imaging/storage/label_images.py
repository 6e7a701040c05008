"""Label images as masks, by path: NIfTI, NRRD, ``.seg.nrrd`` and MetaImage files.

What a label is and where names come from: :mod:`imaging.storage.label_voxels` and
:mod:`imaging.storage.label_names`.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from imaging.dicom.objects.read_seg import SegContent, SegLayers
from imaging.geometry import Geometry
from imaging.series import FoundObject, Series
from imaging.storage.formats import grid_of
from imaging.storage.grid_file import grid_series
from imaging.storage.label_voxels import read_layers

_OVERLAP = "Segments overlap; where they do, the first one was kept"


def read_label_image(
    path: str | os.PathLike[str], geometry: Geometry, places: np.ndarray | None = None
) -> SegContent:
    """Read a mask onto a grid as one label map; where segments overlap the first one stays.

    Parameters
    ----------
    path : path
    geometry : Geometry
        The grid of the volume the mask is shown on. Voxels move one to one where both grids are
        the same up to turns, flips and cuts, else by the nearest neighbour, and a note says so.
    places : ndarray, optional
        Slices of an uneven stack, see :class:`imaging.volume.Volume`.

    Returns
    -------
    SegContent
        Labels uint8 ``(k, j, i)``; numbers are those of the file where they lie between 1 and 255.

    Raises
    ------
    BadInput
        Where the numbers are no labels, or the file is damaged or of another kind.
    """
    content = read_label_layers(path, geometry, places)
    first, *more = content.layers
    if not more:
        return SegContent(first.labels, _ordered(content), content.notes)
    labels = first.labels.copy()
    for layer in more:
        free = labels == 0
        labels[free] = layer.labels[free]
    return SegContent(labels, _ordered(content), (_OVERLAP, *content.notes))


def read_label_layers(
    path: str | os.PathLike[str], geometry: Geometry, places: np.ndarray | None = None
) -> SegLayers:
    """Read a mask onto a grid; segments that overlap (``.seg.nrrd``) lie in further label maps.

    Numbers are different in all of them. See :func:`read_label_image`.
    """
    return read_layers(grid_of(os.fspath(path)), geometry, places)


def as_series(found: FoundObject) -> Series:
    """A label image as an image to look at.

    Raises
    ------
    BadInput
        Where its file cannot be used.
    """
    series = grid_series(grid_of(found.path))
    return replace(series, key=found.key, description=found.title)


def _ordered(content: SegLayers):
    every = (segment for layer in content.layers for segment in layer.segments)
    return tuple(sorted(every, key=lambda segment: segment.number))
