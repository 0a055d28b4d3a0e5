"""The policy's form, and the truth table of what it admits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from step.errors import BadInput, Unavailable
from step.model.admission import (
    UNTRUSTED,
    Attested,
    Decision,
    Evidence,
    Request,
    Unattested,
    evaluate,
)
from step.model.image import ImageRef
from step.model.names import AttestorName
from step.model.policy import (
    AdmissionRule,
    AllowPattern,
    EnforcementMode,
    EvaluationMode,
    Policy,
    Scope,
    SystemPolicy,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4
NAME = "gcr.io/my-project/web"
IMAGE = f"{NAME}@{DIGEST}"
TAG = f"{NAME}:v1"
A, B = (AttestorName.parse(f"projects/p/attestors/{each}") for each in "ab")
BLOCK = EnforcementMode.ENFORCED_BLOCK_AND_AUDIT_LOG
DRY_RUN = EnforcementMode.DRYRUN_AUDIT_LOG_ONLY
ALLOW = AdmissionRule(EvaluationMode.ALWAYS_ALLOW, BLOCK)
DENY = AdmissionRule(EvaluationMode.ALWAYS_DENY, BLOCK)
YES = Attested("key", "projects/p/occurrences/1")
NO = Unattested()
UNASKED = Unavailable("no answer")
NOWHERE = Request()


def require(*names: AttestorName, enforcement: EnforcementMode = BLOCK) -> AdmissionRule:
    return AdmissionRule(EvaluationMode.REQUIRE_ATTESTATION, enforcement, names)


def judge(
    policy: Policy | AdmissionRule,
    image: str = IMAGE,
    request: Request = NOWHERE,
    says: Mapping[AttestorName, Evidence] | None = None,
    **given: Any,
) -> Decision:
    """Evaluate, with what attestors say; one that is not named there must not be asked."""

    def verdict(name: AttestorName, about: ImageRef) -> Evidence:
        assert str(about) == image
        return (says or {})[name]

    policy = policy if isinstance(policy, Policy) else Policy(policy)
    return evaluate(policy, image, request, verdict, **given)


# Patterns


@pytest.mark.parametrize(
    ("pattern", "image", "matches"),
    [
        (NAME, NAME, True),
        (NAME, TAG, False),
        (NAME, IMAGE, False),
        (TAG, TAG, True),
        (IMAGE, IMAGE, True),
        ("gcr.io/my-project/*", IMAGE, True),
        ("gcr.io/my-project/*", TAG, True),
        ("gcr.io/my-project/*", "gcr.io/my-project/team/web:v1", False),
        ("gcr.io/my-project/**", "gcr.io/my-project/team/web:v1", True),
        ("gcr.io/my-project/*", "gcr.io/my-project/", True),
        ("gcr.io/nginx*", "gcr.io/nginx@latest", True),
        ("gcr.io/nginx*", "gcr.io/nginx/image", False),
        ("gcr.io/my-project**", "gcr.io/my-project-2/web:v1", True),
        ("gcr.io/my-project**", TAG, True),
        ("gcr.io/my-project*", TAG, False),
        ("gcr.io/my-project/nginx**", "gcr.io/my-project/nginx-1.14.2/image:latest", True),
        ("gcr.io/my-project/web:v1.*", "gcr.io/my-project/web:v1.2", True),
        ("gcr.io/my-project/web:v1.*", "gcr.io/my-project/web:v12", False),
        ("gcr.io/*", "gcr.io/web", True),
        ("gcr.io/*", "gcr.io.example.com/web", False),
        ("gcr.io*", "gcr.io.example.com", False),
        ("gcr.io**", "gcr.io/web", False),
        ("*", "web", False),
        ("**", TAG, False),
        ("*/**", TAG, False),
        ("gcr.io/*/web:v1", TAG, False),
        ("gcr.io/my-project/w?b:v1", TAG, False),
        ("gcr.io/my.project/*", TAG, False),
        ("gcr.io/my-project/***", "gcr.io/my-project/web", False),
        ("GCR.io/my-project/*", TAG, False),
    ],
)
def test_patterns(pattern: str, image: str, matches: bool) -> None:
    assert AllowPattern(pattern).matches(image) is matches
    policy = Policy(DENY, allowlist=(AllowPattern("x.io/y"), AllowPattern(pattern)))
    assert judge(policy, image).admitted is matches


# The truth table


@pytest.mark.parametrize("enforcement", EnforcementMode)
@pytest.mark.parametrize("image", [IMAGE, TAG, NAME, f"{NAME}:v1@{DIGEST}", f"{NAME}@sha256:ab"])
@pytest.mark.parametrize("evaluation", EvaluationMode)
def test_every_mode_with_every_kind_of_name(
    evaluation: EvaluationMode, image: str, enforcement: EnforcementMode
) -> None:
    attesting = evaluation is EvaluationMode.REQUIRE_ATTESTATION
    rule = AdmissionRule(evaluation, enforcement, (A,) if attesting else ())
    actual = evaluate(Policy(rule), image, Request(), lambda name, about: YES)
    by_digest = image.endswith(DIGEST)
    conforms = evaluation is EvaluationMode.ALWAYS_ALLOW or (attesting and by_digest)
    assert actual.admitted is (conforms or enforcement is DRY_RUN)
    assert bool(actual.denial) is not conforms
    assert actual.by == "default admission rule"
    warned = any("nothing is enforced" in warning for warning in actual.warnings)
    assert warned is (enforcement is DRY_RUN)


@pytest.mark.parametrize(
    ("says", "admitted"),
    [
        ({A: YES, B: YES}, True),
        ({A: YES, B: NO}, False),
        ({A: NO, B: YES}, False),
        ({A: NO, B: NO}, False),
        ({A: NO, B: UNASKED}, False),
        ({A: UNASKED, B: NO}, False),
        ({A: YES, B: UNASKED}, None),
        ({A: UNASKED, B: YES}, None),
        ({A: UNASKED, B: UNASKED}, None),
    ],
)
@pytest.mark.parametrize("enforcement", EnforcementMode)
def test_every_attestor_must_attest(
    says: dict[AttestorName, Evidence], admitted: bool | None, enforcement: EnforcementMode
) -> None:
    """What could not be asked is neither yes nor no, unless another's no settles it."""
    rule = require(A, B, enforcement=enforcement)
    if admitted is None:
        with pytest.raises(Unavailable, match="no answer"):
            judge(rule, says=says)
        return
    actual = judge(rule, says=says)
    assert bool(actual.denial) is not admitted
    assert actual.admitted is (admitted or enforcement is DRY_RUN)
    assert actual.evidence == tuple(says.items())


