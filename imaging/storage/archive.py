"""Zip archives, opened without trust.

Names inside an archive are never used as paths: every member goes to a file named by a counter in
a private folder. Links, encrypted members and archives inside archives are refused with a reason,
and number, size and compression ratio are limited while inflating.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from imaging.errors import BadInput
from imaging.storage.file_head import read_head

MAX_MEMBERS = 200_000
MAX_TOTAL_BYTES = 32 << 30
MAX_RATIO = 200
#: Archives that stay below this size may be compressed as strongly as they like.
RATIO_FREE_BYTES = 64 << 20
_BLOCK = 1 << 20


@dataclass
class Unpacked:
    """Files out of an archive in a private folder (mode 0700) that goes with this object."""

    folder: tempfile.TemporaryDirectory = field(repr=False)
    #: path on disk, name inside the archive (for people only)
    members: list[tuple[str, str]] = field(default_factory=list)
    #: name inside the archive, reason
    refused: list[tuple[str, str]] = field(default_factory=list)

    def close(self) -> None:
        """Delete the folder; may be called twice."""
        self.folder.cleanup()


def begins_zip(head: bytes) -> bool:
    """True for the first bytes of a zip archive."""
    return head[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def is_zip(path: str) -> bool:
    """True where the file begins as a zip archive does."""
    return begins_zip(read_head(path).raw)


def unpack(path: str, cancelled: Callable[[], bool] | None = None) -> Unpacked:
    """Unpack a zip archive.

    Parameters
    ----------
    path : str
        The archive.
    cancelled : callable, optional
        True stops after the current member.

    Returns
    -------
    Unpacked
        The caller closes it.

    Raises
    ------
    BadInput
        Where the archive is damaged or passes a limit; nothing is left on disk.
    """
    result = Unpacked(tempfile.TemporaryDirectory(prefix="isocenter-zip-"))
    try:
        with zipfile.ZipFile(path) as archive:
            _check_announced(archive, path)
            _unpack_members(archive, path, result, cancelled or (lambda: False))
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        result.close()
        raise BadInput("The zip archive is damaged", path, "Copy or download it again") from error
    except OSError as error:
        result.close()
        reason = error.strerror or "input error"
        raise BadInput(f"The zip archive cannot be unpacked ({reason})", path) from error
    except BaseException:
        result.close()
        raise
    return result


def _check_announced(archive: zipfile.ZipFile, path: str) -> None:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    packed = os.path.getsize(path)
    room = shutil.disk_usage(tempfile.gettempdir()).free
    if len(members) > MAX_MEMBERS:
        raise BadInput(f"The zip archive holds {len(members)} files; {MAX_MEMBERS} are read", path)
    if total > MAX_TOTAL_BYTES:
        raise BadInput("The zip archive is too large to be unpacked", path, "Unpack it yourself")
    if total > RATIO_FREE_BYTES and total > MAX_RATIO * packed:
        raise BadInput("The zip archive inflates far too strongly to hold images", path)
    if total > room * 0.9:
        raise BadInput("The disk has no room to unpack the zip archive", path, "Free some space")


def _unpack_members(
    archive: zipfile.ZipFile, path: str, result: Unpacked, cancelled: Callable[[], bool]
) -> None:
    for number, member in enumerate(archive.infolist()):
        if cancelled():
            return
        if member.is_dir():
            continue
        name = _shown_name(member.filename)
        reason = _refusal(member)
        if reason:
            result.refused.append((name, reason))
            continue
        target = Path(result.folder.name) / f"{number:06d}"
        if _copy(archive, member, target):
            result.members.append((str(target), name))
        else:
            result.refused.append((name, "The file inside the archive is damaged."))


def _shown_name(name: str) -> str:
    """A member's name for people: no control characters, not endless."""
    return "".join(c if c.isprintable() else "?" for c in name)[-200:]


def _refusal(member: zipfile.ZipInfo) -> str:
    if stat.S_ISLNK(member.external_attr >> 16):
        return "Links inside an archive are not followed."
    if member.flag_bits & 0x1:
        return "The file is encrypted; unpack the archive yourself."
    return ""


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> bool:
    """Inflate one member, never past its announced size; False where it is damaged."""
    left = member.file_size
    try:
        with archive.open(member) as source, open(target, "xb") as sink:
            while block := source.read(min(_BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    raise zipfile.BadZipFile("longer than announced")
                sink.write(block)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError):
        target.unlink(missing_ok=True)
        return False
    except Exception as error:
        if type(error).__module__ not in ("zlib", "_lzma", "lzma"):
            raise
        target.unlink(missing_ok=True)
        return False
    return True
