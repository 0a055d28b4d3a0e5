"""`binauthz-attest discover`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from step.cli import options as opt
from step.cli.groups import app_of
from step.cli.images import ImageChoice
from step.cli.outcome import UNCHANGED, show, telling, warn_of_emulator
from step.cli.program import Edge
from step.cli.run import RunChoice

if TYPE_CHECKING:
    from step.discovery.record import Discovered


def discover(
    context: typer.Context,
    images: ImageChoice,
    run: RunChoice,
    project: opt.Project = None,
    format: opt.ResultFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
) -> None:
    """Show which images would be attested, and each digest's source.

    Changes nothing, and needs no credentials unless a registry or Cloud Build is asked.
    """
    from step.events import Failure
    from step.results.console import Terminal
    from step.results.receipts import discovery

    edge: Edge = context.obj
    terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
    discovered: tuple[Discovered, ...] = ()
    failures: list[Failure] = []
    with telling(lambda error: failures.append(Failure(None, None, error)), UNCHANGED):
        warn_of_emulator(terminal, edge)
        connection = run.connection(edge, run.until(edge))
        discovered = images.discover(edge, connection, project)
    raise typer.Exit(show(discovery(discovered, failures), edge, format))


app = app_of(discover)
