"""The one way from options to exit code: collect, run, result, write, exit."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeAlias

import typer

from step.cli.options import OUT, Format, option
from step.cli.program import Program
from step.cli.streams import lost
from step.errors import Interrupted, StepError
from step.results.goal import Goal

if TYPE_CHECKING:
    from step.discovery.record import Discovered
    from step.events import Failure, Progress
    from step.model.names import AttestorName
    from step.results.result import Result, Row

# What a shell reports for a program that Ctrl-C ended.
INTERRUPTED = 130
RECEIPTS = "Where receipts go as JSON lines: a file, a folder, or gs://BUCKET/PATH."


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """How the result is printed."""

    format: Format = option(OUT, "Form of the result on standard output.", "text|json", Format.TEXT)


@dataclass(frozen=True, slots=True)
class OutputOptions(FormatOptions):
    """How the result is printed, and where else it goes."""

    output_file: str | None = option(OUT, "File for the result as JSON.", "PATH")


@dataclass(frozen=True, slots=True)
class ReceiptOptions(OutputOptions):
    """The same, and where receipts go."""

    receipts: str | None = option(OUT, RECEIPTS, "PATH")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a verb was asked, once that is known: it is the order to show results in."""

    images: Sequence[Discovered]
    attestors: Sequence[AttestorName] = ()


Event: TypeAlias = "Asked | Progress | Failure | Row"


def run(
    verb: Callable[[], Iterator[Event]], goal: Goal, program: Program, output: FormatOptions
) -> Result:
    """Do what a verb does, show its progress, and write the files that others read.

    Whatever ends the work is a failure in the result like any other: what was done is told too.
    """
    from step.events import Failure, Progress
    from step.results.result import Result

    rows: list[Row] = []
    failures: list[Failure] = []
    asked = Asked(())
    path = output.output_file if isinstance(output, OutputOptions) else None
    creates = goal in (Goal.ATTESTED, Goal.REATTESTED)
    again = "what was done by then is reused" if creates else "nothing was changed"
    with _ended_by_failure(failures, f"Run again: {again}."):
        program.warn_of_emulator()
        if path:  # better known before anything is created than after
            from step.results.files import require_writable

            require_writable(path)
        for event in verb():
            match event:
                case Asked():
                    asked = event
                case Progress():
                    several = len(asked.images) * max(len(asked.attestors), 1) > 1
                    program.terminal.progress(event, which=several)
                case Failure():
                    failures.append(event)
                case row:
                    rows.append(row)
    order = _order(asked, rows)
    result = Result(
        goal,
        tuple(sorted(rows, key=order)),
        tuple(sorted(failures, key=order)),
        program.environment.build,
        {discovered.image: discovered.origin for discovered in asked.images},
        program.uses_emulator,
    )
    receipts = output.receipts if isinstance(output, ReceiptOptions) else None
    return _written(result, program, path, receipts)


def deliver(
    verb: Callable[[], Iterator[Event]], goal: Goal, program: Program, output: FormatOptions
) -> NoReturn:
    """Do what a verb does, hand over the result in every way that is asked for, and exit."""
    raise typer.Exit(show(run(verb, goal, program, output), program, output))


def show(
    result: Result, program: Program, output: FormatOptions, stream: TextIO | None = None
) -> int:
    """Print the result, on standard output unless said otherwise, and return the exit code."""
    from step.results.console import Terminal
    from step.results.document import document

    out = stream or sys.stdout
    terminal = Terminal(out, sys.stderr, program.environ)
    before = lost(out)
    if output.format is Format.JSON:
        out.write(document(result))
    else:
        terminal.result(result)
    if before is None and (error := lost(out)) is not None:  # the exit code stays that of the work
        terminal.warning(f"standard output cannot be written: {error.strerror}")
    if program.on_github:
        from step.results import github

        sys.stderr.write(github.annotate(result))
    else:
        terminal.errors(result)
    if any(isinstance(failure.error, Interrupted) for failure in result.failures):
        return INTERRUPTED
    return int(result.exit_code)


def bug(error: Exception) -> StepError:
    """A bug as an error like any other, after showing where it is.

    The exception's text is not shown: nobody has looked at what it holds.
    """
    sys.stderr.write("".join(traceback.format_tb(error.__traceback__)))
    return StepError(
        f"{type(error).__name__}: this is a bug in binauthz-attest",
        "Please report it, with the lines above.",
    )


def refuse(error: StepError, goal: Goal, program: Program, output: FormatOptions) -> int:
    """Hand over an error that came before there was anything to run."""
    from step.events import Failure
    from step.results.result import Result

    result = Result(
        goal,
        failures=(Failure(None, None, error),),
        build=program.environment.build,
        emulator=program.uses_emulator,
    )
    return show(_written(result, program, None), program, output)


def _written(
    result: Result, program: Program, path: str | None, receipts: str | None = None
) -> Result:
    """Write the files that others read; one that cannot be written is a failure of the result.

    It must hide the result neither from the other files nor from the eye.
    """
    writers: list[Callable[[Result], None]] = []
    if result.goal.is_gone_by:
        if program.environ.keys() & {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"}:
            from step.results import github

            writers.append(lambda result: github.publish(result, program.environ))
        if "BUILDER_OUTPUT" in program.environ:
            from step.results import cloudbuild

            writers.append(lambda result: cloudbuild.publish(result, program.environ))
    if path:
        from step.results.document import document
        from step.results.files import write_whole

        writers.append(lambda result: write_whole(path, document(result)))
    if receipts:
        from step.results.receipt_lines import write_receipts

        connection = program.storage_connection
        now = program.clock.now()
        writers.append(lambda result: write_receipts(receipts, result, connection, now))
    for write in writers:
        try:
            write(result)
        except StepError as error:
            if error.message not in {failure.error.message for failure in result.failures}:
                result = result.with_error(error)
    return result


def _order(asked: Asked, rows: Sequence[Row]) -> Callable[[Any], tuple[int, int, int]]:
    """Where a row or failure belongs; they come in the order in which they end.

    Rows of a kind stay together, in the order of images and then attestors as they were asked for.
    """
    kinds = {kind: index for index, kind in enumerate(dict.fromkeys(map(type, rows)))}
    images: dict[object, int] = {}
    for index, discovered in enumerate(asked.images):
        images.setdefault(discovered.image, index)
    attestors: dict[object, int] = {name: index for index, name in enumerate(asked.attestors)}

    def rank(row: Any) -> tuple[int, int, int]:
        image, attestor = getattr(row, "image", None), getattr(row, "attestor", None)
        return kinds.get(type(row), 0), images.get(image, -1), attestors.get(attestor, -1)

    return rank


@contextmanager
def _ended_by_failure(failures: list[Failure], again: str) -> Iterator[None]:
    """Take whatever ends the work as a failure; `again` is what to do after an interrupt."""
    from step.events import Failure

    try:
        yield
    except StepError as error:
        failures.append(Failure(None, None, error))
    except KeyboardInterrupt:
        failures.append(Failure(None, None, Interrupted("interrupted", again)))
    except Exception as error:  # noqa: BLE001 - no bug may hide a result, or look like a yes
        failures.append(Failure(None, None, bug(error)))
