"""IAM policies of single resources, kept and checked; they grant nothing, since all may do all.

https://github.com/googleapis/googleapis/blob/master/google/iam/v1/iam_policy.proto and policy.proto
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import grpc
from google.cloud import binaryauthorization_v1, kms_v1
from google.iam.v1 import iam_policy_pb2, policy_pb2
from grafeas import grafeas_v1

from step.emulator.binary_authorization import ATTESTOR, POLICY, BinaryAuthorization
from step.emulator.grafeas import NOTE, OCCURRENCE, Grafeas
from step.emulator.kms import KEY, RING, KeyManagement
from step.emulator.refusal import Refusal, invalid
from step.emulator.resources import parse_name
from step.emulator.rpc import Access, Service, rpc

# Of a policy that was never set; gcloud shows it as "etag: ACAB".
_NEVER_SET = b"\x00\x20\x01"
# policy.proto, Policy.version
_CONDITIONAL = 3
_VERSIONS = (0, 1, _CONDITIONAL)
# policy.proto, Policy.bindings: each occurrence of a principal counts
_MAX_MEMBERS, _MAX_GROUPS = 1500, 250
# iam_policy.proto, SetIamPolicyRequest.update_mask: the default
_DEFAULT_MASK = ("bindings", "etag")

# https://cloud.google.com/iam/docs/roles-overview
_ROLE = re.compile(r"((projects|organizations)/[^/\s]+/)?roles/[A-Za-z0-9_.]+")
# What a conditional role is called for who asks for a policy without conditions.
# https://cloud.google.com/iam/docs/troubleshooting-withcond
_WITH_CONDITION = "_withcond_"
# policy.proto, Binding.members; principals of pools and Kubernetes accounts:
# https://cloud.google.com/iam/docs/principal-identifiers
_EMAIL = r"[^\s@:/?\[\]]+@[^\s@:/?\[\]]+"
_MEMBER = re.compile(
    rf"allUsers|allAuthenticatedUsers|(user|serviceAccount|group):{_EMAIL}"
    rf"|deleted:(user|serviceAccount|group):{_EMAIL}\?uid=\d+"
    r"|serviceAccount:[^\s@/\[\]]+\.svc\.id\.goog\[[^\s/\[\]]+/[^\s/\[\]]+\]"
    r"|domain:[^\s@:/]+\.[^\s@:/]+|(deleted:)?principal(Set)?://[^\s/]+/\S+"
)
# https://cloud.google.com/iam/docs/permissions-reference: service.resource.verb
_PERMISSION = re.compile(r"([a-z]+)\.[A-Za-z]+(\.[A-Za-z]+)+")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource that has IAM policies."""

    pattern: str
    """Of its names, such as ``projects/{project}/notes/{note}``."""
    api: type[Service]
    permissions: str
    """What its IAM permissions begin with, such as ``cloudkms.keyRings``."""
    find: Callable[[str], object]
    """Looks for one by a name of this pattern; raises Refusal (NOT_FOUND) when there is none."""
    versions: tuple[str, ...] = ("v1",)
    """The versions of the API over HTTP."""
    get: str = "GET"
    """The verb of getIamPolicy over HTTP."""
    asks: Mapping[str, str] = field(default_factory=dict)
    """The last part of the permission that a method takes, where it is not the method's name."""


