"""Images and attestors become verdicts: verify now, or until a deadline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias

from step.clock import Clock, show_duration
from step.cloud.attestors import Attestors
from step.cloud.connection import Connection
from step.cloud.occurrences import Occurrences
from step.concurrency import Deadline, side_by_side
from step.errors import BadInput, OutOfTime, Refused, StepError, Unavailable
from step.events import Failure, Progress
from step.model.attestation import Attestor, Judged, Requirement, Verified
from step.model.image import ImageRef
from step.model.keys import Identity, identity
from step.model.names import AttestorName, NoteName
from step.model.shared_keys import (
    NO_KEY_OF_ITS_OWN,
    shared_warning,
    sharing,
    without_keys_of_their_own,
)

# A gate waits for people and pipelines, minutes rather than seconds: it asks soon at first, and
# seldom enough for many machines to share one quota.
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=10)
# What a round gets that began in time: two seconds after the limit, the answer is told.
_GRACE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an attestor's attestations of an image are what was required, and what was found.

    `unmet` says what is missing, None if nothing is; `judged` is every signature that was found.
    """

    image: ImageRef
    attestor: AttestorName
    note: NoteName
    judged: tuple[Judged, ...]
    unmet: str | None
    warnings: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether it is a yes."""
        return self.unmet is None

    @property
    def keys(self) -> frozenset[Identity]:
        """The keys that verify."""
        return frozenset(identity(one.key) for one in self.judged if isinstance(one, Verified))


@dataclass(frozen=True, slots=True)
class Listed:
    """A signature on an attestor's note, and what it is worth."""

    attestor: AttestorName
    judged: Judged


Answer: TypeAlias = Verdict | Failure


def passes(answers: Sequence[Answer]) -> bool:
    """Whether every answer is a yes; no answers are none."""
    return bool(answers) and all(isinstance(one, Verdict) and one.verified for one in answers)


def verify(
    images: Sequence[ImageRef],
    attestors: Sequence[AttestorName],
    connection: Connection,
    requirement: Requirement,
) -> Iterator[Answer]:
    """Judge what every attestor's note holds for every image, side by side.

    For each pair there is one Verdict or, where it could not be asked, one Failure, in the order in
    which they end; with distinct keys asked for, when all have. Raises BadInput for an empty list:
    of nothing, everything is true.
    """
    if not images or not attestors:
        raise BadInput("there is nothing to verify", "Name at least one image and one attestor.")
    images = tuple(dict.fromkeys(images))
    read = list(_read(attestors, connection))
    for name, one in read:
        if isinstance(one, StepError):
            yield from (Failure(image, name, one) for image in images)
    found = dict(read)
    asked = [one for name in dict.fromkeys(attestors) if isinstance(one := found[name], Attestor)]
    warned = dict(sharing(asked))
    answers = side_by_side(
        _verdict(image, one, connection, requirement, warned) for one in asked for image in images
    )
    yield from _distinct(tuple(answers), requirement, asked) if requirement.distinct else answers


@dataclass(frozen=True, slots=True)
class Gate:
    """A wait for a yes, and its end: a gate whose time is up says no.

    `limit` is how long it waits, `started` when it began. Whatever is asked ends by `deadline`,
    soon after the limit: a round that began in time gets a moment.
    """

    limit: timedelta
    started: timedelta
    deadline: Deadline

    @classmethod
    def open(cls, clock: Clock, limit: timedelta, until: timedelta = timedelta.max) -> Gate:
        """A gate that opens its eyes now; it may have to end before its limit, by `until`."""
        started = clock.elapsed()
        end = min(started + limit + _GRACE, until)
        return cls(limit, started, Deadline(clock, limit, end, "--timeout"))

    def answers(
        self,
        images: Sequence[ImageRef],
        attestors: Sequence[AttestorName],
        connection: Connection,
        requirement: Requirement,
    ) -> Iterator[Progress | Answer]:
        """Verify until every verdict is a yes, or time is up; the answers are the last round's.

        Each round asks for everything anew, so that all of it holds at the same time. A service
        that cannot be asked is asked again until time is up, and then is a no; any other failure
        ends the gate at once, as waiting does not mend it.
        """
        clock = connection.clock
        pause = _FIRST_PAUSE
        while True:
            answers = tuple(verify(images, attestors, connection, requirement))
            elapsed = clock.elapsed() - self.started
            is_late = elapsed >= self.limit or connection.deadline.is_over
            if passes(answers) or is_late or any(map(_is_final, answers)):
                yield from (self._in_the_end(one) if is_late else one for one in answers)
                return
            for answer in answers:
                if (lacking := _lacking(answer)) is not None and answer.image and answer.attestor:
                    yield Progress(answer.image, answer.attestor, lacking, elapsed, self.limit)
            connection.deadline.sleep(min(pause, self.limit - elapsed))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    @contextmanager
    def saying_no(self) -> Iterator[None]:
        """Raise Refused for what could not be asked before there is anything to verify."""
        try:
            yield
        except Unavailable as error:
            if isinstance(error, OutOfTime) or self.deadline.is_over:
                raise self._no(error) from error
            raise

    def _in_the_end(self, answer: Answer) -> Answer:
        if isinstance(answer, Failure) and isinstance(answer.error, Unavailable):
            return replace(answer, error=self._no(answer.error))
        return answer

    def _no(self, error: Unavailable) -> Refused:
        again = f"no yes in {show_duration(self.limit)}, as it could not be asked: "
        told = error.message if isinstance(error, OutOfTime) else again + error.message
        return Refused(told, error.hint)


