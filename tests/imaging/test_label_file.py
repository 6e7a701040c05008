"""The ITK-SNAP label file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.errors import BadInput
from imaging.segmentation import Segment
from imaging.storage.label_file import label_file_path, read_label_file, write_label_file

_BYTE = st.integers(0, 255)
_SEGMENTS = st.lists(
    st.builds(
        Segment,
        st.integers(1, 255),
        st.text(max_size=40),
        st.tuples(_BYTE, _BYTE, _BYTE),
    ),
    unique_by=lambda s: s.number,
    max_size=12,
)


@given(segments=_SEGMENTS)
def test_numbers_and_colours_survive_whatever_the_names(tmp_path_factory, segments):
    path = tmp_path_factory.mktemp("labels") / "m.label.txt"
    write_label_file(path, segments)
    back = {s.number: s.colour for s in read_label_file(path)}
    assert back == {s.number: s.colour for s in segments}


def test_the_columns_are_those_of_itk_snap(tmp_path):
    (path,) = write_label_file(tmp_path / "m.label.txt", [Segment(3, 'My "lesion"', (230, 159, 0))])
    lines = [x for x in path.read_text().splitlines() if not x.startswith("#")]
    assert lines[0].split(maxsplit=7) == ["0", "0", "0", "0", "0", "0", "0", '"Clear Label"']
    assert lines[1].split(maxsplit=7) == ["3", "230", "159", "0", "1", "1", "1", "\"My 'lesion'\""]


@pytest.mark.parametrize("name", ["les.nii.gz", "les.nii", "les.nrrd"])
def test_it_lies_beside_the_mask(name):
    assert label_file_path(Path("a") / name) == Path("a/les.label.txt")


def test_a_broken_line_is_told(tmp_path):
    path = tmp_path / "m.txt"
    path.write_text('    1   300  x "A"\n')
    with pytest.raises(BadInput, match="cannot be understood"):
        read_label_file(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_label_file(tmp_path / "none.txt")
