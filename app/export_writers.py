"""What each kind of export writes; no window, so the command line can use it too.

A writer gets :class:`~app.export_material.Material` and gives the files it has written and read
back. What it could not say otherwise (a left-out map, say) goes into ``Material.notes``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.export_dicom import DICOM_WRITERS, say_one_image
from app.export_material import Material
from app.lesion_table import TABLE_HEADER, lesion_row
from imaging.heatmap import PROBABILITY
from imaging.segmentation import Segment, Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from viewer.rendering.surface_files import NamedSurface
    from viewer.rendering.surfaces import Surface


def _mask_nifti(m: Material) -> list[Path]:
    from imaging.storage.nifti import write_labels

    return write_labels(m.free("mask.nii.gz", "mask.label.txt", "mask.json"), m.written_mask)


def _mask_mha(m: Material) -> list[Path]:
    from imaging.storage.mha import write_labels

    return write_labels(m.free("mask.mha", "mask.label.txt"), m.written_mask)


def _mask_seg_nrrd(m: Material) -> list[Path]:
    from imaging.storage.seg_nrrd import write_segmentation

    return write_segmentation(m.free("mask.seg.nrrd"), m.written_mask)


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

    say_one_image(m, m.volume, "MetaImage")
    return write_volume(m.free("volume.mha"), m.volume)


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
        proposal=m.mask.segments[0] if m.mask.segments else None,
    )
    for sentence in report.notes:
        m.note(sentence)
    return list(report.files)


def one_class_per_meaning(mask: Segmentation, whole: Segmentation) -> Segmentation:
    """A mask for training, where what a model proposed and a person accepted is one class.

    Parameters
    ----------
    mask : Segmentation
        What is written; its labels may have other names than in the case.
    whole : Segmentation
        The mask as it is in the case, with all labels.
    """
    from imaging.edits.operations import ACCEPTED_NAME

    first = whole.segments[0] if whole.segments else None
    accepted = {s.number for s in whole.segments[1:] if s.name == ACCEPTED_NAME}
    names = {s.number: _without_draft(s.name) or f"Label {s.number}" for s in mask.segments}
    if first is not None:
        own = names.get(first.number) or _without_draft(first.name)
        names |= {n: own for n in accepted & set(names)}
    same = accepted | ({first.number} if first is not None else set())
    kept: list[Segment] = []
    table = np.arange(256, dtype=np.uint8)
    for segment in mask.segments:
        partner = next((s for s in kept if {s.number, segment.number} <= same), None)
        if partner is not None:
            table[segment.number] = partner.number
        else:
            kept.append(replace(segment, name=names[segment.number]))
    copy = Segmentation.from_labels(
        mask.id, mask.name, mask.geometry, mask.volume_id, table[mask.labels]
    )
    copy.set_header(mask.header(segments=tuple(kept)))
    return copy


def _without_draft(name: str) -> str:
    return re.sub(r"\s*\(?(AI )?draft\)?$", "", name, flags=re.IGNORECASE).strip()


def image_token(volume: Volume) -> str:
    """Stands for the voxels of an image; nobody without the key can find out which it is."""
    from imaging.deidentify.key import load_key

    digest = hashlib.sha256(repr(volume.geometry.shape).encode())
    digest.update(np.ascontiguousarray(volume.voxels).data)
    return load_key().token("image", digest.hexdigest(), 16)


def _nnunet(m: Material) -> list[Path]:
    from imaging.storage.nnunet import add_case, known_channels

    number, name = m.options.dataset_number, m.options.dataset_name
    known = known_channels(m.choice.folder, number, name)
    channels = m.channels
    if sorted(known) == sorted(title for title, _volume in channels):
        channels.sort(key=lambda one: known.index(one[0]))
    for _title, volume in channels:
        say_one_image(m, volume, "The nnU-Net case")
    mask = one_class_per_meaning(m.written_mask, m.case.segmentation(m.choice.segmentation_id))
    report = add_case(
        m.choice.folder, number, name, channels, mask, image=image_token(m.mask_volume)
    )
    m.note(f"{report.root.name} has {report.cases} cases now; this one is {report.case}")
    return list(report.files)


#: What each kind writes, by its id in :data:`app.export_kinds.KINDS`; pictures are of the window.
WRITERS: dict[str, Callable[[Material], list[Path]]] = {
    **DICOM_WRITERS,
    "mask_nifti": _mask_nifti,
    "mask_mha": _mask_mha,
    "mask_seg_nrrd": _mask_seg_nrrd,
    "surface": _surface,
    "volume_nifti": _volume_nifti,
    "volume_nrrd": _volume_nrrd,
    "volume_mha": _volume_mha,
    "maps_nifti": _maps_nifti,
    "maps_mha": _maps_mha,
    "lesions_csv": _lesions_csv,
    "bids": _bids,
    "nnunet": _nnunet,
}


def proposed_labels(mask: Segmentation, *, accepted_only: bool) -> list[int]:
    """Numbers of the labels to write: all, or those that a person has taken over."""
    numbers = [s.number for s in mask.segments]
    return numbers[1:] if accepted_only and mask.draft else numbers
