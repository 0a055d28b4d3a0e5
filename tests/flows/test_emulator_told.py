"""An emulator never passes for Google: where it may be, what it opens, and what says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from step.cli.connection import is_loopback
from tests.flows.notes import errors, public, put, signed
from tests.runner import commands
from tests.runner import outputs as read_outputs
from tests.world import ATTESTOR, IMAGE, World, attestor_seed

NAMED = ("--attestor", ATTESTOR)
ELSEWHERE = [
    "attacker.example.com:443",
    "10.0.0.1:8080",
    "localhost.evil.example:1",
    "[2001:db8::1]:1",
]


@pytest.fixture
def note(make_world: Callable[..., World]) -> World:
    world = make_world(attestor_seed(public()))
    put(world, signed())
    return world


@pytest.fixture(autouse=True)
def _nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that opens would take this very process for its command."""
    monkeypatch.setattr("os.execvpe", lambda *_: pytest.fail("it became another program"))


@pytest.mark.parametrize("address", ELSEWHERE)
@pytest.mark.parametrize(
    "verb",
    [
        ("attest", IMAGE, *NAMED),
        ("verify", IMAGE, *NAMED),
        ("gate", IMAGE, *NAMED),
        ("list", *NAMED),
        ("policy", "check", IMAGE, "--project", "my-project"),
        ("policy", "show", "--project", "my-project"),
        ("discover", "--build", "projects/p/locations/global/builds/b"),
    ],
    ids=lambda verb: verb[0],
)
def test_one_elsewhere_is_not_spoken_to(
    note: World, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...], address: str
) -> None:
    monkeypatch.setenv("BINAUTHZ_EMULATOR_HOST", address)
    result = note.run(*verb)
    assert result.code == 2
    assert f"BINAUTHZ_EMULATOR_HOST is {address}, which is not on this machine" in result.err
    assert "--allow-emulator" in result.err


def test_one_elsewhere_is_allowed_on_the_command_line(
    note: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINAUTHZ_EMULATOR_HOST", "10.0.0.1:8080")
    allowed = ("--allow-emulator", "--deadline", "0.1s")
    assert note.run("verify", IMAGE, *NAMED, *allowed).code == 6


@pytest.mark.parametrize("name", ["BINAUTHZ_ALLOW_EMULATOR", "INPUT_ALLOW_EMULATOR"])
def test_no_variable_allows_it(note: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    assert note.run("gate", IMAGE, *NAMED, "--", "true").code == 2
    monkeypatch.setenv("BINAUTHZ_EMULATOR_HOST", "10.0.0.1:8080")
    assert note.run("verify", IMAGE, *NAMED).code == 2


def test_a_yes_of_an_emulator_runs_no_command(note: World, monkeypatch: pytest.MonkeyPatch) -> None:
    note.emulator.calls.clear()
    result = note.run("gate", IMAGE, *NAMED, "--format", "json", "--", "deploy")
    assert (result.code, note.methods) == (2, [])
    [error] = errors(result)
    assert "what an emulator says runs no command" in error["message"]
    assert note.run("gate", IMAGE, *NAMED).code == 0


@pytest.mark.parametrize(
    "address", ["localhost:1", "LOCALHOST:1", "127.0.0.1:1", "127.8.9.1:1", "[::1]:1"]
)
def test_this_machine(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", [*ELSEWHERE, "127.0.0.1.evil.example:1", "0.0.0.0:1", "[::]:1"])
def test_another_machine(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    "verb", [("attest",), ("verify",), ("gate",), ("policy", "check")], ids=lambda verb: verb[0]
)
def test_all_that_is_left_behind_says_so(
    kms_world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    output, summary, build = tmp_path / "output", tmp_path / "summary", tmp_path / "build"
    build.mkdir()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_OUTPUT", str(output))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("BUILDER_OUTPUT", str(build))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    kms_world.attest()
    output.write_text("")
    summary.write_text("")
    named = ("--project", "my-project") if verb[0] == "policy" else NAMED
    file = () if verb[0] == "policy" else ("--output-file", str(tmp_path / "file.json"))
    result = kms_world.run(*verb, IMAGE, *named, "--format", "json", *file)
    documents = [result.out, (build / "output").read_text()]
    documents += [(tmp_path / "file.json").read_text()] if file else []
    actual = read_outputs(output.read_text())
    assert actual["emulator"] == "true"
    for text in (*documents, actual["receipts"]):
        document = json.loads(text)
        assert document["emulator"] is True
        assert all(receipt["emulator"] is True for receipt in document.get("receipts", []))
    assert summary.read_text().startswith("**An emulator said this, not Google Cloud.**\n")
    told = [command for command in commands(result.err) if command.name == "warning"]
    assert len(told) == 1
    assert "not to Google Cloud" in told[0].data


def test_nothing_says_so_of_google_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kms_world: World
) -> None:
    """Here without credentials, so that all there is is an error."""
    monkeypatch.delenv("BINAUTHZ_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    output = tmp_path / "output"
    monkeypatch.setenv("GITHUB_OUTPUT", str(output))
    result = kms_world.run("verify", IMAGE, *NAMED, "--format", "json")
    assert result.code == 4
    assert "emulator" not in json.loads(result.out)
    assert read_outputs(output.read_text())["emulator"] == ""
    assert "emulator" not in result.err
