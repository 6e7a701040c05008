"""Where a file does not say how its image lies, nothing may claim a side of the patient."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from app.windows.findings_model import short_place
from imaging.analysis.place import HeadFrame, find_head
from imaging.case import Case
from imaging.storage import mha_read, nrrd_read
from imaging.storage.grid_file import grid_series
from imaging.storage.grid_load import GridLoading
from imaging.storage.nifti_read import read_nifti
from imaging.volume import Volume
from viewer.state.display import Cell, DisplayState, Plane
from viewer.state.plan import slice_plan

BALL = sum((np.arange(n) - n / 2).reshape(s) ** 2 for n, s in
           ((30, (-1, 1, 1)), (32, (1, -1, 1)), (28, (1, 1, -1))))  # fmt: skip
VOXELS = np.where(BALL < 100, 500, 0).astype(np.int16)


def nifti(tmp_path, code: int) -> Volume:
    image = nib.Nifti1Image(VOXELS, np.diag([4.0, 4.0, 4.0, 1.0]))
    image.set_sform(np.diag([4.0, 4.0, 4.0, 1.0]), code)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "image.nii.gz")
    return GridLoading(read_nifti(str(tmp_path / "image.nii.gz"))[0]).load()


def seen(volume: Volume, size=(500, 400), plane=Plane.AXIAL):
    cell = Cell("a", plane, "v")
    display = DisplayState().but(cells=(cell,))
    return slice_plan(Case({"v": volume}), display, cell, size)


def test_a_file_that_places_its_image_is_believed(tmp_path) -> None:
    volume = nifti(tmp_path, 1)
    assert volume.sides_known
    plan = seen(volume)
    assert "?" not in "".join(plan.letters) + "".join(plan.texts.bottom_left)


@pytest.mark.parametrize("size", [(500, 400), (300, 220)])
def test_letters_corner_and_place_are_in_doubt(tmp_path, size) -> None:
    volume = nifti(tmp_path, 0)
    assert not volume.sides_known
    plan = seen(volume, size)
    assert tuple(plan.letters) == ("R?", "L?", "A?", "P?")
    assert {"sides may be wrong", "sides unsure"} & set(plan.texts.bottom_left)
    assert "?" in plan.position.place


def test_the_place_of_a_lesion_is_in_doubt(tmp_path) -> None:
    head = find_head(nifti(tmp_path, 0))
    assert head is not None
    words = head.place(np.asarray(head.midpoint) + np.array([23.0, 0.0, 0.0]))
    assert words.startswith("Left?, 23 mm from midline")
    assert short_place(words).startswith("L? 23 mm")
    frame = HeadFrame((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), -90.0, 90.0, 80.0, 1.0, False)
    assert short_place(frame.place((-8.0, 80.0, 10.0))) == "R? 8 mm · back"
    assert frame.place((0.0, 0.0, 10.0)) == "Midline? · middle third? · 70 mm below vertex?"


def test_nrrd_and_metaimage_say_so_too(tmp_path) -> None:
    raw = b"\x00" * 24
    nrrd = tmp_path / "bare.nrrd"
    nrrd.write_bytes(b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n\n" + raw)
    assert not grid_series(nrrd_read.read_grid(str(nrrd))).sides_known
    mha = tmp_path / "bare.mha"
    mha.write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\n"
        b"ElementDataFile = LOCAL\n" + raw
    )
    assert not grid_series(mha_read.read_grid(str(mha))).sides_known


@pytest.mark.parametrize("known", [True, False])
def test_a_report_codes_no_side_that_nobody_knows(known) -> None:
    from imaging.dicom import codes
    from imaging.dicom.writing.sr_content import ReportContent

    head = HeadFrame((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), None, None, None, 1.0, known)
    lesion = SimpleNamespace(place=head.place((20.0, 0.0, 0.0)))
    brain = codes.Code("12738006", "SCT", "Brain")
    site = ReportContent._place(None, brain, lesion)  # type: ignore[arg-type]
    assert ("7771000" in str(site)) == known