def test_a_denial_reads_like_that_of_binary_authorization() -> None:
    deny = "Image {0} denied by Binary Authorization {1} admission rule"
    default = deny.format(IMAGE, "default") + "."
    assert judge(DENY).denial == f"{default} Denied by always_deny admission rule"
    reason = f"Image {IMAGE} denied by attestor {A}: {UNTRUSTED}"
    assert judge(require(A), says={A: NO}).denial == f"{default} {reason}"
    both = judge(require(A, B), says={A: NO, B: NO}).denial
    assert both == f"{default} {reason}. Image {IMAGE} denied by attestor {B}: {UNTRUSTED}"
    tag = judge(require(A), TAG).denial
    assert tag.endswith("Expected digest with sha256 scheme, but got tag or malformed digest")
    policy = Policy(ALLOW, Scope.CLUSTER, (("us-east4-a.c-1", DENY),))
    cluster = judge(policy, request=Request(cluster="us-east4-a.c-1")).denial
    assert cluster.startswith(deny.format(IMAGE, "cluster") + " for us-east4-a.c-1. ")


KEYS = {
    Scope.CLUSTER: ("us-east1-a.prod", "us-east1-b.prod"),
    Scope.NAMESPACE: ("shop", "shop-2"),
    Scope.SERVICE_ACCOUNT: ("shop:web", "shop:db"),
    Scope.SERVICE_IDENTITY: ("spiffe://d/ns/shop/sa/web", "spiffe://d/ns/shop/sa/db"),
}


def request(scope: Scope, key: str) -> Request:
    options = dict.fromkeys(Scope) | {scope: key}
    return Request.parse(*options.values())


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize(("specific", "default"), [(ALLOW, DENY), (DENY, ALLOW)])
def test_the_specific_rule_is_asked_before_the_default(
    scope: Scope, specific: AdmissionRule, default: AdmissionRule
) -> None:
    """Where a specific rule applies, the default is not looked at."""
    mine, other = KEYS[scope]
    policy = Policy(default, scope, ((mine, specific),))
    actual = judge(policy, request=request(scope, mine))
    assert (actual.rule, actual.by) == (specific, f"{scope.called} admission rule for {mine}")
    assert actual.admitted is (specific is ALLOW)
    actual = judge(policy, request=request(scope, other))
    assert (actual.rule, actual.by) == (default, "default admission rule")
    assert not any(scope.option in warning for warning in actual.warnings)
    actual = judge(policy)
    assert actual.rule == default
    assert any(f"{scope.option} was not given" in warning for warning in actual.warnings)


