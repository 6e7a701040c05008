"""De-identification of one data set: nothing that identifies stays, and what is left is whole."""

from __future__ import annotations

import numpy as np
import pytest
from canary_files import Canaries, canary_file, plain_image, save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from imaging.deidentify.deidentifier import Deidentifier
from imaging.deidentify.key import Key
from imaging.deidentify.options import Options
from imaging.deidentify.profile import rules
from imaging.errors import BadInput

# pydicom warns of odd values, which is what these files are made of
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KEY = Key(b"a secret of thirty-two bytes ...")


def deidentifier(**options) -> Deidentifier:
    return Deidentifier(Options(**options), KEY)


def test_the_table_holds_the_profile_of_the_standard():
    assert len(rules()) > 650
    assert rules()[0x00100010].basic == "Z"
    assert rules()[0x00080018].basic == "U"
    assert rules()[0x0040A730].options == {"structured": "C"}
    assert rules()[0x00080020].options == {"full_dates": "K", "modified_dates": "C"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dates": "shift", "keep_descriptions": True, "keep_private_safe": True},
    ],
)
def test_no_canary_of_the_whole_profile_is_left_in_the_file(tmp_path, options):
    source, canaries = canary_file(tmp_path / "in.dcm")
    assert len(canaries.found_in(source.read_bytes())) == len(canaries.bytes) > 4000

    deidentifier(**options).file(source, tmp_path / "out.dcm")

    raw = (tmp_path / "out.dcm").read_bytes()
    # among thousands of dates a moved one is always like another one that moved as well
    assert canaries.found_in(raw, dates=not options) == []
    assert raw[:128] == b"\0" * 128
    back = dcmread(tmp_path / "out.dcm")
    assert np.array_equal(back.pixel_array, np.arange(64).reshape(8, 8))
    assert back.file_meta.MediaStorageSOPInstanceUID == back.SOPInstanceUID