class IamPolicies:
    """``google.iam.v1.IAMPolicy``, or the same methods under an API's own name."""

    HOST = "iam.googleapis.com"
    TITLE = "Identity and Access Management (IAM) API"

    def __init__(self, service: str, *kinds: Kind) -> None:
        self.SERVICE = service
        self._kinds = kinds
        self._lock = Lock()
        self._changes = 0
        self._policies: dict[str, policy_pb2.Policy] = {}

    def has(self, resource: str) -> bool:
        """Whether policies of resources of such a name are kept here."""
        return any(_matches(kind, resource) for kind in self._kinds)

    def seed(self, resource: str, policy: policy_pb2.Policy) -> None:
        """Set a resource's policy whole, as a file has it; Refusal for one that is no good."""
        wanted = policy_pb2.Policy()
        wanted.CopyFrom(policy)
        wanted.etag = b""  # a file carries that of where it came from
        mask = ("bindings", "etag", "audit_configs")
        self._kind(resource).find(resource)
        self._set(resource, wanted, mask)

    def forget(self, resource: str) -> None:
        """Drop the policy of a resource that is deleted."""
        with self._lock:
            self._policies.pop(resource, None)

    def access(self, permission: str, resource: str) -> Access:
        """The API that has the resource, and the whole name of the permission on it."""
        kind = self._kind(resource)
        last = kind.asks.get(permission, permission)
        return Access(kind.api.HOST, kind.api.TITLE, f"{kind.permissions}.{last}" if last else "")

    def options(self, method: str) -> Iterator[Mapping[str, str]]:
        """The ``google.api.http`` options of a method, for every kind of resource."""
        verb = method[0].lower() + method[1:]
        for kind in self._kinds:
            name = re.sub(r"{\w+}", "*", kind.pattern)
            asked = kind.get if verb == "getIamPolicy" else "POST"
            for version in kind.versions:
                uri = f"/{version}/{{resource={name}}}:{verb}"
                yield {"method": asked, "uri": uri, "body": "*" if asked == "POST" else ""}

    @rpc("resource", "setIamPolicy", writes=True)
    def set_iam_policy(self, request: iam_policy_pb2.SetIamPolicyRequest) -> policy_pb2.Policy:
        self._kind(request.resource).find(request.resource)
        mask = tuple(request.update_mask.paths) or _DEFAULT_MASK
        for path in mask:
            if path not in policy_pb2.Policy.DESCRIPTOR.fields_by_name:
                raise invalid(f"Invalid field mask: no field {path!r}.")
        return self._set(request.resource, request.policy, mask)

    @rpc("resource", "getIamPolicy")
    def get_iam_policy(self, request: iam_policy_pb2.GetIamPolicyRequest) -> policy_pb2.Policy:
        self._kind(request.resource).find(request.resource)
        version = request.options.requested_policy_version
        _check_version("options.requested_policy_version", version)
        with self._lock:
            shown = policy_pb2.Policy()
            shown.CopyFrom(self._policy(request.resource))
        if version != _CONDITIONAL:
            _hide_conditions(shown)
        return shown

    @rpc("resource", "testIamPermissions")
    def test_iam_permissions(
        self, request: iam_policy_pb2.TestIamPermissionsRequest
    ) -> iam_policy_pb2.TestIamPermissionsResponse:
        """Nobody is authenticated and all is allowed: what is asked for is what one may do."""
        kind = self._kind(request.resource)
        service = kind.permissions.partition(".")[0]
        for permission in request.permissions:
            match = _PERMISSION.fullmatch(permission)
            if match is None or match[1] != service:
                raise invalid(f"Permission {permission!r} is not one of {service}'s.")
        response = iam_policy_pb2.TestIamPermissionsResponse()
        try:
            kind.find(request.resource)
        except Refusal:
            return response  # iam_policy.proto: an empty set, not NOT_FOUND
        response.permissions.extend(dict.fromkeys(request.permissions))
        return response

    def _kind(self, resource: str) -> Kind:
        for kind in self._kinds:
            if _matches(kind, resource):
                return kind
        raise invalid(f"Resource {resource!r} is of no kind that has IAM policies here.")

    def _policy(self, resource: str) -> policy_pb2.Policy:
        return self._policies.get(resource) or policy_pb2.Policy(etag=_NEVER_SET)

    def _set(
        self, resource: str, wanted: policy_pb2.Policy, mask: Iterable[str]
    ) -> policy_pb2.Policy:
        _check_version("policy.version", wanted.version)
        _check_bindings(wanted)
        for audit in wanted.audit_configs:
            if not audit.service or not audit.audit_log_configs:
                raise invalid("policy.audit_configs: each needs a service and audit_log_configs.")
        with self._lock:
            old = self._policy(resource)
            if wanted.etag and "etag" in mask:
                if wanted.etag != old.etag:
                    raise Refusal(
                        grpc.StatusCode.ABORTED, "The etag does not match the stored policy's."
                    )
                # Without an etag the conditions are lost, as policy.proto warns.
                if old.version == _CONDITIONAL and wanted.version != _CONDITIONAL:
                    raise invalid("policy.version must be 3: the policy has conditions.")
            bindings = wanted.bindings if "bindings" in mask else old.bindings
            audits = wanted.audit_configs if "audit_configs" in mask else old.audit_configs
            self._changes += 1
            conditional = any(binding.HasField("condition") for binding in bindings)
            self._policies[resource] = policy_pb2.Policy(
                version=_CONDITIONAL if conditional else 1,
                bindings=_merged(bindings),
                audit_configs=audits,
                etag=b"\x07" + self._changes.to_bytes(7),
            )
            return self._policies[resource]


