"""The admission endpoint: HTTPS, the two forms of review, and that nothing odd is ever a yes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step.emulator import AdmissionPort, Emulator, Seed, webhook
from step.emulator.admission import Verdict
from step.emulator.webhook import AdmissionServer
from tests.reviews import PATH, Endpoint, admission_review, image_review, pod

DIGEST = "sha256:" + "0123456789abcdef" * 4
GOOD, BAD, WORSE = "gcr.io/good/web:v1", f"gcr.io/bad/web@{DIGEST}", "gcr.io/bad/init:v1"
SEED = """
policies:
  - name: projects/my-project/policy
    admissionWhitelistPatterns: [{namePattern: gcr.io/good/*}]
    clusterAdmissionRules:
      us-east1-a.dry: {evaluationMode: ALWAYS_DENY, enforcementMode: DRYRUN_AUDIT_LOG_ONLY}
      us-east1-a.prod: {evaluationMode: ALWAYS_DENY, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}
    defaultAdmissionRule: &deny
      {evaluationMode: ALWAYS_DENY, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}
  - name: projects/by-account/policy
    kubernetesServiceAccountAdmissionRules:
      web:deployer: &allow
        {evaluationMode: ALWAYS_ALLOW, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}
    defaultAdmissionRule: *deny
  - name: projects/by-default-account/policy
    kubernetesServiceAccountAdmissionRules: {"web:default": *allow}
    defaultAdmissionRule: *deny
  - name: projects/by-namespace/policy
    kubernetesNamespaceAdmissionRules: {db: *deny}
    defaultAdmissionRule: *allow
"""
BREAK_GLASS = {"image-policy.k8s.io/break-glass": "true"}
OLD_BREAK_GLASS = {"alpha.image-policy.k8s.io/break-glass": "true"}
DRY = PATH.replace(".prod", ".dry")
FORMS: list[Callable[..., dict[str, Any]]] = [
    image_review,
    lambda *images: admission_review(pod(*images)),
]


def denial(image: str, where: str = "prod") -> str:
    return (
        f"Image {image} denied by Binary Authorization cluster admission rule for "
        f"us-east1-a.{where}. Denied by always_deny admission rule"
    )


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    ca_file = tmp_path_factory.mktemp("admission") / "ca.pem"
    with Emulator(Seed.parse(SEED), admission=AdmissionPort(authority_file=ca_file)) as running:
        yield Endpoint(running.admission_address, ca_file)


def allowed(answer: dict[str, Any]) -> bool:
    """Whether the answer is a yes, in whatever form."""
    said = answer.get("response", answer.get("status", {}))
    return isinstance(said, dict) and said.get("allowed") is not False and bool(said)


# Both forms


def test_a_denial_and_an_admission(endpoint: Endpoint) -> None:
    assert endpoint.review(image_review(GOOD)) == {"allowed": True}
    assert endpoint.review(image_review(GOOD, BAD)) == {"allowed": False, "reason": denial(BAD)}
    assert endpoint.admit(admission_review(pod(GOOD))) == {"allowed": True}
    assert endpoint.admit(admission_review(pod(GOOD, BAD))) == {
        "allowed": False,
        "status": {"code": 403, "reason": "VIOLATES_POLICY", "message": denial(BAD)},
    }


def test_all_denials_are_told_each_once(endpoint: Endpoint) -> None:
    both = f"{denial(BAD)}. {denial(WORSE)}"
    assert endpoint.review(image_review(BAD, WORSE, BAD))["reason"] == both
    response = endpoint.admit(admission_review(pod(BAD, WORSE, BAD)))
    assert response["status"]["message"] == both


def test_break_glass_admits_and_says_so(endpoint: Endpoint) -> None:
    audit = {"break-glass": "true", "overridden-verification-result": f"'{BAD}' : {denial(BAD)}\n"}
    assert endpoint.review(image_review(GOOD, BAD, annotations=OLD_BREAK_GLASS)) == {
        "allowed": True,
        "auditAnnotations": audit,
    }
    assert endpoint.admit(admission_review(pod(GOOD, BAD, labels=BREAK_GLASS))) == {
        "allowed": True,
        "auditAnnotations": audit,
        "warnings": ["break-glass: Binary Authorization's policy denies 1 of the pod's images"],
    }
    # It is told of an image that needs no breaking of glass, too.
    assert endpoint.admit(admission_review(pod(GOOD, labels=BREAK_GLASS))) == {
        "allowed": True,
        "auditAnnotations": {"break-glass": "true"},
    }


@pytest.mark.parametrize("value", ["false", "True", "1", ""])
def test_other_values_break_no_glass(endpoint: Endpoint, value: str) -> None:
    labels, annotations = (dict.fromkeys(keys, value) for keys in (BREAK_GLASS, OLD_BREAK_GLASS))
    assert not endpoint.review(image_review(BAD, annotations=annotations))["allowed"]
    assert not endpoint.admit(admission_review(pod(BAD, labels=labels)))["allowed"]


def test_a_pod_breaks_glass_by_its_label_alone(endpoint: Endpoint) -> None:
    item = pod(BAD, labels=OLD_BREAK_GLASS)
    item["metadata"]["annotations"] = BREAK_GLASS | OLD_BREAK_GLASS
    assert not endpoint.admit(admission_review(item))["allowed"]


def test_a_dry_run_admits_and_says_so(endpoint: Endpoint) -> None:
    audit = {
        "dry-run": "true",
        "overridden-verification-result": f"'{BAD}' : {denial(BAD, 'dry')}\n",
    }
    assert endpoint.review(image_review(GOOD, BAD), DRY) == {
        "allowed": True,
        "auditAnnotations": audit,
    }
    assert endpoint.admit(admission_review(pod(GOOD, BAD)), DRY) == {
        "allowed": True,
        "auditAnnotations": audit,
        "warnings": ["dry run: Binary Authorization's policy denies 1 of the pod's images"],
    }
    assert endpoint.admit(admission_review(pod(GOOD)), DRY) == {"allowed": True}


# What of a pod counts


@pytest.mark.parametrize(
    "spec",
    [
        {"initContainers": [{"name": "i", "image": BAD}]},
        {"ephemeralContainers": [{"name": "e", "image": BAD}]},
        {"volumes": [{"name": "data", "emptyDir": {}}, {"name": "v", "image": {"reference": BAD}}]},
    ],
)
def test_every_image_of_the_pod_is_judged(endpoint: Endpoint, spec: dict[str, Any]) -> None:
    response = endpoint.admit(admission_review(pod(GOOD, **spec)))
    assert response["status"]["message"] == denial(BAD)


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        ("apps", "Deployment"),
        ("apps", "ReplicaSet"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("batch", "Job"),
        ("", "ReplicationController"),
        ("batch", "CronJob"),
    ],
)
def test_what_makes_pods_is_judged_by_its_template(
    endpoint: Endpoint, group: str, kind: str
) -> None:
    def workload(template: dict[str, Any]) -> dict[str, Any]:
        spec: dict[str, Any] = {"template": template}
        if kind == "CronJob":
            spec = {"jobTemplate": {"spec": spec}}
        # Labels of the workload itself break no glass: its pods have their own.
        item = {"metadata": {"labels": BREAK_GLASS}, "spec": spec}
        return endpoint.admit(admission_review(item, (group, kind)))

    assert workload(pod(GOOD)) == {"allowed": True}
    assert workload(pod(BAD))["status"]["message"] == denial(BAD)
    assert workload(pod(BAD, labels=BREAK_GLASS))["allowed"]


@pytest.mark.parametrize("kind", [("argoproj.io", "Rollout"), ("apps", "Pod"), ("", "Deployment")])
def test_other_kinds_are_refused_with_a_reason(endpoint: Endpoint, kind: tuple[str, str]) -> None:
    response = endpoint.admit(admission_review(pod(GOOD, labels=BREAK_GLASS), kind))
    assert not response["allowed"]
    assert f"'{kind[0]}/{kind[1]}' are not judged here" in response["status"]["message"]


@pytest.mark.parametrize(
    ("operation", "runs"),
    [("CREATE", True), ("UPDATE", True), ("DELETE", False), ("CONNECT", False)],
)
def test_only_what_will_run_is_judged(endpoint: Endpoint, operation: str, runs: bool) -> None:
    response = endpoint.admit(admission_review(pod(BAD), operation=operation))
    assert response["allowed"] is not runs
    if not runs:
        assert endpoint.admit(admission_review(None, operation=operation)) == {"allowed": True}


def test_the_service_account_is_the_pods(endpoint: Endpoint) -> None:
    path = PATH.replace("my-project", "by-account")

    def admitted(namespace: str = "web", **spec: Any) -> bool:
        review = admission_review(pod(BAD, **spec), namespace=namespace)
        return bool(endpoint.admit(review, path)["allowed"])

    assert admitted(serviceAccountName="deployer")
    assert admitted(serviceAccount="deployer")
    assert not admitted(serviceAccountName="other", serviceAccount="deployer")
    assert not admitted(namespace="db", serviceAccountName="deployer")
    assert not admitted()
    default = f"Image {BAD} denied by Binary Authorization default admission rule."
    told = endpoint.admit(admission_review(pod(BAD)), path)["status"]["message"]
    assert told.startswith(default)
    unsaid = path.replace("by-account", "by-default-account")
    assert endpoint.admit(admission_review(pod(BAD)), unsaid) == {"allowed": True}
    status = endpoint.review(image_review(BAD), path)
    assert not status["allowed"]
    assert "rules by service account, and the review says none" in status["reason"]


@pytest.mark.parametrize("form", FORMS)
def test_the_namespace_is_the_reviews(
    endpoint: Endpoint, form: Callable[..., dict[str, Any]]
) -> None:
    path = PATH.replace("my-project", "by-namespace")
    document = form(BAD)
    place = document["request"] if "request" in document else document["spec"]
    for namespace, admitted in (("web", True), ("db", False), ("", False)):
        place["namespace"] = namespace
        assert allowed(endpoint.post(document, path)[1]) is admitted


# Never a yes


def edited(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy in which one value is another, or is not there."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    target: Any = copy
    for parent in parents:
        target = target[int(parent) if parent.isdecimal() else parent]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return copy


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"", "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it is not an object"),
        ({}, "apiVersion and kind are neither"),
        (edited(image_review(GOOD), "apiVersion", "imagepolicy.k8s.io/v1"), "are neither"),
        (edited(image_review(GOOD), "kind", "AdmissionReview"), "are neither"),
        (edited(image_review(GOOD), "kind", 1), "kind is not a text"),
        (edited(image_review(GOOD), "spec", ...), "there are no containers"),
        (image_review(), "there are no containers"),
        (edited(image_review(GOOD), "spec", []), "spec is not an object"),
        (edited(image_review(GOOD), "spec.containers", {}), "spec.containers is not a list"),
        (edited(image_review(GOOD), "spec.containers", [1]), "spec.containers[0] is not an object"),
        (image_review(GOOD, ""), "spec.containers[1].image is not the name of an image"),
        (image_review("gcr.io/good/a\nb"), "is not the name of an image"),
        (edited(image_review(GOOD), "spec.containers.0.image", ...), "is not the name of an image"),
        (edited(image_review(GOOD), "spec.containers.0.image", ["a"]), "is not a text"),
        (image_review(BAD, annotations={next(iter(OLD_BREAK_GLASS)): True}), "is not a text"),
        (
            edited(admission_review(pod(GOOD)), "apiVersion", "admission.k8s.io/v1beta1"),
            "are neither",
        ),
        (edited(admission_review(pod(GOOD)), "request", ...), "request.uid is missing"),
        (edited(admission_review(pod(GOOD)), "request.uid", ""), "request.uid is missing"),
        (edited(admission_review(pod(GOOD)), "request.uid", 7), "request.uid is not a text"),
        (edited(admission_review(pod(GOOD)), "request.operation", ...), "request.operation"),
        (admission_review(pod(GOOD), operation="delete"), "request.operation"),
        (admission_review(None), "there are no containers"),
        (admission_review(pod()), "there are no containers"),
        (
            admission_review(pod(initContainers=[{"name": "i", "image": GOOD}])),
            "there are no containers",
        ),
        (admission_review(pod(GOOD), ("apps", "Deployment")), "there are no containers"),
        (
            admission_review({"spec": {"template": []}}, ("apps", "Deployment")),
            "request.object.spec.template is not an object",
        ),
        (admission_review(pod(GOOD, volumes=[{"image": {}}])), "is not the name of an image"),
        (
            admission_review(pod(BAD, labels={next(iter(BREAK_GLASS)): 1})),  # type: ignore[dict-item]
            "is not a text",
        ),
    ],
)
def test_what_is_no_review_is_refused(endpoint: Endpoint, document: Any, says: str) -> None:
    status, answer = endpoint.post(document)
    assert status == 400
    assert answer == {"error": {"code": 400, "message": answer["error"]["message"]}}
    assert answer["error"]["message"].startswith("Not a review that can be judged: ")
    assert says in answer["error"]["message"]


@pytest.mark.parametrize(
    ("path", "verb", "status"),
    [
        (PATH, "GET", 405),
        (PATH, "PUT", 405),
        ("/", "POST", 404),
        (PATH.removesuffix(":admit"), "POST", 404),
        (PATH + "/x", "POST", 404),
        (PATH.replace("us-east1-a.", ""), "POST", 404),
        (PATH.replace("my-project", "my%2Fproject"), "POST", 404),
        ("/v1/projects/my-project/policy", "GET", 404),
    ],
)
def test_other_paths_and_methods_are_refused(
    endpoint: Endpoint, path: str, verb: str, status: int
) -> None:
    got, answer = endpoint.post(image_review(GOOD), path, verb)
    assert (got, answer["error"]["code"]) == (status, status)


def test_a_project_may_be_of_a_domain(endpoint: Endpoint) -> None:
    path = PATH.replace("my-project", "example.com%3Amy-project")
    status = endpoint.review(image_review(BAD), path)
    assert status == {"allowed": True}, "it has the default policy"


def test_a_review_has_a_size(endpoint: Endpoint) -> None:
    status, answer = endpoint.post(b"", **{"Content-Length": str(webhook.MAX_BODY + 1)})
    assert (status, answer["error"]["code"]) == (413, 413)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([GOOD, BAD]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["containers", "image", "metadata", "labels", "spec", "template"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "request",
        "request.kind",
        "request.object",
        "request.object.metadata",
        "request.object.metadata.labels",
        "request.object.spec",
        "request.object.spec.containers",
        "request.object.spec.initContainers",
        "request.object.spec.volumes",
        "request.object.spec.serviceAccountName",
    ]
)


@settings(max_examples=60)
@given(field=FIELDS, value=JSON)
def test_no_form_of_a_denied_pod_is_a_yes(endpoint: Endpoint, field: str, value: Any) -> None:
    """The pod's first container is the one that is denied, whatever is beside it."""
    document = edited(admission_review(pod(BAD)), field, value)
    item = document["request"]
    status, answer = endpoint.post(document)
    if status != 200:
        assert (status, list(answer)) == (400, ["error"])
    elif GOOD not in json.dumps(item) or BAD in json.dumps(item):
        assert not allowed(answer)


def test_a_failure_inside_is_never_a_yes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> list[Verdict]:
        raise RuntimeError("of the inside")

    server = AdmissionServer(fail, AdmissionPort(authority_file=tmp_path / "ca.pem"))
    endpoint = Endpoint(server.address, tmp_path / "ca.pem")
    for document in (image_review(GOOD), admission_review(pod(GOOD, labels=BREAK_GLASS))):
        status, answer = endpoint.post(document)
        assert (status, answer) == (
            500,
            {"error": {"code": 500, "message": "Internal error encountered."}},
        )
    server.stop()
    assert "a review was not answered" in caplog.text