def test_what_was_done_stands_in_the_header(tmp_path):
    new = deidentifier(dates="shift", keep_device=True).dataset(plain_image())
    assert new.PatientIdentityRemoved == "YES"
    assert new.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [item.CodeValue for item in new.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113103", "113104", "113107", "113109"]
    assert new.PatientID == new.PatientName
    assert str(new.PatientID).startswith("ANON-")


def test_the_original_is_not_touched():
    ds = plain_image()
    before = ds.to_json()
    deidentifier().dataset(ds)
    assert ds.to_json() == before


def test_the_same_key_joins_and_another_one_does_not():
    one, two = plain_image(), plain_image()
    two.SOPInstanceUID = "1.2.3.99"
    two.ReferencedImageSequence = [Dataset()]
    two.ReferencedImageSequence[0].ReferencedSOPClassUID = one.SOPClassUID
    two.ReferencedImageSequence[0].ReferencedSOPInstanceUID = one.SOPInstanceUID
    image, mask = deidentifier().dataset(one), deidentifier().dataset(two)
    reference = mask.ReferencedImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID != one.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == one.SOPClassUID
    assert image.StudyInstanceUID == mask.StudyInstanceUID
    other = Deidentifier(Options(), Key(b"another secret of 32 bytes .....")).dataset(one)
    assert other.SOPInstanceUID != image.SOPInstanceUID
    assert other.PatientID != image.PatientID


def test_dates_of_a_patient_move_together_and_keep_their_distance():
    first, second = plain_image(), plain_image()
    first.StudyDate, second.StudyDate = "20240301", "20240229"
    first.AcquisitionDateTime = "20240301083000.5+0100"
    first.PatientBirthDate = "19500101"
    one, two = (deidentifier(dates="shift").dataset(ds) for ds in (first, second))
    assert one.StudyDate != first.StudyDate
    assert int(one["StudyDate"].value[:4]) in (2023, 2024)
    days = np.datetime64(f"{one.StudyDate[:4]}-{one.StudyDate[4:6]}-{one.StudyDate[6:]}")
    other = np.datetime64(f"{two.StudyDate[:4]}-{two.StudyDate[4:6]}-{two.StudyDate[6:]}")
    assert (days - other).astype(int) == 1
    assert one.AcquisitionDateTime == f"{one.StudyDate}083000.5+0100"
    assert not one.PatientBirthDate


def test_descriptions_keep_known_words_and_lose_names():
    ds = plain_image()
    ds.PatientName = "Head^Flair"
    ds.SeriesDescription = "t2 FLAIR head sag Jane Doe 12.03.2024 b1000"
    assert "SeriesDescription" not in deidentifier().dataset(ds)
    kept = deidentifier(keep_descriptions=True).dataset(ds).SeriesDescription
    assert kept == "t2 sag b1000"


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def test_codes_of_one_site_become_tokens_and_those_of_everybody_stay():
    ds = plain_image()
    ds.AnatomicRegionSequence = [
        coded("12738006", "SCT", "Brain"), coded("MEYERS-KOPF", "99KLINIKUM", "Brain of Meyer"),
        coded("MEYERS-KOPF", "99KLINIKUM", "Brain of Meyer"),
    ]  # fmt: skip
    items = deidentifier().dataset(ds).AnatomicRegionSequence
    assert (items[0].CodeValue, items[0].CodingSchemeDesignator) == ("12738006", "SCT")
    assert items[1].CodeValue == items[2].CodeValue != "MEYERS-KOPF"
    assert (items[1].CodingSchemeDesignator, items[1].CodeMeaning) == ("99LOCAL", "Brain of")


@pytest.mark.parametrize(
    ("text", "left"),
    [("2.1rc1", "2.1rc1"), ("v0.9", "v0.9"), ("12.03.2024", "unknown"), ("20240312", "unknown"),
     ("Meyer's 1.0", "unknown")],
)  # fmt: skip
def test_a_version_stays_whole_or_goes(text, left):
    ds = plain_image()
    ds.SegmentationAlgorithmIdentificationSequence = [Dataset()]
    item = ds.SegmentationAlgorithmIdentificationSequence[0]
    item.AlgorithmName, item.AlgorithmVersion = "Meyer's own", text
    item.AlgorithmParameters = "reader=Meyer, no pairs. Done on 12.03.2024"
    (new,) = deidentifier().dataset(ds).SegmentationAlgorithmIdentificationSequence
    assert (new.AlgorithmName, new.AlgorithmVersion) == ("removed", left)
    assert "AlgorithmParameters" not in new


def test_a_name_typed_into_a_kept_attribute_goes():
    ds = plain_image()
    ds.SequenceName = "jane special"
    new = deidentifier().dataset(ds)
    assert "jane" not in str(new.SequenceName).lower()


def test_ages_above_89_are_capped():
    ds = plain_image()
    ds.PatientAge = "097Y"
    assert deidentifier(keep_characteristics=True).dataset(ds).PatientAge == "090Y"
    assert "PatientAge" not in deidentifier().dataset(ds)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned into"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, "SECONDARY"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "Captures"),
        ({"Modality": "US"}, "Captures"),
    ],
)
def test_images_with_text_in_the_pixels_wait_until_somebody_looked(change, words):
    ds = plain_image()
    for keyword, value in change.items():
        setattr(ds, keyword, value)
    with pytest.raises(BadInput, match=words):
        deidentifier().dataset(ds)
    assert deidentifier(pixels_checked=True).dataset(ds).BurnedInAnnotation == "NO"


def test_embedded_documents_never_leave():
    ds = plain_image()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    ds.EncapsulatedDocument = b"%PDF"
    with pytest.raises(BadInput, match="document"):
        deidentifier(pixels_checked=True).dataset(ds)


