"""`attest --vulnerability-policy`: only what was scanned and is within the limits is signed."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2

from step.errors import BadInput, Refused
from step.events import Progress
from step.model.image import ImageRef
from step.model.names import ProjectName
from step.model.vulnerability import VulnerabilityPolicy
from step.preconditions.scan import ScanCheck
from tests.flows.notes import connection
from tests.scans import (
    COMPLETE,
    FAILED,
    MAXIMUM,
    PENDING,
    SCANNING,
    STRICT,
    UNSUPPORTED,
    rescan,
    scan,
    vulnerability,
    written,
)
from tests.world import DIGEST, IMAGE, PROJECT, Result, World, assert_clear

NOTE = "projects/goog-vulnz/notes/CVE-2020-10543"
ELSEWHERE = f"docker.io/library/web@{DIGEST}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A policy that lets MEDIUM pass, fixable or not."""
    actual = tmp_path / "policy.yaml"
    actual.write_text(written())
    return actual


def attest(world: World, path: Path, *arguments: str) -> Result:
    return world.attest("--vulnerability-policy", str(path), *arguments)


def begun(
    world: World,
    requirements: Any = STRICT,
    limit: timedelta = timedelta(minutes=5),
    project: str | None = None,
    image: str = IMAGE,
) -> Generator[Progress, None, str]:
    policy = VulnerabilityPolicy.parse(written(requirements), "policy")
    where = ProjectName(project) if project else None
    return ScanCheck(policy, limit, where).check(ImageRef.parse(image), connection(world))


def check(world: World, *given: Any, **options: Any) -> tuple[str, list[Progress]]:
    """What the check returns, and what it yields before."""
    running = begun(world, *given, **options)
    told = []
    while True:
        try:
            told.append(next(running))
        except StopIteration as end:
            return end.value, told


def refusal(world: World, requirements: Any = STRICT, **given: Any) -> str:
    with pytest.raises(Refused) as caught:
        check(world, requirements, **given)
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value.message


# Through the command line


def test_what_is_within_the_limits_is_signed(kms_world: World, path: Path) -> None:
    scan(kms_world)
    vulnerability(kms_world, severity=3)
    assert attest(kms_world, path).code == 0
    assert kms_world.count("AsymmetricSign") == kms_world.count("CreateOccurrence") == 1


def test_what_is_beyond_them_is_not(kms_world: World, path: Path) -> None:
    scan(kms_world)
    vulnerability(kms_world)
    result = attest(kms_world, path)
    assert_clear(
        result,
        3,
        "CVE-2020-10543 in perl: fixable, severity HIGH, beyond maximumFixableSeverity MEDIUM",
        "allowlistCVEs",
    )
    assert kms_world.count("AsymmetricSign") == kms_world.count("CreateOccurrence") == 0


@pytest.mark.parametrize("status", [FAILED, UNSUPPORTED, 6])
def test_a_scan_that_failed_is_no_clean_scan(kms_world: World, path: Path, status: int) -> None:
    scan(kms_world, status)
    assert_clear(attest(kms_world, path), 3, "cannot be judged", "Artifact Analysis can scan")
    assert kms_world.clock.passed == timedelta(0)
    assert kms_world.count("AsymmetricSign") == 0


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (0, "ANALYSIS_STATUS_UNSPECIFIED"),
        (PENDING, "PENDING"),
        (SCANNING, "SCANNING"),
        (None, "no scan of Artifact Analysis was found"),
    ],
)
def test_a_scan_that_does_not_end_is_none(
    kms_world: World, path: Path, status: int | None, says: str
) -> None:
    if status is not None:
        scan(kms_world, status)
    result = attest(kms_world, path, "--vulnerability-timeout", "90s")
    assert_clear(
        result, 3, f"was not complete after 1m30s: {says}", "containerscanning.googleapis.com"
    )
    assert "of an index" in result.error["hint"]
    assert kms_world.clock.passed == timedelta(seconds=90)
    assert kms_world.count("AsymmetricSign") == 0


def test_the_check_alone_asks_for_nothing_else(kms_world: World, path: Path) -> None:
    scan(kms_world)
    before = len(kms_world.methods)
    arguments = ("attest", IMAGE, "--check-only", "--vulnerability-policy", str(path))
    result = kms_world.run(*arguments)
    assert (result.code, "scan complete, no vulnerabilities" in result.out) == (0, True)
    assert set(kms_world.methods[before:]) == {"ListOccurrences"}
    vulnerability(kms_world)
    assert kms_world.run(*arguments).code == 3


def test_a_policy_that_is_misspelt_is_told_before_any_call(kms_world: World, path: Path) -> None:
    path.write_text(written({"maximumFixableSeverty": "LOW"}))
    result = attest(kms_world, path)
    assert_clear(result, 2, "--vulnerability-policy: spec: image", "docs/vulnerability-policy.md")
    assert kms_world.methods == []


def test_a_role_that_is_missing_is_named(kms_world: World, path: Path) -> None:
    kms_world.emulator.fail("ListOccurrences=PERMISSION_DENIED")
    result = attest(kms_world, path)
    assert_clear(
        result,
        4,
        f"projects/{PROJECT}",
        "roles/containeranalysis.occurrences.viewer on the project",
    )


