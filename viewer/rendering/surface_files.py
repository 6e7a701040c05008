"""Surfaces as files: STL, PLY and OBJ in LPS mm (and saying so), GLB in metres as glTF wants it.

Each is written aside, read back and compared. STL and PLY hold one label, OBJ and GLB all of them
with names and colours. Source: Wavefront OBJ/MTL; Stanford PLY 1.0; Khronos glTF 2.0. 3D Slicer
looks for ``SPACE=LPS`` in the header or the comments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imaging.atomic import write_atomic
from imaging.errors import BadInput, WorldFailed
from viewer.rendering.surfaces import Surface

#: First in every header; STL leaves 80 bytes for it.
SPACE_NOTE = "Isocenter surface; SPACE=LPS; unit mm"
RESEARCH_NOTE = "research use - not for diagnosis"

_STL_FACET = np.dtype(
    [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")], align=False
)
_PLY_VERTEX = np.dtype([("place", "<f4", 3), ("colour", "u1", 3)], align=False)
_PLY_FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)], align=False)
#: glTF is y-up with +z to the front and in metres: x = left, y = superior, z = anterior.
GLTF_FROM_LPS = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]) / 1000.0
_GLB_MAGIC, _JSON_CHUNK, _BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _UINT, _VERTICES, _INDICES = 5126, 5125, 34962, 34963

Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class NamedSurface:
    """The surface of a label with what people know it by.

    Parameters
    ----------
    word : str
        Plain letters and digits, for file and object names.
    facts : dict
        Goes into a GLB as ``extras``: what made it, ready for JSON.
    """

    word: str
    name: str
    colour: Colour
    surface: Surface
    facts: dict[str, Any]


def write_stl(path: Path | str, surfaces: Sequence[Surface]) -> None:
    """Write surfaces as one binary STL file in LPS mm, then read it back and compare.

    Raises
    ------
    BadInput
        Where there is no triangle to write.
    WorldFailed
        Where the disk refuses, or holds something else than was written.
    """
    corners = [surface.corners for surface in surfaces if not surface.empty]
    if not corners:
        raise _nothing()
    facets = _facets(np.concatenate(corners))
    note = f"{SPACE_NOTE}; {RESEARCH_NOTE}".encode("ascii")
    payload = note.ljust(80)[:80] + np.uint32(len(facets)).tobytes() + facets.tobytes()
    _write(path, payload, lambda aside: np.array_equal(read_stl(aside), facets["corners"]))


def read_stl(path: Path | str) -> np.ndarray:
    """Corner points of every triangle of a binary STL file, float32, shape (m, 3, 3).

    Raises
    ------
    BadInput
        Where the file is not a whole binary STL.
    """
    content = Path(path).read_bytes()
    count = int.from_bytes(content[80:84], "little")
    if len(content) < 84 or len(content) != 84 + count * _STL_FACET.itemsize:
        raise BadInput("This is not a whole binary STL file", str(path))
    return np.frombuffer(content, _STL_FACET, offset=84)["corners"]


def write_ply(path: Path | str, surface: Surface, colour: Colour, name: str = "") -> None:
    """Write a surface as a binary PLY file in LPS mm with its colour at every point.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_stl`.
    """
    if surface.empty:
        raise _nothing()
    points = np.zeros(len(surface.points), _PLY_VERTEX)
    points["place"], points["colour"] = surface.points, colour
    faces = np.zeros(len(surface.triangles), _PLY_FACE)
    faces["count"], faces["corners"] = 3, surface.triangles
    header = [
        "ply", "format binary_little_endian 1.0",
        f"comment {SPACE_NOTE}", f"comment {RESEARCH_NOTE}",
        *([f"comment label {_ascii(name)}"] if name else []),
        f"element vertex {len(points)}",
        "property float x", "property float y", "property float z",
        "property uchar red", "property uchar green", "property uchar blue",
        f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header",
    ]  # fmt: skip
    head = ("\n".join(header) + "\n").encode("ascii")

    def same(aside: Path) -> bool:
        content = aside.read_bytes()
        at = content.index(b"end_header\n") + len(b"end_header\n")
        back = np.frombuffer(content, _PLY_VERTEX, len(points), at)
        tail = np.frombuffer(content, _PLY_FACE, len(faces), at + back.nbytes)
        return bool((back == points).all() and (tail == faces).all())

    _write(path, head + points.tobytes() + faces.tobytes(), same)


def write_obj(path: Path | str, surfaces: Sequence[NamedSurface]) -> list[Path]:
    """Write surfaces as objects of one OBJ file in LPS mm, and their colours as MTL beside it.

    Returns
    -------
    list of Path
        The OBJ and the MTL file.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_stl`.
    """
    path = Path(path)
    shown = [one for one in surfaces if not one.surface.empty]
    if not shown:
        raise _nothing()
    materials = path.with_suffix(".mtl")
    lines = [f"# {SPACE_NOTE}", f"# {RESEARCH_NOTE}", f"mtllib {materials.name}"]
    shades = [f"# {SPACE_NOTE}"]
    first = 1
    for one in shown:
        points, triangles = one.surface.points, one.surface.triangles + first
        first += len(points)
        lines += [f"# label {_ascii(one.name)}", f"o {one.word}", f"usemtl {one.word}"]
        lines += [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in points.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in triangles.tolist()]
        red, green, blue = (part / 255 for part in one.colour)
        shades += [f"newmtl {one.word}", f"Kd {red:.4f} {green:.4f} {blue:.4f}", "d 1"]
    places = np.concatenate([one.surface.points for one in shown])
    corners = np.concatenate([one.surface.corners for one in shown]).astype(np.float32)

    def same(aside: Path) -> bool:
        rows = [line.split() for line in aside.read_text("ascii").splitlines()]
        back = np.array([row[1:] for row in rows if row[:1] == ["v"]], np.float32)
        faces = np.array([row[1:] for row in rows if row[:1] == ["f"]], int) - 1
        return np.array_equal(back, places) and np.array_equal(back[faces], corners)

    text = ("\n".join(shades) + "\n").encode("ascii")
    _write(materials, text, lambda aside: aside.read_bytes() == text)
    _write(path, ("\n".join(lines) + "\n").encode("ascii"), same)
    return [path, materials]


def write_glb(path: Path | str, surfaces: Sequence[NamedSurface]) -> None:
    """Write surfaces as one binary glTF: a node, a mesh and a colour for each label.

    In metres, y up, z to the front, as glTF asks; ``extras`` of the scene say how to get back.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_stl`.
    """
    shown = [one for one in surfaces if not one.surface.empty]
    if not shown:
        raise _nothing()
    blocks: list[np.ndarray] = []
    for one in shown:
        points = one.surface.points.astype(np.float64) @ GLTF_FROM_LPS.T
        blocks.append(np.ascontiguousarray(points, "<f4"))
        blocks.append(np.ascontiguousarray(one.surface.normals @ (GLTF_FROM_LPS.T * 1000), "<f4"))
        blocks.append(np.ascontiguousarray(one.surface.triangles.reshape(-1), "<u4"))
    body = b"".join(block.tobytes() for block in blocks)
    text = json.dumps(_gltf(shown, blocks, len(body)), ensure_ascii=False, separators=(",", ":"))
    head = text.encode("utf-8", "replace")
    head += b" " * (-len(head) % 4)
    body += b"\0" * (-len(body) % 4)
    total = 12 + 8 + len(head) + 8 + len(body)
    words = np.array([_GLB_MAGIC, 2, total, len(head), _JSON_CHUNK], "<u4").tobytes()
    payload = words + head + np.array([len(body), _BIN_CHUNK], "<u4").tobytes() + body

    def same(aside: Path) -> bool:
        tables, packed = read_glb(aside)
        return packed == body and len(tables["nodes"]) == len(shown)

    _write(path, payload, same)


def read_glb(path: Path | str) -> tuple[dict[str, Any], bytes]:
    """The tables and the binary chunk of a GLB file.

    Raises
    ------
    BadInput
        Where the file is not a whole GLB of version 2.
    """
    content = Path(path).read_bytes()
    if len(content) < 28:
        raise BadInput("This is not a whole GLB file", str(path))
    magic, version, total, size, kind = np.frombuffer(content, "<u4", 5).tolist()
    whole = total == len(content) and 20 + size + 8 <= len(content)
    if (magic, version, kind) != (_GLB_MAGIC, 2, _JSON_CHUNK) or not whole:
        raise BadInput("This is not a whole GLB file", str(path))
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def _gltf(shown: list[NamedSurface], blocks: list[np.ndarray], size: int) -> dict[str, Any]:
    """The tables of a glTF: every label has three blocks (places, normals, corners)."""
    views, accessors, at = [], [], 0
    for number, block in enumerate(blocks):
        corners = number % 3 == 2
        views.append(
            {
                "buffer": 0, "byteOffset": at, "byteLength": block.nbytes,
                "target": _INDICES if corners else _VERTICES,
            }
        )  # fmt: skip
        at += block.nbytes
        entry = {
            "bufferView": number, "componentType": _UINT if corners else _FLOAT,
            "count": len(block), "type": "SCALAR" if corners else "VEC3",
        }  # fmt: skip
        if number % 3 == 0:  # glTF wants the range of positions
            entry |= {"min": block.min(axis=0).tolist(), "max": block.max(axis=0).tolist()}
        accessors.append(entry)
    back = np.eye(4)
    back[:3, :3] = np.linalg.inv(GLTF_FROM_LPS)
    space = {"space": "glTF: metres, x = left, y = superior, z = anterior", "notice": RESEARCH_NOTE}
    return {
        "asset": {"version": "2.0", "generator": "Isocenter"},
        "scene": 0,
        "scenes": [
            {
                "name": "Labels",
                "nodes": list(range(len(shown))),
                "extras": {**space, "lpsMmFromScene": back.ravel().tolist()},
            }
        ],
        "nodes": [{"name": s.name, "mesh": n, "extras": s.facts} for n, s in enumerate(shown)],
        "meshes": [
            {
                "name": one.name,
                "primitives": [
                    {
                        "attributes": {"POSITION": 3 * n, "NORMAL": 3 * n + 1},
                        "indices": 3 * n + 2,
                        "material": n,
                    }
                ],
            }
            for n, one in enumerate(shown)
        ],
        "materials": [_material(one) for one in shown],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": size}],
    }


def _material(one: NamedSurface) -> dict[str, Any]:
    """A plain colour; glTF wants linear light, screens speak sRGB (IEC 61966-2-1)."""
    parts = [part / 255 for part in one.colour]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    look = {"baseColorFactor": [*linear, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.8}
    return {"name": one.name, "pbrMetallicRoughness": look}


def _facets(corners: np.ndarray) -> np.ndarray:
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    facets = np.zeros(len(corners), _STL_FACET)
    facets["normal"] = normals / np.where(length > 0, length, 1.0)
    facets["corners"] = corners
    return facets


def _write(path: Path | str, payload: bytes, same: Callable[[Path], bool]) -> None:
    def write(aside: Path) -> None:
        aside.write_bytes(payload)

    def verify(aside: Path) -> None:
        if not same(aside):
            raise WorldFailed("The surface file does not hold what was written", str(path))

    write_atomic(Path(path), write, verify)


def _nothing() -> BadInput:
    return BadInput("There is no surface to export", advice="Mark a lesion first")


def _ascii(text: str) -> str:
    return " ".join(text.encode("ascii", "replace").decode("ascii").split())
