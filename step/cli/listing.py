"""`binauthz-attest list`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from step.cli import options as opt
from step.cli.attestors import attestor_names
from step.cli.edge import Edge
from step.cli.outcome import unwritable_output, warn_of_emulator
from step.errors import StepError


def list_(
    context: typer.Context,
    images: opt.Images = None,
    attestor: opt.Attestors = None,
    project: opt.Project = None,
    public_key_id: opt.KeyFilter = None,
    format: opt.ResultFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
) -> None:
    """List the attestations of images, or all that are on the attestors' notes, verified or not."""
    from step.events import Failure
    from step.gate import Listed, listing
    from step.model.image import ImageRef
    from step.reporting.console import Terminal
    from step.reporting.report import worst
    from step.reporting.verdicts import listing_document, listing_lines

    edge: Edge = context.obj
    terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
    listed: list[Listed] = []
    failures: list[Failure] = []
    try:
        warn_of_emulator(terminal, edge)
        named: Sequence[ImageRef] = [ImageRef.parse(one) for one in images or ()]
        names = attestor_names(attestor or (), project)
        for one in listing(named, names, edge.connection(), public_key_id or None):
            if isinstance(one, Listed):
                listed.append(one)
            else:
                failures.append(one)
    except StepError as error:
        failures.append(Failure(None, None, error))
    try:
        if format is opt.Format.JSON:
            sys.stdout.write(listing_document(listed, failures))
        else:
            terminal.result(listing_lines(listed))
        sys.stdout.flush()
    except OSError as error:
        failures.append(Failure(None, None, unwritable_output(error)))
    for failure in failures:
        terminal.failure(failure)
    raise typer.Exit(worst(failure.error.exit_code for failure in failures))
