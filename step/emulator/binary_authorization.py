"""Binary Authorization v1: policies, attestors, and validation with real cryptography.

https://github.com/googleapis/googleapis/tree/master/google/cloud/binaryauthorization/v1
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime
from threading import Lock
from typing import Any

import grpc
from google.cloud import binaryauthorization_v1 as ba
from google.protobuf import empty_pb2

from step.emulator.refusal import Refusal, already_exists, invalid, not_found
from step.emulator.resources import page, parse_name
from step.emulator.rpc import rpc
from step.emulator.verification import NotVerified, PgpKey, PkixKey

PROJECT = "projects/{project}"
POLICY = "projects/{project}/policy"
ATTESTOR = "projects/{project}/attestors/{attestor}"
NOTE = "projects/{project}/notes/{note}"

# service.proto, ListAttestorsRequest.page_size: the server picks the default
_PAGE, _MAX_PAGE = 100, 1000
# resources.proto, Policy: "A valid policy has only one of the following rule maps non-empty".
_RULE_MAPS = (
    "cluster_admission_rules",
    "kubernetes_namespace_admission_rules",
    "kubernetes_service_account_admission_rules",
    "istio_service_identity_admission_rules",
)
_DIGEST = re.compile(r"@(sha256:[0-9a-f]{64})\Z")

Evaluation = ba.AdmissionRule.EvaluationMode
Result = ba.ValidateAttestationOccurrenceResponse.Result


class BinaryAuthorization:
    """``BinauthzManagementServiceV1``: policies and attestors."""

    SERVICE = "google.cloud.binaryauthorization.v1.BinauthzManagementServiceV1"
    HOST = "binaryauthorization.googleapis.com"
    TITLE = "Binary Authorization API"

    def __init__(self, now: Callable[[], datetime], number_of: Callable[[str], int]) -> None:
        self._now = now
        self._number_of = number_of
        self._lock = Lock()
        self._policies: dict[str, ba.Policy] = {}
        self._attestors: dict[str, ba.Attestor] = {}
        self.on_delete: list[Callable[[str], None]] = []
        """Told the name of each attestor that is deleted."""

    # Policy

    @rpc("name", "binaryauthorization.policy.get")
    def get_policy(self, request: ba.GetPolicyRequest) -> ba.Policy:
        parse_name(POLICY, request.name)
        with self._lock:
            return self._policy(request.name)

    @rpc("policy.name", "binaryauthorization.policy.update", writes=True)
    def update_policy(self, request: ba.UpdatePolicyRequest) -> ba.Policy:
        wanted = request.policy
        parse_name(POLICY, wanted.name)
        rules = _checked_rules(wanted)
        with self._lock:
            check_etag(wanted.etag, self._policy(wanted.name).etag)
            # resources.proto asks that attestors exist before a policy names them.
            for rule in rules:
                for attestor in rule.require_attestations_by:
                    self._attestor(attestor)
            stored = ba.Policy(wanted)
            stored.update_time = self._now()
            stored.etag = _etag(stored)
            self._policies[stored.name] = stored
            return stored

    def _policy(self, name: str) -> ba.Policy:
        return self._policies.get(name) or _default_policy(name)

    # Attestors

    @rpc("parent", "binaryauthorization.attestors.create", writes=True)
    def create_attestor(self, request: ba.CreateAttestorRequest) -> ba.Attestor:
        parse_name(PROJECT, request.parent)
        name = f"{request.parent}/attestors/{request.attestor_id}"
        parse_name(ATTESTOR, name)
        if request.attestor.name not in ("", name):
            raise invalid(f"attestor.name {request.attestor.name!r} is not {name!r}.")
        with self._lock:
            if name in self._attestors:
                raise already_exists("Attestor", name)
            return self._store(name, request.attestor)

    @rpc("name", "binaryauthorization.attestors.get")
    def get_attestor(self, request: ba.GetAttestorRequest) -> ba.Attestor:
        return self.attestor(request.name)

    @rpc("attestor.name", "binaryauthorization.attestors.update", writes=True)
    def update_attestor(self, request: ba.UpdateAttestorRequest) -> ba.Attestor:
        wanted = request.attestor
        with self._lock:
            current = self._attestor(wanted.name)
            check_etag(wanted.etag, current.etag)
            note = current.user_owned_grafeas_note.note_reference
            if wanted.user_owned_grafeas_note.note_reference != note:
                raise invalid(f"note_reference may not be updated; it is {note!r}.")
            return self._store(wanted.name, wanted)

    @rpc("parent", "binaryauthorization.attestors.list")
    def list_attestors(self, request: ba.ListAttestorsRequest) -> ba.ListAttestorsResponse:
        parse_name(PROJECT, request.parent)
        with self._lock:
            entries = [
                entry
                for entry in self._attestors.items()
                if entry[0].startswith(request.parent + "/attestors/")
            ]
        shown, token = page(
            entries,
            query=(request.parent,),
            token=request.page_token,
            size=request.page_size,
            default=_PAGE,
            maximum=_MAX_PAGE,
        )
        return ba.ListAttestorsResponse(attestors=shown, next_page_token=token)

    @rpc("name", "binaryauthorization.attestors.delete", writes=True)
    def delete_attestor(self, request: ba.DeleteAttestorRequest) -> empty_pb2.Empty:
        with self._lock:
            del self._attestors[self._attestor(request.name).name]
            for tell in self.on_delete:
                tell(request.name)
        return empty_pb2.Empty()

    def attestor(self, name: str) -> ba.Attestor:
        """The attestor of this name, as stored; Refusal (NOT_FOUND) if there is none."""
        with self._lock:
            return self._attestor(name)

    def _attestor(self, name: str) -> ba.Attestor:
        parse_name(ATTESTOR, name)
        if name not in self._attestors:
            raise not_found("Attestor", name)
        return self._attestors[name]

    def _store(self, name: str, wanted: ba.Attestor) -> ba.Attestor:
        project = parse_name(ATTESTOR, name)["project"]
        note = wanted.user_owned_grafeas_note
        # resources.proto wants the project by id here, never by number.
        if parse_name(NOTE, note.note_reference)["project"].isdecimal():
            raise invalid("note_reference must use a project ID, not a project number.")
        stored = ba.Attestor(
            name=name,
            description=wanted.description,
            update_time=self._now(),
            user_owned_grafeas_note=ba.UserOwnedGrafeasNote(
                note_reference=note.note_reference,
                public_keys=[_with_id(key) for key in note.public_keys],
                delegation_service_account_email=(
                    f"service-{self._number_of(project)}"
                    "@gcp-sa-binaryauthorization.iam.gserviceaccount.com"
                ),
            ),
        )
        stored.etag = _etag(stored)
        self._attestors[name] = stored
        return stored


class ValidationHelper:
    """``ValidationHelperV1``: is this attestation one of that attestor?"""

    SERVICE = "google.cloud.binaryauthorization.v1.ValidationHelperV1"
    HOST = BinaryAuthorization.HOST
    TITLE = BinaryAuthorization.TITLE

    def __init__(self, attestor: Callable[[str], ba.Attestor]) -> None:
        self._attestor = attestor

    @rpc("attestor", "binaryauthorization.attestors.verifyImageAttested")
    def validate_attestation_occurrence(
        self, request: ba.ValidateAttestationOccurrenceRequest
    ) -> ba.ValidateAttestationOccurrenceResponse:
        for field in ("attestor", "attestation", "occurrence_note", "occurrence_resource_uri"):
            if field not in request:
                raise invalid(f"{field} is required.")
        attestor = self._attestor(request.attestor)
        try:
            _verify(attestor, request)
        except NotVerified as denial:
            return ba.ValidateAttestationOccurrenceResponse(
                result=Result.ATTESTATION_NOT_VERIFIABLE, denial_reason=str(denial)
            )
        return ba.ValidateAttestationOccurrenceResponse(result=Result.VERIFIED)


def _verify(attestor: ba.Attestor, request: ba.ValidateAttestationOccurrenceRequest) -> None:
    """Find the key, verify, parse, compare, in this order; raises NotVerified."""
    note = attestor.user_owned_grafeas_note
    if request.occurrence_note != note.note_reference:
        raise NotVerified(
            f"The occurrence's note {request.occurrence_note} is not the attestor's note "
            f"{note.note_reference}."
        )
    wanted = digest_of(request.occurrence_resource_uri)
    if wanted is None:
        raise NotVerified("Expected digest with sha256 scheme, but got tag or malformed digest")
    reasons: list[str] = []
    for signature in request.attestation.signatures:
        keys = [key for key in note.public_keys if key.id == signature.public_key_id]
        if not keys:
            reasons.append(f"no key {signature.public_key_id!r} on the attestor")
        for key in keys:
            try:
                payload = _public_key(key).verify(
                    signature.signature, request.attestation.serialized_payload
                )
            except NotVerified as reason:
                reasons.append(f"key {key.id!r}: {reason}")
            else:
                check_payload(payload, wanted)
                return
    told = "; ".join(reasons) or "the attestation has no signatures"
    raise NotVerified(
        f"No attestations found that were valid and signed by a key trusted by the attestor: {told}"
    )


def digest_of(image: str) -> str | None:
    """The digest, ``sha256:`` and 64 hex digits, that an image's name ends with."""
    match = _DIGEST.search(image)
    return match[1] if match else None


