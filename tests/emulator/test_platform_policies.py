"""Platform policies: their upkeep over REST, and what may not be kept."""

import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import grpc
import pytest

from step.emulator import Emulator, EmulatorError, Seed
from tests.emulator.platforms import (
    ALLOW,
    DENY,
    GOOD,
    IMAGE,
    ONE,
    POLICIES,
    WRONG,
    account,
    create,
    directory,
    evaluate,
    namespace,
    pod,
    policy,
    public_key,
    sets,
    simple,
    vulnerabilities,
)
from tests.emulator.rest import Answer, ask
from tests.emulator.signers import key_of, pem_of
from tests.emulator.world import FakeClock

# Upkeep


def test_a_policy_is_made_read_replaced_and_deleted(emulator: Emulator, clock: FakeClock) -> None:
    made = create(emulator, policy(DENY) | {"description": "none", "name": "ignored"})
    assert made.status == 200
    etag = made.document.pop("etag")
    assert made.document == policy(DENY) | {
        "name": ONE.removeprefix("/v1/"),
        "description": "none",
        "updateTime": "2026-01-02T03:04:05Z",
    }
    with_system_parameters = f"{ONE}?alt=json&$.xgafv=2"
    assert ask(emulator, "GET", with_system_parameters).document == made.document | {"etag": etag}
    assert create(emulator, policy(DENY)).error[:2] == (409, "ALREADY_EXISTS")

    clock.advance(timedelta(seconds=1))
    replaced = ask(emulator, "PUT", ONE, policy(ALLOW) | {"etag": etag})
    assert replaced.document["updateTime"] == "2026-01-02T03:04:06Z"
    assert "description" not in replaced.document
    stale = ask(emulator, "PUT", ONE, policy(DENY) | {"etag": etag})
    assert stale.error[:2] == (409, "ABORTED")
    assert ask(emulator, "DELETE", f"{ONE}?etag={quote(etag)}").error[:2] == (409, "ABORTED")
    assert ask(emulator, "GET", ONE).document == replaced.document

    current = quote(replaced.document["etag"])
    assert ask(emulator, "DELETE", f"{ONE}?etag={current}") == Answer(200, {})
    for verb, body in (("GET", None), ("PUT", policy()), ("DELETE", None)):
        assert ask(emulator, verb, ONE, body).error[:2] == (404, "NOT_FOUND")
    assert ask(emulator, "POST", f"{ONE}:evaluate", {"resource": pod("i")}).status == 404
    assert [(call.method, call.resource) for call in emulator.calls.writes()] == [
        ("CreatePlatformPolicy", "projects/p/platforms/gke"),
        ("ReplacePlatformPolicy", ONE.removeprefix("/v1/")),
        ("DeletePlatformPolicy", ONE.removeprefix("/v1/")),
    ]


def test_policies_are_listed_in_pages_by_project(emulator: Emulator) -> None:
    for name in ("b", "a", "c"):
        create(emulator, policy(), name)
    other = POLICIES.replace("/p/", "/p2/")
    assert ask(emulator, "POST", f"{other}?policyId=d", policy()).status == 200
    first = ask(emulator, "GET", f"{POLICIES}?pageSize=2").document
    names = [
        platformpolicy["name"].rpartition("/")[2] for platformpolicy in first["platformPolicies"]
    ]
    assert names == ["a", "b"]
    token = first["nextPageToken"]
    [last] = ask(emulator, "GET", f"{POLICIES}?pageToken={token}").document["platformPolicies"]
    assert last["name"].endswith("/c")
    empty = POLICIES.replace("/p/", "/none/")
    assert ask(emulator, "GET", empty) == Answer(200, {})
    assert ask(emulator, "GET", f"{other}?pageToken={token}").status == 400


