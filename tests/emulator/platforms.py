"""Platform policies to make, and the answers to evaluations by them."""

from typing import Any

from step.emulator import Emulator
from tests.emulator.rest import Answer, ask
from tests.emulator.signers import key_of, pem_of
from tests.emulator.world import DIGEST

POLICIES = "/v1/projects/p/platforms/gke/policies"
ONE = POLICIES + "/one"
IMAGE = f"example.com/apps/web@{DIGEST}"
OTHER = f"example.com/apps/db@sha256:{'cd' * 32}"
DENY: dict[str, Any] = {"alwaysDeny": True}
ALLOW: dict[str, Any] = {"trustedDirectoryCheck": {"trustedDirPatterns": ["example.com/**"]}}
UNKNOWN: dict[str, Any] = {"imageFreshnessCheck": {"maxUploadAgeDays": 30}}
GOOD, WRONG, ERROR = "CONFORMANT", "NON_CONFORMANT", "ERROR"


def policy(*checks: Any, **fields: Any) -> dict[str, Any]:
    return {"gkePolicy": {"checkSets": [{"checks": list(checks)} | fields]}}


def create(emulator: Emulator, document: Any, name: str = "one") -> Answer:
    return ask(emulator, "POST", f"{POLICIES}?policyId={name}", document)


def pod(*images: str, **fields: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": image} for image in images]
    return {"kind": "Pod", "metadata": fields, "spec": {"containers": containers}}


def evaluate(emulator: Emulator, *images: str, resource: Any = None) -> dict[str, Any]:
    """The answer to an evaluation of images, or of a resource, by the policy `one`."""
    answer = ask(emulator, "POST", f"{ONE}:evaluate", {"resource": resource or pod(*images)})
    assert answer.status == 200, answer.document
    return answer.document


def judged(emulator: Emulator, document: Any, *images: str) -> tuple[str, str]:
    """The verdict of a policy with one check on images, and the explanation for the first."""
    assert create(emulator, document).status == 200
    actual = evaluate(emulator, *(images or (IMAGE,)))
    result = actual["results"][0]["imageResults"][0]["checkSetResult"]
    [check] = result["checkResults"]["results"]
    assert check["evaluationResult"]["verdict"] == actual["verdict"]
    assert ask(emulator, "DELETE", ONE).status == 200
    return actual["verdict"], check["explanation"]


def simple(*keys: Any, projects: Any = ("projects/p",)) -> dict[str, Any]:
    """A check that one of these keys signed, each alone in its authenticator."""
    authenticators = [{"pkixPublicKeySet": {"pkixPublicKeys": [key]}} for key in keys]
    rule = {"attestationAuthenticators": authenticators}
    return {
        "simpleSigningAttestationCheck": rule
        | {"containerAnalysisAttestationProjects": list(projects)}
    }


def public_key(name: str, key_id: str = "") -> dict[str, str]:
    actual = {"publicKeyPem": pem_of(key_of(name)), "signatureAlgorithm": name, "keyId": key_id}
    return {field: value for field, value in actual.items() if value}


def vulnerabilities(fixable: str = "LOW", unfixable: str = "HIGH", **more: Any) -> dict[str, Any]:
    rule = {"maximumFixableSeverity": fixable, "maximumUnfixableSeverity": unfixable}
    rule |= {"containerAnalysisVulnerabilityProjects": ["projects/p"]} | more
    return {"vulnerabilityCheck": rule}


def directory(*patterns: str) -> dict[str, Any]:
    return {"trustedDirectoryCheck": {"trustedDirPatterns": list(patterns)}}


def sets(*scopes: Any) -> dict[str, Any]:
    return {"gkePolicy": {"checkSets": [{"scope": scope} for scope in scopes]}}


def namespace(name: str) -> dict[str, str]:
    return {"kubernetesNamespace": name}


def account(name: str) -> dict[str, str]:
    return {"kubernetesServiceAccount": name}
