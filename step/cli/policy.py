"""`binauthz-attest policy show` and `binauthz-attest policy check`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from step.cli import options as opt
from step.cli import outcome
from step.cli.admission import PlaceChoice, PolicyChoice
from step.cli.groups import grouped
from step.cli.help import Verb
from step.cli.program import Edge
from step.cli.run import RunChoice
from step.cli.streams import require_printed
from step.model.names import AttestorName

if TYPE_CHECKING:
    from step.evaluate import Undecided
    from step.model.admission import Decision

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def _policy() -> None:
    """Show a project's policy, or evaluate it: will this image run?"""


@app.command(cls=Verb)
@grouped
def show(
    context: typer.Context,
    run: RunChoice,
    project: opt.PolicyProject = None,
    policy_file: opt.PolicyFile = None,
    format: opt.ResultFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
) -> None:
    """Show the policy as gcloud exports and imports it, YAML or JSON."""
    from step.results.console import Terminal
    from step.results.decisions import policy_document, policy_yaml

    edge: Edge = context.obj
    terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
    if policy_file is None:
        outcome.warn_of_emulator(terminal, edge)
    found = PolicyChoice(project, policy_file).policy(run.connection(edge, run.until(edge)))
    as_json = format is opt.Format.JSON
    sys.stdout.write(policy_document(found) if as_json else policy_yaml(found))
    require_printed()


@app.command(cls=Verb)
@grouped
def check(
    context: typer.Context,
    images: opt.PodImages,
    policy: PolicyChoice,
    place: PlaceChoice,
    run: RunChoice,
    attestor: opt.ExpectedAttestors = None,
    format: opt.ResultFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
) -> None:
    """Evaluate the policy for images, with every signature verified.

    Changes nothing. Exits with 0 if all are admitted, 3 if one is denied, and another code if it
    could not be told.
    """
    from step.evaluate import Undecided, decide
    from step.model.admission import Decision
    from step.results.console import Terminal
    from step.results.decisions import Evaluation

    edge: Edge = context.obj
    terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
    found: list[Decision | Undecided] = []
    with outcome.telling(lambda error: found.append(Undecided(None, error)), outcome.UNCHANGED):
        outcome.warn_of_emulator(terminal, edge)
        edge.refuse_empty(policy, place)
        expected = tuple(AttestorName.parse(name, policy.project) for name in attestor or ())
        connection = run.connection(edge, run.until(edge))
        judge = policy.judge(place, connection, terminal)
        found.extend(decide(images, judge, connection, expected))
    evaluation = Evaluation(
        tuple(one for one in found if isinstance(one, Decision)),
        tuple(one for one in found if isinstance(one, Undecided)),
    )
    raise typer.Exit(outcome.show(outcome.write_files(evaluation, edge, None), edge, format))
