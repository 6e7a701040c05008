"""Write the package of the brain and tissue model.

``python -m inference.training.tissue.package --run DIR`` takes the averaged weights of the run,
folds the normalisation, stores float16 with the average brain at 2 mm, and writes the card;
``--figures FILE`` (the JSON of `inference.training.tissue.evaluate`) fills in what was measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from inference.plugins.atlas import Atlas
from inference.plugins.unet import UNet, fold_batchnorm
from inference.training.shared.package_files import (
    WEIGHTS_NAME,
    as_float16,
    write_card,
    write_weights,
)
from inference.training.tissue.evaluate import FOLDER
from inference.training.tissue.heads import average_brain
from inference.training.tissue.synthesis import TISSUE, Stage

__all__ = ["write_anatomy"]

VERSION = "1.0.0"
LABELS = (
    ("Cerebrospinal fluid", (30, 60, 200), "65216001", "Cerebrospinal Fluid"),
    ("Grey matter", (150, 110, 190), "389081007", "Gray Matter"),
    ("White matter", (190, 230, 225), "389080008", "White Matter"),
)
"""Name, colour, SNOMED CT code and its meaning; numbered from 1.

Cool and pale, so that findings (orange, and the rest of ``imaging.segmentation.PALETTE``) stand out
over them for everybody; dark, middle and light, so that the three are told apart."""


def load_run(run: Path, stage: Stage) -> tuple[UNet, dict[str, Any]]:
    """Averaged, folded network of a run, and facts about the run."""
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    network = UNet(stage.inputs, stage.outputs, stage.channels, stage.thin)
    network.load_state_dict(state["averaged"])
    facts = {"steps": state["steps"], "cpu_minutes": round(state["seconds"] / 60, 1), "seed": 0}
    return fold_batchnorm(network), facts


def write_anatomy(
    run: Path,
    atlas: Atlas,
    folder: Path = FOLDER,
    figures: Path | None = None,
    stage: Stage = TISSUE,
) -> Path:
    """Write weights and card.

    Parameters
    ----------
    run : path
        Holds ``checkpoint.pt``.
    atlas : Atlas
        From `inference.training.tissue.heads.average_brain`.
    folder : path
        The model folder, made if missing.
    figures : path, optional
        Figures as JSON.
    stage : Stage
        The network's shape.

    Returns
    -------
    path
        The card.
    """
    network, facts = load_run(run, stage)
    state = {f"tissue.{k}": v for k, v in network.state_dict().items()}
    state |= {n: torch.from_numpy(getattr(atlas, n)) for n in ("t1", "brain")}
    affine = torch.from_numpy(atlas.affine).float()
    weights = write_weights({**as_float16(state), "affine": affine}, folder / WEIGHTS_NAME)
    arguments = {"atlas_shape": list(atlas.brain.shape), "tissue": network.arguments}
    measured = json.loads(figures.read_text(encoding="utf-8")) if figures else {}
    return write_card(_card(arguments, weights, facts, measured), folder)


def _card(
    arguments: dict[str, Any],
    weights: dict[str, Any],
    facts: dict[str, Any],
    figures: dict[str, Any],
) -> dict[str, Any]:
    return {
        "id": "brain-tissue",
        "kind": "tissue",
        "name": "Brain and tissue",
        "version": VERSION,
        "summary": (
            "Finds the brain and splits it into cerebrospinal fluid, grey and white matter, on one "
            "head image of any contrast."
        ),
        "intended_use": (
            "A brain mask and rough tissues of an adult head on T1w, T2w, FLAIR or PD, whole head "
            "or stripped: for volumes to be checked by eye, for places of findings, for steps that "
            "want a stripped brain. Research and teaching."
        ),
        "not_for": (
            "Diagnosis, atrophy rates, single structures. Children, spine, contrast agent, "
            "diffusion and susceptibility images, large tumours and open skulls."
        ),
        "licence": "Apache-2.0 (weights and code); training images as credited",
        "authors": ["Isocenter contributors"],
        "credit": [
            "MNI152 templates: (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, "
            "Montreal Neurological Institute, McGill University; Fonov et al., NeuroImage (2011).",
            "Real heads: T2w of the Aphasia Recovery Cohort (CC0), Gibson et al., Scientific Data "
            "(2024), doi 10.1038/s41597-024-03819-7; T1w of dcm_qa_decubitus (BSD-2), C. Rorden.",
            "Made-up contrasts after Billot et al., SynthSeg, Medical Image Analysis (2023); no "
            "weights and no data of theirs.",
        ],
        "limits": [
            "The brain is found by laying an average brain over the head: a field of view that "
            "shows only a part of the head, a tilt beyond about 25 degrees or a child's head may "
            "fail.",
            "Trained on two averages and two real heads; everything else about people and scanners "
            "is made up. Measured on four people of one laboratory.",
            "On FLAIR grey and white matter are nearly equal in brightness: their border is rough.",
            "Which class is grey and which is white matter is told from brightness and depth; on "
            "an unseen scan they may come out exchanged: look before you use a volume.",
            "The rules for that were changed, and one was dropped, after seeing scores of patients "
            "07 and 19: read their tissue figures as optimistic.",
            "The reference tissues are three brightness classes of the T1w, not a reader's work.",
            "A lesion is to be counted as the tissue it lies in; large ones are not.",
            "Deep grey nuclei, cerebellum and brainstem are split roughly.",
            "Fluid outside the brain's outline (under the skull) belongs to no tissue.",
        ],
        "inputs": [
            {
                "name": "Head",
                "sequence": "any",
                "required": True,
                "description": "T1w, T2w, FLAIR or PD of a head, whole or stripped.",
            }
        ],
        "outputs": {"threshold": 0.5, "min_component_voxels": 0, "labels": _labels()},
        "preprocess": {
            "spacing_mm": 1.0,
            "multiple": 16,
            "order": "superior, posterior, left",
            "intensity": "background -1, tissue peak 0 (inference.preprocess.normalise)",
        },
        "network": {"architecture": "tissue", "arguments": arguments},
        "weights": weights,
        "training": {
            "data": (
                "Tissue maps of two MNI152 templates; a T2w head with an old stroke and a T1w head "
                "in thick slices, their brain and tissues drawn by "
                "inference.training.tissue.heads and looked at; contrasts, shells, lesions, "
                "scanners made up."
            ),
            "split": (
                "Patients 07, 19 (ms_open_mni) and 01, 03 (ms_open_longitudinal) took no part: all "
                "figures are of images these weights never saw."
            ),
            "history": (
                "A network for the brain mask was trained as well (9 CPU-minutes); on the raw "
                "FLAIRs it was worse than laying the average brain over the head, and it failed "
                "on stripped and T2w heads, so it was left out. That choice, and two rules for the "
                "brightness of grey and white matter (FLAIR, T2w), were made after seeing images "
                "of the tested patients."
            ),
            "code": (
                "python -m inference.training.tissue.train, then inference.training.tissue.package"
            ),
            **facts,
        },
        "figures": _rows(figures),
    }


def _labels() -> list[dict[str, Any]]:
    from imaging.dicom.codes import TISSUE

    return [
        {
            "number": number,
            "name": name,
            "colour": list(colour),
            "category": [TISSUE.value, TISSUE.scheme, TISSUE.meaning],
            "type": [value, "SCT", meaning],
        }
        for number, (name, colour, value, meaning) in enumerate(LABELS, 1)
    ]


def _rows(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """The measured rows as flat tables, each saying what it is about."""
    about = {
        "raw_flair": "brain on a raw whole-head FLAIR, against the data set's brain mask",
        "stripped": "brain on a stripped scan, against its foreground",
        "tissue": "tissues (Dice), against three classes of the patient's T1w",
        "thick_slices": "the same image in thick slices, against the answer at 1 mm",
    }
    rows = []
    for key, words in about.items():
        rows += [{"case": words, "n": 1, **row} for row in figures.get(key, [])]
    if "orientations" in figures:
        rows.append({"case": "one head stored in 16 orientations", **figures["orientations"]})
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--figures", type=Path)
    given = parser.parse_args()
    print(write_anatomy(given.run, average_brain(), given.folder, given.figures))


if __name__ == "__main__":
    main()
