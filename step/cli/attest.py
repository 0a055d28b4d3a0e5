"""`binauthz-attest attest`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from step.cli import options as opt
from step.cli.attestors import attestor_names
from step.cli.edge import Edge, read_file
from step.cli.images import ImageChoice
from step.cli.keys import KeyChoice
from step.cli.outcome import Work, deliver
from step.clock import parse_duration
from step.errors import BadInput
from step.model.names import ProjectName

if TYPE_CHECKING:
    from step.attest import Terms


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
    wait: opt.Wait = True,
    timeout: opt.Timeout = "2m",
    validate: opt.Validate = True,
    dry_run: opt.DryRun = False,
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
        wait=wait,
        timeout=timeout,
        validate=validate,
        dry_run=dry_run,
    )
    raise typer.Exit(deliver(lambda: request.events(edge), edge, format, output_file))


@dataclass(frozen=True, slots=True)
class _Request:
    """The options, as they were given."""

    images: ImageChoice
    attestors: Sequence[str]
    project: str | None
    attestation_project: str | None
    key: KeyChoice
    payload_file: str | None
    wait: bool
    timeout: str
    validate: bool
    dry_run: bool

    def events(self, edge: Edge) -> Work:
        """What attesting brings, and the order to show it in; raises BadInput before any call."""
        from step.attest import attest

        terms = self._terms()
        attestors = attestor_names(self.attestors, self.project)
        connection = edge.connection()
        discovered = self.images.discover(edge, connection)
        images = [one.image for one in discovered]
        if self.key.signature_file and len(images) * len(attestors) > 1:
            raise BadInput(
                "one signature is given for several images or attestors",
                "A signature made elsewhere is for one image; run once for each.",
            )
        signer = self.key.signer(edge, connection)
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
