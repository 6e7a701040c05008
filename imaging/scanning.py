"""Finds series under any path, one file at a time, and tells about them while it goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imaging.dicom.header.media import is_dicomdir, what_is_missing
from imaging.dicom.index import Index
from imaging.dicom.pixels.read import needs_worker, prepare_worker
from imaging.dicom.stacks.record import FileRecord
from imaging.errors import BadInput, OtherFile
from imaging.series import LABELS, FoundObject, Problem, Series
from imaging.storage.archive import Unpacked, begins_zip, unpack
from imaging.storage.file_head import Found, read_head
from imaging.storage.formats import format_of
from imaging.storage.label_images import as_series

if TYPE_CHECKING:
    from imaging.storage.header_entries import Listing
    from imaging.storage.header_index import HeaderIndex

_REPORT_SECONDS = 0.3
_REPORT_GROWTH = 1.25
_BREATH_SECONDS = 0.004
_SKIPPED_NAMES = frozenset(("thumbs.db", "desktop.ini", "dicomdir"))
#: Headers that name a file with their voxels are read before the files they name.
_HEADERS_FIRST = (".nhdr", ".mhd", ".hdr", ".hdr.gz", ".nii", ".nii.gz", ".nrrd", ".mha")


@dataclass(frozen=True)
class ScanResult:
    """What was found under some paths.

    Close it (or use it in a ``with``) when none of its series is needed any more: series out of
    zip archives live in a private folder that goes with it.

    Parameters
    ----------
    series : tuple of Series
        By study, then series number.
    problems : tuple of Problem
        Files that were not used, each with a reason.
    objects : tuple of FoundObject
        Masks, contours, maps and reports, in the order they were found.
    stopped : bool
        True where the scan was cancelled before its end.
    """

    series: tuple[Series, ...]
    problems: tuple[Problem, ...]
    stopped: bool = False
    objects: tuple[FoundObject, ...] = ()
    _archives: tuple[Unpacked, ...] = field(default=(), repr=False)

    def close(self) -> None:
        """Delete unpacked archives; may be called twice."""
        for archive in self._archives:
            archive.close()

    def __enter__(self) -> ScanResult:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def scan(
    paths: Iterable[str | os.PathLike[str]],
    on_series: Callable[[Series], None] | None = None,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    on_object: Callable[[FoundObject], None] | None = None,
    remembered: HeaderIndex | None = None,
    names_as: str = "",
) -> ScanResult:
    """Find the series in folders, files and zip archives; reads headers only.

    A file is judged by its content, not its name. No bad file raises: it is listed.

    Parameters
    ----------
    paths : iterable of path
    on_series : callable, optional
        Called for each new series and again, with the same key, when it has grown.
    on_problem : callable, optional
        Called for each file that cannot be used.
    on_progress : callable, optional
        Called with the files done and the files known so far.
    cancelled : callable, optional
        Asked between files; True stops with what is there.
    on_object : callable, optional
        Called for each mask, map or report.
    remembered : HeaderIndex, optional
        Headers of earlier scans: files that are as they were need not be read again. What is found
        now is remembered there; zip archives never are.
    names_as : str, optional
        Script of names in DICOM files that do not say their character set; a key of
        :data:`imaging.dicom.header.charsets.NAME_CHARSETS`.

    Returns
    -------
    ScanResult
    """
    worker = _Scan(on_series, on_problem, on_progress, cancelled or (lambda: False), on_object)
    worker.index = Index(names_as)
    if remembered is not None:
        remembered.keep_apart(names_as)
    try:
        worker.run([os.fspath(path) for path in paths], remembered)
    except BaseException:
        worker.close()
        raise
    return worker.outcome()


class _Scan:
    """One run of :func:`scan`."""

    def __init__(self, on_series, on_problem, on_progress, cancelled, on_object=None) -> None:
        self.on_series, self.on_problem, self.on_progress = on_series, on_problem, on_progress
        self.cancelled, self.on_object = cancelled, on_object
        self.index = Index()
        self.grids: list[Series] = []
        self.problems: list[Problem] = []
        self.objects: list[FoundObject] = []
        self.used: set[str] = set()
        self.archives: list[Unpacked] = []
        self.names: dict[str, str] = {}
        self.tables: list[str] = []
        self.reported: dict[str, int] = {}
        self.final: dict[str, list[Series]] = {}
        self.done = self.total = self.told = self.told_objects = 0
        self.stopped = False
        self.known: dict[str, FileRecord] = {}
        self.recalled: ScanResult | None = None
        self.next_report = time.monotonic() + _REPORT_SECONDS

    def run(self, paths: Sequence[str], remembered: HeaderIndex | None = None) -> None:
        files = list(dict.fromkeys(file for path in paths for file in self._files(path)))
        files = _headers_first(files)
        if remembered is None or self.problems:  # a folder that could not be listed may be later
            self._read_files(files)
            return
        from imaging.storage.header_entries import Listing

        listing = Listing(paths, [*files, *self.tables])
        if not self._recall(remembered, listing):
            self.known = remembered.records(listing)
            self._read_files(files)
            self._remember(remembered, listing)

    def _recall(self, remembered: HeaderIndex, listing: Listing) -> bool:
        """Take what a scan of the same files found; False where they are not the same."""
        whole = remembered.recall(listing)
        if whole is None:
            return False
        if any(
            one.kind == "dicom" and needs_worker(one.frames[0].encoding) for one in whole.series
        ):
            prepare_worker()  # as the index does while it reads
        self.recalled = ScanResult(whole.series, whole.problems, False, whole.objects)
        self.done = self.total = len(listing.files)
        # Everything is there at once: who listens in a window must not get it all at once.
        for count, series in enumerate(whole.series, 1):
            self._tell_series(series)
            self._breathe(count, 4)
        for count, problem in enumerate(whole.problems, 1):
            self._problem(*problem)
            self._breathe(count, 100)
        for count, one in enumerate(whole.objects, 1):
            self._tell_object(one)
            self._breathe(count, 20)
        self._progress()
        return True

    def _breathe(self, count: int, often: int) -> None:
        if count % often == 0 and self.on_series is not None:
            time.sleep(_BREATH_SECONDS)

    def _remember(self, remembered: HeaderIndex, listing: Listing) -> None:
        from imaging.storage.header_entries import Remembered

        remembered.keep_records(listing, self.index.records, self.known)
        if not self.stopped and not self.archives:
            found = self.result()
            remembered.keep(listing, Remembered(found.series, found.problems, found.objects))

    def _read_files(self, files: Sequence[str]) -> None:
        self._read_all(files)
        for group in self.index.groups:
            self._report_series(group, final=True)
        self._tell_new()
        self._check_tables()
        self._show_lonely_masks()
        self._progress()

    def _check_tables(self) -> None:
        """Tell what the tables of contents promise and is not there."""
        for path in dict.fromkeys(os.path.abspath(table) for table in self.tables):
            if not self.stopped and (sentence := what_is_missing(path)):
                self._problem(path, sentence)

    def close(self) -> None:
        for archive in self.archives:
            archive.close()

    def outcome(self) -> ScanResult:
        return self.recalled or self.result()

    def result(self) -> ScanResult:
        found = [series for group in self.index.groups for series in self.final[group]]
        first_seen: dict[str, int] = {}
        for series in found:
            first_seen.setdefault(series.source.study_uid, len(first_seen))

        def place(series: Series) -> tuple[int, int]:
            number = series.source.series_number
            order = int(number) if number.lstrip("-").isdecimal() else 1 << 30
            return first_seen[series.source.study_uid], order

        ordered = sorted(found, key=place)
        return ScanResult(
            (*ordered, *self.grids),
            tuple(self.problems),
            self.stopped,
            tuple(self.objects),
            tuple(self.archives),
        )

    def _files(self, path: str) -> Iterator[str]:
        """All files under a path, in order of their names; links to folders are not followed.

        A DICOMDIR stands for its folder: what lies there counts, not what it promises.
        """
        if os.path.isfile(path) and is_dicomdir(path):
            self.tables.append(path)
            path = os.path.dirname(path) or os.curdir
        if os.path.isfile(path):
            yield path
        elif not os.path.isdir(path):
            self._problem(path, "There is no such file or folder.")
        else:
            for folder, folders, names in os.walk(path, onerror=self._folder_problem):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(names):
                    if not _skipped(name):
                        yield os.path.join(folder, name)
                    elif name.upper() == "DICOMDIR":
                        self.tables.append(os.path.join(folder, name))
                if self.cancelled():
                    return

    def _folder_problem(self, error: OSError) -> None:
        self._problem(str(error.filename), "The folder cannot be read.")

    def _read_all(self, files: Sequence[str], nested: bool = False) -> None:
        self.total += len(files)
        for file in files:
            if self.cancelled():
                self.stopped = True
                return
            try:
                self._read(file, nested)
            except BadInput as error:
                reason = ". ".join(filter(None, (error.what, error.advice))) + "."
                self._problem(file, reason, not isinstance(error, OtherFile))
            except (MemoryError, RecursionError):
                self._problem(file, "The file needs more memory than there is.")
            except Exception as error:
                self._problem(file, f"The file cannot be understood ({type(error).__name__}).")
            self.done += 1
            self._report_growth()

    def _read(self, file: str, nested: bool) -> None:
        if file in self.known:
            self.index.take(self.known[file])
            return
        head = read_head(file)
        if begins_zip(head.raw):
            if nested:
                raise OtherFile("Archives inside an archive are not opened", file)
            self._read_archive(file)
        elif file in self.used:
            return
        elif known := format_of(head):
            self._take(known.read(file, self.names.get(file, "")))
        else:
            self.index.add(file)

    def _take(self, found: Found) -> None:
        self.used.update(found.used)
        self.grids.extend(found.series)
        for series in found.series:
            self._tell_series(series)
        for one in found.objects:
            self._tell_object(one)

    def _read_archive(self, file: str) -> None:
        unpacked = unpack(file, self.cancelled)
        self.archives.append(unpacked)
        for path, name in unpacked.members:
            self.names[path] = f"{file} › {name}"
        for name, reason in unpacked.refused:
            self._problem(f"{file} › {name}", reason)
        wanted = [path for path, name in unpacked.members if not _skipped(os.path.basename(name))]
        self._read_all(_headers_first(wanted, self.names), nested=True)

    def _problem(self, path: str, reason: str, damaged: bool = True) -> None:
        problem = Problem(self.names.get(path, path), reason, damaged)
        self.problems.append(problem)
        if self.on_problem is not None:
            self.on_problem(problem)

    def _tell_new(self) -> None:
        """Pass on what the index has found to be a problem or an object since the last time."""
        for problem in self.index.problems[self.told :]:
            self._problem(*problem)
        self.told = len(self.index.problems)
        for one in self.index.objects[self.told_objects :]:
            self._tell_object(one)
        self.told_objects = len(self.index.objects)

    def _tell_object(self, found: FoundObject) -> None:
        self.objects.append(found)
        if self.on_object is not None:
            self.on_object(found)

    def _tell_series(self, series: Series) -> None:
        if self.on_series is not None:
            self.on_series(series)

    def _show_lonely_masks(self) -> None:
        """Masks without any image are images too: there is nothing else to show them on."""
        if self.grids or self.index.groups or self.stopped:
            return
        for found in self.objects:
            if found.kind == LABELS:
                try:
                    self._take(Found((as_series(found),)))
                except BadInput as error:  # gone or changed since it was found
                    self._problem(found.path, error.what + ".")

    def _report_growth(self) -> None:
        """Report new series at once and grown ones now and then."""
        self._tell_new()
        groups = self.index.groups
        if len(groups) > len(self.reported):
            for group in groups:
                if group not in self.reported:
                    self._report_series(group)
        now = time.monotonic()
        if now < self.next_report:
            return
        for group in groups:
            if self.index.count(group) >= self.reported[group] * _REPORT_GROWTH:
                self._report_series(group)
        self._progress()
        spent = time.monotonic() - now
        self.next_report = now + max(_REPORT_SECONDS, 10 * spent)

    def _report_series(self, group: str, final: bool = False) -> None:
        found = self.index.series(group, final)
        if final:
            self.final[group] = found
        count = self.index.count(group)
        if self.reported.get(group) != count:
            self.reported[group] = count
            for series in found:
                self._tell_series(series)

    def _progress(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.done, self.total)


def _skipped(name: str) -> bool:
    """Files that systems leave beside images and nobody wants to hear of."""
    return name.startswith(".") or name.lower() in _SKIPPED_NAMES


def _headers_first(files: Sequence[str], names: Mapping[str, str] | None = None) -> list[str]:
    """The same files; headers that may name another file for their voxels come first."""

    def late(file: str) -> bool:
        return not (names or {}).get(file, file).lower().endswith(_HEADERS_FIRST)

    return sorted(files, key=late)
