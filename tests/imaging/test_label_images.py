"""Label images of other programs become masks: the right voxels at the right places, well named."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from placed_images import itk_image
from writing_grids import NAMES, ORIENTATIONS, grid

from imaging.analysis.onto_grid import onto
from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from imaging.open import load_series, scan
from imaging.segmentation import Code, Segment, Segmentation
from imaging.series import LABELS
from imaging.storage import nifti, seg_nrrd
from imaging.storage.label_file import write_label_file
from imaging.storage.label_images import (
    as_series,
    read_label_image,
    read_label_layers,
)

HEAD = grid()


def marked(geometry: Geometry) -> np.ndarray:
    """Labels 0 to 3 by place in the patient, the same blob whatever the grid."""
    world = geometry.world(np.stack(np.indices(geometry.shape), axis=-1)) - HEAD.centre
    side = world @ HEAD.directions[:, 2]
    labels = np.where(np.linalg.norm(world, axis=-1) < 4.0, np.where(side > 0.4, 1, 2), 0)
    return np.where(world @ HEAD.directions[:, 0] > 2.0, 3, labels).astype(np.uint8)


def save(path: Path, geometry: Geometry, values: np.ndarray) -> Path:
    """As SimpleITK writes it."""
    sitk.WriteImage(itk_image(geometry, values), str(path), True)
    return path


@pytest.mark.parametrize("way", ORIENTATIONS, ids=NAMES)
def test_masks_stored_in_any_orientation_land_on_the_image(tmp_path: Path, way) -> None:
    turned = turned_head(way)
    for name in ("seg.nii.gz", "seg.nrrd", "seg.mha"):
        content = read_label_image(save(tmp_path / name, turned, marked(turned)), HEAD)
        np.testing.assert_array_equal(content.labels, marked(HEAD))
        assert content.notes == ()
        assert [s.number for s in content.segments] == [1, 2, 3]


def turned_head(way) -> Geometry:
    """The grid of the head, its axes permuted and flipped, with the same voxels."""
    order, signs = way
    affine, shape = np.eye(4), [HEAD.shape[axis] for axis in order]
    first = np.array([0.0, 0, 0])
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, column] = sign * HEAD.affine[:3, axis]
        first[axis] = 0 if sign > 0 else HEAD.shape[axis] - 1
    affine[:3, 3] = HEAD.world(first)
    return Geometry(shape, affine)


def test_a_cut_out_mask_and_one_that_reaches_outside(tmp_path: Path) -> None:
    part = HEAD.cropped(Box((1, 1, 2), (4, 5, 9)))
    path = save(tmp_path / "cut.nii.gz", part, marked(part))
    content = read_label_image(path, HEAD)
    inside = np.zeros_like(content.labels)
    inside[1:4, 1:5, 2:9] = marked(HEAD)[1:4, 1:5, 2:9]
    np.testing.assert_array_equal(content.labels, inside)
    back = read_label_image(save(tmp_path / "all.nii.gz", HEAD, marked(HEAD)), part)
    np.testing.assert_array_equal(back.labels, marked(part))
    lost = np.count_nonzero(marked(HEAD)) - np.count_nonzero(marked(part))
    assert f"{lost} marked voxels lie outside" in back.notes[0]


def test_another_grid_is_resampled_and_it_is_said(tmp_path: Path) -> None:
    affine = np.eye(4)  # 1 mm voxels along the patient's axes, around the same middle
    affine[:3, :3] = np.eye(3)[:, [2, 1, 0]]
    affine[:3, 3] = HEAD.centre - affine[:3, :3] @ [11.5, 7.5, 7.5]
    fine = Geometry((24, 16, 16), affine)
    content = read_label_image(save(tmp_path / "fine.mha", fine, marked(fine)), HEAD)
    assert "resampled" in content.notes[-1]
    want = marked(HEAD)
    assert (content.labels == want).mean() > 0.85
    flipped = content.labels[::-1] == want
    assert flipped.mean() < 0.8


def test_a_label_too_small_for_the_grid_is_named() -> None:
    fine = Geometry((9, 9, 9), np.diag([1.0, 1, 1, 1]))
    coarse = Geometry((3, 3, 3), np.diag([3.0, 3, 3, 1]))
    labels = np.ones((9, 9, 9), np.uint8)
    labels[4, 4, 4] = 7
    moved, notes = onto(labels, fine, coarse)
    assert 7 not in moved
    assert notes[-1].endswith("lost: label 7")


def test_slices_of_an_uneven_stack_get_the_mask_where_they_lie(tmp_path: Path) -> None:
    path = save(tmp_path / "a_seg.nrrd", HEAD, marked(HEAD))
    places = HEAD.world([(k, 0, 0) for k in (3, 0, 2, 1)])
    content = read_label_image(path, HEAD, places)
    np.testing.assert_array_equal(content.labels, marked(HEAD)[[3, 0, 2, 1]])


@settings(max_examples=60, deadline=None)
@given(
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from((1, -1))] * 3),
    st.tuples(*[st.integers(-3, 3)] * 3),
    st.tuples(*[st.integers(1, 6)] * 3),
)
def test_aligned_grids_move_voxels_one_to_one(order, signs, shift, shape) -> None:
    own = Geometry((3, 4, 5), np.diag([2.0, 2.0, 2.0, 1]))
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[:, list(order)] * signs) * 2.0
    affine[:3, 3] = np.array(shift) * 2.0
    wanted = Geometry(shape, affine)
    labels = np.arange(1, 61, dtype=np.uint8).reshape(3, 4, 5)
    moved, notes = onto(labels, own, wanted)
    index = np.stack(np.indices(shape), axis=-1).reshape(-1, 3)
    there = np.rint(own.index(wanted.world(index))).astype(int)
    inside = ((there >= 0) & (there < own.shape)).all(1)
    want = np.zeros(len(index), np.uint8)
    want[inside] = labels[tuple(there[inside].T)]
    np.testing.assert_array_equal(moved.ravel(), want)
    assert bool(notes) == (np.count_nonzero(moved) < 60)


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_whole_numbers_of_any_type(tmp_path: Path, dtype: str) -> None:
    path = save(tmp_path / "m.mha", HEAD, marked(HEAD).astype(dtype))
    np.testing.assert_array_equal(read_label_image(path, HEAD).labels, marked(HEAD))


def test_large_and_negative_numbers_are_numbered_anew(tmp_path: Path) -> None:
    values = np.array([0, -1, 1035, 14175])[marked(HEAD)].astype(np.int32)
    content = read_label_image(save(tmp_path / "aparc.nii.gz", HEAD, values), HEAD)
    assert [s.name for s in content.segments] == ["Label -1", "Label 1035", "Label 14175"]
    np.testing.assert_array_equal(content.labels, marked(HEAD))
    assert "numbered anew" in content.notes[0]


def test_scaled_masks(tmp_path: Path) -> None:
    stored = (marked(HEAD) > 0).astype(np.uint8) * 255
    image = nib.Nifti1Image(stored.T, HEAD.nifti_affine)
    image.header.set_slope_inter(1 / 255, 0)
    nib.save(image, tmp_path / "m.nii")
    block = bytearray((tmp_path / "m.nii").read_bytes())
    block[112:116] = np.float32(1 / 255).tobytes()  # nibabel scales on its own when it saves
    (tmp_path / "m.nii").write_bytes(bytes(block[:352]) + stored.tobytes())
    content = read_label_image(tmp_path / "m.nii", HEAD)
    np.testing.assert_array_equal(content.labels, marked(HEAD) > 0)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.linspace(0, 1, 220, dtype=np.float32), "not whole"),
        (np.arange(220, dtype=np.float32) + 0.5, "not whole"),
        (np.arange(330, dtype=np.int16), "more than 255"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    geometry = Geometry((len(values) // 55, 5, 11), HEAD.affine)
    path = save(tmp_path / "m.mha", geometry, values.reshape(geometry.shape))
    with pytest.raises(BadInput, match=reason):
        read_label_image(path, HEAD)


# --- names --------------------------------------------------------------------------------------


SEGMENTS = (
    Segment(1, "Left hippocampus", (10, 20, 30)),
    Segment(2, "CSF", (40, 50, 60)),
    Segment(9, "Nothing here", (70, 80, 90)),
)


def test_names_of_an_itk_snap_file_beside(tmp_path: Path) -> None:
    path = save(tmp_path / "m.nii.gz", HEAD, marked(HEAD))
    write_label_file(tmp_path / "m.label.txt", SEGMENTS)
    found = {s.number: (s.name, s.colour) for s in read_label_image(path, HEAD).segments}
    assert found[1] == ("Left hippocampus", (10, 20, 30))
    assert found[2] == ("CSF", (40, 50, 60))
    assert found[3][0] == "Label 3"
    assert found[9] == ("Nothing here", (70, 80, 90))  # looked for and not found is an answer
    first = read_label_image(path, HEAD).segments[0]
    assert first.type.meaning == "Hippocampus"
    assert first.region is not None
    assert first.region.meaning == "Left"


@pytest.mark.parametrize("name", ["anything.label.txt", "labels.txt"])
def test_a_general_label_file_names_what_is_there(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "m.nii.gz", HEAD, marked(HEAD))
    write_label_file(tmp_path / name, SEGMENTS)
    names = [s.name for s in read_label_image(path, HEAD).segments]
    assert names == ["Left hippocampus", "CSF", "Label 3"]


def test_the_label_file_of_another_mask_names_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "m.nii.gz", HEAD, marked(HEAD))
    write_label_file(tmp_path / "other.label.txt", SEGMENTS)
    save(tmp_path / "other.nii.gz", HEAD, marked(HEAD))
    assert read_label_image(path, HEAD).segments[0].name == "Label 1"


def test_text_files_of_another_kind_are_left_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "m.nii.gz", HEAD, marked(HEAD))
    (tmp_path / "labels.txt").write_text("1 = tumour\n")
    (tmp_path / "m.tsv").write_bytes(b"\xff\xfe\x00index\tname\n")
    assert read_label_image(path, HEAD).segments[0].name == "Label 1"


def test_names_of_a_bids_table(tmp_path: Path) -> None:
    path = save(tmp_path / "sub-1_dseg.nii.gz", HEAD, marked(HEAD))
    (tmp_path / "sub-1_dseg.tsv").write_text(
        "index\tname\tcolor\n0\tBackground\t#000000\n1\tCSF\t#0a141e\n3\tTumour\n"
    )
    first, second, third = read_label_image(path, HEAD).segments
    assert (first.name, first.colour) == ("CSF", (10, 20, 30))
    assert second.name == "Label 2"
    assert third.name == "Tumour"


# --- .seg.nrrd ----------------------------------------------------------------------------------


def slicer_file(path: Path, layers: np.ndarray, segments: list[dict[str, str]]) -> Path:
    """As pynrrd writes what 3D Slicer would: (n, k, j, i) labels, fields of each segment."""
    header: dict[str, object] = {
        "space": "left-posterior-superior",
        "space origin": HEAD.origin,
        "encoding": "gzip",
        "Segmentation_MasterRepresentation": "Binary labelmap",
    }
    directions = HEAD.affine[:3, :3].T[::-1]
    if len(layers) > 1:
        directions = np.vstack([np.full(3, np.nan), directions])
        header["kinds"] = ["list", "domain", "domain", "domain"]
    header["space directions"] = directions
    for number, fields in enumerate(segments):
        header |= {f"Segment{number}_{name}": value for name, value in fields.items()}
    data = layers[0].T if len(layers) == 1 else layers.transpose(0, 3, 2, 1)
    nrrd.write(str(path), data, header)
    return path


TAGS = (
    "TerminologyEntry:Segmentation category and type - DICOM master list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^"
    "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^|"
    "DICOM.SegmentAlgorithmType:AUTOMATIC|DICOM.SegmentAlgorithmName:Net|"
    "DICOM.TrackingUniqueIdentifier:1.2.3|"
)


def test_segments_of_a_slicer_file(tmp_path: Path) -> None:
    path = slicer_file(tmp_path / "a.seg.nrrd", marked(HEAD)[None], [
        {"ID": "Segment_1", "Name": "Mass", "Color": "1 0.5 0", "LabelValue": "2", "Layer": "0",
         "Tags": TAGS},
        {"ID": "Segment_2", "Name": "Other", "LabelValue": "1", "Layer": "0"},
        {"ID": "Segment_3", "Name": "Empty", "LabelValue": "7", "Layer": "0"},
    ])  # fmt: skip
    with scan([tmp_path]) as found:
        (mask,) = found.objects
        assert (mask.kind, mask.title, mask.details) == (LABELS, "a", "3 segments")
    content = read_label_image(path, HEAD)
    np.testing.assert_array_equal(content.labels, marked(HEAD))
    names = {s.number: s.name for s in content.segments}
    assert names == {1: "Other", 2: "Mass", 3: "Label 3", 7: "Empty"}
    mass = next(s for s in content.segments if s.number == 2)
    assert mass.colour == (255, 128, 0)
    assert mass.category == Code("49755003", "SCT", "Morphologically Altered Structure")
    assert mass.type == Code("4147007", "SCT", "Mass")
    assert mass.region == Code("12738006", "SCT", "Brain")
    assert (mass.algorithm_type, mass.algorithm) == ("AUTOMATIC", "Net")
    assert mass.tracking_uid == "1.2.3"


def test_segments_that_overlap_stay_whole_in_layers(tmp_path: Path) -> None:
    one, two, three = np.zeros((3, *HEAD.shape), np.uint8)
    one[:2, :3], two[1:3, :3], three[3] = 1, 1, 1
    segments = [{"ID": f"S{n}", "Name": f"part {n}", "LabelValue": "1", "Layer": str(n)}
                for n in range(3)]  # fmt: skip
    path = slicer_file(tmp_path / "a.seg.nrrd", np.stack([one, two, three]), segments)
    content = read_label_layers(path, HEAD)
    assert len(content.layers) == 2  # the third overlaps nothing and joins the first
    by_name = {s.name: layer.labels == s.number for layer in content.layers for s in layer.segments}
    for number, part in enumerate((one, two, three)):
        np.testing.assert_array_equal(by_name[f"part {number}"], part > 0)
    flat = read_label_image(path, HEAD)
    assert flat.notes[0].startswith("Segments overlap")
    first = next(s.number for s in flat.segments if s.name == "part 0")
    np.testing.assert_array_equal(flat.labels == first, one > 0)


def test_old_slicer_files_without_layers_and_values(tmp_path: Path) -> None:
    parts = np.stack([marked(HEAD) == n for n in (1, 2, 3)]).astype(np.uint8)
    path = slicer_file(tmp_path / "a.seg.nrrd", parts,
                       [{"ID": f"S{n}", "Name": f"{n}"} for n in (1, 2, 3)])  # fmt: skip
    content = read_label_image(path, HEAD)
    np.testing.assert_array_equal(content.labels, marked(HEAD))
    assert [s.name for s in content.segments] == ["1", "2", "3"]


def test_what_we_write_comes_back(tmp_path: Path) -> None:
    mask = Segmentation.from_labels("m", "Mask", HEAD, "v", marked(HEAD), segments=(
        Segment(1, "Stroke | left", (1, 2, 3), algorithm_type="SEMIAUTOMATIC"),
        Segment(2, "Ödem", (250, 0, 9)), Segment(3, "C", (0, 0, 1)), Segment(5, "empty", (9, 9, 9)),
    ))  # fmt: skip
    seg_nrrd.write_segmentation(tmp_path / "m.seg.nrrd", mask)
    content = read_label_image(tmp_path / "m.seg.nrrd", HEAD)
    np.testing.assert_array_equal(content.labels, mask.labels)
    for ours, theirs in zip(mask.segments, content.segments, strict=True):
        assert (ours.number, ours.name, ours.colour) == (theirs.number, theirs.name, theirs.colour)
        assert (ours.type, ours.category) == (theirs.type, theirs.category)
        assert (ours.algorithm_type, ours.tracking_uid) == (
            theirs.algorithm_type, theirs.tracking_uid,
        )  # fmt: skip
    nifti.write_labels(tmp_path / "m.nii.gz", mask)
    again = read_label_image(tmp_path / "m.nii.gz", HEAD)
    np.testing.assert_array_equal(again.labels, mask.labels)
    assert [s.name for s in again.segments] == [s.name for s in mask.segments]


# --- what counts as a mask ----------------------------------------------------------------------


def image_beside(folder: Path) -> None:
    save(folder / "t1.nii.gz", HEAD, np.arange(220, dtype=np.int16).reshape(HEAD.shape))


@pytest.mark.parametrize(
    "name",
    ["t1_seg.nii.gz", "sub-1_dseg.nii.gz", "lesion-mask.nrrd", "BrainMask.mha", "gt.nii",
     "labels.nii.gz", "GOLD_STANDARD_x.nii.gz", "roi.nrrd"],
)  # fmt: skip
def test_masks_are_told_by_name_and_content(tmp_path: Path, name: str) -> None:
    image_beside(tmp_path)
    save(tmp_path / name, HEAD, marked(HEAD))
    told = []
    with scan([tmp_path], on_object=told.append) as found:
        assert [s.description for s in found.series] == ["t1"]
        assert tuple(told) == found.objects
        (mask,) = found.objects
        assert (mask.kind, mask.details) == (LABELS, "3 labels")
        assert mask.path.endswith(name)
        volume = load_series(as_series(mask))
        np.testing.assert_array_equal(volume.voxels, marked(HEAD))


@pytest.mark.parametrize("name", ["t1_masked.nii.gz", "segovia.nii.gz", "plain.nii.gz"])
def test_other_names_are_images(tmp_path: Path, name: str) -> None:
    save(tmp_path / name, HEAD, marked(HEAD))
    with scan([tmp_path]) as found:
        assert len(found.series) == 1
        assert found.objects == ()


def test_a_name_alone_makes_no_mask(tmp_path: Path) -> None:
    image_beside(tmp_path)
    (tmp_path / "t1.nii.gz").rename(tmp_path / "lesion_t1.nii.gz")
    save(tmp_path / "mask_prob.mha", HEAD, marked(HEAD) / np.float32(3.1))
    with scan([tmp_path]) as found:
        assert len(found.series) == 2
        assert found.objects == ()


def test_label_intent_makes_a_mask(tmp_path: Path) -> None:
    image_beside(tmp_path)
    image = nib.Nifti1Image(marked(HEAD).T, HEAD.nifti_affine)
    image.header.set_intent("label")
    nib.save(image, tmp_path / "x.nii.gz")
    with scan([tmp_path]) as found:
        assert len(found.series) == 1
        assert [o.details for o in found.objects] == ["3 labels"]


def test_a_mask_alone_is_an_image_too(tmp_path: Path) -> None:
    save(tmp_path / "mask.nii.gz", HEAD, marked(HEAD))
    with scan([tmp_path]) as found:
        assert len(found.objects) == 1
        assert [s.description for s in found.series] == ["mask"]


# --- real data ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "image", "mask"),
    [
        ("ms_open_mni/MNI/patient07", "FLAIR*", "GOLD*"),
        ("ms_open_longitudinal/raw/patient01", "study1_FLAIR*", "gt*"),
        ("spine_cord_nifti/t2", "t2.nii.gz", "t2_seg-manual_labeled*"),
    ],
)
def test_real_masks_lie_where_nibabel_says(shared_data: Path, folder, image, mask) -> None:
    files = [next((shared_data / folder).glob(pattern)) for pattern in (image, mask)]
    with scan([files[0]]) as found:
        geometry = found.series[0].geometry
    assert geometry is not None
    judge = nib.load(files[1])
    marked_there = np.argwhere(np.asanyarray(judge.dataobj) > 0)  # type: ignore[attr-defined]
    values = np.asanyarray(judge.dataobj)[tuple(marked_there.T)]  # type: ignore[attr-defined]
    ras = marked_there @ judge.affine[:3, :3].T + judge.affine[:3, 3]  # type: ignore[attr-defined]
    index = np.rint(geometry.index(ras * [-1, -1, 1])).astype(int)
    inside = ((index >= 0) & (index < geometry.shape)).all(1)
    content = read_label_image(files[1], geometry)
    assert inside.sum() > 50
    if "resampled" in " ".join(content.notes):  # the gold standard is on a finer grid
        share = (content.labels[tuple(index[inside].T)] > 0).mean()
        assert share > 0.6
    else:
        assert (content.labels[tuple(index[inside].T)] == values[inside]).all()
        assert np.count_nonzero(content.labels) == inside.sum()
