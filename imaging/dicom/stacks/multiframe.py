"""Frames of enhanced multi-frame files, read from the functional groups.

Makers put the same fact in different places. An attribute is looked for in the functional group of
the frame, in the shared one, among the attributes that a conversion could not assign (legacy
converted files, and Philips' private copies), and at the top level of the file.

Source: DICOM PS3.3 C.7.6.16 (multi-frame functional groups), C.8.13 (enhanced MR) and A.70 (legacy
converted).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from imaging.dicom.header.read import open_data, read_header, read_sequences
from imaging.dicom.header.tags import Header
from imaging.dicom.header.vetting import safe_uid
from imaging.dicom.stacks.frames import (
    direction_mark,
    header_thickness,
    image_kind,
    pair,
    pair_windows,
    rounded,
    six,
    triple,
)
from imaging.errors import BadInput
from imaging.series import MIN_VOLUME_SLICES, Encoding, Frame

#: Frames of one file come before those of the next, by the instance numbers of the files.
FILE_ORDER = 1 << 20
_SHARED, _PER_FRAME, _DIMENSIONS = 0x52009229, 0x52009230, 0x00209222
_TIMING = {0x00180080: "RepetitionTime", 0x00181314: "FlipAngle", 0x00180091: "EchoTrainLength"}
_TAGS = (_SHARED, _PER_FRAME, _DIMENSIONS, 0x00189087, 0x00280030)
#: Where attributes lie that have no functional group of their own.
_LEFT_OVER = (
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)
_PHILIPS_COPY = (0x2005, 0x140F)
_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")
#: Dimensions that say where a frame lies, not which of several at one place it is.
_PLACE_POINTERS = frozenset((0x00209057, 0x00200032, 0x00209056, 0x00201041, 0x00200013))


def read_multiframe(header: Header, encoding: Encoding, count: int) -> list[Frame]:
    """One record per frame.

    Raises
    ------
    BadInput
        Where the functional groups are damaged or do not match the number of frames.
    """
    from imaging.sandbox import pool

    if header.long and not pool.INSIDE:
        return _read_elsewhere(header, encoding)
    try:
        with open_data(header) as source:
            data = read_sequences(header, source, _TAGS)
            items = list(data[_PER_FRAME].value)
            if len(items) < count:
                raise BadInput(f"The header describes {len(items)} of {count} frames", header.path)
            groups = _Groups(header, data, count)
            _lift_timing(header, groups, items[0])
            return groups.frames(encoding, items[:count])
    except BadInput:
        raise
    except (MemoryError, OSError):
        raise
    except Exception:
        raise BadInput("The description of the frames is damaged", header.path) from None


def _read_elsewhere(header: Header, encoding: Encoding) -> list[Frame]:
    from imaging import sandbox

    frames, timing = sandbox.run_limited(
        "imaging.dicom.stacks.multiframe:read_in_worker",
        header.path,
        where=header.path,
        kind=tuple[list[Frame], dict[int, bytes]],
        seconds=120.0,
        memory=4 << 30,
    )
    header.values.update(timing)
    return [replace(frame, encoding=encoding) for frame in frames]


def read_in_worker(path: str) -> tuple[list[Frame], dict[int, bytes]]:
    """The frames of a file, and the timing that was found in its functional groups."""
    from imaging.dicom.stacks.frames import read_frames

    header = read_header(path)
    frames = read_frames(header)
    return frames, {tag: header.values[tag] for tag in _TIMING if tag in header.values}


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _lift_timing(header: Header, groups: _Groups, item: Any) -> None:
    """Give the header the timing of the first frame where the top level has none."""
    for tag, name in _TIMING.items():
        value = groups.number(item, "MRTimingAndRelatedParametersSequence", name)
        if value is not None and tag not in header.values:
            header.values[tag] = f"{value:g}".encode()


def _numbers(value: Any) -> tuple[float, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, (int, float, str)):
        return (float(value),)
    return tuple(float(part) for part in value)


class _Groups:
    """Looks an attribute up per frame, then shared, then where makers leave it."""

    def __init__(self, header: Header, data: Any, count: int) -> None:
        shared = data.get(_SHARED)
        self.header, self.data, self.count = header, data, count
        self.shared = _first(shared.value) if shared else None
        self.cache: dict[str, Any] = {}
        dimensions = data.get(_DIMENSIONS)
        self.pointers = [
            int(item.get("DimensionIndexPointer") or 0)
            for item in (dimensions.value if dimensions else ())
        ]

    def group(self, item: Any, keyword: str) -> Any:
        """The first item of a functional group, of the frame or shared."""
        own = _first(item.get(keyword)) if keyword in item else None
        if own is not None:
            return own
        if keyword not in self.cache:
            found = self.shared.get(keyword) if self.shared is not None else None
            self.cache[keyword] = _first(found)
        return self.cache[keyword]

    def numbers(self, item: Any, keyword: str, *names: str) -> tuple[float, ...]:
        """An attribute by its names: in its group, then in what no group took."""
        group = self.group(item, keyword)
        if group is not None:
            for name in names:
                if found := _numbers(group.get(name)):
                    return found
        for holder in self._left_over(item):
            for name in names:
                if found := _numbers(holder.get(name)):
                    return found
        return ()

    def number(self, item: Any, keyword: str, *names: str) -> float | None:
        values = self.numbers(item, keyword, *names)
        return values[0] if values else None

    def _left_over(self, item: Any) -> list[Any]:
        holders = [self.group(item, keyword) for keyword in _LEFT_OVER]
        private = item.get(_PHILIPS_COPY)
        if private is not None and private.VR == "SQ":
            holders.append(_first(private.value))
        return [holder for holder in (*holders, item) if holder is not None]

    def frames(self, encoding: Encoding, items: Sequence[Any]) -> list[Frame]:
        """One record for each item."""
        stacks = self._stack_words(items)
        ranks = self._dimension_ranks(items)
        times = self._times(items)
        return [
            self._frame(encoding, item, n + 1, stacks[n], (times[n], ranks[n]))
            for n, item in enumerate(items)
        ]

    def _frame(
        self,
        encoding: Encoding,
        item: Any,
        number: int,
        stack: tuple[str, ...],
        told: tuple[float | None, float | None],
    ) -> Frame:
        header, place = self.header, self.header.pixels
        assert place is not None
        native = not encoding.encapsulated
        slope, shift = self._rescale(item)
        return Frame(
            file=header.path,
            number=number,
            offset=place.offset + (number - 1) * encoding.frame_bytes * native,
            length=encoding.frame_bytes if native else place.length,
            encoding=encoding,
            shape=(encoding.rows, encoding.columns),
            instance_uid=safe_uid(header.text(0x00080018)),
            position=triple(self._position(item)),
            orientation=six(
                self.numbers(item, "PlaneOrientationSequence", "ImageOrientationPatient")
                or header.numbers(0x00200037)
            ),
            spacing=pair(
                self.numbers(item, "PixelMeasuresSequence", "PixelSpacing")
                or header.numbers(0x00280030)
            ),
            thickness=self._thickness(item),
            slope=slope,
            intercept=shift,
            windows=pair_windows(
                self.numbers(item, "FrameVOILUTSequence", "WindowCenter")
                or header.numbers(0x00281050),
                self.numbers(item, "FrameVOILUTSequence", "WindowWidth")
                or header.numbers(0x00281051),
            ),
            kind=(*self._kind(item), *stack),
            marks=self._marks(item, *told),
            order=header.integer(0x00200013) * FILE_ORDER + number,
        )

    def _position(self, item: Any) -> tuple[float, ...]:
        """Of the frame; the top level speaks for a file of one frame only."""
        found = self.numbers(item, "PlanePositionSequence", "ImagePositionPatient")
        return found or (self.header.numbers(0x00200032) if self.count == 1 else ())

    def _rescale(self, item: Any) -> tuple[float, float]:
        group = "PixelValueTransformationSequence"
        slope, shift = self.number(item, group, "RescaleSlope"), None
        if slope is not None:
            shift = self.number(item, group, "RescaleIntercept")
            return slope, shift or 0.0
        slope, shift = self.header.number(0x00281053), self.header.number(0x00281052)
        return 1.0 if slope is None else slope, shift or 0.0

    def _thickness(self, item: Any) -> float:
        for name in ("SpacingBetweenSlices", "SliceThickness"):
            value = self.number(item, "PixelMeasuresSequence", name)
            if value is not None and value > 0:
                return value
        return header_thickness(self.header)

    def _kind(self, item: Any) -> tuple[str, ...]:
        words, component = self.header.texts(0x00080008), self.header.text(0x00089208)
        for keyword in _FRAME_TYPES:
            group = self.group(item, keyword)
            if group is not None:
                words = tuple(str(word) for word in group.get("FrameType") or words)
                component = str(group.get("ComplexImageComponent") or component)
                break
        return image_kind(words, component)

    def _marks(self, item: Any, time: float | None, rank: float | None) -> tuple[float | None, ...]:
        b_value = self.number(item, "MRDiffusionSequence", "DiffusionBValue")
        if b_value is None:
            b_value = self.header.number(0x00189087)
        return (
            rounded(self.number(item, "MREchoSequence", "EffectiveEchoTime", "EchoTime"), 3),
            self.number(item, "MREchoSequence", "EchoNumbers"),
            b_value,
            direction_mark(self._direction(item)),
            time,
            rounded(
                self.number(
                    item,
                    "CardiacSynchronizationSequence",
                    "NominalCardiacTriggerDelayTime",
                    "TriggerTime",
                ),
                3,
            ),
            rounded(self.number(item, "MRModifierSequence", "InversionTimes", "InversionTime"), 3),
            self.number(
                item, "FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"
            ),
            rank,
        )

    def _direction(self, item: Any) -> tuple[float, ...]:
        diffusion = self.group(item, "MRDiffusionSequence")
        gradient = None
        if diffusion is not None:
            gradient = _first(diffusion.get("DiffusionGradientDirectionSequence"))
        for holder in (gradient, diffusion, *self._left_over(item)):
            if holder is not None:
                found = _numbers(holder.get("DiffusionGradientOrientation"))
                if found:
                    return found
        return ()

    def _times(self, items: Sequence[Any]) -> list[float | None]:
        """Time point of each frame: the first of the usual attributes that tells any apart."""
        ways = (
            ("FrameContentSequence", "TemporalPositionIndex"),
            ("TemporalPositionSequence", "TemporalPositionTimeOffset"),
            ("FrameContentSequence", "TemporalPositionIdentifier"),
        )
        columns = [[self.number(item, *way) for item in items] for way in ways]
        telling = next((column for column in columns if len(set(column)) > 1), None)
        return telling or next((c for c in columns if c[0] is not None), columns[0])

    def _stack_words(self, items: Sequence[Any]) -> list[tuple[str, ...]]:
        """``("stack 2",)`` for frames of files with several stacks of slices (C.7.6.16.2.2)."""
        names, slices = [], {}
        for item in items:
            content = self.group(item, "FrameContentSequence")
            name = "" if content is None else str(content.get("StackID") or "")
            place = None if content is None else content.get("InStackPositionNumber")
            names.append(name)
            slices.setdefault(name, set()).add(place)
        several = len(slices) > 1 and all(len(s) >= MIN_VOLUME_SLICES for s in slices.values())
        return [(f"stack {name}",) if several and name else () for name in names]

    def _dimension_ranks(self, items: Sequence[Any]) -> list[float | None]:
        """Numbers from 1 for frames that differ in a dimension other than their place.

        The last resort for makers who name no attribute we know (DimensionIndexValues, C.7.6.17).
        """
        keep = [n for n, tag in enumerate(self.pointers) if tag not in _PLACE_POINTERS]
        keys: list[tuple[float, ...]] = []
        for item in items:
            content = self.group(item, "FrameContentSequence")
            values = () if content is None else _numbers(content.get("DimensionIndexValues"))
            keys.append(tuple(values[n] for n in keep if n < len(values)))
        places = {key: float(rank) for rank, key in enumerate(sorted(set(keys)), 1)}
        return [places[key] if len(places) > 1 else None for key in keys]
