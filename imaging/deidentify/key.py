"""The secret that joins what belongs together: same key, same new UID, pseudonym and date shift.

Whoever has the key can find out which pseudonym belongs to a known patient, so the file is readable
by its owner only and never leaves with the images. Nothing can be computed back without the
originals: every answer is a keyed hash (HMAC-SHA256, RFC 2104).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from imaging.atomic import write_atomic
from imaging.errors import BadInput, WorldFailed

KEY_FILE = "deidentify-key.json"
MAX_SHIFT_DAYS = 365
_BYTES = 32


@dataclass(frozen=True)
class Key:
    """A secret, and pseudonyms that somebody has chosen by hand.

    Parameters
    ----------
    secret : bytes
    pseudonyms : mapping
        Original Patient ID to pseudonym; other patients get ``ANON-`` and eight letters.
    """

    secret: bytes = field(repr=False)
    pseudonyms: Mapping[str, str] = field(default_factory=dict, repr=False)

    def _hash(self, purpose: str, text: str) -> bytes:
        return hmac.new(self.secret, f"{purpose}\0{text}".encode(), hashlib.sha256).digest()

    def uid(self, uid: str) -> str:
        """The new UID for an old one (PS3.5 B.2: 2.25 and 128 bits)."""
        return _uid(self.secret, uid)

    def pseudonym(self, patient: str) -> str:
        """The new name and ID of a patient."""
        return self.pseudonyms.get(patient) or "ANON-" + self.token("patient", patient, 8)

    def days(self, patient: str) -> int:
        """By how many days this patient's dates move: -1 to -365."""
        number = int.from_bytes(self._hash("days", patient)[:8], "big")
        return -(1 + number % MAX_SHIFT_DAYS)

    def token(self, purpose: str, text: str, length: int = 8) -> str:
        """Letters and digits that stand for a text, for names of folders and files."""
        return base64.b32encode(self._hash(purpose, text)).decode()[:length]

    @property
    def fingerprint(self) -> str:
        """Tells two keys apart without giving either away."""
        return self.token("fingerprint", "", 8)


@lru_cache(maxsize=200_000)
def _uid(secret: bytes, uid: str) -> str:
    digest = hmac.new(secret, f"uid\0{uid}".encode(), hashlib.sha256).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def new_key() -> Key:
    """A fresh secret."""
    return Key(secrets.token_bytes(_BYTES))


def default_key_path() -> Path:
    """Where the key of this user lies: beside the settings."""
    import platformdirs

    return Path(platformdirs.user_config_dir("isocenter", appauthor=False)) / KEY_FILE


def load_key(path: Path | None = None, pseudonyms: Path | None = None) -> Key:
    """Read a key file; make it (mode 0600) where there is none.

    Parameters
    ----------
    path : Path, optional
        The usual one where not given.
    pseudonyms : Path, optional
        CSV with two columns, original Patient ID and pseudonym; a first line that says so may stand
        above them.

    Raises
    ------
    BadInput
        Where the file is no key, or the list of pseudonyms makes no sense.
    WorldFailed
        Where it cannot be read or made.
    """
    path = Path(path) if path is not None else default_key_path()
    chosen = read_pseudonyms(pseudonyms) if pseudonyms else {}
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Key(_make(path), chosen)
    except (OSError, UnicodeDecodeError) as error:
        raise WorldFailed("The key file cannot be read", str(path)) from error
    try:
        secret = bytes.fromhex(json.loads(text)["secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            "This is no key file of Isocenter", str(path), "Choose the right one or a new name"
        ) from error
    if len(secret) < 16:
        raise BadInput("The key in this file is too short to protect anybody", str(path))
    return Key(secret, chosen)


def _make(path: Path) -> bytes:
    secret = secrets.token_bytes(_BYTES)
    table = {
        "what": "Key of Isocenter's de-identification: keep it secret, never send it along",
        "secret": secret.hex(),
    }

    def write(aside: Path) -> None:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(table, file, indent=2)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorldFailed("The folder for the key file cannot be made", str(path.parent)) from error
    write_atomic(path, write)
    return secret


def read_pseudonyms(path: Path) -> dict[str, str]:
    """Original Patient IDs and their pseudonyms from a CSV file.

    Raises
    ------
    BadInput
        Where a line has not two cells, a pseudonym is used twice or cannot be a Patient ID.
    WorldFailed
        Where the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WorldFailed("The list of pseudonyms cannot be read", str(path)) from error
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        if number == 1 and "pseudonym" in cells[-1].casefold():
            continue
        if len(cells) != 2 or not all(cells):
            raise BadInput(f"Line {number} has not two cells: Patient ID, pseudonym", str(path))
        if len(cells[1]) > 64 or "\\" in cells[1] or not cells[1].isprintable():
            raise BadInput(f"The pseudonym in line {number} cannot be a Patient ID", str(path))
        if cells[1] in found.values() and found.get(cells[0]) != cells[1]:
            raise BadInput(f"The pseudonym in line {number} is used twice", str(path))
        found[cells[0]] = cells[1]
    return found
