"""How calls are repeated: for how long, and how slowly once a quota is exhausted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPICallError, ResourceExhausted, ServiceUnavailable
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import QuotaFailure, RetryInfo
from hypothesis import given
from hypothesis import strategies as st

from step.cloud.connection import Connection
from step.cloud.methods import GET_ATTESTOR, SIGN
from step.cloud.rates import Rates
from step.concurrency import Deadline, Pace, faster, slower
from step.errors import BadInput, OutOfTime, Unavailable
from tests.world import ATTESTOR, FakeClock, World, assert_clear

SECONDS = st.timedeltas(timedelta(0), timedelta(minutes=2))


def second(count: float) -> timedelta:
    return timedelta(seconds=count)


def exhausted(*details: Any) -> GoogleAPICallError:
    return ResourceExhausted("Quota exceeded.", details=details)  # type: ignore[no-untyped-call]


def answers(*given: GoogleAPICallError | str) -> tuple[Callable[..., str], list[timedelta]]:
    """A remote method that answers so, one after the other, and the last for ever."""
    waits: list[timedelta] = []
    following: Iterator[GoogleAPICallError | str] = iter(given)
    last = given[-1]

    def remote(timeout: float, **_: object) -> str:
        waits.append(second(timeout))
        answer = next(following, last)
        if isinstance(answer, str):
            return answer
        raise answer

    return remote, waits


def test_a_service_is_left_alone_for_as_long_as_it_asks(kms_world: World) -> None:
    kms_world.emulator.fail("AsymmetricSign=QUOTA:1")
    assert kms_world.attest().code == 0
    assert second(17) <= kms_world.clock.elapsed() <= second(24)
    assert kms_world.count("AsymmetricSign") == 2


def test_a_quota_is_named_with_its_limit(kms_world: World) -> None:
    kms_world.emulator.fail("AsymmetricSign=QUOTA")
    error = kms_world.attest().error
    assert "requests, RequestsPerMinutePerProject, 60)" in error["message"]
    assert "--retry-for" in error["hint"]


def test_all_who_call_a_method_pause_together_and_others_do_not() -> None:
    clock = FakeClock()
    connection = Connection(clock, {}, "127.0.0.1:1", retry_for=second(1))
    remote, _ = answers(exhausted(RetryInfo(retry_delay=Duration(seconds=20))))
    with pytest.raises(Unavailable, match="AsymmetricSign"):
        connection.repeat(SIGN, remote, None, "key")
    assert clock.elapsed() == second(0), "it gives up at once where the pause is too long"
    assert connection.repeat(GET_ATTESTOR, answers("at once")[0], None, "a") == "at once"
    assert clock.elapsed() == second(0)
    assert connection.repeat(SIGN, answers("later")[0], None, "another key") == "later"
    assert clock.elapsed() >= second(20)


def test_a_pause_beyond_the_deadline_is_not_waited_for() -> None:
    clock = FakeClock()
    deadline = Deadline.after(clock, second(10))
    connection = Connection(clock, {}, "127.0.0.1:1", deadline, second(60))
    remote, _ = answers(exhausted(RetryInfo(retry_delay=Duration(seconds=30))))
    with pytest.raises(OutOfTime, match=r"AsymmetricSign of cloudkms.*Quota exceeded"):
        connection.repeat(SIGN, remote, None, "key")
    assert clock.elapsed() == second(0)


def test_a_quota_that_is_told_in_words_is_named_too() -> None:
    told = QuotaFailure.Violation(subject="projects/p", description="60000 a minute")
    remote, _ = answers(exhausted(QuotaFailure(violations=[told])))
    with pytest.raises(Unavailable, match=r"projects/p, 60000 a minute\)"):
        Connection(FakeClock(), {}, "127.0.0.1:1").repeat(SIGN, remote, None, "key")


@pytest.mark.parametrize("minutes", [0, 1, 15])
def test_what_fails_in_passing_is_repeated_for_as_long_as_asked(minutes: int) -> None:
    clock = FakeClock()
    limit = timedelta(minutes=minutes)
    remote, calls = answers(ServiceUnavailable("no"))  # type: ignore[no-untyped-call]
    with pytest.raises(Unavailable):
        Connection(clock, {}, "127.0.0.1:1", retry_for=limit).repeat(
            GET_ATTESTOR, remote, None, ATTESTOR
        )
    assert limit - second(8) <= clock.elapsed() <= limit
    assert (len(calls) == 1) == (minutes == 0)


@pytest.mark.parametrize("minutes", [5, 30])
def test_the_option_says_how_long_and_the_run_gets_that_time(
    kms_world: World, minutes: int
) -> None:
    """Without --deadline, which is 10 minutes beyond what is asked for."""
    kms_world.emulator.fail("GetAttestor=UNAVAILABLE")
    assert kms_world.attest("--retry-for", f"{minutes}m").code == 6
    assert timedelta(minutes=minutes - 1) < kms_world.clock.elapsed() <= timedelta(minutes=minutes)


def test_how_long_it_is_has_a_unit(kms_world: World) -> None:
    assert_clear(kms_world.attest("--retry-for", "soon"), 2, "--retry-for: 'soon'", "90s")


def test_a_write_that_was_refused_for_its_quota_waits_for_its_turn(kms_world: World) -> None:
    kms_world.emulator.fail("CreateOccurrence=RESOURCE_EXHAUSTED:3")
    assert kms_world.attest().code == 0
    assert kms_world.emulator.calls.count("CreateOccurrence") == 4


def test_answers_to_calls_from_before_a_pause_do_not_lengthen_it() -> None:
    """Eight calls that were on their way together are one exhaustion."""
    clock, pace = FakeClock(), Pace()
    deadline = Deadline(clock)
    sent = [pace.permit(deadline, "it") for _ in range(8)]
    clock.sleep(second(1))
    until = {pace.exhausted(at, clock.elapsed(), None) for at in sent}
    assert len(until) == 1
    gap = pace.gap
    clock.sleep(second(60))
    again = pace.permit(deadline, "it")
    assert pace.exhausted(again, clock.elapsed(), None) - clock.elapsed() == second(1)
    assert (gap, pace.gap) == (second(0), second(0.02))


def test_calls_are_spaced_and_come_closer_again() -> None:
    clock, pace = FakeClock(), Pace(gap=second(2))
    deadline = Deadline(clock)
    times = [pace.permit(deadline, "it") for _ in range(3)]
    assert all(late - early == second(2) for early, late in pairwise(times))
    for _ in range(200):
        pace.succeeded(clock.elapsed())
    assert pace.gap == second(0)


def test_a_rate_that_is_given_is_kept_however_well_it_goes() -> None:
    clock = FakeClock()
    deadline = Deadline(clock)
    pace = Rates.parse(["AsymmetricSign=600"], "--rate", shards=4).pace(SIGN)
    for _ in range(100):
        pace.permit(deadline, "it")
        pace.succeeded(clock.elapsed())
    a_minute = 100 / (clock.elapsed() / timedelta(minutes=1))
    assert 600 / 4 * 0.9 <= a_minute <= 600 / 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Sign=5", "names no method"),
        ("AsymmetricSign", "no whole number"),
        ("AsymmetricSign=0", "no whole number"),
        ("AsymmetricSign=1.5", "no whole number"),
        ("AsymmetricSign=-1", "no whole number"),
    ],
)
def test_a_rate_names_a_method_and_a_number(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=rf"--rate: .*{says}"):
        Rates.parse([text], "--rate")


@pytest.mark.parametrize("shards", [1, 4])
def test_what_a_service_says_that_it_allows_is_kept_to(shards: int) -> None:
    clock, pace = FakeClock(), Pace(share=1 / shards)
    deadline = Deadline(clock)
    sent = pace.permit(deadline, "it")
    pace.exhausted(sent, clock.elapsed(), second(20), allowed=600)
    pace.permit(deadline, "it")
    begun = clock.elapsed()
    assert begun >= second(20)
    for _ in range(100):
        pace.permit(deadline, "it")
        pace.succeeded(clock.elapsed())
    a_minute = 100 / ((clock.elapsed() - begun) / timedelta(minutes=1))
    assert 600 / shards * 0.95 <= a_minute <= 600 / shards


@pytest.mark.parametrize("quota", [60, 600, 6000])
@pytest.mark.parametrize("told", [True, False])
def test_a_quota_by_the_minute_is_found_and_used(quota: int, told: bool) -> None:
    """By a sliding minute; a call takes 10 ms, and one is made at a time."""
    clock, pace, passed, refused = FakeClock(), Pace(), deque[timedelta](), 0
    deadline, made, minute = Deadline(clock), 0, timedelta(minutes=1)
    while made < quota * 6:
        sent = pace.permit(deadline, "it")
        clock.sleep(second(0.01))
        while passed and sent - passed[0] >= minute:
            passed.popleft()
        if len(passed) < quota:
            passed.append(sent)
            made += 1
            pace.succeeded(clock.elapsed())
            continue
        refused += 1
        asked = passed[0] + minute - sent if told else None
        pace.exhausted(sent, clock.elapsed(), asked, quota if told else None)
    assert refused <= (1 if told else 15)
    assert made / (clock.elapsed() / minute) >= quota * 0.9


@given(SECONDS, SECONDS, SECONDS, st.sampled_from([0.0, 0.002, 0.02]))
def test_slower_is_slower_and_faster_is_faster_within_bounds(
    gap: timedelta, other: timedelta, passed: timedelta, growth: float
) -> None:
    assert second(0.02) <= slower(gap) <= second(10)
    assert slower(min(gap, other)) <= slower(max(gap, other))
    assert second(0) <= faster(gap, growth, passed) <= gap
    assert faster(gap, growth, passed) <= faster(max(gap, other), growth, passed)
