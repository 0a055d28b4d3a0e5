"""IAM policies of attestors, policies, keys and key rings, as gcloud itself sets and shows them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.judges import FindTool
from tests.real.test_gcloud import BINAUTHZ, Gcloud
from tests.world import ATTESTOR, VERSION, World, kms_seed

pytestmark = pytest.mark.timeout(300)

KEY = VERSION.partition("/cryptoKeyVersions/")[0]
RING = KEY.partition("/cryptoKeys/")[0]
BUILDER = "serviceAccount:builder@my-project.iam.gserviceaccount.com"
RELEASE = "group:release@example.com"
CONDITION = 'expression=request.time < timestamp("2030-01-01T00:00:00Z"),title=soon over'


@pytest.fixture
def cloud(make_world: Callable[..., World], tool: FindTool, tmp_path: Path) -> Gcloud:
    return Gcloud(tool("gcloud"), tmp_path, make_world(kms_seed()))


@pytest.mark.parametrize(
    ("group", "resource", "role"),
    [
        ((*BINAUTHZ, "attestors"), (ATTESTOR,), "roles/binaryauthorization.attestorsVerifier"),
        (("beta", *BINAUTHZ, "attestors"), (ATTESTOR,), "roles/binaryauthorization.viewer"),
        (("alpha", *BINAUTHZ, "policy"), (), "roles/binaryauthorization.policyViewer"),
        (("kms", "keys"), (KEY,), "roles/cloudkms.signerVerifier"),
        (("kms", "keyrings"), (RING,), "roles/cloudkms.viewer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_bindings_are_added_shown_and_removed(
    cloud: Gcloud, group: tuple[str, ...], resource: tuple[str, ...], role: str
) -> None:
    def run(verb: str, *more: str) -> Any:
        return cloud.read(*group, verb, *resource, *more)

    def change(verb: str, member: str) -> Any:
        more = ("--condition=None",) if group[-1] != "keyrings" else ()
        return run(f"{verb}-iam-policy-binding", f"--role={role}", f"--member={member}", *more)

    assert run("get-iam-policy") == {"etag": "ACAB"}
    assert change("add", BUILDER)["bindings"] == [{"role": role, "members": [BUILDER]}]
    both = change("add", RELEASE)
    assert both["bindings"] == [{"role": role, "members": [BUILDER, RELEASE]}]
    assert run("get-iam-policy") == both
    assert change("remove", BUILDER)["bindings"] == [{"role": role, "members": [RELEASE]}]
    assert "bindings" not in change("remove", RELEASE)


def test_a_condition_comes_back_whole(cloud: Gcloud) -> None:
    role = ("--role=roles/cloudkms.signer", f"--member={BUILDER}", f"--condition={CONDITION}")
    made = cloud.read("kms", "keys", "add-iam-policy-binding", KEY, *role)
    shown = cloud.read("kms", "keys", "get-iam-policy", KEY)
    assert (shown["version"], shown) == (3, made)
    [binding] = shown["bindings"]
    assert binding["condition"]["title"] == "soon over"


def test_a_file_is_set_once(cloud: Gcloud, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    verb = (*BINAUTHZ, "attestors", "set-iam-policy", ATTESTOR, str(file))
    shown = cloud.read(*BINAUTHZ, "attestors", "get-iam-policy", ATTESTOR)
    binding = {"role": "roles/binaryauthorization.attestorsViewer", "members": [RELEASE]}
    file.write_text(json.dumps(shown | {"bindings": [binding]}))
    assert cloud.read(*verb)["bindings"] == [binding]
    # The file is of the policy before, as its etag tells.
    stale = cloud.run(*verb, check=False)
    assert stale.returncode != 0
    assert "etag" in stale.stderr
    file.write_text(json.dumps({"bindings": [binding | {"members": ["release@example.com"]}]}))
    refused = cloud.run(*verb, check=False)
    assert refused.returncode != 0
    assert "INVALID_ARGUMENT" in refused.stderr


def test_what_is_not_there_is_not_found(cloud: Gcloud) -> None:
    for group, name in (((*BINAUTHZ, "attestors"), ATTESTOR), (("kms", "keys"), KEY)):
        missing = cloud.run(*group, "get-iam-policy", f"{name}x", check=False)
        assert missing.returncode != 0
        assert "NOT_FOUND" in missing.stderr
