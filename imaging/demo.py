"""The built-in demo study: a synthetic head in three MR series, written as DICOM.

Made once by code and kept in the user's cache; nothing about it comes from a person, and every
header says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imaging.dicom.writing.write import RESEARCH_ONLY, mr_template, new_uid, write_mr_series
from imaging.errors import WorldFailed
from imaging.geometry import Geometry
from imaging.volume import Patient, Volume, Window

if TYPE_CHECKING:
    from imaging.phantom.canvas import Head

#: Grows with every change to what is drawn or written; old caches are then left alone.
DEMO_VERSION = 5
DEMO_PATIENT = Patient("Synthetic^Demo", "ISOCENTER-DEMO", "", "O")
_FRAME = new_uid("demo", "frame of reference")
_FULL_SCALE = 1000.0


@dataclass(frozen=True)
class Sequence:
    """One series: which contrast, on which grid, with which scan parameters."""

    name: str
    channel: int
    geometry: Geometry
    blur_mm: tuple[float, float, float]  # along z, y, x of the head
    noise: float
    window: Window
    tilt: tuple[float, float, float]  # receive field: relative change per 100 mm along x, y, z
    acquisition: Mapping[str, Any]


def _grid(shape, steps, directions, centre) -> Geometry:
    """A grid around a centre; ``directions`` are the array axes (k, j, i) as rows, LPS."""
    affine = np.eye(4)
    affine[:3, :3] = (np.asarray(directions, float) * np.asarray(steps, float)[:, None]).T
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2.0)
    return Geometry(shape, affine, _FRAME)


def sequences() -> tuple[Sequence, ...]:
    """FLAIR sagittal 1.2 mm, T1w axial 1.4 mm, T2w axial oblique 3 mm, as (k, j, i) grids."""
    right, down, backwards = (-1, 0, 0), (0, 0, -1), (0, 1, 0)
    tilt = np.deg2rad(11.0)  # along the plane through both commissures, roughly
    back, up = (0, np.cos(tilt), -np.sin(tilt)), (0, np.sin(tilt), np.cos(tilt))
    return (
        Sequence(
            "FLAIR", 2,
            _grid((148, 196, 240), (1.2, 1.0, 1.0), [right, down, backwards], (0, 0, -1)),
            (0.55, 0.55, 0.6), 0.019, Window(390, 600), (0.05, -0.10, 0.07),
            {
                "ScanningSequence": ["SE", "IR"], "SequenceVariant": ["SK", "SP", "MP"],
                "ScanOptions": "FS", "MRAcquisitionType": "3D", "SequenceName": "*spcir_demo",
                "RepetitionTime": "5000", "EchoTime": "388", "InversionTime": "1800",
                "EchoTrainLength": "251", "FlipAngle": "120", "ProtocolName": "FLAIR 3D sagittal",
            },
        ),
        Sequence(
            "T1w", 0,
            _grid((132, 240, 184), (1.4, 1.0, 1.0), [(0, 0, 1), (0, 1, 0), (1, 0, 0)], (0, 0, -3)),
            (0.7, 0.5, 0.5), 0.015, Window(470, 940), (-0.04, 0.08, -0.08),
            {
                "ScanningSequence": ["GR", "IR"], "SequenceVariant": ["SK", "SP", "MP"],
                "MRAcquisitionType": "3D", "SequenceName": "*tfl3d_demo",
                "RepetitionTime": "2300", "EchoTime": "2.98", "InversionTime": "900",
                "EchoTrainLength": "1", "FlipAngle": "9", "ProtocolName": "T1 MPRAGE axial",
            },
        ),
        Sequence(
            "T2w", 1,
            _grid((50, 264, 208), (3.3, 0.9, 0.9), [up, back, (1, 0, 0)], (0, 8, 2)),
            (1.3, 0.4, 0.4), 0.017, Window(500, 1000), (0.06, 0.05, 0.05),
            {
                "ScanningSequence": "SE", "SequenceVariant": ["SK", "SP"],
                "MRAcquisitionType": "2D", "SequenceName": "*tse2d_demo", "SliceThickness": "3",
                "RepetitionTime": "6000", "EchoTime": "99", "EchoTrainLength": "15",
                "FlipAngle": "150", "ProtocolName": "T2 TSE axial oblique",
            },
        ),
    )  # fmt: skip


def write_demo_study(folder: Path) -> None:
    """Write the three series as subfolders of an existing folder; the same bytes each time.

    Raises
    ------
    WorldFailed
        Where the disk refuses.
    """
    head = _head()
    with ThreadPoolExecutor(max_workers=2) as pool:  # numpy and scipy work beside each other
        jobs = [
            pool.submit(_write, Path(folder) / sequence.name, sequence, number, head)
            for number, sequence in enumerate(sequences(), start=1)
        ]
        for job in jobs:
            job.result()


def demo_study_folder() -> Path:
    """Folder of the demo study in the user's cache; made on the first call (some seconds)."""
    from platformdirs import user_cache_path

    from imaging.atomic import write_folder_atomic

    root = user_cache_path("Isocenter", appauthor=False)
    folder = root / f"demo-{DEMO_VERSION}"
    if not folder.is_dir():
        _make_folder(root)
        try:
            write_folder_atomic(folder, write_demo_study, sync=False)
        except WorldFailed:
            if not folder.is_dir():  # else another window was faster, with the same bytes
                raise
    return folder


