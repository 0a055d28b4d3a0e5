"""`binauthz-attest attest`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from step.cli import options as opt
from step.cli.admission import PlaceChoice, PolicyChoice
from step.cli.attestors import AttestorChoice
from step.cli.checks import CheckChoice
from step.cli.groups import app_of
from step.cli.images import ImageChoice
from step.cli.keys import KeyChoice
from step.cli.outcome import Work, deliver
from step.cli.program import Edge
from step.cli.run import RunChoice
from step.clock import parse_duration
from step.errors import BadInput
from step.model.names import AttestorName, ProjectName

if TYPE_CHECKING:
    from step.attest import Terms
    from step.results.console import Terminal


@dataclass(frozen=True, slots=True)
class Manner:
    """What the options say of how to attest."""

    attestation_project: opt.AttestationProject = None
    wait: opt.Wait = True
    timeout: opt.Timeout = "2m"
    validate: opt.Validate = True
    dry_run: opt.DryRun = False


@dataclass(frozen=True, slots=True)
class AdmissionChoice:
    """What the options say of the policy that is to admit what was attested."""

    policy_check: opt.PolicyCheck = False
    policy_project: opt.JudgingProject = None
    distinct_keys: opt.DistinctKeys = False


def attest(
    context: typer.Context,
    images: ImageChoice,
    attestors: AttestorChoice,
    key: KeyChoice,
    conditions: CheckChoice,
    manner: Manner,
    admission: AdmissionChoice,
    place: PlaceChoice,
    run: RunChoice,
    format: opt.OutputFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
    output_file: opt.OutputFile = None,
) -> None:
    """Sign and create attestations, and wait until they can be read.

    An attestation that does not verify is never created. What is attested already is reused. Every
    option also reads BINAUTHZ_<NAME> and, as the input of an action, INPUT_<NAME>.
    """
    edge: Edge = context.obj
    request = _Request(images, attestors, key, conditions, manner, admission, place, run)
    raise typer.Exit(
        deliver(lambda terminal: request.work(edge, terminal), edge, format, output_file)
    )


app = app_of(attest)


@dataclass(frozen=True, slots=True)
class _Request:
    """The options, as they were given."""

    images: ImageChoice
    attestors: AttestorChoice
    key: KeyChoice
    conditions: CheckChoice
    manner: Manner
    admission: AdmissionChoice
    place: PlaceChoice
    run: RunChoice

    def work(self, edge: Edge, terminal: Terminal) -> Work:
        """What attesting brings, and the order to show it in; raises BadInput before any call."""
        from step.attest import attest

        project, only = self.attestors.default_project, self.conditions.check_only
        terms = self._terms()
        edge.refuse_empty(self.conditions, self.manner, self.admission, self.place)
        checks = self.conditions.checks(self.images.build_name(edge, project))
        names = () if only else self.attestors.names()
        policy = self._policy(names)
        waits = (terms.wait or timedelta(0)) + self.conditions.wait
        connection = self.run.connection(edge, self.run.until(edge, waits))
        elsewhere = bool(self.key.signature_file)
        discovered = self.images.discover(edge, connection, project, only_one=elsewhere)
        images = [one.image for one in discovered]
        if only:
            from step.preconditions import check

            return Work(discovered, names, check(images, checks, connection))
        if elsewhere and len(names) > 1:
            raise BadInput(
                "one signature is given for several attestors",
                "A signature made elsewhere names one key; run once for each attestor.",
            )
        signer = self.key.signer(edge, connection)
        judge = policy.judge(self.place, connection, terminal) if policy else None
        terms = replace(terms, checks=checks, judge=judge)
        return Work(discovered, names, attest(images, names, signer, connection, terms))

    def _terms(self) -> Terms:
        from step.attest import Terms

        payload, manner = self.key.payload(), self.manner
        timeout = parse_duration(manner.timeout, "--timeout")
        return Terms(
            project=ProjectName(manner.attestation_project) if manner.attestation_project else None,
            payload=payload,
            validate=manner.validate,
            wait=timeout if manner.wait else None,
            dry_run=manner.dry_run,
        )

    def _policy(self, attestors: Sequence[AttestorName]) -> PolicyChoice | None:
        """The policy to evaluate in the end; raises BadInput where that would tell nothing."""
        project = self.admission.policy_project
        if not self.admission.policy_check:
            if project or self.place != PlaceChoice():
                raise BadInput(
                    "it is said where the images are to run, and no policy is to be evaluated",
                    "Give --policy-check, too.",
                )
            if self.admission.distinct_keys:
                raise BadInput(
                    "--distinct-keys has no effect without --policy-check",
                    "It is about what the policy's attestors count; give --policy-check, too.",
                )
            return None
        if self.manner.dry_run or self.conditions.check_only or not self.manner.wait:
            raise BadInput(
                "--policy-check is given where nothing is created, or nothing is waited for",
                "The policy asks for attestations that can be read; leave out --dry-run, "
                "--check-only and --no-wait.",
            )
        projects = {name.project for name in attestors}
        if project is None and len(projects) > 1:
            raise BadInput(
                "the attestors are of several projects, whose policies differ",
                "Say whose policy is to be evaluated: --policy-project PROJECT.",
            )
        return PolicyChoice(project or projects.pop(), distinct_keys=self.admission.distinct_keys)
