"""`binauthz-attest list`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from step.cli.attestors import AttestorOptions
from step.cli.connection import ConnectionOptions
from step.cli.images import REFERENCE
from step.cli.options import HOW, WHAT, app_of, argument, option
from step.cli.program import Program
from step.cli.run import Event, FormatOptions, deliver
from step.errors import NotFound
from step.model.names import AttestorName, ProjectName
from step.results.goal import Goal

if TYPE_CHECKING:
    from step.cloud.connection import Connection


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What the options say of what to list."""

    images: list[str] | None = argument(WHAT, REFERENCE)
    public_key_id: str | None = option(HOW, "Only attestations that claim to be by this key.", "ID")


def list_(
    context: typer.Context,
    attestors: AttestorOptions,
    run: ConnectionOptions,
    which: ListOptions,
    output: FormatOptions,
) -> None:
    """List attestations of images, or all on the attestors' notes.

    Each is shown with whether it verifies, or why not. With --public-key-id and --project alone,
    those of every attestor that lists the key.
    """
    program: Program = context.obj

    def verb() -> Iterator[Event]:
        from step.listing import listing
        from step.model.image import ImageRef

        images = [ImageRef.parse(text) for text in which.images or ()]
        connection = run.connection(program, run.until(program))
        project, key_id = attestors.default_project, which.public_key_id
        if key_id and project and not attestors.attestor:
            names = _with_key(connection, ProjectName(project), key_id)
        else:
            names = attestors.names()
        is_empty = True
        for event in listing(images, names, connection, key_id or None):
            is_empty = False
            yield event
        if is_empty:
            program.terminal.remark("no attestation was found")

    deliver(verb, Goal.LISTED, program, output)


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
