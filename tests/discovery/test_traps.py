"""The ways in which build tools' records mislead, each beside a report of someone it misled."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from step.discovery.find import find_images
from step.discovery.records import parse_record
from step.errors import BadInput
from step.model.image import Digest

FIXTURES = Path(__file__).parent / "fixtures"
A, B = ("sha256:" + digit * 64 for digit in "ab")
APP = "eu.gcr.io/p/app"
MADE = datetime(2026, 11, 20, 9, 31, 7, 482115, UTC)


def of_fixture(name: str) -> str:
    return (FIXTURES / name).read_text()


def refusal(text: str, source: str = "r") -> BadInput:
    with pytest.raises(BadInput) as caught:
        parse_record(text, source)
    assert caught.value.message.startswith(f"{source}: ")
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (of_fixture("buildx/not-pushed.metadata.json"), "the digest of the image's configuration"),
        (
            json.dumps({"image": APP, "imageId": A, "imageDigest": A, "imagePushed": True}),
            "imageDigest is the imageId, the digest of the image's configuration",
        ),
        (
            f'[image]\ntags = ["{APP}"]\ndigest = "{A}"\nimage-id = "{A}"\n',
            "digest is the image-id",
        ),
    ],
)
def test_config_digest_equal_to_digest(text: str, message: str) -> None:
    """https://github.com/docker/build-push-action/issues/461"""
    assert message in refusal(text).message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the record is empty: nothing was pushed"),
        ("\n", "the record is empty: nothing was pushed"),
        (json.dumps({"containerimage.digest": ""}), "nothing was pushed"),
        (json.dumps({"buildx.build.ref": "a/b/c"}), "nothing was pushed"),
        (json.dumps({"image": APP, "imageId": A, "imageDigest": ""}), "nothing was pushed"),
        (json.dumps({"name": APP, "digest": ""}), "the digest is empty"),
        (json.dumps([{"Id": A, "RepoDigests": None}]), "no RepoDigests: it was not pushed"),
        (json.dumps({"Id": A, "RepoDigests": []}), "no RepoDigests: it was not pushed"),
        ("[]", "no image, or one without RepoDigests"),
        (json.dumps({"builds": []}), "skaffold built nothing"),
        (
            json.dumps([{"name": APP, "type": "Docker Image V2"}]),
            "has no digest: it was not pushed",
        ),
        (of_fixture("docker/unpushed.inspect.json"), "no RepoDigests: it was not pushed"),
        (of_fixture("docker/unpushed.repo-digests.json"), "no image, or one without RepoDigests"),
        (of_fixture("goreleaser/snapshot.artifacts.json"), "has no digest: it was not pushed"),
        (of_fixture("jib/to-a-daemon.json"), "imagePushed is not true"),
        (json.dumps({"image": APP, "imageId": A, "imageDigest": B}), "imagePushed is not true"),
        (of_fixture("pack/daemon.report.toml"), "has no digest, as of an image in a daemon"),
        (of_fixture("skopeo/layout.inspect.json"), "an image that is not in a registry"),
    ],
)
def test_empty_digest(text: str, message: str) -> None:
    """https://github.com/docker/build-push-action/issues/906"""
    assert message in refusal(text).message


@pytest.mark.parametrize(
    ("text", "source", "message"),
    [
        ("a" * 64, "r", "looks like an image id"),
        ("deadbeefcafe\n", "r", "looks like an image id"),
        (of_fixture("buildah/iidfile"), "out/iidfile", "the file is named for an image id"),
        (of_fixture("jib/jib-image.id"), "target/jib-image.id", "named for an image id"),
        (A, "image-id.txt", "the file is named for an image id"),
        (A, "web.iid", "the file is named for an image id"),
        (of_fixture("skaffold/local.json"), "r", "is a tag or an image id, without a digest"),
        (of_fixture("docker/container.inspect.json"), "r", "docker inspected a container"),
    ],
)
def test_image_id(text: str, source: str, message: str) -> None:
    """https://github.com/docker/build-push-action/issues/419"""
    assert message in refusal(text, source).message


