"""The meter: a line a minute, or a bar on a terminal: rate, failures, and the time that is left."""

from __future__ import annotations

import io
from datetime import timedelta

from step.results.meter import Meter
from tests.world import FakeClock


class Terminal(io.StringIO):
    """What takes itself for one."""

    def isatty(self) -> bool:
        return True


def test_elsewhere_there_is_a_line_a_minute() -> None:
    clock, stream = FakeClock(), io.StringIO()
    meter = Meter(1000, clock, stream)
    for _ in range(180):
        clock.sleep(timedelta(seconds=1))
        meter.advance(2, 0)
    meter.advance(0, 3)
    meter.close()
    assert stream.getvalue().splitlines() == [
        "120 of 1,000, 2.0 a second, 7m20s left",
        "240 of 1,000, 2.0 a second, 6m20s left",
        "360 of 1,000, 2.0 a second, 5m20s left",
    ]
    assert meter.line(clock.elapsed()).endswith("3 failed")


def test_the_rate_is_that_of_the_last_minute() -> None:
    clock = FakeClock()
    meter = Meter(10_000, clock, io.StringIO())
    for second in range(200):
        clock.sleep(timedelta(seconds=1))
        meter.advance(1 if second < 100 else 10, 0)
    assert "10.0 a second" in meter.line(clock.elapsed())


def test_at_first_nothing_is_known_of_the_time() -> None:
    assert Meter(5, FakeClock(), io.StringIO()).line(timedelta(0)) == "0 of 5"


def test_on_a_terminal_there_is_a_bar_that_goes() -> None:
    clock, stream = FakeClock(), Terminal()
    meter = Meter(10, clock, stream)
    clock.sleep(timedelta(seconds=2))
    meter.advance(4, 1)
    meter.close()
    assert "5 of 10" in stream.getvalue()
    assert "1 failed" in stream.getvalue()


def test_a_stream_that_cannot_be_written_stops_nothing() -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    clock = FakeClock()
    meter = Meter(10, clock, Full())
    clock.sleep(timedelta(minutes=2))
    meter.advance(1, 0)
