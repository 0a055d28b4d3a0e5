"""Work that goes on at the same time, and the one deadline of a run that all of it is held to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar

from step.clock import Clock, show_duration
from step.errors import OutOfTime

# Jobs that are worked on at the same time. The services' quotas are per minute
# (https://cloud.google.com/binary-authorization/quotas): more would only meet them sooner.
_AT_ONCE = 8
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


def side_by_side(jobs: Iterable[Iterator[T]]) -> Iterator[T]:
    """What all jobs yield, as it comes; at most `_AT_ONCE` of them run at the same time.

    What one of them raises is a bug; it is raised here when the others have ended. The threads are
    daemons, so that an interrupted program does not wait for a wait; none of them goes on beyond
    its next event, to sign or create what nobody is told of.
    """
    every = list(jobs)
    count = min(_AT_ONCE, len(every))
    found: SimpleQueue[T | _Bug | None] = SimpleQueue()
    ended = Event()

    def work(mine: Sequence[Iterator[T]]) -> None:
        for job in mine:
            try:
                for event in job:
                    if ended.is_set():
                        return
                    found.put(event)
            except BaseException as error:  # noqa: BLE001 - raised again where it is read
                found.put(_Bug(error))
        found.put(None)

    workers = [Thread(target=work, args=(every[i::count],), daemon=True) for i in range(count)]
    for worker in workers:
        worker.start()
    try:
        yield from _read(found, len(workers))
    finally:
        ended.set()


def ahead(call: Callable[[], T]) -> Future[T]:
    """A call that is made now, on a thread of its own; its result, or what it raised, comes later.

    The thread is a daemon: what nobody waits for any more holds up no end.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    return future


def _read(found: SimpleQueue[T | _Bug | None], running: int) -> Iterator[T]:
    """Whatever is put there until so many have ended; then what is a bug is raised."""
    bugs: list[BaseException] = []
    while running:
        match found.get():
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
