"""What is installed is what was written down, hash by hash, wherever it is fetched from."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# A pin, perhaps a marker, and the digests of its files; nothing else is a line of a lock.
_PINNED = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[0-9][0-9a-z.]*)"
    r"(?: ; [^/\\]+?)?(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)"
)


def lines(lock: Path) -> list[str]:
    """The lock's lines, without comments, each joined to those that continue it."""
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    return re.sub(r"\s*\\\n\s*", " ", text).splitlines()


def pins(lock: str) -> dict[str, str]:
    found = (_PINNED.fullmatch(line) for line in lines(ROOT / "requirements" / lock))
    return {match["name"]: match["version"] for match in found if match}


def group(name: str) -> list[Requirement]:
    """A dependency group and the groups that it includes."""
    found: list[Requirement] = []
    for entry in PROJECT["dependency-groups"][name]:
        found += [Requirement(entry)] if isinstance(entry, str) else group(entry["include-group"])
    return found


RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
BUILD = [Requirement(text) for text in PROJECT["build-system"]["requires"]]


def test_there_is_a_lock_for_running_building_and_developing() -> None:
    assert [lock.name for lock in LOCKS] == ["build.txt", "dev.txt", "runtime.txt"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_is_a_pin_with_its_hashes(lock: Path) -> None:
    """So a lock names no index, no link, no path, and nothing that has no hash."""
    assert lines(lock)
    assert [line for line in lines(lock) if not _PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_comment_names_where_packages_came_from(lock: Path) -> None:
    assert re.findall(r"\S+://\S*|--(?:extra-)?index-url|--find-links", lock.read_text()) == []


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [("runtime.txt", RUNTIME), ("build.txt", BUILD), ("dev.txt", [*RUNTIME, *group("dev")])],
    ids=["runtime", "build", "dev"],
)
def test_a_lock_holds_what_the_project_asks_for(lock: str, wanted: list[Requirement]) -> None:
    locked = pins(lock)
    stale = [
        str(requirement)
        for requirement in wanted
        if not requirement.specifier.contains(locked.get(canonicalize_name(requirement.name), "0"))
    ]
    assert stale == []


@pytest.mark.parametrize("lock", ["runtime.txt", "build.txt"])
def test_what_is_tested_is_what_is_shipped(lock: str) -> None:
    assert pins(lock).items() <= pins("dev.txt").items()


def test_the_build_group_is_what_the_build_backend_asks_for() -> None:
    assert group("build") == BUILD


def test_every_direct_dependency_is_explained_and_no_other() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    explained = re.findall(r"^\| `([a-z0-9-]+)` \|", text, flags=re.MULTILINE)
    direct = [canonicalize_name(requirement.name) for requirement in [*RUNTIME, *group("dev")]]
    assert sorted(explained) == sorted(direct)


@cache
def owners() -> dict[str, str]:
    """Module -> distribution, for every module that an installed distribution has."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for file in distribution.files or []:
            path = PurePosixPath(file)
            if path.suffix in {".py", ".so"}:
                parts = [*path.parent.parts, path.name.split(".")[0]]
                found[".".join(parts).removesuffix(".__init__")] = name
    return found


def imported(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    """What each import could mean, the longest first: `from a import b` is a.b or a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((f"{node.module}.{alias.name}", node.module) for alias in node.names)


@pytest.mark.parametrize(
    "source",
    sorted((ROOT / "step").rglob("*.py")),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_what_is_imported_is_asked_for_by_name(source: Path) -> None:
    """A package that another one happens to bring can go away with it."""
    direct = {canonicalize_name(requirement.name) for requirement in RUNTIME}
    found = {
        next((owners()[name] for name in names if name in owners()), None)
        for names in imported(ast.parse(source.read_text()))
    }
    assert found - direct - {None, PROJECT["project"]["name"]} == set()
