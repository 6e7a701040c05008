"""What a measurement report says: groups of numbers about lesions, labels and the whole mask.

Source: DICOM PS3.16 TID 1500, 1411 (volumetric region), 1419 (measurements), 1501 (group), 4019
(algorithm), 1001 (observers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imaging.analysis.contours import outlines
from imaging.analysis.lesions import Lesion, lesion_uid
from imaging.analysis.measure import longest_diameter, perpendicular_diameter, volume_ml
from imaging.dicom import codes
from imaging.dicom.codes import concept
from imaging.dicom.writing.parts import algorithm_of, person_name, segment_label
from imaging.dicom.writing.seg_reference import SegReference
from imaging.dicom.writing.write import SOFTWARE, SOFTWARE_VERSION, cut_text, new_uid
from imaging.errors import BadInput
from imaging.segmentation import Code, Segment, Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from highdicom.sr import (
        AlgorithmIdentification,
        FindingSite,
        Measurement,
        MeasurementReport,
        ObservationContext,
        VolumeSurface,
    )


class ReportContent:
    """Builds the groups of one report.

    Parameters
    ----------
    seg : SegReference or None
        The file whose segments the groups point to.
    frame : str
        UID of the frame of reference that outlines lie in.
    body_part : str
        Body Part Examined of the images.
    """

    def __init__(
        self,
        segmentation: Segmentation,
        volume: Volume,
        seg: SegReference | None,
        frame: str,
        body_part: str,
    ) -> None:
        self._mask = segmentation
        self._seg = seg
        self._frame = frame
        self._site = codes.BODY_PARTS.get(body_part, codes.WHOLE_BODY)
        self._series_uid = volume.source.series_uid if seg is None else seg.series_uid
        same = volume.geometry.same_grid(segmentation.geometry)
        self._image = volume if same else None

    def report(self, lesions: Sequence[Lesion], observers: ObservationContext) -> MeasurementReport:
        from highdicom.sr import MeasurementReport

        ordered = sorted(lesions, key=lambda lesion: lesion.number)
        by_label: dict[int, list[Lesion]] = {}
        for lesion in ordered:
            by_label.setdefault(lesion.label, []).append(lesion)
        groups: list[Any] = [self._everything(ordered)]
        for segment in self._mask.segments:
            own = by_label.pop(segment.number, [])
            whole = self._seg.segment(segment.tracking_uid) if self._seg is not None else None
            if whole is not None:
                name = segment_label(segment)
                amounts = _amounts(len(own), volume_ml(self._mask, segment.number))
                groups.append(self._group(segment, segment.tracking_uid, name, amounts, whole))
            groups += [self._lesion(segment, lesion) for lesion in own]
        if by_label:
            raise BadInput("A lesion has a label that is not in the mask", self._mask.name)
        return MeasurementReport(
            observation_context=observers,
            procedure_reported=concept(codes.MRI_PROCEDURE),
            imaging_measurements=groups,
            title=concept(codes.MEASUREMENT_REPORT),
        )

    def _everything(self, lesions: list[Lesion]):
        """Count and volume of all lesions (TID 1501)."""
        from highdicom.sr import MeasurementsAndQualitativeEvaluations, TrackingIdentifier

        mask = self._mask
        created = mask.provenance.created
        uid = new_uid("report of", mask.id, mask.geometry.affine.tobytes().hex(), created)
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(uid, f"{cut_text(mask.name, 51)}: all lesions"),
            finding_type=concept(mask.segments[0].type) if mask.segments else None,
            finding_sites=[self._place(self._site)],
            measurements=_amounts(len(lesions), sum(x.volume_ml for x in lesions)),
        )

    def _lesion(self, segment: Segment, lesion: Lesion):
        """One lesion: its segment where it has one of its own, else its outlines (TID 1411)."""
        uid, name = lesion_uid(self._mask, lesion), f"Lesion {lesion.number}"
        own = self._seg.segment(uid) if self._seg is not None else None
        measures = self._measures(lesion)
        surface = self._surface(lesion) if own is None else None
        return self._group(segment, uid, name, measures, own, surface=surface, lesion=lesion)

    def _group(
        self,
        segment: Segment,
        uid: str,
        name: str,
        measures: list[Measurement],
        reference,
        *,
        surface: VolumeSurface | None = None,
        lesion: Lesion | None = None,
    ):
        from highdicom.sr import (
            TrackingIdentifier,
            VolumetricROIMeasurementsAndQualitativeEvaluations,
        )

        return VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(uid, cut_text(name)),
            referenced_volume_surface=surface,
            referenced_segment=reference,
            finding_category=concept(segment.category),
            finding_type=concept(segment.type),
            finding_sites=[self._place(segment.region or self._site, lesion, segment)],
            algorithm_id=self._algorithm(segment),
            measurements=measures,
        )

    def _algorithm(self, segment: Segment) -> AlgorithmIdentification | None:
        from highdicom.sr import AlgorithmIdentification

        mask = self._mask
        made = algorithm_of(segment, mask.provenance, mask.threshold)
        if made is None:
            return None
        parameters = [f"{key}={value}" for key, value in made.parameters.items()]
        return AlgorithmIdentification(made.name, made.version, parameters or None)

    def _place(
        self, site: Code, lesion: Lesion | None = None, segment: Segment | None = None
    ) -> FindingSite:
        from highdicom.sr import FindingSite

        side = (
            segment.modifier if segment and segment.modifier in (codes.LEFT, codes.RIGHT) else None
        )
        if lesion is not None and side is None:
            word = lesion.place.split(",")[0]
            side = {"Left": codes.LEFT, "Right": codes.RIGHT}.get(word)
        return FindingSite(concept(site), laterality=concept(side) if side else None)

    def _measures(self, lesion: Lesion) -> list[Measurement]:
        longest = longest_diameter(lesion.indices, lesion.geometry)
        across = perpendicular_diameter(lesion.indices, lesion.geometry, longest)
        found = [
            _measure(codes.VOLUME, lesion.volume_ml, codes.MILLILITRE, 6),
            _measure(codes.LONG_AXIS, longest.length_mm, codes.MILLIMETRE, 3),
            _measure(codes.PERPENDICULAR_AXIS, across.length_mm, codes.MILLIMETRE, 3),
        ]
        if self._image is not None:
            values = self._image.real(self._image.voxels[tuple(lesion.indices.T)]).astype(float)
            for how, value in (
                (codes.MEAN, values.mean()), (codes.STANDARD_DEVIATION, values.std()),
                (codes.MINIMUM, values.min()), (codes.MAXIMUM, values.max()),
            ):  # fmt: skip
                found.append(_measure(codes.SIGNAL_INTENSITY, float(value), codes.NO_UNITS, 4, how))
        if lesion.mean_probability is not None:
            mean = lesion.mean_probability
            found.append(_measure(codes.PROBABILITY_VALUE, mean, codes.NO_UNITS, 4, codes.MEAN))
        return found

    def _surface(self, lesion: Lesion) -> VolumeSurface:
        """Outlines of a lesion on each of its slices, closed, LPS mm.

        A surface has two of them at least: a lesion of one outline shows it on both faces of its
        slice.
        """
        from highdicom.sr import SourceSeriesForSegmentation, VolumeSurface

        k0, j0, i0 = lesion.box.start
        found = [
            (k, outline + np.array([j0, i0]))
            for k, section in enumerate(lesion.mask, start=k0)
            for outline in outlines(section)
        ]
        if len(found) == 1:
            ((k, outline),) = found
            found = [(k - 0.5, outline), (k + 0.5, outline)]
        planes = [np.c_[np.full(len(line) + 1, k), [*line, line[0]]] for k, line in found]
        return VolumeSurface(
            "POLYGON",
            [lesion.geometry.world(plane) for plane in planes],
            frame_of_reference_uid=self._frame,
            source_series=SourceSeriesForSegmentation(self._series_uid),
        )


def _amounts(count: int, ml: float) -> list[Measurement]:
    return [
        _measure(codes.LESION_COUNT, count, codes.NO_UNITS, 0),
        _measure(codes.VOLUME, ml, codes.MILLILITRE, 6),
    ]


def _measure(
    name: Code, value: float, unit: Code, digits: int, derivation: Code | None = None
) -> Measurement:
    from highdicom.sr import Measurement

    return Measurement(
        name=concept(name),
        value=round(value, digits) if digits else int(value),
        unit=concept(unit),
        derivation=concept(derivation) if derivation else None,
    )


def observers(observer: str) -> ObservationContext:
    """The person, where one is named, and this program (TID 1001)."""
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
    )

    person, name = None, person_name(observer)
    if name:
        person = ObserverContext(
            concept(codes.PERSON), PersonObserverIdentifyingAttributes(name=name)
        )
    device = DeviceObserverIdentifyingAttributes(
        uid=new_uid("device", SOFTWARE, SOFTWARE_VERSION), name=SOFTWARE,
        manufacturer_name=SOFTWARE, model_name=f"{SOFTWARE} {SOFTWARE_VERSION}",
    )  # fmt: skip
    return ObservationContext(
        observer_person_context=person,
        observer_device_context=ObserverContext(concept(codes.DEVICE), device),
    )
