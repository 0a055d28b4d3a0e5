"""From events to everything that leaves: lines, JSON, files, and the exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, TypeVar

from step import __version__
from step.cli.options import Format
from step.cli.program import Edge
from step.cli.streams import lost
from step.errors import Interrupted, StepError
from step.model.image import ImageRef
from step.model.names import AttestorName

if TYPE_CHECKING:
    from step.attest import Event, Receipt
    from step.discovery.record import Discovered
    from step.events import Failure, Passed
    from step.model.admission import Decision
    from step.results.console import Terminal
    from step.results.report import Report
    from step.results.result import Answer, Result

R = TypeVar("R", bound="Result")

# What a shell reports for a program that Ctrl-C ended.
INTERRUPTED = 130
# What running again does after an interrupt.
_REUSED = "Run again: what was done by then is reused."
UNCHANGED = "Run again; nothing was changed."


@dataclass(frozen=True, slots=True)
class Work:
    """Events on their way, and the images and attestors in the order they were named.

    Without attestors, the images are checked and not attested.
    """

    discovered: Sequence[Discovered]
    attestors: Sequence[AttestorName]
    events: Iterator[Event]

    @property
    def images(self) -> list[ImageRef]:
        """The images, without where they came from."""
        return [one.image for one in self.discovered]

    def place(self, found: Receipt | Failure) -> tuple[int, int]:
        """Where a result belongs; results come in the order in which they end."""
        image, attestor = found.image, found.attestor
        return (
            self.images.index(image) if image else -1,
            self.attestors.index(attestor) if attestor else -1,
        )


def deliver(
    start: Callable[[Terminal], Work],
    edge: Edge,
    shown_as: Format,
    output_file: str | None = None,
) -> int:
    """Do the work, show it as it goes, and hand over the result in every way that is asked for.

    Returns the exit code. An error before or after the work is a result like any other: standard
    output holds one JSON object with `--format json` whatever happened.
    """
    from step.discovery.environment import Environment
    from step.results.console import Terminal

    terminal = Terminal(sys.stdout, sys.stderr, edge.environ)

    def begin() -> Work:
        prepare(terminal, edge, output_file)
        return start(terminal)

    build = Environment.detect(edge.environ).build
    report = write_files(_watch(begin, terminal, build), edge, output_file)
    return show(report, edge, shown_as)


def prepare(terminal: Terminal, edge: Edge, output_file: str | None) -> None:
    """What comes before any work: raises BadInput for a file that could not be written after it.

    Says that nothing is real, where an emulator is used.
    """
    from step.results.files import require_writable

    warn_of_emulator(terminal, edge)
    if output_file:  # better known before anything is created than after
        require_writable(output_file)


def write_files(result: R, edge: Edge, output_file: str | None) -> R:
    """Write the files that others read; one that cannot be written is an error of the result.

    It must hide the result neither from the other files nor from the eye.
    """
    from step.results.result import document

    emulator = edge.uses_emulator
    writers: list[Callable[[R], None]] = []
    if edge.environ.keys() & {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"}:
        from step.results import github

        writers.append(lambda result: github.publish(result, edge.environ, emulator=emulator))
    if "BUILDER_OUTPUT" in edge.environ:
        from step.results import cloudbuild

        writers.append(lambda result: cloudbuild.publish(result, edge.environ, emulator=emulator))
    if output_file:
        from step.results.files import write_whole

        writers.append(lambda result: write_whole(output_file, document(result, emulator=emulator)))
    for write in writers:
        try:
            write(result)
        except StepError as error:
            if error.message not in {known.message for _, known in result.errors()}:
                result = result.with_error(error)
    return result


def show(result: Answer, edge: Edge, shown_as: Format, stream: TextIO | None = None) -> int:
    """Print the result, on standard output unless said otherwise, and return the exit code."""
    from step.results.console import Terminal
    from step.results.result import document

    out = stream or sys.stdout
    terminal = Terminal(out, sys.stderr, edge.environ)
    before = lost(out)
    if shown_as is Format.JSON:
        out.write(document(result, emulator=edge.uses_emulator))
    else:
        terminal.result(result.lines())
    if before is None and (error := lost(out)) is not None:  # the exit code stays that of the work
        terminal.warning(f"standard output cannot be written: {error.strerror}")
    if edge.on_github:
        from step.results import github

        sys.stderr.write(github.annotate(result))
    else:
        for about, wrong in result.errors():
            terminal.error(about, wrong)
    if any(isinstance(error, Interrupted) for _, error in result.errors()):
        return INTERRUPTED
    return int(result.exit_code)


def warn_of_emulator(terminal: Terminal, edge: Edge) -> None:
    """Say that nothing is real, where an emulator is used; raises BadInput for a bad address."""
    if not edge.emulator:
        return
    told = f"everything goes to the emulator at {edge.emulator}, not to Google Cloud"
    warn(terminal, edge, told)


def warn(terminal: Terminal, edge: Edge, text: str) -> None:
    """Show a warning, on GitHub as an annotation."""
    if edge.on_github:
        from step.results import github

        sys.stderr.write(github.warning(text))
    else:
        terminal.warning(text)


def bug(error: Exception) -> StepError:
    """A bug as an error like any other, after showing where it is.

    The exception's text is not shown: nobody has looked at what it holds.
    """
    sys.stderr.write("".join(traceback.format_tb(error.__traceback__)))
    return StepError(
        f"{type(error).__name__}: this is a bug in binauthz-attest",
        "Please report it, with the lines above.",
    )


@contextmanager
def telling(tell: Callable[[StepError], object], again: str) -> Iterator[None]:
    """Hand over whatever ends the work as an error like any other: what was done is told too.

    `again` says, after an interrupt, what running again does.
    """
    try:
        yield
    except StepError as error:
        tell(error)
    except KeyboardInterrupt:
        tell(Interrupted("interrupted", again))
    except Exception as error:  # noqa: BLE001 - no bug may hide a result, or look like a yes
        tell(bug(error))


def _watch(start: Callable[[], Work], terminal: Terminal, build: str | None) -> Report:
    from step.events import Failure, Progress

    results: list[Passed | Receipt | Decision | Failure] = []
    work = Work((), (), iter(()))
    with telling(lambda error: results.append(Failure(None, None, error)), _REUSED):
        work = start()
        several = len(work.images) * max(len(work.attestors), 1) > 1
        whom = f" for {_named(work.attestors)}" if work.attestors else ""
        terminal.remark(f"{'attesting' if whom else 'checking'} {_named(work.images)}{whom}")
        for source in dict.fromkeys(one.origin.source for one in work.discovered):
            terminal.remark(f"digest from {source}")
        for event in work.events:
            if isinstance(event, Progress):
                terminal.progress(event, which=several)
            else:
                results.append(event)
    return _report(work, results, build)


def _report(
    work: Work, results: Sequence[Passed | Receipt | Decision | Failure], build: str | None
) -> Report:
    from step.attest import Receipt
    from step.events import Failure, Passed
    from step.results.report import Report

    return Report(
        receipts=tuple(
            sorted((one for one in results if isinstance(one, Receipt)), key=work.place)
        ),
        failures=tuple(
            sorted((one for one in results if isinstance(one, Failure)), key=work.place)
        ),
        build=build,
        version=__version__,
        discovered=tuple(work.discovered),
        passed=tuple(one for one in results if isinstance(one, Passed)),
        decisions=tuple(one for one in results if not isinstance(one, Receipt | Failure | Passed)),
    )


def _named(things: Sequence[ImageRef] | Sequence[AttestorName]) -> str:
    if len(things) == 1:
        return str(things[0])
    return f"{len(things)} {'images' if isinstance(things[0], ImageRef) else 'attestors'}"
