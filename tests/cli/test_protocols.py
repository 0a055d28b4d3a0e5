"""What GitHub's runner and Cloud Build give to a step, and what they find afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from google.cloud.binaryauthorization_v1 import ValidateAttestationOccurrenceResponse

from step.emulator import faults
from tests.runner import commands
from tests.runner import outputs as read_outputs
from tests.world import ATTESTOR, DIGEST, IMAGE, World, kms_seed


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with the runner's file commands."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "me/app")
    monkeypatch.setenv("GITHUB_RUN_ID", "42")
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        (tmp_path / name).touch()
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def test_github_gets_outputs_and_a_summary(
    make_world: Callable[..., World], github: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(visibility_delay=timedelta(seconds=2))
    record = {"containerimage.digest": DIGEST, "image.name": IMAGE.partition("@")[0]}
    monkeypatch.setenv("INPUT_METADATA", json.dumps(record, indent=2))
    monkeypatch.setenv("INPUT_ATTESTOR", ATTESTOR)
    assert world.run().code == 0
    outputs = read_outputs((github / "GITHUB_OUTPUT").read_text())
    receipts = json.loads(outputs.pop("receipts"))
    [receipt] = receipts["receipts"]
    assert outputs == {
        "image": IMAGE,
        "images": IMAGE,
        "digest": DIGEST,
        "attestations": receipt["occurrence"],
        "public_key_ids": receipt["public_key_id"],
        "status": "created",
        "emulator": "true",
    }
    assert receipt["build"] == "https://github.com/me/app/actions/runs/42"
    assert IMAGE in (github / "GITHUB_STEP_SUMMARY").read_text()


def test_github_gets_an_annotation_for_what_failed(kms_world: World, github: Path) -> None:
    result = kms_world.attest(attestor="projects/my-project/attestors/missing")
    assert result.code == 5
    _, command = commands(result.err)
    assert command.name == "error"
    assert "does not exist" in command.data
    assert commands(result.out) == []
    assert read_outputs((github / "GITHUB_OUTPUT").read_text())["status"] == "failed"


HOSTILE = "x\n::set-output name=image::evil\n##[add-path]/evil %0A::error::\x1b[2J"


def test_hostile_text_becomes_no_command(kms_world: World, github: Path) -> None:
    """Names come from branches, registries and other tools."""
    for arguments in (
        ["attest", HOSTILE, "--attestor", ATTESTOR],
        ["attest", IMAGE, "--attestor", HOSTILE],
        ["attest", "--metadata", json.dumps({HOSTILE: HOSTILE}), "--attestor", ATTESTOR],
        ["attest", "--from-file", HOSTILE, "--attestor", ATTESTOR],
        [f"--{HOSTILE}"],
        ["payload", HOSTILE],
    ):
        for form in ([], ["--format", "json"]):
            result = kms_world.run(*arguments, *(form if arguments[0] == "attest" else []))
            assert result.code == 2
            assert {command.name for command in commands(result.err)} <= {"error", "warning"}
            assert commands(result.out) == []
            assert "\x1b" not in result.out + result.err
    summary = (github / "GITHUB_STEP_SUMMARY").read_text()
    assert "\x1b" not in summary
    assert "evil" not in read_outputs((github / "GITHUB_OUTPUT").read_text())["image"]


def test_what_the_service_says_becomes_no_command(
    kms_world: World, github: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A denial's reason may quote what others wrote, at any length."""

    def deny(response: ValidateAttestationOccurrenceResponse) -> None:
        response.result = response.Result(response.Result.ATTESTATION_NOT_VERIFIABLE)
        response.denial_reason = HOSTILE + "\r\n" + HOSTILE * 1000

    hostile = (frozenset({"ValidateAttestationOccurrence"}), deny)
    monkeypatch.setitem(faults._ALTERATIONS, "HOSTILE", hostile)
    kms_world.emulator.fail("ValidateAttestationOccurrence=HOSTILE")
    result = kms_world.attest()
    assert result.code == 3
    assert len(result.error["message"]) < 500
    assert "\n" not in result.error["message"]
    _, command = commands(result.err)
    assert command.name == "error"
    assert commands(result.out) == []
    for text in (result.out, result.err, (github / "GITHUB_STEP_SUMMARY").read_text()):
        assert "\x1b" not in text
    assert read_outputs((github / "GITHUB_OUTPUT").read_text())["status"] == "failed"


def test_cloud_build_gets_the_document(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = make_world(kms_seed())
    monkeypatch.setenv("BUILDER_OUTPUT", str(tmp_path))
    monkeypatch.setenv("BUILD_ID", "6a1c0f52-52b3-4b07-a9b9-0f6c1fbb44b7")
    result = world.attest()
    assert json.loads((tmp_path / "output").read_text()) == result.document
    assert result.receipt["build"] == "6a1c0f52-52b3-4b07-a9b9-0f6c1fbb44b7"


def test_a_file_of_the_runner_that_cannot_be_written_hides_nothing(
    kms_world: World, github: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(github / "no" / "folder"))
    result = kms_world.attest()
    assert result.code == 2
    assert [receipt["status"] for receipt in result.document["receipts"]] == ["created"]
    assert IMAGE in (github / "GITHUB_STEP_SUMMARY").read_text()
