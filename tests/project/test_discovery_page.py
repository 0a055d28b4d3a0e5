"""docs/discovery.md says what the code knows: no format, trap, place or fixture more or less."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from step.discovery.formats import Format
from step.discovery.workspace import LAYOUTS, RECORDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "discovery.md").read_text()
FIXTURES = ROOT / "tests" / "discovery" / "fixtures"


def rows(heading: str) -> Iterator[list[str]]:
    """The rows of the table whose first column has this heading, that row left out."""
    table = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, flags=re.MULTILINE)
    assert table is not None
    for line in table[1].splitlines():
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_format_has_a_tool_and_every_tool_a_format() -> None:
    table = list(rows("Tool"))
    assert all(len(row) == 4 for row in table)
    assert {row[3] for row in table} == {form.value for form in Format}


def test_a_digest_alone_is_never_given_without_a_name() -> None:
    for _, _, given, form in rows("Tool"):
        assert (form == Format.DIGEST.value) <= ("--image NAME" in given)


def test_every_trap_has_a_test() -> None:
    source = ast.parse((ROOT / "tests" / "discovery" / "test_traps.py").read_text())
    tests = {
        node.name: ast.get_docstring(node) or ""
        for node in source.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    named = {f"test_{row[0].replace(' ', '_')}" for row in rows("Trap")}
    # The others are of when a record says that it was made.
    assert named <= tests.keys()
    assert {name for name, says in tests.items() if "https://" in says} == named


def test_every_place_is_listed() -> None:
    assert {code(folder)[0]: tuple(code(names)) for folder, names in rows("Folder")} == RECORDS
    [layouts] = re.findall(r"the folders (.*), where they are OCI layouts", PAGE)
    assert tuple(code(layouts)) == LAYOUTS


def test_every_fixture_is_listed_as_what_it_is() -> None:
    made, written = (
        set(re.findall(r"^\| `([\w-]+)` \|", part, flags=re.MULTILINE))
        for part in PAGE.partition("## The records that the tests read")[2].split("Written from")
    )
    folders = {path for path in FIXTURES.iterdir() if path.is_dir() and path.name[0] != "_"}
    by_tool = {
        path.name
        for path in folders
        if (source := path / "SOURCE.json").is_file()
        and "version" in json.loads(source.read_text())
    }
    assert made == by_tool
    assert written == {path.name for path in folders} - by_tool
