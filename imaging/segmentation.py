"""Labels on a grid, with the name, colour and origin of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from imaging.identity import new_uid


class Code(NamedTuple):
    """A coded concept (PS3.3 8.8): value, scheme (SCT, DCM, NCIt) and meaning."""

    value: str
    scheme: str
    meaning: str


LESION_CATEGORY = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LESION_TYPE = Code("52988006", "SCT", "Lesion")
#: Categories of labels that name parts of a body and no finding: anatomical structure, tissue,
#: body substance.
BODY_PARTS = frozenset({"123037004", "85756007", "91720002"})
WHITE_MATTER_HYPERINTENSITY = Code("110702", "DCM", "White matter T2 hyperintensity")

#: Distinct under the common colour-vision deficiencies (Okabe and Ito 2008), without black.
PALETTE: tuple[tuple[int, int, int], ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)


@dataclass(frozen=True)
class Provenance:
    """What made a mask or map, and under which conditions.

    Parameters
    ----------
    algorithm : str
        Model or tool name; empty for work by hand.
    digest : str
        SHA-256 of the weights.
    device : str
        In words, for example ``"CPU (2 threads)"``.
    created : str
        ISO 8601 time with offset.
    seconds : float
        How long it took.
    """

    algorithm: str = ""
    version: str = ""
    digest: str = ""
    device: str = ""
    created: str = ""
    seconds: float = 0.0
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def sentence(self) -> str:
        """One line for the banner and for exported files."""
        if not self.algorithm:
            return "Made by hand"
        name = f"{self.algorithm} {self.version}".strip()
        tail = [part for part in (self.device, self.created[:16].replace("T", " ")) if part]
        digest = f" (weights {self.digest[:12]})" if self.digest else ""
        return f"{name}{digest}" + (" · " + " · ".join(tail) if tail else "")


#: Ids of masks that were read from a file, and are no proposals, begin like this.
OPENED_ID = "opened-"
#: Id of the layer that shows what was pointed at, until it is accepted; no work of anybody.
PROPOSED_ID = "proposed"
AUTOMATIC, SEMIAUTOMATIC, MANUAL = "AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"


@dataclass(frozen=True)
class Segment:
    """One label of a segmentation.

    Parameters
    ----------
    number : int
        Voxel value, 1 to 255.
    algorithm_type : str
        ``AUTOMATIC``, ``SEMIAUTOMATIC`` or ``MANUAL`` (PS3.3 C.8.20.4).
    tracking_uid : str
        Says that this is the same label in every file it is written to, whatever its name. Empty
        only until it enters a :class:`Segmentation`.
    modifier : Code or None
        Refines the type, mostly the side: Left, Right (PS3.3 C.8.20.4, CID 244); None if unsaid.
    region : Code or None
        The organ or region it lies in (PS3.3 10.5); None where unsaid.
    algorithm, algorithm_version : str
        What made this label, where that is not what the mask's provenance says: a label read from
        a file, or one moved in from another mask. Empty otherwise.
    unchanged : bool
        For ``SEMIAUTOMATIC``: a person took over what a model found and changed no voxel of it.
    """

    number: int
    name: str
    colour: tuple[int, int, int]
    category: Code = LESION_CATEGORY
    type: Code = LESION_TYPE
    algorithm_type: str = MANUAL
    locked: bool = False
    tracking_uid: str = ""
    modifier: Code | None = None
    region: Code | None = None
    algorithm: str = ""
    algorithm_version: str = ""
    unchanged: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 255:
            raise BadInput(f"A label number must be 1 to 255, not {self.number}")


def identified(
    segments: tuple[Segment, ...], mask_id: str, geometry: Geometry, created: str
) -> tuple[Segment, ...]:
    """The segments, each with a tracking UID; one that has none gets one that never changes.

    It follows from the mask, its grid and the number of the segment, so that an old file, which
    knows no such UIDs, gives the same ones every time it is read.
    """
    if all(s.tracking_uid for s in segments):
        return segments
    return tuple(
        s if s.tracking_uid
        else replace(s, tracking_uid=mask_uid(mask_id, geometry, created, f"segment {s.number}"))
        for s in segments
    )  # fmt: skip


def mask_uid(mask_id: str, geometry: Geometry, created: str, part: str) -> str:
    """A UID for a part of a mask: the same part of the same mask always has the same."""
    place = (str(geometry.shape), geometry.affine.tobytes().hex(), geometry.frame_of_reference)
    return new_uid("mask", mask_id, *place, created, part)


@dataclass(eq=False)
class Segmentation:
    """A label map over the grid of a volume; 0 is background.

    Only :meth:`flip` writes; everyone else sees :attr:`labels`, which is read-only, and
    :attr:`revision`, which grows with every change.

    Parameters
    ----------
    draft : bool
        True while this is a model's proposal that a person has not taken over.
    threshold : float or None
        For a draft: the probability above which a voxel was marked.
    probability_id : str
        Id of the :class:`~imaging.heatmap.Heatmap` this mask was cut from; empty if none.
    hand_work : bytes
        For a draft whose threshold was moved: the voxels a person had touched before, packed by
        :mod:`imaging.edits.hand_work`; a later move leaves them alone. Empty if none.
    lesion_numbers : tuple of (number, k, j, i)
        Numbers of the lesion list, each with a voxel of its lesion; of lesions that are gone, too,
        behind the others. Never undone: a number once shown stays with its lesion.
    """

    id: str
    name: str
    geometry: Geometry
    volume_id: str
    segments: tuple[Segment, ...] = ()
    provenance: Provenance = Provenance()
    draft: bool = False
    threshold: float | None = None
    probability_id: str = ""
    revision: int = 0
    hand_work: bytes = field(default=b"", repr=False)
    lesion_numbers: tuple[tuple[int, int, int, int], ...] = field(default=(), repr=False)
    _labels: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8), repr=False)

    def __post_init__(self) -> None:
        if self._labels.size == 0:
            self._labels = np.zeros(self.geometry.shape, np.uint8)
        if self._labels.shape != self.geometry.shape or self._labels.dtype != np.uint8:
            raise BadInput("The mask is not a uint8 array on its own grid", self.name)
        self._labels = np.array(self._labels, order="C")
        self.segments = identified(self.segments, self.id, self.geometry, self.provenance.created)

    @classmethod
    def from_labels(
        cls, id: str, name: str, geometry: Geometry, volume_id: str, labels: np.ndarray, **rest
    ) -> Segmentation:
        """Build from a ``(k, j, i)`` array of label numbers; the array is copied."""
        return cls(id, name, geometry, volume_id, _labels=np.asarray(labels, np.uint8), **rest)

    @property
    def labels(self) -> np.ndarray:
        """The label numbers, uint8 ``(k, j, i)``, read-only, shared (it changes with edits)."""
        view = self._labels.view()
        view.flags.writeable = False
        return view

    @property
    def opened(self) -> bool:
        """True for finished work of somebody else: read from a file, and no proposal."""
        return not self.draft and self.id.startswith(OPENED_ID)

    @property
    def anatomical(self) -> bool:
        """True where every label names a part of the body: there is no finding to list."""
        return bool(self.segments) and all(s.category.value in BODY_PARTS for s in self.segments)

    def proposes(self, segment: Segment | None) -> bool:
        """True for the label of a draft with what nobody has taken over: its first one."""
        return bool(
            self.draft and segment and self.segments and segment.number == self.segments[0].number
        )

    def segment(self, number: int) -> Segment | None:
        """The segment with this number."""
        return next((s for s in self.segments if s.number == number), None)

    def flip(self, box: Box, xor: np.ndarray) -> None:
        """XOR a block of labels; the one place where labels are written.

        Twice the same flip restores the mask. Call it from an edit only.
        """
        self._labels[box.slices] ^= xor
        self.revision += 1

    def header(self, **changes) -> SegmentationHeader:
        """Everything but the voxels, optionally changed."""
        header = SegmentationHeader(
            self.name, self.segments, self.provenance, self.draft, self.threshold,
            self.probability_id, self.hand_work,
        )  # fmt: skip
        return replace(header, **changes)

    def set_header(self, header: SegmentationHeader) -> None:
        """Take over a header. Call it from an edit only."""
        self.name, self.segments, self.provenance = header.name, header.segments, header.provenance
        self.draft, self.threshold = header.draft, header.threshold
        self.probability_id, self.hand_work = header.probability_id, header.hand_work
        self.revision += 1


@dataclass(frozen=True)
class SegmentationHeader:
    """The part of a segmentation that is not voxels, as a value."""

    name: str
    segments: tuple[Segment, ...]
    provenance: Provenance
    draft: bool
    threshold: float | None
    probability_id: str
    hand_work: bytes = b""


def next_colour(segments: tuple[Segment, ...]) -> tuple[int, int, int]:
    """The first palette colour that is not taken."""
    taken = {s.colour for s in segments}
    free = [c for c in PALETTE if c not in taken]
    return free[0] if free else PALETTE[len(segments) % len(PALETTE)]
