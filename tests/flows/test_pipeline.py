"""The pipeline that the project began with: only what it built and signed runs in its cluster.

An OpenPGP key in an environment variable of the CI, a policy that denies everything but what the
attestor attested, and a cluster that asks: here by the emulator's admission endpoint, over HTTPS.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from step.emulator import AdmissionPort
from tests.keys import PgpKind, pgp_secret
from tests.reviews import Endpoint, admission_review, image_review, pod
from tests.world import ATTESTOR, IMAGE, PROJECT, Result, World, image, pgp_seed

BLOCK = "ENFORCED_BLOCK_AND_AUDIT_LOG"
CLUSTER = "us-east1-a.prod-cluster"
AT_HOME = str(image("7"))
BY_TAG = IMAGE.partition("@")[0] + ":v1"
POLICY = {
    "name": f"projects/{PROJECT}/policy",
    "admissionWhitelistPatterns": [{"namePattern": "gcr.io/google_containers/*"}],
    "clusterAdmissionRules": {
        CLUSTER: {
            "evaluationMode": "REQUIRE_ATTESTATION",
            "enforcementMode": BLOCK,
            "requireAttestationsBy": [ATTESTOR],
        }
    },
    "defaultAdmissionRule": {"evaluationMode": "ALWAYS_DENY", "enforcementMode": BLOCK},
}


@dataclass
class Cluster:
    """Deploys by asking the endpoint, in both of Kubernetes' forms, and the program itself."""

    world: World
    endpoint: Endpoint
    name: str = CLUSTER

    def denial(self, *images: str) -> str:
        """Why a pod may not run, empty if it may; whoever is asked says the same."""
        path = f"/projects/{PROJECT}/clusters/{self.name}:admit"
        response = self.endpoint.admit(admission_review(pod(*images)), path)
        status = self.endpoint.review(image_review(*images), path)
        arguments = ("--project", PROJECT, "--cluster", self.name, "--format", "json")
        checked = self.world.run("policy", "check", *images, *arguments)
        denials = [decision["denial"] for decision in json.loads(checked.out)["decisions"]]
        said = str(response.get("status", {}).get("message", ""))
        assert said == status.get("reason", "") == ". ".join(filter(None, denials))
        assert response["allowed"] is status["allowed"] is (checked.code == 0) is (not said)
        return said


@pytest.fixture
def cluster(make_world: Callable[..., World], tmp_path: Path) -> Cluster:
    settings = AdmissionPort(authority_file=tmp_path / "ca.pem")
    seed = pgp_seed(PgpKind.RSA) | {"policies": [POLICY]}
    world = make_world(seed, admission=settings)
    return Cluster(world, Endpoint(world.emulator.admission_address, tmp_path / "ca.pem"))


@pytest.fixture
def signing_job(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    """The pipeline's step that signs; its key is base64 in a variable, on one line, no newline."""

    def run(reference: str) -> Result:
        secret = base64.b64encode(pgp_secret(PgpKind.RSA)).decode()
        with monkeypatch.context() as patch:
            patch.setenv("CI", "true")
            patch.setenv("CIRCLECI", "true")
            patch.setenv("BINAUTHZ_PGP_PRIVATE_KEY", secret)
            result = cluster.world.attest(image=reference)
        assert secret not in result.out + result.err
        return result

    return run


def denied_by_attestor(reference: str, reason: str) -> str:
    return (
        f"Image {reference} denied by Binary Authorization cluster admission rule for {CLUSTER}. "
        f"Image {reference} denied by attestor {ATTESTOR}: {reason}"
    )


UNTRUSTED = "No attestations found that were valid and signed by a key trusted by the attestor"


def test_denied_then_attested_then_admitted(
    cluster: Cluster, signing_job: Callable[[str], Result]
) -> None:
    assert cluster.denial(IMAGE) == denied_by_attestor(IMAGE, UNTRUSTED)
    assert signing_job(IMAGE).receipt["status"] == "created"
    assert cluster.denial(IMAGE) == ""
    # A second image is pushed without the part that signs, past the pipeline.
    assert cluster.denial(AT_HOME) == denied_by_attestor(AT_HOME, UNTRUSTED)
    assert cluster.denial(IMAGE, AT_HOME) == denied_by_attestor(AT_HOME, UNTRUSTED)
    # The pipeline runs again for the first, and nothing changes.
    assert signing_job(IMAGE).receipt["status"] == "existing"
    assert cluster.denial(IMAGE) == ""


def test_what_an_attestation_does_not_open(
    cluster: Cluster, signing_job: Callable[[str], Result]
) -> None:
    signing_job(IMAGE)
    tag = "Expected digest with sha256 scheme, but got tag or malformed digest"
    assert cluster.denial(BY_TAG) == denied_by_attestor(BY_TAG, tag)
    elsewhere = Cluster(cluster.world, cluster.endpoint, "us-east1-a.other-cluster")
    assert elsewhere.denial(IMAGE) == (
        f"Image {IMAGE} denied by Binary Authorization default admission rule. "
        "Denied by always_deny admission rule"
    )


def test_the_gentler_rules(cluster: Cluster) -> None:
    pause = "gcr.io/google_containers/pause:3.1"
    assert cluster.denial(pause) == ""
    assert cluster.denial("gcr.io/google_containers/deeper/pause:3.1").startswith("Image ")
    path = f"/projects/{PROJECT}/clusters/{CLUSTER}:admit"
    labels = {"image-policy.k8s.io/break-glass": "true"}
    response: dict[str, Any] = cluster.endpoint.admit(
        admission_review(pod(AT_HOME, labels=labels)), path
    )
    overridden = f"'{AT_HOME}' : {denied_by_attestor(AT_HOME, UNTRUSTED)}\n"
    assert response == {
        "allowed": True,
        "warnings": ["break-glass: Binary Authorization's policy denies 1 of the pod's images"],
        "auditAnnotations": {"break-glass": "true", "overridden-verification-result": overridden},
    }


def test_a_signature_by_another_key_opens_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = base64.b64encode(pgp_secret(PgpKind.RSA, 1)).decode()
    monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY", other)
    assert cluster.world.attest().code == 3
    assert cluster.denial(IMAGE) == denied_by_attestor(IMAGE, UNTRUSTED)
