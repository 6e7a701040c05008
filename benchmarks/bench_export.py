"""How long each export takes, written, synced, read back and compared, by kind of file.

``python benchmarks/bench_export.py [--shape 192,256,256] [--rounds 3] [--folder DIR]``. The head is
made by code and first written as a DICOM series (not counted), so that SEG and Parametric Map
reference real images. Wall and CPU seconds are medians; files are on the disk of ``--folder``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.export_writers import named_surfaces  # noqa: E402
from app.lesion_table import TABLE_HEADER, lesion_row  # noqa: E402
from imaging.analysis.lesions import find_lesions  # noqa: E402
from imaging.case import Case  # noqa: E402
from imaging.dicom.writing.derived import write_derived_series  # noqa: E402
from imaging.dicom.writing.parametric_map import Encoding, write_parametric_map  # noqa: E402
from imaging.dicom.writing.rtstruct import write_rtstruct  # noqa: E402
from imaging.dicom.writing.seg import write_seg  # noqa: E402
from imaging.dicom.writing.seg_pixels import Kind  # noqa: E402
from imaging.dicom.writing.sr import write_report  # noqa: E402
from imaging.geometry import Geometry  # noqa: E402
from imaging.heatmap import Heatmap  # noqa: E402
from imaging.open import load_series, scan  # noqa: E402
from imaging.segmentation import PALETTE, Segment, Segmentation  # noqa: E402
from imaging.storage import mha, nifti, nrrd  # noqa: E402
from imaging.storage.case_file import save_case  # noqa: E402
from imaging.storage.seg_nrrd import write_segmentation  # noqa: E402
from imaging.storage.table import write_table  # noqa: E402
from imaging.volume import Source, Volume  # noqa: E402
from viewer.rendering.surface_files import write_stl  # noqa: E402
from viewer.rendering.surfaces import Surface  # noqa: E402


def made_head(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels int16, labels uint8 and a map float32, all of one shape, with 30 round lesions."""
    rng = np.random.default_rng(0)
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    middle = [n / 2 for n in shape]
    far = sum(((g - m) / (0.42 * n)) ** 2 for g, m, n in zip(grids, middle, shape, strict=True))
    voxels = (900 * (far < 1) + rng.normal(0, 30, shape)).clip(0).astype(np.int16)
    heat = np.zeros(shape, np.float32)
    for _ in range(30):
        centre = rng.uniform(0.3, 0.7, 3) * shape
        away = sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True))
        near = np.exp(-away / (2 * rng.uniform(2, 6) ** 2)).astype(np.float32)
        np.maximum(heat, np.where(near > 0.01, near, 0), out=heat)
    return voxels, (heat > 0.5).astype(np.uint8), heat


