"""Bounded work that goes on at the same time, held to one deadline and to what services allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from queue import Empty, Queue
from threading import Event, Lock, Thread
from typing import TypeVar

from step.clock import Clock, show_duration
from step.errors import OutOfTime

# Jobs that are worked on at the same time. The services' quotas are per minute
# (https://cloud.google.com/binary-authorization/quotas): more would only meet them sooner.
_AT_ONCE = 8
# The standard library cannot wait for ever in one go.
_LONGEST = timedelta(days=30)
_NOW = timedelta(0)

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
        return self.left <= _NOW

    def require(self, awaited: str) -> timedelta:
        """How much time there is to wait for something; raises OutOfTime when there is none."""
        left = self.left
        if left <= _NOW:
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
        self.clock.sleep(max(min(duration, self.left), _NOW))

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


def poll(
    ask: Callable[[], T],
    deadline: Deadline,
    limit: timedelta,
    pause: Callable[[timedelta], timedelta],
    started: timedelta | None = None,
) -> Iterator[tuple[T, timedelta, bool]]:
    """Ask at once, then after pauses, until `limit` has passed; the one loop of this kind.

    Yields the answer, how long it has been since `started`, which is now, and whether that was the
    last time. Whoever has the answer that was waited for stops reading.
    """
    clock = deadline.clock
    begun = clock.elapsed() if started is None else started
    while True:
        answer = ask()
        elapsed = clock.elapsed() - begun
        is_last = elapsed >= limit
        yield answer, elapsed, is_last
        if is_last:
            return
        deadline.sleep(min(pause(elapsed), limit - elapsed))


def eagerly(waited: timedelta) -> timedelta:
    """The pause for what takes seconds; a look comes late by a twentieth of the wait at most.

    New attestations have been seen to need seconds to be listed; no figure is published.
    """
    return min(max(timedelta(seconds=0.5), waited / 20), timedelta(seconds=5))


def patiently(waited: timedelta) -> timedelta:
    """The pause for people and pipelines: soon at first, then seldom, as many share one quota."""
    return min(timedelta(seconds=1) + waited / 2, timedelta(seconds=10))


def side_by_side(
    jobs: Iterable[Iterator[T]], at_once: int = _AT_ONCE, beside: Iterator[T] | None = None
) -> Iterator[T]:
    """What all jobs yield, as it comes; a job is taken from `jobs` only when it can be begun.

    `beside` runs from the start, and takes no job's turn. What one of them raises is a bug; it is
    raised here when the others have ended. The threads are daemons, so that an interrupted program
    does not wait for a wait; none of them goes on beyond its next event, to sign or create what
    nobody is told of. What nobody reads is not worked ahead of either.
    """
    events: Queue[T | _Bug | None] = Queue(2 * at_once)
    waiting, taking, ended = iter(jobs), Lock(), Event()

    def take() -> Iterator[T] | None:
        try:
            with taking:
                return next(waiting, None)
        except BaseException as error:  # noqa: BLE001 - raised again where it is read
            events.put(_Bug(error))
            return None

    def loop(job: Iterator[T] | None, take: Callable[[], Iterator[T] | None]) -> None:
        while job is not None and not ended.is_set():
            try:
                for event in job:
                    if ended.is_set():
                        return
                    events.put(event)
            except BaseException as error:  # noqa: BLE001 - raised again where it is read
                events.put(_Bug(error))
            job = take()
        events.put(None)

    # No more threads than jobs: each costs memory.
    begun = [(job, take) for job in islice(waiting, at_once)]
    begun += [] if beside is None else [(beside, lambda: None)]
    for first in begun:
        Thread(target=loop, args=first, daemon=True).start()
    try:
        yield from _read(events, len(begun))
    finally:
        ended.set()
        with suppress(Empty):  # who waits to be read can end
            while True:
                events.get_nowait()


def ahead(call: Callable[[], T]) -> Future[T]:
    """A call that is made now, on a thread of its own; its result, or what it raised, comes later.

    The thread is a daemon: what nobody waits for any more holds up no end.
    """
    future: Future[T] = Future()

    def make() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            future.set_exception(error)

    Thread(target=make, daemon=True).start()
    return future


@dataclass
class Pace:
    """How fast one method is called by all that call it: slower, and after a pause, as it is told.

    `least` is the gap between two calls that is known to be right. What a service allows is mostly
    not documented, so the rest is found: `gap` is learned when a quota is exhausted, from what the
    service says it allows, or from what it allowed in the last minute, and shrinks while it is not
    exhausted. What a service says is for all of a project; `share` is this run's part of it.
    """

    least: timedelta = _NOW
    share: float = 1.0
    gap: timedelta = _NOW
    _told: timedelta = _NOW
    """The gap by what the service said it allows."""
    _next: timedelta = _NOW
    _paused: timedelta = _NOW
    """Until when nobody calls."""
    _since: timedelta = _NOW
    """When the last pause began: answers to calls from before tell of the same exhaustion."""
    _pause: timedelta = _NOW
    _begun: timedelta | None = None
    _growth: float = 0.0
    """By how much the gap shrinks in a second; nothing where it was not learned from a count."""
    _grown: timedelta = _NOW
    """When it shrank last."""
    _well: int = 0
    """Calls that went well since the last exhaustion."""
    _seen: int = 0
    """What was allowed in the minute before the first of several exhaustions."""
    _streak: int = 0
    """How many of them there were."""
    _probing: timedelta = _NOW
    """Until when a call is awaited that shows whether a pause is over."""
    _minute: _Minute = field(default_factory=lambda: _Minute())
    _lock: Lock = field(default_factory=Lock)

    def permit(self, deadline: Deadline, awaited: str) -> timedelta:
        """Wait for the next call's turn, and return when that was.

        Raises OutOfTime at once where the deadline comes before the turn.
        """
        from random import uniform

        clock = deadline.clock
        while True:
            with self._lock:
                now = clock.elapsed()
                at, is_settled = self._turn(now)
            if at >= deadline.until:
                raise deadline.over(awaited)
            if is_settled and at <= now:
                return now
            # Not all at once when a pause is over.
            longer = 1 if is_settled else uniform(1.0, 1.2)  # noqa: S311 - no secret
            deadline.sleep((at - now) * longer)
            with self._lock:
                now = clock.elapsed()
                if is_settled and self._paused <= now:
                    return now

    def _turn(self, now: timedelta) -> tuple[timedelta, bool]:
        """When to call, and whether that is settled, or is to be asked again then."""
        self._begun = now if self._begun is None else self._begun
        if now < self._paused:
            return self._paused, False
        if now < self._probing:
            return now + _LOOK, False
        at = max(now, self._next)
        self._next = at + max(self.gap, self.least)
        if self._since and not self._well:
            # One call shows whether a pause is over; the others wait for that.
            self._probing = at + _PROBING
        return at, True

    def succeeded(self, now: timedelta) -> None:
        """Tell that a call was not refused: the next may come a little sooner."""
        with self._lock:
            self._minute.add(now)
            passed = now - max(self._grown, self._paused)
            self.gap = max(faster(self.gap, self._growth, passed), self._told)
            self._grown = now
            self._well += 1
            self._probing = _NOW
            if now > self._paused:
                self._pause = _NOW

    def exhausted(
        self, sent: timedelta, now: timedelta, asked: timedelta | None, allowed: int | None = None
    ) -> timedelta:
        """Tell that the quota was exhausted for a call; return until when nobody calls.

        `asked` is how long the service wants to be left alone, and `allowed` how many calls a
        minute it allows, if it says so.
        """
        with self._lock:
            if sent >= self._since:
                if allowed:
                    self.gap = self._told = spaced(allowed * self.share)
                    self._pause = slower(self._pause, _PAUSES)
                else:
                    self._learn(now)
                self._since = self._grown = now
                self._well, self._probing = 0, _NOW
            self._paused = max(self._paused, now + max(self._pause, asked or _NOW))
            return self._paused

    def _learn(self, now: timedelta) -> None:
        """Slow down for an exhaustion that says nothing of what is allowed.

        One that is over after a short pause may have been a passing fault. One that comes again and
        again, with hardly a call between, shows what was allowed in the minute before the first.
        """
        if self._well > _PROBES or not self._since:
            self._seen, self._streak = self._minute.count(now), 0
            self.gap *= _SLOWER
        self._streak += 1
        self._pause = _GROWING[min(self._streak, len(_GROWING)) - 1]
        if self._streak >= _TELLING_STREAK and self._seen >= _TELLING:
            known = now - (now if self._begun is None else self._begun)
            self.gap = spaced(self._seen)
            self._growth = _GROWTHS[known >= timedelta(minutes=1)]
        elif self._streak > 1 and self._seen < _TELLING:
            self.gap, self._growth = slower(self.gap), 0.0


@dataclass
class _Minute:
    """How many calls there were in the last minute, counted by the second."""

    _counts: list[int] = field(default_factory=lambda: [0] * 60)
    _last: int = 0

    def add(self, now: timedelta) -> None:
        """Count a call."""
        self._advance(now)
        self._counts[self._last % 60] += 1

    def count(self, now: timedelta) -> int:
        """The calls of the last minute."""
        self._advance(now)
        return sum(self._counts)

    def _advance(self, now: timedelta) -> None:
        second = int(now.total_seconds())
        for passed in range(self._last + 1, min(second, self._last + 60) + 1):
            self._counts[passed % 60] = 0
        self._last = max(self._last, second)


# The least and the most, of the space between two calls, and of a pause: quotas are by the minute
# or by the second (https://cloud.google.com/kms/quotas).
_GAPS = (timedelta(milliseconds=20), timedelta(seconds=10))
_PAUSES = (timedelta(milliseconds=250), timedelta(seconds=32))
_GROWING = tuple(timedelta(seconds=pause) for pause in (0.25, 1, 4, 8, 16, 32))
# Calls that go well between two exhaustions that are one; and of how many of those one learns.
_PROBES = 3
_TELLING_STREAK = 3
# How long the first call after a pause is awaited at most, and how often that is looked at.
_PROBING, _LOOK = timedelta(seconds=2), timedelta(milliseconds=20)
# How much longer a gap becomes by an exhaustion that is soon over.
_SLOWER = 1.02
# Below what is allowed, since clocks and ways differ.
_MARGIN = 0.97
# What was allowed in fewer calls says little.
_TELLING = 30
# How much a gap that was learned shrinks in a second: before a whole minute was seen, and after it.
_GROWTHS = (0.02, 0.0005)


def spaced(a_minute: float) -> timedelta:
    """The gap between calls that keeps a little below so many a minute."""
    return timedelta(minutes=1) / (a_minute * _MARGIN)


def slower(time: timedelta, limits: tuple[timedelta, timedelta] = _GAPS) -> timedelta:
    """Twice as long, within limits."""
    least, most = limits
    return min(max(time * 2, least), most)


def faster(gap: timedelta, growth: float, passed: timedelta) -> timedelta:
    """Shorter by `growth` for each second that has passed; without it, by a twentieth for a call.

    There is none once it is next to nothing.
    """
    if not growth:
        return gap * 0.95 if gap > _GAPS[0] else _NOW
    shorter: timedelta = gap * (1 - growth) ** min(max(passed.total_seconds(), 0), 3600)
    return shorter if shorter > timedelta(milliseconds=1) else _NOW


def _read(events: Queue[T | _Bug | None], running: int) -> Iterator[T]:
    """Whatever is put there until so many have ended; then what is a bug is raised."""
    bugs: list[BaseException] = []
    while running:
        match events.get():
            case None:
                running -= 1
            case _Bug(error=error):
                bugs.append(error)
            case event:
                yield event
    for bug in bugs:
        raise bug


@dataclass(frozen=True, slots=True)
class _Bug:
    error: BaseException
