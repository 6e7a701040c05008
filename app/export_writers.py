"""What each kind of export writes; no window, so the command line uses it too.

A writer gets :class:`Material`, a frozen case with the choice, and gives the files it has written
and read back. What it could not say otherwise (a left-out map, say) goes into ``Material.notes``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.export_choice import ExportChoice, ExportOptions
from app.lesion_table import NOTICE, TABLE_HEADER, lesion_row
from imaging.case import Case
from imaging.heatmap import PROBABILITY, Heatmap
from imaging.segmentation import Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.analysis.lesions import Lesion
    from viewer.rendering.surface_files import NamedSurface
    from viewer.rendering.surfaces import Surface


@dataclass(frozen=True, eq=False)
class Material:
    """What an export may draw on: a frozen case and what was chosen from it.

    Parameters
    ----------
    lesions : list of Lesion or None
        The measured list of the mask; measured anew where None.
    accepted : callable
        Whether a person has taken over a lesion of a mask.
    creator : str
        Name of the annotator; may be empty.
    picture : ndarray of uint8, shape (h, w, 3), or None
        The views as they are on screen.
    text_shown : bool
        Whether they show patient and study.
    notes : list of str
        Sentences for the user; writers add to it.
    seg_file : list of Path
        The DICOM SEG of this export as a report has to point into it.
    written : list of Path
        What this export has written so far.
    beside : list of Path
        Folders with DICOM copies of images, made so that masks and maps have something to refer to.
    """

    choice: ExportChoice
    case: Case
    lesions: list[Lesion] | None = None
    accepted: Callable[[Segmentation, Lesion], bool] = lambda _mask, _lesion: False
    creator: str = ""
    picture: np.ndarray | None = None
    text_shown: bool = True
    notes: list[str] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    seg_file: list[Path] = field(default_factory=list)
    _copies: dict[str, Volume] = field(default_factory=dict)
    _home: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list)

    def close(self) -> None:
        """Take away what was written on the way to de-identified files."""
        while self._home:
            self._home.pop().cleanup()

    def private(self) -> Path:
        """A fresh folder that only this user can read and that goes with :meth:`close`."""
        self._home.append(tempfile.TemporaryDirectory(prefix="isocenter-"))
        return Path(self._home[-1].name)

    def as_dicom(self, volume: Volume) -> Volume:
        """The image, or where it is not in DICOM a copy that all of this export refers to."""
        from imaging.dicom.references import imported_as_dicom, referable

        if referable(volume):
            return volume
        if volume.id not in self._copies:
            made: list[Volume] = []

            def write(folder: Path) -> list[Path]:
                made.append(imported_as_dicom(volume, folder))
                return [folder]

            folder = self.free(f"{plain(volume.source.sequence or volume.name)}-images")
            self.beside.extend(_dicom(self, folder, write))
            self._copies[volume.id] = made[0]
        return self._copies[volume.id]

    def free(self, name: str, *beside: str) -> Path:
        """A path in the folder that nothing has yet, nor any of the names that go beside it."""
        from imaging.atomic import next_version

        stem, number = self.stem, 1
        names = (name, *beside)
        while any(self._taken(self.choice.folder / f"{stem}-{one}", one == name) for one in names):
            number += 1
            stem = f"{self.stem}-{number}"
        return next_version(self.choice.folder / f"{stem}-{name}")

    def _taken(self, path: Path, main: bool) -> bool:
        """What this export itself has written beside one file may stand beside another, too."""
        ours = not main and path in self.written
        return not ours and (path.exists() or path.is_symlink())

    @property
    def options(self) -> ExportOptions:
        """How things are written."""
        return self.choice.options

    @cached_property
    def stem(self) -> str:
        """What file names begin with."""
        if self.choice.stem:
            return plain(self.choice.stem) or "study"
        id = self.choice.volume_id or self.mask.volume_id
        return usual_stem(self.case.volume(id), deidentify=self.options.deidentify)

    @cached_property
    def mask(self) -> Segmentation:
        """The chosen mask."""
        mask = self.case.segmentation(self.choice.segmentation_id)
        return _nameless_mask(mask) if self.options.deidentify else mask

    @cached_property
    def written_mask(self) -> Segmentation:
        """The mask with the chosen labels only."""
        from imaging.storage.arrays import with_labels

        return self.mask if self.choice.labels is None else with_labels(self.mask, self.labels)

    @cached_property
    def volume(self) -> Volume:
        """The chosen image."""
        return self.image(self.choice.volume_id)

    @cached_property
    def mask_volume(self) -> Volume:
        """The image that the mask was made on."""
        return self.image(self.mask.volume_id)

    @property
    def labels(self) -> list[int]:
        """Numbers of the segments to write."""
        wanted = self.choice.labels
        return [s.number for s in self.mask.segments if wanted is None or s.number in wanted]

    @property
    def probability(self) -> Heatmap | None:
        """The map the mask was cut from."""
        heat = self.case.items.get(self.mask.probability_id)
        return heat if isinstance(heat, Heatmap) else None

    @cached_property
    def listed(self) -> list[Lesion]:
        """The lesions of the labels to write."""
        from imaging.analysis.lesions import find_lesions

        lesions = (
            find_lesions(self.mask, self.probability) if self.lesions is None else self.lesions
        )
        wanted = set(self.labels)
        return [lesion for lesion in lesions if lesion.label in wanted]

    @property
    def signer(self) -> str:
        """The annotator, unless nobody shall be named."""
        return "" if self.options.deidentify else self.creator

    @property
    def maps(self) -> list[tuple[str, Heatmap]]:
        """The chosen maps with a file name for each."""
        maps = [self.case.heatmap(id) for id in self.choice.heatmap_ids]
        return [(plain(f"{heat.meaning} {heat.about}"), self._heat(heat)) for heat in maps]

    @property
    def channels(self) -> list[tuple[str, Volume]]:
        """Images of an nnU-Net case with the names of their channels."""
        ids = self.choice.channel_ids or (self.mask.volume_id,)
        return [(channel_name(self.case, id), self.image(id)) for id in ids]

    def note(self, sentence: str) -> None:
        """Say something once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def image(self, id: str) -> Volume:
        """An image by its id; without a name where it shall not tell whose it is."""
        volume = self.case.volume(id)
        if not self.options.deidentify:
            return volume
        return replace(volume, name=volume.source.sequence or "Image")

    def _heat(self, heat: Heatmap) -> Heatmap:
        if not self.options.deidentify:
            return heat
        made_by = replace(heat.provenance, created="")
        return replace(heat, name=heat.meaning.capitalize(), provenance=made_by)


