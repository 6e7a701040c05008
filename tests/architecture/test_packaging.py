"""What is handed out: declared versions, files that travel, words in every package."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).resolve().parents[2]
META = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED = [
    Requirement(line)
    for lines in (META["dependencies"], *META["optional-dependencies"].values())
    for line in lines
]
FLOORS = ("app", "viewer", "inference", "imaging", "resources")
PACKAGES = sorted(
    path for floor in FLOORS for path in (PROJECT / floor).rglob("__init__.py")
)  # fmt: skip


def pinned() -> dict[str, str]:
    """Name to version, as ``constraints.txt`` says."""
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name: version for name, version in pairs}


def committed() -> list[Path]:
    """Every text file git carries."""
    try:
        told = subprocess.run(
            ["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: which files travel is not known")
    binary = {".png", ".safetensors", ".ico", ".gz", ".dcm", ".zip"}
    paths = (PROJECT / name for name in told.split("\0") if name)
    return [path for path in paths if path.suffix not in binary and path.is_file()]


@pytest.mark.parametrize("wanted", DECLARED, ids=str)
def test_every_declared_dependency_is_pinned_inside_its_range(wanted):
    version = pinned()[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version)


def test_pins_are_plain_sorted_versions():
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9.a-z]*", line) for line in lines)
    assert not any(Version(version).local for version in pinned().values())


def test_what_dependencies_bring_is_pinned_too():
    """What is installed here and reachable from the project has a line in the list."""
    from importlib.metadata import PackageNotFoundError, requires

    known, missing, queue, seen = pinned(), set(), list(DECLARED), set()
    while queue:
        wanted = queue.pop()
        extras = wanted.extras or {""}
        if wanted.marker and not any(wanted.marker.evaluate({"extra": e}) for e in extras):
            continue
        key = (canonicalize_name(wanted.name), tuple(sorted(extras)))
        if key in seen:
            continue
        seen.add(key)
        try:
            children = [Requirement(line) for line in requires(wanted.name) or ()]
        except PackageNotFoundError:
            continue  # belongs to an extra that is not installed
        if key[0] not in known:
            missing.add(key[0])
        for child in children:
            if child.marker is None or any(child.marker.evaluate({"extra": e}) for e in extras):
                child.marker = None
                queue.append(child)
    assert len(seen) > 20
    assert not missing


def test_the_release_that_breaks_reference_counts_is_kept_out():
    (qt,) = [r for r in DECLARED if canonicalize_name(r.name).startswith("pyside6")]
    assert not qt.specifier.contains("6.12.0")
    assert qt.specifier.contains("6.11.3")


#: Homes and work folders of whoever wrote the file; package indexes and their mirrors.
MACHINE = re.compile(
    r"(?<![\w.])/(?:home|work|Users)/\w"
    r"|/root/[\w.]{2}"
    r"|[A-Z]:\\Users\\"
    r"|(?:extra-)?index-url\s*[=:]?\s*\S*//"
    r"|find-links\s*[=:]"
    r"|\b(?:pypi|files\.pythonhosted|download\.pytorch)\.org"
)


def test_committed_files_name_no_machine_and_no_registry():
    found = [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()[:80]}"
        for path in committed()
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if MACHINE.search(line) or (len(PROJECT.parts) > 2 and str(PROJECT) in line)
    ]
    assert found == []


@pytest.mark.parametrize("line", ["cp x /home/anna/y", "--index-url https://a.b/simple"])
def test_the_search_for_machine_names_finds_them(line):
    assert MACHINE.search(line)


@pytest.mark.parametrize("path", PACKAGES, ids=lambda p: str(p.parent.relative_to(PROJECT)))
def test_every_package_says_what_lives_there(path):
    words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert words, "no docstring"
    assert re.search(r"[Rr]ead |\.py", words), "which file comes first?"
    if path.parent.name != "resources":
        assert re.search(r"[Mm]ay import|No Qt", words), "what may it import?"


def test_start_up_folders_travel_in_the_wheel():
    """Every package folder and every data file that the program opens is named to setuptools."""
    table = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    tools = table["tool"]["setuptools"]
    included = {pattern.rstrip("*") for pattern in tools["packages"]["find"]["include"]}
    assert included == set(FLOORS)
    folders = {p.parent for floor in FLOORS for p in (PROJECT / floor).rglob("*.py")}
    bare = [f for f in folders if not (f / "__init__.py").exists()]
    assert bare == [], "a folder without __init__.py is left out of the wheel"


def test_every_test_file_has_a_name_of_its_own():
    """Two of one name in different folders break the collection of the whole suite."""
    names = [path.name for path in (PROJECT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
