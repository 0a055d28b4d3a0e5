"""`binauthz-attest policy show` and `binauthz-attest policy check`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from step.cli import options as opt
from step.cli.edge import Edge, read_text
from step.cli.outcome import warn_of_emulator
from step.errors import BadInput, StepError
from step.model.names import AttestorName, ProjectName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from step.cloud.connection import Connection
    from step.evaluate import Undecided
    from step.model.admission import Decision, Request
    from step.model.policy import Policy, SystemPolicy
    from step.reporting.console import Terminal

policy = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@policy.callback()
def _policy() -> None:
    """Show a project's policy, or evaluate it: will this image run?"""


@policy.command()
def show(
    context: typer.Context,
    project: opt.PolicyProject = None,
    policy_file: opt.PolicyFile = None,
    format: opt.OutputFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
) -> None:
    """Show the policy in the form that gcloud exports and imports, as YAML or JSON."""
    from step.reporting.console import Terminal
    from step.reporting.decisions import policy_document, policy_yaml

    edge: Edge = context.obj
    terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
    if policy_file is None:
        warn_of_emulator(terminal, edge)
    found = _read(policy_file, project, edge.connection())
    as_json = format is opt.Format.JSON
    sys.stdout.write(policy_document(found) if as_json else policy_yaml(found))


@policy.command()
def check(
    context: typer.Context,
    images: opt.PodImages,
    project: opt.PolicyProject = None,
    policy_file: opt.PolicyFile = None,
    system_policy_file: opt.SystemPolicyFile = None,
    cluster: opt.Cluster = None,
    namespace: opt.Namespace = None,
    service_account: opt.ServiceAccount = None,
    service_identity: opt.ServiceIdentity = None,
    attestor: opt.ExpectedAttestors = None,
    format: opt.OutputFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
) -> None:
    """Evaluate the policy for images, with every signature verified; changes nothing.

    Exits with 0 if all are admitted, 3 if one is denied, and another code if it could not be told.
    """
    from step.evaluate import Undecided
    from step.model.admission import Decision, Request
    from step.reporting.console import Terminal
    from step.reporting.decisions import decisions_document, exit_code, lines

    edge: Edge = context.obj
    terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
    found: list[Decision | Undecided] = []
    try:
        warn_of_emulator(terminal, edge)
        question = _Question(
            images=images,
            project=project,
            policy_file=policy_file,
            system_policy_file=system_policy_file,
            request=Request.parse(cluster, namespace, service_account, service_identity),
            expected=tuple(AttestorName.parse(name, project) for name in attestor or ()),
        )
        found.extend(question.answers(edge.connection(), terminal))
    except StepError as error:
        found.append(Undecided(None, error))
    decisions = [one for one in found if isinstance(one, Decision)]
    undecided = [one for one in found if isinstance(one, Undecided)]
    if format is opt.Format.JSON:
        sys.stdout.write(decisions_document(decisions, undecided))
    else:
        for decision in decisions:
            terminal.result(lines(decision))
    for one in undecided:
        _tell(terminal, one)
    raise typer.Exit(exit_code(decisions, undecided))


@dataclass(frozen=True, slots=True)
class _Question:
    """What is to be told, of which images."""

    images: Sequence[str]
    project: str | None
    policy_file: str | None
    system_policy_file: str | None
    request: Request
    expected: tuple[AttestorName, ...]

    def answers(self, connection: Connection, terminal: Terminal) -> Iterator[Decision | Undecided]:
        from step.evaluate import decide

        judged_by = _read(self.policy_file, self.project, connection)
        system = self._system(judged_by, connection, terminal)
        return decide(self.images, judged_by, self.request, connection, system, self.expected)

    def _system(
        self, judged_by: Policy, connection: Connection, terminal: Terminal
    ) -> SystemPolicy | None:
        """Google's system policy: from its file, or from the service where the policy is, too."""
        from step.evaluate import system_policy
        from step.model.policy import SystemPolicy

        if self.system_policy_file:
            option = "--system-policy-file"
            return SystemPolicy.parse(read_text(self.system_policy_file, option), option)
        if self.policy_file:  # a policy from a file is judged without asking for another
            return None
        found = system_policy(connection, judged_by)
        if isinstance(found, StepError):
            terminal.warning(f"Google's system policy could not be read: {found.message}")
            return None
        return found


def _read(policy_file: str | None, project: str | None, connection: Connection) -> Policy:
    from step.cloud.policies import Policies
    from step.model.policy import Policy

    if policy_file:
        return Policy.parse(read_text(policy_file, "--policy-file"), "--policy-file")
    if not project:
        raise BadInput("no policy was given", "Give --project PROJECT, or --policy-file PATH.")
    return Policies(connection).get(ProjectName(project))


def _tell(terminal: Terminal, undecided: Undecided) -> None:
    from step.events import Failure

    terminal.failure(Failure(None, None, undecided.error))
    if undecided.image is not None:
        terminal.remark(f"  for: {undecided.image}")
