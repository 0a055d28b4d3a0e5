"""An action's input `command`: verify, gate and policy check from the environment alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import step.cli
from tests.policies import DENY, policy
from tests.runner import commands
from tests.runner import outputs as read_outputs
from tests.world import ATTESTOR, DIGEST, IMAGE, PROJECT, VERSION, Result, World, image, kms_seed

OTHER = str(image("7"))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with the runner's file commands, and the inputs that every command has."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        (tmp_path / name).touch()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("INPUT_IMAGES", IMAGE)
    monkeypatch.setenv("INPUT_ATTESTOR", ATTESTOR)
    return tmp_path


def outputs(github: Path) -> dict[str, str]:
    return read_outputs((github / "GITHUB_OUTPUT").read_text())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def command(world: World, name: str, **inputs: str) -> Result:
        for key, value in ({"command": name} | inputs).items():
            monkeypatch.setenv(f"INPUT_{key.upper()}", value)
        return world.run()

    return command


@pytest.mark.parametrize("command", ["verify", "gate"])
def test_a_yes(kms_world: World, github: Path, run: Callable[..., Result], command: str) -> None:
    receipt = kms_world.attest().receipt
    (github / "GITHUB_OUTPUT").write_text("")
    assert run(kms_world, command).code == 0
    actual = outputs(github)
    document = json.loads(actual.pop("receipts"))
    assert actual == {
        "image": IMAGE,
        "images": IMAGE,
        "digest": DIGEST,
        "attestations": receipt["occurrence"],
        "public_key_ids": receipt["public_key_id"],
        "status": "verified",
        "emulator": "true",
    }
    assert [verdict["verified"] for verdict in document["verdicts"]] == [True]
    assert "<td><code>verified</code></td>" in (github / "GITHUB_STEP_SUMMARY").read_text()


@pytest.mark.parametrize("command", ["verify", "gate"])
def test_a_no_gives_no_image_and_an_annotation(
    kms_world: World, github: Path, run: Callable[..., Result], command: str
) -> None:
    """What a deploy step takes from the outputs must be what was verified, and nothing else."""
    kms_world.attest()
    (github / "GITHUB_OUTPUT").write_text("")
    limited = {"timeout": "1s"} if command == "gate" else {}
    result = run(kms_world, command, images=f"{IMAGE} {OTHER}", **limited)
    assert result.code == 3
    actual = outputs(github)
    assert (actual["status"], actual["images"]) == ("failed", IMAGE)
    _, command_found = commands(result.err)
    assert command_found.name == "error"
    assert f"Not verified: {OTHER}" in command_found.properties["title"]
    assert ATTESTOR in command_found.data


def test_what_could_not_be_asked_is_no_yes(
    kms_world: World, github: Path, run: Callable[..., Result]
) -> None:
    kms_world.attest()
    (github / "GITHUB_OUTPUT").write_text("")
    kms_world.emulator.fail("ListNoteOccurrences=PERMISSION_DENIED")
    result = run(kms_world, "verify")
    assert result.code == 4
    assert (outputs(github)["status"], outputs(github)["image"]) == ("failed", "")
    assert [command.name for command in commands(result.err)] == ["warning", "error"]


def test_what_the_policy_admits(
    make_world: Callable[..., World], github: Path, run: Callable[..., Result]
) -> None:
    world = make_world(kms_seed() | {"policies": [policy()]})
    receipt = world.attest().receipt
    (github / "GITHUB_OUTPUT").write_text("")
    result = run(world, "policy check", images=f"{IMAGE} {OTHER}", policy_project=PROJECT)
    assert result.code == 3
    actual = outputs(github)
    assert (actual["image"], actual["images"], actual["status"]) == (IMAGE, IMAGE, "failed")
    assert actual["attestations"] == receipt["occurrence"]
    assert [decision["admitted"] for decision in json.loads(actual["receipts"])["decisions"]] == [
        True,
        False,
    ]
    _, command = commands(result.err)
    assert f"Not admitted: {OTHER}" in command.properties["title"]
    assert "denied by attestor" in command.data
    monkey = run(world, "policy check", images=IMAGE)
    assert monkey.code == 0
    assert outputs(github)["status"] == "admitted"


def test_an_image_by_tag_is_no_output(
    make_world: Callable[..., World], github: Path, run: Callable[..., Result]
) -> None:
    """Admitted, perhaps; but what is deployed from an output is named by digest."""
    allowed = policy(default=DENY, admissionWhitelistPatterns=[{"namePattern": "gcr.io/p/*"}])
    world = make_world(kms_seed() | {"policies": [allowed]})
    result = run(world, "policy check", images="gcr.io/p/web:v1", policy_project=PROJECT)
    assert result.code == 0
    assert (outputs(github)["status"], outputs(github)["image"]) == ("admitted", "")


def test_an_image_that_is_admitted_by_another_name_is_no_output(
    make_world: Callable[..., World], github: Path, run: Callable[..., Result]
) -> None:
    """By the tag beside its digest, an allowlist admits it; without, as it would be deployed, no
    rule does."""
    patterns = [{"namePattern": "gcr.io/p/web:v1@*"}]
    allowed = policy(default=DENY, admissionWhitelistPatterns=patterns)
    world = make_world(kms_seed() | {"policies": [allowed]})
    named = f"gcr.io/p/web:v1@{DIGEST}"
    assert run(world, "policy check", images=named, policy_project=PROJECT).code == 0
    assert (outputs(github)["status"], outputs(github)["image"]) == ("admitted", "")


def test_a_tag_beside_the_digest_is_dropped_where_a_rule_admits(
    make_world: Callable[..., World], github: Path, run: Callable[..., Result]
) -> None:
    world = make_world(kms_seed() | {"policies": [policy()]})
    assert world.attest().code == 0
    named = IMAGE.replace("@", ":v1@")
    assert run(world, "policy check", images=named, policy_project=PROJECT).code == 0
    assert outputs(github)["image"] == IMAGE


def test_a_policy_that_cannot_be_read(
    kms_world: World, github: Path, run: Callable[..., Result]
) -> None:
    kms_world.emulator.fail("GetPolicy=PERMISSION_DENIED")
    result = run(kms_world, "policy check", policy_project=PROJECT)
    assert result.code == 4
    assert outputs(github)["status"] == "failed"
    assert [command.name for command in commands(result.err)] == ["warning", "error"]
    assert "policyViewer" in (github / "GITHUB_STEP_SUMMARY").read_text()


@pytest.mark.parametrize(
    "command", ["verify", "gate", "policy check", "attest", "list", "discover"]
)
def test_an_error_of_use_has_the_form_of_the_verb(kms_world: World, command: str) -> None:
    names = {
        "verify": "verdicts",
        "gate": "verdicts",
        "policy check": "decisions",
        "list": "attestations",
        "discover": "images",
    }
    result = kms_world.run(*command.split(), "--nonsense", "--format", "json")
    assert result.code == 2
    document: dict[str, Any] = json.loads(result.out)
    assert list(document) == [names.get(command, "receipts"), "errors", "emulator"]
    assert "--nonsense" in document["errors"][0]["message"]


@pytest.mark.parametrize("command", ["emulator", "attest --no-validate", "sign", "policy"])
def test_no_other_command(
    kms_world: World, github: Path, run: Callable[..., Result], command: str
) -> None:
    result = run(kms_world, command)
    assert result.code == 2
    assert kms_world.methods == []
    assert all(each in result.err for each in step.cli.COMMANDS)
    assert outputs(github)["status"] == "failed"


@pytest.mark.parametrize(
    ("command", "name", "value", "of"),
    [
        ("verify", "vulnerability_policy", "limits.yaml", "attest"),
        ("verify", "vulnerability_policy", "None", "attest"),
        ("verify", "require_build", "true", "attest"),
        ("verify", "policy_check", "true", "attest"),
        ("gate", "check_only", "True", "attest"),
        ("attest", "at_least", "2", "verify"),
        ("attest", "every_key", "true", "verify"),
        ("attest", "policy_file", "policy.yaml", "policy check"),
        ("policy check", "output_file", "out.json", "attest"),
    ],
)
def test_an_input_of_another_command_is_not_passed_over(
    kms_world: World,
    github: Path,
    run: Callable[..., Result],
    command: str,
    name: str,
    value: str,
    of: str,
) -> None:
    """Whoever gave it believes that something is checked."""
    kms_world.attest()
    before = list(kms_world.methods)
    result = run(kms_world, command, **{name: value})
    assert result.code == 2
    assert f"the input {name} has no effect on {command}" in result.err
    assert of in result.err
    assert kms_world.methods == before
    assert outputs(github)["image"] == ""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("vulnerability-policy", "vulnerability_policy"),
        ("vulnerabilty_policy", "vulnerability_policy"),
        ("require-build", "require_build"),
        ("policycheck", "policy_check"),
        ("trusted_sources", "trusted_source"),
    ],
)
def test_an_input_that_is_misspelt_is_not_passed_over(
    kms_world: World, github: Path, run: Callable[..., Result], name: str, meant: str
) -> None:
    """GitHub only warns, and sets its variable all the same."""
    result = run(kms_world, "attest", **{name: "true"})
    assert result.code == 2
    assert f"there is no input {name}" in result.err
    assert meant in result.err
    assert kms_world.methods == []


def test_a_variable_that_resembles_no_input_is_somebody_elses(
    kms_world: World, github: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {"dir": "x", "args": "x", "entrypoint": "x", "vulnerabilty_policy": ""}
    assert run(kms_world, "attest", **others).code == 0
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert run(kms_world, "attest", policycheck="true").code == 0


@pytest.mark.parametrize("command", step.cli.COMMANDS)
def test_what_github_gives_without_being_told_is_of_any_command(
    make_world: Callable[..., World], github: Path, run: Callable[..., Result], command: str
) -> None:
    """It sets the variable of each input: empty, or to the default that action.yml has."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    given = {name: str(item.get("default", "")) for name, item in action["inputs"].items()}
    given |= {"images": IMAGE, "attestor": ATTESTOR, "project": PROJECT}
    world = make_world(kms_seed() | {"policies": [policy()]})
    world.attest()
    assert run(world, command, **{**given, "command": command}).code == 0