@pytest.mark.parametrize("name", ["podman/inspect.json", "podman/unpushed.inspect.json"])
def test_local_digest_that_a_push_changes(name: str) -> None:
    """https://github.com/podman-container-tools/podman/issues/15780"""
    assert (
        "podman inspect shows the digest of the image in local" in refusal(of_fixture(name)).message
    )
    [image] = json.loads(of_fixture(name))
    assert image["Digest"] != of_fixture("podman/digestfile")


@pytest.mark.parametrize(
    ("digest", "message"),
    [
        (A[:19], "it has 12 hexadecimal digits, not 64"),
        (A[:-1], "it has 63 hexadecimal digits, not 64"),
        (A.upper().replace("SHA", "sha"), "its digits must be lower-case"),
        (A + "a", "it has 65 hexadecimal digits, not 64"),
        ("sha256:", "nothing after sha256:"),
        ("sha256:" + "g" * 64, "64 lower-case hexadecimal digits must follow"),
        ("sha512:" + "a" * 128, "is not a sha256 digest"),
    ],
)
def test_short_or_malformed_digest(digest: str, message: str) -> None:
    """https://github.com/GoogleCloudPlatform/ubbagent/issues/114"""
    pushed = {"image": APP, "imageId": B, "imageDigest": digest, "imagePushed": True}
    for text in (
        digest,
        f"{APP}@{digest}",
        json.dumps({"containerimage.digest": digest}),
        json.dumps(pushed),
        json.dumps({"name": APP, "digest": digest}),
        json.dumps({"builds": [{"imageName": "app", "tag": f"{APP}:1@{digest}"}]}),
        json.dumps([{"Id": B, "RepoDigests": [f"{APP}@{digest}"]}]),
        json.dumps([f"{APP}@{digest}"]),
        json.dumps({"Name": APP, "Digest": digest, "RepoTags": [], "Layers": []}),
        json.dumps([{"name": APP, "type": "Docker Image", "extra": {"Digest": digest}}]),
        f'[image]\ntags = ["{APP}"]\ndigest = "{digest}"\n',
    ):
        assert message in refusal(text).message, text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("docker.io/p/app", "the registry of docker.io/p/app is not the one that was pushed to"),
        ("eu.gcr.io/p/web", "the repository of eu.gcr.io/p/web is not the one that was pushed to"),
        ("docker.io/me/web", "docker.io/me/web is neither the registry nor the repository"),
    ],
)
def test_name_that_contradicts_image(name: str, message: str) -> None:
    """https://github.com/github/docs/issues/40292"""
    record = parse_record(f"{APP}:1@{A}\n", "r")
    with pytest.raises(BadInput) as caught:
        find_images([], name=name, records=[record])
    assert message in caught.value.message
    assert f"is not among the names recorded: {APP}" in caught.value.message
    assert "--image" in caught.value.hint


def test_two_records_that_disagree() -> None:
    """https://github.com/NVIDIA/NVSentinel/issues/228"""
    records = [parse_record(f"{APP}@{A}", "one"), parse_record(f"{APP}:1@{B}", "two")]
    with pytest.raises(BadInput, match=r"one \(.*\) and two \(.*\) disagree about the digest"):
        find_images([], records=records)


def test_tag_that_was_moved_after_the_build() -> None:
    """https://github.com/NVIDIA/NVSentinel/issues/228"""
    record = parse_record(f"{APP}@{A}", "r")
    with pytest.raises(BadInput, match=f"the registry disagree: the tag 1 of {APP} is {B}"):
        find_images([f"{APP}:1"], records=[record], resolve=lambda _: Digest.parse(B))


def test_record_that_contradicts_itself() -> None:
    """https://github.com/docker/build-push-action/issues/770"""
    metadata = json.loads(of_fixture("buildx/metadata.json"))
    metadata["containerimage.descriptor"]["digest"] = B
    assert "has another digest than containerimage.digest" in refusal(json.dumps(metadata)).message
    twice = [{"name": APP, "type": "Docker Image", "extra": {"Digest": each}} for each in (A, B)]
    assert "has two digests" in refusal(json.dumps(twice)).message


