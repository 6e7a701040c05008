"""Real scanners' files against dcm2niix: random voxels have its values at its places.

Arrays are never compared index by index, since dcm2niix turns and flips axes: a voxel of the
reference is taken to patient millimetres and from there into our image.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imaging.open import load_series, scan
from imaging.volume import Volume

SAMPLES = 400
#: A voxel centre of the reference may lie so far from one of ours, mm.
PLACE_MM = 0.02
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Image3D:
    """One image of a reference: real and stored values ``(i, j, k)``, and the affine to LPS mm."""

    name: str
    values: np.ndarray
    stored: np.ndarray
    affine: np.ndarray


def ours(*folders: Path) -> list[Volume]:
    """Every image under some folders, those of 4D series one by one."""
    with scan(folders) as found:
        series = [one for one in found.series if one.kind == "dicom" and one.viewable]
        volumes = [load_series(one) for one in series]
    return [image for volume in volumes for image in images_of(volume)]


def images_of(volume: Volume) -> Iterator[Volume]:
    count = len(volume.repeats) if volume.repeats else 1
    return (volume.at_repeat(n) if volume.repeats else volume for n in range(count))


def references(*files: Path) -> list[Image3D]:
    """Every image in some NIfTI files, read by nibabel."""
    found = []
    for file in files:
        nifti = nib.load(file)
        both = (np.asarray(nifti.dataobj), nifti.dataobj.get_unscaled())
        values, stored = (array.reshape(*array.shape[:3], -1) for array in both)
        affine = RAS_TO_LPS @ nifti.affine
        found += [
            Image3D(file.name, values[..., t], stored[..., t], affine)
            for t in range(values.shape[3])
        ]
    return found


def agrees(reference: Image3D, image: Volume, seed: int = 7) -> bool:
    """True where random voxels of the reference lie on voxels of ours that hold the same value.

    Philips has two scales in one header and dcm2niix takes the private one, so either the real
    values or the stored ones must be the same.
    """
    shape = reference.values.shape
    if sorted(shape) != sorted(image.geometry.shape):
        return False
    at = np.random.default_rng(seed).integers(0, shape, (SAMPLES, 3))
    world = at @ reference.affine[:3, :3].T + reference.affine[:3, 3]
    index = np.rint(image.geometry.index(world)).astype(int)
    if (index < 0).any() or (index >= image.geometry.shape).any():
        return False
    if np.abs(image.geometry.world(index) - world).max() > PLACE_MM:
        return False
    where, stored = tuple(at.T), image.voxels[tuple(index.T)]
    real = np.allclose(reference.values[where], image.real(stored), rtol=1e-4, atol=1e-3)
    return real or np.array_equal(reference.stored[where], stored)


def assert_all_found(wanted: list[Image3D], images: list[Volume]) -> None:
    """Each reference image is one of ours, and no two of them are the same one."""
    partners = {
        n: [m for m, image in enumerate(images) if agrees(reference, image)]
        for n, reference in enumerate(wanted)
    }
    lost = [wanted[n].name for n, found in partners.items() if not found]
    assert not lost
    assert len({m for found in partners.values() for m in found}) >= len(wanted)


#: Folder of images, its reference files, and how many images there are in all.
CASES = {
    "Siemens mosaic, axial": ("dicom_siemens_orient/In/ax", "ax_asc_35sl_6.nii", 2),
    "Siemens mosaic, coronal": ("dicom_siemens_orient/In/cor", "cor_desc_35sl_17.nii", 2),
    "Siemens mosaic, sagittal descending": (
        "dicom_siemens_orient/In/sag/sagdesc35", "sag_desc_35sl_23.nii", 2,
    ),
    "Siemens mosaic, sagittal interleaved": (
        "dicom_siemens_orient/In/sag/sagint36", "sag_int_36sl_21.nii", 2,
    ),
    "Siemens multiband mosaic, JPEG 2000": (
        "dicom_siemens_orient/In/axmb/AxAsc36mb2a", "fMRI_MB_asc_25.nii", 2,
    ),
    "Siemens multiband mosaic, JPEG lossless": (
        "dicom_siemens_orient/In/axmb/AxInt36mb", "fMRI_MB_int_26.nii", 2,
    ),
    "Siemens XA10 enhanced, four files": (
        "dicom_enhanced_small/In/Siemens", "Siemens_REST1_w_SMS_PF7-8_6.nii", 4,
    ),
    "Philips enhanced, image and field map": (
        "dicom_enhanced_small/In/Philips", "Philips_WIP_B0_NS_801_e*.nii", 2,
    ),
    "Philips classic": (
        "dicom_philips_enh_classic/In/cl", "1901_WIP_3DpCASL_cl.nii.gz", 1,
    ),
    "Philips enhanced, perfusion and field map": (
        "dicom_philips_enh_classic/In/enh", "*_enh_*.nii.gz", 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_shipped_references(shared_data: Path, case: str) -> None:
    folder, pattern, count = CASES[case]
    reference = shared_data / folder.split("/")[0] / "Ref"
    wanted = references(*sorted(reference.glob(pattern)))
    assert len(wanted) == count
    images = ours(shared_data / folder)
    assert_all_found(wanted, images)
    assert len(images) == count


@pytest.mark.parametrize("number", range(1, 10))
def test_one_image_in_nine_transfer_syntaxes(shared_data: Path, number: int) -> None:
    folder = shared_data / "dicom_transfer_syntaxes"
    (image,) = ours(folder / "In" / f"{number}.dcm")
    (wanted,) = references(folder / "Ref" / f"{number}.nii")
    assert agrees(wanted, image)


#: Series of dicom2nifti with a ground truth; its RGB series and the ones it refuses are others.
GROUND_TRUTH = (
    "generic/anatomical/002_non_isotropic",
    "generic/compressed/001",
    "generic/compressed_jpeg/001",
    "generic/compressed_jpegls/001",
    "generic/compressed_rle/001",
    "hitachi/anatomical/001",
    "hyperfine/anatomical/001",
    "philips/anatomical/001",
    "philips_enhanced/anatomical/001",
    "siemens_multiframe/anatomical/001",
)


@pytest.mark.parametrize("case", GROUND_TRUTH)
def test_ground_truth_of_dicom2nifti(shared_data: Path, case: str) -> None:
    folder = shared_data / "dicom_dicom2nifti_tests"
    images = ours(folder / case)
    assert_all_found(references(folder / f"{case}_ground_truth.nii.gz"), images)


#: Series without a reference file: dcm2niix is asked now.
ASKED = (
    "dicom_ge_mprage/In/05_3D_Ax_T1_MP_RAGE_R22",
    "dicom_siemens_prone/In/HFP/2_t1_fl2d_sag",
    "dicom_agfa/Siemens",
    "dicom_agfa/Agfa",
    "dicom_dicom2nifti_tests/philips/anatomical/001_implicit",
)


@pytest.mark.parametrize("case", ASKED)
def test_dcm2niix_of_this_machine(shared_data: Path, case: str, tmp_path: Path) -> None:
    tool = shutil.which("dcm2niix")
    if tool is None:
        pytest.skip("dcm2niix is not installed")
    command = [tool, "-b", "n", "-z", "n", "-p", "n", "-o", str(tmp_path), shared_data / case]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    wanted = references(*sorted(tmp_path.glob("*.nii")))
    assert wanted
    images = ours(shared_data / case)
    assert_all_found(wanted, images)
    assert len(images) == len(wanted)


def test_the_judge_sees_a_shift_a_flip_and_a_wrong_value(shared_data: Path) -> None:
    """A comparison that accepts everything would prove nothing."""
    folder, pattern, _ = CASES["Philips classic"]
    (image,) = ours(shared_data / folder)
    (good,) = references(*(shared_data / "dicom_philips_enh_classic" / "Ref").glob(pattern))
    assert agrees(good, image)
    shifted = good.affine.copy()
    shifted[2, 3] += 0.5
    mirrored = good.affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
    mirrored[:3, 3] += good.affine[:3, 0] * (good.values.shape[0] - 1)
    assert not agrees(replace(good, affine=shifted), image)
    assert not agrees(replace(good, affine=mirrored), image)
    assert not agrees(replace(good, values=good.values + 5, stored=good.stored + 5), image)