def usual_stem(volume: Volume, *, deidentify: bool = False) -> str:
    """What tells this study from others: date of the study and the sequence or series.

    Without the date and the words of the header where the patient shall not be recognised.
    """
    source = volume.source
    if deidentify:
        return plain(source.sequence) or "study"
    return plain(f"{source.study_date} {source.sequence or source.series_description}") or "study"


def plain(words: str) -> str:
    """Small letters, digits and hyphens, for file names."""
    return "-".join("".join(c if c.isalnum() else " " for c in words).split()).lower()[:80]


def channel_name(case: Case, volume_id: str) -> str:
    """The sequence of an image where only one image has it, else its name."""
    volume = case.volume(volume_id)
    sequence = volume.source.sequence
    alike = [other for other in case.volumes if other.source.sequence == sequence]
    return sequence if sequence and len(alike) == 1 else volume.name


def _nameless_mask(mask: Segmentation) -> Segmentation:
    from imaging.storage.arrays import with_labels

    copy = with_labels(mask, [s.number for s in mask.segments])
    made_by = replace(mask.provenance, created="")
    copy.set_header(mask.header(name="Mask", provenance=made_by))
    return copy


def _mask_nifti(m: Material) -> list[Path]:
    from imaging.storage.nifti import write_labels

    return write_labels(m.free("mask.nii.gz", "mask.label.txt", "mask.json"), m.written_mask)


