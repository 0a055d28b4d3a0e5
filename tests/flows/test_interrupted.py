"""Runs that are cut off: what was not answered with yes by then is no output."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from step.cli import main
from step.cloud.attestors import Attestors
from step.cloud.occurrences import Occurrences
from step.cloud.scans import Scans
from tests.policies import policy
from tests.runner import outputs as read_outputs
from tests.scans import COMPLETE, PENDING, scan, written
from tests.world import ATTESTOR, IMAGE, PROJECT, World, attestor_seed, image, kms_seed

SECOND = f"projects/{PROJECT}/attestors/tested"
OTHER = str(image("7"))


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], dict[str, str]]:
    """What a later step of the job finds."""
    path = tmp_path / "outputs"
    monkeypatch.setenv("GITHUB_OUTPUT", str(path))
    return lambda: read_outputs(path.read_text())


def end() -> None:
    """What `docker stop` and a cancelled job do."""
    os.kill(os.getpid(), signal.SIGTERM)


def once(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, when: Callable[..., bool]
) -> None:
    """End the run at the first call that is meant, and answer it all the same."""
    real = getattr(owner, name)
    ended: list[object] = []

    def called(*given: Any) -> Any:
        if when(*given) and not ended:
            ended.append(given)
            end()
        return real(*given)

    monkeypatch.setattr(owner, name, called)


def two_attestors() -> dict[str, Any]:
    base, public = kms_seed(), kms_seed()["attestors"][0]["public_keys"][0]
    return base | {
        "attestors": [*base["attestors"], *attestor_seed(public, name=SECOND)["attestors"]]
    }


def test_an_image_that_one_attestor_of_two_attested_is_no_output(
    make_world: Callable[..., World], outputs: Callable[[], dict[str, str]]
) -> None:
    """The first is there already; the second is waited for when the run ends."""
    world = make_world(two_attestors(), visibility_delay=timedelta(minutes=10))
    assert world.attest("--no-wait").code == 0
    world.clock.passed += timedelta(minutes=11)
    world.clock.when_it_passes = end
    result = world.attest("--attestor", SECOND, "--timeout", "1h")
    assert result.code == 130
    assert [receipt["status"] for receipt in result.document["receipts"]] == ["existing"]
    assert (outputs()["status"], outputs()["image"], outputs()["images"]) == ("failed", "", "")


def test_an_image_that_the_policy_has_not_admitted_yet_is_no_output(
    make_world: Callable[..., World],
    outputs: Callable[[], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make_world(kms_seed() | {"policies": [policy()]})
    once(monkeypatch, Attestors, "get", lambda *_: world.count("CreateOccurrence") == 1)
    result = world.attest("--policy-check")
    assert result.code == 130
    assert '"status": "created"' in result.out
    assert '"decisions"' not in result.out
    assert (outputs()["status"], outputs()["image"]) == ("failed", "")


def test_an_image_that_one_attestor_of_two_verified_is_no_output(
    make_world: Callable[..., World],
    outputs: Callable[[], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make_world(two_attestors())
    assert world.attest().code == 0
    Path(os.environ["GITHUB_OUTPUT"]).write_text("")
    real = Occurrences.on

    def on(self: Occurrences, note: Any, about: Any = None) -> Any:
        if note.id == "tested":
            raise KeyboardInterrupt
        return real(self, note, about)

    monkeypatch.setattr(Occurrences, "on", on)
    result = world.run("verify", IMAGE, "--attestor", ATTESTOR, "--attestor", SECOND)
    assert result.code == 130
    assert (outputs()["status"], outputs()["image"]) == ("failed", "")


def test_a_run_that_ends_while_a_scan_is_waited_for_signs_nothing(
    kms_world: World, outputs: Callable[[], dict[str, str]], tmp_path: Path
) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text(written())
    scan(kms_world, COMPLETE)
    scan(kms_world, PENDING, uri=f"https://{OTHER}")
    kms_world.clock.when_it_passes = end
    result = kms_world.attest(OTHER, "--vulnerability-policy", str(limits))
    assert result.code == 130
    assert kms_world.count("AsymmetricSign") == kms_world.count("CreateOccurrence") == 0
    assert outputs()["image"] == ""


def test_a_bug_in_a_check_signs_nothing(
    kms_world: World,
    outputs: Callable[[], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text(written())

    def broken(*_: object) -> None:
        raise LookupError

    monkeypatch.setattr(Scans, "discoveries", broken)
    kms_world.capture.readouterr()
    assert kms_world.attest("--vulnerability-policy", str(limits)).code == 1
    assert kms_world.count("AsymmetricSign") == 0
    assert outputs()["image"] == ""


def test_a_policy_check_that_is_cut_off_is_told(
    make_world: Callable[..., World],
    outputs: Callable[[], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make_world(kms_seed() | {"policies": [policy()]})
    assert world.attest().code == 0
    once(monkeypatch, Attestors, "get", lambda *_: True)
    arguments = ("policy", "check", IMAGE, OTHER, "--project", PROJECT, "--format", "json")
    result = world.run(*arguments)
    assert result.code == 130
    assert '"message": "interrupted"' in result.out
    assert (outputs()["status"], outputs()["image"]) == ("failed", "")


def test_a_bug_in_a_policy_check_is_no_yes(
    make_world: Callable[..., World],
    outputs: Callable[[], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was decided before it is told all the same."""
    world = make_world(kms_seed() | {"policies": [policy()]})
    assert world.attest().code == 0
    real = Occurrences.of

    def broken(self: Occurrences, note: Any, about: Any) -> Any:
        if str(about) == OTHER:
            raise LookupError
        return real(self, note, about)

    monkeypatch.setattr(Occurrences, "of", broken)
    world.capture.readouterr()
    code = main(["policy", "check", IMAGE, OTHER, "--project", PROJECT], world.clock)
    assert code == 1
    assert f"admitted {IMAGE}" in world.capture.readouterr().out
    assert (outputs()["status"], outputs()["images"]) == ("failed", IMAGE)


def test_nothing_more_is_created_once_a_run_has_ended(make_world: Callable[..., World]) -> None:
    """Eight are worked on at a time; those that wait their turn are left."""
    world = make_world(visibility_delay=timedelta(days=30))
    before = set(threading.enumerate())
    world.clock.when_it_passes = end
    images = [f"{IMAGE[:-2]}{number:02x}" for number in range(12)]
    result = world.run("attest", *images, "--attestor", ATTESTOR, "--timeout", "1h")
    assert result.code == 130
    for worker in set(threading.enumerate()) - before:
        if "(loop)" in worker.name:
            worker.join()
    assert world.count("CreateOccurrence") <= 8


@pytest.mark.parametrize(
    ("command", "kind"),
    [(("list", "--attestor", ATTESTOR), "attestations"), (("discover", IMAGE), "images")],
)
def test_list_and_discover_say_that_they_were_ended(
    kms_world: World, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], kind: str
) -> None:
    """An empty list must not look like an answer."""
    owner = "step.listing.listing" if kind == "attestations" else "step.discovery.find.find_images"

    def cut_off(*_: object, **__: object) -> None:
        end()

    monkeypatch.setattr(owner, cut_off)
    result = kms_world.run(*command, "--format", "json")
    document = json.loads(result.out)
    assert (result.code, document[kind]) == (130, [])
    assert [error["message"] for error in document["errors"]] == ["interrupted"]
