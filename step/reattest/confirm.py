"""The one confirming look: what was stored counts once it is read back and verified."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from step.attest import Pair, Status
from step.attest import Settings as PairSettings
from step.cloud.connection import Connection
from step.cloud.occurrences import About, Occurrences
from step.concurrency import eagerly
from step.errors import Incomplete, NotVisible, Refused, StepError
from step.events import Failure, Progress
from step.model.fleet import Fleet, State
from step.model.names import NoteName
from step.reattest.plan import Outcome, Settings, Target
from step.reattest.survey import Survey

_PAIR = PairSettings()
_AWAITED = (State.STORED,)
# A lost answer may have been a yes.
_HOPED_FOR = (State.FAILED, State.SIGNED)
_UNSEEN = "it was created, but could not be read back in time"


@dataclass
class Confirmation:
    """Reads the notes until all that was stored is there, and tells what became of each."""

    survey: Survey
    connection: Connection
    settings: Settings

    def run(self, stop: bool) -> Iterator[Outcome | Progress | Failure]:
        """A receipt for each attestation that is read back; then the others, and why not.

        With `stop`, it looks once. An error of reading ends it, and is told as a Failure.
        """
        clock = self.connection.clock
        begun = clock.elapsed()
        wanted: tuple[State, ...] = (*_AWAITED, *_HOPED_FOR)
        if self.settings.receipts:
            wanted += (State.EXISTING,)
        try:
            while notes := self._notes(wanted):
                started = clock.elapsed()
                for note in notes:
                    yield from self._look(note, wanted)
                now = clock.elapsed()
                left = sum(self._count(target, _AWAITED) for target in self._targets)
                if not left or stop or now - begun >= self.settings.wait:
                    break
                doing = f"waiting until {left} attestations can be read back"
                yield Progress(None, None, doing, now - begun, self.settings.wait)
                # No more than half of the time is spent on reading.
                pause = max(eagerly(now - begun), now - started)
                self.connection.deadline.require("attestations that can be read back")
                self.connection.deadline.sleep(pause)
                wanted = (*_AWAITED, *_HOPED_FOR)
        except StepError as error:
            yield Failure(None, None, error)
        yield from self._others()

    @property
    def _targets(self) -> Sequence[Target]:
        return self.survey.targets

    @property
    def _fleet(self) -> Fleet:
        return self.survey.fleet

    def _count(self, target: Target, states: Sequence[State]) -> int:
        counts = self._fleet.counts(target.number)
        return sum(counts[state] for state in states)

    def _notes(self, wanted: Sequence[State]) -> list[NoteName]:
        """The notes that have something to tell."""
        return list(
            dict.fromkeys(
                target.attestor.note for target in self._targets if self._count(target, wanted)
            )
        )

    def _look(self, note: NoteName, wanted: Sequence[State]) -> Iterator[Outcome]:
        targets = [target for target in self._targets if target.attestor.note == note]
        asked = _Asked(self._fleet, targets, wanted)
        for about in Occurrences(self.connection).about(note, asked):
            number = self._fleet.find(about.digest)
            for target in targets:
                if number is None or self._fleet.state(number, target.number) not in wanted:
                    continue
                if not self.survey.is_told(number, target):
                    yield from self._receipt(target, number, about)

    def _receipt(self, target: Target, number: int, about: About) -> Iterator[Outcome]:
        """What an attestation is to a target, if it verifies under its key."""
        image = self._fleet.image(number, about.digest)
        if image is None:
            return
        pair = Pair(image, target.attestor, target.key, target.signer, self.connection, _PAIR)
        occurrence = pair.verified([about.occurrence])
        if occurrence is None:
            return
        existed = self._fleet.state(number, target.number) is State.EXISTING
        state = State.EXISTING if existed else State.CREATED
        self._fleet.settle(number, target.number, state)
        self.survey.tell(number, target)
        receipt = pair.receipt(Status(state.word), occurrence)
        if not (existed or self.survey.vouched(number, target)):
            receipt = replace(receipt, unverified=True)
        yield Outcome(str(image), target.name, target.key.id, state, receipt)

    def _others(self) -> Iterator[Outcome]:
        """What was refused, and what failed; what was signed and not sent is left."""
        fleet = self._fleet
        for target in self._targets:
            for number, digest in fleet.of(
                target.number, State.STORED, State.SIGNED, State.FAILED, State.REFUSED
            ):
                match fleet.state(number, target.number):
                    case State.SIGNED:
                        fleet.settle(number, target.number, State.LEFT)
                        continue
                    case State.STORED:
                        fleet.settle(number, target.number, State.FAILED, _UNSEEN)
                state = fleet.state(number, target.number)
                image = fleet.image(number, digest)
                error = _error(state, fleet.reason(number, target.number))
                yield Outcome(
                    digest if image is None else str(image),
                    target.name,
                    target.key.id,
                    state,
                    error=error,
                )


@dataclass(frozen=True, slots=True)
class _Asked(Collection[str]):
    """The digests of the images that are in one of some states for one of some targets."""

    fleet: Fleet
    targets: Sequence[Target]
    wanted: Sequence[State]

    def __contains__(self, digest: object) -> bool:
        number = self.fleet.find(digest) if isinstance(digest, str) else None
        return number is not None and self._is_asked(number)

    def __iter__(self) -> Iterator[str]:
        return (digest for number, digest in self.fleet.each() if self._is_asked(number))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _is_asked(self, number: int) -> bool:
        states = (self.fleet.state(number, target.number) for target in self.targets)
        return any(state in self.wanted for state in states)


def _error(state: State, reason: str) -> StepError:
    if state is State.REFUSED:
        return Refused(
            reason,
            "Say whose attestation must be there with --old-attestor; or --unverified, that none "
            "has to be.",
        )
    if reason == _UNSEEN:
        return NotVisible(reason, "Run again later: what is there by then is reused.")
    return Incomplete(reason, "Run again: what is done is reused, and what failed is tried again.")
