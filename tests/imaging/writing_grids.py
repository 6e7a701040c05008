"""Small grids in every orientation, and how a judge's answer is compared in patient space."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import pytest

from imaging.geometry import Geometry
from imaging.volume import Source, Volume

SHAPE = (4, 5, 11)  # the width is no multiple of 8
SPACING = (3.0, 1.1, 0.7)

#: All 48 ways to permute and flip the axes of an array in the patient.
ORIENTATIONS = [
    (order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]
NAMES = ["".join("xyz"[o] + "+-"[s < 0] for o, s in zip(*way, strict=True)) for way in ORIENTATIONS]


def rotation(degrees=(11.0, -7.0, 23.0)) -> np.ndarray:
    """An oblique turn of the patient axes."""
    a, b, c = np.deg2rad(degrees)
    x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(x) @ np.array(y) @ np.array(z)


def grid(way=((2, 1, 0), (1, 1, 1)), *, shape=SHAPE, oblique=True, frame="") -> Geometry:
    """An anisotropic grid whose array axes run along the given patient axes."""
    order, signs = way
    axes = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        axes[axis, column] = sign
    affine = np.eye(4)
    affine[:3, :3] = (rotation() if oblique else np.eye(3)) @ axes * SPACING
    affine[:3, 3] = (-31.25, 12.5, 47.0)
    return Geometry(shape, affine, frame)


def volume(geometry: Geometry, dtype="int16", **rest) -> Volume:
    """Random voxels over a grid, as if read from NIfTI."""
    rng = np.random.default_rng(3)
    voxels = rng.integers(0, 200, geometry.shape).astype(dtype)
    return Volume("v", "T1 demo", voxels, geometry, Source("nifti", ("t1.nii",)), **rest)


def assert_same_in_patient(
    geometry: Geometry, values: np.ndarray, judged: np.ndarray, to_judged: np.ndarray
) -> None:
    """Every voxel must be found at its place: ``judged`` is indexed by ``to_judged @ LPS``."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1).reshape(-1, 3)
    world = np.c_[geometry.world(index), np.ones(len(index))]
    found = (world @ to_judged.T)[:, :3]
    assert np.abs(found - np.rint(found)).max() < 2e-3
    nearest = np.rint(found).astype(int)
    assert ((nearest >= 0) & (nearest < judged.shape)).all()
    np.testing.assert_array_equal(judged[tuple(nearest.T)], values[tuple(index.T)])


def itk_judge(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """What SimpleITK reads: array indexed (i, j, k), and the matrix from LPS to that index."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.linalg.inv(affine)


def assert_frames_in_place(
    path: Path, geometry: Geometry, expected: Callable[[int], np.ndarray], *, absent=0
) -> None:
    """Every pixel of every frame must hold the value that lies there in the patient.

    Reads with pydicom alone, by the position of each frame. ``expected`` gives the array (k, j, i)
    for a segment number (0 in an object without segments); voxels of slices without a frame must
    be ``absent``.
    """
    ds = pydicom.dcmread(path)
    shared = ds.SharedFunctionalGroupsSequence[0]
    rows, columns = np.array(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, float
    ).reshape(2, 3)
    down, along = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    assert len(frames) == len(ds.PerFrameFunctionalGroupsSequence) == ds.NumberOfFrames
    r, c = np.mgrid[: ds.Rows, : ds.Columns]
    unseen: dict[int, np.ndarray] = {}
    for groups, frame in zip(ds.PerFrameFunctionalGroupsSequence, frames, strict=True):
        named = groups.get("SegmentIdentificationSequence")
        number = int(named[0].ReferencedSegmentNumber) if named else 0
        start = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        world = start + rows * (c * along)[..., None] + columns * (r * down)[..., None]
        index = geometry.index(world)
        assert np.abs(index - np.rint(index)).max() < 2e-3
        where = tuple(np.rint(index).astype(int).reshape(-1, 3).T)
        np.testing.assert_array_equal(frame.ravel(), expected(number)[where])
        left = unseen.setdefault(number, np.ones(geometry.shape, bool))
        assert left[where].all()
        left[where] = False
    for number, left in unseen.items():
        assert (expected(number)[left] == absent).all()


_LABELMAP, _PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.30"
_STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
_MR = "1.2.840.10008.5.1.4.1.1.4"
#: What dciodvfy (2022) says although nothing is wrong: class (empty for all), words, and why.
KNOWN_GAPS = (
    ("", "would be needed to build DICOMDIR", "the source image does not say, nor may we invent"),
    ("", "99ISOCENTER", "a coding scheme of our own, for uncertainty (PS3.16 8.2 allows 99...)"),
    (_LABELMAP, "Information Object Not found", "the tool is older than label maps"),
    (_LABELMAP, "SegmentNumber not monotonically increasing", "in label maps 0 is the background"),
    (_PARAMETRIC_MAP, "Unrecognized defined term = <QUANTITY>", "a term of PS3.3 C.8.32.3.1"),
    (_STRUCTURES, "(3010,00a0)", "Conceptual Volume Identification, younger than the tool"),
    (_MR, "RescaleSlope", "the MR IOD has no rescale, but without it the numbers lose their scale"),
    (_MR, "RescaleIntercept", "as above"),
    (_MR, "RescaleType", "as above"),
)


def dicom_complaints(*paths: Path, new: bool = True, warnings: bool = False) -> list[str]:
    """Errors of dciodvfy that are not known gaps of the tool; skips where it is missing.

    ``warnings`` for objects made from phantoms: values of real headers draw warnings of their own.
    """
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    found, heads = [], ("Error", "Warning") if warnings else ("Error",)
    for path in paths:
        command = [tool, "-new", str(path)] if new else [tool, str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        assert told.returncode >= 0, "dciodvfy crashed"
        kind = str(pydicom.dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID)
        gaps = [words for sop, words, _ in KNOWN_GAPS if sop in ("", kind)]
        found += [
            line
            for line in (told.stdout + told.stderr).splitlines()
            if line.startswith(heads) and not any(g in line for g in gaps)
        ]
    return found


#: What dcentvfy (2022) says although nothing is wrong, and why.
ENTITY_GAPS = (
    (_LABELMAP, "the tool is older than label maps"),
    ("IE <Unknown> versus", "as above: attributes of a class it does not know"),
    ("<AccessionNumber> IE <Study> versus <Series>", "it puts the number into the series of an SR"),
)


def study_disagreements(paths: Sequence[Path]) -> list[str]:
    """What dcentvfy finds that objects of one study tell differently; skips where missing."""
    tool = shutil.which("dcentvfy")
    if tool is None:
        pytest.skip("dcentvfy (dicom3tools) is not installed")
    told = subprocess.run([tool, *map(str, paths)], capture_output=True, text=True, check=False)
    assert told.returncode >= 0, "dcentvfy crashed"
    lines = [x for x in (told.stdout + told.stderr).splitlines() if x.strip()]
    return [x for x in lines if not any(gap in x for gap, _ in ENTITY_GAPS)]


def dcmqi_tool(name: str) -> str:
    """Path of a program of dcmqi; skips where it is missing."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"dcmqi ({name}) is not installed")
    return found
