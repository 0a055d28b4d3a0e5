"""Every script of the examples is clean, and every name in examples and guides exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import step.cli
from step.model.vulnerability import VulnerabilityPolicy
from tests.pipelines import EXAMPLES, ROOT, Script, pipelines, scripts

GUIDES = [*sorted(EXAMPLES.rglob("*.md")), ROOT / "docs" / "troubleshooting.md"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *GUIDES[:-1]]
SCRIPTS = list(scripts())
PROGRAM: Any = typer.main.get_command(step.cli.app)
# Variables that are read without being an option's, and the examples' own for the image.
OTHER_VARIABLES = {
    "BINAUTHZ_ATTEST",
    "BINAUTHZ_EMULATOR_HOST",
    "BINAUTHZ_PGP_PRIVATE_KEY",
    "BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE",
}
# Options of other tools that a guide names.
FOREIGN = {"--push", "--publish", "--metadata-file", "--digest-file", "--iidfile", "--kustomize"}


def test_there_are_scripts_of_every_kind() -> None:
    kinds = {script.name.partition(":")[0].rpartition(".")[2] for script in SCRIPTS}
    assert kinds == {"sh", "yml", "yaml"}
    assert len(SCRIPTS) > 20


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_a_script_is_one_that_its_shell_can_read(script: Script) -> None:
    subprocess.run([script.shell, "-n", "-c", script.text], check=True)


def test_shellcheck_finds_nothing(tool: Callable[[str], str], tmp_path: Path) -> None:
    for number, script in enumerate(SCRIPTS):
        head = "" if script.text.startswith("#!") else f"#!/bin/{script.shell}\n"
        (tmp_path / f"{number}-{script.name.replace('/', '-')}").write_text(head + script.text)
    files = [str(path) for path in tmp_path.iterdir()]
    done = subprocess.run([tool("shellcheck"), *files], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def commands(group: Any = PROGRAM, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every verb by its words, `policy check` for example."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


VERBS = dict(commands())


def flags(command: Any) -> set[str]:
    every = {flag for param in command.params for flag in [*param.opts, *param.secondary_opts]}
    return {flag for flag in every if flag.startswith("--")} | {"--help"}


def shown(page: Path) -> Iterator[str]:
    """The commands that a guide shows, each on one line."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line.removeprefix("$ ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_a_command_in_a_guide_is_one_that_exists(page: Path) -> None:
    for line in shown(page):
        words = shlex.split(line)
        if "binauthz-attest" not in words:
            continue
        own = words[words.index("binauthz-attest") + 1 :]
        # What follows is a command of its own.
        own = own[: own.index("--")] if "--" in own else own
        verb = max((verb for verb in VERBS if own[: len(verb.split())] == verb.split()), key=len)
        given = {word.partition("=")[0] for word in own if word.startswith("--")}
        assert given <= flags(VERBS[verb]), line


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_an_option_in_a_guide_is_one_that_exists(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    named = {
        flag
        for span in re.findall(r"`([^`]+)`", prose)
        if span.startswith("--")
        for flag in re.findall(r"--[a-z][a-z-]*", span)
    }
    assert named <= FOREIGN.union(*map(flags, VERBS.values()))


def test_a_variable_in_an_example_is_one_that_is_read() -> None:
    read = {name for command in VERBS.values() for param in command.params for name in names(param)}
    for path in [*EXAMPLES.rglob("*"), *GUIDES]:
        if path.is_file() and path.suffix in {".yml", ".yaml", ".sh", ".md"}:
            actual = set(re.findall(r"BINAUTHZ_[A-Z_]+", path.read_text()))
            assert actual <= read | OTHER_VARIABLES, path


def names(parameter: Any) -> list[str]:
    match parameter.envvar:
        case str() as name:
            return [name]
        case None:
            return []
        case several:
            return list(several)


def test_every_pipeline_is_checked_against_its_schema() -> None:
    """By `make check`; the targets' patterns are make's own."""
    schemas = {"github": "github-workflows", "cloudbuild": "cloudbuild"}
    schemas |= {"circleci": "circle-ci", "gitlab": "gitlab-ci"}
    recipe = (ROOT / "Makefile").read_text()
    for folder, schema in schemas.items():
        start = f"\t@$(BIN)/check-jsonschema --builtin-schema vendor.{schema} "
        [line] = [each for each in recipe.splitlines() if each.startswith(start)]
        [pattern] = re.findall(rf"examples/{folder}/(\S+?)\)", line)
        assert set(pipelines(folder)) == set((EXAMPLES / folder).glob(pattern))


def test_links_lead_somewhere() -> None:
    for page in GUIDES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_folder_has_its_guide_and_every_example_is_in_it() -> None:
    for folder in ("github", "cloudbuild", "circleci", "gitlab", "gke"):
        guide = (EXAMPLES / folder / "README.md").read_text()
        for path in (EXAMPLES / folder).iterdir():
            assert path.name == "README.md" or f"]({path.name})" in guide, path


def test_the_policy_for_vulnerabilities_is_one() -> None:
    path = EXAMPLES / "github" / "vulnerabilities.yaml"
    assert VulnerabilityPolicy.parse(path.read_text(), "example").allowlist == frozenset()