@pytest.mark.parametrize(
    ("verb", "target", "body", "says"),
    [
        ("POST", POLICIES, policy(), "does not match the pattern"),
        ("POST", f"{POLICIES}?policyId=a/b", policy(), "does not match the pattern"),
        ("POST", f"{POLICIES}?policyId=a&policyId=b", policy(), "given 2 times"),
        ("POST", f"{POLICIES}?policyId=a&force=true", policy(), 'Unknown name "force"'),
        ("POST", f"{POLICIES}?policyId=a&platformPolicy=x", policy(), "Unknown name"),
        ("POST", f"{POLICIES}?policyId=a", [], "It is not an object"),
        ("POST", f"{POLICIES}?policyId=a", b"{", "cannot be parsed"),
        ("POST", f"{POLICIES.replace('gke', 'run')}?policyId=a", policy(), "no platform 'run'"),
        ("GET", POLICIES.replace("gke", "run"), None, "no platform 'run'"),
        ("GET", f"{POLICIES}?pageSize=many", None, "Invalid value at 'request.pageSize'"),
        ("GET", f"{POLICIES}?pageSize=-1", None, "must not be negative"),
        ("GET", ONE, {}, "takes no body"),
    ],
)
def test_a_malformed_request_is_invalid(
    emulator: Emulator, verb: str, target: str, body: Any, says: str
) -> None:
    answer = ask(emulator, verb, target, body)
    assert answer.error[:2] == (400, "INVALID_ARGUMENT")
    assert says in answer.error[2]
    assert ask(emulator, "GET", POLICIES).document == {}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "gkePolicy is required"),
        ({"cloudRunPolicy": {}}, 'Unknown name "cloudRunPolicy"'),
        ({"gke_policy": {}}, 'Unknown name "gke_policy"'),
        ({"gkePolicy": []}, "Invalid value at 'request.platformPolicy.gkePolicy'"),
        ({"gkePolicy": {"checkset": []}}, 'Unknown name "checkset"'),
        ({"gkePolicy": {"checkSets": {}}}, "Invalid value"),
        ({"gkePolicy": {"imageAllowlist": {}}}, "allowPattern must have at least one"),
        ({"gkePolicy": {"imageAllowlist": {"allowPattern": ["a/*b"]}}}, "'a/*b' is not an image"),
        (policy(imageAllowlist={"allowPattern": ["gcr.io*"]}), "'gcr.io*' is not an image"),
        (policy(DENY | {"imageAllowlist": {"allowPattern": ["a/***"]}}), "'a/***' is not an"),
        (policy({}), "exactly one of alwaysDeny"),
        (policy({"alwaysDeny": False}), "exactly one of alwaysDeny"),
        (policy({"alwaysDeny": "true"}), r"checkSets[0].checks[0].alwaysDeny"),
        (policy(DENY | ALLOW), "exactly one of alwaysDeny"),
        (policy({"alwaysAllow": True}), 'Unknown name "alwaysAllow"'),
        (policy({"imageFreshnessCheck": {}}), "maxUploadAgeDays must be greater"),
        (policy({"imageFreshnessCheck": {"maxUploadAgeDays": -1}}), "maxUploadAgeDays must be"),
        (policy({"imageFreshnessCheck": {"maxUploadAgeDays": 2**31}}), "Invalid value"),
        (policy({"imageFreshnessCheck": {"maxUploadAgeDays": True}}), "Invalid value"),
        (policy(directory()), "trustedDirPatterns must have at least one"),
        (policy(directory("gcr.i*")), "'gcr.i*' is not a trusted directory pattern"),
        (policy(directory("sub*domain.gcr.io/nginx")), "is not a trusted directory pattern"),
        (policy(directory("*pkg.dev/p/r")), "is not a trusted directory pattern"),
        (policy(directory("**-docker.pkg.dev")), "is not a trusted directory pattern"),
        (policy(directory("localhost/p")), "is not a trusted directory pattern"),
        (policy(simple()), "attestationAuthenticators must have at least one"),
        (policy(simple({})), "public_key_pem is not a PEM"),
        (
            policy({"simpleSigningAttestationCheck": {"attestationAuthenticators": [{}]}}),
            "pkixPublicKeys must have at least one",
        ),
        (
            policy(simple(public_key("ECDSA_P256_SHA256") | {"signatureAlgorithm": "X"})),
            "signatureAlgorithm': 'X'",
        ),
        (
            policy(simple({"publicKeyPem": pem_of(key_of("ECDSA_P256_SHA256"))})),
            "not a key of signature_algorithm SIGNATURE_ALGORITHM_UNSPECIFIED",
        ),
        (
            policy(simple(public_key("ECDSA_P256_SHA256"), projects=["projects/123"])),
            "'projects/123' is not projects/[PROJECT_ID]",
        ),
        (
            policy(simple(public_key("ECDSA_P256_SHA256"), projects=["projects/p"] * 11)),
            "at most 10 projects",
        ),
        (policy({"vulnerabilityCheck": {}}), "maximumFixableSeverity is required"),
        (
            policy(vulnerabilities(unfixable="MAXIMUM_ALLOWED_SEVERITY_UNSPECIFIED")),
            "maximumUnfixableSeverity is required",
        ),
        (policy(vulnerabilities("SEVERE")), "maximumFixableSeverity': 'SEVERE'"),
        (
            policy(vulnerabilities(containerAnalysisVulnerabilityProjects=["p"])),
            "'p' is not projects/[PROJECT_ID]",
        ),
        (sets(namespace("a")), "The last of checkSets must have no scope"),
        (sets(None, None), "order of decreasing specificity"),
        (sets(None, namespace("a"), None), "order of decreasing specificity"),
        (sets(namespace("a"), account("a:b"), None), "order of decreasing specificity"),
        (sets(account("a:b"), account("a:b"), None), "order of decreasing specificity"),
        (sets(account("a:b") | namespace("a"), None), "not both"),
        (sets(account("a"), None), "Invalid kubernetesServiceAccount"),
        (sets(account(":b"), None), "Invalid kubernetesServiceAccount"),
        (sets(namespace("a:b"), None), "Invalid kubernetesNamespace"),
        (sets(account("a:b:c"), None), "Invalid kubernetesServiceAccount"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_invalid(
    emulator: Emulator, document: Any, says: str
) -> None:
    refused = create(emulator, document)
    assert refused.error[:2] == (400, "INVALID_ARGUMENT")
    assert says in refused.error[2]
    create(emulator, policy())
    assert ask(emulator, "PUT", ONE, document).error == refused.error
    # A default is the same as nothing, and what is nothing is not shown.
    assert ask(emulator, "GET", ONE).document["gkePolicy"] == {"checkSets": [{}]}


def test_scopes_in_order_are_taken(emulator: Emulator) -> None:
    document = sets(account("a:b"), account("b:c"), namespace("b"), namespace("a"), {})
    assert create(emulator, document).document["gkePolicy"] == document["gkePolicy"]


# How it is served


def test_faults_latency_and_the_log_are_those_of_every_method(clock: FakeClock) -> None:
    slept: list[float] = []
    with Emulator(now=clock.now, latency=timedelta(seconds=2), sleep=slept.append) as emulator:
        create(emulator, policy(DENY))
        emulator.fail("EvaluateGkePolicy=PERMISSION_DENIED:1", "DeletePlatformPolicy=DROP_ANSWER:1")
        denied = ask(emulator, "POST", f"{ONE}:evaluate", {"resource": pod(IMAGE)})
        assert denied.error[:2] == (403, "PERMISSION_DENIED")
        assert "'binaryauthorization.platformPolicies.evaluatePolicy'" in denied.error[2]
        assert evaluate(emulator, IMAGE)["verdict"] == WRONG
        assert ask(emulator, "DELETE", ONE).status == 503
        assert ask(emulator, "GET", ONE).status == 404
    assert slept == [2] * 5
    assert [(call.method, call.status, call.wrote) for call in emulator.calls] == [
        ("CreatePlatformPolicy", "OK", True),
        ("EvaluateGkePolicy", "PERMISSION_DENIED", False),
        ("EvaluateGkePolicy", "OK", False),
        ("DeletePlatformPolicy", "UNAVAILABLE", True),
        ("GetPlatformPolicy", "NOT_FOUND", False),
    ]


def test_it_has_no_grpc_side_no_iam_and_no_older_version(emulator: Emulator) -> None:
    service = "google.cloud.binaryauthorization.v1.PlatformPolicyManagementService"
    with grpc.insecure_channel(emulator.grpc_address) as channel:
        call: Any = channel.unary_unary(f"/{service}/GetPlatformPolicy", bytes, bytes)
        with pytest.raises(grpc.RpcError) as refused:
            call(b"")
    error: Any = refused.value
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    create(emulator, policy())
    for target in (f"{ONE}:getIamPolicy", ONE.replace("/v1/", "/v1beta1/")):
        assert ask(emulator, "GET", target).status == 404


# The seed


def test_a_seed_has_policies_as_they_are_described() -> None:
    document = policy(DENY) | {"name": ONE.removeprefix("/v1/"), "etag": '"x"'}
    seed = "updateTime: 2025-01-01T00:00:00Z\n"
    text = json.dumps({"platform_policies": [document]})
    with Emulator(Seed.parse(text)) as emulator:
        assert evaluate(emulator, IMAGE)["verdict"] == WRONG
    described = f"platform_policies:\n- name: {document['name']}\n  gkePolicy: {{}}\n  {seed}"
    with Emulator(Seed.parse(described)) as emulator:
        assert evaluate(emulator, IMAGE)["verdict"] == GOOD
        assert not ask(emulator, "GET", ONE).document["updateTime"].startswith("2025")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("platform_policies: [x]", r"seed.platform_policies\[0\]: must be a mapping"),
        ("platform_policies: [{}]", "platform policy : .*does not match the pattern"),
        (
            f"platform_policies: [{{name: {ONE[4:]}, gkepolicy: {{}}}}]",
            f'seed: platform policy {ONE[4:]}: .*Unknown name "gkepolicy"',
        ),
        (f"platform_policies: [{{name: {ONE[4:]}}}]", "gkePolicy is required"),
        (
            f"platform_policies: [&p {{name: {ONE[4:]}, gkePolicy: {{}}}}, *p]",
            "policies/one already exists",
        ),
    ],
)
def test_a_seed_with_a_policy_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(EmulatorError, match=says) as refused:
        Emulator(Seed.parse(text))
    assert "\n" not in str(refused.value)
