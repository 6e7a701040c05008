"""Frames of enhanced multi-frame files, read from the functional groups.

Source: DICOM PS3.3 C.7.6.16 (multi-frame functional groups) and C.8.13 (enhanced MR).
"""

from __future__ import annotations

from typing import Any

from imaging.dicom.frames import (
    direction_mark,
    image_kind,
    pair,
    pair_windows,
    rounded,
    six,
    triple,
)
from imaging.dicom.header import open_data, read_sequences
from imaging.dicom.tags import Header
from imaging.dicom.vetting import safe_uid
from imaging.errors import BadInput
from imaging.series import Encoding, Frame

#: Frames of one file come before those of the next, by the instance numbers of the files.
FILE_ORDER = 1 << 20
_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_TIMING = {0x00180080: "RepetitionTime", 0x00181314: "FlipAngle", 0x00180091: "EchoTrainLength"}
_TAGS = (_SHARED, _PER_FRAME, 0x00080008, 0x00089208, 0x00281052, 0x00281053)


def read_multiframe(header: Header, encoding: Encoding, count: int) -> list[Frame]:
    """One record per frame.

    Raises
    ------
    BadInput
        Where the functional groups are damaged or do not match the number of frames.
    """
    try:
        with open_data(header) as source:
            data = read_sequences(header, source, _TAGS)
            shared = data.get(_SHARED)
            groups = _Groups(header, data, _first(shared.value) if shared else None)
            items = list(data[_PER_FRAME].value)
            if len(items) < count:
                raise BadInput(f"The header describes {len(items)} of {count} frames", header.path)
            _lift_timing(header, groups, items[0])
            return [groups.frame(encoding, items[n], n + 1) for n in range(count)]
    except BadInput:
        raise
    except (MemoryError, OSError):
        raise
    except Exception:
        raise BadInput("The description of the frames is damaged", header.path) from None


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _lift_timing(header: Header, groups: _Groups, item: Any) -> None:
    """Give the header the timing of the first frame where the top level has none."""
    for tag, name in _TIMING.items():
        value = groups.number(item, "MRTimingAndRelatedParametersSequence", name)
        if value is not None and tag not in header.values:
            header.values[tag] = f"{value:g}".encode()


class _Groups:
    """Looks an attribute up per frame, then shared, then at the top."""

    def __init__(self, header: Header, data: Any, shared: Any) -> None:
        self.header, self.data, self.shared = header, data, shared
        self.cache: dict[str, Any] = {}

    def group(self, item: Any, keyword: str) -> Any:
        own = _first(item.get(keyword)) if keyword in item else None
        if own is not None:
            return own
        if keyword not in self.cache:
            found = self.shared.get(keyword) if self.shared is not None else None
            self.cache[keyword] = _first(found)
        return self.cache[keyword]

    def numbers(self, item: Any, keyword: str, name: str) -> tuple[float, ...]:
        group = self.group(item, keyword)
        value = None if group is None else group.get(name)
        if value is None or value == "":
            return ()
        if isinstance(value, (int, float, str)):
            return (float(value),)
        return tuple(float(part) for part in value)

    def number(self, item: Any, keyword: str, name: str) -> float | None:
        values = self.numbers(item, keyword, name)
        return values[0] if values else None

    def frame(self, encoding: Encoding, item: Any, number: int) -> Frame:
        place = self.header.pixels
        assert place is not None
        native = not encoding.encapsulated
        slope = self.number(item, "PixelValueTransformationSequence", "RescaleSlope")
        shift = self.number(item, "PixelValueTransformationSequence", "RescaleIntercept")
        return Frame(
            file=self.header.path,
            number=number,
            offset=place.offset + (number - 1) * encoding.frame_bytes * native,
            length=encoding.frame_bytes if native else place.length,
            encoding=encoding,
            shape=(encoding.rows, encoding.columns),
            instance_uid=safe_uid(self.header.text(0x00080018)),
            position=triple(self.numbers(item, "PlanePositionSequence", "ImagePositionPatient")),
            orientation=six(
                self.numbers(item, "PlaneOrientationSequence", "ImageOrientationPatient")
            ),
            spacing=pair(self.numbers(item, "PixelMeasuresSequence", "PixelSpacing")),
            thickness=self._thickness(item),
            slope=self.header.number(0x00281053) or 1.0 if slope is None else slope,
            intercept=self.header.number(0x00281052) or 0.0 if shift is None else shift,
            windows=pair_windows(
                self.numbers(item, "FrameVOILUTSequence", "WindowCenter"),
                self.numbers(item, "FrameVOILUTSequence", "WindowWidth"),
            ),
            kind=self._kind(item),
            marks=self._marks(item),
            order=self.header.integer(0x00200013) * FILE_ORDER + number,
        )

    def _thickness(self, item: Any) -> float:
        for name in ("SpacingBetweenSlices", "SliceThickness"):
            value = self.number(item, "PixelMeasuresSequence", name)
            if value is not None and value > 0:
                return value
        return 0.0

    def _kind(self, item: Any) -> tuple[str, ...]:
        group = self.group(item, "MRImageFrameTypeSequence")
        if group is None:
            group = self.group(item, "CTImageFrameTypeSequence")
        words, component = self.header.texts(0x00080008), self.header.text(0x00089208)
        if group is not None:
            words = tuple(str(word) for word in group.get("FrameType", words))
            component = str(group.get("ComplexImageComponent", component))
        return image_kind(words, component)

    def _marks(self, item: Any) -> tuple[float | None, ...]:
        diffusion = self.group(item, "MRDiffusionSequence")
        gradient = None
        if diffusion is not None:
            gradient = _first(diffusion.get("DiffusionGradientDirectionSequence"))
        direction = () if gradient is None else gradient.get("DiffusionGradientOrientation") or ()
        time = self.number(item, "FrameContentSequence", "TemporalPositionIndex")
        if time is None:
            time = self.number(item, "TemporalPositionSequence", "TemporalPositionTimeOffset")
        return (
            rounded(self.number(item, "MREchoSequence", "EffectiveEchoTime"), 3),
            None,
            self.number(item, "MRDiffusionSequence", "DiffusionBValue"),
            direction_mark(tuple(float(v) for v in direction)),
            time,
            rounded(
                self.number(
                    item, "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"
                ),
                3,
            ),
            rounded(self.number(item, "MRModifierSequence", "InversionTimes"), 3),
            self.number(item, "FrameContentSequence", "FrameAcquisitionNumber"),
        )
