"""Images and attestors become verdicts: verify until a deadline, and then say no."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from step.clock import Clock, show_duration
from step.cloud.connection import Connection
from step.concurrency import Deadline, patiently, poll
from step.errors import OutOfTime, Refused, Unavailable
from step.events import Failure, Progress
from step.model.attestation import Requirement, Verified
from step.model.image import ImageRef
from step.model.names import AttestorName
from step.verify import Verdict, verify

# What a round gets that began in time: two seconds after the limit, the answer is told.
_GRACE = timedelta(seconds=1)


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
    ) -> Iterator[Progress | Verdict | Failure]:
        """Verify until every verdict is a yes, or time is up; the answers are the last round's.

        Each round asks for everything anew, so that all of it holds at the same time. A service
        that cannot be asked is asked again until time is up, and then is a no; any other failure
        ends the gate at once, as waiting does not mend it.
        """
        rounds = poll(
            lambda: tuple(verify(images, attestors, connection, requirement)),
            connection.deadline,
            self.limit,
            patiently,
            self.started,
        )
        for answers, elapsed, is_last in rounds:
            is_late = is_last or connection.deadline.is_over
            if is_late or passes(answers) or any(map(_is_final, answers)):
                yield from (self._in_the_end(answer) if is_late else answer for answer in answers)
                return
            for answer in answers:
                if (lacking := _lacking(answer)) is not None:
                    yield Progress(answer.image, answer.attestor, lacking, elapsed, self.limit)

    @contextmanager
    def saying_no(self) -> Iterator[None]:
        """Raise Refused for what could not be asked before there is anything to verify."""
        try:
            yield
        except Unavailable as error:
            if isinstance(error, OutOfTime) or self.deadline.is_over:
                raise self._no(error) from error
            raise

    def _in_the_end(self, answer: Verdict | Failure) -> Verdict | Failure:
        if isinstance(answer, Failure) and isinstance(answer.error, Unavailable):
            return replace(answer, error=self._no(answer.error))
        return answer

    def _no(self, error: Unavailable) -> Refused:
        again = f"no yes in {show_duration(self.limit)}, as it could not be asked: "
        told = error.message if isinstance(error, OutOfTime) else again + error.message
        return Refused(told, error.hint)


def passes(answers: Sequence[Verdict | Failure]) -> bool:
    """Whether every answer is a yes; no answers are none."""
    return bool(answers) and all(
        isinstance(answer, Verdict) and answer.verified for answer in answers
    )


def _is_final(answer: Verdict | Failure) -> bool:
    return isinstance(answer, Failure) and not isinstance(answer.error, Unavailable)


def _lacking(answer: Verdict | Failure) -> str | None:
    """What a gate waits for, in one line; None if it is there."""
    if isinstance(answer, Failure):
        return f"asking again: {answer.error.message}"
    if answer.unmet is None:
        return None
    rejected = sum(not isinstance(each, Verified) for each in answer.statements)
    return f"waiting: {answer.unmet}" + (f" ({rejected} rejected)" if rejected else "")
