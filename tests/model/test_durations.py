"""Durations as options have them, and the clock of the machine."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.clock import SystemClock, parse_age, parse_duration, show_duration
from step.errors import BadInput


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("2m", 120),
        ("1m30s", 90),
        ("1h", 3600),
        ("1h2m3.5s", 3723.5),
        ("0.5s", 0.5),
        ("0.125s", 0.125),
        ("0s", 0),
        ("600m", 36000),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "120", "2 m", "2M", "-1s", "1s2m", "1d", "1.5m", "1e3s", "s", "1s\n", "٣s", "inf", "1.s"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_duration(text)
    assert "unit" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "hours"),
    [("30d", 720), ("1d12h", 36), ("0d", 0), ("12h", 12), ("1d0.5s", 24 + 1 / 7200)],
)
def test_an_age_may_be_in_days(text: str, hours: float) -> None:
    assert parse_age(text, "--max-age") == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "d", "1d2d", "1.5d", "-1d", "30", "1 d", "1d1", "123456d"])
def test_any_other_age_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"^--max-age: "):
        parse_age(text, "--max-age")


@given(st.text(alphabet="0123456789hms. -") | st.text())
def test_any_text_is_a_duration_or_bad_input(text: str) -> None:
    try:
        duration = parse_duration(text)
    except BadInput:
        return
    assert duration >= timedelta(0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (3.21, "3.2s"),
        (3, "3s"),
        (59.97, "1m"),
        (60, "1m"),
        (90, "1m30s"),
        (119.7, "2m"),
        (120.4, "2m"),
        (3600, "60m"),
    ],
)
def test_a_duration_is_shown_as_it_would_be_written(seconds: float, text: str) -> None:
    assert show_duration(timedelta(seconds=seconds)) == text


@given(st.integers(0, 99_999 * 60).map(lambda seconds: timedelta(seconds=seconds)))
def test_whole_seconds_are_shown_as_they_are_read(duration: timedelta) -> None:
    assert parse_duration(show_duration(duration)) == duration


def test_the_clock_of_the_machine_goes_on_while_it_sleeps() -> None:
    clock = SystemClock()
    before = clock.elapsed()
    clock.sleep(timedelta(milliseconds=5))
    assert clock.elapsed() - before >= timedelta(milliseconds=5)
