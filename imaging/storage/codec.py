"""Items and edits as JSON and bytes, for the journal and the case file. No pickle.

A *body* is plain JSON. Bulky arrays stand beside it as *blobs*, named by the SHA-256 of their
content, packed byte plane by byte plane with zstd.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import zstandard

from imaging.case import Case, Item
from imaging.edits.edit import AddItem, Edit, Group, HeaderEdit, RemoveItem, VoxelEdit
from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import (
    Code,
    Provenance,
    Segment,
    Segmentation,
    SegmentationHeader,
    identified,
)
from imaging.uneven import UnevenGeometry
from imaging.volume import Volume

_T = TypeVar("_T")
Body = dict[str, Any]
#: Digest -> array it names.
Arrays = dict[str, np.ndarray]
#: Finds the array of a digest with a dtype and shape; raises where it is missing or damaged.
Fetch = Callable[[str, np.dtype, tuple[int, ...]], np.ndarray]

#: Largest array that is unpacked: 2 GiB, more than a float32 map of 1024 x 512 x 512 x 2.
MAX_ARRAY_BYTES = 2 << 30
_SLAB = 8 << 20


# --- arrays ---------------------------------------------------------------------------------


def digest(array: np.ndarray) -> str:
    """SHA-256 over dtype, shape and bytes of an array."""
    flat = np.ascontiguousarray(array)
    name = hashlib.sha256(f"{flat.dtype.str}{flat.shape}".encode())
    name.update(flat.reshape(-1).view(np.uint8).data)
    return name.hexdigest()


def pack(array: np.ndarray, level: int = 1) -> bytes:
    """Compress an array: slabs of 8 MiB, each with its byte planes apart, in one zstd frame."""
    raw = np.ascontiguousarray(array).reshape(-1)
    width = raw.dtype.itemsize
    size = raw.nbytes
    step = _SLAB // width
    writer = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj(size=size)
    parts = []
    for start in range(0, raw.size, step):
        slab = raw[start : start + step].view(np.uint8).reshape(-1, width)
        parts.append(writer.compress(slab.T.tobytes() if width > 1 else slab.tobytes()))
    parts.append(writer.flush())
    return b"".join(parts)


def unpack(data: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Take an array out of :func:`pack`.

    Raises
    ------
    BadInput
        Where the bytes are damaged, of another size or larger than we accept.
    """
    width = dtype.itemsize
    total = width
    for edge in shape:
        total *= int(edge)
    if min(shape, default=0) < 0 or total > MAX_ARRAY_BYTES:
        raise BadInput("A stored array is larger than this program accepts")
    result = np.empty(total // width, dtype)
    flat = result.view(np.uint8).reshape(-1, width)
    step = _SLAB // width
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            for start in range(0, result.size, step):
                part = flat[start : start + step]
                slab = np.frombuffer(_read(reader, part.size), np.uint8)
                part[...] = slab.reshape(width, -1).T
            if reader.read(1):
                raise BadInput("A stored array is longer than its header says")
    except (zstandard.ZstdError, ValueError) as error:
        raise BadInput("A stored array is damaged") from error
    return result.reshape(shape)


def _read(reader, size: int) -> bytes:
    parts = []
    while size:
        part = reader.read(size)
        if not part:
            raise BadInput("A stored array is shorter than its header says")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def pixel_sample(voxels: np.ndarray) -> str:
    """SHA-256 over up to 32 x 64 x 64 evenly spread voxels: tells another image in milliseconds."""
    steps = [max(1, -(-n // limit)) for n, limit in zip(voxels.shape, (32, 64, 64), strict=True)]
    return digest(voxels[:: steps[0], :: steps[1], :: steps[2]])


# --- values ---------------------------------------------------------------------------------


_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bytes": (bytes,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
}


def _build(kind: type[_T], values: Body) -> _T:
    """A value from its stored fields, whose types are checked; nothing stored is trusted."""
    known = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]
    if set(values) - set(known):
        raise BadInput("A stored value has unknown parts")
    for name, value in values.items():
        wanted = _PLAIN.get(known[name])
        if wanted is None:
            continue
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise BadInput(f"The stored part {name!r} is not of the right kind")
    return kind(**values)


def geometry_body(geometry: Geometry) -> Body:
    """A grid as JSON; floats survive exactly."""
    body: Body = {
        "shape": list(geometry.shape),
        "affine": [float(v) for v in geometry.affine.ravel()],
        "frame": geometry.frame_of_reference,
    }
    if isinstance(geometry, UnevenGeometry):
        body["places"] = [float(v) for v in geometry.places.ravel()]
    return body


def read_geometry(body: Body) -> Geometry:
    """A grid from :func:`geometry_body`."""
    affine = np.array(body["affine"], dtype=float).reshape(4, 4)
    grid = Geometry([int(n) for n in body["shape"]], affine, str(body["frame"]))
    if "places" not in body:
        return grid
    return UnevenGeometry(grid, np.array(body["places"], dtype=float).reshape(-1, 3))


def provenance_body(provenance: Provenance) -> Body:
    """Where a result came from, as JSON."""
    return {**vars(provenance), "settings": [list(pair) for pair in provenance.settings]}


def read_provenance(body: Body) -> Provenance:
    """From :func:`provenance_body`."""
    settings = tuple((str(name), str(value)) for name, value in body["settings"])
    return _build(Provenance, {**body, "settings": settings})


def segment_body(segment: Segment) -> Body:
    """One label as JSON."""
    return {
        **{name: value for name, value in vars(segment).items() if name != "unchanged" or value},
        "colour": list(segment.colour),
        "category": list(segment.category),
        "type": list(segment.type),
        "modifier": None if segment.modifier is None else list(segment.modifier),
        "region": None if segment.region is None else list(segment.region),
    }


def read_segment(body: Body) -> Segment:
    """From :func:`segment_body`."""
    red, green, blue = (int(v) for v in body["colour"])
    changed = {
        "colour": (red, green, blue),
        "category": Code(*(str(part) for part in body["category"])),
        "type": Code(*(str(part) for part in body["type"])),
    }
    for name in ("modifier", "region"):
        if body.get(name) is not None:
            changed[name] = Code(*(str(part) for part in body[name]))
    return _build(Segment, {**body, **changed})


def header_body(header: SegmentationHeader) -> Body:
    """All of a mask but its voxels, as JSON."""
    return {
        "name": header.name,
        "segments": [segment_body(segment) for segment in header.segments],
        "provenance": provenance_body(header.provenance),
        "draft": header.draft,
        "threshold": header.threshold,
        "probability_id": header.probability_id,
        "hand_work": base64.b64encode(header.hand_work).decode(),
    }


def read_header(body: Body) -> SegmentationHeader:
    """From :func:`header_body`."""
    changed = {
        "segments": tuple(read_segment(part) for part in body["segments"]),
        "provenance": read_provenance(body["provenance"]),
        "hand_work": base64.b64decode(body["hand_work"], validate=True),
    }
    return _build(SegmentationHeader, {**body, **changed})


@dataclass(frozen=True)
class VolumeRef:
    """What is kept of a volume: enough to find its files again and to know it is the same grid.

    Parameters
    ----------
    id : str
        Id inside the case; masks and maps refer to it.
    files : tuple of str
        Paths as they were opened.
    sample : str
        :func:`pixel_sample` of the voxels; empty where it was not taken.
    repeat : int
        Image of a 4D series that was chosen; ``files`` are those of all its images.
    even_mm : float
        Step of an image made even from uneven or sheared slices, 0 for an image as acquired; the
        files are those of its slices.
    """

    id: str
    name: str
    kind: str
    files: tuple[str, ...]
    study_uid: str
    series_uid: str
    geometry: Geometry
    sample: str = ""
    repeat: int = 0
    even_mm: float = 0.0

    @classmethod
    def of(cls, volume: Volume, sampled: bool = False) -> VolumeRef:
        """The reference of an open volume; ``sampled`` for one that is loaded to the end."""
        source = volume.source
        sources = (source,) if volume.repeats is None else volume.repeats.sources
        files = tuple(dict.fromkeys(file for one in sources for file in one.files))
        return cls(
            volume.id, volume.name, source.kind, files, source.study_uid,
            source.series_uid, volume.geometry,
            pixel_sample(volume.voxels) if sampled else "", volume.repeat, volume.even_mm,
        )  # fmt: skip

    def body(self) -> Body:
        """As JSON."""
        return {
            **vars(self), "files": list(self.files), "geometry": geometry_body(self.geometry),
        }  # fmt: skip

    @classmethod
    def read(cls, body: Body) -> VolumeRef:
        """From :meth:`body`."""
        files = tuple(str(path) for path in body["files"])
        geometry = read_geometry(body["geometry"])
        return _build(cls, {**body, "files": files, "geometry": geometry})

    def fits(self, volume: Volume) -> bool:
        """True where a volume belongs to the same series, on the same grid, with the same voxels.

        What was not known when the reference was made is not compared.
        """
        if self.series_uid and self.series_uid != volume.source.series_uid:
            return False
        if not self.geometry.same_grid(volume.geometry):
            return False
        return not self.sample or self.sample == pixel_sample(volume.voxels)


# --- items ----------------------------------------------------------------------------------


def item_body(item: Item, arrays: Arrays) -> Body:
    """An item as JSON; its array goes into ``arrays`` (a volume is only referred to)."""
    if isinstance(item, Volume):
        return {"kind": "volume", "volume": VolumeRef.of(item).body()}
    body = {"id": item.id, "volume_id": item.volume_id, "geometry": geometry_body(item.geometry)}
    if isinstance(item, Segmentation):
        header = _identified(item.header(), item.id, item.geometry)
        body |= {"kind": "segmentation", "header": header_body(header)}
        if item.lesion_numbers:
            body |= {"lesion_numbers": [list(one) for one in item.lesion_numbers]}
        return body | {"labels": _keep(item.labels, arrays)}
    body |= {"kind": "heatmap", "name": item.name, "meaning": item.meaning, "about": item.about}
    body |= {"provenance": provenance_body(item.provenance)}
    return body | {"values": _keep(item.values, arrays)}


def read_item(body: Body, fetch: Fetch) -> Segmentation | Heatmap:
    """A mask or map from :func:`item_body`."""
    geometry = read_geometry(body["geometry"])
    id, volume_id = _text(body, "id"), _text(body, "volume_id")
    if body["kind"] == "segmentation":
        header = _identified(read_header(body["header"]), id, geometry)
        labels = fetch(_text(body, "labels"), np.dtype(np.uint8), geometry.shape)
        item = Segmentation.from_labels(id, header.name, geometry, volume_id, labels)
        item.set_header(header)
        item.lesion_numbers = read_numbers(body.get("lesion_numbers", []))
        item.revision = 0
        return item
    if body["kind"] != "heatmap":
        raise BadInput(f"An item of unknown kind {body['kind']!r} is stored")
    values = fetch(_text(body, "values"), np.dtype(np.float32), geometry.shape)
    return Heatmap(
        id, _text(body, "name"), values, _text(body, "meaning"), geometry, volume_id,
        read_provenance(body["provenance"]), _text(body, "about"),
    )  # fmt: skip


def read_numbers(stored: list[list[int]]) -> tuple[tuple[int, int, int, int], ...]:
    """Numbers of a lesion list, each with its voxel; old files have none."""
    read = []
    for number, k, j, i in stored:
        if any(type(value) is not int or value < 0 for value in (number, k, j, i)) or not number:
            raise BadInput("A stored number of a lesion is none")
        read.append((number, k, j, i))
    return tuple(read)


def _identified(header: SegmentationHeader, mask_id: str, geometry: Geometry) -> SegmentationHeader:
    """The header with a tracking UID in each label; files of early versions have none."""
    segments = identified(header.segments, mask_id, geometry, header.provenance.created)
    return header if segments is header.segments else replace(header, segments=segments)


def _text(body: Body, key: str) -> str:
    if not isinstance(body[key], str):
        raise BadInput(f"The stored part {key!r} is not a text")
    return body[key]


def _keep(array: np.ndarray, arrays: Arrays) -> str:
    name = digest(array)
    arrays[name] = array
    return name


# --- edits ----------------------------------------------------------------------------------


def edit_body(edit: Edit, patches: list[bytes], arrays: Arrays) -> Body:
    """An edit as JSON; patches are appended in order, arrays collected by digest."""
    if isinstance(edit, VoxelEdit):
        patches.append(edit.patch)
        box = [list(edit.box.start), list(edit.box.stop)]
        return {
            "kind": "voxels", "name": edit.name, "item": edit.item, "box": box,
            "before": edit.crc_before, "after": edit.crc_after, "bytes": len(edit.patch),
        }  # fmt: skip
    if isinstance(edit, HeaderEdit):
        before, after = header_body(edit.before), header_body(edit.after)
        return {
            "kind": "header", "name": edit.name, "item": edit.item,
            "before": before, "after": after,
        }  # fmt: skip
    if isinstance(edit, AddItem):
        return {"kind": "add", "name": edit.name, "item": item_body(edit.item, arrays)}
    if isinstance(edit, RemoveItem):
        return {"kind": "remove", "name": edit.name, "item": edit.item.id}
    if isinstance(edit, Group):
        parts = [edit_body(part, patches, arrays) for part in edit.edits]
        return {"kind": "group", "name": edit.name, "parts": parts}
    raise TypeError(f"an edit of type {type(edit).__name__} cannot be stored")


def leaves(body: Body) -> Iterator[Body]:
    """The single edits of a stored edit in the order they were applied."""
    if body["kind"] == "group":
        for part in body["parts"]:
            yield from leaves(part)
    else:
        yield body


def read_leaf(body: Body, patch: bytes, case: Case, fetch: Fetch) -> Edit:
    """A single edit from :func:`edit_body`, for the state of ``case`` it is applied to next."""
    kind, name = body["kind"], str(body["name"])
    if kind == "voxels":
        start, stop = (tuple(int(v) for v in corner) for corner in body["box"])
        return VoxelEdit(
            body["item"], name, Box(start, stop), patch, body["before"], body["after"]  # type: ignore[arg-type]
        )  # fmt: skip
    if kind == "header":
        item = _text(body, "item")
        geometry = case.segmentation(item).geometry
        before, after = (
            _identified(read_header(body[side]), item, geometry) for side in ("before", "after")
        )
        return HeaderEdit(item, name, before, after)
    if kind == "add":
        return AddItem(read_item(body["item"], fetch), name)
    if kind == "remove":
        if body["item"] not in case.items:
            raise BadInput("A stored step removes an item that is not there")
        return RemoveItem(case.items[body["item"]], name)
    raise BadInput(f"A stored step has the unknown kind {kind!r}")


def frozen(edit: Edit) -> Edit:
    """The edit with its own copy of every mask it adds, so that it can be stored later."""
    if isinstance(edit, Group):
        return Group(edit.name, tuple(frozen(part) for part in edit.edits))
    if isinstance(edit, AddItem):
        return AddItem(frozen_item(edit.item), edit.name)
    return edit


def frozen_item(item: Item) -> Item:
    """A copy of a mask; maps and volumes never change and are returned as they are."""
    if not isinstance(item, Segmentation):
        return item
    copy = Segmentation.from_labels(
        item.id, item.name, item.geometry, item.volume_id, item.labels, revision=item.revision
    )
    copy.set_header(item.header())
    copy.lesion_numbers = item.lesion_numbers
    return copy


def on_volume(item: Segmentation | Heatmap, volume_id: str) -> Segmentation | Heatmap:
    """The item, referring to a volume by another id (the files were opened anew)."""
    if isinstance(item, Heatmap):
        return replace(item, volume_id=volume_id)
    item.volume_id = volume_id
    return item
