"""The table of the remote methods: what each is called, what it needs, and what it is allowed.

Permissions are those of https://cloud.google.com/iam/docs/permissions-reference, each role the
narrowest predefined one that grants them (https://cloud.google.com/iam/docs/understanding-roles).
Hints are made from it, and a test holds README's table of roles, and the emulator, to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

KMS = "cloudkms.googleapis.com"
BINARY_AUTHORIZATION = "binaryauthorization.googleapis.com"
CONTAINER_ANALYSIS = "containeranalysis.googleapis.com"
CLOUD_BUILD = "cloudbuild.googleapis.com"

_BINARY_AUTHORIZATION = "google.cloud.binaryauthorization_v1"
_ATTESTORS = f"{_BINARY_AUTHORIZATION}:BinauthzManagementServiceV1Client"
_GRAFEAS = "grafeas.grafeas_v1:GrafeasClient"


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission that a method takes, on which kind of resource, and the role that grants it."""

    permission: str
    role: str
    resource: str


@dataclass(frozen=True, slots=True)
class Method:
    """A remote method; `quota` is what its service documents, empty where it documents nothing.

    `client` is the official client that has it, as `MODULE:CLASS`: a run imports those that it
    uses. After an answer that was lost, a method that `writes` may have happened.
    """

    name: str
    service: str
    client: str
    grants: tuple[Grant, ...]
    quota: str = ""
    writes: bool = False

    @property
    def resource(self) -> str:
        """What the method is about, in words."""
        return self.grants[-1].resource

    @property
    def snake_name(self) -> str:
        """What the client calls it."""
        return re.sub("(?<!^)(?=[A-Z])", "_", self.name).lower()

    @property
    def roles(self) -> str:
        """What to grant, in words."""
        return " and ".join(f"{grant.role} on {grant.resource}" for grant in self.grants)


# https://cloud.google.com/binary-authorization/quotas
_READS = "100 reads a minute for each user"
_ATTESTORS_VIEWER = "roles/binaryauthorization.attestorsViewer"
_POLICY = Grant(
    "binaryauthorization.policy.get", "roles/binaryauthorization.policyViewer", "the project"
)

GET_ATTESTOR = Method(
    "GetAttestor",
    BINARY_AUTHORIZATION,
    _ATTESTORS,
    (Grant("binaryauthorization.attestors.get", _ATTESTORS_VIEWER, "the attestor"),),
    _READS,
)
LIST_ATTESTORS = Method(
    "ListAttestors",
    BINARY_AUTHORIZATION,
    _ATTESTORS,
    (Grant("binaryauthorization.attestors.list", _ATTESTORS_VIEWER, "the project"),),
    _READS,
)
VALIDATE = Method(
    "ValidateAttestationOccurrence",
    BINARY_AUTHORIZATION,
    f"{_BINARY_AUTHORIZATION}:ValidationHelperV1Client",
    (
        Grant(
            "binaryauthorization.attestors.verifyImageAttested",
            "roles/binaryauthorization.attestorsVerifier",
            "the attestor",
        ),
    ),
)
GET_POLICY = Method("GetPolicy", BINARY_AUTHORIZATION, _ATTESTORS, (_POLICY,), _READS)
GET_SYSTEM_POLICY = Method(
    "GetSystemPolicy",
    BINARY_AUTHORIZATION,
    f"{_BINARY_AUTHORIZATION}:SystemPolicyV1Client",
    (_POLICY,),
    _READS,
)
# https://cloud.google.com/kms/quotas: regional, and found from a project's own history.
SIGN = Method(
    "AsymmetricSign",
    KMS,
    "google.cloud.kms_v1:KeyManagementServiceClient",
    (Grant("cloudkms.cryptoKeyVersions.useToSign", "roles/cloudkms.signer", "the key"),),
    "cryptographic requests of the key's region",
)
LIST_NOTE_OCCURRENCES = Method(
    "ListNoteOccurrences",
    CONTAINER_ANALYSIS,
    _GRAFEAS,
    (
        Grant(
            "containeranalysis.notes.listOccurrences",
            "roles/containeranalysis.notes.occurrences.viewer",
            "the attestor's note",
        ),
    ),
)
LIST_OCCURRENCES = Method(
    "ListOccurrences",
    CONTAINER_ANALYSIS,
    _GRAFEAS,
    (
        Grant(
            "containeranalysis.occurrences.list",
            "roles/containeranalysis.occurrences.viewer",
            "the project that holds the image's records",
        ),
    ),
)
CREATE_OCCURRENCE = Method(
    "CreateOccurrence",
    CONTAINER_ANALYSIS,
    _GRAFEAS,
    (
        Grant(
            "containeranalysis.occurrences.create",
            "roles/containeranalysis.occurrences.editor",
            "the attestation project",
        ),
        Grant(
            "containeranalysis.notes.attachOccurrence",
            "roles/containeranalysis.notes.attacher",
            "the attestor's note",
        ),
    ),
    writes=True,
)
BATCH_CREATE_OCCURRENCES = Method(
    "BatchCreateOccurrences",
    CONTAINER_ANALYSIS,
    _GRAFEAS,
    CREATE_OCCURRENCE.grants,
    writes=True,
)
GET_BUILD = Method(
    "GetBuild",
    CLOUD_BUILD,
    "google.cloud.devtools.cloudbuild_v1:CloudBuildClient",
    (Grant("cloudbuild.builds.get", "roles/cloudbuild.builds.viewer", "the build's project"),),
)
LIST_BUILDS = Method(
    "ListBuilds",
    CLOUD_BUILD,
    GET_BUILD.client,
    (Grant("cloudbuild.builds.list", "roles/cloudbuild.builds.viewer", "the builds' project"),),
)

METHODS = (
    GET_ATTESTOR,
    LIST_ATTESTORS,
    VALIDATE,
    GET_POLICY,
    GET_SYSTEM_POLICY,
    SIGN,
    LIST_NOTE_OCCURRENCES,
    LIST_OCCURRENCES,
    CREATE_OCCURRENCE,
    BATCH_CREATE_OCCURRENCES,
    GET_BUILD,
    LIST_BUILDS,
)
