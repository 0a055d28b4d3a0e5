"""What may happen between the write and its being seen: answers lost, late or other than sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from grafeas import grafeas_v1

from step.emulator import faults
from tests.world import IMAGE, World, assert_clear, kms_seed


def test_an_answer_that_is_not_what_was_sent_is_no_receipt(
    kms_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is read back, the service's answer is all there is to verify."""

    def spoil(response: grafeas_v1.Occurrence) -> None:
        response.attestation.signatures = []

    spoilt = (frozenset({"CreateOccurrence"}), spoil)
    monkeypatch.setitem(faults._ALTERATIONS, "SPOILT", spoilt)
    kms_world.emulator.fail("CreateOccurrence=SPOILT")
    assert_clear(kms_world.attest("--no-wait"), 6, "not what was sent", "again")


@pytest.mark.parametrize("delay", [0, 3])
def test_an_answer_lost_after_the_write_is_settled_by_reading(
    make_world: Callable[..., World], delay: int
) -> None:
    world = make_world(visibility_delay=timedelta(seconds=delay))
    world.emulator.fail("CreateOccurrence=DROP_ANSWER:1")
    receipt = world.attest().receipt
    assert receipt["status"] == "created"
    assert world.count("CreateOccurrence") == 1
    assert world.attest().receipt["occurrence"] == receipt["occurrence"]


@pytest.mark.parametrize("wait", ["--wait", "--no-wait"])
def test_an_answer_lost_long_before_it_shows_makes_one_attestation(
    make_world: Callable[..., World], wait: str
) -> None:
    """The same bytes are sent again after ten seconds of reading; the service knows them."""
    world = make_world(visibility_delay=timedelta(seconds=15))
    world.emulator.fail("CreateOccurrence=DROP_ANSWER:1")
    receipt = world.attest(wait).receipt
    assert receipt["status"] == "created"
    assert world.count("CreateOccurrence") == 2
    assert len(world.emulator.calls.writes()) == 1


def test_an_attestation_that_exists_but_was_not_listed_yet_is_waited_for(
    make_world: Callable[..., World],
) -> None:
    """PKCS #1 signatures are the same each time, so a quick second run meets ALREADY_EXISTS.

    It waits as long as it was told to, not as short as after a lost answer.
    """
    seed = kms_seed("RSA_SIGN_PKCS1_2048_SHA256")
    world = make_world(seed, visibility_delay=timedelta(seconds=30))
    first = world.attest("--no-wait").receipt
    second = world.attest().receipt
    assert (first["status"], second["status"]) == ("created", "existing")
    assert first["occurrence"] == second["occurrence"]
    assert len(world.emulator.calls.writes()) == 1


def test_already_exists_is_not_believed_unread(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.emulator.fail("CreateOccurrence=ALREADY_EXISTS")
    assert_clear(world.attest(), 7, f"no attestation of {IMAGE}", "again")
    assert not world.wrote


def test_a_wait_that_runs_out(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.emulator.fail("CreateOccurrence=NEVER_VISIBLE")
    result = world.attest("--timeout", "90s")
    assert_clear(result, 7, "was created, but could not be read back", "--timeout")
    assert "projects/my-project/occurrences/" in result.error["message"]
    assert world.clock.elapsed() == timedelta(seconds=90)
    assert "(0.5s of 1m30s)" in result.err
    looks = world.count("ListNoteOccurrences")
    assert 60 <= looks <= 80, "every half second, and then after a twentieth of the wait"


def test_a_service_that_fails_during_the_wait(make_world: Callable[..., World]) -> None:
    """The occurrence's name is not lost with it."""
    world = make_world(visibility_delay=timedelta(minutes=1))
    world.clock.when_it_passes = lambda: world.emulator.fail("ListNoteOccurrences=UNAVAILABLE")
    result = world.attest()
    assert_clear(result, 6, "was created, but not read back", "again")
    assert "projects/my-project/occurrences/" in result.error["message"]
