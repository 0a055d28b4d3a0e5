"""Runs that are cut off, bugs, and settings that cannot be meant: what was done is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from step.errors import ExitCode
from tests.world import ATTESTOR, IMAGE, World, image

SECRET = " ".join(["a", "secret"])
IMAGES = [str(image(digit)) for digit in "0123456789"]


def test_a_bug_hides_nothing_that_was_done(
    kms_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of an exception that nobody foresaw is not shown: it may hold anything."""
    from step.cloud.occurrences import Occurrences

    create, made = Occurrences.create, []

    def broken(self: Occurrences, *given: object) -> object:
        made.append(given)
        if len(made) == 3:
            raise LookupError(SECRET)
        return create(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Occurrences, "create", broken)
    kms_world.capture.readouterr()
    result = kms_world.run("attest", *IMAGES, "--attestor", ATTESTOR, "--format", "json")
    assert result.code == ExitCode.BUG
    assert len(result.document["receipts"]) == 9
    [error] = result.document["errors"]
    assert error["exit_code"] == 1
    assert "LookupError" in error["message"]
    assert SECRET not in result.out + result.err
    assert "in broken" in result.err


def test_an_interrupted_run_tells_what_it_did(make_world: Callable[..., World]) -> None:
    world = make_world(visibility_delay=timedelta(minutes=10))

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    world.clock.when_it_passes = interrupt
    result = world.attest("--timeout", "1h")
    assert result.code == 130
    assert result.document["errors"][0]["message"] == "interrupted"
    assert "again" in result.document["errors"][0]["hint"]


def test_an_interrupt_before_anything_is_told_too(
    kms_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("step.model.payload.Payload.of", interrupt)
    assert kms_world.run("payload", IMAGE).code == 130


def test_a_bug_in_another_verb_shows_no_text(
    kms_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise LookupError(SECRET)

    monkeypatch.setattr("step.model.payload.Payload.of", broken)
    result = kms_world.run("payload", IMAGE)
    assert result.code == 1
    assert SECRET not in result.err
    assert "report it" in result.err


@pytest.mark.parametrize(
    "address", ["nonsense", "http://127.0.0.1:1", ":", " ", "127.0.0.1", "host:port", "a b:1"]
)
def test_an_emulator_that_has_no_address(
    kms_world: World, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("BINAUTHZ_EMULATOR_HOST", address)
    for verb in ("attest", "discover"):
        given = [verb, IMAGE] + (["--attestor", ATTESTOR] if verb == "attest" else [])
        result = kms_world.run(*given)
        assert result.code == 2
        assert "HOST:PORT" in result.err
    assert kms_world.methods == []


@pytest.mark.parametrize("verb", ["attest", "verify", "gate", "list"])
def test_standard_output_that_is_full(kms_world: World, verb: str) -> None:
    """What was asked for is done, and the run says that its result is not to be seen."""
    if verb != "attest":
        kms_world.attest()
    environ = {**os.environ, "BINAUTHZ_EMULATOR_HOST": kms_world.emulator.grpc_address}
    command = [sys.executable, "-m", "step", verb, IMAGE, "--attestor", ATTESTOR]
    root = Path(__file__).resolve().parents[2]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environ, cwd=root
        )
    assert done.returncode == 0
    assert "warning: standard output cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(kms_world.emulator.calls.writes()) == 1


def test_a_secret_that_the_run_did_not_get(
    kms_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull request from a fork gets empty secrets; another key must not stand in for them."""
    monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY", "")
    result = kms_world.attest()
    assert result.code == 2
    assert "is set, but empty" in result.error["message"]
    assert kms_world.methods == []


def test_one_attestor_named_twice_is_one(kms_world: World) -> None:
    twice = kms_world.attest("--attestor", "built-by-ci", "--project", "my-project")
    assert twice.receipt["attestor"] == ATTESTOR


@pytest.mark.parametrize(
    "option",
    [
        "--kms-key-version",
        "--pgp-key-file",
        "--pgp-passphrase-file",
        "--pkix-key-file",
        "--signature-file",
        "--public-key-id",
        "--payload-file",
        "--attestation-project",
        "--output-file",
    ],
)
def test_an_empty_key_or_place_counts_as_not_given(kms_world: World, option: str) -> None:
    assert kms_world.attest(option, "").receipt["status"] == "created"


@pytest.mark.parametrize("option", ["--image", "--digest", "--metadata", "--from-file", "--build"])
def test_an_empty_source_of_the_image_is_told(kms_world: World, option: str) -> None:
    """A build step whose output was empty must not be passed over for something else."""
    result = kms_world.attest(option, "")
    assert (result.code, result.error["exit_code"]) == (2, 2)
    assert kms_world.methods == []
