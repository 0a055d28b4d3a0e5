"""docs/architecture.md and the index of decisions say what there is."""

from __future__ import annotations

import re

from docs.picture import PAGE, drawn
from tests.project.tracked import ROOT, tracked


def test_the_picture_is_that_of_the_imports() -> None:
    """`python docs/picture.py` draws it anew."""
    assert PAGE.read_text() == drawn(PAGE.read_text())


def test_every_file_that_the_page_names_is_there() -> None:
    files = set(tracked()) | {name.rpartition("/")[0] for name in tracked()}
    rooms = "step|tests|docs|cli|cloud|results|model|signing|discovery|preconditions"
    named = re.findall(rf"`((?:{rooms})/[a-z_/.]*)`", PAGE.read_text())
    assert len(named) > 40
    for name in named:
        path = name.rstrip("/")
        assert {path, f"step/{path}"} & files, name


def test_every_name_in_code_that_the_page_mentions_is_there() -> None:
    sources = "\n".join((ROOT / name).read_text() for name in tracked() if name.startswith("step/"))
    for name in (
        "_READERS",
        "RECORDS",
        "Format",
        "Check",
        "Goal",
        "Confirmation",
        "deliver",
        "Pace",
    ):
        assert re.search(rf"^(?:class |def )?{name}\b", sources, re.MULTILINE), name


def test_the_index_lists_every_decision() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    for name in tracked():
        if match := re.fullmatch(r"docs/adr/0*(\d+)-.+\.md", name):
            title = (ROOT / name).read_text().split("\n")[0].removeprefix(f"# {match[1]}. ")
            assert f"| {match[1]} | [{title}]({name.rpartition('/')[2]}) |" in index