def listing(
    images: Sequence[ImageRef],
    attestors: Sequence[AttestorName],
    connection: Connection,
    key_id: str | None = None,
) -> Iterator[Listed | Failure]:
    """Every signature on the attestors' notes, for these images or for all if there are none.

    With `key_id`, only those that claim to be by that key. Raises BadInput without an attestor:
    nothing else says which keys are trusted.
    """
    if not attestors:
        raise BadInput("no attestor was named", "An attestor says which keys are trusted.")
    read = dict(_read(attestors, connection))
    for name in dict.fromkeys(attestors):
        try:
            found = read[name]
            if isinstance(found, StepError):
                raise found
            for judged in _judged(found, images, connection):
                if key_id is None or judged.key_id == key_id:
                    yield Listed(name, judged)
        except StepError as error:
            yield Failure(None, name, error)


def _read(
    names: Sequence[AttestorName], connection: Connection
) -> Iterator[tuple[AttestorName, Attestor | StepError]]:
    """The attestors, side by side, each once, or why one could not be read."""
    attestors = Attestors(connection)

    def get(name: AttestorName) -> Iterator[tuple[AttestorName, Attestor | StepError]]:
        try:
            yield name, attestors.get(name)
        except StepError as error:
            yield name, error

    return side_by_side(map(get, dict.fromkeys(names)))


def _verdict(
    image: ImageRef,
    attestor: Attestor,
    connection: Connection,
    requirement: Requirement,
    shared: Mapping[str, tuple[AttestorName, ...]],
) -> Iterator[Answer]:
    try:
        now = connection.clock.now()
        judged = tuple(
            requirement.counted(one, now) for one in _judged(attestor, [image], connection)
        )
        unmet = requirement.unmet(attestor, judged)
        warnings = tuple(
            shared_warning(key_id, names)
            for key_id, names in shared.items()
            if attestor.name in names
        )
        yield Verdict(image, attestor.name, attestor.note, judged, unmet, warnings)
    except StepError as error:
        yield Failure(image, attestor.name, error)


def _distinct(
    answers: Sequence[Answer], requirement: Requirement, attestors: Sequence[Attestor]
) -> Iterator[Answer]:
    """The answers, a yes become a no where its keys are needed for other attestors as well."""
    needed = {one.name: requirement.needed(one) for one in attestors}
    every: dict[ImageRef, dict[AttestorName, Verdict]] = {}
    for answer in answers:
        if isinstance(answer, Verdict) and answer.verified:
            every.setdefault(answer.image, {})[answer.attestor] = answer
        else:
            yield answer
    for verdicts in every.values():
        held = {name: verdict.keys for name, verdict in verdicts.items()}
        # In the order in which they were named, so that the answer does not depend on the network.
        own = {name: count for name, count in needed.items() if name in held}
        lacking = without_keys_of_their_own(held, own)
        for name, verdict in verdicts.items():
            unmet = NO_KEY_OF_ITS_OWN if name in lacking else None
            yield replace(verdict, unmet=unmet)


def _judged(
    attestor: Attestor, images: Sequence[ImageRef], connection: Connection
) -> Iterator[Judged]:
    occurrences = Occurrences(connection)
    for image in dict.fromkeys(images):
        for one in occurrences.on(attestor.note, image):
            yield from attestor.judge(one, image)
    if not images:
        for one in occurrences.on(attestor.note):
            yield from attestor.judge_own(one)


def _is_final(answer: Answer) -> bool:
    return isinstance(answer, Failure) and not isinstance(answer.error, Unavailable)


def _lacking(answer: Answer) -> str | None:
    """What a gate waits for, in one line; None if it is there."""
    if isinstance(answer, Failure):
        return f"asking again: {answer.error.message}"
    if answer.unmet is None:
        return None
    rejected = sum(not isinstance(one, Verified) for one in answer.judged)
    return f"waiting: {answer.unmet}" + (f" ({rejected} rejected)" if rejected else "")
