"""Whether a pod's images may run: a project's policy, evaluated with real cryptography.

https://cloud.google.com/binary-authorization/docs/policy-yaml-reference
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.cloud import binaryauthorization_v1 as ba
from grafeas import grafeas_v1 as g

from step.emulator.binary_authorization import BinaryAuthorization, ValidationHelper
from step.emulator.grafeas import Grafeas
from step.emulator.patterns import covers
from step.emulator.refusal import Refusal

_BY_DIGEST = re.compile(r"[^@]+@(sha256:[0-9a-f]{64})")
_PAGE = 1000

# The texts that clusters report; those that no cluster was seen to report are marked.
_NO_DIGEST = "Expected digest with sha256 scheme, but got tag or malformed digest"
_UNTRUSTED = "No attestations found that were valid and signed by a key trusted by the attestor"
_ALWAYS_DENY = "Denied by always_deny admission rule"
_NO_ATTESTOR = "The rule requires attestations and names no attestor"  # our own
_NO_SUCH_MODE = "The rule's evaluation mode is not known"  # our own

_Mode = ba.AdmissionRule.EvaluationMode
_Enforcement = ba.AdmissionRule.EnforcementMode
_Global = ba.Policy.GlobalPolicyEvaluationMode


@dataclass(frozen=True, slots=True)
class Pod:
    """Where a pod is to run; what a review does not say is None.

    ``cluster`` is ``LOCATION.NAME``, ``service_account`` ``NAMESPACE:NAME``, ``service_identity``
    ``spiffe://DOMAIN/ns/NAMESPACE/sa/NAME``.
    """

    project: str
    cluster: str
    namespace: str | None = None
    service_account: str | None = None
    service_identity: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of an image: a denial, empty if there is none, and if it is enforced."""

    image: str
    denial: str = ""
    enforced: bool = True


class Admission:
    """Evaluates projects' policies for images, by what the emulator's services hold."""

    def __init__(
        self, authorization: BinaryAuthorization, grafeas: Grafeas, system_policy: ba.Policy
    ) -> None:
        self._authorization = authorization
        self._validation = ValidationHelper(authorization.attestor)
        self._grafeas = grafeas
        self._system_policy = system_policy

    def verdicts(self, images: Sequence[str], pod: Pod) -> tuple[Verdict, ...]:
        """A verdict on each image, by one and the same policy.

        Raises Refusal when the project cannot be one.
        """
        name = f"projects/{pod.project}/policy"
        policy = self._authorization.get_policy(ba.GetPolicyRequest(name=name))
        return tuple(self._verdict(policy, image, pod) for image in images)

    def _verdict(self, policy: ba.Policy, image: str, pod: Pod) -> Verdict:
        if any(covers(pattern, image) for pattern in self._exemptions(policy)):
            return Verdict(image)
        denied = f"Image {image} denied by Binary Authorization"
        try:
            by, rule = _rule_for(policy, pod)
        except _NotSaid as unknown:
            return Verdict(image, f"{denied}: {unknown}")
        reasons = ". ".join(self._reasons(rule, image))
        # An enforcement mode that a later version of the API may add is enforced.
        enforced = rule.enforcement_mode != _Enforcement.DRYRUN_AUDIT_LOG_ONLY
        return Verdict(image, f"{denied} {by}. {reasons}" if reasons else "", enforced)

    def _exemptions(self, policy: ba.Policy) -> Iterator[str]:
        """The patterns of images that no rule looks at: the system's first, then the project's."""
        if policy.global_policy_evaluation_mode == _Global.ENABLE:
            for pattern in self._system_policy.admission_whitelist_patterns:
                yield pattern.name_pattern
        for pattern in policy.admission_whitelist_patterns:
            yield pattern.name_pattern

    def _reasons(self, rule: ba.AdmissionRule, image: str) -> Iterator[str]:
        """Why the rule denies the image; nothing if it does not."""
        match rule.evaluation_mode:
            case _Mode.ALWAYS_ALLOW:
                return
            case _Mode.ALWAYS_DENY:
                yield _ALWAYS_DENY
            case _Mode.REQUIRE_ATTESTATION:
                if not rule.require_attestations_by:  # all of none must not be a yes
                    yield _NO_ATTESTOR
                for name in dict.fromkeys(rule.require_attestations_by):
                    reason = self._missing(name, image)
                    if reason:
                        yield f"Image {image} denied by attestor {name}: {reason}"
            case _:
                yield _NO_SUCH_MODE

    def _missing(self, attestor: str, image: str) -> str:
        """Why the attestor does not attest the image; empty if it does."""
        by_digest = _BY_DIGEST.fullmatch(image)
        if by_digest is None:
            return _NO_DIGEST
        try:
            note = self._authorization.attestor(attestor).user_owned_grafeas_note.note_reference
            for occurrence in self._occurrences(note, by_digest[1]):
                if self._verifies(attestor, occurrence):
                    return ""
        except Refusal as refusal:  # deleted since the policy was stored
            return refusal.message
        return _UNTRUSTED

    def _occurrences(self, note: str, digest: str) -> Iterator[g.Occurrence]:
        """What lists show of a digest, whatever name the image has."""
        request = g.ListNoteOccurrencesRequest(name=note, page_size=_PAGE)
        while True:
            listed = self._grafeas.list_note_occurrences(request)
            for occurrence in listed.occurrences:
                if occurrence.resource_uri.endswith(f"@{digest}"):
                    yield occurrence
            if not listed.next_page_token:
                return
            request.page_token = listed.next_page_token

    def _verifies(self, attestor: str, occurrence: g.Occurrence) -> bool:
        answer = self._validation.validate_attestation_occurrence(
            ba.ValidateAttestationOccurrenceRequest(
                attestor=attestor,
                attestation=occurrence.attestation,
                occurrence_note=occurrence.note_name,
                occurrence_resource_uri=occurrence.resource_uri,
            )
        )
        return answer.result == ba.ValidateAttestationOccurrenceResponse.Result.VERIFIED


class _NotSaid(Exception):
    """The policy's rules are keyed by something that is not known of the pod."""


def _rule_for(policy: ba.Policy, pod: Pod) -> tuple[str, ba.AdmissionRule]:
    """The specific rule for the pod, else the default, and what a denial calls it.

    A stored policy has one map with rules at most. Only clusters' denials are known to the word.
    """
    maps = (
        ("service identity", policy.istio_service_identity_admission_rules, pod.service_identity),
        ("service account", policy.kubernetes_service_account_admission_rules, pod.service_account),
        ("namespace", policy.kubernetes_namespace_admission_rules, pod.namespace),
        ("cluster", policy.cluster_admission_rules, pod.cluster),
    )
    for called, rules, given in maps:
        if not rules:
            continue
        if given is None:  # the default rule may be the weaker one
            raise _NotSaid(f"the policy has rules by {called}, and the review says none")
        for key, rule in rules.items():
            if _bare(key) == _bare(given):
                return f"{called} admission rule for {key}", rule
    return "default admission rule", policy.default_admission_rule


def _bare(identity: str) -> str:
    return identity.removeprefix("spiffe://")