@pytest.mark.parametrize("asked", ["d/ns/shop/sa/web", "spiffe://d/ns/shop/sa/web"])
@pytest.mark.parametrize("key", ["d/ns/shop/sa/web", "spiffe://d/ns/shop/sa/web"])
def test_a_service_identity_may_leave_its_scheme_out(key: str, asked: str) -> None:
    policy = Policy(DENY, Scope.SERVICE_IDENTITY, ((key, ALLOW),))
    assert judge(policy, request=request(Scope.SERVICE_IDENTITY, asked)).admitted


def test_the_allowlist_comes_before_every_rule() -> None:
    policy = Policy(
        DENY, Scope.CLUSTER, (("us-east1-a.prod", DENY),), (AllowPattern("gcr.io/my-project/*"),)
    )
    for image in (IMAGE, TAG, NAME):
        actual = judge(policy, image, Request(cluster="us-east1-a.prod"))
        assert (actual.admitted, actual.rule) == (True, None)
        assert actual.by == "allowlist, pattern gcr.io/my-project/*"
        assert any("no attestation was tested" in warning for warning in actual.warnings)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("covered", [True, False])
def test_the_system_policy_counts_where_it_is_enabled(enabled: bool, covered: bool) -> None:
    system = SystemPolicy((AllowPattern(NAME + "*" if covered else "gke.gcr.io/*"),))
    actual = judge(Policy(DENY, uses_system_policy=enabled), system=system)
    assert actual.admitted is (enabled and covered)
    assert actual.by.startswith("system policy") is (enabled and covered)


def test_a_system_policy_that_is_not_known_is_warned_of() -> None:
    denied = judge(Policy(DENY, uses_system_policy=True))
    assert not denied.admitted
    assert any("system policy" in warning for warning in denied.warnings)
    allowed = judge(Policy(ALLOW, uses_system_policy=True))
    assert not any("system policy" in warning for warning in allowed.warnings)


def test_an_attestation_that_was_not_tested_is_warned_of() -> None:
    actual = judge(require(A), says={A: YES}, expected=[A, B])
    [warning] = actual.warnings
    assert str(B) in warning
    assert "no attestation was tested: the rule is ALWAYS_ALLOW" in judge(ALLOW).warnings
    assert judge(require(A), says={A: YES}).warnings == ()


@pytest.mark.parametrize("image", ["", "a b", "a\n", "a\x1b", "https://gcr.io/p/web:v1"])
def test_what_no_pod_can_name_is_no_image(image: str) -> None:
    with pytest.raises(BadInput, match="is not an image"):
        judge(ALLOW, image)


def test_a_digest_with_half_a_name_is_refused() -> None:
    with pytest.raises(BadInput, match="does not name a registry"):
        judge(require(A), f"web@{DIGEST}")


# Properties

rules = st.builds(
    lambda evaluation, enforcement, names: AdmissionRule(
        evaluation,
        enforcement,
        tuple(names) if evaluation is EvaluationMode.REQUIRE_ATTESTATION else (),
    ),
    st.sampled_from(EvaluationMode),
    st.sampled_from(EnforcementMode),
    st.lists(st.sampled_from([A, B]), max_size=3),
)
policies = st.builds(
    lambda default, scope, specific, patterns, system: Policy(
        default, scope, ((KEYS[scope][0], specific),), tuple(patterns), system
    ),
    rules,
    st.sampled_from(Scope),
    rules,
    st.lists(st.sampled_from([AllowPattern(f"{NAME}*"), AllowPattern("x.io/**")]), max_size=2),
    st.booleans(),
)
requests = st.builds(Request, *(st.sampled_from([None, *KEYS[scope]]) for scope in Scope))


