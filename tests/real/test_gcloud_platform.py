"""Platform policies and the system policy, as gcloud itself asks the emulator for them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.judges import FindTool
from tests.real.test_gcloud import BINAUTHZ, Gcloud
from tests.world import IMAGE, PROJECT, VERSION, World, image, kms_seed

pytestmark = pytest.mark.timeout(300)

POLICY = ("beta", *BINAUTHZ, "policy")
AT_GKE = ("--platform=gke",)
NAME = f"projects/{PROJECT}/platforms/gke/policies/signed"


@pytest.fixture
def cloud(make_world: Callable[..., World], tool: FindTool, tmp_path: Path) -> Gcloud:
    """gcloud, and a world with an attestor and a system policy."""
    program = tool("gcloud")
    system = {"admissionWhitelistPatterns": [{"namePattern": "registry.example/system/**"}]}
    return Gcloud(program, tmp_path, make_world(kms_seed() | {"system_policy": system}))


def verdict(done: subprocess.CompletedProcess[str]) -> Any:
    """The verdict of an evaluation, which gcloud also tells by its status."""
    document = json.loads(done.stdout)
    assert done.returncode == (0 if document["verdict"] == "CONFORMANT" else 2), done.stderr
    return document["verdict"]


def test_a_platform_policy_from_its_making_to_its_end(cloud: Gcloud, tmp_path: Path) -> None:
    [key] = cloud.read(*BINAUTHZ, "attestors", "list")[0]["userOwnedGrafeasNote"]["publicKeys"]
    check = {
        "attestationAuthenticators": [
            {"pkixPublicKeySet": {"pkixPublicKeys": [key["pkixPublicKey"] | {"keyId": key["id"]}]}}
        ],
        "containerAnalysisAttestationProjects": [f"projects/{PROJECT}"],
    }
    trusted = {"trustedDirPatterns": ["registry.example/**"]}
    sets: list[dict[str, Any]] = [
        {
            "displayName": "open",
            "scope": {"kubernetesServiceAccount": "tools:debugger"},
            "checks": [{"displayName": "ours", "trustedDirectoryCheck": trusted}],
        },
        {"displayName": "all else", "checks": [{"simpleSigningAttestationCheck": check}]},
    ]
    file = tmp_path / "policy.yaml"
    document = {"description": "signed images", "gkePolicy": {"checkSets": sets}}
    file.write_text(yaml.safe_dump(document))
    cloud.run(*POLICY, "create", "signed", *AT_GKE, f"--policy-file={file}")
    described = cloud.read(*POLICY, "describe", "signed", *AT_GKE)
    assert described["name"] == NAME
    assert described["gkePolicy"] == document["gkePolicy"]
    assert [each["name"] for each in cloud.read(*POLICY, "list", "gke")] == [NAME]

    def evaluate(*arguments: str) -> Any:
        return verdict(
            cloud.run(*POLICY, "evaluate", NAME, *arguments, "--format=json", check=False)
        )

    assert evaluate(f"--image={IMAGE}") == "NON_CONFORMANT"
    sign: tuple[str, ...] = (
        "attestations",
        "sign-and-create",
        f"--artifact-url={IMAGE}",
        f"--keyversion={VERSION}",
    )
    sign += (f"--attestor=projects/{PROJECT}/attestors/built-by-ci", "--pae-encode-payload")
    cloud.run("beta", *BINAUTHZ, *sign, f"--public-key-id-override={key['id']}")
    assert evaluate(f"--image={IMAGE}") == "CONFORMANT"
    ours = str(image("c"))
    assert cloud.world.attest("--kms-key-version", VERSION, image=ours).code == 0
    assert evaluate(f"--image={IMAGE}", f"--image={ours}") == "CONFORMANT"
    assert evaluate("--image=registry.example/apps/web:v1") == "ERROR"

    pod = tmp_path / "pod.yaml"
    spec = {"serviceAccountName": "debugger", "containers": [{"image": "registry.example/a/b:1"}]}
    resource = {"apiVersion": "v1", "kind": "Pod", "spec": spec}
    for namespace, expected in (("tools", "CONFORMANT"), ("web", "ERROR")):
        pod.write_text(yaml.safe_dump(resource | {"metadata": {"namespace": namespace}}))
        assert evaluate(f"--resource={pod}") == expected

    file.write_text(json.dumps({"gkePolicy": {"checkSets": [{"checks": [{"alwaysDeny": True}]}]}}))
    updated = cloud.read(*POLICY, "update", "signed", *AT_GKE, f"--policy-file={file}")
    assert updated["gkePolicy"] == {"checkSets": [{"checks": [{"alwaysDeny": True}]}]}
    file.write_text(json.dumps({"gkePolicy": {"checkSets": [{"scope": sets[0]["scope"]}]}}))
    refused = cloud.run(*POLICY, "update", NAME, f"--policy-file={file}", check=False)
    assert refused.returncode != 0
    assert "INVALID_ARGUMENT" in refused.stderr
    cloud.run(*POLICY, "delete", "signed", *AT_GKE)
    missing = cloud.run(*POLICY, "describe", "signed", *AT_GKE, check=False)
    assert missing.returncode != 0
    assert "NOT_FOUND" in missing.stderr


def test_the_system_policy_is_exported(cloud: Gcloud) -> None:
    for more, location in (((), "global"), (("--location=us-central1",), "us-central1")):
        exported = cloud.run("alpha", *BINAUTHZ, "policy", "export-system-policy", *more).stdout
        assert yaml.safe_load(exported) == {
            "admissionWhitelistPatterns": [{"namePattern": "registry.example/system/**"}],
            "name": f"locations/{location}/policy",
        }
