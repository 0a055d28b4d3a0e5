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

from tests.project.tracked import tracked_texts

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# A pin, perhaps with extras or a marker, and the digests of its files; no other line is in a lock.
_PINNED = re.compile(
    r"(?P<pin>(?P<name>[a-z0-9][a-z0-9-]*)(?:\[[a-z0-9,-]+\])?==[0-9][0-9a-z.]*"
    r"(?: ; [^/\\]+?)?)(?: --hash=sha256:[0-9a-f]{64})+"
)


def lines(lock: Path) -> list[str]:
    """The lock's lines, without comments, each joined to those that continue it."""
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    return re.sub(r"\s*\\\n\s*", " ", text).splitlines()


def pins(lock: str) -> dict[str, str]:
    return {name: next(iter(pin.specifier)).version for name, pin in pinned(lock).items()}


def pinned(lock: str) -> dict[str, Requirement]:
    """Name -> its pin, with extras and marker."""
    actual = (_PINNED.fullmatch(line) for line in lines(ROOT / "requirements" / lock))
    return {match["name"]: Requirement(match["pin"]) for match in actual if match}


def group(name: str) -> list[Requirement]:
    """A dependency group and the groups that it includes."""
    actual: list[Requirement] = []
    for entry in PROJECT["dependency-groups"][name]:
        actual += [Requirement(entry)] if isinstance(entry, str) else group(entry["include-group"])
    return actual


RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
BUILD = [Requirement(text) for text in PROJECT["build-system"]["requires"]]
WANTED = {"runtime.txt": RUNTIME, "build.txt": BUILD, "dev.txt": [*RUNTIME, *group("dev")]}
SUPPORTED = [
    match[1]
    for text in PROJECT["project"]["classifiers"]
    if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", text))
]


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


@pytest.mark.parametrize("lock", WANTED)
def test_a_lock_holds_what_the_project_asks_for(lock: str) -> None:
    held = pinned(lock)
    assert [str(asked) for asked in WANTED[lock] if not fits(asked, held)] == []


def fits(asked: Requirement, held: dict[str, Requirement]) -> bool:
    """Whether it is locked, in a version and with the extras that are asked for."""
    pin = held.get(canonicalize_name(asked.name))
    if pin is None:
        return False
    [locked] = pin.specifier
    return asked.specifier.contains(locked.version) and asked.extras <= pin.extras


def lacking(held: dict[str, Requirement], python: str) -> list[str]:
    """What locked packages ask for, on a version of Python, and is not locked."""
    with_python = {"python_version": python, "python_full_version": f"{python}.0"}
    missing = []
    for pin in held.values():
        if pin.marker and not pin.marker.evaluate():
            continue
        assert pin.specifier.contains(metadata.version(pin.name)), "not what is locked: make env"
        for asked in map(Requirement, metadata.requires(pin.name) or ()):
            applies = asked.marker is None or any(
                asked.marker.evaluate({**with_python, "extra": extra})
                for extra in {"", *pin.extras}
            )
            if applies and not fits(asked, held):
                missing.append(f"{pin.name} asks for {asked}")
    return missing


@pytest.mark.parametrize("python", SUPPORTED)
@pytest.mark.parametrize("lock", WANTED)
def test_a_lock_holds_what_its_packages_ask_for(lock: str, python: str) -> None:
    """pip is told to fetch nothing else; and were it not, an older one would take the newest."""
    assert lacking(pinned(lock), python) == []


@pytest.mark.parametrize("lock", ["runtime.txt", "dev.txt"])
def test_an_extra_that_is_not_locked_is_noticed(lock: str) -> None:
    held = pinned(lock)
    with_extras = [name for name, pin in held.items() if pin.extras]
    assert with_extras
    for name in with_extras:
        without = held | {name: Requirement(f"{name}{held[name].specifier}")}
        unfit = [asked for asked in WANTED[lock] if not fits(asked, without)]
        assert unfit or lacking(without, SUPPORTED[0]), name


@pytest.mark.parametrize("name", ["cffi", "protobuf"])
def test_a_package_that_is_not_locked_is_noticed(name: str) -> None:
    held = pinned("runtime.txt")
    del held[name]
    assert lacking(held, SUPPORTED[0])


def test_a_lock_is_installed_as_it_is_wherever_it_is_installed() -> None:
    installing = re.compile(r"\b(?:install|download)\b")
    from_lock = re.compile(r"--requirement\b|--require-hashes\b|\s-r\s")
    commands = [
        (name, command)
        for name, text in tracked_texts().items()
        for command in re.split(r"\n|&&|;", re.sub(r"\\\n\s*", "", text))
        if installing.search(command) and from_lock.search(command)
    ]
    assert {"Dockerfile", "README.md", "requirements/install", ".ci/locks"} <= {
        n for n, _ in commands
    }
    wanted = {"--require-hashes", "--no-deps"}
    assert [(name, line) for name, line in commands if not wanted <= set(line.split())] == []


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
    actual: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for file in distribution.files or []:
            path = PurePosixPath(file)
            if path.suffix in {".py", ".so"}:
                parts = [*path.parent.parts, path.name.split(".")[0]]
                actual[".".join(parts).removesuffix(".__init__")] = name
    return actual


def imported(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    """What each import could mean, the longest first: `from a import b` is a.b or a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((f"{node.module}.{alias.name}", node.module) for alias in node.names)


def test_what_is_imported_is_asked_for_by_name() -> None:
    """A package that another one happens to bring can go away with it."""
    direct = {canonicalize_name(requirement.name) for requirement in RUNTIME}
    known = {*direct, None, PROJECT["project"]["name"]}
    texts = tracked_texts().items()
    sources = {name: text for name, text in texts if re.fullmatch(r"step/.+\.py", name)}
    owned = {
        (next((owners()[name] for name in names if name in owners()), None), source)
        for source, text in sources.items()
        for names in imported(ast.parse(text))
    }
    assert sources
    assert [(owner, source) for owner, source in owned if owner not in known] == []
