"""Every run ends by its deadline and says what it was waiting for, whatever a server does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from step.cli import main
from step.clock import SystemClock
from step.model.keys import Algorithm
from tests.flows import stalling
from tests.keys import make_private_key, private_pem
from tests.world import ATTESTOR, IMAGE, VERSION, World

SECONDS = 0.15
LATEST = SECONDS + 2
DEADLINE = ("--deadline", f"{SECONDS}s")
TIMEOUT = ("--timeout", f"{SECONDS}s")
NAMED = ("--attestor", ATTESTOR)
BUILD = "projects/my-project/locations/global/builds/00000000-0000-0000-0000-000000000000"

# Every verb that talks to anything, and what it asks first.
VERBS: dict[str, tuple[str, ...]] = {
    "attest": ("attest", IMAGE, *NAMED, *DEADLINE),
    "attest of a build": ("attest", "--build", BUILD, *NAMED, *DEADLINE),
    "attest what was built": (
        *("attest", IMAGE, *NAMED, "--require-build", "--trusted-project", "p"),
        *DEADLINE,
    ),
    "reattest": ("reattest", IMAGE, *NAMED, "--yes", *DEADLINE),
    "reattest what was built": (
        *("reattest", "--from-builds", "x", "--project", "my-project", *NAMED, "--yes"),
        *DEADLINE,
    ),
    "verify": ("verify", IMAGE, *NAMED, *DEADLINE),
    "gate": ("gate", IMAGE, *NAMED, *TIMEOUT),
    "gate with a deadline": ("gate", IMAGE, *NAMED, *DEADLINE),
    "list": ("list", *NAMED, *DEADLINE),
    "list by key": ("list", "--project", "my-project", "--public-key-id", "k", *DEADLINE),
    "discover": ("discover", "--build", BUILD, *DEADLINE),
    "policy show": ("policy", "show", "--project", "my-project", *DEADLINE),
    "policy check": ("policy", "check", IMAGE, "--project", "my-project", *DEADLINE),
}
WITH_TAG = "{host}/team/app:v1"
REGISTRY_VERBS = {
    "attest": ("attest", WITH_TAG, "--resolve-tags", *NAMED, *DEADLINE),
    "verify": ("verify", WITH_TAG, "--resolve-tags", *NAMED, *DEADLINE),
    "gate": ("gate", WITH_TAG, "--resolve-tags", *NAMED, *TIMEOUT),
    "discover": ("discover", WITH_TAG, "--resolve-tags", *DEADLINE),
    "discover, checked": (
        "discover",
        "{host}/team/app@" + IMAGE.partition("@")[2],
        "--check-registry",
        *DEADLINE,
    ),
}
GRPC_WAYS = [stalling.never, stalling.drip, stalling.reset]
HTTP_WAYS = [stalling.never, stalling.drip, stalling.drip_body, stalling.again, stalling.reset]


def ended_in_time(
    arguments: tuple[str, ...], capture: pytest.CaptureFixture[str], awaited: str
) -> None:
    """The run ends in time with the code of a no or of a question that was not answered, and says
    what it was waiting for."""
    started = time.monotonic()
    code = main(arguments, SystemClock())
    took = time.monotonic() - started
    told = capture.readouterr().err
    assert took < LATEST
    assert code == (3 if arguments[0] == "gate" else 6), told
    assert "Traceback" not in told
    assert awaited in told


def named(way: Any) -> str:
    return str(way.__name__)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("way", GRPC_WAYS, ids=named)
def test_a_service_that_does_not_answer(
    verb: str,
    way: stalling.Behaviour,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with stalling.stalling(way) as host:
        monkeypatch.setenv("BINAUTHZ_EMULATOR_HOST", host)
        ended_in_time(VERBS[verb], capfd, ".googleapis.com")


@pytest.mark.parametrize("verb", ["attest", "attest what was built", "verify", "gate", "list"])
@pytest.mark.parametrize("same", [True, False], ids=["the same page", "another page"])
def test_a_service_that_pages_for_ever(
    verb: str, same: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = VERBS[verb]
    if arguments[0] == "attest":
        arguments += ("--kms-key-version", VERSION, "--public-key-id", "ni:///k")
    with stalling.paging(same=same) as host:
        monkeypatch.setenv("BINAUTHZ_EMULATOR_HOST", host)
        again = "names the same next page again"
        ended_in_time(arguments, capfd, again if same else "Occurrences")


def test_attestors_without_end(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stalling.paging() as host:
        monkeypatch.setenv("BINAUTHZ_EMULATOR_HOST", host)
        ended_in_time(VERBS["list by key"], capfd, "ListAttestors")


@pytest.mark.parametrize("verb", REGISTRY_VERBS)
@pytest.mark.parametrize("way", HTTP_WAYS, ids=named)
def test_a_registry_that_does_not_answer(
    verb: str, way: stalling.Behaviour, capfd: pytest.CaptureFixture[str]
) -> None:
    with stalling.stalling(way) as host:
        arguments = tuple(registry_verb.format(host=host) for registry_verb in REGISTRY_VERBS[verb])
        ended_in_time(arguments, capfd, host)


@pytest.mark.parametrize("verb", REGISTRY_VERBS)
def test_a_registry_whose_answer_has_no_end(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Which is known before any deadline: it is larger than a manifest may be."""
    with stalling.stalling(stalling.endless) as host:
        assert (
            main(
                [registry_verb.format(host=host) for registry_verb in REGISTRY_VERBS[verb]],
                SystemClock(),
            )
            == 6
        )
    assert f"http://{host} answered with more than" in capfd.readouterr().err


