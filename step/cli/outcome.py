"""From events to everything that leaves: lines, JSON, files, and the exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from step import __version__
from step.cli.edge import Edge
from step.cli.options import Format
from step.errors import BadInput, Interrupted, StepError
from step.model.image import ImageRef
from step.model.names import AttestorName

if TYPE_CHECKING:
    from step.attest import Event, Receipt
    from step.discovery.record import Discovered
    from step.events import Failure
    from step.reporting.console import Terminal
    from step.reporting.report import Report

# What a shell reports for a program that Ctrl-C ended.
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Work:
    """Events on their way, and the images and attestors in the order they were named."""

    discovered: Sequence[Discovered]
    attestors: Sequence[AttestorName]
    events: Iterator[Event]

    @property
    def images(self) -> list[ImageRef]:
        """The images, without where they came from."""
        return [one.image for one in self.discovered]

    def place(self, found: Receipt | Failure) -> tuple[int, int]:
        """Where a result belongs; results come in the order in which they end."""
        if found.image is None or found.attestor is None:
            return -1, -1
        return self.images.index(found.image), self.attestors.index(found.attestor)


def deliver(
    start: Callable[[], Work], edge: Edge, shown_as: Format, output_file: str | None = None
) -> int:
    """Do the work, show it as it goes, and hand over the result in every way that is asked for.

    Returns the exit code. An error before or after the work is a result like any other: standard
    output holds one JSON object with `--format json` whatever happened.
    """
    from step.discovery.environment import Ci, Environment
    from step.reporting import github
    from step.reporting.console import Terminal
    from step.reporting.files import require_writable
    from step.reporting.receipts import document

    terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
    environment = Environment.detect(edge.environ)

    def begin() -> Work:
        warn_of_emulator(terminal, edge)
        if output_file:  # better known before anything is created than after
            require_writable(output_file)
        return start()

    report = _write(_watch(begin, terminal, environment.build), edge, output_file)
    try:
        if shown_as is Format.JSON:
            sys.stdout.write(document(report))
        else:
            terminal.receipts(report)
        sys.stdout.flush()
    except OSError as error:
        report = _with(report, unwritable_output(error))
    if environment.ci is Ci.GITHUB:
        sys.stderr.write(github.annotate(report))
    else:
        terminal.errors(report)
    if any(isinstance(failure.error, Interrupted) for failure in report.failures):
        return INTERRUPTED
    return int(report.exit_code)


def unwritable_output(error: OSError) -> BadInput:
    """The error for a standard output that is full or closed, which is not written to again."""
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - else tried again at the end
    return BadInput(
        f"standard output cannot be written: {error.strerror}",
        "Send it elsewhere; a verb that has --output-file writes its result to a file.",
    )


def warn_of_emulator(terminal: Terminal, edge: Edge) -> None:
    """Say that nothing is real, where an emulator is used; raises BadInput for a bad address."""
    if edge.emulator:
        terminal.warning(f"everything goes to the emulator at {edge.emulator}, not to Google Cloud")


def bug(error: Exception) -> StepError:
    """A bug as an error like any other, after showing where it is.

    The exception's text is not shown: nobody has looked at what it holds.
    """
    sys.stderr.write("".join(traceback.format_tb(error.__traceback__)))
    return StepError(
        f"{type(error).__name__}: this is a bug in binauthz-attest",
        "Please report it, with the lines above.",
    )


def _watch(start: Callable[[], Work], terminal: Terminal, build: str | None) -> Report:
    from step.attest import Receipt
    from step.events import Failure, Progress
    from step.reporting.report import Report

    receipts: list[Receipt] = []
    failures: list[Failure] = []
    discovered: tuple[Discovered, ...] = ()
    try:
        work = start()
        discovered = tuple(work.discovered)
        several = len(work.images) * len(work.attestors) > 1
        terminal.remark(f"attesting {_named(work.images)} for {_named(work.attestors)}")
        for source in dict.fromkeys(one.origin.source for one in work.discovered):
            terminal.remark(f"digest from {source}")
        for event in work.events:
            match event:
                case Progress():
                    terminal.progress(event, which=several)
                case Receipt():
                    receipts.append(event)
                case Failure():
                    failures.append(event)
        receipts.sort(key=work.place)
        failures.sort(key=work.place)
    except StepError as error:
        failures.append(Failure(None, None, error))
    except KeyboardInterrupt:
        ended = Interrupted("interrupted", "Run again: what was done by then is reused.")
        failures.append(Failure(None, None, ended))
    except Exception as error:  # noqa: BLE001 - what was done must be told all the same
        failures.append(Failure(None, None, bug(error)))
    return Report(tuple(receipts), tuple(failures), build, __version__, discovered)


def _named(things: Sequence[ImageRef] | Sequence[AttestorName]) -> str:
    if len(things) == 1:
        return str(things[0])
    return f"{len(things)} {'images' if isinstance(things[0], ImageRef) else 'attestors'}"


def _write(report: Report, edge: Edge, output_file: str | None) -> Report:
    """Write the files that others read; one that cannot be written is a failure of the report.

    It must hide the result neither from the other files nor from the eye.
    """
    from step.reporting import cloudbuild, github
    from step.reporting.files import write_whole
    from step.reporting.receipts import document

    writers: list[Callable[[Report], None]] = [
        lambda report: github.publish(report, edge.environ),
        lambda report: cloudbuild.publish(report, edge.environ),
    ]
    if output_file:
        writers.append(lambda report: write_whole(output_file, document(report)))
    for write in writers:
        try:
            write(report)
        except StepError as error:
            if error.message not in {failure.error.message for failure in report.failures}:
                report = _with(report, error)
    return report


def _with(report: Report, error: StepError) -> Report:
    from step.events import Failure

    return replace(report, failures=(*report.failures, Failure(None, None, error)))
