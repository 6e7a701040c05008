"""The built-in demo study: a synthetic head in three MR series, written as DICOM.

Made once by code and kept in the user's cache; nothing about it comes from a person, and every
header says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imaging.dicom.write import RESEARCH_ONLY, mr_template, new_uid, write_mr_series
from imaging.errors import WorldFailed
from imaging.geometry import Geometry
from imaging.volume import Patient, Volume

if TYPE_CHECKING:
    from imaging.phantom.head import Head

#: Grows with every change to what is drawn or written; old caches are then left alone.
DEMO_VERSION = 1
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
    tilt = np.deg2rad(11.0)  # along the plane through both commissures, roughly
    back, up = (0, np.cos(tilt), -np.sin(tilt)), (0, np.sin(tilt), np.cos(tilt))
    return (
        Sequence(
            "FLAIR", 2,
            _grid((148, 196, 240), (1.2, 1.0, 1.0), [(1, 0, 0), (0, 0, -1), (0, 1, 0)], (0, 0, -1)),
            (0.55, 0.55, 0.6), 0.019, (0.05, -0.10, 0.07),
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
            (0.7, 0.5, 0.5), 0.015, (-0.04, 0.08, -0.08),
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
            (1.3, 0.4, 0.4), 0.017, (0.06, 0.05, 0.05),
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
    for number, sequence in enumerate(sequences(), start=1):
        _write(Path(folder) / sequence.name, sequence, number, head)


def demo_study_folder() -> Path:
    """Folder of the demo study in the user's cache; made on the first call (some seconds)."""
    from platformdirs import user_cache_path

    from imaging.atomic import write_folder_atomic

    root = user_cache_path("Isocenter", appauthor=False)
    folder = root / f"demo-{DEMO_VERSION}"
    if not folder.is_dir():
        _make_folder(root)
        write_folder_atomic(folder, write_demo_study, sync=False)
    return folder


def demo_truth() -> tuple[np.ndarray, Geometry]:
    """The true lesions on the grid of the FLAIR series.

    Returns
    -------
    labels : ndarray, shape (k, j, i)
        uint8: 0 or the number of the lesion, from 1.
    geometry : Geometry
        LPS mm.
    """
    from imaging.phantom.lesions import label_lesions, place_lesions

    head, geometry = _head(), sequences()[0].geometry
    return label_lesions(head, place_lesions(head), geometry), geometry


def scan(head: Head, sequence: Sequence) -> np.ndarray:
    """What a scanner would see of the head: blurred, sampled, shaded, noisy.

    Returns
    -------
    ndarray, shape (k, j, i)
        int16, 0 to about 1000.
    """
    from scipy.ndimage import affine_transform, gaussian_filter

    from imaging.phantom.head import HEAD

    blurred = gaussian_filter(head.contrasts[sequence.channel], sequence.blur_mm, truncate=3)
    to_head = HEAD.geometry.inverse @ sequence.geometry.affine
    signal = affine_transform(blurred, to_head, output_shape=sequence.geometry.shape, order=1)
    signal *= _receive_field(sequence)
    rng = np.random.default_rng(1000 + sequence.channel)
    for part in signal:  # Rician: the length of a complex number with noise in both parts
        real, imaginary = rng.standard_normal((2, *part.shape), dtype=np.float32) * sequence.noise
        np.hypot(part + real, imaginary, out=part)
    return np.rint(np.clip(signal, 0, 4) * _FULL_SCALE).astype(np.int16)


def _receive_field(sequence: Sequence) -> np.ndarray:
    """A smooth shading over the field of view, about 1, shape (k, j, i)."""
    shape = sequence.geometry.shape
    coarse = np.stack(np.meshgrid(*(np.linspace(0, n - 1, 9) for n in shape), indexing="ij"), -1)
    world = sequence.geometry.world(coarse) / 100.0
    shade = 1 + world @ np.array(sequence.tilt) - 0.06 * np.square(world).sum(-1)
    from scipy.ndimage import zoom

    factors = [n / 9 for n in shape]
    return zoom(shade.astype(np.float32), factors, order=1, grid_mode=False, mode="nearest")


@lru_cache(maxsize=1)
def _head() -> Head:
    from imaging.phantom.head import make_head
    from imaging.phantom.lesions import paint_lesions, place_lesions

    head = make_head()
    paint_lesions(head, place_lesions(head))
    return head


def _write(folder: Path, sequence: Sequence, number: int, head: Head) -> None:
    series_uid = new_uid("demo", str(DEMO_VERSION), sequence.name)
    volume = Volume(sequence.name, sequence.name, scan(head, sequence), sequence.geometry)
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
