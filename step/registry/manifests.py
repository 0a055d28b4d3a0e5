"""What a registry holds under a digest: one platform's manifest, or an index of several."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from step.errors import BadInput, NotFound, Refused, StepError, Unavailable
from step.model.image import Digest
from step.model.quoting import quoted
from step.model.strict import load_object

# https://github.com/opencontainers/image-spec/blob/main/media-types.md and
# https://github.com/distribution/distribution/blob/main/docs/content/spec/manifest-v2-2.md
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
# An answer of these types says nothing of its own; then the document itself has to.
_UNTYPED = ("", "application/json", "application/octet-stream", "text/plain")

# Without the indexes, a registry may answer with one platform's manifest, of another digest.
ACCEPTED = ", ".join(INDEXES + MANIFESTS)

# How BuildKit marks provenance and SBOMs, which no platform runs
# (https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md).
REFERENCE_TYPE = "vnd.docker.reference.type"
ATTESTATION = "attestation-manifest"
_UNKNOWN = "unknown"

_PLATFORM = re.compile(r"([a-z0-9_.-]+)/([a-z0-9_.-]+)(?:/([a-z0-9_.-]+))?")
# Variants that say nothing, as containerd has it
# (https://github.com/containerd/platforms/blob/main/database.go).
_PLAIN_VARIANTS = {"amd64": "v1", "arm64": "v8"}


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system, an architecture, and a variant of it where there is one.

    A variant that every machine of the architecture has, `arm64/v8` for example, counts as none.
    """

    os: str
    architecture: str
    variant: str = ""

    def __post_init__(self) -> None:
        if _PLAIN_VARIANTS.get(self.architecture) == self.variant:
            object.__setattr__(self, "variant", "")

    def covers(self, other: Platform) -> bool:
        """Whether `other` is this platform; without a variant, this is all its variants."""
        same = (self.os, self.architecture) == (other.os, other.architecture)
        return same and self.variant in ("", other.variant)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True, slots=True)
