"""What the user wants to export, as values between the dialog, the settings and the writers.

A :class:`Preset` is what can be remembered for other studies: kinds and options. An
:class:`ExportChoice` adds what belongs to this one: which mask, image, maps and folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from app.export_kinds import KIND

#: Types of DICOM SEG, with what the dialog calls them; a segment is a label or each lesion.
SEG_FORMS: dict[str, str] = {
    "BINARY": "Binary",
    "BINARY+LESIONS": "Binary, each lesion",
    "LABELMAP": "Label map",
    "LABELMAP+RLE": "Label map, RLE",
    "FRACTIONAL": "Probability",
    "FRACTIONAL+RLE": "Probability, RLE",
}
MAP_FORMS: dict[str, str] = {"uint16": "16 bit", "float32": "32 bit"}
SURFACE_FORMS: dict[str, str] = {"stl": "STL", "obj": "OBJ", "ply": "PLY", "glb": "GLB"}
MAX_PRESETS, MAX_NAME = 40, 40


@dataclass(frozen=True)
class ExportOptions:
    """How things are written; every value has a meaning in any study.

    Parameters
    ----------
    accepted_only : bool
        Leave out labels that nobody has taken over, where there are others.
    every_image : bool
        All images of a 4D series, where a format can hold them.
    seg_form, map_form, surface_form : str
        Out of :data:`SEG_FORMS`, :data:`MAP_FORMS` and :data:`SURFACE_FORMS`.
    subject, session : str
        Of BIDS; pseudonyms.
    with_image : bool
        A copy of the image in the BIDS data set.
    dataset_number, dataset_name : int, str
        Of nnU-Net.
    channels : tuple of str
        Sequences that are the channels of an nnU-Net case; the image of the mask where empty.
    deidentify : bool
        Write nothing that names the patient.
    """

    accepted_only: bool = True
    every_image: bool = True
    seg_form: str = "BINARY"
    map_form: str = "uint16"
    surface_form: str = "stl"
    subject: str = "01"
    session: str = ""
    with_image: bool = True
    dataset_number: int = 1
    dataset_name: str = "Isocenter"
    channels: tuple[str, ...] = ()
    deidentify: bool = False

    def but(self, **changes: Any) -> ExportOptions:
        """A copy with some values replaced."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Preset:
    """Kinds and options under a name."""

    name: str
    kinds: tuple[str, ...]
    options: ExportOptions = field(default_factory=ExportOptions)

    def table(self) -> dict[str, Any]:
        """As plain values, for the settings file."""
        return {"name": self.name, "kinds": list(self.kinds), "options": asdict(self.options)}

    @classmethod
    def read(cls, table: Any) -> Preset:
        """From plain values; kinds and options of another version are left out.

        Raises
        ------
        TypeError, ValueError
            Where it is no preset at all.
        """
        name = table["name"]
        if not isinstance(name, str) or len(name) > MAX_NAME:
            raise ValueError("no name")
        kinds = dict.fromkeys(kind for kind in table["kinds"] if kind in KIND)
        return cls(name, tuple(kinds), _options(table.get("options")))


#: What everybody starts with; they cannot be changed, only saved under another name.
BUILT_IN: tuple[Preset, ...] = (
    Preset("PACS: SEG + SR + key image", ("mask_seg", "report_sr", "key_image")),
    Preset("Research: NIfTI + CSV", ("mask_nifti", "maps_nifti", "lesions_csv")),
    Preset("3D Slicer", ("mask_seg_nrrd", "volume_nrrd")),
    Preset("BIDS derivatives", ("bids",)),
    Preset("nnU-Net case", ("nnunet",)),
)


@dataclass(frozen=True)
class ExportChoice:
    """What shall be written, and where.

    Parameters
    ----------
    folder : Path
        An existing folder; nothing in it is overwritten.
    kinds : tuple of str
        Ids out of :data:`app.export_kinds.KINDS`.
    segmentation_id : str
        The mask; empty where none is written.
    labels : tuple of int or None
        Which labels of it; all for None.
    volume_id : str
        The image, also the one a mask refers to.
    heatmap_ids : tuple of str
        The maps that are written.
    channel_ids : tuple of str
        Images of an nnU-Net case, in order; the mask's own image where empty.
    stem : str
        What file names begin with; date and sequence of the study where empty.
    """

    folder: Path
    kinds: tuple[str, ...]
    segmentation_id: str = ""
    labels: tuple[int, ...] | None = None
    volume_id: str = ""
    heatmap_ids: tuple[str, ...] = ()
    channel_ids: tuple[str, ...] = ()
    stem: str = ""
    options: ExportOptions = field(default_factory=ExportOptions)


_WORDS: Mapping[str, Mapping[str, str]] = {
    "seg_form": SEG_FORMS, "map_form": MAP_FORMS, "surface_form": SURFACE_FORMS,
}  # fmt: skip


def _options(table: Any) -> ExportOptions:
    """Options with every value that makes sense; defaults for the others."""
    usual = ExportOptions()
    if not isinstance(table, Mapping):
        return usual
    known: dict[str, Any] = {}
    for one in fields(ExportOptions):
        value = table.get(one.name)
        default = getattr(usual, one.name)
        if one.name == "channels":
            if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
                known[one.name] = tuple(value)[:16]
        elif type(value) is type(default) and value in _WORDS.get(one.name, (value,)):
            known[one.name] = value[:64] if isinstance(value, str) else value
    return ExportOptions(**known)
