"""A whole run: that it ends, and that it is never silent for long."""

from __future__ import annotations

import faulthandler
import os
import time
from threading import Event, Thread

import pytest

# How many seconds a run may take: a worker that died must not hold it up for ever.
LIMIT = "BINAUTHZ_TESTS_LIMIT"
_LIMIT = 900
# Collecting thousands of tests takes a while, as do some that build images.
_SILENCE_SECONDS = 2


class WholeRun:
    """What watches a run, in the one process that waits for all the others."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal
        self._started = self._heard = time.monotonic()
        self._ended = Event()
        faulthandler.dump_traceback_later(float(os.environ.get(LIMIT, _LIMIT)), exit=True)
        Thread(target=self._tick, daemon=True).start()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Something was shown."""
        self._heard = time.monotonic()

    def pytest_unconfigure(self) -> None:
        """The end, before which coverage may have taken its time."""
        self._ended.set()
        faulthandler.cancel_dump_traceback_later()

    def _tick(self) -> None:
        while not self._ended.wait(0.5):
            now = time.monotonic()
            if now - self._heard >= _SILENCE_SECONDS:
                self._terminal.write_line(f"  ... {now - self._started:.0f} s")
                self._terminal.flush()
                self._heard = now
