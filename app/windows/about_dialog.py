"""What this program is, what it is not, and on whose work it stands."""

from __future__ import annotations

import importlib.metadata

from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QPlainTextEdit, QWidget

from app.settings import NOTICE
from app.windows.controls import column, sentence
from app.windows.theme import set_role

#: What the program stands on, by distribution name, in the order of the list.
LIBRARIES = (
    "PySide6_Essentials", "vtk", "SimpleITK", "pydicom", "highdicom", "nibabel",
    "numpy", "scipy", "apsw", "zstandard", "psygnal", "platformdirs", "typer", "rich",
    "qtawesome", "torch", "safetensors",
)  # fmt: skip


def library_lines() -> list[str]:
    """Name, version and licence of each library that is installed here."""
    lines = []
    for name in LIBRARIES:
        try:
            about = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name}: not installed")
            continue
        lines.append(f"{about['Name']} {about['Version']}: {_licence(about)}")
    return lines


def _licence(about) -> str:
    stated = about.get("License-Expression") or about.get("License") or ""
    first = stated.strip().splitlines()[0] if stated.strip() else ""
    if first and len(first) < 80 and "copyright" not in first.casefold():
        return first
    names = [c.rsplit("::", 1)[-1].strip() for c in about.get_all("Classifier") or ()
             if c.startswith("License ::")]  # fmt: skip
    return ", ".join(names) or "see the package"


class AboutDialog(QDialog):
    """Name, version, the notice, and the licences."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("About Isocenter")
        self.resize(560, 480)
        try:
            version = importlib.metadata.version("isocenter")
        except importlib.metadata.PackageNotFoundError:
            version = "(from source)"
        headline = QLabel(f"Isocenter {version}")
        set_role(headline, "headline")
        what = sentence("A desk for reading and annotating MRI with AI assistance.", "text")
        warning = sentence(
            f"{NOTICE}. This program is not a medical device, is not cleared or approved by any "
            "authority, and comes without warranty. Findings of a model are proposals that a "
            "qualified person has to check.",
            "warning",
        )
        self.libraries = QPlainTextEdit("\n".join(library_lines()))
        self.libraries.setReadOnly(True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = column(self, margin=16)
        layout.addWidget(headline)
        layout.addWidget(what)
        layout.addWidget(warning)
        layout.addWidget(sentence("Apache License 2.0. It stands on these libraries:"))
        layout.addWidget(self.libraries, 1)
        layout.addWidget(buttons)
