"""`attest --policy-check`: attested, and then: will it run?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud import binaryauthorization_v1 as ba

from tests.policies import ALLOW, BLOCK, DENY, REQUIRE, policy, seed
from tests.world import ATTESTOR, IMAGE, PROJECT, World, attestor_seed, image, kms_seed

OTHER_ATTESTOR = f"projects/{PROJECT}/attestors/tested"
CLUSTER = "europe-west1.prod"
BY_CLUSTER = {"default": DENY, "clusterAdmissionRules": {CLUSTER: REQUIRE}}


def test_the_step_can_say_that_a_cluster_will_admit_the_image(
    make_world: Callable[..., World],
) -> None:
    world = make_world(seed(**BY_CLUSTER))
    result = world.attest("--policy-check", "--cluster", CLUSTER)
    document = json.loads(result.out)
    assert result.code == 0
    assert list(document) == ["receipts", "errors", "decisions", "emulator"]
    assert [receipt["status"] for receipt in document["receipts"]] == ["created"]
    [decision] = document["decisions"]
    assert decision["admitted"] is True
    assert decision["image"] == IMAGE
    assert decision["by"] == f"cluster admission rule for {CLUSTER}"
    assert [each["attestor"] for each in decision["attestors"]] == [ATTESTOR]
    assert decision["attestors"][0]["occurrence"] == document["receipts"][0]["occurrence"]
    assert decision["warnings"] == []
    assert world.methods.index("GetPolicy") < world.methods.index("CreateOccurrence")


def test_it_says_so_to_the_eye(make_world: Callable[..., World]) -> None:
    world = make_world(seed(**BY_CLUSTER))
    result = world.run(
        "attest", IMAGE, "--attestor", ATTESTOR, "--policy-check", "--cluster", CLUSTER
    )
    lines = result.out.splitlines()
    assert lines[0] == f"created {IMAGE}"
    at = lines.index(f"admitted {IMAGE}")
    assert lines[at + 1].startswith(f"  by          cluster admission rule for {CLUSTER}: REQUIRE")


@pytest.mark.parametrize("cluster", [(), ("--cluster", "europe-west1.test")])
def test_a_denial_is_a_no_and_the_attestation_stays(
    make_world: Callable[..., World],
    cluster: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outputs, summary = tmp_path / "outputs", tmp_path / "summary"
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    world = make_world(seed(**BY_CLUSTER))
    result = world.attest("--policy-check", *cluster)
    document = json.loads(result.out)
    assert result.code == 3
    assert [receipt["status"] for receipt in document["receipts"]] == ["created"]
    assert [decision["admitted"] for decision in document["decisions"]] == [False]
    [error] = document["errors"]
    assert (error["image"], error["attestor"], error["exit_code"]) == (IMAGE, None, 3)
    assert f"not admitted by projects/{PROJECT}/policy" in error["message"]
    assert "Denied by always_deny admission rule" in error["message"]
    assert error["hint"]
    assert world.count("CreateOccurrence") == 1
    # What would be deployed is what was admitted, and nothing was.
    assert "image<<" in outputs.read_text()
    assert f"\n{IMAGE}\n" not in outputs.read_text().partition("receipts<<")[0]
    assert "denied: Image" in summary.read_text()


def test_another_attestor_is_missing(make_world: Callable[..., World]) -> None:
    both = REQUIRE | {"requireAttestationsBy": [ATTESTOR, OTHER_ATTESTOR]}
    other = attestor_seed(name=OTHER_ATTESTOR)["attestors"]
    base = kms_seed()
    world = make_world(
        base | {"attestors": [*base["attestors"], *other], "policies": [policy(default=both)]}
    )
    [error] = json.loads(world.attest("--policy-check").out)["errors"]
    assert f"denied by attestor {OTHER_ATTESTOR}" in error["message"]
    assert f"denied by attestor {ATTESTOR}" not in error["message"]


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"default": ALLOW}, "no attestation was tested: the rule is ALWAYS_ALLOW"),
        (
            {"admissionWhitelistPatterns": [{"namePattern": f"{IMAGE.partition('@')[0]}@*"}]},
            "no attestation was tested: the image is exempt from every rule",
        ),
        (
            {"default": REQUIRE | {"enforcementMode": "DRYRUN_AUDIT_LOG_ONLY"}},
            "nothing is enforced: the rule is a dry run",
        ),
        (
            {"default": REQUIRE | {"requireAttestationsBy": [OTHER_ATTESTOR]}},
            f"the attestation by {ATTESTOR} was not tested: the rule does not require it",
        ),
    ],
)
def test_it_warns_where_the_attestation_was_never_tested(
    make_world: Callable[..., World], fields: dict[str, Any], warning: str
) -> None:
    base = kms_seed()
    other = attestor_seed(name=OTHER_ATTESTOR)["attestors"]
    world = make_world(
        base | {"attestors": [*base["attestors"], *other], "policies": [policy(**fields)]}
    )
    [decision] = json.loads(world.attest("--policy-check").out)["decisions"]
    assert warning in decision["warnings"]


def test_what_was_not_attested_is_not_evaluated(make_world: Callable[..., World]) -> None:
    """One image of two fails; the other is evaluated, and the exit code is the failure's."""
    world = make_world(seed())
    world.emulator.fail("CreateOccurrence=PERMISSION_DENIED:1")
    other = str(image("7"))
    document = json.loads(world.attest(other, "--policy-check").out)
    assert len(document["errors"]) == len(document["decisions"]) == len(document["receipts"]) == 1
    assert document["decisions"][0]["image"] == document["receipts"][0]["image"]
    assert document["decisions"][0]["image"] != document["errors"][0]["image"]


