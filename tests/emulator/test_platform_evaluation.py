"""Evaluations by platform policies: which check set, which images, which verdict."""

from typing import Any

import pytest

from step.emulator import Emulator
from step.emulator.platform_checks import matched_pattern
from tests.emulator.platforms import (
    ALLOW,
    DENY,
    ERROR,
    GOOD,
    IMAGE,
    ONE,
    OTHER,
    UNKNOWN,
    WRONG,
    account,
    create,
    directory,
    evaluate,
    namespace,
    pod,
    policy,
    sets,
)
from tests.emulator.rest import ask

# Which check set, and which images


@pytest.mark.parametrize(
    ("where", "who", "expected"),
    [
        ("a", "b", 0),
        ("a", "c", 1),
        ("a", "", 1),
        ("b", "", 2),
        ("b", "b", 3),
        ("", "b", 3),
        ("", "", 3),
        ("c", "b", 3),
    ],
)
def test_the_scope_chooses_the_check_set(
    emulator: Emulator, where: str, who: str, expected: int
) -> None:
    create(emulator, sets(account("a:b"), namespace("a"), account("b:default"), None))
    for field in ("serviceAccountName", "serviceAccount"):
        resource = pod(IMAGE, name="x", namespace=where)
        resource["spec"][field] = who
        [result] = evaluate(emulator, resource=resource)["results"]
        assert result["podName"] == "x"
        [image] = result["imageResults"]
        assert image["checkSetResult"]["index"] == str(expected)
        assert image["checkSetResult"]["explanation"] == "The check set has no checks."


TEMPLATE = {"metadata": {"labels": {}}, "spec": pod(OTHER)["spec"]}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Deployment", {"template": TEMPLATE}),
        ("StatefulSet", {"template": TEMPLATE}),
        ("DaemonSet", {"template": TEMPLATE}),
        ("ReplicaSet", {"template": TEMPLATE}),
        ("ReplicationController", {"template": TEMPLATE}),
        ("Job", {"template": TEMPLATE}),
        ("CronJob", {"jobTemplate": {"spec": {"template": TEMPLATE}}}),
    ],
)
def test_a_resource_with_a_template_is_its_pod(
    emulator: Emulator, kind: str, spec: dict[str, Any]
) -> None:
    create(emulator, sets(namespace("a"), None))
    resource = {"kind": kind, "metadata": {"name": "web", "namespace": "a"}, "spec": spec}
    [result] = evaluate(emulator, resource=resource)["results"]
    assert (result["podName"], result["kubernetesNamespace"]) == ("web", "a")
    assert result["kubernetesServiceAccount"] == "default"
    [image] = result["imageResults"]
    assert (image["imageUri"], image["checkSetResult"]["scope"]) == (OTHER, namespace("a"))


def test_every_container_of_a_pod_counts_and_an_image_once(emulator: Emulator) -> None:
    create(emulator, policy(directory("example.com/apps")))
    for field in ("initContainers", "ephemeralContainers"):
        resource = pod(IMAGE, IMAGE)
        resource["spec"][field] = [{"image": "evil.example/x"}]
        actual = evaluate(emulator, resource=resource)
        images = actual["results"][0]["imageResults"]
        assert [(each["imageUri"], each["verdict"]) for each in images] == [
            (IMAGE, GOOD),
            ("evil.example/x", WRONG),
        ]
        assert actual["verdict"] == WRONG


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "a kind that makes Pods is required"),
        ({"resource": {"kind": "Service"}}, "not 'Service'"),
        ({"resource": {"kind": ["Pod"]}}, "a kind that makes Pods"),
        ({"resource": pod()}, "a Pod needs containers"),
        ({"resource": pod("")}, "each of containers needs an image"),
        ({"resource": {"kind": "Pod", "metadata": {}}}, "spec is required"),
        ({"resource": {"kind": "Pod", "spec": pod("i")["spec"]}}, "metadata is required"),
        ({"resource": {"kind": "Job", "metadata": {}, "spec": {}}}, "template is required"),
        ({"resource": pod("i", namespace=1)}, "namespace must be a text"),
        (
            {"resource": {"kind": "Pod", "metadata": {}, "spec": {"containers": "x"}}},
            "containers must be a list",
        ),
        (
            {"resource": {"kind": "Pod", "metadata": {}, "spec": {"containers": ["x"]}}},
            "each of containers needs an image",
        ),
        ({"resource": pod("i"), "image": "i"}, 'Unknown name "image"'),
        ({"resource": "x"}, "Invalid value at 'request.resource'"),
        ({"resource": pod("i"), "attestationMode": "X"}, "attestationMode': 'X'"),
    ],
)
def test_what_has_no_pods_is_invalid(emulator: Emulator, body: Any, says: str) -> None:
    create(emulator, policy())
    answer = ask(emulator, "POST", f"{ONE}:evaluate", body)
    assert answer.error[:2] == (400, "INVALID_ARGUMENT")
    assert says in answer.error[2]


