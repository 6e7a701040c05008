"""One plane for each frame of reference of a folder, and the place of every slice it cuts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imaging.deidentify.choice import NONE, Choice
from imaging.deidentify.deface import find_plane, profile_picture
from imaging.deidentify.plane import Plane
from imaging.deidentify.survey import Item, OnProgress, Survey
from imaging.deidentify.volume_files import NIFTI
from imaging.deidentify.wipe import frame_place
from imaging.errors import BadInput, ImagingError
from imaging.open import open_series, scan
from imaging.series import Frame, Series

#: So many series of one frame of reference are tried.
_TRIED = 4
_BEST = ("T1w", "T1w+C", "T2w", "FLAIR", "PD")
NOT_FOUND = "No face was found in this series or another one of the same position in the scanner"


@dataclass(frozen=True, eq=False)
class Face:
    """What was found for one frame of reference.

    Parameters
    ----------
    plane : Plane or None
        None where there is none; ``why`` then says why.
    before, after : ndarray of uint8 or None
        Pictures of the profile, see :func:`imaging.deidentify.deface.profile_picture`.
    series : str
        Description of the series it was found in; for the screen only.
    """

    plane: Plane | None
    why: str = ""
    before: np.ndarray | None = field(default=None, repr=False)
    after: np.ndarray | None = field(default=None, repr=False)
    series: str = field(default="", repr=False)


@dataclass
class Faces:
    """Where to cut every file of a survey."""

    found: dict[str, Face] = field(default_factory=dict)
    places: dict[str, list[Frame]] = field(default_factory=dict, repr=False)
    groups: dict[str, str] = field(default_factory=dict, repr=False)
    members: dict[str, Choice] = field(default_factory=dict, repr=False)

    def of(self, item: Item) -> dict[str, Any] | None:
        """What a worker needs to cut a file; None for a file without a picture of a head.

        Raises
        ------
        BadInput
            Where the file is an image and no plane is known for it.
        """
        if item.no_face:
            return None
        if item.kind == NIFTI or item.image:
            face = self.found.get(self.groups.get(item.path, ""))
            if face is None or face.plane is None:
                raise BadInput(
                    face.why if face is not None and face.why else NOT_FOUND,
                    "",
                    "Leave it out, or look and say that it shows no face",
                )
            frames = self.places.get(item.path, [])
            places = [frame_place(frame) for frame in frames] if item.kind == "dicom" else []
            return {"plane": face.plane.table(), "frames": places}
        if item.kind in ("nrrd", "metaimage"):
            raise BadInput("The face can be cut off in DICOM and NIfTI files only")
        return None


def find_faces(
    survey: Survey,
    on_progress: OnProgress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Faces:
    """Find the plane of every head under a path.

    All series of one study and frame of reference get the same plane; of them the one that shows
    most of a head is asked.
    """
    faces, told = Faces(), on_progress or (lambda *_: None)
    paths = [
        item.path
        for item in survey.items
        if (item.image or item.kind == NIFTI) and not item.no_face
    ]
    with scan(
        paths,
        cancelled=cancelled,
        on_progress=lambda done, total: told(done, max(1, total), "Finding the slices"),
    ) as result:
        groups: dict[str, list[Series]] = {}
        for series in result.series:
            group = _group(series)
            groups.setdefault(group, []).append(series)
            for frame in series.frames:
                faces.places.setdefault(frame.file, []).append(frame)
                faces.groups[frame.file] = group
        for n, (group, members) in enumerate(groups.items(), start=1):
            if cancelled is not None and cancelled():
                break
            told(n, len(groups), "Finding the face")
            faces.found[group] = _face(members)
    _add_members(faces, survey)
    return faces


def _add_members(faces: Faces, survey: Survey) -> None:
    """Note which files each answer is about; ``""`` is for those that are in no stack."""
    for item in survey.items:
        if item.no_face or not (item.image or item.kind == NIFTI):
            continue
        group = faces.groups.get(item.path, "")
        faces.found.setdefault(group, Face(None, NOT_FOUND))
        so_far = faces.members.get(group, NONE)
        series, names = {item.series} - {""}, set() if item.series else {item.shown}
        faces.members[group] = Choice(so_far.series | series, names=so_far.names | names)


def _group(series: Series) -> str:
    frame = series.geometry.frame_of_reference if series.geometry is not None else ""
    if series.kind != "dicom" or not frame:
        return f"{series.source.study_uid}\0{series.key}"
    return f"{series.source.study_uid}\0{frame}"


def _face(members: list[Series]) -> Face:
    why = NOT_FOUND
    for series in sorted((s for s in members if s.volumetric), key=_promise)[:_TRIED]:
        try:
            loading = open_series(series)
            plane, parts = find_plane(loading.load())
        except ImagingError as error:
            why = error.what
            continue
        return Face(
            plane,
            before=profile_picture(parts),
            after=profile_picture(parts, plane),
            series=series.description,
        )
    return Face(None, why)


def _promise(series: Series) -> tuple[bool, bool, float]:
    """Best first: one image, of a usual contrast, that reaches far in every direction."""
    assert series.geometry is not None
    reach = np.ptp(series.geometry.corners, axis=0).min()
    return bool(series.repeats), series.sequence not in _BEST, -float(min(reach, 220.0))
