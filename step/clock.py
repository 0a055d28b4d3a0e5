"""Time, passed in: so that a wait of two minutes is tested in none."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from step.errors import BadInput


class Clock(Protocol):
    """What the program asks of time."""

    def elapsed(self) -> timedelta:
        """Time since some fixed moment; never goes back."""

    def sleep(self, duration: timedelta) -> None:
        """Return after `duration`."""

    def now(self) -> datetime:
        """The date and time, with its zone; may be set, and go back."""


class SystemClock:
    """The machine's own monotonic clock."""

    def elapsed(self) -> timedelta:
        return timedelta(seconds=time.monotonic())

    def sleep(self, duration: timedelta) -> None:
        time.sleep(duration.total_seconds())

    def now(self) -> datetime:
        return datetime.now(UTC)


_DURATION = re.compile(
    r"(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m(?!s))?(?:([0-9]{1,6}(?:\.[0-9]{1,3})?)s)?"
    r"(?:([0-9]{1,6})ms)?"
)


def parse_duration(text: str, option: str = "") -> timedelta:
    """Read `90s`, `2m`, `1m30s`, `1h`, `0.5s` or `50ms`.

    Raises BadInput for anything else, a bare number included: `120` could be minutes to its writer;
    the error names `option`.
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise BadInput(
            f"{option}: {text!r} is not a duration" if option else f"{text!r} is not a duration",
            "Write it with its unit: 90s, 2m or 1m30s.",
        )
    hours, minutes, seconds, milliseconds = match.groups(default="0")
    return timedelta(
        hours=int(hours),
        minutes=int(minutes),
        seconds=float(seconds),
        milliseconds=int(milliseconds),
    )


def parse_age(text: str, option: str) -> timedelta:
    """Read `30d`, `1d12h`, or what `parse_duration` reads; raises BadInput as it does."""
    match = re.fullmatch(r"([0-9]{1,5})d(.*)", text)
    if match is None:
        return parse_duration(text, option)
    days, rest = match.groups()
    return timedelta(days=int(days)) + (parse_duration(rest, option) if rest else timedelta(0))


def show_duration(duration: timedelta) -> str:
    """`2m`, `1m30s` or `3.2s`: the spelling that `parse_duration` reads."""
    seconds = round(duration.total_seconds(), 1)
    if seconds < 60:
        return f"{seconds:g}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if rest else f"{minutes}m"
