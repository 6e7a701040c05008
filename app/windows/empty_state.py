"""What the window shows before a study is open: what to do, and what was opened last."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QLabel, QListWidget, QListWidgetItem, QWidget

from app.windows.controls import button, column, row
from app.windows.theme import GAP, set_role

_PATH = Qt.ItemDataRole.UserRole


class EmptyState(QWidget):
    """An invitation in the middle of the window; files and folders can be dropped on it.

    Signals
    -------
    paths_dropped(paths)
        A list of paths was dropped.
    folder_wanted(), file_wanted(), demo_wanted()
        A button was pressed.
    recent_chosen(path)
        A recent study was chosen.
    """

    paths_dropped = Signal(list)
    folder_wanted = Signal()
    file_wanted = Signal()
    demo_wanted = Signal()
    recent_chosen = Signal(str)

    def __init__(self, recent: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.setAcceptDrops(True)
        headline = QLabel("Drop a DICOM folder, NIfTI file or zip here")
        set_role(headline, "headline")
        hint = QLabel("Nothing is imported or copied: images are read where they are.")
        set_role(hint, "dim")
        self.folder = button("Open folder …", "Choose a folder with a study", "folder", "primary")
        self.file = button("Open file …", "Choose a DICOM, NIfTI, zip or case file", "file")
        self.demo = button("Demo study", "A synthetic brain made by this program", "demo")
        self.folder.clicked.connect(self.folder_wanted)
        self.file.clicked.connect(self.file_wanted)
        self.demo.clicked.connect(self.demo_wanted)
        self.recent_title = QLabel("Recent studies")
        set_role(self.recent_title, "dim")
        self.recent = QListWidget()
        self.recent.setFixedWidth(480)
        self.recent.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.recent.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.recent.itemActivated.connect(self._chosen)
        self.recent.itemClicked.connect(self._chosen)
        layout = column(self, margin=3 * GAP)
        centre = Qt.AlignmentFlag.AlignHCenter
        layout.addStretch(2)
        layout.addWidget(headline, alignment=centre)
        layout.addWidget(hint, alignment=centre)
        layout.addSpacing(GAP)
        layout.addLayout(row(1, self.folder, self.file, self.demo, 1, gap=GAP))
        layout.addSpacing(2 * GAP)
        layout.addWidget(self.recent_title, alignment=centre)
        layout.addWidget(self.recent, alignment=centre)
        layout.addStretch(3)
        self.set_recent(recent)

    def set_recent(self, recent: tuple[str, ...]) -> None:
        """Show the paths opened last, newest first; those that are gone are greyed out."""
        self.recent.clear()
        for path in recent:
            self.recent.addItem(_recent_item(path))
        height = sum(self.recent.sizeHintForRow(n) for n in range(self.recent.count())) + 4
        self.recent.setFixedHeight(min(height, 240))
        for part in (self.recent_title, self.recent):
            part.setVisible(bool(recent))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take anything that has local files."""
        if _local_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Hand the paths on."""
        paths = _local_paths(event)
        if paths:
            event.acceptProposedAction()
            self.paths_dropped.emit(paths)

    def _chosen(self, item: QListWidgetItem) -> None:
        self.recent_chosen.emit(item.data(_PATH))


def _recent_item(path: str) -> QListWidgetItem:
    place = Path(path)
    words = "Demo study" if _is_demo(place) else f"{place.name}    {place.parent}"
    item = QListWidgetItem(words)
    item.setData(_PATH, path)
    item.setToolTip(path)
    return item


def _is_demo(place: Path) -> bool:
    """Whether this is the folder :func:`imaging.demo.demo_study_folder` makes."""
    from platformdirs import user_cache_path

    home = user_cache_path("Isocenter", appauthor=False)
    return place.parent == home and place.name.startswith("demo-")


def _local_paths(event: QDragEnterEvent | QDropEvent) -> list[str]:
    return [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
