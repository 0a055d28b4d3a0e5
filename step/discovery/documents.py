"""JSON and TOML documents of the other build tools, one reader for each.

A reader returns None for a document that is not its tool's, and raises BadInput for one that is
and cannot be used.
"""

from __future__ import annotations

from itertools import starmap
from typing import Any

from step.discovery.formats import (
    MALFORMED,
    NOT_PUSHED,
    Format,
    Reading,
    UnknownFormat,
    docker_name,
    text_of,
    texts_of,
)
from step.discovery.record import RecordedImage
from step.errors import BadInput
from step.model.image import Digest, ImageName, ImageRef
from step.model.quoting import quoted

# https://github.com/goreleaser/goreleaser/blob/main/internal/artifact/artifact.go, Type.String
_GORELEASER_IMAGES = ("Docker Image", "Docker Manifest", "Docker Image V2")


def read_jib(document: object) -> Reading | None:
    """Read `jib-image.json`.

    https://github.com/GoogleContainerTools/jib/blob/master/jib-plugins-common/src/main/java/com/google/cloud/tools/jib/plugins/common/ImageMetadataOutput.java
    """
    if not isinstance(document, dict) or not {"image", "imageId"} <= document.keys():
        return None
    digest = text_of(document, "imageDigest")
    if not digest:
        raise BadInput("there is no imageDigest: nothing was pushed", NOT_PUSHED)
    # Also not true where jib.skipExistingImages found the image in the registry, and in releases
    # before 3.3: https://github.com/GoogleContainerTools/jib/pull/3641
    if document.get("imagePushed") is not True:
        raise BadInput(
            "imagePushed is not true: jib wrote the image to a daemon or a tar file, or found it "
            "in the registry",
            "Build with jib:build of Maven or jib of Gradle, which push; if the image is in the "
            "registry, give jib-image.digest with --from-file, and --image.",
        )
    if digest == text_of(document, "imageId"):
        raise BadInput(
            "imageDigest is the imageId, the digest of the image's configuration", MALFORMED
        )
    name = docker_name(text_of(document, "image"))
    return Reading(Format.JIB, (RecordedImage(Digest.parse(digest), (name,)),))


def read_skaffold(document: object) -> Reading | None:
    """Read what `skaffold build --file-output` writes.

    https://skaffold.dev/docs/references/cli/#skaffold-build; Artifact of
    https://github.com/GoogleContainerTools/skaffold/blob/main/pkg/skaffold/graph/artifact.go
    """
    if not isinstance(document, dict) or not isinstance(builds := document.get("builds"), list):
        return None
    if not all(isinstance(build, dict) and "imageName" in build for build in builds):
        return None
    if not builds:
        raise BadInput("skaffold built nothing", "Is this the record of the right build?")
    return Reading(Format.SKAFFOLD, tuple(_of_skaffold(build) for build in builds))


def _of_skaffold(build: dict[str, Any]) -> RecordedImage:
    tag = text_of(build, "tag")
    if "@" not in tag:
        raise BadInput(
            f"{quoted(text_of(build, 'imageName'))}: {quoted(tag)} is a tag or an image id, "
            "without a digest: the image was not pushed",
            "Build with `skaffold build --push`, or with a default-repo and `local.push: true`.",
        )
    return _by_digest(tag)


def read_inspect(document: object) -> Reading | None:
    """Read `docker image inspect`, or its RepoDigests as JSON; Id is never a digest to deploy.

    https://docs.docker.com/reference/cli/docker/image/inspect/ and ImageInspect of
    https://docs.docker.com/reference/api/engine/version/v1.50/; podman's has the same keys.
    """
    match document:
        case []:
            raise BadInput("docker shows no image, or one without RepoDigests", NOT_PUSHED)
        case list() if all(isinstance(each, str) and "@" in each for each in document):
            return _inspected([document])
        case list() if all(isinstance(each, dict) and _is_inspected(each) for each in document):
            return _inspected([_repo_digests(image) for image in document])
        case dict() if _is_inspected(document):
            return _inspected([_repo_digests(document)])
    return None


def _is_inspected(image: dict[str, Any]) -> bool:
    return "Id" in image and not {"RepoDigests", "Image"}.isdisjoint(image)


def _repo_digests(image: dict[str, Any]) -> list[str]:
    if "RepoDigests" not in image:
        raise BadInput(
            "docker inspected a container, which has no RepoDigests",
            "Give `docker image inspect` of the image.",
        )
    references = texts_of(image, "RepoDigests")
    if not references:
        raise BadInput("the image has no RepoDigests: it was not pushed", NOT_PUSHED)
    if _is_podman(image):
        raise BadInput(
            "podman inspect shows the digest of the image in local storage, which is not the one "
            "that a push makes",
            "Push with `podman push --digestfile FILE`, and give that file.",
        )
    return references


