"""4D series load the shown image first, then the others around it, as many as fit into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import Maker, Plan

from imaging.dicom.header import vetting
from imaging.dicom.stacks import load
from imaging.geometry import Box
from imaging.open import load_series, open_series, scan, thumbnail
from imaging.series import Series

SHAPE = (6, 12, 10)


@pytest.fixture
def series(tmp_path: Path) -> Series:
    """Four time points of six slices; image n is 100 n brighter."""
    maker = Maker(tmp_path)
    for time in range(4):
        plan = Plan(add=100.0 * time)
        maker.stack([3.0 * k for k in range(6)], plan, TemporalPositionIdentifier=time + 1)
    (made,) = scan([tmp_path]).series
    return made


def filled(images: np.ndarray) -> list[int]:
    """How many slices of each image have arrived."""
    return [int(np.count_nonzero(image.any(axis=(1, 2)))) for image in images]


def test_the_first_slice_comes_first_and_then_image_after_image(series, monkeypatch) -> None:
    monkeypatch.setattr(load, "SLAB_BYTES", 1)
    loading = open_series(series)
    images = loading.volume.repeats.voxels
    seen: list[tuple[Box, list[int]]] = []
    loading.load(first=4, on_slab=lambda box: seen.append((box, filled(images))))
    assert seen[0] == (Box((4, 0, 0), (5, 12, 10)), [1, 0, 0, 0])
    assert [n for _, n in seen][5] == [6, 0, 0, 0]
    assert [n for _, n in seen][11] == [6, 6, 0, 0]
    assert seen[-1][1] == [6, 6, 6, 6]
    assert sum(box.shape[0] for box, _ in seen) == 6  # blocks of the shown image only
    assert loading.fraction == 1.0
    assert loading.complete


def test_the_image_that_is_shown_meanwhile_comes_next(series, monkeypatch) -> None:
    monkeypatch.setattr(load, "SLAB_BYTES", 1 << 20)
    loading = open_series(series)
    images = loading.volume.repeats.voxels
    seen: list[list[int]] = []

    def arrived(box: Box) -> None:
        seen.append(filled(images))
        loading.wanted = 3

    loading.load(on_slab=arrived)
    assert seen[1] == [1, 0, 0, 6]
    assert seen[-1] == [6, 6, 6, 6]


def test_blocks_that_are_told_hold_the_shown_image(series) -> None:
    loading = open_series(series)
    loading.wanted = 2
    boxes: list[Box] = []
    loading.load(on_slab=boxes.append)
    told = sorted(k for box in boxes for k in range(box.start[0], box.stop[0]))
    assert told == list(range(6))


def test_images_that_do_not_fit_are_left_out_and_it_is_said(series, monkeypatch) -> None:
    image = int(np.prod(SHAPE)) * 2
    monkeypatch.setattr(vetting, "available_memory", lambda: 2 * (3 * image + 10))
    volume = load_series(series)
    assert len(volume.repeats) == 3
    assert filled(volume.repeats.voxels) == [6, 6, 6]
    assert volume.repeats.labels[-1] == "time point 3"
    assert "Only the first 3 of 4 images fit into memory." in volume.notes


def test_all_images_together_keep_to_the_largest_volume(series, monkeypatch) -> None:
    monkeypatch.setattr(vetting, "MAX_VOLUME_BYTES", 2 * int(np.prod(SHAPE)) * 2)
    assert len(load_series(series).repeats) == 2


def test_a_slice_that_cannot_be_read_is_named_with_its_image(series) -> None:
    Path(series.frames[6 + 2].file).unlink()
    volume = load_series(series)
    assert volume.notes[-1].startswith("Slice 3 of time point 2 is empty")
    assert filled(volume.repeats.voxels) == [6, 5, 6, 6]


def test_cancelling_keeps_what_has_arrived(series, monkeypatch) -> None:
    monkeypatch.setattr(load, "SLAB_BYTES", 1)
    loading = open_series(series)
    boxes: list[Box] = []
    volume = loading.load(on_slab=boxes.append, cancelled=lambda: len(boxes) >= 8)
    assert not loading.complete
    assert filled(volume.repeats.voxels) == [6, 2, 0, 0]


def test_one_image_shares_its_memory_with_the_series(series) -> None:
    volume = load_series(series)
    for n in range(4):
        assert np.shares_memory(volume.at_repeat(n).voxels, volume.repeats.voxels)
    assert not volume.repeats.voxels.flags.writeable


def test_the_thumbnail_is_of_the_first_image(series, tmp_path) -> None:
    picture = thumbnail(series)
    for time in range(1, 4):
        for frame in series.frames[6 * time : 6 * time + 6]:
            Path(frame.file).unlink()
    assert np.array_equal(thumbnail(series), picture)
