"""The options, each once: its flag, its variables `INPUT_…` and `BINAUTHZ_…`, its help."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import typer


class Format(StrEnum):
    """How receipts are printed on standard output."""

    TEXT = "text"
    JSON = "json"


def _variables(name: str) -> list[str]:
    """GitHub passes an action's input as INPUT_<NAME>; elsewhere BINAUTHZ_<NAME> is set by hand.

    https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax#inputs
    """
    return [f"BINAUTHZ_{name}", f"INPUT_{name}"]


def _option(flag: str, text: str, metavar: str = "TEXT", panel: str | None = None) -> Any:
    name = flag.split("/")[0].removeprefix("--")
    return typer.Option(
        flag,
        help=text,
        metavar=None if "/" in flag else metavar,
        envvar=_variables(name.replace("-", "_").upper()),
        show_envvar=False,
        rich_help_panel=panel,
    )


def _alias(flag: str) -> Any:
    """gcloud's spelling of an option, for those who come from there."""
    return typer.Option(flag, hidden=True)


_WHAT = "Which images"
_WHO = "Which attestors"
_KEY = "With which key"
_BEFORE = "What must be true before it is signed"
_HOW = "How"
_WHERE = "Where it is to run"
_OUT = "What comes out"

Images: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE",
        help="registry/repository@sha256:…; a tag beside the digest is dropped.",
        envvar=_variables("IMAGES"),
        show_envvar=False,
        rich_help_panel=_WHAT,
    ),
]
Image: TypeAlias = Annotated[
    str | None,
    _option("--image", "Name of the image whose digest is given apart.", "NAME", _WHAT),
]
Digest: TypeAlias = Annotated[
    str | None, _option("--digest", "Digest of --image.", "sha256:…", _WHAT)
]
Metadata: TypeAlias = Annotated[
    str | None,
    _option("--metadata", "A build tool's record as text, JSON for example.", "RECORD", _WHAT),
]
FromFile: TypeAlias = Annotated[
    list[str] | None,
    _option(
        "--from-file",
        "File or OCI layout folder with a build tool's record, or a digest beside --image; - for "
        "standard input. Repeatable.",
        "PATH",
        _WHAT,
    ),
]
Build: TypeAlias = Annotated[
    str | None,
    _option(
        "--build",
        "Finished Cloud Build build: projects/P/locations/L/builds/ID, its address in the console, "
        "or its id beside --project.",
        "ID",
        _WHAT,
    ),
]
Workspace: TypeAlias = Annotated[
    str | None,
    _option(
        "--workspace",
        "Folder to find records in when nothing else is given; default the CI's own.",
        "PATH",
        _WHAT,
    ),
]
ResolveTags: TypeAlias = Annotated[
    bool,
    _option(
        "--resolve-tags/--no-resolve-tags",
        "Ask the registry, once, which digest an image given by tag has; the receipt says so.",
        panel=_WHAT,
    ),
]
CheckRegistry: TypeAlias = Annotated[
    bool,
    _option(
        "--check-registry/--no-check-registry",
        "Ask the registry whether each digest is there, as a manifest or an index.",
        panel=_WHAT,
    ),
]
Platforms: TypeAlias = Annotated[
    str,
    _option(
        "--platforms",
        "Of an index, attest the index alone, all of its platforms too, or those listed: index, "
        "all, or linux/amd64,linux/arm64.",
        "PLATFORMS",
        _WHAT,
    ),
]
Attestors: TypeAlias = Annotated[
    list[str] | None,
    _option(
        "--attestor",
        "projects/PROJECT/attestors/ATTESTOR, or ATTESTOR alone beside --project. Repeatable.",
        "NAME",
        _WHO,
    ),
]
Project: TypeAlias = Annotated[
    str | None,
    _option("--project", "Project of attestors that are named without one.", "PROJECT", _WHO),
]
AttestationProject: TypeAlias = Annotated[
    str | None,
    _option(
        "--attestation-project",
        "Project that stores the attestations; default the attestor's.",
        "PROJECT",
        _WHO,
    ),
]
KmsKeyVersion: TypeAlias = Annotated[
    str | None,
    _option(
        "--kms-key-version",
        "Cloud KMS key version: its full name, also after gcpkms:// or "
        "//cloudkms.googleapis.com/v1/. Default: the attestor's one registered KMS key.",
        "NAME",
        _KEY,
    ),
]
PgpKeyFile: TypeAlias = Annotated[
    str | None,
    _option(
        "--pgp-key-file",
        "OpenPGP private key: armored, binary, or base64 of either. Or its text in the variable "
        "BINAUTHZ_PGP_PRIVATE_KEY.",
        "PATH",
        _KEY,
    ),
]
PgpPassphraseFile: TypeAlias = Annotated[
    str | None,
    _option(
        "--pgp-passphrase-file",
        "Passphrase of that key; one line end is dropped. Or the variable "
        "BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE.",
        "PATH",
        _KEY,
    ),
]
PkixKeyFile: TypeAlias = Annotated[
    str | None,
    _option(
        "--pkix-key-file",
        "PEM private key; the algorithm is that of the attestor's registered key.",
        "PATH",
        _KEY,
    ),
]
SignatureFile: TypeAlias = Annotated[
    str | None,
    _option(
        "--signature-file",
        "Signature made elsewhere; needs --public-key-id; - for standard input.",
        "PATH",
        _KEY,
    ),
]
PublicKeyId: TypeAlias = Annotated[
    str | None,
    _option(
        "--public-key-id",
        "Id of the key as the attestor lists it, where it is not the key's own.",
        "ID",
        _KEY,
    ),
]
PayloadFile: TypeAlias = Annotated[
    str | None,
    _option("--payload-file", "The bytes that --signature-file signs.", "PATH", _KEY),
]
VulnerabilityPolicy: TypeAlias = Annotated[
    str | None,
    _option(
        "--vulnerability-policy",
        "Sign only what Artifact Analysis scanned and this file allows: a VulnzSigningPolicy, as "
        "kritis has it.",
        "PATH",
        _BEFORE,
    ),
]
VulnerabilityTimeout: TypeAlias = Annotated[
    str,
    _option(
        "--vulnerability-timeout",
        "How long to wait for the end of the scan: 90s, 5m or 1h.",
        "DURATION",
        _BEFORE,
    ),
]
RequireBuild: TypeAlias = Annotated[
    bool,
    _option(
        "--require-build/--no-require-build",
        "Sign only what a record says was built as the --trusted options ask: that of --build, or "
        "a BUILD occurrence.",
        panel=_BEFORE,
    ),
]
TrustedBuilders: TypeAlias = Annotated[
    list[str] | None,
    _option(
        "--trusted-builder", "Id of a builder that may have built it. Repeatable.", "ID", _BEFORE
    ),
]
TrustedProjects: TypeAlias = Annotated[
    list[str] | None,
    _option(
        "--trusted-project",
        "Project whose Cloud Build may have built it. Repeatable.",
        "PROJECT",
        _BEFORE,
    ),
]
TrustedTriggers: TypeAlias = Annotated[
    list[str] | None,
    _option(
        "--trusted-trigger", "Trigger that may have started the build. Repeatable.", "ID", _BEFORE
    ),
]
TrustedSources: TypeAlias = Annotated[
    list[str] | None,
    _option(
        "--trusted-source",
        "Repository it may have been built from. Repeatable.",
        "REPOSITORY",
        _BEFORE,
    ),
]
TrustedRecorders: TypeAlias = Annotated[
    list[str] | None,
    _option(
        "--trusted-recorder",
        "Project of the notes that BUILD occurrences count on; default verified-builder, where "
        "Cloud Build's are. Repeatable.",
        "PROJECT",
        _BEFORE,
    ),
]
ImageProject: TypeAlias = Annotated[
    str | None,
    _option(
        "--image-project",
        "Project that holds the image's scans and build records; default the one in its name.",
        "PROJECT",
        _BEFORE,
    ),
]
CheckOnly: TypeAlias = Annotated[
    bool,
    _option(
        "--check-only/--no-check-only",
        "Make these checks and nothing else: no attestor is needed, and nothing is signed.",
        panel=_BEFORE,
    ),
]
Wait: TypeAlias = Annotated[
    bool,
    _option(
        "--wait/--no-wait",
        "Return only when the attestation can be read back and verified.",
        panel=_HOW,
    ),
]
Timeout: TypeAlias = Annotated[
    str,
    _option(
        "--timeout",
        "How long to wait until it can be read back: 90s, 2m or 1m30s.",
        "DURATION",
        _HOW,
    ),
]
Deadline: TypeAlias = Annotated[
    str | None,
    _option(
        "--deadline",
        "When the whole run ends, whatever a server does: 90s, 10m or 1h. Default 10m beyond the "
        "waits that are asked for.",
        "DURATION",
        _HOW,
    ),
]
AllowEmulator: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-emulator",
        # No variable and no input: whoever can set those could open a gate with an emulator.
        help="Take an emulator that is not on this machine, and let what it says open a gate.",
        rich_help_panel=_HOW,
    ),
]
Validate: TypeAlias = Annotated[
    bool,
    _option(
        "--validate/--no-validate",
        "Have Binary Authorization verify the signature before anything is created.",
        panel=_HOW,
    ),
]
DryRun: TypeAlias = Annotated[
    bool,
    _option("--dry-run/--no-dry-run", "Do everything but signing and creating.", panel=_HOW),
]
PolicyCheck: TypeAlias = Annotated[
    bool,
    _option(
        "--policy-check/--no-policy-check",
        "Evaluate the policy when all is attested; an image that it does not admit is an error.",
        panel=_WHERE,
    ),
]
JudgingProject: TypeAlias = Annotated[
    str | None,
    _option(
        "--policy-project",
        "Project whose policy --policy-check evaluates; default that of the attestors.",
        "PROJECT",
        _WHERE,
    ),
]
OutputFormat: TypeAlias = Annotated[
    Format, _option("--format", "Form of the receipts on standard output.", "text|json", _OUT)
]
OutputFile: TypeAlias = Annotated[
    str | None, _option("--output-file", "File for the receipts as JSON.", "PATH", _OUT)
]

