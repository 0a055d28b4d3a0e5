"""What a build of Cloud Build made, from its own record.

How images come into that record can be read in the service's local version:
https://github.com/GoogleCloudPlatform/cloud-build-local/blob/master/pkg/build/build.go
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from step.discovery.record import Origin, Record, RecordedImage
from step.errors import BadInput, Refused, about
from step.model.build import Build
from step.model.image import Digest, ImageName
from step.model.quoting import quoted

# Build.Status of google/devtools/cloudbuild/v1/cloudbuild.proto
_RUNNING = "WORKING"
_UNFINISHED = frozenset({"PENDING", "QUEUED", _RUNNING})
_SUCCEEDED = "SUCCESS"


def is_build(document: object) -> bool:
    """Whether JSON is a build of Cloud Build, or a part of one that holds its images."""
    match document:
        case {"status": _, "projectId": _} | {"status": _, "steps": _}:
            return True
        case {"results": {"images": _}}:
            return True
    return False


def record_of(build: Build, source: str) -> Record:
    """What a finished build pushed: each image under its own name, once, the tags dropped.

    Raises Refused when the build did not succeed, pushed no image, did not push one that it lists,
    pushed several digests to one repository, or finished before it started; BadInput when a name or
    a digest cannot be read.
    """
    with about(source):
        _require_success(build)
        _require_all_pushed(build)
        images = tuple(RecordedImage(digest, (name,)) for name, digest in _digests(build).items())
    origin = Origin(
        source,
        build=str(build.name),
        trigger=build.trigger,
        repository=build.repository,
        commit=build.commit,
    )
    return Record(origin, images, build.finished)


def running_names(build: Build) -> tuple[ImageName, ...]:
    """The repositories that a build which is still running is to push to, each once; else none."""
    if build.status != _RUNNING:
        return ()
    return tuple(dict.fromkeys(_readable_names(build)))


def _require_success(build: Build) -> None:
    if build.status in _UNFINISHED:
        raise Refused(
            f"the build {build.name} has not finished: its status is {build.status}",
            "Cloud Build pushes `images:` after the last step. Wait for its end; or push in a step "
            "of the build, and give the record that the build tool wrote with --from-file.",
        )
    if build.status != _SUCCEEDED:
        raise Refused(
            f"the build {build.name} did not succeed: its status is {build.status}",
            "Only what a build that succeeded has made can be attested.",
        )
    if build.started and build.finished and build.finished < build.started:
        raise Refused(
            f"the build {build.name} finished before it started",
            "The record contradicts itself; let it be read from Cloud Build, with --build.",
        )


def _require_all_pushed(build: Build) -> None:
    if not build.pushed:
        raise Refused(
            f"the build {build.name} pushed no image",
            "List the image under `images:` in cloudbuild.yaml; what a step pushes by itself is "
            "not in the build's record.",
        )
    pushed = {_split(image.name) for image in build.pushed}
    repositories = {repository for repository, _ in pushed}
    for text in _expanded(build):
        repository, tag = _split(text)
        # Without a tag, docker pushes the tags that there are.
        if (repository, tag) in pushed or (not tag and repository in repositories):
            continue
        raise Refused(
            f"the build {build.name} lists {quoted(text)} under `images:` but did not push it",
            "Build again; or, if another image is meant, give it as registry/repository@sha256:….",
        )


def _digests(build: Build) -> dict[ImageName, Digest]:
    """The digest of each repository; it may be there under several tags, as `latest` always is."""
    digests: dict[ImageName, Digest] = {}
    for image in build.pushed:
        name, digest = ImageName.parse(image.name), Digest.parse(image.digest)
        other = digests.setdefault(name, digest)
        if other != digest:
            raise Refused(
                f"the build {build.name} pushed several digests to {name}: {other}, {digest}",
                "Give the one that is deployed as registry/repository@sha256:….",
            )
    return digests


def _readable_names(build: Build) -> Iterator[ImageName]:
    for text in _expanded(build):
        # They stand in for a name that the user did not give: an odd one is passed over.
        with suppress(BadInput):
            yield ImageName.parse(text)


def _expanded(build: Build) -> Iterator[str]:
    """The images listed; a name that still holds a substitution says nothing."""
    return (text for text in build.listed if "$" not in text)


def _split(text: str) -> tuple[str, str]:
    """Repository and tag, the latter perhaps empty."""
    path, slash, last = text.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{path}{slash}{name}", tag