def _mask_mha(m: Material) -> list[Path]:
    from imaging.storage.mha import write_labels

    return write_labels(m.free("mask.mha", "mask.label.txt"), m.written_mask)


def _mask_seg_nrrd(m: Material) -> list[Path]:
    from imaging.storage.seg_nrrd import write_segmentation

    return write_segmentation(m.free("mask.seg.nrrd"), m.written_mask)


def _mask_seg(m: Material) -> list[Path]:
    from imaging.dicom.seg import write_seg

    kind, *rest = m.options.seg_form.split("+")
    volume = m.as_dicom(m.mask_volume)

    def write(path: Path) -> list[Path]:
        report = write_seg(
            path,
            m.mask,
            volume,
            kind=kind,  # type: ignore[arg-type]
            compression="RLE" if "RLE" in rest else "",
            probability=m.probability if kind == "FRACTIONAL" else None,
            segments=m.labels,
            lesions=m.listed if "LESIONS" in rest else (),
            content_creator=m.signer,
        )
        if kind != "FRACTIONAL":
            m.seg_file[:] = [report.path]
        return [report.path, *report.images]

    return _dicom(m, m.free("segmentation.dcm"), write)


def _mask_rtstruct(m: Material) -> list[Path]:
    from imaging.dicom.rtstruct import write_rtstruct

    volume = m.as_dicom(m.mask_volume)

    def write(path: Path) -> list[Path]:
        return [write_rtstruct(path, m.mask, volume, segments=m.labels)]

    return _dicom(m, m.free("contours.dcm"), write)


def _surface(m: Material) -> list[Path]:
    from viewer.rendering import surface_files as files

    form = m.options.surface_form
    surfaces = named_surfaces(m.mask, m.labels)
    empty = [one.name for one in surfaces if one.surface.empty]
    if empty and len(empty) < len(surfaces):
        m.note(f"No surface for {', '.join(empty)}: nothing is marked")
        surfaces = [one for one in surfaces if not one.surface.empty]
    if form == "glb":
        path = m.free("surface.glb")
        files.write_glb(path, surfaces)
        return [path]
    if form == "obj":
        return files.write_obj(m.free("surface.obj", "surface.mtl"), surfaces)
    written = []
    for one in surfaces:
        path = m.free(f"surface-{one.word}.{form}")
        if form == "ply":
            files.write_ply(path, one.surface, one.colour, one.name)
        else:
            files.write_stl(path, [one.surface])
        written.append(path)
    return written


def named_surfaces(mask: Segmentation, numbers: list[int]) -> list[NamedSurface]:
    """The surface of each label, with the volume of its voxels."""
    from imaging.storage.arrays import distinct_words
    from imaging.storage.sidecar import mask_facts
    from viewer.rendering.surface_files import NamedSurface

    words = distinct_words(mask.segments)
    segments = [s for s in mask.segments if s.number in numbers]
    return [
        NamedSurface(
            words[s.number],
            s.name.strip() or words[s.number],
            s.colour,
            _surface_of(mask, s.number),
            mask_facts(mask, (s.number,)),
        )
        for s in segments
    ]


def _surface_of(mask: Segmentation, number: int) -> Surface:
    from imaging.geometry import Box
    from viewer.rendering.surfaces import Surface, segment_surface, with_true_volume

    box = Box.around(mask.labels == number)
    if box.empty:
        return Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    (k, j, i), (c, b, a) = box.start, box.stop
    grown = Box((k - 1, j - 1, i - 1), (c + 1, b + 1, a + 1)).clipped(mask.geometry.shape)
    block = mask.labels[grown.slices]
    return with_true_volume(segment_surface(block, mask.geometry.cropped(grown), number))


def _volume_nifti(m: Material) -> list[Path]:
    from imaging.storage.nifti import write_volume

    path = m.free("volume.nii.gz", "volume.json")
    return write_volume(path, m.volume, every_image=m.options.every_image)


