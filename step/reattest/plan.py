"""What bulk work is to do, and what it would do: targets, settings and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from step.attest import Receipt
from step.errors import StepError
from step.model.attestation import Attestor
from step.model.fleet import State
from step.model.keys import Key
from step.model.names import AttestorName, NoteName, ProjectName
from step.signing.signer import Signer


class Validate(Enum):
    """Which signatures Binary Authorization itself validates; all are verified here."""

    FIRST = "first"
    """The first of each attestor and key (docs/adr/0026)."""
    EVERY = "every"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Target:
    """An attestor and a key that every image is to be attested with.

    `needs` are the attestors, by their number among all that are read, that must have attested an
    image before.
    """

    number: int
    attestor: Attestor
    key: Key
    signer: Signer
    needs: tuple[int, ...]

    @property
    def name(self) -> AttestorName:
        """The attestor's name."""
        return self.attestor.name


@dataclass(frozen=True, slots=True)
class Settings:
    """How to re-attest; `unverified` attests what nothing vouches for, too, and says so.

    `project` is where attestations are stored, None for each attestor's own; `wait` is how long
    after the last was stored all must be read back; `receipts` is whether to tell of what existed.
    """

    project: ProjectName | None = None
    unverified: bool = False
    validate: Validate = Validate.FIRST
    receipts: bool = False
    wait: timedelta = timedelta(minutes=10)

    def home(self, target: Target) -> ProjectName:
        """The project that stores a target's attestations."""
        return self.project or ProjectName(target.name.project)


@dataclass(frozen=True, slots=True)
class Share:
    """What there is to do for one attestor and key, and why the rest is refused."""

    attestor: AttestorName
    note: NoteName
    public_key_id: str
    to_do: int
    existing: int
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many images, what is to do for each target, and what that takes.

    `calls` are by method; `duration` is None where no rate was given for any of them.
    """

    images: int
    shard: str
    shares: tuple[Share, ...]
    calls: Mapping[str, int]
    duration: timedelta | None

    @property
    def to_do(self) -> int:
        """How many attestations are to be made."""
        return sum(share.to_do for share in self.shares)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an image for an attestor and key: a receipt, or an error that says why not."""

    image: str
    attestor: AttestorName
    public_key_id: str
    state: State
    receipt: Receipt | None = None
    error: StepError | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many images came how far for one attestor and key; `left` are to be attested still.

    `unverified` is how many of those created nothing vouched for.
    """

    attestor: AttestorName
    public_key_id: str
    created: int = 0
    existing: int = 0
    refused: int = 0
    failed: int = 0
    left: int = 0
    unverified: int = 0


@dataclass(frozen=True, slots=True)
class Advance:
    """That so many more attestations were stored, or could not be."""

    stored: int = 0
    failed: int = 0
