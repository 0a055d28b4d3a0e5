"""What a run came to: one value, of which everything that leaves the program is a rendering."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from step.errors import ExitCode, StepError
from step.events import Failure
from step.model.image import ImageRef
from step.results.goal import Goal

if TYPE_CHECKING:
    from step.attest import Receipt
    from step.discovery.record import Discovered, Origin
    from step.events import Passed
    from step.listing import Listed
    from step.model.admission import Decision
    from step.reattest.plan import Plan, Tally
    from step.results.view import View
    from step.verify import Verdict

    Row: TypeAlias = Receipt | Passed | Verdict | Decision | Listed | Discovered | Plan | Tally

_WORST_FIRST = (
    ExitCode.BUG,
    ExitCode.REFUSED,
    ExitCode.BAD_INPUT,
    ExitCode.NOT_ALLOWED,
    ExitCode.NOT_FOUND,
    ExitCode.UNAVAILABLE,
    ExitCode.NOT_VISIBLE,
    ExitCode.INCOMPLETE,
)


@dataclass(frozen=True)
class Result:
    """Rows and failures, in the order to show them in, and what was asked.

    `origins` says where the digest of each image came from, as far as it came to that; `build` is
    the run's URL or build id, `emulator` whether an emulator said all this.
    """

    goal: Goal
    rows: tuple[Row, ...] = ()
    failures: tuple[Failure, ...] = ()
    build: str | None = None
    origins: Mapping[ImageRef, Origin] = field(default_factory=dict)
    emulator: bool = False

    @cached_property
    def views(self) -> tuple[View, ...]:
        """How the rows look."""
        return tuple(self.goal.view(row, self) for row in self.rows)

    @property
    def exit_code(self) -> ExitCode:
        """The worst of the failures' codes, and REFUSED for a row that is a no, or for nothing.

        That nothing was found where something was looked for is no refusal.
        """
        codes = [failure.error.exit_code for failure in self.failures]
        if self.goal is Goal.REATTESTED and ExitCode.INCOMPLETE in codes:
            # What is left can be done, whatever else was refused; but for what ended it all.
            whole = [each.error.exit_code for each in self.failures if each.image is None]
            return worst([*whole, ExitCode.INCOMPLETE])
        codes += [ExitCode.REFUSED for view in self.views if view.denial is not None]
        if self.goal.is_gone_by and not (self.rows or codes):
            return ExitCode.REFUSED
        return worst(codes)

    @property
    def status(self) -> str:
        """The outcome in one word: `failed`, or what the images are, as far as they came."""
        if self.exit_code:
            return "failed"
        statuses = {view.status for view in self.views}
        order = ("created", "dry-run", "existing", "checked")
        return next((status for status in order if status in statuses), self.goal.word)

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """The images of which all that was asked is a yes, in order, each once.

        None of them after a failure that is about no image: it may have ended the run before all
        that was asked of each was answered. Only a policy's decision is whole by itself.
        """
        failures = self.failures
        against = {None if each.image is None else str(each.image) for each in failures}
        if None in against and self.goal is not Goal.ADMITTED:
            return ()
        against.update(view.about for view in self.views if view.denial is not None)
        accepted = (view.accepted for view in self.views if view.about not in against)
        return tuple(dict.fromkeys(image for image in accepted if image is not None))

    @property
    def attestations(self) -> tuple[str, ...]:
        """The occurrences that it rests on, each once."""
        return tuple(dict.fromkeys(name for name, _ in self._evidence if name is not None))

    @property
    def public_key_ids(self) -> tuple[str, ...]:
        """The keys that signed those, each once."""
        return tuple(dict.fromkeys(key_id for _, key_id in self._evidence))

    @property
    def _evidence(self) -> Iterator[tuple[str | None, str]]:
        return (each for view in self.views for each in view.evidence)

    def complaints(self) -> Iterator[tuple[str, str]]:
        """Every no: what it is about, perhaps nothing, and the message with its hint."""
        for failure in self.failures:
            error = failure.error
            text = f"{error.message}. {error.hint}" if error.hint else error.message
            yield str(failure.image or failure.attestor or ""), text
        for view in self.views:
            if view.denial is not None:
                yield view.about, view.denial

    def with_error(self, error: StepError) -> Result:
        """The same, and one failure more, about nothing in particular."""
        return replace(self, failures=(*self.failures, Failure(None, None, error)))


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The one code that a run with all of these returns; DONE for none.

    Worst first: a bug, a refusal, bad input, credentials or IAM, something not found, a service
    that could not be asked, an attestation not seen in time, work left over. A refusal comes before
    all that a second run or another setting could mend.
    """
    present = set(codes)
    return next((code for code in _WORST_FIRST if code in present), ExitCode.DONE)