def _volume_nrrd(m: Material) -> list[Path]:
    from imaging.storage.nrrd import write_volume

    return write_volume(m.free("volume.nrrd"), m.volume, every_image=m.options.every_image)


def _volume_mha(m: Material) -> list[Path]:
    from imaging.storage.mha import write_volume

    _say_one_image(m, m.volume, "MetaImage")
    return write_volume(m.free("volume.mha"), m.volume)


def _volume_dicom(m: Material) -> list[Path]:
    from imaging.dicom.derived import write_derived_series

    _say_one_image(m, m.volume, "The DICOM series")

    def write(folder: Path) -> list[Path]:
        write_derived_series(folder, m.volume)
        return [folder]

    return _dicom(m, m.free("series"), write)


def _say_one_image(m: Material, volume: Volume, what: str) -> None:
    if volume.repeats is not None:
        label = volume.repeats.labels[volume.repeat]
        m.note(f"{what} holds the shown image only ({label})")


def _maps_nifti(m: Material) -> list[Path]:
    from imaging.storage.nifti import write_heatmap

    return [
        path
        for stem, heat in m.maps
        for path in write_heatmap(m.free(f"{stem}.nii.gz", f"{stem}.json"), heat)
    ]


def _maps_mha(m: Material) -> list[Path]:
    from imaging.storage.mha import write_heatmap

    return [path for stem, heat in m.maps for path in write_heatmap(m.free(f"{stem}.mha"), heat)]


def _maps_dicom(m: Material) -> list[Path]:
    from imaging.dicom.parametric_map import write_parametric_map

    written: list[Path] = []
    for stem, heat in m.maps:
        source = m.as_dicom(m.image(heat.volume_id))

        def write(path: Path, heat: Heatmap = heat, source: Volume = source) -> list[Path]:
            form = m.options.map_form
            return write_parametric_map(path, heat, source, encoding=form)  # type: ignore[arg-type]

        written += _dicom(m, m.free(f"{stem}.dcm"), write)
    return written


def _report_sr(m: Material) -> list[Path]:
    from imaging.dicom.sr import write_report

    volume = m.as_dicom(m.mask_volume)
    seg = m.seg_file[0] if m.seg_file else None

    def write(path: Path) -> list[Path]:
        mask = m.written_mask
        return [write_report(path, mask, volume, m.listed, seg_path=seg, observer=m.signer)]

    return _dicom(m, m.free("report.dcm"), write)


def _key_image(m: Material) -> list[Path]:
    from imaging.dicom.key_image import write_key_image
    from imaging.errors import BadInput

    picture = m.picture
    if picture is None:
        raise BadInput("There is no picture of the views")
    volume = m.as_dicom(m.volume)

    def write(path: Path) -> list[Path]:
        title = f"Isocenter key image - {NOTICE}"
        return [write_key_image(path, picture, volume, title=title, burned_in=m.text_shown)]

    return _dicom(m, m.free("key-image.dcm"), write)


def _lesions_csv(m: Material) -> list[Path]:
    from imaging.storage.table import write_table

    rows = [lesion_row(m.mask, lesion, m.accepted(m.mask, lesion)) for lesion in m.listed]
    return write_table(m.free("lesions.csv"), TABLE_HEADER, rows)


def _bids(m: Material) -> list[Path]:
    from imaging.storage.bids import write_derivatives

    volume = m.mask_volume
    maps = [heat for _stem, heat in m.maps if heat.volume_id == volume.id]
    report = write_derivatives(
        m.choice.folder,
        m.options.subject,
        m.options.session,
        volume=volume,
        segmentation=m.written_mask,
        maps=[heat for heat in maps if heat.meaning == PROBABILITY],
        with_image=m.options.with_image,
    )
    for sentence in report.notes:
        m.note(sentence)
    return list(report.files)