def test_what_could_not_be_asked_is_no_yes(kms_world: World, path: Path) -> None:
    scan(kms_world)
    kms_world.emulator.fail("ListOccurrences=UNAVAILABLE")
    assert_clear(attest(kms_world, path), 6, "ListOccurrences", "running again")
    assert kms_world.count("AsymmetricSign") == 0


# Waiting


def test_it_waits_until_the_scan_is_complete_and_reads_then(kms_world: World) -> None:
    stored = scan(kms_world, PENDING)

    def complete() -> None:
        vulnerability(kms_world)
        rescan(kms_world, stored, COMPLETE)

    def begin() -> None:
        rescan(kms_world, stored, SCANNING)
        kms_world.clock.when_it_passes = complete

    kms_world.clock.when_it_passes = begin
    running = begun(kms_world)
    told = [next(running), next(running)]
    with pytest.raises(Refused, match="CVE-2020-10543"):
        next(running)
    assert [each.doing.rpartition(": ")[2] for each in told] == ["PENDING", "SCANNING"]
    assert [each.elapsed for each in told] == [timedelta(0), timedelta(seconds=1)]
    assert {(each.attestor, each.limit) for each in told} == {(None, timedelta(minutes=5))}


def test_the_pauses_grow_and_the_last_look_is_at_the_end(kms_world: World) -> None:
    with pytest.raises(Refused, match="not complete after 5m: no scan"):
        check(kms_world)
    assert kms_world.clock.passed == timedelta(minutes=5)
    assert 30 < kms_world.count("ListOccurrences") < 40


def test_without_time_there_is_one_look(kms_world: World) -> None:
    assert "after 0s: no scan" in refusal(kms_world, limit=timedelta(0))
    scan(kms_world)
    assert check(kms_world, limit=timedelta(0)) == ("scan complete, no vulnerabilities", [])


def test_a_scan_that_ends_at_the_very_end_counts(kms_world: World) -> None:
    def complete() -> None:
        scan(kms_world)

    kms_world.clock.when_it_passes = complete
    actual, told = check(kms_world, limit=timedelta(seconds=1))
    assert actual == "scan complete, no vulnerabilities"
    assert len(told) == 1


# Several scans


@pytest.mark.parametrize("status", [FAILED, UNSUPPORTED, 6])
def test_a_success_does_not_hide_a_failure(kms_world: World, status: int) -> None:
    scan(kms_world)
    scan(kms_world, status, note="projects/other/notes/scanner")
    scan(kms_world, PENDING)
    assert "cannot be judged by" in refusal(kms_world)
    assert kms_world.clock.passed == timedelta(0)


def test_all_must_be_complete(kms_world: World) -> None:
    scan(kms_world)
    scan(kms_world, SCANNING, note="projects/other/notes/scanner")
    assert "not complete after 5m: SCANNING" in refusal(kms_world)


def test_nobody_else_can_say_that_the_scan_is_complete(kms_world: World) -> None:
    for note in ("my-project/notes/PACKAGE_VULNERABILITY", "goog-analysis/notes/OTHER"):
        scan(kms_world, note=f"projects/{note}")
    assert "no scan of Artifact Analysis was found" in refusal(kms_world)


@pytest.mark.parametrize(
    "uri",
    [
        "https://" + IMAGE.replace("0123", "0124"),
        "https://" + IMAGE.replace("@", ":"),
        "https://" + IMAGE + "0",
        "https://" + IMAGE.partition("@")[0],
    ],
)
def test_the_scan_of_another_image_is_none(kms_world: World, uri: str) -> None:
    scan(kms_world, uri=uri)
    assert "no scan of Artifact Analysis was found" in refusal(kms_world)


@pytest.mark.parametrize("uri", [f"https://{IMAGE}", IMAGE, f"https://gcr.io/other/copy@{DIGEST}"])
def test_the_digest_is_what_counts(kms_world: World, uri: str) -> None:
    scan(kms_world, uri=uri)
    vulnerability(kms_world, uri=uri)
    assert "CVE-2020-10543" in refusal(kms_world)


def localized(text: str) -> any_pb2.Any:
    actual = any_pb2.Any()
    actual.Pack(error_details_pb2.LocalizedMessage(locale="en", message=text))
    return actual


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"analysis_status_error": {"message": "no\nlayers"}}, "FINISHED_FAILED (no layers)"),
        (
            {"analysis_status_error": {"details": [localized("cannot\nread it")]}},
            "FINISHED_FAILED (cannot read it)",
        ),
        (
            {"analysis_error": [{"message": "one"}, {"message": "two"}]},
            "FINISHED_FAILED (one; two)",
        ),
        ({"analysis_status_error": {"message": "x" * 9999}}, "FINISHED_FAILED (xxx"),
    ],
)
def test_why_a_scan_failed_is_told_shortly(
    kms_world: World, fields: dict[str, Any], says: str
) -> None:
    scan(kms_world, FAILED, **fields)
    message = refusal(kms_world)
    assert says in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "fields",
    [{"analysis_status_error": {"code": 13}}, {"analysis_error": [{"message": "a layer"}]}],
)
def test_a_success_with_errors_is_none(kms_world: World, fields: dict[str, Any]) -> None:
    scan(kms_world, **fields)
    assert "cannot be judged by: FINISHED_SUCCESS (" in refusal(kms_world)


