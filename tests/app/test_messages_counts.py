"""Numbers with their words in the right form."""

from app.messages import counted, files_text


def test_one_is_singular() -> None:
    assert [counted(n, "lesion") for n in (0, 1, 2)] == ["0 lesions", "1 lesion", "2 lesions"]


def test_damaged_files_stand_before_others() -> None:
    assert files_text(2, 2137) == "2 damaged · 2137 other files"
    assert files_text(1, 0) == "1 damaged file"
    assert files_text(0, 1) == "1 file"
