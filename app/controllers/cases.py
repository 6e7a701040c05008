"""Opening, loading, saving and closing: joins the readers, the study browser and the case."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal

from app.controllers.even import why_uneven
from app.controllers.first_choice import Touched, best, early, preferred
from app.controllers.reopen import load_refs
from app.header_words import Wording, reworded_series, words_of
from app.logs import frames_of
from app.messages import files_text, sentence
from app.paths import absolute
from app.tasks import Tasks, Ticket
from app.told_sequences import with_guess
from app.workspace import Workspace
from imaging.case import Case, Change
from imaging.errors import ImagingError
from imaging.geometry import Box
from imaging.volume import Volume
from viewer.state.display import DisplayState
from viewer.state.display_json import display_from_json, display_to_json
from viewer.state.navigation import compare_display, show_volume

if TYPE_CHECKING:
    from imaging.series import Loading, SequenceGuess, Series
    from imaging.storage.codec import VolumeRef

log = logging.getLogger(__name__)

#: A first picture is shown after so long, even if headers are still being read.
_FIRST_PICTURE_MS = 1000
_NEXT_LOOK_MS = 300


class CaseController(QObject):
    """Everything between a dropped path and a volume in the case.

    Signals
    -------
    said(str), failed(str)
        A sentence for the status line; what failed stays there until the next one.
    opened(paths)
        A scan found something; for the recent list.
    job(str, str, float)
        Id, words and fraction (below 0: unknown, 1: done) of background work.
    saved(path)
        A case file was written and read back, and holds the open case as it is now.
    loading_changed(volume_id, words)
        Voxels are still arriving; empty words: they are all there.
    object_found(found)
        A mask, map or report was found beside the images.
    not_loaded(key)
        Loading a series has failed or was stopped.
    whole(key, volume)
        All voxels of a series are there.
    scan_ended()
        No more headers are being read; everything that was found has been told.
    """

    said = Signal(str)
    failed = Signal(str)
    opened = Signal(list)
    job = Signal(str, str, float)
    saved = Signal(str)
    loading_changed = Signal(str, str)
    object_found = Signal(object)
    not_loaded = Signal(str)
    whole = Signal(str, object)
    scan_ended = Signal()

    def __init__(self, workspace: Workspace, tasks: Tasks, browser: Any) -> None:
        super().__init__()
        self._workspace = workspace
        self._tasks = tasks
        self._browser = browser
        self._series: dict[str, Series] = {}
        self._volume_of: dict[str, str] = {}
        self._scan: Ticket | None = None
        self._pending: dict[Ticket, str] = {}
        self._loads: dict[str, Ticket] = {}
        self._loadings: dict[str, Loading] = {}
        self._partial: set[str] = set()
        self._results: list[Any] = []
        self._chosen = False
        self._replacing = False  # the open study goes once something of the next one is there
        self._held: list[Callable[[], None]] = []  # what was found of the next one before that
        self._fresh: set[str] = set()  # series that the running scan has found
        self._frames_of: dict[str, int] = {}  # how many a series had when it was loaded
        self._again: set[str] = set()
        self._failures: dict[str, str] = {}
        self._auto = ""  # the series that nobody chose
        self._touched = Touched(workspace)
        self._first_look = QTimer(self, singleShot=True)
        self._first_look.timeout.connect(self._show_early)
        self._first_pictures: dict[str, Series] = {}
        self._comparing: set[str] = set()
        self._beside: set[str] = set()  # series that are loaded for a model, not to be shown
        self.case_path: Path | None = None
        self.saved_revision = workspace.revision
        self.recent: Callable[[], Sequence[str]] = tuple
        self.remembers: Callable[[], bool] = lambda: False
        self.names_as: Callable[[], str] = str
        self.judge: Callable[[Series], Series] = lambda series: series
        browser.series_activated.connect(self.activate)
        workspace.case_changed.connect(self._case_changed)

    # --- opening -----------------------------------------------------------------------------
    def open_demo(self) -> None:
        """Make the demo study if needed, then open it."""
        from imaging.demo import demo_study_folder

        self.job.emit("scan", "Preparing the demo study", -1.0)
        self._slow(
            "scan",
            lambda _ticket: demo_study_folder(),
            lambda folder: self.open_paths([Path(folder)]),
        )

    def open_paths(self, paths: Sequence[Path], add: bool = False) -> None:
        """Scan paths in the background; series appear as they are found.

        Parameters
        ----------
        add : bool
            Keep what is open (a prior beside the current study); else start a new case.
        """
        paths = [absolute(Path(p)) for p in paths]
        if len(paths) == 1 and paths[0].suffix == ".isocase":
            self.open_case_file(paths[0])
            return
        if self._scan:
            self._scan.cancel()
        self._held.clear()
        self._fresh.clear()
        self._replacing = not add and bool(self._series or self._workspace.case.items)
        if not add and not self._replacing:
            self.close()
        if not self._replacing:
            self._chosen = add
        self._browser.set_progress("Looking for images…")
        self.job.emit("scan", "Reading headers", -1.0)
        self._scan = self._slow(
            "scan",
            lambda ticket: self._scan_in_thread(paths, ticket),
            lambda result: self._scanned(paths, result),
        )
        self._first_look.start(_FIRST_PICTURE_MS)

    def _scan_in_thread(self, paths: list[Path], ticket: Ticket):
        from imaging.open import scan

        judge = self.judge
        with self._header_index() as remembered:
            result = scan(
                paths,
                on_series=lambda series: self._live(ticket, self._found_now, judge(series)),
                on_problem=lambda problem: self._live(
                    ticket, self._tell_found, self._browser.add_problem, *problem
                ),
                on_progress=lambda done, total: self._live(
                    ticket, self._scan_progress, done, total
                ),
                cancelled=ticket.cancelled,
                on_object=lambda found: self._live(
                    ticket, self._tell_found, self.object_found.emit, found
                ),
                remembered=remembered,
                names_as=self.names_as(),
            )
        return replace(result, series=tuple(map(judge, result.series)))

    def _header_index(self):
        """What was read of folders before, or nothing where that is switched off."""
        if not self.remembers():
            return nullcontext()
        from imaging.storage.header_index import HeaderIndex

        return HeaderIndex()

    def _slow(
        self,
        job: str,
        work: Callable[[Ticket], Any],
        then: Callable[[Any], None] | None = None,
    ) -> Ticket:
        """Work for the study that is open now; its answer is dropped once that is closed."""
        self._pending = {t: name for t, name in self._pending.items() if not t.done()}
        ticket = self._tasks.run(work, then, self._failed(job))
        self._pending[ticket] = job
        return ticket

    def _live(self, ticket: Ticket, function: Callable, *args) -> None:
        """Call a function on the main thread, unless its work was cancelled meanwhile."""
        self._tasks.post(lambda: None if ticket.cancelled() else function(*args))

    def _scan_progress(self, done: int, total: int) -> None:
        fraction = done / total if total else -1.0
        self.job.emit("scan", f"Reading headers {done} / {total}", min(fraction, 0.99))

    def _found_now(self, series: Series) -> None:
        """A series of the running scan: with the first one its study takes the place of the old."""
        if self._replacing:
            held = list(self._held)
            self._clear(but=self._scan)
            self._chosen = False
            self._browser.set_progress("Looking for images…")
            for tell in held:
                tell()
        self._fresh.add(series.key)
        self._found(series)

    def _tell_found(self, tell: Callable, *found) -> None:
        """What is no image waits while it is not sure that the open study goes."""
        if self._replacing:
            self._held.append(lambda: tell(*found))
        else:
            tell(*found)

    def _show_early(self) -> None:
        """Somebody who has waited a second sees the best of what is there."""
        if not self.scanning or (self._chosen and not self._replacing):
            return
        found = [] if self._replacing else early([self._series[key] for key in self._fresh])
        if found:
            self._show_best(found)
        else:
            self._first_look.start(_NEXT_LOOK_MS)

    def _show_best(self, series: Sequence[Series]) -> None:
        key = best(series).key
        self.activate(key)
        self._auto = key

    def _list(self, series: Series) -> None:
        """Show a series in the list, with the reason where it could not be read."""
        reason = self._failures.get(series.key)
        self._browser.add_series(
            replace(series, problems=(reason, *series.problems)) if reason else series
        )

    def _found(self, series: Series) -> None:
        grown = self._series.get(series.key)
        self._series[series.key] = series
        self._list(series)
        # A first picture while headers are still being read, the true middle slice at the end.
        if grown is None:
            self._make_thumbnails([series])

    @property
    def scanning(self) -> bool:
        """True while headers are being read, and until what was found has been told."""
        return self._scan is not None and not self._scan.cancelled()

    def _scanned(self, paths: list[Path], result) -> None:
        self._list_found(paths, result)
        self._end_scan()

    def _end_scan(self) -> None:
        self._replacing = False
        self._held.clear()
        self._first_look.stop()
        if self._scan is not None:
            self._scan = None
            self.scan_ended.emit()

    def _list_found(self, paths: list[Path], result) -> None:
        if self._replacing and not result.series:  # what is open stays, masks and the like join it
            self._replacing = False
            for found in result.objects:
                self.object_found.emit(found)
        pictured = {key: series.shape for key, series in self._first_pictures.items()}
        for series in result.series:
            self._found_now(series)
        self._results.append(result)
        self._browser.set_progress("")
        self.job.emit("scan", "Headers read", 1.0)
        self._fresh.clear()
        self._finish_grown()
        problems = len(result.problems)
        damaged = sum(problem.damaged for problem in result.problems)
        if not result.series:
            reason = (
                f": {max(result.problems, key=lambda one: one.damaged).reason}" if problems else ""
            )
            if result.objects:
                reason = ", only masks, maps or reports: open the images they were made on, too"
            self.said.emit(f"No images were found in {paths[0].name}{reason}")
            return
        self.opened.emit([str(p) for p in paths])
        note = f", {files_text(damaged, problems - damaged)} not read" if problems else ""
        if result.objects:
            note = f", {len(result.objects)} mask(s), map(s) or report(s) beside them{note}"
        self.said.emit(f"{len(result.series)} series found{note}")
        self._make_thumbnails([s for s in result.series if pictured.get(s.key) != s.shape])
        shown = self._series.get(self._auto)
        if not self._chosen:
            self._show_best(result.series)
        elif shown is not None and self._touched.not_since(shown.key):
            better = preferred(result.series, shown)
            if better is not None:
                self._show_best([better])

    # --- series that have grown after they were opened ---------------------------------------
    def _finish_grown(self) -> None:
        """A series that was opened while its headers were still being read may lack slices."""
        for key in list(self._volume_of):
            if self._lacks_slices(key):
                self._load_again(key)

    def _lacks_slices(self, key: str) -> bool:
        series = self._series.get(key)
        return series is not None and len(series.frames) > self._frames_of.get(
            key, len(series.frames)
        )

    def _load_again(self, key: str) -> None:
        """Load a series with all its slices, in the place of the part that is shown."""
        if self._work_on(self._volume_of[key]):
            self._tell_partial(key)
            return
        ticket = self._loads.pop(key, None)
        if ticket is not None:
            ticket.cancel()
        self._loadings.pop(key, None)
        if self._volume_of[key] in self._workspace.case.items:
            self._again.add(key)
        self._open(key, "")

    def _work_on(self, volume_id: str) -> bool:
        """True where masks or maps lie on the grid of an image."""
        return any(
            item.volume_id == volume_id
            for item in self._workspace.case
            if not isinstance(item, Volume)
        )

    def _tell_partial(self, key: str) -> None:
        self._again.discard(key)
        self._partial.add(key)
        self.failed.emit(
            f"{self._series[key].description} was opened before all its slices were found, and "
            "masks lie on that part: save the case, close the study and open it again"
        )

    def _make_thumbnails(self, series: list[Series]) -> None:
        self._first_pictures |= {one.key: one for one in series}

        def work(ticket: Ticket) -> None:
            from imaging.open import thumbnail

            for one in series:
                if ticket.cancelled():
                    return
                try:
                    picture = thumbnail(one)
                except (ImagingError, OSError):
                    continue
                self._live(ticket, self._browser.set_thumbnail, one.key, picture)

        self._slow("", work)

    # --- series ------------------------------------------------------------------------------
    @property
    def series(self) -> Mapping[str, Series]:
        """All series of the list by key."""
        return self._series

    def series_of(self, volume_id: str) -> Series | None:
        """The series that an open image comes from."""
        return self._series.get(self._key_of(volume_id))

    def activate(self, key: str, cell_id: str = "") -> None:
        """Show a series: in one cell, or as all planes where no cell is named."""
        self._chosen = True
        self._auto = ""
        self._beside.discard(key)
        loaded = self._volume_of.get(key)
        if loaded in self._workspace.case.items:
            self._show(self._workspace.case.volume(loaded), cell_id)
            return
        series = self._series.get(key)
        if series is None:
            return
        if not series.viewable:
            reason = series.problems[0] if series.problems else "it holds no image"
            self.said.emit(f"{series.description} cannot be shown: {reason}")
            return
        self._open(key, cell_id)

    def load_beside(self, key: str) -> None:
        """Load a series of the study without showing it."""
        series = self._series.get(key)
        if series is not None and series.viewable and not self._is_open(key):
            self._beside.add(key)
            self._open(key, "")

    def _open(self, key: str, cell_id: str) -> None:
        series = self._series[key]
        if any(job == key and not ticket.done() for ticket, job in self._pending.items()):
            return  # on its way already
        self.job.emit(key, f"Opening {series.description}", -1.0)
        self._frames_of[key] = len(series.frames)

        def start(_ticket: Ticket):
            from imaging.open import open_series

            return open_series(series)

        self._slow(key, start, lambda loading: self._fill(key, loading, cell_id))

    def _fill(self, key: str, loading, cell_id: str) -> None:
        volume: Volume = loading.volume
        self._volume_of[key] = volume.id
        if not self.scanning and self._lacks_slices(key):  # it has grown on its way here
            self._open(key, cell_id)
            return
        first = {"slab": True}

        def slab(ticket: Ticket, box: Box) -> None:
            if first.pop("slab", False):
                # The middle slice is there: now there is something worth looking at.
                self._live(ticket, self._arrived, volume, cell_id)
                return
            if not box.empty:
                self._live(ticket, self._workspace.volume_filled, volume.id, box)
            fraction = min(0.99, loading.fraction)
            self._live(ticket, self.job.emit, key, f"Loading {volume.name}", fraction)

        def done(whole: Volume) -> None:
            self._loads.pop(key, None)
            self._loadings.pop(key, None)
            self._workspace.volume_whole(whole)
            if self._failures.pop(key, None) and key in self._series:
                self._list(self._series[key])
            self._name_words(key)
            self._name_sequence(key)
            self.loading_changed.emit(whole.id, "")
            self.whole.emit(key, whole)
            self.job.emit(key, f"{whole.name} loaded", 1.0)
            for note in whole.notes:
                self.said.emit(note)

        def load(ticket: Ticket) -> Volume:
            return loading.load(on_slab=partial(slab, ticket), cancelled=ticket.cancelled)

        self._loadings[key] = loading
        self._loads[key] = self._slow(key, load, done)

    def _arrived(self, volume: Volume, cell_id: str) -> None:
        key = self._key_of(volume.id)
        if key in self._again:
            self._arrived_again(key, volume)
            return
        if volume.id in self._workspace.case.items:
            return
        self._workspace.add_volume(volume)
        self._name_sequence(key)
        if key not in self._beside:
            self._show(volume, cell_id)
        self._beside.discard(key)
        self.loading_changed.emit(volume.id, "Loading …")
        self._touched.begin(key)
        if key in self._comparing:
            self._comparing.discard(key)
            self._compare_when_whole()

    def _arrived_again(self, key: str, volume: Volume) -> None:
        """The part that is shown gives way to the whole series; views stay where they are."""
        if self._work_on(volume.id):  # begun meanwhile
            self._loads.pop(key).cancel()
            self._loadings.pop(key, None)
            self.job.emit(key, "", 1.0)
            self._tell_partial(key)
            return
        self._again.discard(key)
        self._partial.discard(key)
        self._workspace.replace_volume(volume)
        self._name_sequence(key)
        self.loading_changed.emit(volume.id, "Loading …")

    def _show(self, volume: Volume, cell_id: str) -> None:
        self._workspace.show(
            show_volume(self._workspace.case, self._workspace.display, volume, cell_id)
        )
        self._browser.set_current(self._key_of(volume.id))

    def _case_changed(self, changes: tuple[Change, ...], origin: str) -> None:
        """The image of a 4D series that is shown now is the one to read next."""
        for change in changes if origin == "repeat" else ():
            loading = self._loadings.get(self._key_of(change.item))
            if loading is not None:
                loading.wanted = self._workspace.case.volume(change.item).repeat

    def set_guess(self, key: str, guess: SequenceGuess) -> None:
        """Another opinion on which sequence a series is, shown and used everywhere at once."""
        series = self._series.get(key)
        if series is not None and series.guess != guess:
            self._series[key] = with_guess(series, guess)
            self._list(self._series[key])
            self._name_sequence(key)

    def _name_sequence(self, key: str) -> None:
        """The loaded image of a series bears the sequence that the series has by now."""
        if key in self._series and self._volume_of.get(key) in self._workspace.case.items:
            self._workspace.name_sequence(self._volume_of[key], self._series[key].sequence)

    def take_words(self, read: Mapping[str, Series], others: Wording) -> None:
        """Series and their images take over the words of another reading of their headers.

        Parameters
        ----------
        read : mapping
            The series by key.
        others : callable
            Gives the origin of images that were made from them their patient's new name.
        """
        for key, series in list(self._series.items()):
            if key in read:
                self._series[key] = reworded_series(series, read[key])
            elif series.kind == "made":
                self._series[key] = replace(series, source=others(series.source))
        for volume in self._workspace.case.volumes:
            if not self._name_words(self._key_of(volume.id)):
                self._workspace.reword(volume.id, others)

    def _name_words(self, key: str) -> bool:
        """The loaded image of a series bears its words; False where it comes from none."""
        series = self._series.get(key)
        if series is None or series.kind == "made":
            return False
        wording = words_of(series.source)
        volume = self._workspace.case.items.get(self._volume_of.get(key, ""))
        if isinstance(volume, Volume) and wording(volume.source) != volume.source:
            self._workspace.reword(volume.id, wording, series.description)
        return True

    def _key_of(self, volume_id: str) -> str:
        return next((k for k, v in self._volume_of.items() if v == volume_id), "")

    def step_series(self, step: int) -> None:
        """Show the next or previous series of the browser."""
        keys = [k for k, s in self._series.items() if s.viewable]
        if not keys:
            return
        cell = self._workspace.display.cell(self._workspace.display.active)
        current = self._key_of(cell.volume_id) if cell else ""
        at = keys.index(current) if current in keys else -step
        self.activate(keys[(at + step) % len(keys)])

    def compare(self) -> None:
        """Show up to four series of the list side by side in one plane, loading what is not."""
        listed = [key for key, series in self._series.items() if series.viewable][:4]
        if len(listed) < 2:
            self.said.emit("There is only one series to show")
            return
        self._comparing = {k for k in listed if not self._is_open(k)}
        for key in self._comparing:
            self.activate(key)
        self._compare_when_whole()

    def _is_open(self, key: str) -> bool:
        return self._volume_of.get(key) in self._workspace.case.items

    def _compare_when_whole(self) -> None:
        if self._comparing:
            return
        volumes = self._workspace.case.volumes
        if len(volumes) > 1:
            self._workspace.show(compare_display(self._workspace.display, volumes))

    @property
    def loading(self) -> bool:
        """True while voxels are still arriving."""
        return bool(self._loads)

    def close(self) -> None:
        """Close the study; the journal keeps what was not saved."""
        self._clear()

    def _clear(self, but: Ticket | None = None) -> None:
        """Close the study, and stop all its work but one ticket."""
        for ticket, job in self._pending.items():
            if ticket is but:
                continue
            if job and not ticket.done():
                self.job.emit(job, "", 1.0)
            ticket.cancel()
        self._pending = {t: job for t, job in self._pending.items() if t is but}
        self._replacing, self._auto = False, ""
        self._held.clear()
        self._fresh.clear()
        for key in list(self._loads):
            self._load_stopped(key)
        self._partial.clear()
        self._again.clear()
        self._frames_of.clear()
        self._failures.clear()
        self._series.clear()
        self._volume_of.clear()
        self._first_pictures.clear()
        self._comparing.clear()
        self._beside.clear()
        self._browser.clear()
        self.case_path = None
        old = self._workspace.display
        kept = DisplayState(layout=old.layout, brush=replace(old.brush, segmentation_id=""))
        self._workspace.replace_case(Case(), kept, "close")
        self.saved_revision = self._workspace.revision
        for result in self._results:
            result.close()
        self._results.clear()

    def why_not_loaded(self, volume_id: str) -> str:
        """Why voxels of a volume are missing; empty where they are all there."""
        key = self._key_of(volume_id)
        if key in self._loads or key in self._again:
            return "The series is still loading: try again when it is whole"
        if self.scanning and key in self._fresh:
            return "Headers are still being read: try again when all slices are found"
        if key in self._partial:
            return "Only a part of this series was loaded: close the study and open it again"
        return ""

    def why_not_written(self, volume_id: str) -> str:
        """Why a volume, or what lies on it, cannot become a file now; empty where it can."""
        volume = self._workspace.case.items.get(volume_id)
        uneven = why_uneven(volume) if isinstance(volume, Volume) else ""
        return self.why_not_loaded(volume_id) or uneven

    def why_not_whole(self, volume_id: str) -> str:
        """Why a model or a 3D tool cannot use a volume now; empty where it can."""
        if reason := self.why_not_written(volume_id):
            return reason
        series = self._series.get(self._key_of(volume_id))
        if series is not None and not series.volumetric:
            reason = series.problems[0] if series.problems else "its slices do not make a volume"
            return f"{series.description} is not fit for a 3D model: {reason}"
        return ""

    def show_made(self, made: Volume) -> None:
        """Bring in an image that is no series of its own and show it.

        A map of measurements, say, or a volume made from uneven slices.
        """
        if made.id not in self._workspace.case.items:
            self._workspace.add_volume(made)
            self._list_made(made)
        self._show(made, "")

    def _list_made(self, made: Volume) -> None:
        """A volume that was made stands in the list of series like those that were found."""
        from imaging.dicom.stacks.split import plane_of
        from imaging.open import volume_thumbnail
        from imaging.series import Series

        series = Series(
            made.id, "made", made.source, made.name, made.geometry.shape, made.geometry, (),
            problems=made.notes, sequence=made.source.sequence,
            plane=plane_of((*made.geometry.directions[:, 2], *made.geometry.directions[:, 1])),
        )  # fmt: skip
        self._volume_of[made.id] = made.id
        self._series[made.id] = series
        self._browser.add_series(series)
        self._browser.set_thumbnail(made.id, volume_thumbnail(made))

    def forget_headers(self) -> None:
        """Delete what was kept of the headers of opened folders."""
        from imaging.storage.header_index import forget_all, remembered_bytes

        size = remembered_bytes()
        try:
            forget_all()
        except OSError as error:
            self.failed.emit(f"The remembered headers cannot be deleted ({error.strerror})")
            return
        self.said.emit(f"Remembered headers deleted ({size / 1e6:.1f} MB)")

    def cancel(self, job: str) -> None:
        """Stop reading headers, or loading a series; what is loaded so far stays."""
        for ticket, name in self._pending.items():
            if name == job:
                ticket.cancel()
        self._load_stopped(job)
        self._browser.set_progress("")
        self.job.emit(job, "Cancelled", 1.0)
        if job == "scan":
            self._end_scan()

    def _load_stopped(self, key: str) -> None:
        """A series whose loading has ended early is shown, but is no image for a model."""
        self._loadings.pop(key, None)
        self._beside.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._partial.add(key)
        if self._loads.pop(key, None) is not None:
            volume_id = self._volume_of[key]
            self._partial |= {key} if volume_id in self._workspace.case.items else set()
            self.loading_changed.emit(volume_id, "")
        if key in self._series:
            self.not_loaded.emit(key)

    # --- images that a journal or a case file refers to --------------------------------------
    def open_refs(
        self,
        refs: Sequence[VolumeRef],
        then: Callable[[Callable[[VolumeRef], Volume | None]], None],
    ) -> None:
        """Open the images of stored work again and wait until they are whole.

        Parameters
        ----------
        then : callable
            Gets a function that finds the open volume of a reference, or None where its files
            are gone or changed.
        """
        if refs and not any(Path(file).is_file() for ref in refs for file in ref.files):
            self.failed.emit("The images of this work were not found; the work was kept")
            return
        self.close()
        self._chosen = True
        self.job.emit("scan", "Opening the images again", -1.0)
        self._slow(
            "scan",
            lambda ticket: load_refs(refs, ticket, self.recent(), self.names_as()),
            lambda loaded: self._reopened(refs, loaded, then),
        )

    def _reopened(self, refs, loaded, then) -> None:
        result, volumes = loaded
        self._results.append(result)
        for series in result.series:
            self._found(self.judge(series))
        for found in result.objects:
            self.object_found.emit(found)
        for series, volume in volumes:
            made = series is None or bool(volume.even_mm)
            if series is not None and series.key not in self._series:
                self._found(self.judge(series))  # a mask that was opened as an image
            if series is not None and not made:
                self._volume_of[series.key] = volume.id
            if volume.id not in self._workspace.case.items:
                self._workspace.add_volume(volume)
                if made:
                    self._list_made(volume)
                elif series is not None:
                    self._name_sequence(series.key)
        self.job.emit("scan", "Images opened", 1.0)
        if volumes:
            self._show(volumes[0][1], "")
        missing = len(refs) - len(volumes)
        if missing > 0:
            self.said.emit(f"{missing} image(s) of this work are not where they were")

        def lookup(ref: VolumeRef) -> Volume | None:
            return next((v for _, v in volumes if ref.fits(v)), None)

        then(lookup)

    # --- case files --------------------------------------------------------------------------
    @property
    def proposed_path(self) -> Path:
        """Where to save a case that has no file yet; the name holds no patient data."""
        return _documents() / f"{_file_stem(self._workspace.case)}.isocase"

    def save(self, path: Path | None = None) -> None:
        """Write the next version of the case file; nothing is ever overwritten."""
        target = path or self.case_path or self.proposed_path
        from imaging.storage.case_file import save_case, snapshot

        self._workspace.rehearse(None)
        case, revision = snapshot(self._workspace.case), self._workspace.revision
        opened = self._workspace.case
        display = display_to_json(self._workspace.display)
        self.job.emit("save", "Saving the case", -1.0)

        def work(_ticket: Ticket) -> Path:
            return Path(save_case(target, case, display))

        self._tasks.run(
            work,
            lambda written: self._case_saved(written, opened, revision),
            self._failed("save"),
            finish=True,
        )

    def _case_saved(self, path: Path, case: Case, revision: int) -> None:
        self.job.emit("save", "", 1.0)
        self.said.emit(f"Saved and read back: {path.name} in {path.parent}")
        self.opened.emit([str(path)])
        if case is self._workspace.case:
            self.case_path = path
            self.saved_revision = revision
        if revision == self._workspace.revision:  # later strokes are not in the file
            self.saved.emit(str(path))

    def open_case_file(self, path: Path) -> None:
        """Open a saved case: its images, masks, maps and the last arrangement."""

        def work(_ticket: Ticket):
            from imaging.storage.case_file import load_case

            return load_case(path)

        self._slow("scan", work, lambda stored: self._case_read(path, stored))

    def _case_read(self, path: Path, stored) -> None:
        def ready(lookup) -> None:
            try:
                items, problems = stored.build(lookup)
            except ImagingError as error:
                self.said.emit(sentence(error))
                return
            self._workspace.adopt(item for item in items if not isinstance(item, Volume))
            self._workspace.case.exports = stored.exports
            ids = {ref.id: v.id for ref in stored.volumes if (v := lookup(ref)) is not None}
            self._workspace.show(display_from_json(stored.display, self._workspace.display, ids))
            self.case_path, self.saved_revision = path, self._workspace.revision
            self.opened.emit([str(path)])
            self.said.emit(" ".join([f"Opened {path.name}.", *problems]))

        self.open_refs(stored.volumes, ready)

    def _failed(self, job: str) -> Callable[[BaseException], None]:
        def tell(error: BaseException) -> None:
            log.error("background work failed: %s", frames_of(error))
            self._load_stopped(job)
            self._browser.set_progress("")
            self.job.emit(job, "", 1.0)
            self.failed.emit(sentence(error))
            if job == "scan":
                self._end_scan()
            elif job in self._series:
                self._not_shown(job, sentence(error))

        return tell

    def _not_shown(self, key: str, reason: str) -> None:
        """Mark a series that could not be read; one that nobody chose gives way to the next."""
        self._failures[key] = reason
        self._list(self._series[key])
        if key == self._auto and not self._workspace.case.volumes:
            others = [one for one in self._series.values() if one.key not in self._failures]
            if any(one.viewable for one in others):
                self._show_best(others)


def _documents() -> Path:
    from platformdirs import user_documents_dir

    documents = Path(user_documents_dir())
    return documents if documents.is_dir() else Path.home()


def _file_stem(case: Case) -> str:
    """A file name from the date of the study and the sequence: no free text of a header."""
    source = case.volumes[0].source
    words = ("case", source.study_date, source.sequence.lower())
    return "-".join(word for word in words if word)