def check_payload(payload: bytes, wanted: str) -> None:
    """The signed message names the image; only its digest counts. Raises NotVerified.

    https://cloud.google.com/binary-authorization/docs/making-attestations
    """
    try:
        signed = json.loads(payload)["critical"]["image"]["docker-manifest-digest"]
    except (ValueError, KeyError, TypeError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise NotVerified(
            f"Signature verified, but unexpected message was signed: {detail}"
        ) from error
    if signed != wanted:
        raise NotVerified(f"Signature verified, but it is for digest {signed!r}, not {wanted!r}.")


def _public_key(key: ba.AttestorPublicKey) -> PkixKey | PgpKey:
    if key.ascii_armored_pgp_public_key:
        return PgpKey.parse(key.ascii_armored_pgp_public_key)
    pkix = key.pkix_public_key
    algorithm = ba.PkixPublicKey.SignatureAlgorithm(pkix.signature_algorithm)
    return PkixKey.parse(pkix.public_key_pem, algorithm.name)


def _with_id(given: ba.AttestorPublicKey) -> ba.AttestorPublicKey:
    """A key as the service stores it: checked, and with the id that signatures must name."""
    if ba.AttestorPublicKey.pb(given).WhichOneof("public_key") is None:
        raise invalid("public_keys: each needs a pkix_public_key or ascii_armored_pgp_public_key.")
    stored = ba.AttestorPublicKey(given)
    match _public_key(given):
        case PgpKey() as key:
            stored.id = key.default_id()
        case PkixKey() as key:
            inner = given.pkix_public_key.key_id
            if inner and given.id and inner != given.id:
                raise invalid(f"pkix_public_key.key_id {inner!r} differs from id {given.id!r}.")
            stored.id = given.id or inner or key.default_id()
    return stored


def _default_policy(name: str) -> ba.Policy:
    """What a project has before its first UpdatePolicy, as ``gcloud … policy export`` shows it."""
    policy = ba.Policy(
        name=name,
        global_policy_evaluation_mode=ba.Policy.GlobalPolicyEvaluationMode.ENABLE,
        default_admission_rule=ba.AdmissionRule(
            evaluation_mode=Evaluation.ALWAYS_ALLOW,
            enforcement_mode=ba.AdmissionRule.EnforcementMode.ENFORCED_BLOCK_AND_AUDIT_LOG,
        ),
    )
    policy.etag = _etag(policy)
    return policy


def _checked_rules(policy: ba.Policy) -> list[ba.AdmissionRule]:
    filled = [field for field in _RULE_MAPS if getattr(policy, field)]
    if len(filled) > 1:
        raise invalid(f"Only one rule map may be non-empty, but these are: {', '.join(filled)}.")
    if "default_admission_rule" not in policy:
        raise invalid("default_admission_rule is required.")
    rules = {"default_admission_rule": policy.default_admission_rule}
    for field in filled:
        rules |= {f"{field}[{key}]": rule for key, rule in getattr(policy, field).items()}
    for where, rule in rules.items():
        if not rule.evaluation_mode or not rule.enforcement_mode:
            raise invalid(f"{where}: evaluation_mode and enforcement_mode are required.")
        attesting = rule.evaluation_mode == Evaluation.REQUIRE_ATTESTATION
        if attesting != bool(rule.require_attestations_by):
            raise invalid(
                f"{where}: require_attestations_by must be non-empty with REQUIRE_ATTESTATION "
                "and empty otherwise."
            )
    return list(rules.values())


def _etag(resource: Any) -> str:
    content = type(resource).serialize(resource)
    return f'"{base64.b64encode(hashlib.sha256(content).digest()[:9]).decode()}"'


def check_etag(given: str, current: str) -> None:
    """Refuse an etag that is given and not current: https://google.aip.dev/154, ABORTED."""
    if given and given != current:
        raise Refusal(grpc.StatusCode.ABORTED, "The etag does not match the stored resource's.")
