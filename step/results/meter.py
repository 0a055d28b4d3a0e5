"""How far bulk work has come: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, TextIO

from step.clock import Clock, show_duration
from step.results.text import ascii_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EVERY = timedelta(minutes=1)
# The rate is that of the last minute: services slow down and recover.
_WINDOW = timedelta(minutes=1)
_SAMPLE = timedelta(seconds=1)


class Meter:
    """Counts what is stored and what has failed, of a total that is known, and shows it."""

    def __init__(self, total: int, clock: Clock, stream: TextIO) -> None:
        self._total, self._clock, self._stream = total, clock, stream
        self._stored = self._failed = 0
        self._told = clock.elapsed()
        self._samples = deque([(self._told, 0)])
        self._bar = _bar(stream) if stream.isatty() else None
        self._task: TaskID | None = None
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=total)

    def advance(self, stored: int, failed: int) -> None:
        """Count more."""
        self._stored += stored
        self._failed += failed
        now = self._clock.elapsed()
        if now - self._samples[-1][0] >= _SAMPLE:
            self._samples.append((now, self._done))
            while now - self._samples[0][0] > _WINDOW and len(self._samples) > 2:
                self._samples.popleft()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, description=self.line(now))
        elif now - self._told >= _EVERY:
            self._told = now
            self._write(self.line(now))

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def line(self, now: timedelta) -> str:
        """Count, rate, failures and the time that is left."""
        first, before = self._samples[0]
        passed = (now - first).total_seconds()
        rate = (self._done - before) / passed if passed > 0 else 0.0
        parts = [f"{self._done:,} of {self._total:,}"]
        if rate > 0:
            left = timedelta(seconds=(self._total - self._done) / rate)
            parts += [f"{rate:,.1f} a second", f"{show_duration(left)} left"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        return ", ".join(parts)

    @property
    def _done(self) -> int:
        return self._stored + self._failed

    def _write(self, text: str) -> None:
        with suppress(OSError):  # what goes wrong there is no reason to stop
            self._stream.write(f"{ascii_line(text)}\n")
            self._stream.flush()


def _bar(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(file=stream, markup=False, emoji=False, highlight=False)
    columns = (BarColumn(), TextColumn("{task.description}", markup=False))
    return Progress(*columns, console=console, transient=True)
