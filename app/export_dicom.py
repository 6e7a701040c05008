"""DICOM out of an export: every object refers to the same images, de-identified where wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.export_material import Material, plain
from app.lesion_table import NOTICE
from imaging.errors import BadInput
from imaging.heatmap import Heatmap
from imaging.volume import Volume


def as_dicom(m: Material, volume: Volume) -> Volume:
    """The image, or where it is not in DICOM a copy that all of this export refers to."""
    from imaging.dicom.writing.references import imported_as_dicom, referable

    if referable(volume):
        return volume
    if volume.id not in m.copies:
        made: list[Volume] = []

        def write(folder: Path) -> list[Path]:
            made.append(imported_as_dicom(volume, folder))
            return [folder]

        what = plain(volume.source.sequence or volume.name)
        folder = m.free("images" if m.stem.endswith(what) else f"{what}-images")
        m.beside.extend(_dicom(m, folder, write))
        m.copies[volume.id] = made[0]
    return m.copies[volume.id]


def say_one_image(m: Material, volume: Volume, what: str) -> None:
    """Tell that of a 4D series only the shown image was written."""
    if volume.repeats is not None:
        label = volume.repeats.labels[volume.repeat]
        m.note(f"{what} holds the shown image only ({label})")


def _mask_seg(m: Material) -> list[Path]:
    from imaging.dicom.writing.seg import write_seg

    kind, *rest = m.options.seg_form.split("+")
    volume = as_dicom(m, m.mask_volume)

    def write(path: Path) -> list[Path]:
        report = write_seg(
            path,
            m.mask,
            volume,
            kind=kind,  # type: ignore[arg-type]
            compression="RLE" if "RLE" in rest else "",
            probability=m.probability if kind == "FRACTIONAL" else None,
            # the map is the model's: the ticks of labels do not apply to it
            segments=None if kind == "FRACTIONAL" else m.labels,
            lesions=m.listed if "LESIONS" in rest else (),
            content_creator=m.signer,
            turn=m.turn,
        )
        if kind != "FRACTIONAL":
            m.seg_file[:] = [report.path]
        return [report.path, *report.images]

    return _dicom(m, m.free("segmentation.dcm"), write)


def _mask_rtstruct(m: Material) -> list[Path]:
    from imaging.dicom.writing.rtstruct import write_rtstruct

    volume = as_dicom(m, m.mask_volume)

    def write(path: Path) -> list[Path]:
        return [write_rtstruct(path, m.mask, volume, segments=m.labels, turn=m.turn)]

    return _dicom(m, m.free("contours.dcm"), write)


def _volume_dicom(m: Material) -> list[Path]:
    from imaging.dicom.writing.derived import write_derived_series

    say_one_image(m, m.volume, "The DICOM series")

    def write(folder: Path) -> list[Path]:
        write_derived_series(folder, m.volume)
        return [folder]

    return _dicom(m, m.free("series"), write)


def _maps_dicom(m: Material) -> list[Path]:
    from imaging.dicom.writing.parametric_map import write_parametric_map

    written: list[Path] = []
    for stem, heat in m.maps:
        source = as_dicom(m, m.image(heat.volume_id))

        def write(path: Path, heat: Heatmap = heat, source: Volume = source) -> list[Path]:
            form = m.options.map_form
            return write_parametric_map(
                path,
                heat,
                source,
                encoding=form,  # type: ignore[arg-type]
                turn=m.turn,
            )

        written += _dicom(m, m.free(f"{stem}.dcm"), write)
    return written


def _report_sr(m: Material) -> list[Path]:
    from imaging.dicom.writing.sr import write_report

    volume = as_dicom(m, m.mask_volume)
    seg = m.seg_file[0] if m.seg_file else None

    def write(path: Path) -> list[Path]:
        mask = m.written_mask
        return [
            write_report(path, mask, volume, m.listed, seg_path=seg, observer=m.signer, turn=m.turn)
        ]

    return _dicom(m, m.free("report.dcm"), write)


def _key_image(m: Material) -> list[Path]:
    from imaging.dicom.writing.key_image import write_key_image
    from imaging.errors import BadInput

    picture = m.picture
    if picture is None:
        raise BadInput("There is no picture of the views")
    volume = as_dicom(m, m.volume)

    def write(path: Path) -> list[Path]:
        title = f"Isocenter key image - {NOTICE}"
        return [
            write_key_image(path, picture, volume, title=title, burned_in=m.text_shown, turn=m.turn)
        ]

    return _dicom(m, m.free("key-image.dcm"), write)


_LOOK = "Look at the pixels: File > De-identify folder lets images through that were looked at"


def _dicom(m: Material, target: Path, write: Callable[[Path], list[Path]]) -> list[Path]:
    """Write DICOM under its name; de-identified, where that is wanted, on the way there.

    What names the patient is written into a private temporary folder only, and every file of it
    passes through the same key, so that masks, maps and images still refer to each other.
    """
    if not m.options.deidentify:
        return write(target)
    from imaging.deidentify.checks import LOOK
    from imaging.deidentify.deidentifier import Deidentifier
    from imaging.deidentify.key import load_key
    from imaging.deidentify.options import Options

    key, rough, clean = load_key(), m.private(), m.private()
    write(rough / target.name)
    for path in sorted(path for path in rough.rglob("*") if path.is_file()):
        goal = clean / path.relative_to(rough)
        goal.parent.mkdir(parents=True, exist_ok=True)
        checked = _made_by_a_scanner(path)
        try:
            Deidentifier(Options(pixels_checked=checked), key).file(path, goal)
        except BadInput as error:
            advice = _LOOK if error.advice == LOOK else error.advice
            raise BadInput(error.what, target.name, advice) from error
    return [_moved(one, target.parent) for one in sorted(clean.iterdir())]


def _made_by_a_scanner(path: Path) -> bool:
    """True for slices of an MR series, unless text is said to be in them or they are captures."""
    from pydicom import dcmread

    from imaging.dicom.writing.derived import CAPTURES

    wanted = ["Modality", "BurnedInAnnotation", "SourceImageSequence"]
    header = dcmread(path, stop_before_pixels=True, specific_tags=wanted)
    said = header.get("BurnedInAnnotation")
    sources = header.get("SourceImageSequence") or ()
    captured = any(str(s.get("ReferencedSOPClassUID")).startswith(CAPTURES) for s in sources)
    return header.get("Modality") == "MR" and (said == "NO" or (not said and not captured))


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


#: What each DICOM kind writes, by its id in :data:`app.export_kinds.KINDS`.
DICOM_WRITERS: dict[str, Callable[[Material], list[Path]]] = {
    "mask_seg": _mask_seg,
    "mask_rtstruct": _mask_rtstruct,
    "volume_dicom": _volume_dicom,
    "maps_dicom": _maps_dicom,
    "report_sr": _report_sr,
    "key_image": _key_image,
}
