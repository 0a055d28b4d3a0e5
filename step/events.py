"""What every long verb tells while it works, beside its results: progress, checks, failures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from step.errors import StepError
from step.model.image import ImageRef
from step.model.names import AttestorName


@dataclass(frozen=True, slots=True)
class Failure:
    """An error, and what it is about: None where that is no single image, or no single attestor.

    The image is a text where a pod names it, by tag perhaps.
    """

    image: ImageRef | str | None
    attestor: AttestorName | None
    error: StepError


@dataclass(frozen=True, slots=True)
class Passed:
    """That a check said yes: `name` is `scan` or `build`, `grounds` a line of what it rests on."""

    image: ImageRef
    name: str
    grounds: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done, in one line; for a wait, `elapsed` of at most `limit`.

    `image` and `attestor` are None for what concerns several of them.
    """

    image: ImageRef | str | None
    attestor: AttestorName | None
    doing: str
    elapsed: timedelta | None = None
    limit: timedelta | None = None
