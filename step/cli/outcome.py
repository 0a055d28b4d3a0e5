"""From events to everything that leaves: lines, JSON, files, and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from step import __version__
from step.cli.edge import Edge
from step.cli.options import Format
from step.errors import StepError
from step.model.image import ImageRef
from step.model.names import AttestorName

if TYPE_CHECKING:
    from step.attest import Event, Failure, Receipt
    from step.reporting.console import Terminal
    from step.reporting.report import Report


@dataclass(frozen=True, slots=True)
class Work:
    """Events on their way, and the images and attestors in the order they were named."""

    images: Sequence[ImageRef]
    attestors: Sequence[AttestorName]
    events: Iterator[Event]

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
    from step.reporting.receipts import document
    from step.reporting.report import Report

    terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
    if edge.emulator:
        terminal.warning(f"everything goes to the emulator at {edge.emulator}, not to Google Cloud")
    environment = Environment.detect(edge.environ)
    receipts, failures = _watch(start, terminal)
    report = Report(receipts, failures, environment.build, __version__)
    report = _write(report, edge, output_file)
    if shown_as is Format.JSON:
        sys.stdout.write(document(report))
    else:
        terminal.receipts(report)
    if environment.ci is Ci.GITHUB:
        sys.stderr.write(github.annotate(report))
    else:
        terminal.errors(report)
    sys.stdout.flush()
    return int(report.exit_code)


def _watch(
    start: Callable[[], Work], terminal: Terminal
) -> tuple[tuple[Receipt, ...], tuple[Failure, ...]]:
    from step.attest import Failure, Progress, Receipt

    receipts: list[Receipt] = []
    failures: list[Failure] = []
    try:
        work = start()
        several = len(work.images) * len(work.attestors) > 1
        terminal.remark(f"attesting {_named(work.images)} for {_named(work.attestors)}")
        for event in work.events:
            match event:
                case Progress():
                    terminal.progress(event, which=several)
                case Receipt():
                    receipts.append(event)
                case Failure():
                    failures.append(event)
    except StepError as error:
        return tuple(receipts), (*failures, Failure(None, None, error))
    return tuple(sorted(receipts, key=work.place)), tuple(sorted(failures, key=work.place))


def _named(things: Sequence[ImageRef] | Sequence[AttestorName]) -> str:
    if len(things) == 1:
        return str(things[0])
    return f"{len(things)} {'images' if isinstance(things[0], ImageRef) else 'attestors'}"


def _write(report: Report, edge: Edge, output_file: str | None) -> Report:
    """Write the files that others read; one that cannot be written is a failure of the report.

    It must hide the result neither from the other files nor from the eye.
    """
    from step.attest import Failure
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
            failures = (*report.failures, Failure(None, None, error))
            report = replace(report, failures=failures)
    return report
