"""Image, attestor and signer become a receipt: check, sign, verify, create, wait, evaluate."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from step.cloud.attestors import Attestors
from step.cloud.connection import Connection
from step.cloud.occurrences import Occurrences
from step.concurrency import ahead, side_by_side
from step.errors import (
    AlreadyExists,
    AnswerLost,
    BadInput,
    KeyNotRegistered,
    NotVisible,
    OutOfTime,
    Refused,
    StepError,
    Unavailable,
)
from step.events import Failure, Passed, Progress
from step.model.attestation import Attestation, Attestor, Occurrence, Signature
from step.model.image import ImageRef
from step.model.keys import Key
from step.model.names import AttestorName, NoteName, ProjectName
from step.model.payload import Payload
from step.signing.signer import Signer

# What a plain run needs none of, and would take a tenth of its time to import.
if TYPE_CHECKING:
    from step.evaluate import Judge
    from step.model.admission import Decision
    from step.preconditions import Check

# New attestations have been seen to need seconds to be listed; no figure is published. A look comes
# late by no more than the shortest pause, or than a twentieth of the wait.
_SHORTEST_PAUSE = timedelta(seconds=0.5)
_LONGEST_PAUSE = timedelta(seconds=5)
# After a lost answer: how long to read before the same attestation is sent again, and how often.
_SETTLE = timedelta(seconds=10)
_SENDINGS = 3


class Status(Enum):
    """What happened to the attestation that a receipt is for."""

    CREATED = "created"
    EXISTING = "existing"
    DRY_RUN = "dry-run"


@dataclass(frozen=True, slots=True)
class Receipt:
    """An attestation that was verified, and, unless it is a dry run, stored.

    `occurrence`, `signature` and `create_time` are None in a dry run; `visible_after` is None when
    nothing was waited for.
    """

    image: ImageRef
    attestor: AttestorName
    note: NoteName
    public_key_id: str
    algorithm: str
    status: Status
    payload: bytes
    signature: bytes | None = None
    occurrence: str | None = None
    resource_uri: str = ""
    create_time: datetime | None = None
    visible_after: timedelta | None = None


Event: TypeAlias = "Progress | Passed | Receipt | Decision | Failure"


@dataclass(frozen=True, slots=True)
class Terms:
    """How to attest.

    `project` is where attestations are stored, None for each attestor's own; `payload` replaces the
    canonical bytes (for a signature made elsewhere over other bytes); `wait` is how long to wait
    until an attestation can be read back, None for not at all. `checks` must all say yes of an
    image before it is signed; `judge` must admit it afterwards, and sees what was waited for only.
    """

    project: ProjectName | None = None
    payload: bytes | None = None
    validate: bool = True
    wait: timedelta | None = timedelta(minutes=2)
    dry_run: bool = False
    checks: tuple[Check, ...] = ()
    judge: Judge | None = None


def attest(
    images: Sequence[ImageRef],
    attestors: Sequence[AttestorName],
    signer: Signer,
    connection: Connection,
    terms: Terms,
) -> Iterator[Event]:
    """Attest every image for every attestor, side by side, and yield what happens.

    For each pair there is one Receipt or one Failure, in the order in which they end; both, where
    the run's deadline passed between creating and reading back. One failure does not stop the
    others. An image that a check refuses has a Failure of its own instead, and so has one, after
    its receipts, that the policy does not admit. Only a key that an attestor does not list stops
    the run, before anything is signed. An attestation that already verifies under the same key is
    reused; nothing is created that the attestor's own key and, unless `terms` say otherwise, Binary
    Authorization did not verify.

    Raises BadInput for an empty list: attesting nothing is never what was meant.
    """
    if not images or not attestors:
        raise BadInput("there is nothing to attest", "Name at least one image and one attestor.")
    images = tuple(dict.fromkeys(images))
    # While the first call is under way, what comes after it is imported, and connected.
    opening = ahead(partial(_open, connection, signer, terms))
    readings = [_read(name, signer, Attestors(connection)) for name in dict.fromkeys(attestors)]
    read = list(side_by_side(readings))
    ready = [found for found in read if isinstance(found, _Ready)]
    failed = [found for found in read if isinstance(found, _Unread)]
    for unread in failed:
        yield from (Failure(image, unread.name, unread.error) for image in images)
    if any(isinstance(unread.error, KeyNotRegistered) for unread in failed):
        return
    # Where nothing is ready, nothing comes after it: what keeps it has kept the first call, too.
    wait([opening] if ready else [])
    refused: set[ImageRef | None] = set()
    if terms.checks:
        from step.preconditions import check

        for checked in check(images, terms.checks, connection):
            if isinstance(checked, Failure):
                refused.add(checked.image)
            yield checked
    looks = _Looks()
    pairs = [
        _Pair(image, one.attestor, one.key, signer, connection, terms, looks)
        for one in ready
        for image in images
        if image not in refused
    ]
    refused.update(image for image in images if failed)
    for event in side_by_side(pair.events() for pair in pairs):
        if isinstance(event, Failure):
            refused.add(event.image)
        yield event
    attested = [image for image in images if image not in refused]
    if terms.judge and attested:
        yield from _admitted(attested, terms.judge, connection, attestors)


def _open(connection: Connection, signer: Signer, terms: Terms) -> None:
    """Import, and begin to connect, what is used once the attestor is known."""
    signer.prepare()
    _ = connection.occurrences
    if terms.validate:
        _ = connection.validation


def _admitted(
    images: Sequence[ImageRef],
    judge: Judge,
    connection: Connection,
    attestors: Sequence[AttestorName],
) -> Iterator[Decision | Failure]:
    """Whether the policy admits what is attested by now; a denial is a Failure, too."""
    from step.evaluate import Undecided, decide
    from step.model.admission import Decision

    named = {str(image): image for image in images}
    for found in decide(tuple(named), judge, connection, attestors):
        match found:
            case Undecided(image=image, error=error):
                yield Failure(named[str(image)], None, error)
            case Decision(image=image, admitted=admitted, denial=denial):
                yield found
                if not admitted:
                    error = Refused(
                        f"attested, and not admitted by {judge.policy.name}: {denial}",
                        "The attestation stays; the policy asks for something else, or for more.",
                    )
                    yield Failure(named[image], None, error)


@dataclass(frozen=True, slots=True)
class _Ready:
    attestor: Attestor
    key: Key


@dataclass(frozen=True, slots=True)
class _Unread:
    name: AttestorName
    error: StepError


def _read(name: AttestorName, signer: Signer, attestors: Attestors) -> Iterator[_Ready | _Unread]:
    try:
        attestor = attestors.get(name)
        yield _Ready(attestor, signer.key_on(attestor))
    except StepError as error:
        yield _Unread(name, error)


class _Looks:
    """The looks at what was created: all that wait together look twice a second at most."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next = timedelta(0)

    def pause(self, now: timedelta, waited: timedelta) -> timedelta:
        """How long to sleep until the next look of one that has waited for so long."""
        pause = min(max(_SHORTEST_PAUSE, waited / 20), _LONGEST_PAUSE)
        with self._lock:
            at = max(now + pause, self._next)
            self._next = at + _SHORTEST_PAUSE
        return at - now