class Platforms:
    """Which images of an index are meant besides the index itself: none, all, or those `listed`."""

    every: bool = False
    listed: tuple[Platform, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Platforms:
        """Read `index`, `all`, or platforms such as `linux/amd64,linux/arm64/v8`.

        Raises BadInput for all else.
        """
        if text in ("index", "all"):
            return cls(every=text == "all")
        listed = []
        for part in text.split(","):
            match = _PLATFORM.fullmatch(part)
            if match is None:
                raise BadInput(
                    f"{quoted(part)} is not a platform",
                    "Write index, all, or platforms as OS/ARCHITECTURE[/VARIANT] with commas "
                    "between, for example linux/amd64,linux/arm64.",
                )
            listed.append(Platform(match[1], match[2], match[3] or ""))
        return cls(listed=tuple(dict.fromkeys(listed)))


@dataclass(frozen=True, slots=True)
class Child:
    """An entry of an index; `platform` is None where the index does not say it."""

    digest: Digest
    media_type: str
    platform: Platform | None
    attestation: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index; `children` is None for a manifest, and what an index lists."""

    digest: Digest
    media_type: str
    children: tuple[Child, ...] | None = None

    @classmethod
    def parse(cls, body: bytes, content_type: str, source: str) -> Manifest:
        """Read the exact bytes of a manifest or an index; `source` is what messages call it.

        Raises Unavailable for what no registry would say, such as a page of HTML, and Refused for
        a config and for any other document.
        """
        document = load_object(body)
        if document is None:
            raise Unavailable(
                f"{source}: the answer is not a manifest but {_kind(content_type) or 'untyped'}",
                "Something other than a registry seems to answer; is the host right?",
            )
        media_type = _media_type(document, _kind(content_type), source)
        digest = digest_of(body)
        if media_type in MANIFESTS:
            return cls(digest, media_type)
        entries = document.get("manifests")
        if not isinstance(entries, list):
            raise Refused(f"{source}: the index lists no manifests")
        return cls(digest, media_type, tuple(_child(entry, source) for entry in entries))

    def select(self, platforms: Platforms, source: str) -> tuple[Digest, ...]:
        """The digests of the images meant besides this one, each once, in the index's order.

        Attestation manifests are never among them. Raises NotFound when a platform is not there,
        and Refused when what the index lists is not a manifest.
        """
        if not platforms.listed and (not platforms.every or self.children is None):
            return ()
        images = [child for child in self.children or () if not child.attestation]
        for child in images:
            _check_child(child, source)
        missing = [
            str(wanted)
            for wanted in platforms.listed
            if not any(child.platform and wanted.covers(child.platform) for child in images)
        ]
        if missing:
            raise NotFound(f"{source} has no image for {', '.join(missing)}", self._offer(images))
        chosen = [
            child.digest
            for child in images
            if platforms.every
            or any(child.platform and wanted.covers(child.platform) for wanted in platforms.listed)
        ]
        return tuple(dict.fromkeys(chosen))

    def _offer(self, images: list[Child]) -> str:
        if self.children is None:
            return "It is one platform's manifest and not an index; --platforms all takes it so."
        there = dict.fromkeys(str(child.platform) for child in images if child.platform)
        return f"The index has {', '.join(there) or 'no platforms'}."


def digest_of(body: bytes) -> Digest:
    """The digest of the exact bytes."""
    return Digest(hashlib.sha256(body).hexdigest())


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()[:100]


def _media_type(document: dict[str, Any], stated: str, source: str) -> str:
    """What the document is, by its header and by itself.

    It must not be readable as both a manifest and an index, and header and body must agree
    (https://github.com/opencontainers/distribution-spec/security/advisories/GHSA-mc8v-mgrf-8f4m).
    """
    own = document.get("mediaType", "")
    if not isinstance(own, str):
        raise Refused(f"{source}: the document's mediaType is not text")
    claims = {claim for claim in (stated, own) if claim not in _UNTYPED}
    if claims & set(_CONFIGS) or (not claims and "rootfs" in document):
        raise _not_an_image(source, "an image's config")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise Refused(
            f"{source} can be read both as an index and as a manifest",
            "Push the image again with a build tool that writes one of the two.",
        )
    if len(claims) > 1:
        raise Refused(
            f"{source}: the registry calls it {stated}, the document itself {quoted(own)}"
        )
    claim = claims.pop() if claims else ""
    if claim not in INDEXES + MANIFESTS:
        raise _not_an_image(source, quoted(claim) if claim else "a document of no stated type")
    return claim


def _not_an_image(source: str, what: str) -> StepError:
    return Refused(
        f"{source} is {what}, neither a manifest nor an index",
        "The digest to attest is the one that the push reported, not an image id.",
    )


def _child(entry: object, source: str) -> Child:
    if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
        raise Refused(f"{source}: the index has an entry without a digest")
    try:
        digest = Digest.parse(entry["digest"])
    except BadInput as error:
        raise Refused(f"{source}: an entry of the index: {error.message}") from None
    media_type, annotations = entry.get("mediaType"), entry.get("annotations")
    platform = _platform(entry.get("platform"))
    marked = isinstance(annotations, dict) and annotations.get(REFERENCE_TYPE) == ATTESTATION
    return Child(
        digest,
        media_type if isinstance(media_type, str) else "",
        platform,
        attestation=marked or platform == Platform(_UNKNOWN, _UNKNOWN),
    )


def _platform(value: object) -> Platform | None:
    if not isinstance(value, dict):
        return None
    fields = [value.get(key, "") for key in ("os", "architecture", "variant")]
    if not all(isinstance(field, str) for field in fields) or not all(fields[:2]):
        return None
    return Platform(*fields)


def _check_child(child: Child, source: str) -> None:
    if child.media_type in INDEXES:
        raise Refused(
            f"{source}: the index holds another index, {child.digest}",
            "Attest the inner index by its own digest, or with --platforms index the outer alone.",
        )
    if child.media_type not in MANIFESTS:
        raise Refused(
            f"{source}: the index holds {child.digest}, which is no manifest but "
            f"{quoted(child.media_type)}",
            "With --platforms index the index alone is attested.",
        )