@lru_cache(maxsize=1)
def demo_truth() -> tuple[np.ndarray, Geometry]:
    """The true lesions on the grid of the FLAIR series.

    Returns
    -------
    labels : ndarray, shape (k, j, i)
        uint8, read-only: 0 or the number of the lesion, from 1.
    geometry : Geometry
        LPS mm.
    """
    from imaging.phantom.lesions import label_lesions, place_lesions

    head, geometry = _head(), sequences()[0].geometry
    labels = label_lesions(head, place_lesions(head), geometry)
    labels.flags.writeable = False
    return labels, geometry


def scan(head: Head, sequence: Sequence) -> np.ndarray:
    """What a scanner would see of the head: blurred, sampled, shaded, noisy.

    Returns
    -------
    ndarray, shape (k, j, i)
        uint16, 0 to about 1200.
    """
    from scipy.ndimage import affine_transform, gaussian_filter

    from imaging.phantom.canvas import HEAD

    blurred = gaussian_filter(head.contrasts[sequence.channel], sequence.blur_mm, truncate=3)
    to_head = HEAD.geometry.inverse @ sequence.geometry.affine
    signal = affine_transform(blurred, to_head, output_shape=sequence.geometry.shape, order=1)
    signal *= _receive_field(sequence)
    rng = np.random.default_rng(1000 + sequence.channel)
    pixels = np.empty(signal.shape, np.uint16)
    for k in range(len(signal)):
        # Rician: the length of a complex number with noise in both parts
        noise = rng.standard_normal((2, *signal[k].shape), dtype=np.float32)
        noise *= np.float32(sequence.noise)
        pixels[k] = np.rint(np.hypot(signal[k] + noise[0], noise[1]) * _FULL_SCALE)
    return pixels


def _receive_field(sequence: Sequence) -> np.ndarray:
    """A smooth shading over the field of view, about 1, float32 of shape (k, j, i)."""
    geometry = sequence.geometry
    k, j, i = (np.arange(n) for n in geometry.shape)
    # Along each array axis the position changes evenly, so its square is a sum of small tables.
    matrix, tilt = geometry.affine[:3, :3] / 100.0, np.array(sequence.tilt)
    start = geometry.origin / 100.0
    shade = np.full(geometry.shape, 1 + start @ tilt - 0.06 * start @ start, np.float32)
    for steps, axis, view in ((k, 0, (-1, 1, 1)), (j, 1, (1, -1, 1)), (i, 2, (1, 1, -1))):
        step = matrix[:, axis]
        along = steps * (step @ tilt - 0.12 * start @ step) - 0.06 * steps**2 * (step @ step)
        shade += along.reshape(view).astype(np.float32)
    return shade  # the axes are perpendicular, so no mixed terms are left


def _head() -> Head:
    """The head with its lesions: some seconds and 180 MB, so nobody keeps it."""
    from imaging.phantom.head import make_head
    from imaging.phantom.lesions import paint_lesions, place_lesions

    head = make_head()
    paint_lesions(head, place_lesions(head))
    return head


def _write(folder: Path, sequence: Sequence, number: int, head: Head) -> None:
    series_uid = new_uid("demo", str(DEMO_VERSION), sequence.name)
    pixels = scan(head, sequence)
    volume = Volume(sequence.name, sequence.name, pixels, sequence.geometry, window=sequence.window)
    template = mr_template(
        DEMO_PATIENT,
        study_uid=new_uid("demo", str(DEMO_VERSION)),
        frame_of_reference=_FRAME,
        study={
            "StudyDescription": "Synthetic head with white-matter lesions (not a patient)",
            "StudyDate": "20240101", "StudyTime": "120000", "StudyID": "DEMO",
            "ReferringPhysicianName": "",
        },
        series={
            "SeriesInstanceUID": series_uid, "SeriesNumber": number,
            "SeriesDescription": f"{sequence.name} (synthetic)", "PatientPosition": "HFS",
            "SeriesDate": "20240101", "SeriesTime": f"12{number:02d}00",
            "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
            "DerivationDescription": f"Computed from a synthetic head. {RESEARCH_ONLY}",
            "ManufacturerModelName": "Synthetic head", "BurnedInAnnotation": "NO",
        },
        acquisition=sequence.acquisition,
    )  # fmt: skip
    write_mr_series(
        folder, volume, template, sync=False, instance_uid=lambda k: new_uid(series_uid, str(k))
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorldFailed("The cache folder could not be made", str(folder)) from error
