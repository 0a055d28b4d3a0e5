"""Binary Authorization's platform policies for GKE: kept, and evaluated for Kubernetes resources.

They have no published proto file and so no gRPC side here; methods and permissions:
https://cloud.google.com/binary-authorization/docs/audit-logging
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from threading import Lock
from typing import Any

import grpc

from step.emulator.binary_authorization import BinaryAuthorization, check_etag
from step.emulator.platform_checks import (
    ALLOWLIST,
    CHECK,
    Checks,
    Verdict,
    check_allowlist,
    check_check,
    kind_of,
    matched_pattern,
)
from step.emulator.refusal import Refusal, already_exists, invalid, not_found
from step.emulator.resources import page, parse_name
from step.emulator.rpc import Http, rpc
from step.emulator.shapes import Document, Shape, read

PLATFORM = "projects/{project}/platforms/{platform}"
POLICY = PLATFORM + "/policies/{policy}"

_SCOPE: Shape = {"kubernetesNamespace": str, "kubernetesServiceAccount": str}
_SCOPE_FORMS = {
    "kubernetesNamespace": re.compile("[^:/]+"),
    "kubernetesServiceAccount": re.compile("[^:/]+:[^:/]+"),
}
_CHECK_SET: Shape = {
    "displayName": str,
    "scope": _SCOPE,
    "imageAllowlist": ALLOWLIST,
    "checks": [CHECK],
}
_PLATFORM_POLICY: Shape = {
    "name": str,
    "description": str,
    "etag": str,
    "updateTime": str,
    "gkePolicy": {"imageAllowlist": ALLOWLIST, "checkSets": [_CHECK_SET]},
}
_ATTESTATION_MODES: Shape = frozenset({"ATTESTATION_MODE_UNSPECIFIED", "GENERATE_DEPLOY"})

_PARENT_PATH = "/v1/{parent=projects/*/platforms/*}/policies"
_PATH = "/v1/{name=projects/*/platforms/*/policies/*}"
_EVALUATE_PATH = "/v1/{name=projects/*/platforms/gke/policies/*}:evaluate"
# The server picks the default.
_PAGE, _MAX_PAGE = 100, 1000

# Kubernetes resources that hold a template of Pods, and where.
# https://kubernetes.io/docs/concepts/workloads/controllers/
_TEMPLATES = dict.fromkeys(
    ("DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"),
    ("spec", "template"),
) | {"CronJob": ("spec", "jobTemplate", "spec", "template")}
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


class PlatformPolicies:
    """``PlatformPolicyManagementService``: the policies and their upkeep."""

    SERVICE = "google.cloud.binaryauthorization.v1.PlatformPolicyManagementService"
    HOST = BinaryAuthorization.HOST
    TITLE = BinaryAuthorization.TITLE

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = Lock()
        self._policies: dict[str, Document] = {}

    def seed(self, policy: Document) -> None:
        """Make a policy that is named in full, in the form that gcloud describes it.

        Raises Refusal for one that the service would not take.
        """
        wanted = read(_PLATFORM_POLICY, policy, "platformPolicy")
        parse_name(POLICY, wanted.get("name", ""))
        self._create(wanted["name"], wanted)

    def policy(self, name: str) -> Document:
        """The policy of this name, as stored; Refusal (NOT_FOUND) if there is none."""
        with self._lock:
            return self._policy(name)

    @rpc(
        itemgetter("parent"),
        "binaryauthorization.platformPolicies.create",
        writes=True,
        http=Http(
            "POST",
            _PARENT_PATH,
            {"policyId": str, "platformPolicy": _PLATFORM_POLICY},
            body="platformPolicy",
        ),
    )
    def create_platform_policy(self, request: Document) -> Document:
        name = f"{request['parent']}/policies/{request.get('policyId', '')}"
        parse_name(POLICY, name)
        return self._create(name, request["platformPolicy"])

    @rpc(
        itemgetter("name"), "binaryauthorization.platformPolicies.get", http=Http("GET", _PATH, {})
    )
    def get_platform_policy(self, request: Document) -> Document:
        return self.policy(request["name"])

    @rpc(
        itemgetter("parent"),
        "binaryauthorization.platformPolicies.list",
        http=Http("GET", _PARENT_PATH, {"pageSize": int, "pageToken": str}),
    )
    def list_platform_policies(self, request: Document) -> Document:
        parent = request["parent"]
        _check_platform(parse_name(PLATFORM, parent))
        with self._lock:
            entries = [
                entry for entry in self._policies.items() if entry[0].startswith(f"{parent}/")
            ]
        shown, token = page(
            entries,
            query=(parent,),
            token=request.get("pageToken", ""),
            size=request.get("pageSize", 0),
            default=_PAGE,
            maximum=_MAX_PAGE,
        )
        return _shown(platformPolicies=shown, nextPageToken=token)

    @rpc(
        itemgetter("name"),
        "binaryauthorization.platformPolicies.replace",
        writes=True,
        http=Http("PUT", _PATH, {"platformPolicy": _PLATFORM_POLICY}, body="platformPolicy"),
    )
    def replace_platform_policy(self, request: Document) -> Document:
        name, wanted = request["name"], request["platformPolicy"]
        with self._lock:
            check_etag(wanted.get("etag", ""), self._policy(name)["etag"])
            return self._store(name, wanted)

    @rpc(
        itemgetter("name"),
        "binaryauthorization.platformPolicies.delete",
        writes=True,
        http=Http("DELETE", _PATH, {"etag": str}),
    )
    def delete_platform_policy(self, request: Document) -> Document:
        with self._lock:
            check_etag(request.get("etag", ""), self._policy(request["name"])["etag"])
            del self._policies[request["name"]]
        return {}

    def _policy(self, name: str) -> Document:
        parse_name(POLICY, name)
        if name not in self._policies:
            raise not_found("Platform policy", name)
        return self._policies[name]

    def _create(self, name: str, wanted: Document) -> Document:
        with self._lock:
            if name in self._policies:
                raise already_exists("Platform policy", name)
            return self._store(name, wanted)

    def _store(self, name: str, wanted: Document) -> Document:
        _check_platform(parse_name(POLICY, name))
        if "gkePolicy" not in wanted:
            raise invalid("gkePolicy is required on the platform 'gke'.")
        _check_gke_policy(wanted["gkePolicy"])
        given = {"etag", "name", "updateTime"}
        stored = {"name": name} | {key: wanted[key] for key in wanted if key not in given}
        stored["updateTime"] = self._now().isoformat().replace("+00:00", "Z")
        content = json.dumps(stored, sort_keys=True).encode()
        stored["etag"] = f'"{base64.b64encode(hashlib.sha256(content).digest()[:9]).decode()}"'
        self._policies[name] = stored
        return stored


class PlatformPolicyEvaluation:
    """``PlatformPolicyEvaluationService``: does a Kubernetes resource conform to a policy?"""

    SERVICE = "google.cloud.binaryauthorization.v1.PlatformPolicyEvaluationService"
    HOST = BinaryAuthorization.HOST
    TITLE = BinaryAuthorization.TITLE

    def __init__(self, policies: PlatformPolicies, checks: Checks) -> None:
        self._policies = policies
        self._checks = checks

    @rpc(
        itemgetter("name"),
        "binaryauthorization.platformPolicies.evaluatePolicy",
        http=Http(
            "POST",
            _EVALUATE_PATH,
            {"resource": dict, "attestationMode": _ATTESTATION_MODES},
            body="*",
        ),
    )
    def evaluate_gke_policy(self, request: Document) -> Document:
        policy = self._policies.policy(request["name"])["gkePolicy"]
        if request.get("attestationMode") == "GENERATE_DEPLOY":
            raise Refusal(
                grpc.StatusCode.UNIMPLEMENTED, "The emulator does not attest to its verdicts."
            )
        result = self._pod_result(policy, _pod(request.get("resource", {})))
        return {"verdict": result["verdict"], "results": [result]}

    def _pod_result(self, policy: Document, pod: "_Pod") -> Document:
        results = [self._image_result(policy, pod, image) for image in pod.images]
        return _shown(
            podName=pod.name,
            kubernetesNamespace=pod.namespace,
            kubernetesServiceAccount=pod.service_account,
            verdict=Verdict.of(result["verdict"] for result in results),
            imageResults=results,
        )

    def _image_result(self, policy: Document, pod: "_Pod", image: str) -> Document:
        if pattern := matched_pattern(policy, image):
            allowed: Document = {"allowlistResult": {"matchedPattern": pattern}}
            return {"imageUri": image, "verdict": Verdict.CONFORMANT, **allowed}
        for index, checks in enumerate(policy.get("checkSets", ())):
            if pod.is_in(checks.get("scope", {})):
                verdict, result = self._check_set_result(checks, image)
                result |= _shown(index=str(index), **_labels(checks, "displayName", "scope"))
                return {"imageUri": image, "verdict": verdict, "checkSetResult": result}
        explanation = "The policy has no check sets."
        return {"imageUri": image, "verdict": Verdict.CONFORMANT, "explanation": explanation}

    def _check_set_result(self, checks: Document, image: str) -> tuple[Verdict, Document]:
        if pattern := matched_pattern(checks, image):
            return Verdict.CONFORMANT, {"allowlistResult": {"matchedPattern": pattern}}
        if not checks.get("checks"):
            return Verdict.CONFORMANT, {"explanation": "The check set has no checks."}
        verdicts, results = [], []
        for index, check in enumerate(checks["checks"]):
            kind = kind_of(check)
            result = {"index": str(index), "type": kind[0].upper() + kind[1:]}
            result |= _labels(check, "displayName")
            if pattern := matched_pattern(check, image):
                results.append(result | {"allowlistResult": {"matchedPattern": pattern}})
                continue
            outcome = self._checks.outcome(check, image)
            verdicts.append(outcome.verdict)
            result["explanation"] = outcome.explanation
            results.append(result | {"evaluationResult": {"verdict": outcome.verdict}})
        return Verdict.of(verdicts), {"checkResults": {"results": results}}


@dataclass(frozen=True, slots=True)
class _Pod:
    """What of a Pod counts: where and as whom it runs, and all of its images."""

    name: str
    namespace: str
    service_account: str
    images: tuple[str, ...]

    def is_in(self, scope: Document) -> bool:
        """Whether a check set of this scope applies.

        A Pod of no namespace is in no scope, which is what gcloud says of its --image.
        """
        match scope:
            case {"kubernetesServiceAccount": account}:
                return bool(account == f"{self.namespace}:{self.service_account}")
            case {"kubernetesNamespace": namespace}:
                return bool(namespace == self.namespace)
        return True


def _pod(resource: Document) -> _Pod:
    """The Pod that a Kubernetes resource is or makes; Refusal (INVALID_ARGUMENT) for no such."""
    kind = resource.get("kind")
    if kind == "Pod":
        template = resource
    elif isinstance(kind, str) and kind in _TEMPLATES:
        template = resource
        for step in _TEMPLATES[kind]:
            template = _object(template, step)
    else:
        raise invalid(f"resource: a kind that makes Pods is required, not {kind!r}.")
    outer, inner = _object(resource, "metadata"), template.get("metadata") or {}
    spec = _object(template, "spec")
    if not spec.get("containers"):
        raise invalid("resource: a Pod needs containers.")
    namespace = _text(outer, "namespace")
    # https://kubernetes.io/docs/concepts/security/service-accounts/#default-service-accounts
    account = _text(spec, "serviceAccountName") or _text(spec, "serviceAccount") or "default"
    name = _text(inner if isinstance(inner, dict) else {}, "name") or _text(outer, "name")
    return _Pod(name, namespace, account, tuple(dict.fromkeys(_images(spec))))


def _images(spec: Document) -> Iterator[str]:
    for field in _CONTAINERS:
        containers = spec.get(field) or []
        if not isinstance(containers, list):
            raise invalid(f"resource: {field} must be a list.")
        for container in containers:
            image = _text(container, "image") if isinstance(container, dict) else ""
            if not image:
                raise invalid(f"resource: each of {field} needs an image.")
            yield image


def _object(holder: Document, name: str) -> Document:
    value = holder.get(name)
    if not isinstance(value, dict):
        raise invalid(f"resource: {name} is required, and is an object.")
    return value


def _text(holder: Document, name: str) -> str:
    value = holder.get(name) or ""
    if not isinstance(value, str):
        raise invalid(f"resource: {name} must be a text.")
    return value


def _check_platform(parts: dict[str, str]) -> None:
    if parts["platform"] != "gke":
        raise invalid(f"The emulator has no platform {parts['platform']!r}; there is 'gke'.")


def _check_gke_policy(policy: Document) -> None:
    check_allowlist(policy)
    sets = policy.get("checkSets", [])
    _check_scopes([checks.get("scope", {}) for checks in sets])
    for checks in sets:
        check_allowlist(checks)
        for check in checks.get("checks", ()):
            check_allowlist(check)
            check_check(check)


def _check_scopes(scopes: list[Document]) -> None:
    """Scopes stand in the order of decreasing specificity, and the last has none."""
    before: list[str] = []
    for scope in scopes:
        if len(scope) > 1:
            raise invalid("A scope has a namespace or a service account, not both.")
        this = "".join(scope.values())
        for field, form in _SCOPE_FORMS.items():
            if field in scope and not form.fullmatch(this):
                raise invalid(f"Invalid {field} {this!r}: it must match {form.pattern}.")
        if {this, this.partition(":")[0]} & set(before):
            raise invalid("checkSets must be listed in order of decreasing specificity.")
        before.append(this)
    if before and before[-1]:
        raise invalid("The last of checkSets must have no scope.")


def _labels(holder: Document, *names: str) -> Document:
    return {name: holder[name] for name in names if name in holder}


def _shown(**fields: Any) -> Document:
    return {name: value for name, value in fields.items() if value}