@dataclass(frozen=True, slots=True)
class _Pair:
    """The work on one image for one attestor."""

    image: ImageRef
    attestor: Attestor
    key: Key
    signer: Signer
    connection: Connection
    terms: Terms
    looks: _Looks

    def events(self) -> Iterator[Event]:
        try:
            yield (yield from self._attest())
        except StepError as error:
            yield Failure(self.image, self.attestor.name, error)

    def _attest(self) -> Generator[Progress | Receipt, None, Receipt]:
        yield self._progress(f"looking for an attestation on {self.attestor.note}")
        payload = self.terms.payload
        if payload is None:
            payload = Payload.of(self.image).to_bytes()
        if self.terms.dry_run:
            existing = self._find()
            status = Status.EXISTING if existing else Status.DRY_RUN
            return self._receipt(status, existing, payload)
        # docs/adr/0017: a run that finds one has asked for a signature that nobody gets to see.
        signing = ahead(partial(self.signer.sign, payload, self.key))
        existing = self._find()
        if existing is not None:
            return self._receipt(Status.EXISTING, existing)
        yield self._progress(f"getting a signature by {self.key.id}")
        attestation = Attestation(payload, (Signature(self.key.id, signing.result()),))
        self.attestor.verify(attestation, self.image)
        if self.terms.validate:
            yield self._progress("asking Binary Authorization to validate the signature")
            Attestors(self.connection).validate(self.attestor, attestation, self.image)
        yield self._progress("creating the attestation")
        status, stored = yield from self._store(attestation)
        if self.terms.wait is None:
            if self._verified([stored]) is None:
                raise Unavailable(
                    f"{stored.name} was created, but it is not what was sent",
                    "Run again: an attestation that is whole is reused, and no other counts.",
                )
            return self._receipt(status, stored)
        created = self.connection.clock.elapsed()
        try:
            found = yield from self._until_found(self.terms.wait)
        except Unavailable as error:
            if isinstance(error, OutOfTime) and self._verified([stored]):
                yield self._receipt(status, stored)
            raise Unavailable(
                f"{stored.name} was created, but not read back: {error.message}", error.hint
            ) from error
        if found is None:
            raise NotVisible(
                f"{stored.name} was created, but could not be read back from {self.attestor.note} "
                "in time",
                "Run again with a longer --timeout: what is there by then is reused.",
            )
        visible_after = self.connection.clock.elapsed() - created
        return replace(self._receipt(status, found), visible_after=visible_after)

    def _store(
        self, attestation: Attestation
    ) -> Generator[Progress, None, tuple[Status, Occurrence]]:
        """Create the attestation once, whatever becomes of the answers.

        A lost answer is settled by reading. The same bytes are sent again only after nothing was
        found; should the first have arrived late, the service answers ALREADY_EXISTS, which is
        settled by reading, too.
        """
        project = self.terms.project or ProjectName(self.attestor.name.project)
        occurrences = Occurrences(self.connection)
        sent = 0
        while True:
            sent += 1
            try:
                stored = occurrences.create(project, self.attestor.note, self.image, attestation)
                return Status.CREATED, stored
            except AlreadyExists as error:
                found = yield from self._until_found(self.terms.wait or _SETTLE)
                if found is None:
                    raise NotVisible(
                        f"{error.message}, but no attestation of {self.image} by {self.key.id} "
                        f"was to be found on {self.attestor.note} in time",
                        "Run again later: what is there by then is reused.",
                    ) from error
                return (Status.CREATED if sent > 1 else Status.EXISTING), found
            except AnswerLost as error:
                try:
                    found = yield from self._until_found(_SETTLE)
                except Unavailable as unread:
                    raise Unavailable(
                        f"{error.message}; it may have been created all the same, which could not "
                        f"be read: {unread.message}",
                        "Run again: an attestation that did arrive is reused.",
                    ) from unread
                if found is not None:
                    return Status.CREATED, found
                if sent == _SENDINGS:
                    raise Unavailable(
                        f"{error.message}; {self.attestor.note} shows no attestation of "
                        f"{self.image}",
                        "Run again: an attestation that did arrive is reused.",
                    ) from error

    def _until_found(self, limit: timedelta) -> Generator[Progress, None, Occurrence | None]:
        """Read, with growing pauses, until the attestation is there and verifies, or time is up."""
        clock = self.connection.clock
        started = clock.elapsed()
        while True:
            found = self._find()
            elapsed = clock.elapsed() - started
            if found is not None or elapsed >= limit:
                return found
            doing = f"waiting until the attestation can be read back from {self.attestor.note}"
            yield replace(self._progress(doing), elapsed=elapsed, limit=limit)
            pause = self.looks.pause(clock.elapsed(), elapsed)
            self.connection.deadline.sleep(min(pause, limit - elapsed))

    def _find(self) -> Occurrence | None:
        return self._verified(Occurrences(self.connection).of(self.attestor.note, self.image))

    def _verified(self, stored: Iterable[Occurrence]) -> Occurrence | None:
        return self.attestor.first_verified(stored, self.image, self.key)

    def _progress(self, doing: str) -> Progress:
        return Progress(self.image, self.attestor.name, doing)

    def _receipt(self, status: Status, stored: Occurrence | None, payload: bytes = b"") -> Receipt:
        receipt = Receipt(
            image=self.image,
            attestor=self.attestor.name,
            note=self.attestor.note,
            public_key_id=self.key.id,
            algorithm=self.key.algorithm_name,
            status=status,
            payload=payload,
            resource_uri=self.image.resource_uri,
        )
        if stored is None:
            return receipt
        own = next(s for s in stored.attestation.signatures if s.key_id == self.key.id)
        return replace(
            receipt,
            payload=stored.attestation.payload,
            signature=own.value,
            occurrence=stored.name,
            resource_uri=stored.resource_uri,
            create_time=stored.create_time,
        )
