"""What `docker buildx build` and `bake` write with `--metadata-file`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from step.discovery.formats import MALFORMED, NOT_PUSHED, Format, Reading, text_of
from step.discovery.record import RecordedImage
from step.errors import BadInput, about
from step.model.image import Digest, ImageName
from step.model.quoting import quoted

# https://github.com/moby/buildkit/blob/master/exporter/containerimage/exptypes/types.go
_DIGEST = "containerimage.digest"
_CONFIG_DIGEST = "containerimage.config.digest"
_DESCRIPTOR = "containerimage.descriptor"
_IMAGE_NAME = "image.name"
_EXPORTED = frozenset({_DIGEST, _CONFIG_DIGEST, _DESCRIPTOR, _IMAGE_NAME})
# buildx writes its own keys beside them, in bake's file also next to the targets:
# https://github.com/docker/buildx/blob/master/docs/reference/buildx_bake.md#metadata-file
_BUILDX = "buildx.build."
_PROVENANCE = "buildx.build.provenance"


def read_buildx(document: object) -> Reading | None:
    """Read the metadata of one build, or of bake's targets; None if it is neither.

    Raises BadInput for a build that pushed nothing, and for one that ended before it began.
    """
    if not isinstance(document, dict):
        return None
    if targets := _targets(document):
        # A target that only fills the cache exports nothing, and is no image.
        exported = {name: of for name, of in targets.items() if not _EXPORTED.isdisjoint(of)}
        builds = []
        for name, target in (exported or targets).items():
            with about(f"target {quoted(name)}"):
                builds.append(_built(target))
        times = [made for _, made in builds if made is not None]
        images = tuple(image for image, _ in builds)
        return Reading(Format.BAKE, images, min(times, default=None))
    if _is_build(document):
        image, made = _built(document)
        return Reading(Format.BUILDX, (image,), made)
    return None


def _is_build(document: object) -> bool:
    return isinstance(document, dict) and any(
        key in _EXPORTED or key.startswith(_BUILDX) for key in document
    )


def _targets(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Bake's targets by name; none if it is not bake that wrote this."""
    targets = {key: value for key, value in document.items() if not key.startswith(_BUILDX)}
    return targets if all(_is_build(target) for target in targets.values()) else {}


def _built(build: dict[str, Any]) -> tuple[RecordedImage, datetime | None]:
    digest = text_of(build, _DIGEST)
    if not digest:
        raise BadInput(f"there is no {_DIGEST}: nothing was pushed", NOT_PUSHED)
    if digest == text_of(build, _CONFIG_DIGEST):
        raise BadInput(
            f"{_DIGEST} is the digest of the image's configuration: the image was not pushed",
            NOT_PUSHED,
        )
    descriptor = build.get(_DESCRIPTOR, {})
    if not isinstance(descriptor, dict):
        raise BadInput(f"{_DESCRIPTOR} is not an object", MALFORMED)
    if descriptor.get("digest", digest) != digest:
        raise BadInput(
            f"{_DESCRIPTOR} has another digest than {_DIGEST}",
            "The record contradicts itself; take it from the build as it was written.",
        )
    names = [ImageName.parse(name) for name in text_of(build, _IMAGE_NAME).split(",") if name]
    return RecordedImage(Digest.parse(digest), tuple(dict.fromkeys(names))), _finished(build)


def _finished(build: dict[str, Any]) -> datetime | None:
    """When the provenance says that the build ended, in the form of either version of SLSA.

    https://slsa.dev/spec/v0.2/provenance and https://slsa.dev/spec/v1.0/provenance; with the
    variable BUILDX_METADATA_PROVENANCE the provenance can be left out of the metadata.
    """
    provenance = build.get(_PROVENANCE)
    old = _inner(provenance, "metadata")
    new = _inner(_inner(provenance, "runDetails"), "metadata")
    started = _time(old.get("buildStartedOn", new.get("startedOn")))
    finished = _time(old.get("buildFinishedOn", new.get("finishedOn")))
    if started and finished and finished < started:
        raise BadInput(
            f"the build ended at {finished.isoformat()}, before it began",
            "The record contradicts itself; it may be put together from two builds.",
        )
    return finished


def _inner(document: object, key: str) -> dict[str, Any]:
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, dict) else {}


def _time(value: object) -> datetime | None:
    """A time that cannot be read counts as not said: only the digest is taken from here."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    # Without a zone there is nothing that it could be compared with.
    return time if time is not None and time.tzinfo is not None else None