AtLeast: TypeAlias = Annotated[
    int,
    _option("--at-least", "How many different keys of each attestor must have signed.", "N", _HOW),
]
EveryKey: TypeAlias = Annotated[
    bool,
    _option(
        "--every-key/--no-every-key",
        "Want one attestation by every key that an attestor lists.",
        panel=_HOW,
    ),
]
MaxAge: TypeAlias = Annotated[
    str | None,
    _option(
        "--max-age",
        "Count no attestation that was created longer ago: 12h or 30d. When it was, is the "
        "service's word, and not signed.",
        "DURATION",
        _HOW,
    ),
]
DistinctKeys: TypeAlias = Annotated[
    bool,
    _option(
        "--distinct-keys/--no-distinct-keys",
        "Want a different key for each attestor: one signature is one statement.",
        panel=_HOW,
    ),
]
GateTimeout: TypeAlias = Annotated[
    str, _option("--timeout", "How long to wait for a yes: 90s, 10m or 1h.", "DURATION", _HOW)
]
KeyFilter: TypeAlias = Annotated[
    str | None,
    _option("--public-key-id", "Only attestations that claim to be by this key.", "ID", _HOW),
]
ResultFormat: TypeAlias = Annotated[
    Format, _option("--format", "Form of what was found, on standard output.", "text|json", _OUT)
]
ResultFile: TypeAlias = Annotated[
    str | None, _option("--output-file", "File for what was found as JSON.", "PATH", _OUT)
]

