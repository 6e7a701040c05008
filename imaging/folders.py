"""Which study a file belongs to that says nothing about it: its folder is all there is to go by.

Whole-volume files (NIfTI, NRRD, MetaImage) name no patient and no study. Files of one folder are
kept together; those of a BIDS session (``sub-01/ses-02/anat``, ``…/dwi``) too. Source: Brain
Imaging Data Structure 1.10, "Filesystem structure".
"""

from __future__ import annotations

import re

#: Folders of a BIDS session, one for each kind of data.
_DATA_TYPES = {"anat", "beh", "dwi", "eeg", "fmap", "func", "meg", "micr", "motion", "mrs", "nirs",
               "perf", "pet"}  # fmt: skip
INSIDE = " › "  #: between a zip archive and what lies in it


def folder_of(shown: str) -> str:
    """The folder that stands for the study of a file.

    Parameters
    ----------
    shown : str
        Absolute path, or archive, ``" › "`` and the path inside it.

    Returns
    -------
    str
        With ``/`` between folders; an archive counts as one.
    """
    folders = shown.replace(INSIDE, "/").replace("\\", "/").split("/")[:-1]
    if len(folders) > 1 and folders[-1] in _DATA_TYPES and folders[-2].startswith(("sub-", "ses-")):
        folders.pop()
    return "/".join(folders) or "/"


def folder_words(folder: str) -> str:
    """A folder for people: its name and its parent's, ``"patient19 · MNI"``.

    Subject and session of BIDS stand in their own order: ``"sub-01 · ses-02"``.
    """
    *_, parent, last = ["", "", *(name for name in re.split(r"[/\\]", folder) if name)]
    if last.startswith("sub-"):
        return last
    pair = (parent, last) if last.startswith("ses-") else (last, parent)
    return " · ".join(name for name in pair if name)
