"""What a build of Cloud Build made, and every reason not to believe it."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.cloud.devtools import cloudbuild_v1 as api
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from step.cloud.builds import Builds
from step.cloud.connection import Connection
from step.discovery.builds import is_build, record_of, running_names
from step.discovery.record import Origin, Record, RecordedImage
from step.emulator import Emulator, Seed
from step.errors import BadInput, Refused
from step.model.build import Build, BuildName, BuiltImage
from step.model.image import Digest, ImageName
from tests.world import FakeClock

# Written from cloudbuild.proto; SOURCE.md beside it says how.
FIXTURE = Path(__file__).parent / "fixtures" / "cloud-build" / "build.json"
ID = "c5f03cc3-1b9d-4a3c-8a53-6f5e0a3b2c1d"
NAME = BuildName("my-project", "europe-west1", ID)
REPOSITORY = "europe-west1-docker.pkg.dev/my-project/apps"
WEB, WORKER = f"{REPOSITORY}/web", f"{REPOSITORY}/worker"
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
THEN = datetime(2026, 11, 1, 9, tzinfo=UTC)


def fixture() -> dict[str, Any]:
    document = json.loads(FIXTURE.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def built(
    *pushed: tuple[str, str], listed: tuple[str, ...] = (), status: str = "SUCCESS", **more: Any
) -> Build:
    return Build(NAME, status, tuple(BuiltImage(*each) for each in pushed), listed, **more)


def recorded(name: str, digest: str) -> RecordedImage:
    return RecordedImage(Digest.parse(digest), (ImageName.parse(name),))


def refusal(build: Build) -> Refused:
    with pytest.raises(Refused) as caught:
        record_of(build, "--build")
    error = caught.value
    assert error.message.startswith(f"--build: the build {NAME} ")
    assert "\n" not in error.message + error.hint
    assert error.hint
    return error


def test_a_finished_build_is_read() -> None:
    document = fixture()
    assert is_build(document)
    assert record_of(Build.from_json(document), "build.json (Cloud Build)") == Record(
        Origin(
            "build.json (Cloud Build)",
            build=str(NAME),
            trigger="push-to-main",
            repository="https://github.com/me/app.git",
            commit="4f2c9b1d0e8a7c6b5a49382716f5e4d3c2b1a098",
        ),
        (recorded(WEB, A), recorded(WORKER, B)),
        datetime(2026, 11, 1, 9, 3, 20, 500_000, UTC),
    )


def test_google_reads_the_fixture_too_and_the_api_gives_the_same() -> None:
    """The fixture has the proto's fields only; what gcloud prints is what GetBuild answers."""
    json_format.ParseDict(fixture(), api.Build.pb(api.Build()))
    # The emulator knows its projects by their ids.
    document = fixture() | {"name": str(NAME)}
    clock = FakeClock()
    with Emulator(Seed.parse(yaml.safe_dump({"builds": [document]})), now=clock.now) as emulator:
        answered = Builds(Connection(clock, {}, emulator.grpc_address)).get(NAME)
    assert answered == Build.from_json(fixture())


@pytest.mark.parametrize(
    "document",
    [
        {"status": "SUCCESS", "projectId": "p"},
        {"status": 3, "steps": []},
        {"results": {"images": []}},
    ],
)
def test_a_build_is_told_by_its_fields(document: object) -> None:
    assert is_build(document)


@pytest.mark.parametrize(
    "document",
    [
        None,
        "build",
        [],
        [{"status": "SUCCESS", "projectId": "p"}],
        {},
        {"status": "SUCCESS"},
        {"results": []},
        {"results": {"image": A}},
        {"containerimage.digest": A},
        {"builds": [{"imageName": "x", "tag": f"x:1@{A}"}]},
        {"image": WEB, "imageId": A, "imageDigest": B, "tags": [], "imagePushed": True},
    ],
)
def test_what_other_tools_write_is_no_build(document: object) -> None:
    assert not is_build(document)


def test_a_part_of_a_build_does_not_say_enough() -> None:
    """As `gcloud builds describe --format='json(results)'` prints it."""
    with pytest.raises(BadInput, match="has no name") as caught:
        Build.from_json({"results": {"images": [{"name": WEB, "digest": A}]}})
    assert "--format=json" in caught.value.hint


@pytest.mark.parametrize("status", ["PENDING", "QUEUED", "WORKING"])
def test_a_build_that_has_not_finished_is_refused(status: str) -> None:
    error = refusal(built((WEB, A), status=status))
    assert error.message.endswith(f"has not finished: its status is {status}")
    assert "--from-file" in error.hint


@pytest.mark.parametrize(
    "status",
    ["FAILURE", "INTERNAL_ERROR", "TIMEOUT", "CANCELLED", "EXPIRED", "STATUS_UNKNOWN", "3", "99"],
)
def test_a_build_that_did_not_succeed_is_refused(status: str) -> None:
    assert refusal(built((WEB, A), status=status)).message.endswith(
        f"did not succeed: its status is {status}"
    )


def test_every_status_but_success_is_refused() -> None:
    statuses = set(api.Build.Status.__members__)
    for status in statuses - {"SUCCESS"}:
        refusal(built((WEB, A), status=status))
    assert len(statuses) == 10


