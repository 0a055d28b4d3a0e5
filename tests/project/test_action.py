"""action.yml, the Dockerfile behind it and the command line say the same thing."""

import json
import re
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

import step.cli

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
INPUTS: dict[str, dict[str, Any]] = ACTION["inputs"]


def parameters_of(command: str) -> dict[str, Any]:
    """What a command takes, by the name that GitHub gives it; `--kms-key-version` is
    `kms_key_version`."""
    actual: Any = typer.main.get_command(step.cli.app)
    for word in command.split():
        actual = actual.commands[word]
    return {
        max(param.opts, key=len).removeprefix("--").replace("-", "_").lower(): param
        for param in actual.params
        # What no variable may say, is no input either.
        if not getattr(param, "hidden", False) and param.name != "help" and param.envvar
    }


def parameters() -> dict[str, Any]:
    """What the commands take together, as `attest` has it where it has it."""
    return {
        name: parameter
        for command in reversed(step.cli.COMMANDS)
        for name, parameter in parameters_of(command).items()
    }


def written(default: object) -> str | None:
    match default:
        case bool():
            return str(default).lower()
        case Enum():
            return str(default.value)
        case None | () | []:
            return None
        case _:
            return str(default)


OPTIONS = [name for name in INPUTS if name != "command"]


def test_inputs_are_the_options_of_the_commands() -> None:
    assert sorted(OPTIONS) == sorted(parameters())


def test_the_commands_are_those_that_can_run_without_arguments() -> None:
    assert INPUTS["command"]["default"] == step.cli.COMMANDS[0]
    for command in step.cli.COMMANDS:
        assert f"`{command}`" in INPUTS["command"]["description"]


@pytest.mark.parametrize("name", OPTIONS)
def test_an_input_has_the_default_of_its_option(name: str) -> None:
    """Where the commands differ, the action has none of its own, and the description says so."""
    defaults = {
        written(parameters_of(command)[name].default)
        for command in step.cli.COMMANDS
        if name in parameters_of(command)
    }
    shown = INPUTS[name].get("default")
    assert shown == (defaults.pop() if len(defaults) == 1 else None)
    assert all(f"`{each}`" in INPUTS[name]["description"] for each in defaults if each)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_reads_its_environment_variables(name: str) -> None:
    """https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax#inputs"""
    variables = parameters()[name].envvar
    assert {f"INPUT_{name.upper()}", f"BINAUTHZ_{name.upper()}"} <= set(variables)


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_can_be_read_in_any_shell(name: str) -> None:
    """GitHub keeps a dash in the variable's name, where no shell can read it."""
    assert re.fullmatch(r"[a-z]+(?:_[a-z]+)*", name)


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_says_its_form_an_example_and_its_default(name: str) -> None:
    description = INPUTS[name]["description"]
    parts = ("Format: ", "Example: ", "Default: ")
    assert [part for part in parts if part not in description] == []


def test_nothing_in_it_is_an_expression() -> None:
    """GitHub would evaluate it, or refuse it, in a description too."""
    assert "${{" not in (ROOT / "action.yml").read_text()


@pytest.mark.parametrize("name", INPUTS)
def test_a_description_names_only_inputs_that_exist(name: str) -> None:
    named = re.findall(r"`([a-z]+(?:_[a-z]+)+)`", INPUTS[name]["description"])
    assert set(named) <= set(INPUTS)


def test_outputs_are_the_promised_ones() -> None:
    assert list(ACTION["outputs"]) == [
        "image",
        "images",
        "digest",
        "attestations",
        "public_key_ids",
        "status",
        "emulator",
        "receipts",
    ]
    assert all(output["description"] for output in ACTION["outputs"].values())


def test_the_action_is_the_image_of_this_repository() -> None:
    assert ACTION["runs"] == {"using": "docker", "image": "Dockerfile"}


def test_the_image_is_what_github_can_run() -> None:
    """https://docs.github.com/en/actions/reference/workflows-and-actions/dockerfile-support"""
    instructions = re.findall(r"^([A-Z]+) (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    last = max(i for i, (word, _) in enumerate(instructions) if word == "FROM")
    final = instructions[last:]
    assert {"USER", "WORKDIR", "CMD"}.isdisjoint(word for word, _ in final)
    [entrypoint] = [json.loads(value) for word, value in final if word == "ENTRYPOINT"]
    assert entrypoint == ["/opt/binauthz-attest/bin/binauthz-attest"]
