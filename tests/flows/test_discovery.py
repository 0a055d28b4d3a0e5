"""From every source of a digest to the receipt that says where it came from."""

from __future__ import annotations

import io
import json
import os
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.world import (
    ATTESTOR,
    BUILD,
    COMMIT,
    DIGEST,
    IMAGE,
    PROJECT,
    Result,
    World,
    build_seed,
    image,
)

NAME = IMAGE.partition("@")[0]
RECORD = {"containerimage.digest": DIGEST, "image.name": f"{NAME}:v1"}


def discovered(result: Result) -> list[dict[str, Any]]:
    """What `discover` found, without an error."""
    document = json.loads(result.out)
    assert list(document) == ["images", "errors", "emulator"]
    assert document["errors"] == []
    assert result.code == 0
    images: list[dict[str, Any]] = document["images"]
    return images


def test_discover_shows_what_attest_would_attest(kms_world: World, tmp_path: Path) -> None:
    record = tmp_path / "build.json"
    record.write_text(json.dumps(RECORD))
    [actual] = discovered(kms_world.run("discover", "--from-file", str(record), "--format", "json"))
    assert (actual["image"], actual["digest"]) == (IMAGE, DIGEST)
    assert str(record) in actual["origin"]["source"]
    assert kms_world.methods == []


def test_discover_for_people(kms_world: World) -> None:
    result = kms_world.run("discover", IMAGE)
    assert result.out.startswith(f"{IMAGE}\n  source ")
    refused = kms_world.run("discover", f"{NAME}:v1")
    assert (refused.code, refused.out) == (2, "")
    assert "error: " in refused.err
    assert "--resolve-tags" in refused.err


