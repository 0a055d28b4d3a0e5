"""A project's policy for Binary Authorization, read strictly from gcloud's export form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from step.errors import BadInput
from step.model.names import AttestorName
from step.model.quoting import quoted
from step.model.strict import Value, document

# google/cloud/binaryauthorization/v1/resources.proto, message Policy, in the JSON form that
# gcloud container binauthz policy export prints and import reads.
_TEXTS = ("name", "description", "updateTime", "etag")
_GLOBAL_MODE = "globalPolicyEvaluationMode"
_PATTERNS = "admissionWhitelistPatterns"
_DEFAULT = "defaultAdmissionRule"
_RULE_KEYS = ("evaluationMode", "enforcementMode", "requireAttestationsBy")
_FORM = "The form is what gcloud container binauthz policy export prints."


class EvaluationMode(Enum):
    """How a rule decides; google/cloud/binaryauthorization/v1/resources.proto, AdmissionRule."""

    ALWAYS_ALLOW = "ALWAYS_ALLOW"
    REQUIRE_ATTESTATION = "REQUIRE_ATTESTATION"
    ALWAYS_DENY = "ALWAYS_DENY"


class EnforcementMode(Enum):
    """What a denial does: block, or only be logged; same source."""

    ENFORCED_BLOCK_AND_AUDIT_LOG = "ENFORCED_BLOCK_AND_AUDIT_LOG"
    DRYRUN_AUDIT_LOG_ONLY = "DRYRUN_AUDIT_LOG_ONLY"


class Scope(Enum):
    """What specific rules are keyed by.

    The values are: the rule map's field, what the rule is called, the option that gives the key,
    the key's form and its pattern (resources.proto, Policy). A key of another form would match
    nothing. How a denial calls a rule is known of clusters only; the others follow.
    """

    CLUSTER = (
        "clusterAdmissionRules",
        "cluster",
        "--cluster",
        "LOCATION.CLUSTER",
        r"[a-z0-9-]+\.[A-Za-z0-9_-]+",
    )
    NAMESPACE = (
        "kubernetesNamespaceAdmissionRules",
        "namespace",
        "--namespace",
        "NAMESPACE",
        r"[a-z0-9.-]+",
    )
    SERVICE_ACCOUNT = (
        "kubernetesServiceAccountAdmissionRules",
        "service account",
        "--service-account",
        "NAMESPACE:SERVICEACCOUNT",
        r"[a-z0-9.-]+:[a-z0-9.-]+",
    )
    SERVICE_IDENTITY = (
        "istioServiceIdentityAdmissionRules",
        "service identity",
        "--service-identity",
        "spiffe://DOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT",
        r"(?:spiffe://)?[^/\s]+/ns/[a-z0-9.-]+/sa/[a-z0-9.-]+",
    )

    def __init__(self, field: str, called: str, option: str, form: str, pattern: str) -> None:
        self.field = field
        self.called = called
        self.option = option
        self.form = form
        self._pattern = re.compile(pattern)

    def admits(self, key: str) -> bool:
        """Whether rules of this scope can have that key."""
        return self._pattern.fullmatch(key) is not None


@dataclass(frozen=True, slots=True)
class AllowPattern:
    """A pattern of images that are admitted unseen.

    A `*` at the end stands for any text without `/`, a `**` for any text; only after the registry
    and its `/`, and everything else is literal (resources.proto, AdmissionWhitelistPattern).
    """

    text: str

    def matches(self, image: str) -> bool:
        """Whether the image, as a pod names it, is admitted unseen."""
        if self.text.endswith("**"):
            start, across = self.text[:-2], True
        elif self.text.endswith("*"):
            start, across = self.text[:-1], False
        else:
            return image == self.text
        if "/" not in start:
            return image == self.text
        return image.startswith(start) and (across or "/" not in image[len(start) :])


@dataclass(frozen=True, slots=True)
class AdmissionRule:
    """How images are judged that no allowlist covers."""

    evaluation: EvaluationMode
    enforcement: EnforcementMode
    attestors: tuple[AttestorName, ...] = ()

    def to_mapping(self) -> dict[str, Any]:
        """The rule as gcloud exports it."""
        names = {"requireAttestationsBy": [str(name) for name in self.attestors]}
        modes = {"evaluationMode": self.evaluation.value, "enforcementMode": self.enforcement.value}
        return modes | (names if self.attestors else {})


@dataclass(frozen=True, slots=True)
class Policy:
    """A project's policy; `rules` are the specific ones by their key, of the one `scope`.

    `name`, `description`, `update_time` and `etag` are as they were read, or empty.
    """

    default: AdmissionRule
    scope: Scope | None = None
    rules: tuple[tuple[str, AdmissionRule], ...] = ()
    allowlist: tuple[AllowPattern, ...] = ()
    uses_system_policy: bool = False
    name: str = ""
    description: str = ""
    update_time: str = ""
    etag: str = ""

    @classmethod
    def parse(cls, text: str, where: str) -> Policy:
        """Read what gcloud exports, as YAML or JSON; `where` names it in errors.

        Raises BadInput for what is not one mapping, and as `from_mapping` does.
        """
        return cls.from_mapping(document(text, where, _FORM).value, where)

    @classmethod
    def from_mapping(cls, mapping: object, where: str) -> Policy:
        """Read gcloud's export form from what YAML or JSON made of it.

        Raises BadInput for an unknown key, a missing default rule or mode, more than one rule map
        with rules, attestors where none are required or none where they are, and all that has not
        its form: a policy that is understood in part could only be judged wrongly.
        """
        top = Value(where, mapping, _FORM)
        maps = {scope: scope.field for scope in Scope}
        top.only(*_TEXTS, _GLOBAL_MODE, _PATTERNS, *maps.values(), _DEFAULT)
        rules = {scope: _rules(top, scope) for scope, field in maps.items() if field in top.keys}
        filled = [scope for scope, own in rules.items() if own]
        if len(filled) > 1:
            raise top.error(
                "only one rule map may have rules, but these have: "
                + ", ".join(scope.field for scope in filled)
            )
        scope = filled[0] if filled else None
        return cls(
            default=_rule(top.child(_DEFAULT)),
            scope=scope,
            rules=rules[scope] if scope else (),
            allowlist=_patterns(top),
            uses_system_policy=_uses_system_policy(top),
            name=top.text("name"),
            description=top.text("description"),
            update_time=top.text("updateTime"),
            etag=top.text("etag"),
        )

    def to_mapping(self) -> dict[str, Any]:
        """The policy as gcloud exports it; empty fields are left out."""
        rules = {key: rule.to_mapping() for key, rule in self.rules}
        fields: dict[str, Any] = {
            _PATTERNS: [{"namePattern": pattern.text} for pattern in self.allowlist],
            **({self.scope.field: rules} if self.scope else {}),
            _DEFAULT: self.default.to_mapping(),
            "description": self.description,
            "etag": self.etag,
            _GLOBAL_MODE: "ENABLE" if self.uses_system_policy else "DISABLE",
            "name": self.name,
            "updateTime": self.update_time,
        }
        return {key: value for key, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class SystemPolicy:
    """Google's own policy for the images of its systems: only what it admits matters.

    resources.proto, Policy.global_policy_evaluation_mode.
    """

    allowlist: tuple[AllowPattern, ...]

    @classmethod
    def parse(cls, text: str, where: str) -> SystemPolicy:
        """Read what `gcloud alpha container binauthz policy export-system-policy` prints."""
        return cls.from_mapping(document(text, where, _FORM).value, where)

    @classmethod
    def from_mapping(cls, mapping: object, where: str) -> SystemPolicy:
        """Read it from what YAML or JSON made of it; raises BadInput for unknown keys."""
        top = Value(where, mapping, _FORM)
        top.only(*_TEXTS, _GLOBAL_MODE, _PATTERNS, _DEFAULT)
        return cls(_patterns(top))


# Reading


def _patterns(top: Value) -> tuple[AllowPattern, ...]:
    patterns = []
    for item in top.items(_PATTERNS):
        item.only("namePattern")
        text = item.text("namePattern")
        if not text:
            raise item.error("namePattern is missing")
        patterns.append(AllowPattern(text))
    return tuple(patterns)


def _uses_system_policy(top: Value) -> bool:
    # resources.proto, GlobalPolicyEvaluationMode: left out, it is DISABLE.
    mode = top.text(_GLOBAL_MODE) or "DISABLE"
    if mode not in ("ENABLE", "DISABLE", "GLOBAL_POLICY_EVALUATION_MODE_UNSPECIFIED"):
        raise top.child(_GLOBAL_MODE).error(f"{quoted(mode)} is neither ENABLE nor DISABLE")
    return mode == "ENABLE"


def _rules(top: Value, scope: Scope) -> tuple[tuple[str, AdmissionRule], ...]:
    rules = top.child(scope.field)
    for key in rules.keys:
        if not isinstance(key, str) or not scope.admits(key):
            raise rules.error(f"{quoted(key)} is not {scope.form}")
    return tuple((key, _rule(rules.child(key))) for key in rules.value)


def _rule(rule: Value) -> AdmissionRule:
    rule.only(*_RULE_KEYS)
    evaluation = rule.choice("evaluationMode", EvaluationMode)
    enforcement = rule.choice("enforcementMode", EnforcementMode)
    attestors = []
    for item in rule.items("requireAttestationsBy"):
        if not isinstance(item.value, str):
            raise item.error("must be a text")
        try:
            attestors.append(AttestorName.parse(item.value))
        except BadInput as error:
            raise item.error(error.message) from None
    if (evaluation is EvaluationMode.REQUIRE_ATTESTATION) != bool(attestors):
        raise rule.error(
            "requireAttestationsBy must name attestors with REQUIRE_ATTESTATION, and none otherwise"
        )
    return AdmissionRule(evaluation, enforcement, tuple(attestors))