def test_it_does_not_attest_to_its_verdicts(emulator: Emulator) -> None:
    create(emulator, policy())
    for mode, status in (("ATTESTATION_MODE_UNSPECIFIED", 200), ("GENERATE_DEPLOY", 501)):
        body = {"resource": pod(IMAGE), "attestationMode": mode}
        assert ask(emulator, "POST", f"{ONE}:evaluate", body).status == status


# Verdicts


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ([ALLOW], GOOD),
        ([ALLOW, UNKNOWN], ERROR),
        ([UNKNOWN, ALLOW], ERROR),
        ([ALLOW, DENY], WRONG),
        ([UNKNOWN, DENY], WRONG),
        ([DENY, UNKNOWN, ALLOW], WRONG),
    ],
)
def test_all_checks_must_hold_and_a_violation_outweighs_an_error(
    emulator: Emulator, checks: list[Any], expected: str
) -> None:
    create(emulator, policy(*({"displayName": "it"} | check for check in checks)))
    actual = evaluate(emulator, IMAGE)
    [of_pod] = actual["results"]
    [image] = of_pod["imageResults"]
    assert {actual["verdict"], of_pod["verdict"], image["verdict"]} == {expected}
    results = image["checkSetResult"]["checkResults"]["results"]
    assert [(each["index"], each["displayName"]) for each in results] == [
        (str(index), "it") for index in range(len(checks))
    ]


def test_an_image_that_does_not_conform_outweighs_one_in_error(emulator: Emulator) -> None:
    good, wrong = "example.com/a", "evil.example/a"
    exempt = {"imageAllowlist": {"allowPattern": [good, wrong]}}
    create(emulator, policy(directory("example.com", "example.com/**"), UNKNOWN | exempt))
    for images, expected in (
        ([good], GOOD),
        ([good, IMAGE], ERROR),
        ([IMAGE, wrong], WRONG),
        ([wrong, IMAGE, good], WRONG),
    ):
        assert evaluate(emulator, *images)["verdict"] == expected


def test_without_check_sets_everything_conforms(emulator: Emulator) -> None:
    create(emulator, {"gkePolicy": {}})
    actual = evaluate(emulator, "anything")
    assert actual["verdict"] == GOOD
    [image] = actual["results"][0]["imageResults"]
    assert image["explanation"] == "The policy has no check sets."


def test_an_allowlist_exempts_at_each_level(emulator: Emulator) -> None:
    exempt = {"imageAllowlist": {"allowPattern": ["example.com/db", "example.com/apps/*"]}}
    matched = {"allowlistResult": {"matchedPattern": "example.com/apps/*"}}
    by_policy = policy(DENY)
    by_policy["gkePolicy"] |= exempt
    for document in (by_policy, policy(DENY, **exempt), policy(DENY | exempt)):
        create(emulator, document)
        actual = evaluate(emulator, IMAGE)
        assert actual["verdict"] == GOOD
        [place] = actual["results"][0]["imageResults"]
        if document is not by_policy:
            place = place["checkSetResult"]
            if "imageAllowlist" in document["gkePolicy"]["checkSets"][0]["checks"][0]:
                [place] = place["checkResults"]["results"]
        assert matched.items() <= place.items()
        assert evaluate(emulator, "example.com/other")["verdict"] == WRONG
        assert evaluate(emulator, IMAGE, "example.com/other")["verdict"] == WRONG
        ask(emulator, "DELETE", ONE)


@pytest.mark.parametrize(
    ("pattern", "image", "expected"),
    [
        ("gcr.io/nginx", "gcr.io/nginx", True),
        ("gcr.io/nginx", "gcr.io/nginx:1", False),
        ("gcr.io/nginx*", "gcr.io/nginx@latest", True),
        ("gcr.io/nginx*", "gcr.io/nginx/image", False),
        ("gcr.io/nginx**", "gcr.io/nginx/image", True),
        ("gcr.io/nginx**", "gcr.io/ngin", False),
        ("gcr.io/*", "gcr.io.evil.example/x", False),
        ("gcr.io/n.inx*", "gcr.io/nginx", False),
    ],
)
def test_allowlist_patterns(pattern: str, image: str, expected: bool) -> None:
    actual = matched_pattern({"imageAllowlist": {"allowPattern": [pattern]}}, image)
    assert actual == (pattern if expected else None)
