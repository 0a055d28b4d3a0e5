"""What a person reads: receipts on standard output, progress and errors on standard error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TextIO

from rich.console import Console
from rich.text import Text

from step.clock import show_duration
from step.errors import StepError
from step.events import Progress
from step.model.image import ImageRef
from step.reporting.text import ascii_line, one_line

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
        self._out = _console(out, environ)
        self._err = _console(err, environ)

    def result(self, lines: Iterable[tuple[str, str]]) -> None:
        """Show labels, ours, and texts, anybody's, on standard output."""
        for label, text in lines:
            _show(self._out, label, text, _LABELS.get(label, ""))

    def progress(self, progress: Progress, *, which: bool) -> None:
        """Show what is being done, and how much of the time allowed it has taken.

        `which` says for which image and attestor, in short, where there are several.
        """
        time = ""
        if progress.elapsed is not None:
            limit = "" if progress.limit is None else f" of {show_duration(progress.limit)}"
            time = f" ({show_duration(progress.elapsed)}{limit})"
        about = ""
        if which:
            whom = "" if progress.attestor is None else f" for {progress.attestor.id}"
            about = f"{_short(progress.image)}{whom}: "
        _show(self._err, "", f"{about}{progress.doing}{time}", "dim")

    def remark(self, text: str) -> None:
        """Show a line on standard error."""
        _show(self._err, "", text)

    def warning(self, text: str) -> None:
        """Show `warning: …` on standard error."""
        _show(self._err, "warning: ", text, "yellow")

    def error(self, about: str, error: StepError) -> None:
        """Show `error: …`, what it is about, if anything, and `hint: …` on standard error."""
        _show(self._err, "error: ", error.message, "bold red")
        if about:
            _show(self._err, "  for: ", about)
        if error.hint:
            _show(self._err, "  hint: ", error.hint)


def _short(image: ImageRef) -> str:
    """Enough of an image to tell it from its neighbours; never to be copied."""
    return f"{image.name.repository.rpartition('/')[2]}@{str(image.digest)[:19]}…"


def _console(stream: TextIO, environ: Mapping[str, str]) -> Console:
    return Console(file=stream, soft_wrap=True, markup=False, emoji=False, _environ=environ)


def _show(console: Console, label: str, text: str, style: str = "") -> None:
    rich_text = console.is_terminal and console.encoding.startswith("utf")
    shown = one_line(text) if rich_text else ascii_line(text)
    console.print(Text.assemble((label, style), (shown, style if not label else "")))
