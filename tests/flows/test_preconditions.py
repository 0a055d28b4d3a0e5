"""Checks before signing, of several images and together with the rest of `attest`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from step.errors import BadInput
from step.events import Passed
from step.model.image import ImageRef
from step.model.provenance import TrustedBuild
from step.preconditions import check
from step.preconditions.build import BuildCheck
from tests.builds import SOURCE
from tests.flows.notes import connection
from tests.flows.test_require_build import put
from tests.policies import policy
from tests.scans import COMPLETE, FAILED, scan, written
from tests.world import ATTESTOR, IMAGE, PROJECT, World, image, kms_seed

OTHER = str(image("7"))
BUILD = ("--require-build", "--trusted-source", SOURCE)


@pytest.fixture
def limits(tmp_path: Path) -> tuple[str, str]:
    """Options that ask for a scan."""
    path = tmp_path / "policy.json"
    path.write_text(written())
    return "--vulnerability-policy", str(path)


def test_what_is_refused_is_not_signed_and_what_passes_is(
    kms_world: World, limits: tuple[str, str]
) -> None:
    scan(kms_world, COMPLETE)
    scan(kms_world, FAILED, uri=f"https://{OTHER}")
    result = kms_world.attest(OTHER, *limits)
    document = json.loads(result.out)
    assert result.code == 3
    assert list(document) == ["receipts", "errors", "checks", "emulator"]
    assert [receipt["image"] for receipt in document["receipts"]] == [IMAGE]
    assert [(each["image"], each["check"]) for each in document["checks"]] == [(IMAGE, "scan")]
    [error] = document["errors"]
    assert (error["image"], error["attestor"], error["exit_code"]) == (OTHER, None, 3)
    assert kms_world.count("AsymmetricSign") == kms_world.count("CreateOccurrence") == 1


def test_the_record_of_one_build_is_none_of_another_image(kms_world: World) -> None:
    put(kms_world)
    document = json.loads(kms_world.attest(OTHER, *BUILD).out)
    assert [receipt["image"] for receipt in document["receipts"]] == [IMAGE]
    assert [(error["image"], error["exit_code"]) for error in document["errors"]] == [(OTHER, 3)]
    assert kms_world.count("AsymmetricSign") == 1


def test_an_image_that_is_given_twice_is_checked_once(kms_world: World) -> None:
    put(kms_world)
    once = BuildCheck(TrustedBuild(sources=(SOURCE,)))
    actual = check([ImageRef.parse(IMAGE)] * 2, [once], connection(kms_world))
    assert len([each for each in actual if isinstance(each, Passed)]) == 1


def test_every_no_is_told_at_once(kms_world: World, limits: tuple[str, str]) -> None:
    scan(kms_world, FAILED)
    errors = json.loads(kms_world.attest(*limits, *BUILD).out)["errors"]
    assert len(errors) == 2
    assert {each["exit_code"] for each in errors} == {3}
    assert "no record of a build" in errors[0]["message"] + errors[1]["message"]
    assert not [name for name in kms_world.methods if name == "AsymmetricSign"]


def test_one_yes_does_not_hide_a_no(kms_world: World, limits: tuple[str, str]) -> None:
    put(kms_world)
    scan(kms_world, FAILED)
    result = kms_world.attest(*limits, *BUILD)
    document = json.loads(result.out)
    assert (result.code, document["receipts"]) == (3, [])
    assert [each["check"] for each in document["checks"]] == ["build"]
    assert kms_world.count("AsymmetricSign") == 0


def test_all_that_passed_is_shown(
    kms_world: World, limits: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    put(kms_world)
    scan(kms_world, COMPLETE)
    lines = kms_world.run("attest", IMAGE, "--attestor", ATTESTOR, *limits, *BUILD).out.splitlines()
    assert lines[0] == lines[2] == f"passed {IMAGE}"
    assert lines[1].startswith("  build       projects/")
    assert lines[3].startswith("  scan        scan complete")
    assert lines[4] == f"created {IMAGE}"
    assert "scan complete" in summary.read_text()


def test_a_key_that_is_not_listed_is_known_before_a_scan_is_waited_for(
    make_world: Callable[..., World], limits: tuple[str, str]
) -> None:
    seed = kms_seed()
    seed["attestors"][0]["public_keys"] = []
    world = make_world(seed)
    result = world.attest(
        *limits, "--kms-key-version", f"{seed['keys'][0]['name']}/cryptoKeyVersions/1"
    )
    assert result.error["exit_code"] == 3
    assert world.count("ListOccurrences") == 0
    assert not world.clock.passed


def test_an_attested_image_is_checked_all_the_same(
    kms_world: World, limits: tuple[str, str]
) -> None:
    """A yes of yesterday is no answer to what is asked today."""
    assert kms_world.attest().code == 0
    scan(kms_world, FAILED)
    assert kms_world.attest(*limits).code == 3


def test_a_refused_image_is_not_evaluated(
    make_world: Callable[..., World], limits: tuple[str, str]
) -> None:
    world = make_world(kms_seed() | {"policies": [policy()]})
    assert world.attest().code == 0
    scan(world, FAILED)
    document = json.loads(world.attest(*limits, "--policy-check").out)
    assert "decisions" not in document
    assert len(document["errors"]) == 1


def test_a_dry_run_checks(kms_world: World, limits: tuple[str, str]) -> None:
    scan(kms_world, FAILED)
    assert kms_world.attest(*limits, "--dry-run").code == 3
    assert json.loads(kms_world.attest(*BUILD, "--dry-run").out)["receipts"] == []


def test_to_check_only_takes_no_attestor(kms_world: World, limits: tuple[str, str]) -> None:
    scan(kms_world, COMPLETE)
    for attestor in ((), ("--attestor", ATTESTOR)):
        arguments = ("attest", IMAGE, *attestor, *limits, "--check-only", "--format", "json")
        result = kms_world.run(*arguments)
        document = json.loads(result.out)
        assert (result.code, document["receipts"], document["errors"]) == (0, [], [])
        assert [each["check"] for each in document["checks"]] == ["scan"]
    assert set(kms_world.methods) <= {"CreateNote", "BatchCreateOccurrences", "ListOccurrences"}


def test_to_check_only_can_say_no(kms_world: World, limits: tuple[str, str]) -> None:
    scan(kms_world, FAILED)
    result = kms_world.run("attest", IMAGE, *limits, "--check-only")
    assert result.code == 3
    assert "checking europe" in result.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--check-only",), "--vulnerability-policy"),
        (("--image-project", PROJECT), "--require-build"),
        (("--trusted-builder", "x"), "--require-build"),
        (("--trusted-project", "x"), "--require-build"),
        (("--trusted-trigger", "x"), "--require-build"),
        (("--trusted-source", "https://github.com/o/r"), "--require-build"),
        (("--trusted-recorder", "p"), "--require-build"),
        (("--vulnerability-timeout", "soon"), "90s"),
        (("--require-build", "--trusted-project", "p", "--image-project", "Not A"), "project"),
    ],
)
def test_what_would_check_nothing_is_bad_input(
    kms_world: World, arguments: tuple[str, ...], says: str
) -> None:
    error = kms_world.attest(*arguments).error
    assert error["exit_code"] == 2
    assert says in error["hint"]
    assert kms_world.methods == []


def test_a_policy_that_is_named_by_nothing_is_told(kms_world: World) -> None:
    """`--vulnerability-policy "$POLICY"`, where the variable is not set, must not sign unseen."""
    error = kms_world.attest("--vulnerability-policy", "").error
    assert error["exit_code"] == 2
    assert "--vulnerability-policy" in error["message"]
    assert kms_world.methods == []


@pytest.mark.parametrize(
    "name",
    [
        "VULNERABILITY_POLICY",
        "REQUIRE_BUILD",
        "TRUSTED_BUILDER",
        "TRUSTED_PROJECT",
        "TRUSTED_TRIGGER",
        "TRUSTED_SOURCE",
        "TRUSTED_RECORDER",
        "CHECK_ONLY",
        "DRY_RUN",
        "POLICY_CHECK",
        "CLUSTER",
    ],
)
def test_a_check_that_is_set_but_empty_is_told(
    kms_world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An action's input is empty where it is not given; a variable is set by somebody."""
    monkeypatch.setenv(f"INPUT_{name}", "")
    assert kms_world.attest("--dry-run").code == 0
    before = list(kms_world.methods)
    monkeypatch.setenv(f"BINAUTHZ_{name}", " ")
    for more in ((), ("--require-build", "--trusted-source", SOURCE)):
        error = kms_world.attest(*more).error
        assert error["exit_code"] == 2
        assert f"BINAUTHZ_{name} is set, but empty" in error["message"]
    assert kms_world.methods == before


def test_nothing_checked_is_no_yes(kms_world: World) -> None:
    each = BuildCheck(TrustedBuild(projects=("p",)))
    for images, checks in (([], [each]), ([ImageRef.parse(IMAGE)], [])):
        with pytest.raises(BadInput, match="nothing to check"):
            list(check(images, checks, connection(kms_world)))
