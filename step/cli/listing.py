"""`binauthz-attest list`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from step.cli import options as opt
from step.cli.attestors import AttestorChoice
from step.cli.groups import app_of
from step.cli.outcome import UNCHANGED, show, telling, warn_of_emulator
from step.cli.program import Edge
from step.cli.run import RunChoice
from step.errors import NotFound
from step.model.names import AttestorName, ProjectName

if TYPE_CHECKING:
    from step.cloud.connection import Connection


def list_(
    context: typer.Context,
    attestors: AttestorChoice,
    run: RunChoice,
    images: opt.Images = None,
    public_key_id: opt.KeyFilter = None,
    format: opt.ResultFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
) -> None:
    """List attestations of images, or all on the attestors' notes.

    Each is shown with whether it verifies, or why not. With --public-key-id and --project alone,
    those of every attestor that lists the key.
    """
    from step import gate
    from step.events import Failure
    from step.gate import Listed
    from step.model.image import ImageRef
    from step.results.console import Terminal
    from step.results.verdicts import listing

    edge: Edge = context.obj
    terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
    listed: list[Listed] = []
    failures: list[Failure] = []
    with telling(lambda error: failures.append(Failure(None, None, error)), UNCHANGED):
        warn_of_emulator(terminal, edge)
        named: Sequence[ImageRef] = [ImageRef.parse(one) for one in images or ()]
        connection = run.connection(edge, run.until(edge))
        project = attestors.default_project
        if public_key_id and project and not attestors.attestor:
            names = _with_key(connection, ProjectName(project), public_key_id)
        else:
            names = attestors.names()
        for one in gate.listing(named, names, connection, public_key_id or None):
            if isinstance(one, Listed):
                listed.append(one)
            else:
                failures.append(one)
    if not listed and not failures:
        terminal.remark("no attestation was found")
    raise typer.Exit(show(listing(listed, failures), edge, format))


app = app_of(list_)


def _with_key(
    connection: Connection, project: ProjectName, key_id: str
) -> tuple[AttestorName, ...]:
    from step.cloud.attestors import Attestors

    names = tuple(Attestors(connection).with_key(project, key_id))
    if not names:
        raise NotFound(
            f"no attestor of {project} lists the key {key_id}",
            "The id is as attestors have it: gcloud container binauthz attestors describe.",
        )
    return names
