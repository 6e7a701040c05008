"""What 3D costs: surfaces, frames, ray cast, picking, and what of it the main thread feels.

Run with ``python benchmarks/bench_3d.py [folder]``; the folder is ``ms_open_mni/MNI/patient19`` of
the shared data (the default where it is there), else a head made by the project's own code.
CPU-ms are summed over all threads of the process; wall-ms depend on what else runs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if os.environ["QT_QPA_PLATFORM"] == "offscreen":
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

from imaging.case import Case  # noqa: E402
from imaging.geometry import Box, Geometry  # noqa: E402
from imaging.segmentation import PALETTE, Segment, Segmentation  # noqa: E402
from imaging.volume import Volume, auto_window  # noqa: E402
from viewer.rendering.framing import head_corners  # noqa: E402
from viewer.rendering.orbit import Orbit  # noqa: E402
from viewer.rendering.picking import first_hit  # noqa: E402
from viewer.rendering.surfaces import Surface, segment_surface  # noqa: E402
from viewer.rendering.volume_scene import Body, SceneState, VolumeScene  # noqa: E402
from viewer.state.display import Cell, DisplayState, Plane  # noqa: E402

SIZE = (512, 512)
REAL = ROOT.parent / "shared" / "data" / "ms_open_mni" / "MNI" / "patient19"


def measure(name: str, work: Callable[[], object], repeats: int = 9) -> None:
    """Median and 95th percentile of a piece of work, after one run to warm up."""
    work()
    cpu, wall = [], []
    for _ in range(repeats):
        c, w = time.process_time(), time.perf_counter()
        work()
        cpu.append((time.process_time() - c) * 1000)
        wall.append((time.perf_counter() - w) * 1000)
    p95 = np.percentile(wall, 95)
    print(f"{name:<58}{np.median(cpu):>9.1f}{np.median(wall):>10.1f}{p95:>10.1f}")


def real_head(folder: Path) -> tuple[Volume, np.ndarray]:
    """FLAIR and gold mask of one patient."""
    import nibabel

    image = nibabel.load(next(folder.glob("FLAIR*.nii.gz")))
    gold = nibabel.load(next(folder.glob("GOLD*.nii.gz")))
    voxels = np.ascontiguousarray(np.asarray(image.dataobj).transpose(2, 1, 0), np.float32)
    labels = (np.asarray(gold.dataobj).transpose(2, 1, 0) > 0.5).astype(np.uint8)
    return Volume("v", "FLAIR", voxels, Geometry.from_nifti(image.shape, image.affine)), labels


def made_head() -> tuple[Volume, np.ndarray]:
    """Balls in an ellipsoid on a grid of 192x256x256."""
    shape = (192, 256, 256)
    place = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    k, j, i = np.meshgrid(*place, indexing="ij", sparse=True)
    voxels = np.where(k**2 + j**2 + i**2 < 0.7, 100, 0).astype(np.int16)
    labels = np.zeros(shape, np.uint8)
    rng = np.random.default_rng(1)
    for c in rng.uniform(-0.5, 0.5, (60, 3)):
        labels[((k - c[0]) ** 2 + (j - c[1]) ** 2 + (i - c[2]) ** 2) < 0.004] = 1
    return Volume("v", "Made", voxels, Geometry(shape, np.eye(4)[[2, 1, 0, 3]])), labels


def surfaces(volume: Volume, labels: np.ndarray) -> Surface:
    """Time the surfaces of a mask; returns the smooth one."""
    grid = volume.geometry
    box = Box.around(labels)
    block, cropped = labels[box.slices].copy(), grid.cropped(box)
    surface = segment_surface(block, cropped, 1)
    print(
        f"mask: {labels.sum() * grid.voxel_ml:.1f} ml in {block.shape}, "
        f"{len(surface.triangles)} triangles, surface encloses {surface.volume_ml:.1f} ml"
    )
    measure("tight block around the mask", lambda: Box.around(labels))
    measure("surface, smooth", lambda: segment_surface(block, cropped, 1))
    measure("surface, as the voxels", lambda: segment_surface(block, cropped, 1, smooth=False))
    measure("surface, half resolution", lambda: segment_surface(block, cropped, 1, step=2))
    measure("normals", lambda: Surface(surface.points, surface.triangles).normals)
    return surface


def frames(volume: Volume, surface: Surface) -> None:
    """Time frames of the scene."""
    scene = VolumeScene()
    print(f"renderer: {scene.renderer_name}")
    window = auto_window(volume.real(volume.voxels[::4, ::4, ::4]))
    orbit = Orbit().framing(head_corners(volume))
    body = Body(surface, (0.9, 0.6, 0.0))
    planes = SceneState(volume, window)
    lesions = SceneState(volume, window, bodies=(body,))
    cast = SceneState(volume, window, bodies=(body,), ray_cast=True)
    turn = iter(np.arange(0, 1e6, 3.0))

    def draw(state: SceneState, moving: bool) -> Callable[[], object]:
        return lambda: scene.draw(state, orbit.turned(float(next(turn)), 0), SIZE, moving)

    measure("frame: three planes", draw(planes, True))
    measure("frame: three planes + lesions, moving", draw(lesions, True))
    measure("frame: three planes + lesions, still", draw(lesions, False))
    cursors = iter([volume.geometry.world(np.array(volume.geometry.shape) * s) for s in
                    np.tile(np.linspace(0.3, 0.7, 40), 5)])  # fmt: skip

    def follow() -> object:
        x, y, z = next(cursors)
        state = SceneState(volume, window, cursor=(x, y, z), bodies=(body,))
        return scene.draw(state, orbit, SIZE, True)

    measure("frame: cursor moved (three new textures)", follow)
    measure("frame: translucent head + lesions, moving", draw(cast, True))
    measure("frame: translucent head + lesions, still", draw(cast, False))
    scene.close()
    eye, direction = orbit.ray(256, 256, *SIZE)
    measure("pick", lambda: first_hit([surface], eye, direction))


def main_thread(volume: Volume, labels: np.ndarray) -> None:
    """Time what the window's thread pays for an apply, and the first picture."""
    from PySide6.QtWidgets import QApplication

    from viewer.widgets.volume_view import VolumeView

    app = QApplication.instance() or QApplication([])
    segments = (Segment(1, "Lesion", PALETTE[0]),)
    mask = Segmentation.from_labels("s", "m", volume.geometry, "v", labels, segments=segments)
    case, cell = Case({"v": volume, "s": mask}), Cell("c", Plane.VOLUME, "v")
    view = VolumeView()
    view.resize(*SIZE)
    start = time.perf_counter()
    view.apply(case, DisplayState(), cell)
    view.show()
    app.processEvents()
    shown = time.perf_counter()
    view.picture()
    done = time.perf_counter()
    print(f"first apply and show {1000 * (shown - start):.0f} ms, picture after "
          f"{1000 * (done - start):.0f} ms (wall)")  # fmt: skip
    places = iter(np.tile(np.linspace(0.3, 0.7, 40), 5))

    def apply() -> None:
        x, y, z = volume.geometry.world(np.array(volume.geometry.shape) * next(places))
        view.apply(case, DisplayState(cursor=(x, y, z)), cell)

    measure("apply in the main thread, cursor moved", apply, 30)


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REAL
    volume, labels = real_head(folder) if folder.is_dir() else made_head()
    print(f"volume: {volume.voxels.shape} {volume.voxels.dtype}")
    print(f"{'':<58}{'CPU-ms':>9}{'wall-ms':>10}{'p95':>10}")
    surface = surfaces(volume, labels)
    frames(volume, surface)
    main_thread(volume, labels)


if __name__ == "__main__":
    main()