def test_a_drawing_in_unused_bits_of_the_pixels_is_wiped():
    ds = plain_image()
    ds.BitsStored, ds.HighBit = 12, 11
    pixels = np.arange(64, dtype="<u2") | np.uint16(0xF000)
    ds.PixelData = pixels.tobytes()
    ds.add(DataElement(0x60000102, "US", 12))
    new = deidentifier().dataset(ds)
    assert np.array_equal(np.frombuffer(new.PixelData, "<u2"), np.arange(64))
    assert not [tag for tag in new.keys() if tag.group == 0x6000]  # noqa: SIM118


def test_a_value_that_stayed_stops_the_file_and_names_only_the_attribute(tmp_path):
    ds = plain_image()
    ds.StationName = "XKCDSTATION99"
    ds.RedPaletteColorLookupTableData = b"..XKCDSTATION99..x"
    source = save(ds, tmp_path / "in.dcm")
    with pytest.raises(BadInput, match="Station Name") as caught:
        deidentifier().file(source, tmp_path / "out.dcm")
    assert "XKCD" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


def test_report_texts_lose_names_and_keep_their_shape():
    ds = plain_image()
    del ds.PixelData
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    text, person = Dataset(), Dataset()
    text.ValueType, text.TextValue = "TEXT", "Lesion 3 of Jane Doe, see Dr Who"
    person.ValueType, person.PersonName = "PNAME", "Who^Doctor"
    ds.ContentSequence = [text, person]
    new = deidentifier().dataset(ds)
    assert new.ContentSequence[0].TextValue == "Lesion 3 of"
    assert new.ContentSequence[1].PersonName == "Anonymous"


def test_a_local_code_loses_its_meaning_and_a_common_one_does_not():
    ds = plain_image()
    common, local = Dataset(), Dataset()
    common.CodeValue, common.CodingSchemeDesignator = "12738006", "SCT"
    common.CodeMeaning = "Brain structure as known to all"
    local.CodeValue, local.CodingSchemeDesignator = "B7", "99STMARY"
    local.CodeMeaning = "Brain St Mary Clinic"
    ds.AnatomicRegionSequence = [common, local]
    new = deidentifier().dataset(ds)
    assert new.AnatomicRegionSequence[0].CodeMeaning == common.CodeMeaning
    assert new.AnatomicRegionSequence[1].CodeMeaning == "Brain"


_TAGS = sorted(
    tag for tag in rules() if tag >> 16 >= 8 and tag not in (0x00420011, 0x0040A730, 0x00700001)
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_nested_data_sets_lose_every_canary(tmp_path_factory, data):
    canaries = Canaries()
    ds = plain_image()
    _grow(ds, canaries, data, depth=0)
    folder = tmp_path_factory.mktemp("random")
    source = save(ds, folder / "in.dcm")
    deidentifier(keep_private_safe=data.draw(st.booleans())).file(source, folder / "out.dcm")
    assert canaries.found_in((folder / "out.dcm").read_bytes()) == []


def _grow(ds: Dataset, canaries: Canaries, data, depth: int) -> None:
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    for tag in data.draw(st.lists(st.sampled_from(_TAGS), max_size=12, unique=True)):
        vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "LO"
        if vr == "SQ":
            continue
        vr = vr.split(" or ")[-1]
        ds.add(DataElement(tag, vr, canaries.value(vr, f"{tag:08X} at depth {depth}")))
    if depth < 4:
        where = st.sampled_from((0x00081140, 0x00082112, 0x52009229, 0x00409096, 0x00081115))
        for tag in data.draw(st.lists(where, max_size=2, unique=True)):
            item = Dataset()
            _grow(item, canaries, data, depth + 1)
            ds.add(DataElement(tag, "SQ", [item]))
        if data.draw(st.booleans()):
            item = Dataset()
            _grow(item, canaries, data, depth + 3)
            block = ds.private_block(0x0029, "SIEMENS MR HEADER", create=True)
            block.add_new(0x0B, "SQ", [item])
