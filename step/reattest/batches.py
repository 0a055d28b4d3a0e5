"""Signatures become stored attestations: journalled, in batches, whatever the answers are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from threading import Lock
from typing import TypeAlias

from step.attest import Pair
from step.attest import Settings as PairSettings
from step.cloud.attestors import Attestors
from step.cloud.connection import Connection
from step.cloud.occurrences import Occurrences
from step.concurrency import eagerly, poll, side_by_side
from step.errors import (
    AlreadyExists,
    AnswerLost,
    BadInput,
    OutOfTime,
    StepError,
    Unavailable,
    Unverified,
)
from step.events import Failure
from step.journal import Ended, Journal, Signed
from step.model.attestation import Attestation
from step.model.fleet import Fleet, State
from step.model.image import ImageRef
from step.model.names import NoteName, ProjectName
from step.model.payload import Payload
from step.reattest.plan import Advance, Settings, Target, Validate

# Half of what a batch may hold (grafeas/v1/grafeas.proto), in about a megabyte: what a server takes
# at once is not documented.
BATCH = 500
_BATCH_BYTES = 1_000_000
# Of an occurrence, what is neither payload nor signature nor image, roughly.
_OVERHEAD = 300
# Batches that are on their way at the same time; the notes' quotas are not documented.
_BATCHES_AT_ONCE = 2
# After an answer that was no yes: how long to read before anything is sent again, and how often.
_SETTLE = timedelta(seconds=10)
_SENDINGS = 3
# So many failures in a row have one cause, and the next would have it, too.
_IN_A_ROW = 25


@dataclass(frozen=True, slots=True)
class Made:
    """An attestation that verifies here, for an image by its number."""

    target: Target
    number: int
    image: ImageRef
    attestation: Attestation

    @property
    def size(self) -> int:
        """About how many bytes it is in a request."""
        signed = sum(len(each.value) + len(each.key_id) for each in self.attestation.signatures)
        return len(self.attestation.payload) + signed + len(str(self.image)) + _OVERHEAD


@dataclass(frozen=True, slots=True)
class Unmade:
    """That there is none, and why."""

    target: Target
    number: int
    digest: str
    error: StepError


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a service has by now, with the names it gave as far as it said them."""

    made: Sequence[Made]
    names: dict[str, str]


_Step: TypeAlias = "Unmade | _Sent"