@given(policies, requests, st.sampled_from([IMAGE, TAG]), st.sets(st.sampled_from([A, B])))
def test_a_further_attestation_never_turns_an_admission_into_a_denial(
    policy: Policy, request: Request, image: str, attesting: set[AttestorName]
) -> None:
    def admitted(by: set[AttestorName]) -> bool:
        return evaluate(policy, image, request, lambda name, _: YES if name in by else NO).admitted

    for more in (A, B):
        assert admitted(attesting) <= admitted(attesting | {more})


@given(requests, st.sampled_from([IMAGE, TAG, NAME]), st.sampled_from(Scope), st.booleans())
def test_an_empty_list_of_attestors_never_admits(
    request: Request, image: str, scope: Scope, system: bool
) -> None:
    policy = Policy(require(), scope, ((KEYS[scope][0], require()),), (), system)
    actual = judge(policy, image, request)
    assert not actual.admitted
    assert "names no attestor" in actual.denial


keys = st.sampled_from(
    [
        *(scope.field for scope in Scope),
        *("name", "description", "updateTime", "etag", "globalPolicyEvaluationMode"),
        *("admissionWhitelistPatterns", "namePattern", "defaultAdmissionRule", "evaluationMode"),
        *("enforcementMode", "requireAttestationsBy", "us-east1-a.prod", "shop:web"),
    ]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["ENABLE", "ALWAYS_ALLOW", "REQUIRE_ATTESTATION", BLOCK.value, str(A)]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
GOOD = {"defaultAdmissionRule": DENY.to_mapping()}


@given(values)
def test_anything_is_a_policy_or_bad_input(value: Any) -> None:
    for mapping in (value, GOOD | value if isinstance(value, dict) else value):
        try:
            policy = Policy.from_mapping(mapping, "here")
        except BadInput:
            continue
        assert Policy.from_mapping(policy.to_mapping(), "again") == policy


@given(st.text(alphabet="{}[]:,-&*!?|>'\"\n \tab0~<#%@`=", max_size=40))
def test_any_text_is_a_policy_or_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match=r"^here: "):
        Policy.parse(text, "here")


# The form

EXPORTED = """\
admissionWhitelistPatterns:
- namePattern: gcr.io/google_containers/*
clusterAdmissionRules:
  us-east1-a.prod-cluster:
    enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG
    evaluationMode: REQUIRE_ATTESTATION
    requireAttestationsBy:
    - projects/p/attestors/a
defaultAdmissionRule:
  enforcementMode: DRYRUN_AUDIT_LOG_ONLY
  evaluationMode: ALWAYS_DENY
description: what runs where
etag: '"abc"'
globalPolicyEvaluationMode: ENABLE
name: projects/p/policy
updateTime: '2026-01-01T00:00:00.000000Z'
"""


def test_the_form_that_gcloud_exports_comes_back_as_it_was() -> None:
    policy = Policy.parse(EXPORTED, "file")
    assert policy.rules == (("us-east1-a.prod-cluster", require(A)),)
    assert policy.scope is Scope.CLUSTER
    assert policy.default.enforcement is DRY_RUN
    assert policy.uses_system_policy
    assert policy.to_mapping() == yaml.safe_load(EXPORTED)


def test_json_is_read_as_well_with_tabs() -> None:
    text = json.dumps(yaml.safe_load(EXPORTED), indent="\t")
    assert Policy.parse(text, "file") == Policy.parse(EXPORTED, "file")


def test_a_namespace_is_a_text_whatever_yaml_makes_of_it() -> None:
    rules = {key: ALLOW.to_mapping() for key in ("on", "1", "2026-01-01")}
    text = yaml.dump(GOOD | {Scope.NAMESPACE.field: rules}).replace("'", "")
    assert "on:" in text
    assert {key for key, _ in Policy.parse(text, "file").rules} == set(rules)


