"""From header to :class:`Series`, while files keep coming."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

from imaging.dicom.header.read import read_header
from imaging.dicom.header.tags import DICOMDIR_CLASS, Header
from imaging.dicom.objects.find_objects import find_object
from imaging.dicom.pixels.codestream import undecodable_reason
from imaging.dicom.pixels.read import needs_worker, prepare_worker
from imaging.dicom.stacks.describe import Study, study_of
from imaging.dicom.stacks.frames import frame_fault, read_frames
from imaging.dicom.stacks.record import FileRecord
from imaging.dicom.stacks.sequence import guess_stack
from imaging.dicom.stacks.split import Stack, plane_of, split
from imaging.errors import BadInput, OtherFile
from imaging.series import FoundObject, Frame, Problem, Series

_COPY = "The same image is already there from another file"
_COLOUR = "The images are in colour; they are shown as grey values."


class Index:
    """Collects DICOM files and says which series they make.

    Files may come in any order; :meth:`series` may be called at any time.

    Parameters
    ----------
    names_as : str
        Script of names in files that do not say their character set; a key of
        :data:`imaging.dicom.header.charsets.NAME_CHARSETS`, or empty.
    """

    def __init__(self, names_as: str = "") -> None:
        self._names_as = names_as
        self.problems: list[Problem] = []
        self.objects: list[FoundObject] = []
        self.records: list[FileRecord] = []
        self._studies: dict[str, Study] = {}
        self._frames: dict[str, list[Frame]] = {}
        self._seen: dict[tuple, str] = {}
        self._sizes: dict[str, int] = {}
        self._object_files: dict[str, str] = {}

    def add(self, path: str) -> str | None:
        """Read the header of one file.

        Parameters
        ----------
        path : str
            Any file; what is wrong with it goes to ``problems``.

        Returns
        -------
        str or None
            The series the file belongs to, for :meth:`series`; None where it was not used.
        """
        try:
            record = self._read(path)
        except BadInput as error:
            self.problems.append(Problem(path, error.what + ".", not isinstance(error, OtherFile)))
            return None
        return None if record is None else self.take(record)

    def _read(self, path: str) -> FileRecord | None:
        header = self._header(path)
        if header.media_class == DICOMDIR_CLASS:
            return None
        found = find_object(header)
        if found is not None:
            return FileRecord(path, header.size, found=found)
        frames, group = tuple(read_frames(header)), _group_name(header)
        study = None if group in self._studies else study_of(header)
        return FileRecord(path, header.size, group, frames, study)

    def _header(self, path: str) -> Header:
        header = read_header(path)
        header.names_as = self._names_as
        return header

    def take(self, record: FileRecord) -> str | None:
        """Use what is known of a file, as :meth:`add` does after reading it.

        Raises
        ------
        BadInput
            Where the file must be read once more and cannot be.
        """
        self.records.append(record)
        if record.found is not None:
            self._keep_object(record.found)
            return None
        self._sizes[record.path] = record.size
        kept = [frame for frame in record.frames if self._accept(frame, record.size)]
        if not kept:
            return None
        if record.group not in self._studies:
            self._studies[record.group] = record.study or study_of(self._header(record.path))
            if needs_worker(kept[0].encoding):
                prepare_worker()
        self._frames.setdefault(record.group, []).extend(kept)
        return record.group

    def _keep_object(self, found: FoundObject) -> None:
        known = self._object_files.setdefault(found.key, found.path)
        if known == found.path:
            self.objects.append(found)
        else:
            reason = "The same object is already there from another file."
            self.problems.append(Problem(found.path, reason))

    def _accept(self, frame: Frame, size: int) -> bool:
        fault = frame_fault(frame)
        if not fault and frame.instance_uid:
            place = (frame.instance_uid, frame.number, frame.tile, frame.position)
            known = self._seen.setdefault(place, frame.file)
            if known != frame.file:
                fault = _COPY
                if size > self._sizes.get(known, 0):
                    self._drop_copy(known)
                    self._seen[place], fault = frame.file, ""
        if not fault:
            return True
        problem = Problem(frame.file, fault + ".", fault is not _COPY)
        if not self.problems or self.problems[-1] != problem:
            self.problems.append(problem)
        return False

    def _drop_copy(self, file: str) -> None:
        """Forget a file of which a larger copy has come: the smaller one may be cut off."""
        for group, frames in self._frames.items():
            self._frames[group] = [frame for frame in frames if frame.file != file]
        problem = Problem(file, _COPY + ".")
        if problem not in self.problems:
            self.problems.append(problem)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of all series seen so far."""
        return tuple(self._frames)

    def count(self, group: str) -> int:
        """Number of frames of a series so far."""
        return len(self._frames.get(group, ()))

    def series(self, group: str, final: bool = False) -> list[Series]:
        """The stacks that the files of a series make so far.

        Parameters
        ----------
        group : str
            As returned by :meth:`add`.
        final : bool
            True when no more files come: frames without a place among others that have one are
            then listed as problems.
        """
        frames = self._frames.get(group, [])
        placed = [frame for frame in frames if frame.placed]
        if placed and len(placed) < len(frames):
            if final:
                self._list_unplaced([frame for frame in frames if not frame.placed])
            frames = placed
        study = self._studies[group]
        stacks = split(frames, study.frame_of_reference)
        # An image that lacks slices may be about to get them: it is told of at the end.
        return [_series(group, study, stack) for stack in stacks if final or stack.whole]

    def _list_unplaced(self, frames: list[Frame]) -> None:
        for path in dict.fromkeys(frame.file for frame in frames):
            reason = "The image has no position while the others of its series have one."
            problem = Problem(path, reason, damaged=True)
            if problem not in self.problems:
                self.problems.append(problem)


def _group_name(header: Header) -> str:
    """What the files of one series share; without a UID, their folder."""
    series = header.text(0x0020000E) or os.path.dirname(header.path)
    return "|".join((header.text(0x00100020), header.text(0x0020000D), series))


def _series(group: str, study: Study, stack: Stack) -> Series:
    first = stack.frames[0]
    label = f" · {stack.label}" if stack.label else ""
    problems = stack.problems
    if first.encoding.samples == 3:
        problems += (_COLOUR,)
    problems += tuple(
        dict.fromkeys(note for frame in stack.frames for note in frame.encoding.notes)
    )
    problems += study.notes
    undecodable = undecodable_reason(first.encoding)
    if undecodable:
        problems = (undecodable + ".", *problems)
    guess = guess_stack(study.facts, stack.frames)
    source = replace(
        study.source,
        files=tuple(frame.file for frame in stack.frames),
        instance_uids=tuple(frame.instance_uid for frame in stack.frames),
        frames=tuple(frame.number for frame in stack.frames) if first.number else (),
        sequence=guess.name,
    )
    return Series(
        key=hashlib.sha1(f"{group}|{stack.signature}".encode(), usedforsecurity=False).hexdigest(),
        kind="dicom",
        source=source,
        description=study.description + label,
        shape=(len(stack.frames) // max(1, len(stack.repeats)), *first.shape),
        geometry=stack.geometry,
        frames=stack.frames,
        regular=stack.regular,
        repeat_axis=stack.repeat_axis,
        repeats=stack.repeats,
        problems=problems,
        sequence=guess.name,
        plane=plane_of(first.orientation) if stack.geometry else "",
        bits=first.encoding.bits_stored,
        photometric=first.encoding.photometric,
        viewable=not undecodable,
        guess=guess,
    )
