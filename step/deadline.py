"""The one deadline of a run, which every call, page, token and byte is held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from step.clock import Clock, show_duration
from step.errors import OutOfTime
from step.side_by_side import ahead

# The standard library cannot wait for ever in one go.
_LONGEST = timedelta(days=30)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a run ends, whatever it waits for then; `until` is by the clock's `elapsed`.

    `limit` is how long it was given, by `option`. Without a limit, it never ends.
    """

    clock: Clock
    limit: timedelta | None = None
    until: timedelta = timedelta.max
    option: str = "--deadline"

    @classmethod
    def after(cls, clock: Clock, limit: timedelta) -> Deadline:
        """The end of a run that begins now."""
        return cls(clock, limit, clock.elapsed() + limit)

    @property
    def left(self) -> timedelta:
        """How much time there is; nothing, or less, once it is over."""
        return self.until - self.clock.elapsed()

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.left <= timedelta(0)

    def require(self, awaited: str) -> timedelta:
        """How much time there is to wait for something; raises OutOfTime when there is none."""
        left = self.left
        if left <= timedelta(0):
            raise self.over(awaited)
        return left

    def over(self, awaited: str) -> OutOfTime:
        """The error for what was waited for when time was up."""
        limit = "" if self.limit is None else f" after {show_duration(self.limit)}"
        return OutOfTime(
            f"time is up{limit}, waiting for {awaited}",
            f"Running again is safe; {self.option} gives a run more time.",
        )

    def sleep(self, duration: timedelta) -> None:
        """Sleep, but never longer than until the deadline."""
        self.clock.sleep(max(min(duration, self.left), timedelta(0)))

    def wait(self, call: Callable[[], T], awaited: str, limit: timedelta | None = None) -> T:
        """What a call returns or raises that has no deadline of its own.

        It runs on a thread of its own. When time is up, or `limit` has passed, that is left alone,
        and ends with the process at the latest. Raises OutOfTime, or TimeoutError for `limit`.
        """
        left = self.require(awaited)
        least = left if limit is None else min(left, limit)
        future = ahead(call)
        try:
            return future.result(min(least, _LONGEST).total_seconds())
        except TimeoutError:
            if future.done() or least < left:
                raise
            raise self.over(awaited) from None
