"""``isocenter convert``: one series as a NIfTI, NRRD or MetaImage file on its own grid."""

from __future__ import annotations

from pathlib import Path

from app.cli.one_image import one_image
from app.cli.output import Output
from app.cli.scan import chosen_series, found
from imaging.errors import BadInput
from imaging.open import open_series
from imaging.series import Series
from imaging.volume import Volume


def convert(
    path: Path, out: Path, wanted: str, output: Output, image: int = 0, even: bool = False
) -> None:
    """Read a series and write it; of a 4D series all images, or the one asked for (from 1).

    Raises
    ------
    BadInput
        Where the series is not one volume, or the target has an unknown ending or exists.
    WorldFailed
        Where the disk refuses.
    """
    check_target(out)
    with found(path, output) as result:
        series = chosen_series(result, wanted, path)
        if series.geometry is None:
            raise BadInput(
                "The series does not say where its slices lie, so it cannot become a volume",
                series.description,
            )
        volume = loaded(series, output)
        for sentence in dict.fromkeys((*series.problems, *volume.notes)):
            output.warn(sentence)
        single = out.name.lower().endswith(".mha")  # holds one image
        if image or single or volume.repeats is None or not volume.even:
            volume = one_image(volume, image, even, output)
        with output.progress("Writing and reading back"):
            written = _write(out, volume)
    grid = volume.geometry
    shape = "×".join(map(str, reversed(grid.shape)))
    images = 1 if volume.repeats is None else len(volume.repeats)
    times = f" × {images} images" if images > 1 else ""
    output.say(f"{written[0]}: {shape} voxels{times}, written and read back")
    output.result(
        {
            "written": [str(file) for file in written],
            "series_uid": volume.source.series_uid,
            "shape_ijk": list(reversed(grid.shape)),
            "images": images,
            "spacing_ijk_mm": [round(s, 4) for s in reversed(grid.spacing)],
            "notes": list(dict.fromkeys((*series.problems, *volume.notes))),
        }
    )


def loaded(series: Series, output: Output) -> Volume:
    """All voxels of a series, with a progress bar."""
    loading = open_series(series)
    slices = series.shape[0] * max(1, len(series.repeats))
    with output.progress("Reading voxels") as advance:

        def count(_box) -> None:
            done = round(loading.fraction * slices)
            advance(loading.fraction, f"{done} of {slices} slices")

        return loading.load(on_slab=count)


def check_target(out: Path) -> None:
    """Refuse a name that cannot be written to, before anything is read."""
    if not out.name.lower().endswith((".nii.gz", ".nii", ".nrrd", ".mha")):
        raise BadInput("The output must end in .nii.gz, .nii, .nrrd or .mha", str(out))
    if out.name.lower().endswith(".seg.nrrd"):
        raise BadInput("A .seg.nrrd file holds a mask, not an image", str(out), "Use .nrrd")
    if out.exists():
        raise BadInput(
            "There is already a file with this name", str(out), "Choose another name or remove it"
        )
    if not out.absolute().parent.is_dir():
        raise BadInput("The folder for the output does not exist", str(out.absolute().parent))


def _write(out: Path, volume: Volume) -> list[Path]:
    from imaging.storage import mha, nifti, nrrd

    if out.name.lower().endswith(".mha"):
        return mha.write_volume(out, volume)
    if out.name.lower().endswith(".nrrd"):
        return nrrd.write_volume(out, volume)
    return nifti.write_volume(out, volume)
