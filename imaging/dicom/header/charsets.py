"""Names of people in the scripts of the world, also where a file does not say which one.

Source: DICOM PS3.3 C.12.1.1.2 (specific character set), PS3.5 section 6.1 and annexes H to K.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

#: What a user may choose where files do not say it: in words, and as Python calls it.
NAME_CHARSETS = {
    "arabic": "iso8859_6",
    "central-european": "iso8859_2",
    "chinese": "gb18030",
    "cyrillic": "iso8859_5",
    "cyrillic-windows": "cp1251",
    "greek": "iso8859_7",
    "hebrew": "iso8859_8",
    "japanese": "shift_jis",
    "korean": "euc_kr",
    "thai": "tis_620",
    "turkish": "iso8859_9",
    "western": "cp1252",
}
#: The same for people, in the order of a menu.
NAME_SCRIPTS = {
    "western": "Western (Latin-1)",
    "central-european": "Central European",
    "cyrillic": "Cyrillic",
    "cyrillic-windows": "Cyrillic (Windows)",
    "greek": "Greek",
    "turkish": "Turkish",
    "arabic": "Arabic",
    "hebrew": "Hebrew",
    "thai": "Thai",
    "japanese": "Japanese",
    "korean": "Korean",
    "chinese": "Chinese (GB18030)",
}
_UNSAID = "the file does not say its character set"
#: Backslash divides values, caret and equals sign divide the parts of a name.
_DELIMITERS = set(b"\\^=")


def decode_text(raw: bytes, charsets: tuple[str, ...], names_as: str = "") -> str:
    """Text of a header for people.

    Parameters
    ----------
    raw : bytes
    charsets : tuple of str
        Values of Specific Character Set; empty where the file has none.
    names_as : str
        A key of :data:`NAME_CHARSETS` for text whose character set the file does not say; empty
        where nobody chose.

    Returns
    -------
    str
        Bytes that fit nothing become question marks in a box.
    """
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    if not any(charsets):
        return _unsaid(raw, names_as)
    from pydicom.charset import convert_encodings, decode_bytes

    try:
        return decode_bytes(raw, convert_encodings(list(charsets)), _DELIMITERS)
    except (LookupError, UnicodeError, ValueError):
        return _unsaid(raw, names_as)


def is_unsure(raw: bytes, charsets: tuple[str, ...]) -> bool:
    """True where text may come out wrong because the file does not say its character set."""
    if raw.isascii() or any(charsets):
        return False
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def doubt_note(names_as: str = "") -> str:
    """What is said of a name in text whose character set the file does not say."""
    if names_as:
        return f"The patient's name is read as {NAME_SCRIPTS[names_as]}, as chosen: {_UNSAID}."
    return f"The patient's name may be shown in wrong letters: {_UNSAID}."


def names_in_doubt(notes: Iterable[str]) -> bool:
    """True where one of the notes on a series is a :func:`doubt_note`."""
    return any(note.endswith(f"{_UNSAID}.") for note in notes)


def reread(text: str, names_as: str, was: str = "") -> str:
    """Text whose character set the file does not say, as it would come out in another script.

    Parameters
    ----------
    names_as : str
        A key of :data:`NAME_CHARSETS`.
    was : str
        The one that it was read as; empty where nobody chose.

    Returns
    -------
    str
        Text that cannot have been such bytes comes back as it is.
    """
    for charset in (NAME_CHARSETS[was],) if was else ("latin-1", "cp1252"):
        try:
            raw = text.encode(charset)
        except UnicodeEncodeError:
            continue
        return raw.decode(NAME_CHARSETS[names_as], errors="replace")
    return text


def unsaid_charset(raw: bytes, shown: Callable[[str], bool]) -> str:
    """With which character set, as Python calls it, bytes come out as text that was shown.

    Parameters
    ----------
    shown : callable
        Whether a text is the one that was shown.

    Returns
    -------
    str
        Empty where it was none that could be chosen.
    """
    for charset in ("utf-8", "latin-1", *NAME_CHARSETS.values()):
        try:
            if shown(raw.decode(charset)):
                return charset
        except UnicodeDecodeError:
            continue
    return ""


def _unsaid(raw: bytes, names_as: str) -> str:
    """UTF-8 where it is that, which nothing else is by chance; else as chosen, else Western."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode(NAME_CHARSETS.get(names_as, "latin-1"), errors="replace")
