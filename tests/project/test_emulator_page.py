"""docs/emulator.md describes the emulator that there is."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest

from step.emulator import Emulator, EmulatorError, Fault, Seed

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "emulator.md").read_text()


def test_the_seed_is_one() -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    seed = Seed.parse(text)
    Emulator(seed)
    assert re.findall(r"^(\w+):", text, re.MULTILINE) == [
        "projects",
        "keys",
        "notes",
        "attestors",
        "policies",
        "builds",
        "occurrences",
    ]


def test_the_table_has_every_fault_with_its_methods() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", PAGE, re.MULTILINE))
    with pytest.raises(EmulatorError) as caught:
        Fault.parse("AsymmetricSign=NO_SUCH_FAULT")
    known = set(re.findall(r"[A-Z_]{5,}", str(caught.value).partition("there are")[2]))
    statuses = {code.name for code in grpc.StatusCode}
    assert set(rows) == known - statuses
    for what, methods in rows.items():
        for method in re.findall(r"`(\w+)`", methods) or ["GetNote"]:
            assert Fault.parse(f"{method}={what}").what == what
