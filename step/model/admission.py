"""Whether an image is admitted: by a policy, for a request, given what the attestors say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from step.errors import BadInput, StepError
from step.model.image import Digest, ImageRef
from step.model.keys import Identity
from step.model.names import AttestorName
from step.model.policy import (
    AdmissionRule,
    EnforcementMode,
    EvaluationMode,
    Policy,
    Scope,
    SystemPolicy,
)
from step.model.quoting import quoted
from step.model.shared_keys import NO_KEY_OF_ITS_OWN, without_keys_of_their_own

# The words of Binary Authorization's own denials, as clusters report them.
_NO_DIGEST = "Expected digest with sha256 scheme, but got tag or malformed digest"
UNTRUSTED = "No attestations found that were valid and signed by a key trusted by the attestor"


@dataclass(frozen=True, slots=True)
class Request:
    """Where an image is to run, as far as it is said; what is None is not known.

    `cluster` is `LOCATION.NAME`, `service_account` is `NAMESPACE:NAME`, `service_identity` is
    `spiffe://DOMAIN/ns/NAMESPACE/sa/NAME`, its first part optional.
    """

    cluster: str | None = None
    namespace: str | None = None
    service_account: str | None = None
    service_identity: str | None = None

    @classmethod
    def parse(
        cls,
        cluster: str | None = None,
        namespace: str | None = None,
        service_account: str | None = None,
        service_identity: str | None = None,
    ) -> Request:
        """Read what the options say; raises BadInput for another form, or a contradiction.

        A service account may stand alone beside its namespace, and says its namespace otherwise.
        """
        if service_account and ":" not in service_account:
            if not namespace:
                raise BadInput(
                    f"the service account {service_account!r} has no namespace",
                    "Write NAMESPACE:SERVICEACCOUNT, or give --namespace.",
                )
            service_account = f"{namespace}:{service_account}"
        request = cls(cluster, namespace, service_account, service_identity)
        for scope in Scope:
            given = request.of(scope)
            if given is not None and not scope.admits(given):
                raise BadInput(
                    f"{given!r} is not a {scope.called}, for {scope.option}", f"Write {scope.form}."
                )
        if service_account is None:
            return request
        own = service_account.partition(":")[0]
        if namespace not in (None, own):
            raise BadInput(
                f"the service account {service_account!r} is not of the namespace {namespace!r}",
                "Give one of the two.",
            )
        return cls(cluster, own, service_account, service_identity)

    def of(self, scope: Scope) -> str | None:
        """What rules of that scope are looked up by."""
        return {
            Scope.CLUSTER: self.cluster,
            Scope.NAMESPACE: self.namespace,
            Scope.SERVICE_ACCOUNT: self.service_account,
            Scope.SERVICE_IDENTITY: self.service_identity,
        }[scope]


@dataclass(frozen=True, slots=True)
class Attested:
    """An attestor attests the image: by this key, in this occurrence."""

    key_id: str
    occurrence: str
    keys: frozenset[Identity] = frozenset()
    """Every key that attests it, where that was looked for."""


@dataclass(frozen=True, slots=True)
class Unattested:
    """An attestor does not attest the image; `details` say why each attestation was rejected."""

    reason: str = UNTRUSTED
    details: tuple[str, ...] = ()


Evidence: TypeAlias = Attested | Unattested | StepError
"""What came of asking for an attestor; a StepError is that it could not be asked."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an image is admitted, by what, and what that rests on.

    `rule` is None where an allowlist admits the image. `denial` is the text of Binary
    Authorization, empty where nothing objects; in a dry run an image is admitted despite of it.
    """

    image: str
    admitted: bool
    by: str
    rule: AdmissionRule | None = None
    denial: str = ""
    evidence: tuple[tuple[AttestorName, Evidence], ...] = ()
    warnings: tuple[str, ...] = ()


def evaluate(
    policy: Policy,
    image: str,
    request: Request,
    ask: Callable[[AttestorName, ImageRef], Evidence],
    system: SystemPolicy | None = None,
    expected: Collection[AttestorName] = (),
    *,
    distinct_keys: bool = False,
) -> Decision:
    """Decide as Binary Authorization does: system policy, allowlist, specific rule or default.

    https://cloud.google.com/binary-authorization/docs/policy-yaml-reference. `image` is as a pod
    names it, by digest or tag. `ask` is called for each attestor that a rule requires, for
    images by digest only. `system` is None where it is not known; what it might admit is then
    judged by the project's policy, with a warning. `expected` are attestors of which it matters
    that they are asked: a warning says if one is not. With `distinct_keys`, a key counts for one
    attestor alone, which is more than Binary Authorization asks for.

    Raises BadInput for what cannot be an image. Raises the error of an attestor that could not be
    asked, unless another denies: all that are required must attest, so that one is enough.
    """
    reference = by_digest(image)
    exempt = _exempt(policy, image, system)
    if exempt:
        warning = "no attestation was tested: the image is exempt from every rule"
        return Decision(image, True, exempt, warnings=(warning,))
    by, rule, warnings = _rule_for(policy, request)
    evidence: tuple[tuple[AttestorName, Evidence], ...] = ()
    if rule.evaluation is EvaluationMode.REQUIRE_ATTESTATION:
        evidence = tuple(
            (name, ask(name, reference) if reference else Unattested(_NO_DIGEST))
            for name in dict.fromkeys(rule.attestors)
        )
    if distinct_keys:
        evidence = tuple(_distinct(evidence))
    denial = _denial(image, by, rule, evidence)
    if denial and policy.uses_system_policy and system is None:
        warnings += ("Google's system policy is in use, not known here, and may admit the image",)
    dry_run = rule.enforcement is EnforcementMode.DRYRUN_AUDIT_LOG_ONLY
    if dry_run:
        warnings += (f"nothing is enforced: the rule is a dry run{' that objects' * bool(denial)}",)
    return Decision(
        image=image,
        admitted=dry_run or not denial,
        by=by,
        rule=rule,
        denial=denial,
        evidence=evidence,
        warnings=warnings + tuple(_untested(rule, expected)),
    )


def _distinct(
    evidence: tuple[tuple[AttestorName, Evidence], ...],
) -> Iterator[tuple[AttestorName, Evidence]]:
    held = {name: said.keys for name, said in evidence if isinstance(said, Attested)}
    lacking = without_keys_of_their_own(held, dict.fromkeys(held, 1))
    for name, said in evidence:
        yield name, Unattested(NO_KEY_OF_ITS_OWN) if name in lacking else said


def by_digest(image: str) -> ImageRef | None:
    """The image by digest, or None where a tag or a malformed digest names it.

    Raises BadInput for what no pod could name an image by, and for a digest whose name is not
    whole.
    """
    if not image or not image.isprintable() or " " in image or "://" in image:
        raise BadInput(
            f"{quoted(image)} is not an image",
            "Write it as a pod does: registry/repository@sha256:….",
        )
    try:
        Digest.parse(image.rpartition("@")[2])
    except BadInput:
        return None
    return ImageRef.parse(image)


def _exempt(policy: Policy, image: str, system: SystemPolicy | None) -> str:
    """The pattern that admits the image before any rule is looked at, or nothing."""
    lists = [("allowlist", policy.allowlist)]
    if policy.uses_system_policy and system is not None:
        lists.insert(0, ("system policy", system.allowlist))
    for called, patterns in lists:
        for pattern in patterns:
            if pattern.matches(image):
                return f"{called}, pattern {pattern.text}"
    return ""


def _untested(rule: AdmissionRule, expected: Collection[AttestorName]) -> Iterator[str]:
    """Warnings of attestations that the rule never looks at."""
    if rule.evaluation is EvaluationMode.ALWAYS_ALLOW:
        yield "no attestation was tested: the rule is ALWAYS_ALLOW"
    for name in expected:
        if rule.evaluation is EvaluationMode.REQUIRE_ATTESTATION and name not in rule.attestors:
            yield f"the attestation by {name} was not tested: the rule does not require it"


def _rule_for(policy: Policy, request: Request) -> tuple[str, AdmissionRule, tuple[str, ...]]:
    scope = policy.scope
    if scope is None:
        return "default admission rule", policy.default, ()
    given = request.of(scope)
    for key, rule in policy.rules:
        if given is not None and _bare(key) == _bare(given):
            return f"{scope.called} admission rule for {key}", rule, ()
    missing = f"the policy has rules by {scope.called}, and {scope.option} was not given"
    return "default admission rule", policy.default, (missing,) if given is None else ()


def _bare(key: str) -> str:
    return key.removeprefix("spiffe://")


def _denial(
    image: str, by: str, rule: AdmissionRule, evidence: tuple[tuple[AttestorName, Evidence], ...]
) -> str:
    """Why the rule denies, empty if it does not; the texts are Binary Authorization's."""
    if rule.evaluation is EvaluationMode.ALWAYS_ALLOW:
        return ""
    denied = f"Image {image} denied by Binary Authorization {by}."
    if rule.evaluation is EvaluationMode.ALWAYS_DENY:
        return f"{denied} Denied by always_deny admission rule"
    if not evidence:  # "all of none" must not be a yes
        return f"{denied} The rule requires attestations and names no attestor"
    reasons = [
        f"Image {image} denied by attestor {name}: {said.reason}"
        for name, said in evidence
        if isinstance(said, Unattested)
    ]
    if reasons:
        return f"{denied} {'. '.join(reasons)}"
    for _, said in evidence:
        if isinstance(said, StepError):
            raise said
    return ""
