"""`binauthz-attest attest`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from step.cli.admission import PolicyOptions, RequestOptions
from step.cli.attestors import AttestorOptions
from step.cli.checks import CheckOptions
from step.cli.connection import ConnectionOptions
from step.cli.images import ImageOptions
from step.cli.keys import KeyOptions
from step.cli.options import DISTINCT_KEYS, HOW, WHERE, WHO, app_of, given_of, no_effect, option
from step.cli.program import Program
from step.cli.run import Asked, Event, ReceiptOptions, deliver
from step.clock import parse_duration
from step.errors import BadInput
from step.model.image import ImageRef
from step.model.names import AttestorName, ProjectName
from step.results.goal import Goal

if TYPE_CHECKING:
    from step.attest import Settings


@dataclass(frozen=True, slots=True)
class AttestOptions:
    """What the options say of how to attest."""

    attestation_project: str | None = option(
        WHO, "Project that stores the attestations; default the attestor's.", "PROJECT"
    )
    wait: bool = option(
        HOW, "Return only when the attestation can be read back and verified.", default=True
    )
    timeout: str = option(
        HOW, "How long to wait until it can be read back: 90s, 2m or 1m30s.", "DURATION", "2m"
    )
    validate: bool = option(
        HOW,
        "Have Binary Authorization verify the signature before anything is created.",
        default=True,
    )
    dry_run: bool = option(HOW, "Do everything but signing and creating.", default=False)

    def settings(self, payload: bytes | None) -> Settings:
        """How to attest; raises BadInput for what is not a duration or a project."""
        from step.attest import Settings

        timeout = parse_duration(self.timeout, "--timeout")
        return Settings(
            project=ProjectName(self.attestation_project) if self.attestation_project else None,
            payload=payload,
            validate=self.validate,
            wait=timeout if self.wait else None,
            dry_run=self.dry_run,
        )


@dataclass(frozen=True, slots=True)
class AfterwardsOptions:
    """What the options say of the policy that is to admit what was attested."""

    policy_check: bool = option(
        WHERE,
        "Evaluate the policy when all is attested; an image that it does not admit is an error.",
        default=False,
    )
    policy_project: str | None = option(
        WHERE,
        "Project whose policy --policy-check evaluates; default that of the attestors.",
        "PROJECT",
    )
    distinct_keys: bool = option(HOW, DISTINCT_KEYS, default=False)

    def policy(
        self,
        settings: AttestOptions,
        conditions: CheckOptions,
        request: RequestOptions,
        attestors: Sequence[AttestorName],
    ) -> PolicyOptions | None:
        """The policy to evaluate in the end; raises BadInput where that would tell nothing."""
        if not self.policy_check:
            if given := given_of(self) + given_of(request):
                raise no_effect(given, "--policy-check")
            return None
        if settings.dry_run or conditions.check_only or not settings.wait:
            raise BadInput(
                "--policy-check is given where nothing is created, or nothing is waited for",
                "The policy asks for attestations that can be read; leave out --dry-run, "
                "--check-only and --no-wait.",
            )
        projects = {name.project for name in attestors}
        if self.policy_project is None and len(projects) > 1:
            raise BadInput(
                "the attestors are of several projects, whose policies differ",
                "Say whose policy is to be evaluated: --policy-project PROJECT.",
            )
        project = self.policy_project or projects.pop()
        return PolicyOptions(project, distinct_keys=self.distinct_keys)


def attest(
    context: typer.Context,
    images: ImageOptions,
    attestors: AttestorOptions,
    key: KeyOptions,
    conditions: CheckOptions,
    settings: AttestOptions,
    afterwards: AfterwardsOptions,
    request: RequestOptions,
    run: ConnectionOptions,
    output: ReceiptOptions,
) -> None:
    """Sign and create attestations, and wait until they can be read.

    An attestation that does not verify is never created. What is attested already is reused. Every
    option also reads BINAUTHZ_<NAME> and, as the input of an action, INPUT_<NAME>.
    """
    program: Program = context.obj

    def verb() -> Iterator[Event]:
        from step.attest import attest

        project, only = attestors.default_project, conditions.check_only
        wanted = settings.settings(key.payload())
        program.refuse_empty(conditions, settings, afterwards, request)
        checks = conditions.checks(images.build_name(program, project))
        names = () if only else attestors.names()
        policy = afterwards.policy(settings, conditions, request, names)
        waits = (wanted.wait or timedelta(0)) + conditions.wait
        connection = run.connection(program, run.until(program, waits))
        elsewhere = bool(key.signature_file)
        discovered = images.discover(program, connection, project, only_one=elsewhere)
        references = [each.image for each in discovered]
        if elsewhere and len(names) > 1:
            raise BadInput(
                "one signature is given for several attestors",
                "A signature made elsewhere names one key; run once for each attestor.",
            )
        signer = None if only else key.signer(program, connection)
        admission = policy.admission(request, connection, program) if policy else None
        yield Asked(discovered, names)
        whom = f" for {_named(names)}" if names else ""
        remark = program.terminal.remark
        remark(f"{'attesting' if names else 'checking'} {_named(references)}{whom}")
        for source in dict.fromkeys(each.origin.source for each in discovered):
            remark(f"digest from {source}")
        if signer is None:
            from step.preconditions import check

            yield from check(references, checks, connection)
        else:
            wanted = replace(wanted, checks=checks, admission=admission)
            yield from attest(references, names, signer, connection, wanted)

    deliver(verb, Goal.ATTESTED, program, output)


app = app_of(attest)


def _named(things: Sequence[ImageRef] | Sequence[AttestorName]) -> str:
    if len(things) == 1:
        return str(things[0])
    return f"{len(things)} {'images' if isinstance(things[0], ImageRef) else 'attestors'}"
