"""What the figures of a report are called, in the order a reader asks for them.

One table for the report of the command line and for the window, which knows no torch.
"""

from __future__ import annotations

from imaging.analysis.segmentation_metrics import MATCH_IOU, TOLERANCE_MM

__all__ = ["WORDS"]

WORDS = {
    "dice": "Dice",
    "lesion_f1": "Lesion F1 (any overlap)",
    "lesion_sensitivity": "Lesions found",
    "lesion_ppv": "Marks that are lesions",
    "matched_f1": f"Lesion F1 (one to one, IoU at least {MATCH_IOU:g})",
    "sensitivity": "Voxels found",
    "ppv": "Voxels that are right",
    "hd95_mm": "95 % surface distance, mm",
    "nsd": f"Surface within {TOLERANCE_MM:g} mm",
    "volume_error_ml": "Volume error, ml",
    "false_ml": "Wrongly marked, ml",
    "volume_correlation": "Correlation of volumes",
    "auc": "Area under the ROC curve",
    "average_precision": "Average precision",
    "accuracy": "Right answers",
    "ece": "Calibration error",
}