def _nnunet(m: Material) -> list[Path]:
    from imaging.storage.nnunet import add_case, known_channels

    number, name = m.options.dataset_number, m.options.dataset_name
    known = known_channels(m.choice.folder, number, name)
    channels = m.channels
    if sorted(known) == sorted(title for title, _volume in channels):
        channels.sort(key=lambda one: known.index(one[0]))
    for _title, volume in channels:
        _say_one_image(m, volume, "The nnU-Net case")
    report = add_case(m.choice.folder, number, name, channels, m.written_mask)
    m.note(f"{report.root.name} has {report.cases} cases now; this one is {report.case}")
    return list(report.files)


def _dicom(m: Material, target: Path, write: Callable[[Path], list[Path]]) -> list[Path]:
    """Write DICOM under its name; de-identified, where that is wanted, on the way there.

    What names the patient is written into a private temporary folder only, and every file of it
    passes through the same key, so that masks, maps and images still refer to each other.
    """
    if not m.options.deidentify:
        return write(target)
    from imaging.deidentify.deidentifier import Deidentifier
    from imaging.deidentify.key import load_key
    from imaging.deidentify.options import Options

    key, rough, clean = load_key(), m.private(), m.private()
    write(rough / target.name)
    for path in sorted(path for path in rough.rglob("*") if path.is_file()):
        goal = clean / path.relative_to(rough)
        goal.parent.mkdir(parents=True, exist_ok=True)
        checked = _made_by_a_scanner(path)
        Deidentifier(Options(pixels_checked=checked), key).file(path, goal)
    return [_moved(one, target.parent) for one in sorted(clean.iterdir())]


def _made_by_a_scanner(path: Path) -> bool:
    """True for slices of an MR series that does not say that text is burned in."""
    from pydicom import dcmread

    header = dcmread(
        path, stop_before_pixels=True, specific_tags=["Modality", "BurnedInAnnotation"]
    )
    return header.get("Modality") == "MR" and header.get("BurnedInAnnotation") != "YES"


def _moved(source: Path, folder: Path) -> Path:
    """Bring a file or folder under a free name, whole or not at all."""
    from imaging.atomic import next_version, write_atomic, write_folder_atomic

    goal = next_version(folder / source.name)
    if source.is_file():
        write_atomic(
            goal, lambda aside: _copy(source, aside), lambda aside: _compare(source, aside)
        )
        return goal
    names = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())

    def write(aside: Path) -> None:
        for name in names:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            _copy(source / name, aside / name)

    def verify(aside: Path) -> None:
        for name in names:
            _compare(source / name, aside / name)

    return write_folder_atomic(goal, write, verify)


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def _compare(source: Path, target: Path) -> None:
    from imaging.errors import WorldFailed

    if source.read_bytes() != target.read_bytes():
        raise WorldFailed("A file read back differs from what was written", target.name)


#: What each kind writes, by its id in :data:`app.export_kinds.KINDS`; pictures are of the window.
WRITERS: dict[str, Callable[[Material], list[Path]]] = {
    "mask_nifti": _mask_nifti,
    "mask_mha": _mask_mha,
    "mask_seg_nrrd": _mask_seg_nrrd,
    "mask_seg": _mask_seg,
    "mask_rtstruct": _mask_rtstruct,
    "surface": _surface,
    "volume_nifti": _volume_nifti,
    "volume_nrrd": _volume_nrrd,
    "volume_mha": _volume_mha,
    "volume_dicom": _volume_dicom,
    "maps_nifti": _maps_nifti,
    "maps_mha": _maps_mha,
    "maps_dicom": _maps_dicom,
    "report_sr": _report_sr,
    "key_image": _key_image,
    "lesions_csv": _lesions_csv,
    "bids": _bids,
    "nnunet": _nnunet,
}


def proposed_labels(mask: Segmentation, *, accepted_only: bool) -> list[int]:
    """Numbers of the labels to write: all, or those that a person has taken over."""
    numbers = [s.number for s in mask.segments]
    return numbers[1:] if accepted_only and mask.draft else numbers
