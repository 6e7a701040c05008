"""Masks, contours, maps and reports of other programs: from their row in the list into the case."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject, Signal

from app.controllers.cases import CaseController
from app.logs import frames_of
from app.messages import sentence
from app.paths import absolute
from app.tasks import Tasks, Ticket
from app.workspace import Workspace
from imaging.case import ADDED, Change, Item
from imaging.edits.edit import AddItem, Group
from imaging.errors import EditRefused
from imaging.heatmap import Heatmap
from imaging.segmentation import OPENED_ID, Segmentation
from imaging.series import LABELS, PARAMETRIC_MAP, REPORT, FoundObject, Series
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.dicom.objects.read_report import MeasurementGroup, ReportText
    from imaging.objects import ReadItems
    from viewer.state.display import DisplayState

log = logging.getLogger(__name__)
_JOB = "object-"


@dataclass(frozen=True)
class _Opened:
    """What a thread has read: items or a report, where to look, and how much is marked."""

    read: ReadItems | ReportText
    place: np.ndarray | None = None
    marked_ml: float = 0.0


class ObjectController(QObject):
    """Opens what lies beside the images, each as one step that can be undone.

    Signals
    -------
    said(str), failed(str)
        A sentence for the status line; what failed stays there until the next one.
    job(str, str, float)
        Id, words and fraction (below 0: unknown, 1: done) of background work.
    reported(report, title)
        A :class:`imaging.dicom.objects.read_report.ReportText` to show.
    """

    said = Signal(str)
    failed = Signal(str)
    job = Signal(str, str, float)
    reported = Signal(object, str)

    def __init__(
        self,
        workspace: Workspace,
        tasks: Tasks,
        cases: CaseController,
        browser: Any,
        notice: Any,
        jump: Callable[..., None],
    ) -> None:
        super().__init__()
        self._workspace, self._tasks, self._cases = workspace, tasks, cases
        self._browser, self._notice, self._jump = browser, notice, jump
        self._objects: dict[str, FoundObject] = {}
        self._reading: dict[str, Ticket] = {}
        self._waiting: dict[str, list[FoundObject]] = {}  # by the series they wait for
        self._early: dict[str, FoundObject] = {}  # asked for while headers were being read
        browser.object_activated.connect(self.open)
        browser.mask_wanted.connect(self.open_as_mask)
        cases.object_found.connect(self.add)
        cases.scan_ended.connect(self._scan_ended)
        workspace.case_changed.connect(self._case_changed)

    @property
    def found(self) -> list[FoundObject]:
        """All objects of the list, in the order they were found."""
        return list(self._objects.values())

    @property
    def reading(self) -> bool:
        """True while an object is on its way."""
        return bool(self._reading or self._early)

    def add(self, found: FoundObject) -> None:
        """List an object that a scan has found."""
        self._objects[found.key] = found
        self._browser.add_object(found)
        self._browser.set_object_open(found.key, bool(self._items_of(found)))

    # --- files dropped on the window -------------------------------------------------------------
    def drop(self, paths: Sequence[str], add: bool) -> None:
        """Open what was dropped; masks and the like go onto the study that is open."""
        files = [absolute(Path(path)) for path in paths]
        if add or not self._workspace.case.volumes or any(file.is_dir() for file in files):
            self._cases.open_paths(files, add)
            return

        def work(ticket: Ticket):
            from imaging.objects import only_objects
            from imaging.open import scan

            if not only_objects([str(file) for file in files]):
                return None
            return scan(files, cancelled=ticket.cancelled, names_as=self._cases.names_as())

        def then(result: Any) -> None:
            if result is None or not result.objects:
                self._cases.open_paths(files, add)
                return
            for found in result.objects:
                self.add(found)
                self.open(found.key)

        self._tasks.run(work, then, self._failed("drop"))

    # --- opening ----------------------------------------------------------------------------------
    def open(self, key: str) -> None:
        """Open an object over its images; one that is open already is shown."""
        found = self._objects.get(key)
        if found is None or key in self._reading or key in self._early:
            return
        shown = self._items_of(found)
        if shown:
            self._show_again(found, shown)
        elif found.kind == REPORT:
            self._read(found, None)
        elif self._cases.scanning:
            # Its images may not be found yet, or not all of them: no guess among the others.
            self._early[key] = found
            self.job.emit(_JOB + key, f"Waiting for the images of {found.title}", -1.0)
        else:
            self._place(found)

    def _scan_ended(self) -> None:
        early, self._early = self._early, {}
        for key in early:
            self.job.emit(_JOB + key, "", 1.0)
            self.open(key)

    def open_as_mask(self, series_key: str) -> None:
        """Take a series of whole numbers as a mask over the images shown."""
        from imaging.objects import labels_of

        series = self._cases.series.get(series_key)
        if series is None:
            return
        found = labels_of(series)
        shown = self._items_of(found)
        if shown:
            self._show_again(found, shown)
            return
        volume = self._shown_volume(but=series_key)
        if volume is None:
            self.said.emit("Show the image first that the mask belongs to")
        elif found.key not in self._reading:
            self._objects[found.key] = found
            self._read(found, volume, series)

    def _place(self, found: FoundObject) -> None:
        """Find the image an object belongs to, open it if need be, or ask."""
        from imaging.objects import fit, series_for

        series = series_for(found, self._cases.series.values())
        if series is not None:
            volume = self._workspace.case.items.get(series.key)
            if isinstance(volume, Volume):
                self._read(found, volume)
            else:
                waiting = self._waiting.setdefault(series.key, [])
                if found not in waiting:
                    waiting.append(found)
                self._cases.activate(series.key)
            return
        for volume in self._workspace.case.volumes:
            if fit(found, volume.source, volume.geometry).sure:
                self._read(found, volume)
                return
        if found.kind == PARAMETRIC_MAP:
            self._read(found, None)
            return
        volume = self._shown_volume()
        if volume is None:
            self.failed.emit(f"Open the images first that “{found.title}” was made on")
        elif not (judged := fit(found, volume.source, volume.geometry)).possible:
            self.failed.emit(f"“{found.title}” cannot be shown on {volume.title}: {judged.why}.")
        elif found.kind == LABELS:
            self._read(found, volume)  # such files name no images; the sentence says so
        else:
            self._notice.ask(
                f"“{found.title}” does not say which images it belongs to. "
                f"Place it by its coordinates on {volume.title}?",
                ("Place it", lambda: self._read(found, volume)),
                ("Cancel", lambda: None),
                at_once=True,
                of_study=True,
            )

    def _shown_volume(self, but: str = "") -> Volume | None:
        """The image of the active view, else the first of the case."""
        case, display = self._workspace.case, self._workspace.display
        cell = display.cell(display.active)
        ids = [cell.volume_id] if cell else []
        volumes = (case.items.get(id) for id in (*ids, *(v.id for v in case.volumes)))
        return next((v for v in volumes if isinstance(v, Volume) and v.id != but), None)

    # --- reading ----------------------------------------------------------------------------------
    def _read(
        self, found: FoundObject, volume: Volume | None, series: Series | None = None
    ) -> None:
        if volume is not None and volume.id not in self._workspace.case.items:
            return  # closed while somebody was thinking
        self.job.emit(_JOB + found.key, f"Opening {found.title}", -1.0)
        self._reading[found.key] = self._tasks.run(
            lambda _ticket: _opened(found, volume, series),
            lambda opened: self._take(found, volume, opened),
            self._failed(found.key),
        )

    def _take(self, found: FoundObject, volume: Volume | None, opened: _Opened) -> None:
        self._reading.pop(found.key, None)
        self.job.emit(_JOB + found.key, "", 1.0)
        if found.kind == REPORT:
            self.reported.emit(opened.read, found.title)
            return
        case = self._workspace.case
        if volume is not None and volume.id not in case.items:
            return
        read: Any = opened.read
        fresh = [item for item in read.items if item.id not in case.items]
        images = [item for item in fresh if isinstance(item, Volume)]
        for image in images:
            self._cases.show_made(image)
        layers = [item for item in fresh if not isinstance(item, Volume)]
        if layers:
            layers = case.told_apart(layers)
            steps = [AddItem(item, f"Add {item.name}") for item in layers]
            try:
                self._workspace.execute(
                    Group.of(f"Open {found.title}", steps),
                    lambda display: _presented(display, layers),
                )
            except EditRefused as refusal:
                self.failed.emit(str(refusal))
                return
            if opened.place is not None and volume is not None:
                self._jump(opened.place, volume.id)
        self.said.emit(_sentence(found, read, opened.marked_ml))

    def _failed(self, key: str) -> Callable[[BaseException], None]:
        def tell(error: BaseException) -> None:
            log.error("an object could not be opened: %s", frames_of(error))
            self._reading.pop(key, None)
            self.job.emit(_JOB + key, "", 1.0)
            self.failed.emit(sentence(error))

        return tell

    def cancel(self, job: str) -> None:
        """Drop the answer of an object that is being read."""
        key = job.removeprefix(_JOB)
        self._early.pop(key, None)
        ticket = self._reading.pop(key, None)
        if ticket is not None:
            ticket.cancel()
        self.job.emit(job, "Cancelled", 1.0)

    # --- showing ----------------------------------------------------------------------------------
    def _show_again(self, found: FoundObject, items: Sequence[Item]) -> None:
        """Go to what is open already."""
        volume = next((item for item in items if isinstance(item, Volume)), None)
        if volume is not None:
            self._cases.show_made(volume)
        layer = next((i for i in items if isinstance(i, Segmentation | Heatmap)), None)
        if layer is not None:
            from imaging.objects import shown_place

            display = self._workspace.display.with_overlay(layer.id, visible=True)
            self._workspace.show(display.but(overlays_shown=True))
            place = shown_place([layer])
            if place is not None:
                self._jump(place, layer.volume_id)
        self.said.emit(f"{found.title} is open already")

    def go_to(self, group: MeasurementGroup) -> None:
        """Bring the views to the label that a group of measurements is about."""
        for mask in self._workspace.case.segmentations:
            for segment in mask.segments:
                if group.tracking_uid and segment.tracking_uid == group.tracking_uid:
                    self._go_to_label(mask, segment.number, group.title)
                    return
        self.said.emit(f"No open mask shows “{group.title or group.finding}”")

    def _go_to_label(self, mask: Segmentation, number: int, words: str) -> None:
        from imaging.objects import place_of_label

        place = place_of_label(mask, number)
        if place is None:
            self.said.emit(f"The label of “{words}” is empty")
            return
        display = self._workspace.display.with_overlay(mask.id, visible=True)
        brush = replace(display.brush, segmentation_id=mask.id, label=number)
        self._workspace.show(display.but(overlays_shown=True, brush=brush))
        self._jump(place, mask.volume_id)

    # --- the case -----------------------------------------------------------------------------
    def _items_of(self, found: FoundObject) -> list[Item]:
        """What of an object is in the case now."""
        begins = tuple(f"{kind}{found.key}" for kind in ("mask-", OPENED_ID, "map-", "image-"))
        return [item for item in self._workspace.case if item.id.startswith(begins)]

    def _case_changed(self, changes: tuple[Change, ...], origin: str) -> None:
        if origin == "close":
            for ticket in self._reading.values():
                ticket.cancel()
            self._reading.clear()
            for key in self._early:
                self.job.emit(_JOB + key, "", 1.0)
            self._early.clear()
            self._waiting.clear()
            self._objects.clear()
            return
        if not any(change.parts & {"added", "removed"} for change in changes):
            return
        for found in self._objects.values():
            self._browser.set_object_open(found.key, bool(self._items_of(found)))
        for change in changes:
            volume = self._workspace.case.items.get(change.item)
            if ADDED in change.parts and isinstance(volume, Volume):
                for found in self._waiting.pop(change.item, ()):
                    self._read(found, volume)


def _opened(found: FoundObject, volume: Volume | None, series: Series | None) -> _Opened:
    """In a thread: read, find a place to look at, and measure; a series is taken as a mask."""
    from imaging.objects import ReadItems, read_as_mask, read_object, shown_place

    if series is not None and volume is not None:
        read = read_as_mask(series, volume)
    else:
        read = read_object(found, volume)
    if not isinstance(read, ReadItems):
        return _Opened(read)
    masks = [item for item in read.items if isinstance(item, Segmentation)]
    marked = sum(int(np.count_nonzero(m.labels)) * m.geometry.voxel_ml for m in masks)
    return _Opened(read, shown_place(masks or read.items), marked)


def _sentence(found: FoundObject, read: ReadItems, marked_ml: float) -> str:
    """What was opened: ``"Two balls: 2 labels, 12.30 ml."`` and what could not be kept."""
    masks = [item for item in read.items if isinstance(item, Segmentation)]
    count = sum(len(mask.segments) for mask in masks)
    if masks:
        more = f" in {len(masks)} masks, because they overlap" if len(masks) > 1 else ""
        words = f"{count} label{'' if count == 1 else 's'}{more}, {marked_ml:.2f} ml"
    elif any(isinstance(item, Heatmap) for item in read.items):
        words = "a map over the image"
    else:
        units = {item.unit for item in read.items if isinstance(item, Volume) and item.unit}
        words = "an image of its own" + (f" in {', '.join(sorted(units))}" if units else "")
    return " ".join([f"{found.title}: {words}.", *(f"{note}." for note in read.notes)])


def _presented(display: DisplayState, items: Sequence[Item]) -> DisplayState:
    """New masks are seen and painted with; maps beside a mask are there to be switched on."""
    masks = [item for item in items if isinstance(item, Segmentation)]
    display = display.but(overlays_shown=True)
    for item in items:
        if isinstance(item, Segmentation):
            display = display.with_overlay(item.id, opacity=0.45)
        elif isinstance(item, Heatmap):
            table = "viridis" if item.meaning == "probability" else "inferno"
            display = display.with_overlay(item.id, visible=not masks, colour_table=table, low=0.05)
    if masks:
        first = masks[0].segments[0].number if masks[0].segments else 1
        brush = replace(display.brush, segmentation_id=masks[0].id, label=first)
        display = display.but(brush=brush)
    return display
