"""What one source says about images: the form that every build tool's record is read into."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from step.model.image import Digest, ImageName, ImageRef


@dataclass(frozen=True, slots=True)
class RecordedImage:
    """One digest, and the names that its record gives it: none in a plain digest file."""

    digest: Digest
    names: tuple[ImageName, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a digest came from, for people and for the receipt.

    `source` says it in words, such as `build.json (docker buildx)`. `tag` is the tag that a
    registry was asked for, and is None when the digest was recorded or given. The others are what
    Cloud Build knows of the build: its id, trigger, source repository and commit.
    """

    source: str
    tag: str | None = None
    build: str | None = None
    trigger: str | None = None
    repository: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What one record says; `images` is never empty.

    `made` is when the build says that it made the image, where the record says that. `one_of`: the
    record is of one image under several names, of which one has to be chosen.
    """

    origin: Origin
    images: tuple[RecordedImage, ...]
    made: datetime | None = None
    one_of: bool = False

    @property
    def source(self) -> str:
        """What messages call it."""
        return self.origin.source


@dataclass(frozen=True, slots=True)
class Discovered:
    """An image by digest, and where its digest came from."""

    image: ImageRef
    origin: Origin
