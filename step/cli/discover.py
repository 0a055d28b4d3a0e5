"""`binauthz-attest discover`."""

from __future__ import annotations

import sys

import typer

from step.cli import options as opt
from step.cli.edge import Edge
from step.cli.images import ImageChoice
from step.cli.outcome import warn_of_emulator
from step.errors import ExitCode, StepError


def discover(
    context: typer.Context,
    images: ImageChoice,
    project: opt.Project = None,
    format: opt.ResultFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
) -> None:
    """Show which images would be attested, and each digest's source.

    Changes nothing, and needs no credentials unless a registry or Cloud Build is asked.
    """
    from step.events import Failure
    from step.reporting.console import Terminal
    from step.reporting.receipts import listing

    edge: Edge = context.obj
    terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
    failures = []
    try:
        warn_of_emulator(terminal, edge)
        discovered = images.discover(edge, edge.connection(), project)
    except StepError as error:
        discovered = ()
        failures = [Failure(None, None, error)]
    if format is opt.Format.JSON:
        sys.stdout.write(listing(discovered, failures))
    else:
        terminal.discovered(discovered)
    for failure in failures:
        terminal.error("", failure.error)
    raise typer.Exit(max((one.error.exit_code for one in failures), default=ExitCode.DONE))
