"""Every error of the program: its exit code, one clear line, and a hint that says how to mend it.

Errors carry data; only `step.cli` prints them and exits. "Could not ask" (`Unavailable`) and "the
answer is no" (`Refused`) are different errors, so that nothing is retried that was refused and
nothing passes that was never asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the process returns; public, documented in docs/exit-codes.md."""

    DONE = 0
    BUG = 1
    BAD_INPUT = 2
    REFUSED = 3
    NOT_ALLOWED = 4
    NOT_FOUND = 5
    UNAVAILABLE = 6
    NOT_VISIBLE = 7
    INCOMPLETE = 8

    @property
    def meaning(self) -> str:
        """The sentence that documents the code."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "Done.",
    ExitCode.BUG: "A bug in binauthz-attest; please report it.",
    ExitCode.BAD_INPUT: "Bad input: an option, an image, a file or a key cannot be used as given.",
    ExitCode.REFUSED: "The answer is no: denied, unverified, or the key is not registered. "
    "Never retried.",
    ExitCode.NOT_ALLOWED: "Credentials or IAM: the hint names the role and the resource.",
    ExitCode.NOT_FOUND: "Something that was named does not exist.",
    ExitCode.UNAVAILABLE: "The service could not be asked, or its answer could not be trusted; "
    "running again is sane.",
    ExitCode.NOT_VISIBLE: "The attestation was created but could not be read back in time.",
    ExitCode.INCOMPLETE: "Bulk work is incomplete; it can be resumed.",
}


class StepError(Exception):
    """An error a user can act on: `message` names the cause, `hint` the fix (may be empty)."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class BadInput(StepError):
    """An option, an image reference, a file or a key cannot be used as given."""

    exit_code = ExitCode.BAD_INPUT


class Refused(StepError):
    """The answer is no; asking again will not change it."""

    exit_code = ExitCode.REFUSED


class Unverified(Refused):
    """No signature of an attestation was verified for the image by the attestor's keys."""


class KeyNotRegistered(Refused):
    """The key that would sign is not one that the attestor lists."""


class NotAllowed(StepError):
    """Credentials are missing or invalid, or IAM refuses the call."""

    exit_code = ExitCode.NOT_ALLOWED


class NotFound(StepError):
    """A resource that was named does not exist."""

    exit_code = ExitCode.NOT_FOUND


class Unavailable(StepError):
    """The service could not be asked, or what came back is not intact."""

    exit_code = ExitCode.UNAVAILABLE


class OutOfTime(Unavailable):
    """The deadline of the run passed while something was waited for."""


class Interrupted(Unavailable):
    """Somebody ended the run before its end."""


class TooLarge(Unavailable):
    """An answer was larger than what is received at once."""


class AnswerLost(Unavailable):
    """A write was sent and no answer came: it may or may not have happened."""


class AlreadyExists(StepError):
    """The service holds the resource already; to be settled by reading it."""

    exit_code = ExitCode.UNAVAILABLE


class NotVisible(StepError):
    """An attestation was created but could not be read back before the deadline."""

    exit_code = ExitCode.NOT_VISIBLE


class Incomplete(StepError):
    """Of bulk work, something is left that another run can do."""

    exit_code = ExitCode.INCOMPLETE


@contextmanager
def about(subject: str, hint: str = "") -> Iterator[None]:
    """Say before an error's message what it is about; `hint` is for one that has none."""
    try:
        yield
    except StepError as error:
        error.message, error.hint = f"{subject}: {error.message}", error.hint or hint
        raise
