"""The menu of scripts for a patient whose name is in bytes that nobody explains."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QMenu

from imaging.dicom.header.charsets import NAME_SCRIPTS, reread


def names_menu(parent: QMenu, name: str, chosen: str, tell: Callable[[str], object]) -> QMenu:
    """Every script with the name as it would come out in it.

    Names in UTF-8 are recognised by themselves, so that it is none to choose.

    Parameters
    ----------
    name : str
        As it is read now.
    chosen : str
        The script it is read in; empty where nobody chose.
    tell : callable
        Gets the script that was picked.
    """
    menu = QMenu("Read names as", parent)
    for script, words in NAME_SCRIPTS.items():
        sample = reread(name, script, chosen)
        sample = sample if sample.isprintable() and "\ufffd" not in sample else "does not fit"
        text = f"{words}\t{sample}".replace("&", "&&")
        action = menu.addAction(text, lambda script=script: tell(script))
        action.setCheckable(True)
        action.setChecked(script == chosen)
    return menu
