"""What a person reads, on a terminal and off it."""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pytest
from hypothesis import given

from step.discovery.record import Discovered, Origin
from step.events import Progress
from step.results.console import Terminal
from step.results.goal import Goal
from step.results.result import Result
from tests import runner
from tests.results.reports import (
    APP,
    CREATED,
    DRY_RUN,
    EXISTING,
    HOSTILE,
    QA,
    REFUSED,
    UNUSABLE,
    WEB,
    hostile_reports,
    report,
)

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Stream(io.TextIOWrapper):
    """A stream in memory, which may say that it is a terminal."""

    def __init__(self, terminal: bool = False, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        self.flush()
        written = self.buffer
        assert isinstance(written, io.BytesIO)
        return written.getvalue().decode(self.encoding)


def show(whole: Result, out: Stream, err: Stream, environ: dict[str, str]) -> None:
    terminal = Terminal(out, err, environ)
    terminal.result(whole)
    terminal.errors(whole)


def test_plain() -> None:
    out, err = Stream(), Stream()
    show(report(CREATED, DRY_RUN, REFUSED, UNUSABLE), out, err, {"TERM": "xterm", "COLUMNS": "20"})
    assert out.text().splitlines() == [
        f"created {APP}",
        "  attestor    projects/p/attestors/qa",
        "  key         //cloudkms.googleapis.com/v1/projects/p/k/1 (ECDSA_P256_SHA256)",
        "  occurrence  projects/p/occurrences/1",
        "  visible     after 3.2s",
        f"dry-run {WEB}",
        "  attestor    projects/p/attestors/prod",
        "  key         KEY (OPENPGP)",
    ]
    assert err.text().splitlines() == [
        "error: the attestor says no",
        f"  for: {WEB}, projects/p/attestors/prod",
        "  hint: Register the key.",
        "error: no image was given",
    ]


def test_discovered() -> None:
    out, err = Stream(), Stream()
    actual = (
        Discovered(APP, Origin("the registry", tag="v1\n::error::x")),
        Discovered(WEB, Origin("-")),
    )
    Terminal(out, err, {}).result(Result(Goal.DISCOVERED, actual))
    assert err.text() == ""
    assert out.text().splitlines() == [
        str(APP),
        "  source      the registry",
        r"  tag         v1\x0a::error::x",
        str(WEB),
        "  source      -",
    ]


@pytest.mark.parametrize(
    ("elapsed", "limit", "time"),
    [
        (None, None, ""),
        (timedelta(seconds=1.5), None, " (1.5s)"),
        (timedelta(seconds=3), timedelta(minutes=2), " (3s of 2m)"),
    ],
)
def test_progress(elapsed: timedelta | None, limit: timedelta | None, time: str) -> None:
    out, err = Stream(), Stream()
    terminal = Terminal(out, err, {})
    progress = Progress(APP, QA, "waiting until it is listed", elapsed, limit)
    terminal.progress(progress, which=False)
    terminal.progress(progress, which=True)
    terminal.remark("a remark")
    terminal.warning("the emulator is used")
    assert out.text() == ""
    short = f"{APP.name.repository.rpartition('/')[2]}@{str(APP.digest)[:19]}..."
    assert err.text().splitlines() == [
        f"waiting until it is listed{time}",
        f"{short} for {QA.id}: waiting until it is listed{time}",
        "a remark",
        "warning: the emulator is used",
    ]


def test_a_terminal_has_colours_and_one_line_stays_one() -> None:
    whole = report(CREATED, EXISTING, DRY_RUN, REFUSED)
    plain, coloured = (Stream(), Stream()), (Stream(terminal=True), Stream(terminal=True))
    show(whole, *plain, {})
    show(whole, *coloured, {"TERM": "xterm-256color", "COLUMNS": "20"})
    for bare, rich in zip(plain, coloured, strict=True):
        assert ANSI.search(rich.text())
        assert ANSI.sub("", rich.text()) == bare.text()


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}])
def test_colours_can_be_refused(environ: dict[str, str]) -> None:
    out, err = Stream(terminal=True), Stream(terminal=True)
    show(report(CREATED, REFUSED), out, err, environ)
    assert "\x1b[3" not in out.text() + err.text()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_a_stream_cannot_show_is_escaped(encoding: str, is_terminal: bool) -> None:
    err = Stream(is_terminal, encoding)
    Terminal(Stream(), err, {"TERM": "xterm"}).remark("sha256:… €")
    shows_all = is_terminal and encoding == "utf-8"
    assert err.text() == ("sha256:… €\n" if shows_all else "sha256:... \\u20ac\n")


@given(hostile_reports())
def test_a_hostile_report_is_no_command(hostile: Result) -> None:
    plain, coloured = (Stream(), Stream()), (Stream(terminal=True), Stream(terminal=True))
    show(hostile, *plain, {})
    show(hostile, *coloured, {"TERM": "xterm", "COLUMNS": "10"})
    for stream in plain:
        assert stream.text().isascii()
        assert all(line.isprintable() for line in stream.text().split("\n"))
        assert runner.commands(stream.text()) == []
    for bare, rich in zip(plain, coloured, strict=True):
        visible = ANSI.sub("", rich.text())
        assert all(line.isprintable() for line in visible.split("\n"))
        assert runner.commands(visible) == []
        assert visible.count("\n") == bare.text().count("\n")


@given(HOSTILE)
def test_markup_is_text(text: str) -> None:
    bare = Stream()
    Terminal(Stream(), bare, {}).warning(f"[bold]{text}[/bold] :smile:")
    assert bare.text().startswith("warning: [bold]")
    assert bare.text().endswith("[/bold] :smile:\n")