def test_a_build_without_images_is_refused() -> None:
    error = refusal(built())
    assert error.message.endswith("pushed no image")
    assert "`images:` in cloudbuild.yaml" in error.hint
    refusal(built(listed=(WEB,)))


@pytest.mark.parametrize(
    "listed", [WORKER, f"{WORKER}:1", f"{WEB}:2", f"{WEB}:latest", "x", "", f"{WEB}@{A}"]
)
def test_an_image_that_is_listed_but_was_not_pushed_is_refused(listed: str) -> None:
    """Cloud Build goes on when it finds no digest in the output of a push (pushImages)."""
    error = refusal(built((f"{WEB}:1", A), listed=(f"{WEB}:1", listed)))
    assert f"lists {listed!r} under `images:` but did not push it" in error.message


def test_a_listed_name_of_any_length_makes_a_short_message() -> None:
    assert len(refusal(built((WEB, A), listed=("x" * 100_000,))).message) < 400


@pytest.mark.parametrize(
    "listed",
    [
        (),
        (f"{WEB}:1",),
        # Without a tag, every tag is pushed.
        (WEB,),
        # This one was never a name.
        (f"{WEB}:$_TAG", f"{WEB}:1"),
    ],
)
def test_what_is_listed_and_was_pushed_is_read(listed: tuple[str, ...]) -> None:
    record = record_of(built((f"{WEB}:1", A), listed=listed), "--build")
    assert record.images == (recorded(WEB, A),)


def test_an_image_that_is_there_under_several_tags_counts_once() -> None:
    build = built((f"{WEB}:1", A), (WEB, A), (f"{WEB}:latest", A), listed=(f"{WEB}:latest",))
    assert record_of(build, "--build").images == (recorded(WEB, A),)


def test_several_images_are_all_found_in_order() -> None:
    build = built((f"{WORKER}:1", B), (f"{WEB}:1", A), ("gcr.io/my-project/web:1", A))
    assert record_of(build, "--build").images == (
        recorded(WORKER, B),
        recorded(WEB, A),
        recorded("gcr.io/my-project/web", A),
    )


def test_several_digests_for_one_name_are_refused() -> None:
    error = refusal(built((f"{WEB}:1", A), (f"{WEB}:2", B)))
    assert error.message.endswith(f"pushed several digests to {WEB}: {A}, {B}")


def test_a_build_that_finished_before_it_started_is_refused() -> None:
    early = THEN - timedelta(seconds=1)
    error = refusal(built((WEB, A), started=THEN, finished=early))
    assert error.message.endswith("finished before it started")
    same = record_of(built((WEB, A), started=THEN, finished=THEN), "--build")
    assert same.made == THEN


@pytest.mark.parametrize(
    ("name", "digest", "message"),
    [
        (WEB, "", "the digest is empty"),
        (WEB, A[:19], "12 hexadecimal digits, not 64"),
        (WEB, "a" * 64, "looks like an image id"),
        (WEB, A.upper(), "is not a sha256 digest"),
        (WEB, "sha256:" + "A" * 64, "must be lower-case"),
        ("", A, "does not name a registry"),
        ("me/web:1", A, "does not name a registry"),
        (f"{WEB}@{B}", A, "holds a digest"),
    ],
)
def test_a_name_or_digest_that_cannot_be_read_is_an_error(
    name: str, digest: str, message: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        record_of(built((name, digest)), "b.json")
    assert caught.value.message.startswith("b.json: ")


def test_what_a_running_build_is_to_push() -> None:
    listed = (f"{WEB}:1", WEB, f"{WEB}:$_TAG", f"$_REPO/{WEB}", "me/web", f"{WORKER}:1")
    names = (ImageName.parse(WEB), ImageName.parse(WORKER))
    assert running_names(built(listed=listed, status="WORKING")) == names
    for status in ("QUEUED", "SUCCESS", "FAILURE", "STATUS_UNKNOWN"):
        assert running_names(built(listed=listed, status=status)) == ()


hostile = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from([A, B, A[:30], A[7:], WEB, f"{WEB}:1", WORKER, "SUCCESS"]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.sampled_from(["name", "digest", "images"]), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["images", "results", "status", "finishTime"]), hostile))
def test_any_json_is_a_record_or_an_error_and_never_an_invented_digest(
    fields: dict[str, Any],
) -> None:
    pushed = {"images": [{"name": WEB, "digest": A}]}
    document = {"projectId": "p", "id": "i", "status": "SUCCESS", "results": pushed} | fields
    with suppress(BadInput, Refused):
        record = record_of(Build.from_json(document), "any")
        assert record.images
        for image in record.images:
            assert str(image.digest) in json.dumps(document)
            assert all(str(name) in json.dumps(document) for name in image.names)


@given(st.lists(st.tuples(st.sampled_from([WEB, f"{WEB}:1", WORKER]), st.sampled_from([A, B]))))
def test_a_record_has_one_digest_a_name_and_each_was_pushed(pushed: list[tuple[str, str]]) -> None:
    with suppress(Refused):
        record = record_of(built(*pushed), "any")
        names = [name for image in record.images for name in image.names]
        assert len(names) == len(set(names)) == len(record.images)
        assert {(re.sub(r":1\Z", "", name), digest) for name, digest in pushed} == {
            (str(image.names[0]), str(image.digest)) for image in record.images
        }
