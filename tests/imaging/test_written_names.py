"""Names in any script go into new objects unharmed, whatever character set the images use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from writing_grids import dicom_complaints, grid, volume

from imaging.analysis.lesions import find_lesions
from imaging.dicom.writing.derived import write_derived_series
from imaging.dicom.writing.key_image import write_key_image
from imaging.dicom.writing.parametric_map import write_parametric_map
from imaging.dicom.writing.references import imported_as_dicom
from imaging.dicom.writing.rtstruct import write_rtstruct
from imaging.dicom.writing.seg import write_seg
from imaging.dicom.writing.sr import write_report
from imaging.heatmap import Heatmap
from imaging.open import load_series, scan
from imaging.segmentation import Segment, Segmentation

NAMES = [
    ("ISO_IR 100", "Müller^Jörg"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 126", "Διονυσιος"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    ("ISO_IR 192", "قباني^لنزار"),
]


@pytest.mark.parametrize(("charset", "name"), NAMES, ids=[n for _, n in NAMES])
def test_the_name_is_the_same_in_every_object(tmp_path, charset, name):
    made = imported_as_dicom(volume(grid()), tmp_path / "images")
    file = tmp_path / "named.dcm"
    ds = pydicom.dcmread(made.source.files[0])
    ds.SpecificCharacterSet, ds.PatientName, ds.StudyDescription = charset, name, "Head"
    ds.save_as(file)
    files = (str(file), *made.source.files[1:])
    source = replace(made, source=replace(made.source, files=files))
    labels = np.zeros(source.geometry.shape, np.uint8)
    labels[1:3, 1:3, 2:5] = 1
    mask = Segmentation.from_labels(
        "m", "Läsionen · 病変", source.geometry, "v", labels,
        segments=(Segment(1, "Läsion 病変", (1, 2, 3)),),
    )  # fmt: skip
    seg = write_seg(tmp_path / "m.dcm", mask, source, content_creator="Åse^Ødegård").path
    objects = [
        seg,
        write_report(tmp_path / "sr.dcm", mask, source, find_lesions(mask), observer="Ødegård"),
        write_rtstruct(tmp_path / "rt.dcm", mask, source),
        write_key_image(tmp_path / "k.dcm", np.zeros((4, 4, 3), np.uint8), source, title="病変"),
        write_derived_series(tmp_path / "derived", source)[0],
    ]
    for path in objects:
        back = pydicom.dcmread(path)
        assert back.SpecificCharacterSet == "ISO_IR 192"
        assert str(back.PatientName) == name
    assert pydicom.dcmread(seg).SegmentSequence[0].SegmentLabel == "Läsion 病変"
    assert str(pydicom.dcmread(seg).ContentCreatorName) == "Åse^Ødegård"
    assert pydicom.dcmread(objects[2]).StructureSetROISequence[0].ROIName == "Läsion 病変"
    assert dicom_complaints(*objects) == []


@pytest.mark.parametrize(
    ("charset", "names_as", "name"),
    [
        ("cp1251", "cyrillic-windows", "Чайковский^Пётр"),
        ("shift_jis", "japanese", "山田^太郎"),
        ("gb18030", "chinese", "王^小东"),
        ("utf-8", "", "Müller^Jörg"),
        ("latin-1", "", "Müller^Jörg"),
    ],
)
def test_a_name_read_as_chosen_is_written_as_it_was_shown(tmp_path, charset, names_as, name):
    raw = name.encode(charset)
    raw += b" " * (len(raw) % 2)
    made = imported_as_dicom(volume(grid()), tmp_path / "images")
    for file in made.source.files:
        ds = pydicom.dcmread(file)
        ds.PatientName = "N" * len(raw)
        del ds.SpecificCharacterSet
        ds.save_as(file)
        path = Path(file)
        path.write_bytes(path.read_bytes().replace(b"N" * len(raw), raw, 1))
    with scan([tmp_path / "images"], names_as=names_as) as result:
        source = load_series(result.series[0])
    labels = np.zeros(source.geometry.shape, np.uint8)
    labels[1:3, 1:3, 2:5] = 1
    mask = Segmentation.from_labels(
        "m", "Mask", source.geometry, "v", labels, segments=(Segment(1, "Label", (1, 2, 3)),)
    )
    objects = [
        write_seg(tmp_path / "m.dcm", mask, source).path,
        write_report(tmp_path / "sr.dcm", mask, source, find_lesions(mask), observer="A"),
        write_rtstruct(tmp_path / "rt.dcm", mask, source),
        write_key_image(tmp_path / "k.dcm", np.zeros((4, 4, 3), np.uint8), source),
        write_derived_series(tmp_path / "derived", source)[0],
    ]
    for path in objects:
        back = pydicom.dcmread(path)
        assert back.SpecificCharacterSet == "ISO_IR 192"
        assert str(back.PatientName) == name


def test_series_of_a_later_export_have_numbers_and_words_of_their_own(tmp_path):
    source = imported_as_dicom(volume(grid()), tmp_path / "images")
    labels = np.zeros(source.geometry.shape, np.uint8)
    labels[1:3, 1:3, 2:5] = 1
    mask = Segmentation.from_labels(
        "m", "Lesions", source.geometry, "v", labels, segments=(Segment(1, "A", (1, 2, 3)),)
    )
    heat = Heatmap("h", "Map", labels.astype(np.float32), "probability", source.geometry, "v")
    for turn in (1, 2):
        folder = tmp_path / str(turn)
        folder.mkdir()
        found = find_lesions(mask)
        paths = [
            write_seg(folder / "m.dcm", mask, source, turn=turn).path,
            write_parametric_map(folder / "p.dcm", heat, source, turn=turn)[0],
            write_rtstruct(folder / "rt.dcm", mask, source, turn=turn),
            write_report(folder / "sr.dcm", mask, source, found, turn=turn),
            write_key_image(folder / "k.dcm", np.zeros((4, 4, 3), np.uint8), source, turn=turn),
        ]
        headers = [pydicom.dcmread(path) for path in paths]
        numbers = [int(ds.SeriesNumber) for ds in headers]
        assert numbers == [n + 1000 * (turn - 1) for n in (901, 902, 903, 904, 905)]
        assert all(ds.SeriesDescription.endswith(" (2)") is (turn == 2) for ds in headers)
        assert all(len(ds.SeriesDate) == 8 and ds.SeriesTime for ds in headers)
        assert [dicom_complaints(path) for path in paths] == [[]] * 5