def test_an_error_that_cannot_be_read_is_an_error(kms_world: World) -> None:
    garbage = {"type_url": "type.googleapis.com/google.rpc.LocalizedMessage", "value": b"\xff"}
    scan(kms_world, analysis_error=[{"message": "a layer", "details": [garbage]}])
    assert "cannot be judged by: FINISHED_SUCCESS (a layer)" in refusal(kms_world)


# What was found


def test_one_line_says_what_was_found(kms_world: World) -> None:
    scan(kms_world)
    vulnerability(kms_world)
    vulnerability(kms_world, "CVE-2021-1", severity=2, count=2)
    actual, told = check(kms_world, STRICT | {"allowlistCVEs": [NOTE]})
    assert actual == (
        "scan complete, 3 vulnerabilities (1 HIGH, 2 LOW; 1 allowlisted), "
        "none beyond the policy's limits"
    )
    assert told == []


@pytest.mark.parametrize(("kept", "warns"), [("ACTIVE", False), (None, False), ("INACTIVE", True)])
def test_what_is_no_longer_kept_current_is_told(
    kms_world: World, kept: str | None, warns: bool
) -> None:
    scan(kms_world, continuous_analysis=kept)
    actual, _ = check(kms_world)
    assert ("warning: continuous analysis is inactive" in actual) is warns


@pytest.mark.parametrize("severity", [0, 6])
def test_a_severity_that_is_not_known_passes_no_limit(kms_world: World, severity: int) -> None:
    scan(kms_world)
    vulnerability(kms_world, severity=severity)
    assert "beyond maximumFixableSeverity CRITICAL" in refusal(kms_world, {})
    assert check(kms_world, {"maximumFixableSeverity": "ALLOW_ALL"})


@pytest.mark.parametrize(
    ("fixed", "beyond"),
    [
        ({"kind": "NORMAL", "name": "1.1"}, ["maximumFixableSeverity LOW"]),
        (MAXIMUM, ["maximumUnfixableSeverity MINIMAL"]),
        ({"kind": "MINIMUM"}, ["maximumFixableSeverity LOW", "maximumUnfixableSeverity MINIMAL"]),
        (None, ["maximumFixableSeverity LOW", "maximumUnfixableSeverity MINIMAL"]),
    ],
)
def test_whether_there_is_a_fix_is_read_from_the_fixed_version(
    kms_world: World, fixed: dict[str, str] | None, beyond: list[str]
) -> None:
    scan(kms_world)
    vulnerability(kms_world, fixed=fixed)
    limits = {"maximumFixableSeverity": "LOW", "maximumUnfixableSeverity": "MINIMAL"}
    assert refusal(kms_world, limits).endswith(f", beyond {' and '.join(beyond)}")


def test_the_worst_severity_of_a_package_counts(kms_world: World) -> None:
    scan(kms_world)
    vulnerability(kms_world, severity=3, of_package="LOW")
    assert "1 MEDIUM" in check(kms_world)[0]
    vulnerability(kms_world, severity=2, of_package="CRITICAL")
    assert "severity CRITICAL, beyond" in refusal(kms_world)


def test_an_assessment_of_the_vendors_relaxes_nothing(kms_world: World) -> None:
    scan(kms_world)
    vulnerability(kms_world, vex_assessment={"state": "NOT_AFFECTED", "cve": "CVE-2020-10543"})
    assert "CVE-2020-10543" in refusal(kms_world)


def test_every_page_is_read(kms_world: World) -> None:
    scan(kms_world)
    vulnerability(kms_world, "CVE-2021-1", severity=1, count=1000)
    vulnerability(kms_world)
    message = refusal(kms_world)
    assert "1001 vulnerabilities (1 HIGH, 1000 MINIMAL), and 1 beyond" in message
    assert "CVE-2020-10543" in message


def test_many_violations_are_counted_after_the_first(kms_world: World) -> None:
    scan(kms_world)
    vulnerability(kms_world, count=25)
    message = refusal(kms_world)
    assert message.count("CVE-2020-10543") == 20
    assert message.endswith("; and 5 more")


# Where


def test_an_image_elsewhere_needs_the_project(kms_world: World) -> None:
    with pytest.raises(BadInput, match="does not say in which project") as caught:
        check(kms_world, image=ELSEWHERE)
    assert "--image-project" in caught.value.hint
    scan(kms_world, project="scans")
    assert check(kms_world, image=ELSEWHERE, project="scans")
    assert "no scan" in refusal(kms_world)


def test_the_project_is_an_option(kms_world: World, path: Path) -> None:
    scan(kms_world, project="scans")
    assert attest(kms_world, path, "--image-project", "scans").code == 0
