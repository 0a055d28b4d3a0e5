"""`binauthz-attest gate`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import typer

from step.cli.attestors import AttestorOptions
from step.cli.command import WithCommand, become, command_of
from step.cli.connection import ConnectionOptions
from step.cli.images import ImageOptions
from step.cli.options import HOW, app_of, option
from step.cli.program import Program
from step.cli.run import Asked, Event, OutputOptions, run, show
from step.cli.verify import RequirementOptions, warned
from step.clock import parse_duration
from step.model.image import ImageRef
from step.results.goal import Goal

# What this program may be given as secrets, and no other program may be given by it.
_SECRET = "BINAUTHZ_PGP_"  # noqa: S105 - how the names of variables begin


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """How long a gate waits."""

    timeout: str = option(HOW, "How long to wait for a yes: 90s, 10m or 1h.", "DURATION", "10m")


def gate(
    context: typer.Context,
    images: ImageOptions,
    attestors: AttestorOptions,
    requirement: RequirementOptions,
    limits: ConnectionOptions,
    wait: WaitOptions,
    output: OutputOptions,
) -> None:
    """Wait until images are attested, then become COMMAND, if given.

    COMMAND finds the first image, by digest, in BINAUTHZ_GATED_IMAGE, and all of them, one a line,
    in BINAUTHZ_GATED_IMAGES. It is never run when time runs out or when it could not be asked.
    """
    program: Program = context.obj
    command = command_of(context)

    def verb() -> Iterator[Event]:
        from step.gate import Gate

        program.refuse_empty(requirement)
        own = timedelta.max if limits.deadline is None else limits.until(program).until
        gate = Gate.open(program.clock, parse_duration(wait.timeout, "--timeout"), own)
        required, names = requirement.requirement(), attestors.names()
        if command:
            limits.require_real(program)
        connection = limits.connection(program, gate.deadline)
        with gate.saying_no():
            discovered = images.discover(program, connection, attestors.default_project)
        yield Asked(discovered, names)
        references = [each.image for each in discovered]
        yield from warned(program, gate.answers(references, names, connection, required))

    result = run(verb, Goal.VERIFIED, program, output)
    passed = not result.exit_code
    # What passed leaves standard output to the command.
    code = show(result, program, output, sys.stderr if command and passed else None)
    if not command or not passed or code:
        raise typer.Exit(code)
    become(command, _told(result.images, program.environ))


app = app_of(gate, WithCommand)


def _told(images: Sequence[ImageRef], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command that is told the images.

    The variables that may hold this program's own secrets are not passed on.
    """
    by_digest = list(dict.fromkeys(map(str, images)))
    passed_on = {name: value for name, value in environ.items() if not name.startswith(_SECRET)}
    passed_on["BINAUTHZ_GATED_IMAGE"] = by_digest[0]
    passed_on["BINAUTHZ_GATED_IMAGES"] = "\n".join(by_digest)
    return passed_on
