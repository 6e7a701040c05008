"""Names of people in the scripts of the world, also where a file does not say which one.

Source: DICOM PS3.3 C.12.1.1.2 (specific character set), PS3.5 section 6.1 and annexes H to K.
"""

from __future__ import annotations

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


def reread(text: str, names_as: str) -> str:
    """Text that came out as Western letters, read again as another script.

    Text that cannot have been such bytes comes back as it is.
    """
    try:
        raw = text.encode("cp1252", errors="strict")
    except UnicodeEncodeError:
        try:
            raw = text.encode("latin-1")
        except UnicodeEncodeError:
            return text
    return text if raw.isascii() else raw.decode(NAME_CHARSETS[names_as], errors="replace")


def _unsaid(raw: bytes, names_as: str) -> str:
    """UTF-8 where it is that, which nothing else is by chance; else as chosen, else Western."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode(NAME_CHARSETS.get(names_as, "latin-1"), errors="replace")
