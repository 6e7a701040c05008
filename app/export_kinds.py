"""Everything that can leave the program, as one table: dialog, presets and command line read it."""

from __future__ import annotations

from dataclasses import dataclass

MASK, IMAGE, MAPS, REPORT, SURFACE, DATA_SET = (
    "Mask", "Image", "Maps", "Report", "Surface", "Data set",
)  # fmt: skip
#: In the order of the dialog.
GROUPS = (MASK, IMAGE, MAPS, REPORT, SURFACE, DATA_SET)


@dataclass(frozen=True)
class Kind:
    """Something that can be written.

    Parameters
    ----------
    needs : str
        ``"mask"``, ``"volume"`` or ``"map"``.
    files : tuple of str
        What the files are called after the stem, for the preview; empty where it has own rules.
    words : str
        For the progress line and for sentences about failures.
    dicom : bool
        Written as DICOM.
    straight : bool
        Cannot hold slices that are shifted against each other (a tilted gantry).
    picture : bool
        Shows the views as they are on screen, with the texts on them.
    """

    id: str
    group: str
    title: str
    tip: str
    needs: str
    words: str
    files: tuple[str, ...] = ()
    dicom: bool = False
    straight: bool = False
    picture: bool = False


KINDS: tuple[Kind, ...] = (
    Kind("mask_seg", MASK, "DICOM SEG", "A DICOM Segmentation that refers to the source images; an "
         "image that did not come from DICOM is written as DICOM beside it", "mask", "DICOM SEG",
         ("segmentation.dcm",), dicom=True, straight=True),
    Kind("mask_rtstruct", MASK, "DICOM RTSTRUCT", "Closed contours in the planes of the slices, "
         "for radiotherapy", "mask", "RTSTRUCT", ("contours.dcm",), dicom=True),
    Kind("mask_seg_nrrd", MASK, "Slicer .seg.nrrd", "Labels with names, colours and codes for 3D "
         "Slicer", "mask", "Slicer segmentation", ("mask.seg.nrrd",)),
    Kind("mask_nifti", MASK, "NIfTI + label file", "With the names and colours for ITK-SNAP, and a "
         "JSON file that says what made it", "mask", "NIfTI mask",
         ("mask.nii.gz", "mask.label.txt", "mask.json")),
    Kind("mask_mha", MASK, "MetaImage .mha", "Packed, with a label file for ITK-SNAP beside it",
         "mask", "MetaImage mask", ("mask.mha", "mask.label.txt")),
    Kind("volume_dicom", IMAGE, "DICOM MR series", "A new derived series of the same study",
         "volume", "DICOM series", ("series",), dicom=True),
    Kind("volume_nifti", IMAGE, "NIfTI", "The image on its own grid", "volume", "NIfTI image",
         ("volume.nii.gz",)),
    Kind("volume_nrrd", IMAGE, "NRRD", "The image on its own grid, LPS", "volume", "NRRD image",
         ("volume.nrrd",)),
    Kind("volume_mha", IMAGE, "MetaImage .mha", "Packed; of a 4D series the shown image only",
         "volume", "MetaImage image", ("volume.mha",)),
    Kind("maps_dicom", MAPS, "DICOM Parametric Map", "Values with their meaning and a reference to "
         "the images", "map", "parametric maps", ("probability.dcm",), dicom=True,
         straight=True),
    Kind("maps_nifti", MAPS, "NIfTI", "32-bit values, and a JSON file that says what made them",
         "map", "NIfTI maps", ("probability.nii.gz", "probability.json")),
    Kind("maps_mha", MAPS, "MetaImage .mha", "32-bit values, packed", "map", "MetaImage maps",
         ("probability.mha",)),
    Kind("report_sr", REPORT, "DICOM SR", "Volumes and diameters of labels and lesions (TID 1500), "
         "not signed; it points into the DICOM SEG written with it", "mask", "SR", ("report.dcm",),
         dicom=True, straight=True),
    Kind("key_image", REPORT, "DICOM key image", "The views as they are on screen, in the study of "
         "the image", "volume", "key image", ("key-image.dcm",), dicom=True, picture=True),
    Kind("lesions_csv", REPORT, "Lesion table CSV", "Number, place, volume, diameter, mean "
         "probability and state of each lesion", "mask", "lesion table", ("lesions.csv",)),
    Kind("screenshot_png", REPORT, "Screenshot PNG", "The views as they are on screen", "volume",
         "screenshot", ("screenshot.png",), picture=True),
    Kind("surface", SURFACE, "Surface of each label", "In patient mm (LPS; GLB in metres), with "
         "the volume of the voxels", "mask", "surfaces", ("surface-Lesion.stl",)),
    Kind("bids", DATA_SET, "BIDS", "BIDS derivatives: masks, labels and probability "
         "maps under a pseudonym; adds to a data set that is there", "mask", "BIDS derivatives"),
    Kind("nnunet", DATA_SET, "nnU-Net case", "For training: images and labels on one grid; adds "
         "the next case to a data set that is there", "mask", "nnU-Net case"),
)  # fmt: skip

KIND: dict[str, Kind] = {kind.id: kind for kind in KINDS}
