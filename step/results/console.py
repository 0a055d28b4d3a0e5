"""What a person reads: receipts on standard output, progress and errors on standard error."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from step.clock import show_duration
from step.events import Progress
from step.model.image import ImageRef
from step.results.result import Result
from step.results.text import ascii_line, one_line

if TYPE_CHECKING:
    from rich.console import Console

_LABELS = {
    "created ": "bold green",
    "existing ": "green",
    "dry-run ": "yellow",
    "passed ": "green",
    "verified ": "bold green",
    "not verified ": "bold red",
    "admitted ": "bold green",
    "denied ": "bold red",
}


class Terminal:
    """Two streams: coloured where they are terminals, unless `NO_COLOR` is set; else plain ASCII.

    One line is one line, however narrow the terminal, and everything shown passes `one_line`.
    """

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str]) -> None:
        self._out = _Stream(out, environ)
        self._err = _Stream(err, environ)

    def result(self, result: Result) -> None:
        """Show the rows of a result on standard output."""
        for view in result.views:
            for label, text in view.lines:
                self._out.show(label, text, _LABELS.get(label, ""))

    def errors(self, result: Result) -> None:
        """Show the failures of a result on standard error, each with what it is about."""
        for failure in result.failures:
            about = ", ".join(str(each) for each in (failure.image, failure.attestor) if each)
            self._tell("error: ", failure.error.message, "bold red")
            if about:
                self._tell("  for: ", about)
            if failure.error.hint:
                self._tell("  hint: ", failure.error.hint)

    def progress(self, progress: Progress, *, which: bool) -> None:
        """Show what is being done, and how much of the time allowed it has taken.

        `which` says for which image and attestor, in short, where there are several.
        """
        time = ""
        if progress.elapsed is not None:
            limit = "" if progress.limit is None else f" of {show_duration(progress.limit)}"
            time = f" ({show_duration(progress.elapsed)}{limit})"
        about = ""
        if which and progress.image is not None:
            whom = "" if progress.attestor is None else f" for {progress.attestor.id}"
            about = f"{_short(progress.image)}{whom}: "
        self._tell("", f"{about}{progress.doing}{time}", "dim")

    def remark(self, text: str) -> None:
        """Show a line on standard error."""
        self._tell("", text)

    def warning(self, text: str) -> None:
        """Show `warning: …` on standard error."""
        self._tell("warning: ", text, "yellow")

    def _tell(self, label: str, text: str, style: str = "") -> None:
        # What goes wrong there can be told to nobody, and is no reason to stop half-way.
        with suppress(OSError):
            self._err.show(label, text, style)


def _short(image: ImageRef | str) -> str:
    """Enough of an image to tell it from its neighbours; never to be copied."""
    name, _, digest = str(image).rpartition("@")
    return f"{name.rpartition('/')[2]}@{digest[:19]}…"


class _Stream:
    """One stream: plain lines, or what rich draws where that is a terminal."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._console = _console(stream, environ) if _draws(stream, environ) else None

    def show(self, label: str, text: str, style: str) -> None:
        """Write one line; raises OSError when the stream cannot be written."""
        console = self._console
        if console is None:
            self._stream.write(f"{label}{ascii_line(text)}\n")
            self._stream.flush()
            return
        from rich.text import Text

        drawn = console.is_terminal and console.encoding.startswith("utf")
        shown = one_line(text) if drawn else ascii_line(text)
        console.print(Text.assemble((label, style), (shown, style if not label else "")))


def _draws(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether rich has a say: it takes a terminal for one, and these variables as an order."""
    # https://rich.readthedocs.io/en/latest/console.html#environment-variables
    wanted = environ.get("FORCE_COLOR") or environ.get("TTY_COMPATIBLE") == "1"
    return bool(wanted) or stream.isatty()


def _console(stream: TextIO, environ: Mapping[str, str]) -> Console:
    from rich.console import Console

    return Console(file=stream, soft_wrap=True, markup=False, emoji=False, _environ=environ)
