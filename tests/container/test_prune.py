"""What leaves files out of the image leaves out no others, and says when it finds none."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.container.engine import ROOT


@pytest.fixture
def prune(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script, with one rule of each kind in place of its own."""
    script = runpy.run_path(str(ROOT / "requirements" / "prune.py"))
    rule = script["Rule"]
    rules = (
        rule("*", ("*.pyi",), "types"),
        rule("some-thing", ("thing/old/*",), "old", stays=("*/__init__.py",)),
        rule("unused", ("*",), "unused"),
    )
    monkeypatch.setitem(script["prune"].__globals__, "RULES", rules)
    return script


def install(site: Path, name: str, *files: str) -> Path:
    """A package as pip leaves it, with a list of its files; the list's path."""
    folder = f"{name}-1.0.dist-info"
    listed = (*files, f"{folder}/METADATA", f"{folder}/RECORD")
    for file in listed:
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text("x")
    (site / folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    record = site / folder / "RECORD"
    record.write_text(
        "".join(f"{file},sha256=abc,1\n" for file in listed[:-1]) + f"{listed[-1]},,\n"
    )
    return record


def files(site: Path) -> set[str]:
    return {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}


def test_what_a_rule_names_goes_and_nothing_else(prune: dict[str, Any], tmp_path: Path) -> None:
    modules = ("thing/a.py", "thing/a.pyi", "thing/old/__init__.py", "thing/old/b.py")
    record = install(tmp_path, "Some_Thing", *modules)
    own = install(tmp_path, "binauthz_attest", "step/a.pyi", "thing2/old/b.py")
    install(tmp_path, "unused", "unused/deep/a.py")
    taken = prune["prune"](tmp_path)
    assert [size for rule, size in taken.items() if rule.package != "unused"] == [1, 1]
    kept = {"thing/a.py", "thing/old/__init__.py", "step/a.pyi", "thing2/old/b.py"}
    lists = {path.relative_to(tmp_path).as_posix() for path in (record, own)}
    described = {path.replace("RECORD", "METADATA") for path in lists}
    assert files(tmp_path) == kept | lists | described
    assert [line.split(",")[0] for line in record.read_text().splitlines()] == [
        "thing/a.py",
        "thing/old/__init__.py",
        "Some_Thing-1.0.dist-info/METADATA",
        "Some_Thing-1.0.dist-info/RECORD",
    ]
    assert "step/a.pyi" in own.read_text()
    assert not (tmp_path / "unused").exists()


def test_a_rule_that_finds_nothing_fails_the_build(prune: dict[str, Any], tmp_path: Path) -> None:
    install(tmp_path, "some-thing", "thing/a.pyi", "thing/new/b.py")
    install(tmp_path, "unused", "unused/a.py")
    with pytest.raises(SystemExit, match="nothing of some-thing matches thing/old/"):
        prune["main"](tmp_path)