@dataclass
class Batches:
    """The work of a plan: what is signed and stored for every image that is left.

    `stop` says that no more is to be begun; what is under way is ended.
    """

    fleet: Fleet
    targets: Sequence[Target]
    connection: Connection
    settings: Settings
    journal: Journal | None
    stop: Callable[[], bool]
    _proven: set[int] = field(default_factory=set)
    """The targets of which one attestation was validated and stored."""
    _halted: StepError | None = None
    _failures: int = 0
    _lock: Lock = field(default_factory=Lock)

    def run(self) -> Iterator[Advance | Failure]:
        """Sign and store all that is left, and tell how it goes on.

        What is stored is not confirmed yet. What no image can be attested without, ends it with a
        Failure: an error that comes for one after the other, or time that is up.
        """
        signed = chain(self._resumed(), side_by_side(self._signings()))
        for step in side_by_side(self._storing(signed), at_once=_BATCHES_AT_ONCE):
            match step:
                case _Sent():
                    yield from self._stored(step)
                case Unmade():
                    yield self._failed(step)
        if self._halted is not None:  # known once all that was under way has ended
            yield Failure(None, None, self._halted)

    @property
    def halted(self) -> bool:
        """Whether something ended it before its end."""
        return self._halted is not None

    # Signing

    def _resumed(self) -> Iterator[Made]:
        """What earlier runs signed and nobody has stored, verified again."""
        targets = {(str(each.name), each.key.id): each for each in self.targets}
        try:
            for entry in self.journal.signed() if self.journal else ():
                if self._is_over:
                    return
                [signature] = entry.attestation.signatures
                target = targets.get((entry.attestor, signature.key_id))
                made = target and self._still_good(entry, target)
                if made:
                    self.fleet.settle(made.number, made.target.number, State.SIGNED)
                    yield made
        except StepError as error:  # a journal that cannot be read in the middle
            self._halted = self._halted or error

    def _still_good(self, entry: Signed, target: Target) -> Made | None:
        """What an entry says that was signed, if that is what is to be stored now."""
        digest = str(entry.image.digest)
        number = self.fleet.find(digest)
        if number is None or self.fleet.state(number, target.number) is not State.LEFT:
            return None
        image, attestation = self.fleet.image(number, digest), entry.attestation
        # Whoever wrote it may have called the image by another name.
        if image is None or attestation.payload != Payload.of(image).to_bytes():
            return None
        try:
            target.attestor.verify(attestation, image)
        except Unverified:
            return None
        return Made(target, number, image, attestation)

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._halted is not None or self.stop()

    def _signings(self) -> Iterator[Iterator[Made | Unmade]]:
        """A job for each that is left, image by image, so that one is whole before the next."""
        for number, digest in self.fleet.each():
            for target in self.targets:
                if self.fleet.state(number, target.number) is not State.LEFT:
                    continue
                if self._is_over:
                    return
                yield self._sign(target, number, digest)

    def _sign(self, target: Target, number: int, digest: str) -> Iterator[Made | Unmade]:
        image = self.fleet.image(number, digest)
        assert image is not None  # noqa: S101 - the survey refused what has no name
        pair = Pair(image, target.attestor, target.key, target.signer, self.connection, _PAIR)
        try:
            attestation = pair.sign()
            if self.settings.validate is Validate.EVERY:
                Attestors(self.connection).validate(target.attestor, attestation, image)
            self._failures = 0
            yield Made(target, number, image, attestation)
        except StepError as error:
            self._count(error)
            yield Unmade(target, number, digest, error)

    # Storing

    def _storing(self, signed: Iterator[Made | Unmade]) -> Iterator[Iterator[_Step]]:
        """A job for each batch, and for what could not be signed."""
        batches: dict[ProjectName, list[Made]] = {}
        for made in signed:
            if isinstance(made, Unmade):
                yield iter([made])
                continue
            if made.target.number not in self._proven:
                # After a no, nothing of this target is tried: it is left, as if never signed.
                if self._halted is None:
                    yield iter(list(self._prove(made)))
                continue
            batch = batches.setdefault(self.settings.home(made.target), [])
            batch.append(made)
            if len(batch) == BATCH or len(batch) * made.size >= _BATCH_BYTES:
                yield self._store_journalled(tuple(batch))
                batch.clear()
        for batch in batches.values():
            if batch:
                yield self._store_journalled(tuple(batch))

    def _prove(self, made: Made) -> Iterator[_Step]:
        """Show with one attestation of a target that it can be validated and stored.

        Only then do the others follow: what is wrong with key, note or role is wrong with all.
        """
        try:
            self._journalled([made])
            if self.settings.validate is Validate.FIRST:
                Attestors(self.connection).validate(
                    made.target.attestor, made.attestation, made.image
                )
        except StepError as error:
            self._halt_for(error)
            yield Unmade(made.target, made.number, str(made.image.digest), error)
            return
        for step in self._store([made]):
            if isinstance(step, Unmade):
                self._halt_for(step.error)
            else:
                self._proven.add(made.target.number)
            yield step

    def _halt_for(self, error: StepError) -> None:
        """Stop for what is wrong with all; what is wrong with one image, the next may not have."""
        if isinstance(error, (BadInput, Unavailable)):
            self._count(error)
        else:
            self._halted = self._halted or error

    def _store_journalled(self, batch: Sequence[Made]) -> Iterator[_Step]:
        try:
            self._journalled(batch)
        except StepError as error:  # what is not in the journal is not sent
            self._halted = self._halted or error
            yield from _all_failed(batch, error)
            return
        yield from self._store(batch)

    def _journalled(self, batch: Sequence[Made]) -> None:
        """Have the signatures on disk before any of them is sent on."""
        if self.journal is not None:
            with self._lock:
                self.journal.write(
                    Signed(made.image, str(made.target.name), made.attestation) for made in batch
                )

    def _store(self, batch: Sequence[Made], *, is_part: bool = False) -> Iterator[_Step]:
        """Create the attestations of a batch once each, whatever the service makes of it.

        What it does with a batch of which a part exists, or cannot be stored, is not documented
        (docs/adr/0027). So after any answer but a yes: read back, take off what is there, and send
        the rest again; in halves where the answer was that something is wrong with it.
        """
        sent = 0
        while batch:
            sent += 1
            occurrences = Occurrences(self.connection)
            project = self.settings.home(batch[0].target)
            try:
                stored = occurrences.create_batch(
                    project, [(m.target.attestor.note, m.image, m.attestation) for m in batch]
                )
            except (AlreadyExists, AnswerLost, BadInput) as error:
                patience = timedelta(0) if is_part else _SETTLE
                try:
                    seen, left = self._split(batch, patience)
                except StepError as unread:
                    yield from _all_failed(batch, _lost(error, unread))
                    return
                if seen:
                    yield _Sent(seen, {})
                if left and not (isinstance(error, AnswerLost) or len(left) < len(batch)):
                    yield from self._halves(left, error)
                    return
                if left and sent == _SENDINGS:
                    yield from _all_failed(left, error)
                    return
                batch = left
            except StepError as error:
                yield from self._by_note(batch, error)
                return
            else:
                names = {
                    each.resource_uri + each.attestation.signatures[0].key_id: each.name
                    for each in stored
                    if each.attestation.signatures
                }
                yield _Sent(batch, names)
                return

    def _halves(self, batch: Sequence[Made], error: StepError) -> Iterator[_Step]:
        """Each half for itself; one alone is there already, or cannot be stored."""
        if len(batch) > 1:
            middle = len(batch) // 2
            yield from self._store(batch[:middle], is_part=True)
            yield from self._store(batch[middle:], is_part=True)
        elif isinstance(error, AlreadyExists):
            yield _Sent(batch, {})
        else:
            yield from _all_failed(batch, error)

    def _by_note(self, batch: Sequence[Made], error: StepError) -> Iterator[_Step]:
        """A refusal may be about one note of several: each for itself, then."""
        notes = _notes(batch)
        if len(notes) > 1 and not isinstance(error, Unavailable):
            for mine in notes.values():
                yield from self._store(mine, is_part=True)
            return
        self._count(error, len(batch))
        yield from _all_failed(batch, error)

    def _split(self, batch: Sequence[Made], patience: timedelta) -> tuple[list[Made], list[Made]]:
        """What of a batch can be read back, and what cannot; some time is given to all of it."""
        clock, seen = self.connection.clock, set[tuple[int, int]]()
        begun = clock.elapsed()

        def is_missing(made: Made) -> bool:
            return (made.target.number, made.number) not in seen

        def look() -> bool:
            for note, mine in _notes(batch).items():
                missing = list(filter(is_missing, mine))
                images = [made.image for made in missing]
                listed = Occurrences(self.connection).of_each(note, images) if missing else {}
                for made in missing:
                    there = listed[made.image.digest]
                    if made.target.attestor.first_verified(there, made.image, made.target.key):
                        seen.add((made.target.number, made.number))
            return len(seen) == len(batch)

        def pause(waited: timedelta) -> timedelta:
            # No more than half of the time is spent on reading.
            return max(eagerly(waited), (clock.elapsed() - begun) / 2)

        for is_whole, _, _ in poll(look, self.connection.deadline, patience, pause):
            if is_whole:
                break
        left = list(filter(is_missing, batch))
        return [made for made in batch if not is_missing(made)], left

    # What came of it

    def _stored(self, sent: _Sent) -> Iterator[Advance]:
        for made in sent.made:
            self.fleet.settle(made.number, made.target.number, State.STORED)
            key_id = made.target.key.id
            name = sent.names.get(made.image.resource_uri + key_id)
            self._keep(made.target, str(made.image.digest), "stored", name)
        yield Advance(stored=len(sent.made))

    def _failed(self, unmade: Unmade) -> Advance:
        error = unmade.error
        self.fleet.settle(unmade.number, unmade.target.number, State.FAILED, error.message)
        self._keep(unmade.target, unmade.digest, "failed", error=error.message)
        return Advance(failed=1)

    def _keep(
        self,
        target: Target,
        digest: str,
        status: str,
        occurrence: str | None = None,
        error: str | None = None,
    ) -> None:
        if self.journal is not None:
            entry = Ended(digest, str(target.name), target.key.id, status, occurrence, error)
            with self._lock:
                self.journal.keep(entry)

    def _count(self, error: StepError, failures: int = 1) -> None:
        """Stop where one after the other fails; where time is up, at once."""
        self._failures += failures
        if self._failures >= _IN_A_ROW or isinstance(error, OutOfTime):
            self._halted = self._halted or error


_PAIR = PairSettings()


def _notes(batch: Sequence[Made]) -> dict[NoteName, list[Made]]:
    """A batch by the notes that it is for."""
    notes: dict[NoteName, list[Made]] = {}
    for made in batch:
        notes.setdefault(made.target.attestor.note, []).append(made)
    return notes


def _all_failed(batch: Sequence[Made], error: StepError) -> Iterator[Unmade]:
    return (Unmade(made.target, made.number, str(made.image.digest), error) for made in batch)


def _lost(error: StepError, unread: StepError) -> StepError:
    """What to say where it is not known what was stored."""
    return Unavailable(
        f"{error.message}; it may have been created all the same, which could not be read: "
        f"{unread.message}",
        "Run again: an attestation that did arrive is reused.",
    )
