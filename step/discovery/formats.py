"""The formats that are known, what reading one brings, and what every reader needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from step.discovery.record import Origin, Record, RecordedImage
from step.errors import BadInput
from step.model.image import ImageName


class Format(Enum):
    """Every form that a record can have; the value is what people are told it is."""

    BUILDX = "docker buildx build"
    BAKE = "docker buildx bake"
    JIB = "jib"
    SKAFFOLD = "skaffold"
    PACK = "pack"
    INSPECT = "docker inspect"
    SKOPEO = "skopeo inspect"
    IMAGE_LINES = "JSON line for each image"
    GORELEASER = "goreleaser artifacts"
    CHECKSUMS = "goreleaser digests"
    REFERENCES = "references by digest"
    DIGEST = "digest alone"
    LAYOUT = "OCI layout"
    CLOUD_BUILD = "Cloud Build"

    def called(self, source: str) -> str:
        """What a record of this form is called, which it is from a source of that name."""
        return f"{source} ({self.value})"


class UnknownFormat(BadInput):
    """The text is no record at all: of no known form, rather than of a known form and wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message, KNOWN)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a record says, before it is known what to call the record.

    `one_of` is as in `Record`; `made` is when the record says the image was made.
    """

    format: Format
    images: tuple[RecordedImage, ...]
    made: datetime | None = None
    one_of: bool = False

    def record(self, source: str) -> Record:
        """The record that was read from a source of this name."""
        return Record(Origin(self.format.called(source)), self.images, self.made, self.one_of)


NOT_PUSHED = (
    "Only a push has a digest that can be deployed: add `push: true` to the build action, "
    "`--push` to docker buildx, or push before this step."
)
READABLE = "Let the user that runs this program read it."
MALFORMED = "Take the record from the build as it was written."
KNOWN = (
    "Known are the records of docker buildx, jib, skaffold, pack, goreleaser, docker inspect and "
    "Cloud Build, a file that holds one digest sha256:…, and lines of registry/repository@sha256:…"
)

# The digits of a digest as they stand in a text, whole and by themselves.
HASH = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")

# No message lists more than this.
_LISTED = 8


def text_of(document: dict[str, Any], key: str) -> str:
    """The text under a key, empty where there is none; raises BadInput for another type."""
    value = document.get(key, "")
    if not isinstance(value, str):
        raise BadInput(f"{key} is not text", MALFORMED)
    return value


def texts_of(document: dict[str, Any], key: str) -> list[str]:
    """The list of texts under a key, empty where there is none or null."""
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadInput(f"{key} is not a list of texts", MALFORMED)
    return value


def docker_name(text: str) -> ImageName:
    """The name that docker means, which leaves docker.io and docker.io/library/ out.

    https://github.com/distribution/reference/blob/main/normalize.go
    """
    first, slash, _ = text.partition("/")
    if not slash:
        return ImageName.parse(f"docker.io/library/{text}")
    if "." in first or ":" in first or first == "localhost":
        return ImageName.parse(text)
    return ImageName.parse(f"docker.io/{text}")


def listed(things: Iterable[object]) -> str:
    """Each once, separated by commas; of many, the first few and how many more there are."""
    shown = list(dict.fromkeys(map(str, things)))
    more = f" and {len(shown) - _LISTED} more" if len(shown) > _LISTED else ""
    return ", ".join(shown[:_LISTED]) + more