def test_a_variable_set_by_hand_may_be_for_another_command(
    kms_world: World, github: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold for all steps of a job; an input is one step's."""
    kms_world.attest()
    monkeypatch.setenv("BINAUTHZ_KMS_KEY_VERSION", VERSION)
    assert run(kms_world, "verify").code == 0


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("verify", "AT_LEAST"),
        ("gate", "EVERY_KEY"),
        ("policy check", "POLICY_FILE"),
        ("policy check", "CLUSTER"),
    ],
)
def test_a_demand_that_is_set_but_empty_is_told(
    make_world: Callable[..., World],
    github: Path,
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
) -> None:
    world = make_world(kms_seed() | {"policies": [policy()]})
    world.attest()
    before = list(world.methods)
    monkeypatch.setenv(f"BINAUTHZ_{name}", "")
    monkeypatch.setenv("INPUT_PROJECT", PROJECT)
    result = run(world, command)
    assert result.code == 2
    assert f"BINAUTHZ_{name} is set, but empty" in result.err
    assert world.methods == before


def test_a_verb_on_the_command_line_wins(
    kms_world: World, github: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INPUT_COMMAND", "verify")
    assert kms_world.run("attest").code == 0
    assert kms_world.count("CreateOccurrence") == 1


def test_cloud_build_gets_the_verdicts(
    kms_world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BUILDER_OUTPUT", str(tmp_path))
    result = kms_world.run("verify", IMAGE, "--attestor", ATTESTOR, "--format", "json")
    assert result.code == 3
    assert json.loads((tmp_path / "output").read_text()) == json.loads(result.out)