REQUIRE = {"evaluationMode": "REQUIRE_ATTESTATION", "enforcementMode": BLOCK.value}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clusterAdmissionRule": {}}, "unknown key 'clusterAdmissionRule'"),
        ({3: 3}, "unknown key '3'"),
        ({"defaultAdmissionRule": {}}, "evaluationMode is missing"),
        ({"defaultAdmissionRule": {"evaluationMode": "ALWAYS_DENY"}}, "enforcementMode is missing"),
        ({"defaultAdmissionRule": REQUIRE}, "requireAttestationsBy must name attestors"),
        (
            {"defaultAdmissionRule": REQUIRE | {"requireAttestationsBy": []}},
            "requireAttestationsBy must name attestors",
        ),
        (
            {"defaultAdmissionRule": DENY.to_mapping() | {"requireAttestationsBy": [str(A)]}},
            "requireAttestationsBy must name attestors",
        ),
        ({"defaultAdmissionRule": REQUIRE | {"requireAttestationsBy": ["a"]}}, "has no project"),
        ({"defaultAdmissionRule": REQUIRE | {"requireAttestationsBy": [1]}}, "must be a text"),
        ({"defaultAdmissionRule": REQUIRE | {"requireAttestationsBy": str(A)}}, "must be a list"),
        ({"defaultAdmissionRule": REQUIRE | {"evaluationMode": "ALLOW"}}, "'ALLOW' is none of"),
        ({"defaultAdmissionRule": REQUIRE | {"enforcementMode": 0}}, "'0' is none of"),
        ({"name": 1}, "must be a text"),
        ({"globalPolicyEvaluationMode": "ON"}, "neither ENABLE nor DISABLE"),
        ({"admissionWhitelistPatterns": [{}]}, "namePattern is missing"),
        ({"admissionWhitelistPatterns": [{"pattern": "x"}]}, "unknown key 'pattern'"),
        ({"admissionWhitelistPatterns": {"namePattern": "x"}}, "must be a list"),
        ({Scope.CLUSTER.field: {"prod": ALLOW.to_mapping()}}, "'prod' is not LOCATION.CLUSTER"),
        ({Scope.NAMESPACE.field: {True: ALLOW.to_mapping()}}, "'True' is not NAMESPACE"),
        ({Scope.SERVICE_ACCOUNT.field: {"web": {}}}, "is not NAMESPACE:SERVICEACCOUNT"),
        ({Scope.SERVICE_IDENTITY.field: {"web": {}}}, "is not spiffe://"),
        (
            {
                Scope.CLUSTER.field: {"us-east1.prod": ALLOW.to_mapping()},
                Scope.NAMESPACE.field: {"shop": ALLOW.to_mapping()},
            },
            "only one rule map may have rules",
        ),
    ],
)
def test_what_is_not_understood_whole_is_refused(change: dict[Any, Any], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        Policy.from_mapping(GOOD | change, "file")
    assert says in caught.value.message
    assert "gcloud" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be a mapping"),
        ("name: x", "defaultAdmissionRule is missing"),
        ("name: x\nname: y", "'name' is given twice"),
        ('{"name": "x", "name": "y"}', "'name' is given twice"),
        ("a: [", "not YAML or JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("? [a]\n: b", "not YAML or JSON"),
        ("<<: {name: x}", "unknown key '<<'"),
        ("name: !!python/object:os.system x", "defaultAdmissionRule is missing"),
    ],
)
def test_texts_that_are_no_policy(text: str, says: str) -> None:
    with pytest.raises(BadInput, match="file: ") as caught:
        Policy.parse(text, "file")
    assert says in caught.value.message


def test_several_rule_maps_may_be_there_if_one_has_rules() -> None:
    maps = {Scope.CLUSTER.field: {}, Scope.NAMESPACE.field: {"shop": ALLOW.to_mapping()}}
    assert Policy.from_mapping(GOOD | maps, "file").scope is Scope.NAMESPACE


def test_the_system_policy_needs_no_rule() -> None:
    text = "admissionWhitelistPatterns:\n- namePattern: gke.gcr.io/**\nname: locations/x/policy"
    assert SystemPolicy.parse(text, "file").allowlist == (AllowPattern("gke.gcr.io/**"),)
    with pytest.raises(BadInput, match="unknown key"):
        SystemPolicy.parse("clusterAdmissionRules: {}", "file")


def test_a_service_account_says_its_namespace() -> None:
    assert Request.parse(service_account="shop:web").namespace == "shop"
    alone = Request.parse(namespace="shop", service_account="web")
    assert alone == Request(None, "shop", "shop:web")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cluster": "prod"}, "'prod' is not a cluster, for --cluster"),
        ({"namespace": "Shop!"}, "for --namespace"),
        ({"service_account": "web"}, "has no namespace"),
        ({"service_account": "a:b:c"}, "for --service-account"),
        ({"service_identity": "web"}, "for --service-identity"),
        ({"namespace": "a", "service_account": "b:c"}, "is not of the namespace 'a'"),
    ],
)
def test_requests_of_another_form_are_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        Request.parse(**options)
    assert says in caught.value.message
    assert caught.value.hint
