"""`binauthz-attest discover`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import typer

from step.cli.attestors import PROJECT
from step.cli.connection import ConnectionOptions
from step.cli.images import ImageOptions
from step.cli.options import WHO, app_of, option
from step.cli.program import Program
from step.cli.run import Event, FormatOptions, deliver
from step.results.goal import Goal


@dataclass(frozen=True, slots=True)
class ProjectOptions:
    """Whose build an id names."""

    project: str | None = option(WHO, PROJECT, "PROJECT")


def discover(
    context: typer.Context,
    images: ImageOptions,
    run: ConnectionOptions,
    whose: ProjectOptions,
    output: FormatOptions,
) -> None:
    """Show which images would be attested, and each digest's source.

    Changes nothing, and needs no credentials unless a registry or Cloud Build is asked.
    """
    program: Program = context.obj

    def verb() -> Iterator[Event]:
        connection = run.connection(program, run.until(program))
        yield from images.discover(program, connection, whose.project)

    deliver(verb, Goal.DISCOVERED, program, output)


app = app_of(discover)
