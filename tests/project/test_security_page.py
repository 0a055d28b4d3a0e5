"""SECURITY.md and docs/security.md: bounds as the code has them, attacks with tests that exist."""

from __future__ import annotations

import ast
import re

import step.model.bounds
from tests.project.tracked import ROOT

POLICY = (ROOT / "SECURITY.md").read_text()
PAGE = (ROOT / "docs" / "security.md").read_text()
SOURCE = (ROOT / "step" / "model" / "bounds.py").read_text()


def bounds() -> list[str]:
    """The rows of the table, from the constants and the text below each."""
    rows = []
    body = ast.parse(SOURCE).body
    for at, node in enumerate(body):
        if isinstance(node, ast.Assign):
            [name] = node.targets
            assert isinstance(name, ast.Name)
            text = body[at + 1]
            assert isinstance(text, ast.Expr)
            assert isinstance(text.value, ast.Constant)
            value = getattr(step.model.bounds, name.id)
            reason = " ".join(str(text.value.value).split()).rstrip(".")
            rows.append(f"| `{name.id}` | {value:,} | {reason} |")
    return rows


def attacks() -> list[tuple[str, str, list[str]]]:
    """The rows of the table: the attack, what stops it, and the tests that show it."""
    table = PAGE.partition("| attack | bound or rule | test |\n|---|---|---|\n")[2]
    rows = []
    for line in table.partition("\n\n")[0].splitlines():
        attack, rule, tests = (cell.strip() for cell in line.strip("|").split(" | "))
        rows.append((attack, rule, re.findall(r"`(tests/[^`]+)`", tests)))
    return rows


def test_every_bound_is_listed_with_its_reason() -> None:
    table = POLICY.partition("| bound | value | of |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == bounds()


def test_every_bound_stops_an_attack() -> None:
    told = " ".join(rule for _, rule, _ in attacks())
    assert {row.split("`")[1] for row in bounds()} <= set(re.findall(r"`([A-Z_]+)`", told))


def test_every_attack_has_tests_that_are_there() -> None:
    assert len(attacks()) > 15
    for attack, _, tests in attacks():
        assert tests, attack
        for test in tests:
            path, _, name = test.partition("::")
            names = {
                node.name
                for node in ast.parse((ROOT / path).read_text()).body
                if isinstance(node, ast.FunctionDef)
            }
            assert name in names, test


def test_every_rule_about_what_others_write_stops_an_attack() -> None:
    numbers = set(re.findall(r"^- \*\*(\d+)\.\*\*", POLICY, re.MULTILINE))
    assert numbers == {"12", "13", "14", "15", "16", "17"}
    assert numbers <= {number for _, rule, _ in attacks() for number in re.findall(r"^\d+", rule)}