def as_dicom(voxels: np.ndarray, folder: Path) -> Volume:
    """The head as a DICOM series on disk, opened again."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]
    geometry = Geometry(voxels.shape, affine)
    made = Volume("head", "FLAIR", voxels, geometry, Source("memory", sequence="FLAIR"))
    write_derived_series(folder, made)
    return load_series(scan([folder]).series[0])


def dicom_jobs(
    volume: Volume, mask: Segmentation, heat: Heatmap
) -> list[tuple[str, Callable[[Path], object]]]:
    """Every kind of DICOM object that refers to the images."""
    lesions = find_lesions(mask, heat)

    def seg(kind: Kind, compression: Literal["", "RLE"] = "") -> Callable[[Path], object]:
        return lambda f: write_seg(
            f / "mask.dcm", mask, volume, kind=kind, compression=compression,
            probability=heat if kind == "FRACTIONAL" else None,
        )  # fmt: skip

    def pm(encoding: Encoding) -> Callable[[Path], object]:
        return lambda f: write_parametric_map(f / "map.dcm", heat, volume, encoding=encoding)

    def report(folder: Path) -> object:
        return write_report(folder / "report.dcm", mask, volume, lesions)

    return [
        ("mask, SEG BINARY", seg("BINARY")),
        ("mask, SEG LABELMAP", seg("LABELMAP")),
        ("mask, SEG LABELMAP, RLE", seg("LABELMAP", "RLE")),
        ("map, SEG FRACTIONAL", seg("FRACTIONAL")),
        ("map, SEG FRACTIONAL, RLE", seg("FRACTIONAL", "RLE")),
        ("map, Parametric Map u16 JPEG-LS", pm("uint16")),
        ("map, Parametric Map float32", pm("float32")),
        (f"report, SR, {len(lesions)} lesions", report),
        ("mask, RTSTRUCT", lambda f: write_rtstruct(f / "contours.dcm", mask, volume)),
    ]


def jobs_of(
    volume: Volume, mask: Segmentation, heat: Heatmap
) -> list[tuple[str, Callable[[Path], object]]]:
    """Every export of the window: its name and what writes it into a folder."""
    items = {volume.id: volume, mask.id: mask, heat.id: heat}

    def table(folder: Path) -> object:
        rows = [lesion_row(mask, found, False) for found in find_lesions(mask, heat)]
        return write_table(folder / "lesions.csv", TABLE_HEADER, rows)

    def surfaces() -> list[Surface]:
        return [one.surface for one in named_surfaces(mask, [1])]

    return [
        ("mask, NIfTI + label file", lambda f: nifti.write_labels(f / "mask.nii.gz", mask)),
        ("mask, Slicer .seg.nrrd", lambda f: write_segmentation(f / "mask.seg.nrrd", mask)),
        *dicom_jobs(volume, mask, heat),
        ("map, NIfTI", lambda f: nifti.write_heatmap(f / "map.nii.gz", heat)),
        ("volume, NIfTI", lambda f: nifti.write_volume(f / "volume.nii.gz", volume)),
        ("volume, NRRD", lambda f: nrrd.write_volume(f / "volume.nrrd", volume)),
        ("volume, MetaImage", lambda f: mha.write_volume(f / "volume.mha", volume)),
        ("volume, DICOM series", lambda f: write_derived_series(f / "series", volume)),
        ("surface, STL", lambda f: write_stl(f / "surface.stl", surfaces())),
        ("lesions, CSV (measured anew)", table),
        ("case file", lambda f: save_case(f / "case.isocase", Case(items))),
    ]


def timed(job: Callable[[Path], object], folder: Path) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and bytes written of one run."""
    wall, cpu = time.perf_counter(), time.process_time()
    job(folder)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall, cpu, sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="192,256,256", help="k,j,i of the head")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary one by default")
    options = parser.parse_args()
    k, j, i = (int(n) for n in options.shape.split(","))
    with tempfile.TemporaryDirectory(dir=options.folder) as home:
        voxels, labels, values = made_head((k, j, i))
        volume = as_dicom(voxels, Path(home) / "source")
        segments = (Segment(1, "Lesion", PALETTE[0]),)
        mask = Segmentation.from_labels(
            "mask", "Lesions", volume.geometry, volume.id, labels, segments=segments
        )
        heat = Heatmap("map", "Probability", values, "probability", volume.geometry, volume.id)
        print(f"{k} x {j} x {i}, {np.count_nonzero(labels)} voxels marked")
        print(f"{'export':32} {'wall s':>8} {'CPU s':>8} {'MB':>8}   median of {options.rounds}")
        for name, job in jobs_of(volume, mask, heat):
            runs = []
            for number in range(options.rounds):
                folder = Path(home) / f"{name.replace(' ', '-')}-{number}"
                folder.mkdir()
                runs.append(timed(job, folder))
            wall, cpu, size = (statistics.median(column) for column in zip(*runs, strict=True))
            print(f"{name:32} {wall:8.2f} {cpu:8.2f} {size / 1e6:8.2f}", flush=True)


if __name__ == "__main__":
    main()