@pytest.mark.parametrize("verb", ["attest", "verify", "gate", "list", "policy check"])
@pytest.mark.parametrize("way", [stalling.never, stalling.drip, stalling.drip_body], ids=named)
def test_a_token_server_that_does_not_answer(
    verb: str,
    way: stalling.Behaviour,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with stalling.stalling(way) as host:
        account = {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "1",
            "private_key": private_pem(
                make_private_key(Algorithm.RSA_SIGN_PKCS1_2048_SHA256)
            ).decode(),
            "client_email": "a@p.iam.gserviceaccount.com",
            "token_uri": f"http://{host}/token",
        }
        (tmp_path / "account.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        ended_in_time(VERBS[verb], capfd, "the server that issues access tokens")


def test_what_was_created_by_then_is_in_the_receipts(kms_world: World) -> None:
    world = kms_world
    world.emulator.fail("CreateOccurrence=NEVER_VISIBLE")
    result = world.attest("--timeout", "5m", "--deadline", "30s")
    assert result.code == 6
    [receipt] = result.document["receipts"]
    [error] = result.document["errors"]
    assert (receipt["status"], receipt["visible_after_seconds"]) == ("created", None)
    assert error["message"].startswith(f"{receipt['occurrence']} was created, but not read back")
    assert "time is up after 30s, waiting for ListNoteOccurrences" in error["message"]
    assert world.clock.elapsed() <= timedelta(seconds=31)


def test_a_deadline_leaves_time_for_the_waits_that_are_asked_for(kms_world: World) -> None:
    """Ten minutes beyond them."""
    world = kms_world
    world.emulator.fail("CreateOccurrence=NEVER_VISIBLE")
    assert world.attest("--timeout", "1h").code == 7
    assert world.clock.elapsed() >= timedelta(hours=1)


def test_a_lost_answer_at_the_deadline_may_be_an_attestation(
    make_world: Callable[..., World],
) -> None:
    world = make_world(visibility_delay=timedelta(minutes=1))
    world.emulator.fail("CreateOccurrence=DROP_ANSWER")
    result = world.attest("--deadline", "5s")
    assert result.code == 6
    assert "it may have been created all the same" in result.error["message"]
    assert "reused" in result.error["hint"]


@pytest.mark.parametrize("text", ["10", "soon", ""])
def test_a_deadline_is_a_duration(kms_world: World, text: str) -> None:
    result = kms_world.attest("--deadline", text)
    assert (result.code, kms_world.methods) == (2, [])
    assert result.error["message"].startswith("--deadline: ")
