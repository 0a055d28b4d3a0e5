"""What build tools write about the images they pushed, read strictly.

Nothing is repaired: a record that shows a known trap is an error with its own message, since what
comes out of here is signed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from step.errors import BadInput
from step.model.image import Digest, ImageName, ImageRef

# https://github.com/moby/buildkit/blob/master/exporter/containerimage/exptypes/types.go
_DIGEST = "containerimage.digest"
_CONFIG_DIGEST = "containerimage.config.digest"
_DESCRIPTOR = "containerimage.descriptor"
_IMAGE_NAME = "image.name"
_EXPORTED = (_DIGEST, _CONFIG_DIGEST, _DESCRIPTOR, _IMAGE_NAME)
# buildx writes its own keys beside them, in bake's file also next to the targets:
# https://github.com/docker/buildx/blob/master/docs/reference/buildx_bake.md#metadata-file
_BUILDX = "buildx.build."

# An array too is JSON, of no known shape; a registry may be an IPv6 address in brackets.
_JSON = re.compile(r"\s*(?:\{|\[(?![0-9a-fA-F:]+\]))")

_PUSH = (
    "Only a push has a digest that can be deployed: add `push: true` to the build action, "
    "`--push` to docker buildx, or push before this step."
)
_FORMATS = (
    "Known are the metadata of docker buildx build and bake, a file that holds one digest "
    "sha256:…, and lines of registry/repository@sha256:…"
)


@dataclass(frozen=True, slots=True)
class Found:
    """One digest, and the names that its record gives it: none in a plain digest file."""

    digest: Digest
    names: tuple[ImageName, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """What one record says; `source` is what messages call it, `found` is never empty."""

    source: str
    found: tuple[Found, ...]


def parse_record(text: str, source: str) -> Record:
    """Read a build tool's record, its format told by its content.

    Metadata JSON of `docker buildx build`, docker/build-push-action and `bake`; one digest, as
    kaniko and buildah (`--digestfile`) and `crane digest` write it; lines of
    `registry/repository[:tag]@sha256:…`, as kaniko and ko write them. One line end at the end is
    allowed. Raises BadInput for everything else, and for records of images that were not pushed.
    """
    try:
        if not text.strip():
            raise BadInput("the record is empty", _PUSH)
        return Record(source, tuple(_json(text) if _JSON.match(text) else _lines(text)))
    except BadInput as error:
        raise BadInput(f"{source}: {error.message}", error.hint) from None


def _lines(text: str) -> Iterable[Found]:
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if len(lines) == 1 and "@" not in text and "/" not in text:
        yield Found(Digest.parse(lines[0]))
        return
    for number, line in enumerate(lines, start=1):
        try:
            image = ImageRef.parse(line)
        except BadInput as error:
            raise BadInput(f"line {number}: {error.message}", error.hint or _FORMATS) from None
        yield Found(image.digest, (image.name,))


def _json(text: str) -> Iterable[Found]:
    try:
        document = json.loads(text, object_pairs_hook=_no_repeated_key)
    except (ValueError, RecursionError):
        raise BadInput("the record is not whole JSON", _FORMATS) from None
    match document:
        case dict() if targets := _targets(document):
            return _baked(targets)
        case dict() if _is_build(document):
            return [_built(document)]
    raise BadInput("the record is JSON of an unknown shape", _FORMATS)


def _is_build(document: object) -> bool:
    return isinstance(document, dict) and any(
        key in _EXPORTED or key.startswith(_BUILDX) for key in document
    )


def _targets(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Bake's targets by name; none if it is not bake that wrote this."""
    targets = {key: value for key, value in document.items() if not key.startswith(_BUILDX)}
    return targets if all(_is_build(target) for target in targets.values()) else {}


def _baked(targets: dict[str, dict[str, Any]]) -> Iterable[Found]:
    # A target that only fills the cache exports nothing, and is no image.
    exported = {
        name: target for name, target in targets.items() if any(key in target for key in _EXPORTED)
    }
    for name, target in (exported or targets).items():
        try:
            yield _built(target)
        except BadInput as error:
            raise BadInput(f"target {name!r}: {error.message}", error.hint) from None


def _built(build: dict[str, Any]) -> Found:
    digest = _text(build, _DIGEST)
    if not digest:
        raise BadInput(f"there is no {_DIGEST}: nothing was pushed", _PUSH)
    if digest == _text(build, _CONFIG_DIGEST):
        raise BadInput(
            f"{_DIGEST} is the digest of the image's configuration: the image was not pushed", _PUSH
        )
    descriptor = build.get(_DESCRIPTOR, {})
    if not isinstance(descriptor, dict):
        raise BadInput(f"{_DESCRIPTOR} is not an object", _FORMATS)
    if descriptor.get("digest", digest) != digest:
        raise BadInput(
            f"{_DESCRIPTOR} has another digest than {_DIGEST}",
            "The record contradicts itself; take it from the build as it was written.",
        )
    names = [ImageName.parse(name) for name in _text(build, _IMAGE_NAME).split(",") if name]
    return Found(Digest.parse(digest), tuple(dict.fromkeys(names)))


def _text(build: dict[str, Any], key: str) -> str:
    value = build.get(key, "")
    if not isinstance(value, str):
        raise BadInput(f"{key} is not text", _FORMATS)
    return value


def _no_repeated_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found
