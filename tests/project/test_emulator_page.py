"""docs/emulator.md describes the emulator that there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer.main

import step.cli
from step.cli.emulator import environment_for
from step.emulator import Emulator, EmulatorError, Fault, Seed, webhook
from step.emulator.platform_checks import CHECK

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
        "system_policy",
        "platform_policies",
        "builds",
        "occurrences",
        "iam_policies",
    ]


def test_the_table_has_every_fault_with_its_methods() -> None:
    section = PAGE.partition("\n## Delays and faults\n")[2]
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", section, re.MULTILINE))
    with pytest.raises(EmulatorError) as caught:
        Fault.parse("AsymmetricSign=NO_SUCH_FAULT")
    known = set(re.findall(r"[A-Z_]{5,}", str(caught.value).partition("there are")[2]))
    statuses = {code.name for code in grpc.StatusCode}
    assert set(rows) == known - statuses
    for what, methods in rows.items():
        for method in re.findall(r"`(\w+)`", methods) or ["GetNote"]:
            often = ":600/m" if what == "EXHAUSTED" else ""
            assert Fault.parse(f"{method}={what}{often}").what == what


def test_the_table_has_every_variable() -> None:
    section = PAGE.partition("\n## COMMAND\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    seed = Seed(projects={"p": 1})
    with Emulator(seed) as emulator:
        actual = environment_for(emulator, seed, {"http_proxy": "http://proxy.example"})
    [overrides] = {name.rpartition("_")[0] for name in actual if "_OVERRIDES_" in name}
    names = {name for name in actual if "_OVERRIDES_" not in name} | {f"{overrides}_…"}
    # The last comes with the admission endpoint.
    told = re.findall("`(.*?)`", " ".join(rows))
    assert set(told) == names | {"BINAUTHZ_EMULATOR_ADMISSION_URL"}


def test_the_table_of_checks_has_every_check() -> None:
    [table] = re.findall(r"^\| check \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    told = re.findall(r"`(\w+)`(?=[^|]*\|[^|]*\|$)", table, re.MULTILINE)
    assert isinstance(CHECK, dict)
    assert sorted(told) == sorted(set(CHECK) - {"displayName"})


def test_the_admission_endpoint_has_its_section() -> None:
    command: Any = typer.main.get_command(step.cli.app)
    options = {name for param in command.commands["emulator"].params for name in param.opts}
    [section] = re.findall(r"^## The admission endpoint\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"--[\w-]+", section))
    assert named == {each for each in options if each.startswith(("--admission-", "--tls-"))}
    for api, kind in (webhook.ADMISSION_REVIEW, webhook.IMAGE_REVIEW):
        assert f"`{api}` {kind}" in section
    for key in (webhook.BREAK_GLASS_LABEL, webhook.BREAK_GLASS_ANNOTATION):
        assert f'`{key}: "true"`' in section
    [path] = re.findall(r"`POST (\S+)`", section)
    assert path == "/projects/PROJECT/clusters/LOCATION.NAME:admit"