ArtifactUrl: TypeAlias = Annotated[str | None, _alias("--artifact-url")]
KeyVersion: TypeAlias = Annotated[str | None, _alias("--keyversion")]
PublicKeyIdOverride: TypeAlias = Annotated[str | None, _alias("--public-key-id-override")]
AttestorProject: TypeAlias = Annotated[str | None, _alias("--attestor-project")]

PodImages: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="Image as a pod names it: by digest, or by tag.",
        envvar=_variables("IMAGES"),
        show_envvar=False,
    ),
]
PolicyProject: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--project",
        help="Project whose policy it is.",
        metavar="PROJECT",
        # An action's inputs serve attest as well, where the attestors' project has that name.
        envvar=[*_variables("POLICY_PROJECT"), *_variables("PROJECT")],
        show_envvar=False,
    ),
]
PolicyFile: TypeAlias = Annotated[
    str | None,
    _option(
        "--policy-file",
        "The policy as gcloud exports it, YAML or JSON, instead of the project's; - for standard "
        "input.",
        "PATH",
    ),
]
SystemPolicyFile: TypeAlias = Annotated[
    str | None,
    _option(
        "--system-policy-file",
        "Google's system policy, as gcloud alpha container binauthz policy export-system-policy "
        "prints it.",
        "PATH",
    ),
]
Cluster: TypeAlias = Annotated[
    str | None,
    _option("--cluster", "LOCATION.NAME, for rules by cluster.", "LOCATION.NAME", _WHERE),
]
Namespace: TypeAlias = Annotated[
    str | None,
    _option("--namespace", "Kubernetes namespace, for rules by it.", "NAME", _WHERE),
]
ServiceAccount: TypeAlias = Annotated[
    str | None,
    _option(
        "--service-account",
        "NAMESPACE:NAME, or NAME beside --namespace, for rules by Kubernetes service account.",
        "NAME",
        _WHERE,
    ),
]
ServiceIdentity: TypeAlias = Annotated[
    str | None,
    _option(
        "--service-identity",
        "spiffe://DOMAIN/ns/NAMESPACE/sa/NAME, for rules by Istio service identity.",
        "ID",
        _WHERE,
    ),
]
ExpectedAttestors: TypeAlias = Annotated[
    list[str] | None,
    _option(
        "--attestor",
        "Warn if the rule does not ask for this attestor's attestation. Repeatable.",
        "NAME",
    ),
]