def test_record_older_than_the_build_it_claims() -> None:
    """The image of another build: https://github.com/NVIDIA/NVSentinel/issues/228"""
    record = parse_record(of_fixture("buildx/metadata.json"), "metadata.json")
    assert record.made == MADE
    name = "europe-docker.pkg.dev/my-project/apps/web"
    for began in (None, MADE - timedelta(minutes=1), MADE):
        assert find_images([], name=name, records=[record], not_before=began)
    with pytest.raises(BadInput, match=r"made at 2026-11-20T09:31:07.* before the build began"):
        find_images([], name=name, records=[record], not_before=MADE + timedelta(microseconds=1))
    # What does not say when it was made cannot be older.
    assert find_images([], name=APP, records=[parse_record(A, "d")], not_before=MADE)


@pytest.mark.parametrize(
    ("provenance", "made"),
    [
        ({"metadata": {"buildFinishedOn": MADE.isoformat()}}, MADE),
        ({"runDetails": {"metadata": {"finishedOn": "2026-11-20T09:31:07.482115Z"}}}, MADE),
        ({"metadata": {"buildFinishedOn": "2026-11-20T09:31:07.482115"}}, None),
        ({"metadata": {"buildFinishedOn": "yesterday"}}, None),
        ({"metadata": {"buildFinishedOn": 1}}, None),
        ({"metadata": []}, None),
        ("eyJ9", None),
    ],
)
def test_when_a_record_says_it_was_made(provenance: object, made: datetime | None) -> None:
    text = json.dumps({"containerimage.digest": A, "buildx.build.provenance": provenance})
    assert parse_record(text, "r").made == made


def test_bake_is_as_old_as_its_oldest_target() -> None:
    made = parse_record(of_fixture("buildx/bake.metadata.json"), "r").made
    assert made == datetime(2026, 11, 20, 9, 30, 59, tzinfo=UTC)


def test_build_that_ended_before_it_began() -> None:
    """Put together from two builds: https://github.com/NVIDIA/NVSentinel/issues/228"""
    metadata = json.loads(of_fixture("buildx/metadata.json"))
    times = metadata["buildx.build.provenance"]["metadata"]
    times["buildStartedOn"], times["buildFinishedOn"] = (
        times["buildFinishedOn"],
        times["buildStartedOn"],
    )
    assert "before it began" in refusal(json.dumps(metadata)).message
    times["buildStartedOn"] = times["buildFinishedOn"]
    assert parse_record(json.dumps(metadata), "r").made is not None


@pytest.mark.parametrize("name", ["ko/image-refs", "apko/image-refs", "goreleaser/digests.txt"])
def test_several_images_when_one_was_asked_for(name: str) -> None:
    """An index and its platforms: https://github.com/kyverno/kyverno/issues/12630"""
    records = [parse_record(of_fixture(name), name)]
    assert len(find_images([], records=records)) == 3
    assert len(find_images([], records=records, expected=3)) == 3
    with pytest.raises(BadInput) as caught:
        find_images([], records=records, expected=1)
    assert "3 images were found where 1 was asked for: " in caught.value.message
    assert "--image" in caught.value.hint


@pytest.mark.parametrize("name", ["inspect.json", "repo-digests.json"])
def test_image_in_several_repositories(name: str) -> None:
    """https://github.com/moby/moby/issues/48747"""
    record = parse_record(of_fixture(f"docker/two-repositories.{name}"), "r")
    with pytest.raises(BadInput, match=r"pushed under several names: .*/apps/docker, .*/mirror/"):
        find_images([], records=[record])
    [image] = find_images([], name=str(record.images[1].names[0]), records=[record])
    assert image.image.name.repository == "mirror/docker"


def test_one_image_under_names_of_two_registries() -> None:
    """https://github.com/github/docs/issues/40292"""
    record = parse_record(of_fixture("buildx/two-registries.metadata.json"), "r")
    with pytest.raises(BadInput, match=r"several names: europe-docker.*, docker.io/me/web"):
        find_images([], records=[record])
