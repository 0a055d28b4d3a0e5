"""Image, attestor and signer become a receipt: check, sign, verify, create, wait, evaluate."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from threading import Condition
from typing import TYPE_CHECKING, TypeAlias

from step.cloud.attestors import Attestors
from step.cloud.connection import Connection
from step.cloud.methods import CREATE_OCCURRENCE, VALIDATE
from step.cloud.occurrences import Occurrences
from step.concurrency import ahead, eagerly, poll, side_by_side
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
    from step.evaluate import Admission
    from step.model.admission import Decision
    from step.preconditions import Check

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
    nothing was waited for. `unverified` says that it was made anew where no old one verified.
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
    unverified: bool = False


Event: TypeAlias = "Progress | Passed | Receipt | Decision | Failure"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to attest.

    `project` is where attestations are stored, None for each attestor's own; `payload` replaces the
    canonical bytes (for a signature made elsewhere over other bytes); `wait` is how long to wait
    until an attestation can be read back, None for not at all. `checks` must all say yes of an
    image before it is signed; `admission` must admit it afterwards, and sees what was waited for
    only.
    """

    project: ProjectName | None = None
    payload: bytes | None = None
    validate: bool = True
    wait: timedelta | None = timedelta(minutes=2)
    dry_run: bool = False
    checks: tuple[Check, ...] = ()
    admission: Admission | None = None


def attest(
    images: Sequence[ImageRef],
    attestors: Sequence[AttestorName],
    signer: Signer,
    connection: Connection,
    settings: Settings,
) -> Iterator[Event]:
    """Attest every image for every attestor, side by side, and yield what happens.

    For each pair there is one Receipt or one Failure, in the order in which they end; both, where
    the run's deadline passed between creating and reading back. One failure does not stop the
    others. An image that a check refuses has a Failure of its own instead, and so has one, after
    its receipts, that the policy does not admit. Only a key that an attestor does not list stops
    the run, before anything is signed. An attestation that already verifies under the same key is
    reused; nothing is created that the attestor's own key and, unless `settings` say otherwise,
    Binary Authorization did not verify.

    Raises BadInput for an empty list: attesting nothing is never what was meant.
    """
    if not images or not attestors:
        raise BadInput("there is nothing to attest", "Name at least one image and one attestor.")
    images = tuple(dict.fromkeys(images))
    # While the first call is under way, what comes after it is imported, and connected.
    opening = ahead(partial(_open, connection, signer, settings))
    names = dict.fromkeys(attestors)
    read = list(side_by_side(_read(name, signer, Attestors(connection)) for name in names))
    ready = [each for each in read if not isinstance(each, Failure)]
    unread = [each for each in read if isinstance(each, Failure)]
    for failure in unread:
        yield from (replace(failure, image=image) for image in images)
    if any(isinstance(failure.error, KeyNotRegistered) for failure in unread):
        return
    # Where nothing is ready, nothing comes after it: what keeps it has kept the first call, too.
    wait([opening] if ready else [])
    refused: set[object] = set(images if unread else ())
    checked = images
    if settings.checks:
        passed = yield from _checked(images, settings.checks, connection)
        refused.update(set(images) - set(passed))
        checked = passed
    pairs = [
        Pair(image, attestor, key, signer, connection, settings)
        for attestor, key in ready
        for image in checked
    ]
    confirmation = Confirmation(connection, settings.wait or timedelta(0), len(pairs))
    jobs = (pair.attest(confirmation) for pair in pairs)
    for event in side_by_side(jobs, beside=confirmation.events()):
        if isinstance(event, Failure):
            refused.add(event.image)
        yield event
    attested = [image for image in images if image not in refused]
    if settings.admission and attested:
        yield from _admitted(attested, settings.admission, connection, attestors)


def _checked(
    images: Sequence[ImageRef], checks: Sequence[Check], connection: Connection
) -> Generator[Event, None, tuple[ImageRef, ...]]:
    """The images that every check says yes of."""
    from step.preconditions import check

    refused = set()
    for event in check(images, checks, connection):
        if isinstance(event, Failure):
            refused.add(event.image)
        yield event
    return tuple(image for image in images if image not in refused)


def _open(connection: Connection, signer: Signer, settings: Settings) -> None:
    """Import, and begin to connect, what is used once the attestor is known."""
    signer.prepare()
    connection.open(CREATE_OCCURRENCE)
    if settings.validate:
        connection.open(VALIDATE)


def _read(
    name: AttestorName, signer: Signer, attestors: Attestors
) -> Iterator[tuple[Attestor, Key] | Failure]:
    try:
        attestor = attestors.get(name)
        yield attestor, signer.key_on(attestor)
    except StepError as error:
        yield Failure(None, name, error)


