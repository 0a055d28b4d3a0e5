"""Image references as strict values: parsed once, never repaired."""

from __future__ import annotations

import re
from dataclasses import dataclass

from step.errors import BadInput
from step.model.names import ProjectName
from step.model.quoting import quoted

_HEX = re.compile(r"[0-9a-f]{64}")
# A host of DNS labels (or an IPv6 address in brackets), then perhaps a port. Its case is kept, as
# gcloud keeps it, since it is part of the bytes that are signed.
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# https://cloud.google.com/artifact-registry/docs/docker/names and
# https://cloud.google.com/artifact-registry/docs/transition/transition-from-gcr: gcr.io's hosts
_GOOGLE_REGISTRY = re.compile(r"[a-z0-9-]+-docker\.pkg\.dev|(?:(?:us|eu|asia)\.)?gcr\.io")
# Registries agree on 255 characters for host and repository together (same document).
_NAME_LIMIT = 255

_BY_DIGEST = (
    "Name the image by digest, registry/repository@sha256:…; build tools write the digest to a "
    "metadata or digest file, and a tag can move between build and deploy."
)


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The sha256 digest of a manifest or an index; `hex` is 64 lower-case hexadecimal digits."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise BadInput(f"{quoted(self.hex)} is not 64 lower-case hexadecimal digits")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:` and 64 lower-case hexadecimal digits; raises BadInput for all else."""
        algorithm, colon, value = text.partition(":")
        if not text:
            raise BadInput("the digest is empty", "Was the image pushed? Only a push has one.")
        if not colon and re.fullmatch(r"[0-9a-fA-F]{12,64}", text):
            raise BadInput(
                f"{quoted(text)} looks like an image id or a bare hash, not a digest",
                "A digest starts with sha256:, as the registry reports it after the push.",
            )
        if algorithm != "sha256" or not colon:
            raise BadInput(
                f"{quoted(text)} is not a sha256 digest",
                "Binary Authorization knows sha256: and 64 lower-case hexadecimal digits only.",
            )
        if not _HEX.fullmatch(value):
            raise BadInput(f"{quoted(text)} is not a digest: {_why_not_hex(value)}", _BY_DIGEST)
        return cls(value)

    def __str__(self) -> str:
        return f"sha256:{self.hex}"


@dataclass(frozen=True, slots=True, order=True)
class ImageName:
    """A repository in a registry, without tag or digest: `registry/repository`."""

    registry: str
    repository: str

    def __post_init__(self) -> None:
        if not _REGISTRY.fullmatch(self.registry):
            raise BadInput(
                f"{quoted(self.registry)} is not a registry host",
                "It is a host name, perhaps with a port, without a user or a path.",
            )
        if not _REPOSITORY.fullmatch(self.repository):
            raise BadInput(
                f"{quoted(self.repository)} is not a repository name",
                "It holds lower-case letters, digits and single separators only.",
            )
        if len(str(self)) > _NAME_LIMIT:
            raise BadInput(
                f"the image name {quoted(str(self))} is over {_NAME_LIMIT} characters",
                "No registry holds such a name.",
            )

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Read `registry/repository`, a tag beside it dropped; raises BadInput for all else."""
        if "@" in text:
            raise BadInput(
                f"{quoted(text)} holds a digest where a name alone is wanted",
                "Give the reference by digest as the image itself, without a second digest.",
            )
        return cls._without_tag(text)

    @classmethod
    def _without_tag(cls, text: str) -> ImageName:
        registry, slash, rest = re.sub(r"\A(?:https?:)?//", "", text).partition("/")
        if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
            raise BadInput(
                f"{quoted(text)} does not name a registry",
                "Write the registry host too, for example docker.io/library/"
                "NAME or REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME.",
            )
        repository, colon, tag = rest.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise BadInput(f"{quoted(tag)} is not a tag, in {quoted(text)}", _BY_DIGEST)
        return cls(registry, repository)

    def at(self, digest: Digest) -> ImageRef:
        """The image of this name with that digest."""
        return ImageRef(self, digest)

    @property
    def project(self) -> ProjectName | None:
        """The Google Cloud project that holds the repository; None for other registries.

        As Artifact Registry and Container Registry spell it; a domain-scoped project has a slash
        where its id has a colon:
        https://cloud.google.com/artifact-registry/docs/docker/names#domain
        """
        if not _GOOGLE_REGISTRY.fullmatch(self.registry):
            return None
        first, _, rest = self.repository.partition("/")
        if "." in first:
            first = f"{first}:{rest.partition('/')[0]}"
        try:
            return ProjectName(first)
        except BadInput:
            return None

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}"


@dataclass(frozen=True, slots=True, order=True)
class ImageTag:
    """An image by tag: what a registry can be asked for, and nothing that can be attested."""

    name: ImageName
    tag: str

    def __post_init__(self) -> None:
        if not _TAG.fullmatch(self.tag):
            raise BadInput(f"{quoted(self.tag)} is not a tag", _BY_DIGEST)

    @classmethod
    def parse(cls, text: str) -> ImageTag:
        """Read `registry/repository:tag`; raises BadInput for all else, a missing tag included."""
        name = ImageName.parse(text)
        tag = text.rpartition("/")[2].partition(":")[2]
        if not tag:
            raise BadInput(f"{quoted(text)} has neither a tag nor a digest", _BY_DIGEST)
        return cls(name, tag)

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


@dataclass(frozen=True, slots=True, order=True)
class ImageRef:
    """An image by digest: `registry/repository@sha256:…`."""

    name: ImageName
    digest: Digest

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Read `registry/repository@sha256:…`, with or without `https://`.

        A tag beside the digest is dropped. Raises BadInput for a tag alone and for any digest that
        is not `sha256:` and 64 lower-case hexadecimal digits.
        """
        name, at, digest = text.partition("@")
        if not name:
            missing = "has no name" if text else "is empty"
            raise BadInput(f"the image reference {missing}", _BY_DIGEST)
        if not at:
            if name.startswith("sha256:"):
                raise BadInput(
                    f"{quoted(text)} is a digest without a name",
                    "Write registry/repository@sha256:…, or give the name with --image.",
                )
            parsed = ImageName.parse(text)
            raise BadInput(
                f"{quoted(text)} names {parsed} by tag, not by digest",
                f"{_BY_DIGEST} --resolve-tags asks the registry what it stands for now.",
            )
        return ImageName._without_tag(name).at(Digest.parse(digest))

    @property
    def project(self) -> ProjectName | None:
        """The Google Cloud project whose registry it is in; None for other registries."""
        return self.name.project

    @property
    def resource_uri(self) -> str:
        """How an occurrence names the image: `https://registry/repository@sha256:…`."""
        return f"https://{self}"

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}"


def _why_not_hex(value: str) -> str:
    if not value:
        return "nothing after sha256:"
    if re.fullmatch(r"[0-9a-fA-F]{64}", value):
        return "its digits must be lower-case"
    if re.fullmatch(r"[0-9a-f]+", value):
        return f"it has {len(value)} hexadecimal digits, not 64"
    return "64 lower-case hexadecimal digits must follow sha256:, and nothing else"
