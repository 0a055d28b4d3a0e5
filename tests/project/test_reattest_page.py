"""docs/reattest.md shows commands and options that there are."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main
import yaml

import step.cli
from step.cloud.methods import METHODS
from tests.project.tracked import ROOT

PAGE = (ROOT / "docs" / "reattest.md").read_text()
EXAMPLES = ("cloud-run-job/job.yaml", "kubernetes-job/job.yaml", "batch/job.json")


def options() -> set[str]:
    command: Any = typer.main.get_command(step.cli.app)
    return {flag for param in command.commands["reattest"].params for flag in param.opts}


def test_every_option_of_the_page_is_one() -> None:
    ours = re.sub(r"\$ (?:gcloud|kubectl).*?(?<!\\)\n", "", PAGE, flags=re.DOTALL)
    named = set(re.findall(r"--[a-z][a-z-]+", ours))
    assert named <= options() | {"--filter"}
    assert {"--journal", "--shard", "--old-attestor", "--unverified"} <= named


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_option_of_the_examples_is_one(name: str) -> None:
    text = (ROOT / "examples" / name).read_text()
    assert yaml.safe_load(text)
    named = set(re.findall(r"--[a-z][a-z-]+", re.sub(r"#.*", "", text)))
    assert named <= options()
    assert "--yes" in named, "nobody is there to be asked"


def test_every_method_of_the_page_is_one() -> None:
    known = {method.name for method in METHODS}
    assert set(re.findall(r"--rate (\w+)=", PAGE)) <= known
