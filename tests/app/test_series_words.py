"""Lengths in the list of series."""

from __future__ import annotations

import pytest

from app.windows.series_text import mm_text


@pytest.mark.parametrize(
    ("mm", "words"),
    [(3.25, "3.25"), (0.9375, "0.938"), (1.0, "1"), (650.0, "650"), (1234.5, "1234"),
     (0.05, "0.05"), (0.00002, "0.00002"), (99.96, "100"), (12.34, "12.3")],
)  # fmt: skip
def test_a_length_has_three_digits_and_no_exponent(mm, words) -> None:
    assert mm_text(mm) == words
