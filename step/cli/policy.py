"""`binauthz-attest policy show` and `policy check`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import typer

from step.cli.admission import PolicyFileOptions, PolicyOptions, RequestOptions
from step.cli.connection import ConnectionOptions
from step.cli.help import Verb
from step.cli.options import Format, argument, grouped, option
from step.cli.program import Program
from step.cli.run import Event, FormatOptions, deliver
from step.cli.streams import require_printed
from step.model.names import AttestorName
from step.results.goal import Goal

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class PodImageOptions:
    """The images, as a pod names them."""

    images: list[str] = argument(None, "Image as a pod names it: by digest, or by tag.", ...)


@dataclass(frozen=True, slots=True)
class ExpectedOptions:
    """The attestors that the policy should ask."""

    attestor: list[str] | None = option(
        None, "Warn if the rule does not ask for this attestor's attestation. Repeatable.", "NAME"
    )


@app.callback()
def _policy() -> None:
    """Show a project's policy, or evaluate it: will this image run?"""


@app.command(cls=Verb)
@grouped
def show(
    context: typer.Context, run: ConnectionOptions, source: PolicyFileOptions, output: FormatOptions
) -> None:
    """Show the policy as gcloud exports and imports it, YAML or JSON."""
    from step.results.decisions import policy_yaml
    from step.results.document import json_document

    program: Program = context.obj
    if source.policy_file is None:
        program.warn_of_emulator()
    policy = source.policy(run.connection(program, run.until(program)))
    as_json = output.format is Format.JSON
    sys.stdout.write(json_document(policy.to_mapping()) if as_json else policy_yaml(policy))
    require_printed()


@app.command(cls=Verb)
@grouped
def check(
    context: typer.Context,
    images: PodImageOptions,
    policy: PolicyOptions,
    request: RequestOptions,
    run: ConnectionOptions,
    expected: ExpectedOptions,
    output: FormatOptions,
) -> None:
    """Evaluate the policy for images, with every signature verified.

    Changes nothing. Exits with 0 if all are admitted, 3 if one is denied, and another code if it
    could not be told.
    """
    program: Program = context.obj

    def verb() -> Iterator[Event]:
        from step.evaluate import decide

        program.refuse_empty(policy, request)
        names = tuple(AttestorName.parse(name, policy.project) for name in expected.attestor or ())
        connection = run.connection(program, run.until(program))
        admission = policy.admission(request, connection, program)
        yield from decide(images.images, admission, connection, names)

    deliver(verb, Goal.ADMITTED, program, output)