def test_discover_needs_no_credentials(monkeypatch: pytest.MonkeyPatch, kms_world: World) -> None:
    monkeypatch.delenv("BINAUTHZ_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
    assert kms_world.run("discover", IMAGE).code == 0


def test_the_images_of_a_build_and_its_origin_are_in_the_receipt(
    make_world: Callable[..., World],
) -> None:
    world = make_world(build_seed())
    result = world.run("attest", "--build", BUILD, "--attestor", ATTESTOR, "--format", "json")
    receipt = result.receipt
    assert receipt["image"] == IMAGE
    origin = receipt["origin"]
    assert origin.pop("source")
    assert origin == {
        "tag": None,
        "build": BUILD,
        "trigger": "on-main",
        "repository": "me/app",
        "commit": COMMIT,
    }


@pytest.mark.parametrize("status", ["FAILURE", "WORKING", "CANCELLED", "INTERNAL_ERROR"])
def test_a_build_that_did_not_succeed_is_refused(
    make_world: Callable[..., World], status: str
) -> None:
    world = make_world(build_seed(status=status))
    result = world.run("attest", "--build", BUILD, "--attestor", ATTESTOR, "--format", "json")
    assert result.code == 3
    assert status in result.error["message"]
    assert world.methods == ["GetBuild"]


def test_an_image_that_the_build_lists_but_did_not_push_is_refused(
    make_world: Callable[..., World],
) -> None:
    world = make_world(build_seed(images=[f"{NAME}:v1", f"{NAME}-sidecar:v1"]))
    result = world.run("attest", "--build", BUILD, "--attestor", ATTESTOR, "--format", "json")
    assert result.code == 3
    assert f"{NAME}-sidecar" in result.error["message"]


def test_a_build_that_does_not_exist(kms_world: World) -> None:
    result = kms_world.run("discover", "--build", BUILD, "--format", "json")
    assert result.code == 5


@pytest.mark.parametrize("explicit", [True, False])
def test_a_record_is_found_in_the_workspace(
    kms_world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, explicit: bool
) -> None:
    """As on GitHub, where the build step left its metadata file."""
    (tmp_path / "metadata.json").write_text(json.dumps(RECORD))
    (tmp_path / "README.md").write_text("nothing")
    if explicit:
        arguments = ["--workspace", str(tmp_path)]
    else:
        arguments = []
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    [actual] = discovered(kms_world.run("discover", *arguments, "--format", "json"))
    assert actual["image"] == IMAGE
    assert "metadata.json" in actual["origin"]["source"]


def test_two_records_in_the_workspace_are_listed_and_refused(
    kms_world: World, tmp_path: Path
) -> None:
    (tmp_path / "metadata.json").write_text(json.dumps(RECORD))
    other = RECORD | {"image.name": f"{NAME}-other"}
    (tmp_path / "build-metadata.json").write_text(json.dumps(other))
    result = kms_world.run("discover", "--workspace", str(tmp_path))
    assert result.code == 2
    assert "metadata.json" in result.err
    assert "build-metadata.json" in result.err


def test_an_empty_workspace_and_none(kms_world: World, tmp_path: Path) -> None:
    for arguments in ([], ["--workspace", str(tmp_path)]):
        result = kms_world.run("discover", *arguments)
        assert result.code == 2
        assert "no image was given" in result.err
    missing = kms_world.run("discover", "--workspace", str(tmp_path / "missing"))
    assert "is not a folder" in missing.err


def test_in_a_running_build_its_record_names_what_a_file_does_not(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """kaniko's --digest-file has no name; the build's `images` has, and nothing else is needed."""
    world = make_world(build_seed(status="WORKING", results={}))
    (tmp_path / "digest").write_text(DIGEST)
    monkeypatch.setenv("BUILDER_OUTPUT", str(tmp_path))
    monkeypatch.setenv("PROJECT_ID", PROJECT)
    monkeypatch.setenv("LOCATION", "europe-west1")
    monkeypatch.setenv("BUILD_ID", BUILD.rpartition("/")[2])
    arguments = ["--from-file", str(tmp_path / "digest"), "--format", "json"]
    [actual] = discovered(world.run("discover", *arguments))
    assert actual["image"] == IMAGE
    assert world.methods == ["GetBuild"]
    for named in (["--metadata", json.dumps(RECORD)], [*arguments, "--image", NAME]):
        assert world.run("discover", *named).code == 0
    assert world.methods == ["GetBuild"]


def test_a_record_older_than_the_build_is_of_another_build(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    """A workspace that is kept from run to run keeps the record of an earlier one."""
    world = make_world(build_seed(startTime="2026-11-02T10:00:00Z"))
    statement = {"metadata": {"buildFinishedOn": "2026-11-01T10:00:00Z"}}
    (tmp_path / "build.json").write_text(
        json.dumps(RECORD | {"buildx.build.provenance": statement})
    )
    arguments = ["--build", BUILD, "--from-file", str(tmp_path / "build.json")]
    result = world.run("discover", *arguments)
    assert result.code == 2
    assert "before" in result.err


def test_standard_input_is_called_by_its_name(
    kms_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps(RECORD).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    [actual] = discovered(kms_world.run("discover", "--from-file", "-", "--format", "json"))
    assert actual["origin"]["source"].startswith("standard input")


def test_platforms_that_are_none(kms_world: World) -> None:
    result = kms_world.run("discover", IMAGE, "--platforms", "amd64")
    assert result.code == 2
    assert "amd64" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metadata", ""], "--metadata: the record is empty: nothing was pushed"),
        (["--digest", "", "--image", NAME], "--digest: the digest is empty"),
        (["--from-file", ""], "--from-file: '' cannot be read"),
        (["--build", ""], "'' is not a build of Cloud Build"),
    ],
)
def test_an_empty_option_is_not_one_that_was_left_out(
    kms_world: World,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    """An expression that gave nothing must not fall back on what the workspace holds."""
    (tmp_path / "image-refs").write_text(f"{IMAGE}\n")
    monkeypatch.chdir(tmp_path)
    result = kms_world.run("discover", *arguments, "--workspace", str(tmp_path))
    assert (result.code, result.out) == (2, "")
    assert message in result.err


@pytest.mark.parametrize("option", ["--from-file", "--workspace"])
def test_a_path_that_cannot_be_looked_at_is_bad_input(kms_world: World, option: str) -> None:
    result = kms_world.run("discover", option, "x" * 5000)
    assert (result.code, result.out) == (2, "")
    assert "Traceback" not in result.err


def test_discover_says_an_error_in_json_with_its_exit_code(kms_world: World) -> None:
    result = kms_world.run("discover", f"{NAME}:v1", "--format", "json")
    document = json.loads(result.out)
    assert (document["images"], len(document["errors"])) == ([], 1)
    assert result.code == 2
    missing = kms_world.run("discover", "--build", BUILD, "--format", "json")
    assert (missing.code, json.loads(missing.out)["images"]) == (5, [])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary()
    | st.lists(
        st.sampled_from([DIGEST.encode(), b"@", b"r.io/a", b"\n", b"[a]", b"{", b"\xff"])
    ).map(b"".join)
)
def test_a_file_of_any_bytes_ends_in_a_digest_that_it_holds_or_a_clear_error(
    kms_world: World, tmp_path: Path, content: bytes
) -> None:
    record = tmp_path / "record"
    record.write_bytes(content)
    arguments = ["--image", "r.io/a", "--from-file", str(record), "--format", "json"]
    result = kms_world.run("discover", *arguments)
    document = json.loads(result.out)
    assert result.code == (2 if document["errors"] else 0)
    assert bool(document["errors"]) != bool(document["images"])
    assert all(each["digest"].encode() in content for each in document["images"])


def test_a_build_by_its_id_alone_is_in_the_region_of_the_step(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(build_seed())
    monkeypatch.setenv("LOCATION", "europe-west1")
    arguments = ["--build", BUILD.rpartition("/")[2], "--project", PROJECT, "--format", "json"]
    [actual] = discovered(world.run("discover", *arguments))
    assert actual["image"] == IMAGE


def test_a_signature_made_elsewhere_is_for_one_image(kms_world: World, tmp_path: Path) -> None:
    """Which of several it is for cannot be told; they are named, so that one can be picked."""
    signature = tmp_path / "signature"
    signature.write_bytes(b"x")
    made = ("--signature-file", str(signature), "--public-key-id", "key")
    error = kms_world.attest(str(image("7")), *made).error
    assert error["exit_code"] == 2
    assert f"2 images were found where 1 was asked for: {IMAGE}" in error["message"]
    assert kms_world.methods == []
    error = kms_world.attest(*made, "--attestor", ATTESTOR + "-2").error
    assert error["exit_code"] == 2
    assert "one signature is given for several attestors" in error["message"]
    assert kms_world.methods == []


# --- Files that came with the sources


def tracked(tool: Callable[[str], str], workspace: Path, name: str) -> None:
    """A record in a repository, as a pull request could add one."""
    workspace.mkdir(exist_ok=True)
    (workspace / name).write_text(f"{IMAGE}\n")
    for arguments in (["init", "--quiet"], ["add", name]):
        subprocess.run([tool("git"), *arguments], cwd=workspace, check=True)


@pytest.mark.parametrize(
    "environ",
    [
        {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": "{}"},
        {"GITLAB_CI": "true", "CI_PROJECT_DIR": "{}"},
        {"CIRCLECI": "true", "CIRCLE_WORKING_DIRECTORY": "{}"},
        {"BUILDER_OUTPUT": "{}", "BINAUTHZ_WORKSPACE": "{}"},
        {"BINAUTHZ_WORKSPACE": "{}"},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_a_record_that_came_with_the_sources_is_not_attested(
    kms_world: World,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tool: Callable[[str], str],
    environ: dict[str, str],
) -> None:
    tracked(tool, tmp_path / "ws", "image-refs.txt")
    for name, value in environ.items():
        monkeypatch.setenv(name, value.format(tmp_path / "ws"))
    result = kms_world.run("attest", "--attestor", ATTESTOR, "--format", "json")
    assert (result.code, kms_world.methods) == (2, [])
    assert "image-refs.txt is tracked by git" in result.error["message"]
    assert "--from-file" in result.error["hint"]
    named = ("--from-file", str(tmp_path / "ws" / "image-refs.txt"))
    assert kms_world.run("attest", *named, "--attestor", ATTESTOR).code == 0


@pytest.mark.parametrize(
    ("environ", "event"),
    [
        ({"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": "{}"}, True),
        ({"GITLAB_CI": "true", "CI_PROJECT_DIR": "{}"}, False),
    ],
)
def test_a_record_of_an_earlier_run_is_not_attested(
    kms_world: World,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    environ: dict[str, str],
    event: bool,
) -> None:
    workspace = tmp_path / "ws"
    workspace.mkdir()
    record = workspace / "image-refs.txt"
    record.write_text(f"{IMAGE}\n")
    for name, value in environ.items():
        monkeypatch.setenv(name, value.format(workspace))
    if event:
        (tmp_path / "event.json").write_text("{}")
        monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
    else:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        monkeypatch.setenv("CI_PIPELINE_CREATED_AT", now)
    os.utime(record, (0, 0))
    result = kms_world.run("attest", "--attestor", ATTESTOR, "--format", "json")
    assert result.code == 2
    assert "image-refs.txt is older than the run" in result.error["message"]
    later = time.time() + 60
    record.unlink()
    record.write_text(f"{IMAGE}\n")
    os.utime(record, (later, later))
    if event:
        assert kms_world.run("attest", "--attestor", ATTESTOR).code == 0


def test_cloud_build_is_asked_when_a_build_without_a_checkout_began(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = make_world(build_seed(status="WORKING", startTime="2026-11-01T00:00:00Z"))
    record = tmp_path / "image-refs.txt"
    record.write_text(f"{IMAGE}\n")
    monkeypatch.setenv("BUILDER_OUTPUT", str(tmp_path))
    arguments = ("discover", "--workspace", str(tmp_path), "--format", "json")
    result = world.run(*arguments)
    assert result.code == 2
    assert "cannot be told from what came with the sources" in result.err
    monkeypatch.setenv("PROJECT_ID", PROJECT)
    monkeypatch.setenv("LOCATION", "europe-west1")
    monkeypatch.setenv("BUILD_ID", BUILD.rpartition("/")[2])
    assert world.run(*arguments).code == 0
    assert world.count("GetBuild") == 1
    os.utime(record, (0, 0))
    result = world.run(*arguments)
    assert result.code == 2
    assert "image-refs.txt is older than the run" in result.err