def test_what_one_attestor_of_two_could_not_attest_is_not_evaluated(
    make_world: Callable[..., World],
) -> None:
    """Its exit code is the failure's, and a yes of the policy must not stand beside it."""
    world = make_world(seed())
    result = world.attest("--policy-check", "--attestor", f"projects/{PROJECT}/attestors/none")
    assert result.code == 5
    assert "decisions" not in json.loads(result.out)
    assert len(json.loads(result.out)["receipts"]) == 1


def test_a_policy_that_cannot_be_read_is_known_before_anything_is_signed(
    make_world: Callable[..., World],
) -> None:
    world = make_world(seed())
    world.emulator.fail("GetPolicy=PERMISSION_DENIED")
    result = world.attest("--policy-check")
    assert result.error["exit_code"] == 4
    assert "policyViewer" in result.error["hint"]
    assert not world.wrote
    assert world.count("AsymmetricSign") == 0


def test_an_attestor_that_cannot_be_asked_leaves_it_undecided(
    make_world: Callable[..., World],
) -> None:
    """Attested, and not known whether it will run: no yes, and no no either."""
    required = REQUIRE | {"requireAttestationsBy": [OTHER_ATTESTOR]}
    base = kms_seed()
    other = attestor_seed(name=OTHER_ATTESTOR)["attestors"]
    world = make_world(
        base | {"attestors": [*base["attestors"], *other], "policies": [policy(default=required)]}
    )
    world.client(ba.BinauthzManagementServiceV1Client).delete_attestor(name=OTHER_ATTESTOR)
    result = world.attest("--policy-check")
    document = json.loads(result.out)
    assert result.code == 5
    assert "decisions" not in document
    assert [error["image"] for error in document["errors"]] == [IMAGE]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--policy-check", "--dry-run"), "--dry-run"),
        (("--policy-check", "--no-wait"), "--no-wait"),
        (
            ("--policy-check", "--check-only", "--require-build", "--trusted-project", "p"),
            "--check",
        ),
        (("--cluster", CLUSTER), "--policy-check"),
        (("--policy-project", PROJECT), "--policy-check"),
        (("--policy-check", "--attestor", "projects/other/attestors/a"), "--policy-project"),
        (("--policy-check", "--cluster", "nowhere"), "LOCATION"),
    ],
)
def test_what_would_tell_nothing_is_bad_input(
    kms_world: World, arguments: tuple[str, ...], says: str
) -> None:
    error = kms_world.attest(*arguments).error
    assert error["exit_code"] == 2
    assert says in error["hint"]
    assert kms_world.methods == []


def test_the_policy_of_another_project(make_world: Callable[..., World]) -> None:
    elsewhere = policy(default=DENY) | {"name": "projects/clusters/policy"}
    world = make_world(kms_seed() | {"policies": [policy(), elsewhere]})
    assert world.attest("--policy-check").code == 0
    denied = json.loads(world.attest("--policy-check", "--policy-project", "clusters").out)
    assert "not admitted by projects/clusters/policy" in denied["errors"][0]["message"]


def test_the_mode_of_enforcement_is_told(make_world: Callable[..., World]) -> None:
    world = make_world(seed())
    [decision] = json.loads(world.attest("--policy-check").out)["decisions"]
    modes = (decision["evaluation_mode"], decision["enforcement_mode"])
    assert modes == ("REQUIRE_ATTESTATION", BLOCK)
