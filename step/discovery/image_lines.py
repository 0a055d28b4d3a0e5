"""Records that are lines of text: one digest, references by digest, or goreleaser's digests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from step.discovery.formats import KNOWN, Format, Reading, UnknownFormat
from step.discovery.record import RecordedImage
from step.errors import BadInput, about
from step.model.image import Digest, ImageName, ImageRef
from step.model.quoting import quoted

# The form of sha256sum: https://goreleaser.com/customization/docker_digest/
_SUM = re.compile(r"([0-9a-fA-F]{64}) [ *](\S.*)")
# What could be meant as a digest, an image id or a hash, well-formed or not.
_DIGEST_LIKE = re.compile(r"sha[0-9]+:\S*|[0-9a-fA-F]{12,}")
_REFERENCE_LIKE = re.compile(r"@sha[0-9]+:")
# How an image's id is kept: https://docs.docker.com/reference/cli/docker/buildx/build/#iidfile, and
# jib's beside its digest; nothing in them tells that they hold no digest to deploy.
_ID_FILE = re.compile(r"(?:.*[/\\])?(?:jib-image\.id|image[-_.]?id(?:\.txt)?|iid(?:file)?|.*\.iid)")


def read_lines(text: str, source: str) -> Reading:
    """Read the lines; empty lines at the end are allowed, and nothing else beside them.

    Raises UnknownFormat when no line looks like a digest or a reference by digest.
    """
    lines = [line.removesuffix("\r") for line in text.rstrip("\r\n").split("\n")]
    if any(_REFERENCE_LIKE.search(line) for line in lines):
        return Reading(Format.REFERENCES, tuple(_each(lines, _reference)))
    if any(_SUM.fullmatch(line) for line in lines):
        return Reading(Format.CHECKSUMS, tuple(_each(lines, _checksum)))
    if not any(_DIGEST_LIKE.fullmatch(line.strip()) for line in lines):
        raise UnknownFormat(f"{quoted(lines[0])} is not a sha256 digest, nor a reference by one")
    if len(lines) > 1:
        raise BadInput(f"there are {len(lines)} lines where one digest is expected", KNOWN)
    if _ID_FILE.fullmatch(source):
        raise BadInput(
            "the file is named for an image id, which is the digest of the image's configuration",
            "Give the digest that the push reported: --metadata-file of docker buildx, "
            "--digestfile of buildah and podman, jib-image.digest of jib.",
        )
    return Reading(Format.DIGEST, (RecordedImage(Digest.parse(lines[0])),))


def _each(lines: list[str], read: Callable[[str], RecordedImage]) -> Iterator[RecordedImage]:
    for number, line in enumerate(lines, start=1):
        with about(f"line {number}", KNOWN):
            image = read(line)
        yield image


def _reference(line: str) -> RecordedImage:
    """`registry/repository[:tag]@sha256:…`, as kaniko, ko, apko, crane and docker write it."""
    image = ImageRef.parse(line)
    return RecordedImage(image.digest, (image.name,))


def _checksum(line: str) -> RecordedImage:
    """`HEX  registry/repository:tag`, where the bare hash stands for a sha256 digest."""
    if not (match := _SUM.fullmatch(line)):
        raise BadInput(f"{quoted(line)} is not a hash and an image")
    return RecordedImage(Digest(match[1]), (ImageName.parse(match[2]),))
