"""What every long verb tells while it works, beside its results: progress, checks, failures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from step.errors import StepError
from step.model.image import ImageRef
from step.model.names import AttestorName


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no result; image and attestor are None where the error is of no single pair."""

    image: ImageRef | None
    attestor: AttestorName | None
    error: StepError


@dataclass(frozen=True, slots=True)
class Passed:
    """That a check said yes: `name` is `scan` or `build`, `found` one line of what it rests on."""

    image: ImageRef
    name: str
    found: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done, in one line; for a wait, `elapsed` of at most `limit`.

    `attestor` is None for what concerns the image whoever attests it.
    """

    image: ImageRef
    attestor: AttestorName | None
    doing: str
    elapsed: timedelta | None = None
    limit: timedelta | None = None
