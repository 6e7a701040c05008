"""A real patient with real lesions, written as DICOM, for the tests of what refers to images."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from imaging.dicom.writing.references import imported_as_dicom
from imaging.geometry import Geometry
from imaging.segmentation import AUTOMATIC, Provenance, Segment, Segmentation
from imaging.volume import Source, Volume


def patient19(shared_data: Path, folder: Path) -> tuple[Volume, Segmentation]:
    """The FLAIR image of the most affected patient as a DICOM series, and its gold mask."""
    home = shared_data / "ms_open_mni/MNI/patient19"
    name = "N4_noneck_reduced_winsor_regtoFLAIR"
    image = nibabel.load(home / f"FLAIR_{name}_brain_N4_regtoMNI.nii.gz")
    gold = nibabel.load(home / f"GOLD_STANDARD_{name}_regtoMNI.nii.gz")
    voxels = np.asarray(image.dataobj).transpose(2, 1, 0)
    labels = (np.asarray(gold.dataobj).transpose(2, 1, 0) > 0.5).astype(np.uint8)
    geometry = Geometry.from_nifti(image.shape, image.affine)
    plain = Volume("flair", "FLAIR", voxels, geometry, Source("nifti", (image.get_filename(),)))
    source = imported_as_dicom(plain, folder / "images")
    mask = Segmentation.from_labels(
        "mask", "Lesions", source.geometry, "flair", labels,
        segments=(Segment(1, "Lesion", (230, 159, 0), algorithm_type=AUTOMATIC),),
        provenance=Provenance("unet-flair", "1.2", "ab12cd", "CPU"),
    )  # fmt: skip
    return source, mask
