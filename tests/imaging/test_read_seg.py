"""Masks of other programs: on the same patient points, whatever made them and whatever the grid."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from object_makers import (
    PLANES,
    all_orders,
    ball_at,
    balls,
    dcmqi,
    describe,
    make_seg,
    make_seg_with_dcmqi,
    make_series,
)

from imaging.dicom.objects.placing import Target
from imaging.dicom.objects.read_seg import read_seg, read_seg_layers
from imaging.errors import BadInput
from imaging.geometry import Box, Geometry


@pytest.fixture(scope="module", params=list(PLANES))
def series(request, tmp_path_factory):
    """Files and volume of a series in one direction."""
    return make_series(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def axial(tmp_path_factory):
    """Files and volume of an axial series."""
    return make_series(tmp_path_factory.mktemp("axial"))


def _layers(path: Path, geometry: Geometry):
    return read_seg_layers(path, Target(geometry))


def _numbered(masks: np.ndarray) -> np.ndarray:
    return np.select([masks[0], masks[1]], [1, 2], 0).astype(np.uint8)


@pytest.mark.parametrize("maker", [make_seg, make_seg_with_dcmqi])
def test_every_plane_of_every_maker_in_every_order_of_axes(series, tmp_path, maker):
    files, volume = series
    path = maker(tmp_path / "m.dcm", files, volume, balls(volume.geometry))
    for geometry in all_orders(volume.geometry):
        content = _layers(path, geometry)
        (layer,) = content.layers
        np.testing.assert_array_equal(layer.labels, _numbered(balls(geometry)))
        assert content.notes == ()


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_every_kind_agrees_with_dcmqi(axial, tmp_path, kind):
    files, volume = axial
    masks = balls(volume.geometry)
    more = {}
    if kind == "FRACTIONAL":
        masks = masks.astype(np.float64)
        more = dict(fractional_type="PROBABILITY", max_fractional_value=255)
    path = make_seg(tmp_path / "m.dcm", files, volume, masks, kind, **more)
    mine = read_seg(path, volume.geometry).labels
    command = [dcmqi("segimage2itkimage"), "--inputDICOM", str(path), "-p", "m"]
    subprocess.run([*command, "--outputDirectory", str(tmp_path)], check=True, capture_output=True)
    import SimpleITK as sitk

    for number in (1, 2):
        together = kind == "LABELMAP"  # all labels in one file, under their numbers
        image = sitk.ReadImage(str(tmp_path / f"m-{1 if together else number}.nrrd"))
        values = sitk.GetArrayFromImage(image)
        marked = np.argwhere(values == number if together else values > 0)[:, ::-1]
        world = [image.TransformIndexToPhysicalPoint([int(v) for v in at]) for at in marked]
        index = np.rint(volume.geometry.index(np.array(world))).astype(int)
        judged = np.zeros(volume.geometry.shape, bool)
        judged[tuple(index.T)] = True
        np.testing.assert_array_equal(mine == number, judged)


def test_what_the_file_says_of_its_segments(axial, tmp_path):
    files, volume = axial
    path = make_seg(tmp_path / "m.dcm", files, volume, balls(volume.geometry))
    content = _layers(path, volume.geometry)
    one, other = content.layers[0].segments
    assert (one.name, one.algorithm_type, one.tracking_uid) == ("Ball 1", "AUTOMATIC", "1.2.3.1")
    assert (one.algorithm, one.algorithm_version) == ("finder", "2.1")
    assert one.type.value == "12738006"
    assert np.abs(np.subtract(one.colour, (200, 40, 30))).max() <= 2
    assert (other.algorithm_type, other.algorithm) == ("MANUAL", "")
    assert content.provenance.algorithm == "finder"
    assert content.provenance.version == "2.1"
    assert "Drawer" in content.provenance.device
    assert content.provenance.created[:2] == "20"


def test_segments_that_overlap_are_all_there(axial, tmp_path):
    files, volume = axial
    masks = balls(volume.geometry, overlap=True)
    assert masks.all(0).any()
    path = make_seg(tmp_path / "m.dcm", files, volume, masks)
    first, second = _layers(path, volume.geometry).layers
    np.testing.assert_array_equal(first.labels == 1, masks[0])
    np.testing.assert_array_equal(second.labels == 2, masks[1])
    assert [s.name for s in (*first.segments, *second.segments)] == ["Ball 1", "Ball 2"]
    flat = read_seg(path, volume.geometry)
    np.testing.assert_array_equal(flat.labels > 0, masks.any(0))
    assert "overlap" in flat.notes[0]


def test_fractions_are_a_map_and_a_mask_at_half(axial, tmp_path):
    files, volume = axial
    values = np.random.default_rng(4).random((1, *volume.geometry.shape))
    values[0, 2] = 0
    path = make_seg(
        tmp_path / "m.dcm", files, volume, values, "FRACTIONAL",
        fractional_type="PROBABILITY", max_fractional_value=200,
    )  # fmt: skip
    content = _layers(path, volume.geometry)
    (fraction,) = content.fractions
    assert fraction.meaning == "probability"
    assert np.abs(fraction.values - values[0]).max() <= 0.51 / 200
    np.testing.assert_array_equal(content.layers[0].labels > 0, fraction.values >= 0.5)


def test_occupancy_is_called_by_its_name(axial, tmp_path):
    files, volume = axial
    path = make_seg(
        tmp_path / "m.dcm", files, volume, balls(volume.geometry)[:1].astype(float), "FRACTIONAL",
        fractional_type="OCCUPANCY",
    )  # fmt: skip
    assert _layers(path, volume.geometry).fractions[0].meaning == "occupancy"


def test_numbers_with_gaps_are_kept_and_large_ones_renumbered(axial, tmp_path):
    files, volume = axial
    path = make_seg(tmp_path / "m.dcm", files, volume, balls(volume.geometry), "LABELMAP")
    ds = pydicom.dcmread(path)
    pixels = ds.pixel_array
    for new, notes in ((200, 0), (60_000, 1)):
        table = np.array([0, 7, new], np.uint16)
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelData = table[pixels].tobytes()
        ds["PixelData"].VR = "OW"
        for item, number in zip(ds.SegmentSequence[-2:], (7, new), strict=True):
            item.SegmentNumber = number
        ds.save_as(tmp_path / "n.dcm")
        content = _layers(tmp_path / "n.dcm", volume.geometry)
        (layer,) = content.layers
        named = {s.name: s.number for s in layer.segments}
        for n, mask in enumerate(balls(volume.geometry), 1):
            np.testing.assert_array_equal(layer.labels == named[f"Ball {n}"], mask)
        assert len(content.notes) == notes
    assert "numbered anew" in content.notes[0]


def test_more_labels_than_a_label_map_holds_go_into_the_next(axial, tmp_path):
    files, volume = axial
    path = make_seg(tmp_path / "m.dcm", files, volume, balls(volume.geometry), "LABELMAP")
    ds = pydicom.dcmread(path)
    shape = ds.pixel_array.shape
    stored = (np.arange(np.prod(shape)).reshape(shape) % 300 + 1).astype(np.uint16)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OW"
    ds.save_as(tmp_path / "n.dcm")
    layers = _layers(tmp_path / "n.dcm", volume.geometry).layers
    assert [len(layer.segments) for layer in layers] == [255, 45]
    assert sum(int((layer.labels > 0).sum()) for layer in layers) == stored.size


def test_frames_beyond_the_image_are_counted(axial, tmp_path):
    files, volume = axial
    masks = balls(volume.geometry)
    path = make_seg(tmp_path / "m.dcm", files, volume, masks)
    part = volume.geometry.cropped(Box((3, 0, 4), (6, 20, 18)))
    content = _layers(path, part)
    np.testing.assert_array_equal(content.layers[0].labels, _numbered(masks)[3:6, :, 4:])
    lost = int(masks.sum() - masks[:, 3:6, :, 4:].sum())
    assert content.notes == (f"{lost} marked voxels lie outside the image and are not shown",)


def test_single_slices_without_a_distance_stay_single(axial, tmp_path):
    files, volume = axial
    masks = balls(volume.geometry)[:1]
    masks[:, [0, 1, 3, 5, 6, 7, 8]] = False
    path = make_seg(tmp_path / "m.dcm", files, volume, masks)
    ds = pydicom.dcmread(path)
    sizes = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    del sizes.SpacingBetweenSlices
    sizes.SliceThickness = None
    ds.save_as(path)
    content = _layers(path, volume.geometry)
    np.testing.assert_array_equal(content.layers[0].labels > 0, masks[0])


def test_uneven_slices_get_their_own_frames(axial, tmp_path):
    files, volume = axial
    kept = [0, 1, 3, 4, 8]
    places = volume.geometry.world(np.array([(k, 0, 0) for k in kept]))
    affine = volume.geometry.affine.copy()
    affine[:3, 0] *= 2
    stand_in = Geometry((5, 20, 18), affine)
    masks = balls(volume.geometry)
    masks[:, [2, 5, 6, 7]] = False
    path = make_seg(tmp_path / "m.dcm", files, volume, masks)
    content = read_seg_layers(path, Target(stand_in, places))
    np.testing.assert_array_equal(content.layers[0].labels, _numbered(masks)[kept])
    full = make_seg(tmp_path / "f.dcm", files, volume, balls(volume.geometry))
    shown = read_seg_layers(full, Target(stand_in, places))
    np.testing.assert_array_equal(shown.layers[0].labels, _numbered(balls(volume.geometry))[kept])
    assert "uneven" in shown.notes[0]


def test_another_grid_gets_the_nearest_voxel_and_it_is_said(series, tmp_path):
    files, volume = series
    path = make_seg(tmp_path / "m.dcm", files, volume, balls(volume.geometry))
    fine = np.eye(4)
    fine[:3, :3] = np.diag([0.8, 0.9, 1.1])
    fine[:3, 3] = volume.geometry.corners.min(0)
    wanted = Geometry((32, 34, 30), fine, volume.geometry.frame_of_reference)
    content = _layers(path, wanted)
    index = np.argwhere(np.ones(wanted.shape, bool))
    nearest = np.rint(volume.geometry.index(wanted.world(index))).astype(int)
    inside = ((nearest >= 0) & (nearest < volume.geometry.shape)).all(1)
    expected = np.zeros(len(index), np.uint8)
    expected[inside] = _numbered(balls(volume.geometry))[tuple(nearest[inside].T)]
    found = content.layers[0].labels[tuple(index.T)]
    assert (found == expected).mean() > 0.9995  # voxels just between two may go either way
    assert any("resampled" in note for note in content.notes)


def test_compressed_label_maps(axial, tmp_path):
    from pydicom.uid import JPEGLSLossless, RLELossless

    files, volume = axial
    for syntax in (RLELossless, JPEGLSLossless):
        path = make_seg(
            tmp_path / f"{syntax}.dcm", files, volume, balls(volume.geometry), "LABELMAP",
            transfer_syntax_uid=syntax,
        )  # fmt: skip
        labels = _layers(path, volume.geometry).layers[0].labels
        np.testing.assert_array_equal(labels, _numbered(balls(volume.geometry)))


def test_the_colours_of_a_label_map_do_not_touch_its_numbers(axial, tmp_path):
    from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

    files, volume = axial
    described = [describe(1, "Ball 1"), describe(2, "Ball 2")]
    for item in described:
        del item.RecommendedDisplayCIELabValue
    colours = hd.PaletteColorLUTTransformation.from_colors(
        ["black", "red", "blue"], first_mapped_value=0, palette_color_lut_uid="1.2.3.4"
    )
    for syntax in (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless):
        path = make_seg(
            tmp_path / f"{syntax}.dcm", files, volume, balls(volume.geometry), "LABELMAP",
            transfer_syntax_uid=syntax, segment_descriptions=described,
            palette_color_lut_transformation=colours,
        )  # fmt: skip
        assert pydicom.dcmread(path).PhotometricInterpretation == "PALETTE COLOR"
        labels = _layers(path, volume.geometry).layers[0].labels
        np.testing.assert_array_equal(labels, _numbered(balls(volume.geometry)))


@pytest.mark.parametrize(
    ("name", "labels"),
    [("ct_binary", 1), ("ct_binary_overlap", 2), ("ct_binary_fractional", 1),
     ("ct_true_fractional", 1), ("ct_binary_single_frame", 1)],
)  # fmt: skip
def test_real_files_agree_with_highdicom_voxel_by_voxel(shared_data, name, labels):
    path = shared_data / f"dicom_seg_examples/seg_image_{name}.dcm"
    seg = hd.seg.segread(path)
    judged = seg.get_volume(combine_segments=False, rescale_fractional=False)
    half = float(getattr(seg, "MaximumFractionalValue", 1)) / 2
    for geometry in all_orders(Geometry(judged.spatial_shape, judged.affine)):
        content = _layers(path, geometry)
        found = {s.number: (layer.labels == s.number)
                 for layer in content.layers for s in layer.segments}  # fmt: skip
        assert len(found) == labels
        own = np.argwhere(np.ones(geometry.shape, bool))
        other = np.rint(geometry.world(own) @ np.linalg.inv(judged.affine)[:3, :3].T
                        + np.linalg.inv(judged.affine)[:3, 3]).astype(int)  # fmt: skip
        for number, mask in found.items():
            expected = judged.array[(*other.T, number - 1)] >= half
            np.testing.assert_array_equal(mask[tuple(own.T)], expected)


def test_the_liver_of_dcmqi_lies_where_dcmqi_puts_it(shared_data, tmp_path):
    path = shared_data / "dicom_pydicom_tests/pydicom-data/liver.dcm"
    command = [dcmqi("segimage2itkimage"), "--inputDICOM", str(path), "-p", "m"]
    subprocess.run([*command, "--outputDirectory", str(tmp_path)], check=True, capture_output=True)
    import SimpleITK as sitk

    image = sitk.ReadImage(str(tmp_path / "m-1.nrrd"))
    affine = np.eye(4)
    turned = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, :3], affine[:3, 3] = turned[:, ::-1], image.GetOrigin()
    judged = sitk.GetArrayFromImage(image) > 0
    geometry = Geometry(judged.shape, affine)
    content = read_seg(path, geometry)
    np.testing.assert_array_equal(content.labels > 0, judged)
    assert [s.name for s in content.segments] == ["Liver"]


@pytest.fixture(scope="module")
def seg(axial, tmp_path_factory):
    """A good file, and its grid."""
    files, volume = axial
    path = make_seg(tmp_path_factory.mktemp("s") / "m.dcm", files, volume, balls(volume.geometry))
    return path, volume.geometry


class TestRefusals:
    """One sentence, whatever is wrong."""

    def _changed(self, path, tmp_path, change) -> Path:
        ds = pydicom.dcmread(path)
        change(ds)
        ds.save_as(tmp_path / "x.dcm")
        return tmp_path / "x.dcm"

    def test_several_directions(self, seg, tmp_path):
        def turn(ds):
            group = pydicom.Dataset()
            group.ImageOrientationPatient = [0, 1, 0, 0, 0, 1]
            ds.PerFrameFunctionalGroupsSequence[0].PlaneOrientationSequence = [group]

        with pytest.raises(BadInput, match="different directions"):
            _layers(self._changed(seg[0], tmp_path, turn), seg[1])

    @pytest.mark.parametrize(
        ("words", "change"),
        [
            ("where its frames lie", lambda ds: delattr(
                ds.PerFrameFunctionalGroupsSequence[1], "PlanePositionSequence")),
            ("where its frames lie", lambda ds: setattr(
                ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0],
                "ImagePositionPatient", ["nan", "0", "0"])),
            ("each of its frames", lambda ds: setattr(ds, "NumberOfFrames", 5000)),
            ("are not read", lambda ds: setattr(ds, "NumberOfFrames", 2_000_000_000)),
            ("are not read", lambda ds: setattr(ds, "Rows", 65535)),
            ("what it shows", lambda ds: delattr(
                ds.PerFrameFunctionalGroupsSequence[0], "SegmentIdentificationSequence")),
            ("frame of reference", lambda ds: setattr(ds, "FrameOfReferenceUID", "2.25.9")),
            ("decoded", lambda ds: setattr(ds, "PixelData", b"\0" * 40)),
            ("no pixels", lambda ds: delattr(ds, "PixelData")),
        ],
    )  # fmt: skip
    def test_a_damaged_file(self, seg, tmp_path, words, change):
        with pytest.raises(BadInput, match=words):
            _layers(self._changed(seg[0], tmp_path, change), seg[1])

    def test_slices_a_kilometre_apart(self, seg, tmp_path):
        def far(ds):
            for n, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
                group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, n * 1e6 + n % 2]

        with pytest.raises(BadInput):
            _layers(self._changed(seg[0], tmp_path, far), seg[1])

    def test_a_deep_nest(self, seg, tmp_path):
        def nest(ds):
            item = pydicom.Dataset()
            for _ in range(60):
                outer = pydicom.Dataset()
                outer.ReferencedSeriesSequence = [item]
                item = outer
            ds.ReferencedSeriesSequence = [item]

        assert _layers(self._changed(seg[0], tmp_path, nest), seg[1]).layers[0].labels.any()

    def test_too_many_layers(self, axial, tmp_path):
        files, volume = axial
        masks = np.ones((30, *volume.geometry.shape), bool)
        masks[:, 1:] = False
        described = [describe(n + 1, f"S{n}") for n in range(30)]
        path = make_seg(tmp_path / "m.dcm", files, volume, masks, segment_descriptions=described)
        with pytest.raises(BadInput, match="on top of each other"):
            _layers(path, volume.geometry)


def test_ball_at_is_what_the_grid_says(axial):
    """The phantom itself: both balls are there and lie apart."""
    geometry = axial[1].geometry
    masks = balls(geometry)
    assert masks.any((1, 2, 3)).all()
    assert not masks.all(0).any()
    assert replace(axial[1], id="x").geometry is geometry
    at = np.argwhere(masks[0])[0]
    assert ball_at(geometry.world(at))[0]
