"""`binauthz-attest attest`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from step.cli import options as opt
from step.cli.attestors import attestor_names
from step.cli.checks import CheckChoice
from step.cli.edge import Edge, read_file
from step.cli.images import ImageChoice
from step.cli.judge import PolicyChoice
from step.cli.keys import KeyChoice
from step.cli.outcome import Work, deliver
from step.clock import parse_duration
from step.errors import BadInput
from step.model.names import AttestorName, ProjectName

if TYPE_CHECKING:
    from step.attest import Terms
    from step.reporting.console import Terminal


def attest(
    context: typer.Context,
    images: opt.Images = None,
    image: opt.Image = None,
    digest: opt.Digest = None,
    metadata: opt.Metadata = None,
    from_file: opt.FromFile = None,
    build: opt.Build = None,
    workspace: opt.Workspace = None,
    resolve_tags: opt.ResolveTags = False,
    check_registry: opt.CheckRegistry = False,
    platforms: opt.Platforms = "index",
    attestor: opt.Attestors = None,
    project: opt.Project = None,
    attestation_project: opt.AttestationProject = None,
    kms_key_version: opt.KmsKeyVersion = None,
    pgp_key_file: opt.PgpKeyFile = None,
    pgp_passphrase_file: opt.PgpPassphraseFile = None,
    pkix_key_file: opt.PkixKeyFile = None,
    signature_file: opt.SignatureFile = None,
    public_key_id: opt.PublicKeyId = None,
    payload_file: opt.PayloadFile = None,
    vulnerability_policy: opt.VulnerabilityPolicy = None,
    vulnerability_timeout: opt.VulnerabilityTimeout = "5m",
    require_build: opt.RequireBuild = False,
    trusted_builder: opt.TrustedBuilders = None,
    trusted_project: opt.TrustedProjects = None,
    trusted_trigger: opt.TrustedTriggers = None,
    trusted_source: opt.TrustedSources = None,
    trusted_recorder: opt.TrustedRecorders = None,
    image_project: opt.ImageProject = None,
    check_only: opt.CheckOnly = False,
    wait: opt.Wait = True,
    timeout: opt.Timeout = "2m",
    validate: opt.Validate = True,
    dry_run: opt.DryRun = False,
    policy_check: opt.PolicyCheck = False,
    policy_project: opt.JudgingProject = None,
    cluster: opt.Cluster = None,
    namespace: opt.Namespace = None,
    service_account: opt.ServiceAccount = None,
    service_identity: opt.ServiceIdentity = None,
    format: opt.OutputFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
    output_file: opt.OutputFile = None,
    artifact_url: opt.ArtifactUrl = None,
    keyversion: opt.KeyVersion = None,
    public_key_id_override: opt.PublicKeyIdOverride = None,
    attestor_project: opt.AttestorProject = None,
) -> None:
    """Sign, verify and create attestations, and wait until they can be read back.

    Every option also reads BINAUTHZ_<NAME> and, as the input of an action, INPUT_<NAME>.
    """
    edge: Edge = context.obj
    key = KeyChoice(
        kms_key_version=kms_key_version or keyversion,
        pgp_key_file=pgp_key_file,
        pgp_passphrase_file=pgp_passphrase_file,
        pkix_key_file=pkix_key_file,
        signature_file=signature_file,
        public_key_id=public_key_id or public_key_id_override or None,
    )
    request = _Request(
        images=ImageChoice(
            references=(*(images or ()), *([artifact_url] if artifact_url else ())),
            image=image,
            digest=digest,
            metadata=metadata,
            from_file=from_file or (),
            build=build,
            project=project,
            workspace=workspace,
            resolve_tags=resolve_tags,
            check_registry=check_registry,
            platforms=platforms,
            only_one=bool(signature_file),
        ),
        attestors=attestor or (),
        project=project or attestor_project,
        attestation_project=attestation_project,
        key=key,
        payload_file=payload_file,
        conditions=CheckChoice(
            vulnerability_policy=vulnerability_policy,
            vulnerability_timeout=vulnerability_timeout,
            require_build=require_build,
            trusted_builders=trusted_builder or (),
            trusted_projects=trusted_project or (),
            trusted_triggers=trusted_trigger or (),
            trusted_sources=trusted_source or (),
            trusted_recorders=trusted_recorder or (),
            image_project=image_project,
            check_only=check_only,
        ),
        wait=wait,
        timeout=timeout,
        validate=validate,
        dry_run=dry_run,
        policy_check=policy_check,
        policy=PolicyChoice(
            project=policy_project,
            cluster=cluster,
            namespace=namespace,
            service_account=service_account,
            service_identity=service_identity,
        ),
    )
    raise typer.Exit(
        deliver(lambda terminal: request.events(edge, terminal), edge, format, output_file)
    )


@dataclass(frozen=True, slots=True)
class _Request:
    """The options, as they were given."""

    images: ImageChoice
    attestors: Sequence[str]
    project: str | None
    attestation_project: str | None
    key: KeyChoice
    payload_file: str | None
    conditions: CheckChoice
    wait: bool
    timeout: str
    validate: bool
    dry_run: bool
    policy_check: bool
    policy: PolicyChoice

    def events(self, edge: Edge, terminal: Terminal) -> Work:
        """What attesting brings, and the order to show it in; raises BadInput before any call."""
        from step.attest import attest
        from step.preconditions import check

        terms = self._terms()
        checks = self.conditions.checks(self.images.build_name(edge))
        self._require_policy_check()
        only = self.conditions.check_only
        attestors = () if only else attestor_names(self.attestors, self.project)
        policy = self._policy(attestors) if self.policy_check else None
        connection = edge.connection()
        discovered = self.images.discover(edge, connection)
        images = [one.image for one in discovered]
        if only:
            return Work(discovered, attestors, check(images, checks, connection))
        if self.key.signature_file and len(images) * len(attestors) > 1:
            raise BadInput(
                "one signature is given for several images or attestors",
                "A signature made elsewhere is for one image; run once for each.",
            )
        signer = self.key.signer(edge, connection)
        judge = policy.judge(connection, terminal) if policy else None
        terms = replace(terms, checks=checks, judge=judge)
        events = attest(images, attestors, signer, connection, terms)
        return Work(discovered, attestors, events)

    def _terms(self) -> Terms:
        from step.attest import Terms

        if self.payload_file and not self.key.signature_file:
            raise BadInput(
                "--payload-file is given without --signature-file",
                "Only a signature made elsewhere is over other bytes than the payload's own.",
            )
        timeout = parse_duration(self.timeout)
        return Terms(
            project=ProjectName(self.attestation_project) if self.attestation_project else None,
            payload=read_file(self.payload_file, "--payload-file") if self.payload_file else None,
            validate=self.validate,
            wait=timeout if self.wait else None,
            dry_run=self.dry_run,
        )

    def _policy(self, attestors: Sequence[AttestorName]) -> PolicyChoice:
        """The policy to evaluate in the end; raises BadInput where that would tell nothing."""
        if self.dry_run or self.conditions.check_only or not self.wait:
            raise BadInput(
                "--policy-check is given where nothing is created, or nothing is waited for",
                "The policy asks for attestations that can be read; leave out --dry-run, "
                "--check-only and --no-wait.",
            )
        projects = {name.project for name in attestors}
        if self.policy.project is None and len(projects) > 1:
            raise BadInput(
                "the attestors are of several projects, whose policies differ",
                "Say whose policy is to be evaluated: --policy-project PROJECT.",
            )
        return replace(self.policy, project=self.policy.project or projects.pop())

    def _require_policy_check(self) -> None:
        if not self.policy_check and self.policy != PolicyChoice(None):
            raise BadInput(
                "it is said where the images are to run, and no policy is to be evaluated",
                "Give --policy-check, too.",
            )
