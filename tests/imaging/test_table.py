"""CSV tables."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.storage.table import write_table


def _read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_rows_by_name_and_by_place(tmp_path):
    (path,) = write_table(
        tmp_path / "t.csv", ["lesion", "ml"], [{"ml": 0.25, "lesion": 1}, [2, None], {"lesion": 3}]
    )
    assert _read(path) == [["lesion", "ml"], ["1", "0.25"], ["2", ""], ["3", ""]]


def test_utf8_without_a_mark_and_quotes_where_needed(tmp_path):
    (path,) = write_table(tmp_path / "t.csv", ["place"], [['frontal, "left"\nüber']])
    raw = path.read_bytes()
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert raw == 'place\r\n"frontal, ""left""\nüber"\r\n'.encode()


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@SUM(A1)"])
def test_text_never_becomes_a_formula(tmp_path, text):
    (path,) = write_table(tmp_path / "t.csv", ["note"], [[text]])
    assert _read(path)[1] == ["'" + text]


def test_a_negative_number_stays_a_number(tmp_path):
    (path,) = write_table(tmp_path / "t.csv", ["x"], [[-3.5]])
    assert _read(path)[1] == ["-3.5"]


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(rows=st.lists(st.tuples(_TEXT, _TEXT), max_size=8))
def test_any_text_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    write_table(path, ["a", "b"], rows)
    back = _read(path)[1:]
    assert [tuple(c.removeprefix("'") for c in r) for r in back] == [
        tuple(c.removeprefix("'") for c in r) for r in rows
    ]


def test_a_row_of_the_wrong_length_is_our_mistake(tmp_path):
    with pytest.raises(ValueError, match="columns"):
        write_table(tmp_path / "t.csv", ["a"], [[1, 2]])
    assert not (tmp_path / "t.csv").exists()
