"""Work that goes on at the same time: several iterators as one, and a call that is made ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar

# Jobs that are worked on at the same time. The services' quotas are per minute
# (https://cloud.google.com/binary-authorization/quotas): more would only meet them sooner.
_AT_ONCE = 8

T = TypeVar("T")


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