def _admitted(
    images: Sequence[ImageRef],
    admission: Admission,
    connection: Connection,
    attestors: Sequence[AttestorName],
) -> Iterator[Decision | Failure]:
    """Whether the policy admits what is attested by now; a denial is a Failure, too."""
    from step.evaluate import decide

    named = {str(image): image for image in images}
    for decision in decide(tuple(named), admission, connection, attestors):
        image = named[str(decision.image)]
        if isinstance(decision, Failure):
            yield replace(decision, image=image)
            continue
        yield decision
        if not decision.admitted:
            error = Refused(
                f"attested, and not admitted by {admission.policy.name}: {decision.denial}",
                "The attestation stays; the policy asks for something else, or for more.",
            )
            yield Failure(image, None, error)


@dataclass(frozen=True, slots=True)
class Pair:
    """One image for one attestor, and the steps from looking to a receipt."""

    image: ImageRef
    attestor: Attestor
    key: Key
    signer: Signer
    connection: Connection
    settings: Settings

    def attest(self, confirmation: Confirmation) -> Iterator[Event]:
        """All steps in a row; the wait until it can be read back is left to the confirmation."""
        stored: _Stored | None = None
        try:
            if isinstance(end := (yield from self._until_stored()), Receipt):
                yield end
            else:
                stored = end
        except StepError as error:
            yield self.failure(error)
        finally:
            confirmation.add(stored)

    def _until_stored(self) -> Generator[Progress, None, Receipt | _Stored]:
        yield self.progress(f"looking for an attestation on {self.attestor.note}")
        if self.settings.dry_run:
            existing = self.find()
            return self.receipt(Status.EXISTING if existing else Status.DRY_RUN, existing)
        # docs/adr/0017: a run that finds one has asked for a signature that nobody gets to see.
        signing = ahead(self.sign)
        existing = self.find()
        if existing is not None:
            return self.receipt(Status.EXISTING, existing)
        yield self.progress(f"getting a signature by {self.key.id}")
        attestation = signing.result()
        if self.settings.validate:
            yield self.progress("asking Binary Authorization to validate the signature")
            Attestors(self.connection).validate(self.attestor, attestation, self.image)
        yield self.progress("creating the attestation")
        status, stored = yield from self.store(attestation)
        if self.settings.wait is not None:
            return _Stored(self, status, stored, self.connection.clock.elapsed())
        if self.verified([stored]) is None:
            raise Unavailable(
                f"{stored.name} was created, but it is not what was sent",
                "Run again: an attestation that is whole is reused, and no other counts.",
            )
        return self.receipt(status, stored)

    def find(self) -> Occurrence | None:
        """The attestation that is stored already and verifies under this key, or None."""
        return self.verified(Occurrences(self.connection).of(self.attestor.note, self.image))

    def verified(self, occurrences: Iterable[Occurrence]) -> Occurrence | None:
        """The first of these that attests the image under this key, or None."""
        return self.attestor.first_verified(occurrences, self.image, self.key)

    def sign(self) -> Attestation:
        """An attestation that verifies with the attestor's own key; raises Unverified otherwise."""
        payload = self.payload
        signature = Signature(self.key.id, self.signer.sign(payload, self.key))
        attestation = Attestation(payload, (signature,))
        self.attestor.verify(attestation, self.image)
        return attestation

    @property
    def payload(self) -> bytes:
        """The bytes to sign."""
        given = self.settings.payload
        return Payload.of(self.image).to_bytes() if given is None else given

    def store(
        self, attestation: Attestation
    ) -> Generator[Progress, None, tuple[Status, Occurrence]]:
        """Create the attestation once, whatever becomes of the answers.

        A lost answer is settled by reading. The same bytes are sent again only after nothing was
        found; should the first have arrived late, the service answers ALREADY_EXISTS, which is
        settled by reading, too.
        """
        project = self.settings.project or ProjectName(self.attestor.name.project)
        occurrences = Occurrences(self.connection)
        sent = 0
        while True:
            sent += 1
            try:
                stored = occurrences.create(project, self.attestor.note, self.image, attestation)
                return Status.CREATED, stored
            except AlreadyExists as error:
                existing = yield from self._until_found(self.settings.wait or _SETTLE)
                if existing is None:
                    raise NotVisible(
                        f"{error.message}, but no attestation of {self.image} by {self.key.id} "
                        f"was to be found on {self.attestor.note} in time",
                        "Run again later: what is there by then is reused.",
                    ) from error
                return (Status.CREATED if sent > 1 else Status.EXISTING), existing
            except AnswerLost as error:
                try:
                    existing = yield from self._until_found(_SETTLE)
                except Unavailable as unread:
                    raise Unavailable(
                        f"{error.message}; it may have been created all the same, which could not "
                        f"be read: {unread.message}",
                        "Run again: an attestation that did arrive is reused.",
                    ) from unread
                if existing is not None:
                    return Status.CREATED, existing
                if sent == _SENDINGS:
                    raise Unavailable(
                        f"{error.message}; {self.attestor.note} shows no attestation of "
                        f"{self.image}",
                        "Run again: an attestation that did arrive is reused.",
                    ) from error

    def _until_found(self, limit: timedelta) -> Generator[Progress, None, Occurrence | None]:
        """Read until the attestation is there and verifies, or time is up."""
        doing = f"waiting until the attestation can be read back from {self.attestor.note}"
        for occurrence, elapsed, _ in poll(self.find, self.connection.deadline, limit, eagerly):
            if occurrence is not None:
                return occurrence
            yield replace(self.progress(doing), elapsed=elapsed, limit=limit)
        return None

    def progress(self, doing: str) -> Progress:
        """What is being done."""
        return Progress(self.image, self.attestor.name, doing)

    def failure(self, error: StepError) -> Failure:
        """Why there is no receipt."""
        return Failure(self.image, self.attestor.name, error)

    def receipt(self, status: Status, stored: Occurrence | None) -> Receipt:
        """The receipt for what is stored, or would be."""
        signatures = stored.attestation.signatures if stored else ()
        return Receipt(
            image=self.image,
            attestor=self.attestor.name,
            note=self.attestor.note,
            public_key_id=self.key.id,
            algorithm=self.key.algorithm_name,
            status=status,
            payload=stored.attestation.payload if stored else self.payload,
            signature=next((each.value for each in signatures if each.key_id == self.key.id), None),
            occurrence=stored.name if stored else None,
            resource_uri=stored.resource_uri if stored else self.image.resource_uri,
            create_time=stored.create_time if stored else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """An attestation that was sent, and when; what counts is what can be read back."""

    pair: Pair
    status: Status
    occurrence: Occurrence
    since: timedelta


@dataclass
class Confirmation:
    """The wait until attestations can be read back: all of a run share one poll of each note.

    `limit` is how long each may take; `expected` is of how many pairs it will be told.
    """

    connection: Connection
    limit: timedelta
    expected: int
    _waiting: dict[_Stored, None] = field(default_factory=dict)
    _changed: Condition = field(default_factory=Condition)

    def add(self, stored: _Stored | None) -> None:
        """Take one more, or learn that there is nothing to wait for."""
        with self._changed:
            self.expected -= 1
            if stored is not None:
                self._waiting[stored] = None
            self._changed.notify()

    def events(self) -> Iterator[Progress | Receipt | Failure]:
        """A Receipt or a Failure for each that was stored, until there are no more to come."""
        clock = self.connection.clock
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self.expected)
                waiting = tuple(self._waiting)
            if not waiting:
                return
            notes: dict[NoteName, list[_Stored]] = {}
            for stored in waiting:
                notes.setdefault(stored.pair.attestor.note, []).append(stored)
            for note, mine in notes.items():
                yield from self._look(note, mine)
            if left := [stored.since for stored in waiting if stored in self._waiting]:
                now = clock.elapsed()
                # What was stored last must not be seen late, nor what was first end late.
                pause = min(eagerly(now - max(left)), min(left) + self.limit - now)
                self.connection.deadline.sleep(pause)

    def _look(
        self, note: NoteName, waiting: Sequence[_Stored]
    ) -> Iterator[Progress | Receipt | Failure]:
        """Look once for all that wait on a note; what is found, or too late, waits no more."""
        clock = self.connection.clock
        try:
            images = [stored.pair.image for stored in waiting]
            listed = Occurrences(self.connection).of_each(note, images)
        except StepError as error:
            for stored in waiting:
                yield from self._unread(stored, error)
            return
        now = clock.elapsed()
        missing = []
        for stored in waiting:
            pair = stored.pair
            occurrence = pair.verified(listed.get(pair.image.digest, ()))
            if occurrence is not None:
                del self._waiting[stored]
                receipt = pair.receipt(stored.status, occurrence)
                yield replace(receipt, visible_after=now - stored.since)
            elif now - stored.since >= self.limit:
                del self._waiting[stored]
                yield pair.failure(
                    NotVisible(
                        f"{stored.occurrence.name} was created, but could not be read back from "
                        f"{note} in time",
                        "Run again with a longer --timeout: what is there by then is reused.",
                    )
                )
            else:
                missing.append(stored)
        if missing:
            yield self._progress(missing, now)

    def _unread(self, stored: _Stored, error: StepError) -> Iterator[Receipt | Failure]:
        """The end of a wait by an error; what was answered when it was created is told, too."""
        del self._waiting[stored]
        if isinstance(error, OutOfTime) and stored.pair.verified([stored.occurrence]):
            yield stored.pair.receipt(stored.status, stored.occurrence)
        if isinstance(error, Unavailable):
            error = Unavailable(
                f"{stored.occurrence.name} was created, but not read back: {error.message}",
                error.hint,
            )
        yield stored.pair.failure(error)

    def _progress(self, missing: Sequence[_Stored], now: timedelta) -> Progress:
        first, *others = missing
        what = f"{len(missing)} attestations" if others else "the attestation"
        note = first.pair.attestor.note
        progress = first.pair.progress(f"waiting until {what} can be read back from {note}")
        if others:
            progress = replace(progress, image=None, attestor=None)
        return replace(progress, elapsed=now - first.since, limit=self.limit)