def _is_podman(image: dict[str, Any]) -> bool:
    # Docker writes the Id with its algorithm; podman without, and its own digest beside it:
    # https://github.com/containers/podman/blob/main/pkg/inspect/inspect.go
    return "Digest" in image and not str(image["Id"]).startswith("sha256:")


def _inspected(images: list[list[str]]) -> Reading:
    recorded: list[RecordedImage] = []
    one_of = False
    for references in images:
        repositories = dict.fromkeys(_by_digest(reference) for reference in references)
        one_of |= len({each.names for each in repositories}) > 1
        recorded += repositories
    return Reading(Format.INSPECT, tuple(dict.fromkeys(recorded)), one_of=one_of)


def read_skopeo(document: object) -> Reading | None:
    """Read `skopeo inspect`.

    https://github.com/containers/skopeo/blob/main/docs/skopeo-inspect.1.md
    """
    if not isinstance(document, dict) or not {"Digest", "RepoTags", "Layers"} <= document.keys():
        return None
    if not text_of(document, "Name"):
        raise BadInput(
            "skopeo inspected an image that is not in a registry",
            "Inspect what was pushed: `skopeo inspect docker://REGISTRY/REPOSITORY:TAG`.",
        )
    name = ImageName.parse(text_of(document, "Name"))
    return Reading(
        Format.SKOPEO, (RecordedImage(Digest.parse(text_of(document, "Digest")), (name,)),)
    )


def read_image_line(document: object) -> Reading | None:
    """Read a line of `$BUILDER_OUTPUT/images`, as kaniko writes it for Cloud Build.

    https://github.com/GoogleContainerTools/kaniko/blob/main/pkg/executor/push.go, imageOutput
    """
    if not isinstance(document, dict) or document.keys() != {"name", "digest"}:
        return None
    name, digest = text_of(document, "name"), text_of(document, "digest")
    image = RecordedImage(Digest.parse(digest), (docker_name(name),))
    return Reading(Format.IMAGE_LINES, (image,))


def read_goreleaser(document: object) -> Reading | None:
    """Read `dist/artifacts.json`: the images among the artifacts.

    https://goreleaser.com/customization/docker/ and
    https://github.com/goreleaser/goreleaser/blob/main/internal/artifact/artifact.go
    """
    if not isinstance(document, list) or not document:
        return None
    if not all(isinstance(each, dict) and {"name", "type"} <= each.keys() for each in document):
        return None
    images = [artifact for artifact in document if artifact["type"] in _GORELEASER_IMAGES]
    if not images:
        raise UnknownFormat("no image is among the artifacts of goreleaser")
    # An image to be published and the same image published are two entries; only one has a digest.
    digests: dict[str, str] = {}
    for image in images:
        extra = image.get("extra")
        digest = text_of(extra, "Digest") if isinstance(extra, dict) else ""
        name = text_of(image, "name")
        if digest and digests.get(name, "") not in ("", digest):
            raise BadInput(f"{quoted(name)} has two digests", MALFORMED)
        digests[name] = digest or digests.get(name, "")
    return Reading(Format.GORELEASER, tuple(starmap(_released, digests.items())))


def _released(name: str, digest: str) -> RecordedImage:
    if not digest:
        raise BadInput(
            f"{quoted(name)} has no digest: it was not pushed",
            "Release without --snapshot and --skip=publish, which push nothing.",
        )
    return RecordedImage(Digest.parse(digest), (docker_name(name),))


def read_pack(document: dict[str, Any]) -> Reading | None:
    """Read the `report.toml` of `pack build --report-output-dir`.

    https://github.com/buildpacks/spec/blob/main/platform.md#reporttoml-toml
    """
    image = document.get("image")
    if not isinstance(image, dict):
        return None
    digest, tags = text_of(image, "digest"), texts_of(image, "tags")
    if not digest:
        raise BadInput(
            "the report has no digest, as of an image in a daemon: it was not pushed",
            "Build with `pack build --publish`.",
        )
    if digest == text_of(image, "image-id"):
        raise BadInput("digest is the image-id: the image was not pushed", NOT_PUSHED)
    names = tuple(dict.fromkeys(docker_name(tag) for tag in tags))
    return Reading(Format.PACK, (RecordedImage(Digest.parse(digest), names),))


def _by_digest(text: str) -> RecordedImage:
    name, _, digest = text.partition("@")
    image = ImageRef(docker_name(name), Digest.parse(digest))
    return RecordedImage(image.digest, (image.name,))
