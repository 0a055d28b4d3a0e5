"""The house in one picture, out of its imports: `python docs/picture.py` puts it into the page."""

from __future__ import annotations

import ast
import textwrap
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
_START, _END = "<!-- picture -->", "<!-- end -->"


def picture() -> str:
    """Each room from the roof to the ground: what it is, and which of the others it uses."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    floors = [floor.split(" | ") for floor in contracts["contracts"][0]["layers"]]
    rooms = [room for floor in floors for room in floor]
    lines = []
    for floor in floors:
        for room in floor:
            below = [other for other in rooms if other in _used(room) - {room}]
            lines.append(f"{room:<14} {_said(room)}")
            lines += textwrap.wrap(
                " ".join(below), 92, initial_indent=" " * 15 + "-> ", subsequent_indent=" " * 18
            )
        lines.append("-" * 92)
    return "\n".join(lines[:-1])


def _files(room: str) -> list[Path]:
    folder = ROOT / "step" / room
    return sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def _said(room: str) -> str:
    """The first line of a room's docstring."""
    first = next(path for path in _files(room) if path.stem in ("__init__", room))
    told = ast.get_docstring(ast.parse(first.read_text())) or ""
    return told.split("\n")[0]


def _used(room: str) -> set[str]:
    """The rooms that a room imports, wherever in its files it does."""
    return {
        module.split(".")[1]
        for path in _files(room)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (module := node.module or "").startswith("step.")
    }


def drawn(page: str) -> str:
    """The page with the picture in it."""
    before, rest = page.split(_START)
    return f"{before}{_START}\n\n```\n{picture()}\n```\n\n{_END}{rest.split(_END, 1)[1]}"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