def iam_services(
    keys: KeyManagement, analysis: Grafeas, authorization: BinaryAuthorization
) -> tuple[IamPolicies, IamPolicies]:
    """IAM's methods on the resources of the three APIs that have some.

    Container Analysis has them under its own name, reads by POST, and takes other permissions:
    https://github.com/googleapis/googleapis/blob/master/google/devtools/containeranalysis/v1/containeranalysis.proto
    Permissions of the others: https://cloud.google.com/binary-authorization/docs/audit-logging and
    https://cloud.google.com/kms/docs/reference/permissions-and-roles
    """
    versions = ("v1", "v1beta1", "v1alpha2")

    def key_ring(name: str) -> object:
        return keys.get_key_ring(kms_v1.GetKeyRingRequest(name=name))

    def key(name: str) -> object:
        return keys.get_crypto_key(kms_v1.GetCryptoKeyRequest(name=name))

    def policy(name: str) -> object:
        return authorization.get_policy(binaryauthorization_v1.GetPolicyRequest(name=name))

    def note(name: str) -> object:
        return analysis.get_note(grafeas_v1.GetNoteRequest(name=name))

    def occurrence(name: str) -> object:
        return analysis.get_occurrence(grafeas_v1.GetOccurrenceRequest(name=name))

    freely = {"testIamPermissions": ""}
    shared = IamPolicies(
        "google.iam.v1.IAMPolicy",
        Kind(RING, KeyManagement, "cloudkms.keyRings", key_ring, asks=freely),
        Kind(KEY, KeyManagement, "cloudkms.cryptoKeys", key, asks=freely),
        Kind(
            *(ATTESTOR, BinaryAuthorization),
            permissions="binaryauthorization.attestors",
            find=authorization.attestor,
            versions=versions,
            asks=freely,
        ),
        Kind(
            *(POLICY, BinaryAuthorization),
            permissions="binaryauthorization.policy",
            find=policy,
            versions=versions,
            asks=freely,
        ),
    )
    asks = {"getIamPolicy": "setIamPolicy", "testIamPermissions": "list"}
    container = IamPolicies(
        "google.devtools.containeranalysis.v1.ContainerAnalysis",
        Kind(NOTE, Grafeas, "containeranalysis.notes", note, get="POST", asks=asks),
        Kind(
            *(OCCURRENCE, Grafeas),
            permissions="containeranalysis.occurrences",
            find=occurrence,
            get="POST",
            asks=asks,
        ),
    )
    authorization.on_delete.append(shared.forget)
    analysis.on_delete.append(container.forget)
    return shared, container


def _matches(kind: Kind, resource: str) -> bool:
    try:
        parse_name(kind.pattern, resource)
    except Refusal:
        return False
    return True


def _check_version(field: str, version: int) -> None:
    if version not in _VERSIONS:
        raise invalid(f"{field} must be 0, 1 or 3, not {version}.")


def _check_bindings(policy: policy_pb2.Policy) -> None:
    for binding in policy.bindings:
        if not _ROLE.fullmatch(binding.role) or _WITH_CONDITION in binding.role:
            raise invalid(f"Role {binding.role!r} is not supported.")
        if not binding.members:
            raise invalid(f"The binding of {binding.role} has no members.")
        for member in binding.members:
            if not _MEMBER.fullmatch(member):
                raise invalid(f"Member {member!r} is of no known form, such as 'user:NAME@DOMAIN'.")
        if binding.HasField("condition"):
            if policy.version != _CONDITIONAL:
                raise invalid("policy.version must be 3 for a binding with a condition.")
            if not binding.condition.expression:
                raise invalid(f"The condition of {binding.role} has no expression.")
    members = [member for binding in policy.bindings for member in binding.members]
    groups = sum(member.startswith("group:") for member in members)
    if len(members) > _MAX_MEMBERS or groups > _MAX_GROUPS:
        raise invalid(
            f"A policy has at most {_MAX_MEMBERS} members, of which {_MAX_GROUPS} are groups."
        )


def _merged(bindings: Iterable[Any]) -> list[policy_pb2.Binding]:
    """One binding for each role and condition, and each member once."""
    merged: dict[tuple[str, bytes], policy_pb2.Binding] = {}
    for given in bindings:
        key = given.role, given.condition.SerializeToString(deterministic=True)
        binding = merged.setdefault(key, policy_pb2.Binding(role=given.role))
        if given.HasField("condition"):
            binding.condition.CopyFrom(given.condition)
        binding.members.extend(m for m in dict.fromkeys(given.members) if m not in binding.members)
    return list(merged.values())


def _hide_conditions(policy: policy_pb2.Policy) -> None:
    """Show conditional bindings as version 1 can, under names of roles that cannot be set."""
    for binding in policy.bindings:
        if binding.HasField("condition"):
            content = binding.condition.SerializeToString(deterministic=True)
            binding.role += _WITH_CONDITION + hashlib.sha256(content).hexdigest()[:20]
            binding.ClearField("condition")
            policy.version = 1
