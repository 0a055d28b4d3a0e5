"""Everything that came of attesting, as one value to render."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from step.attest import Receipt, Status
from step.clock import show_duration
from step.discovery.record import Discovered, Origin
from step.errors import ExitCode, StepError
from step.events import Failure, Passed
from step.model.image import ImageRef
from step.results.document import error_entry
from step.results.receipts import receipt_entry
from step.results.result import Table, about, complaint, failure_table, worst

if TYPE_CHECKING:
    from step.model.admission import Decision


@dataclass(frozen=True, slots=True)
class Report:
    """Receipts and failures; `build` is the run's URL or build id, `version` this program's.

    `discovered` says where the digest of each image came from, as far as it came to that; `passed`
    are the checks that said yes before, `decisions` what the policy says afterwards.

    Raises ValueError when it holds no result: that must not look like success.
    """

    receipts: tuple[Receipt, ...]
    failures: tuple[Failure, ...]
    build: str | None
    version: str
    discovered: tuple[Discovered, ...] = ()
    passed: tuple[Passed, ...] = ()
    decisions: tuple[Decision, ...] = ()

    def __post_init__(self) -> None:
        if not (self.receipts or self.failures or self.passed):
            raise ValueError("a report of nothing")

    def origin(self, image: ImageRef) -> Origin | None:
        """Where the digest of an image came from."""
        return next((one.origin for one in self.discovered if one.image == image), None)

    @property
    def exit_code(self) -> ExitCode:
        """The worst of the failures' codes."""
        return worst(failure.error.exit_code for failure in self.failures)

    @property
    def status(self) -> str:
        """`failed` if anything did; else `created` if anything was, `dry-run`, or `existing`.

        `checked` where nothing was to be attested.
        """
        if self.failures:
            return "failed"
        statuses = {receipt.status for receipt in self.receipts}
        order = (Status.CREATED, Status.DRY_RUN, Status.EXISTING)
        return next((status.value for status in order if status in statuses), "checked")

    @property
    def goal(self) -> str:
        """What the images were to become."""
        return "checked" if self.status == "checked" else "attested"

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """The images that every attestor asked has a receipt for, in order, each once.

        None of them after a failure that is about no image: it may have ended the run before all
        that was asked of each was answered.
        """
        failed = {failure.image for failure in self.failures}
        if None in failed:
            return ()
        images = dict.fromkeys(receipt.image for receipt in self.receipts)
        return tuple(image for image in images if image not in failed)

    @property
    def attestations(self) -> tuple[str, ...]:
        """The occurrences, each once."""
        return tuple(dict.fromkeys(one.occurrence for one in self.receipts if one.occurrence))

    @property
    def public_key_ids(self) -> tuple[str, ...]:
        """The keys that signed, each once."""
        return tuple(dict.fromkeys(one.public_key_id for one in self.receipts))

    def tree(self) -> dict[str, list[dict[str, Any]]]:
        """`receipts` and `errors`; beside them `checks` and `decisions`, where there are any."""
        found = {
            "receipts": [
                receipt_entry(one, self.origin(one.image), self.build, self.version)
                for one in self.receipts
            ],
            "errors": [error_entry(failure) for failure in self.failures],
        }
        if self.passed:
            found["checks"] = [
                {"image": str(one.image), "check": one.name, "found": one.found}
                for one in self.passed
            ]
        if self.decisions:
            from step.results.decisions import decision_entry

            found["decisions"] = [decision_entry(one) for one in self.decisions]
        return found

    def lines(self) -> Iterator[tuple[str, str]]:
        """Checks, receipts and decisions."""
        for passed in self.passed:
            yield "passed ", str(passed.image)
            yield f"  {passed.name:<12}", passed.found
        for receipt in self.receipts:
            yield from _receipt_lines(receipt)
        if self.decisions:
            from step.results.decisions import decision_lines

            for decision in self.decisions:
                yield from decision_lines(decision)

    def tables(self) -> Iterator[Table]:
        """Failures, checks, receipts and decisions."""
        yield failure_table(self.goal, self.failures)
        yield (
            ("Checked", "Check", "Found"),
            [(str(one.image), one.name, one.found) for one in self.passed],
        )
        yield (
            ("Image", "Attestor", "Status", "Occurrence", "Key"),
            [_receipt_row(one) for one in self.receipts],
        )
        if self.decisions:
            from step.results.decisions import decision_table

            yield decision_table(self.decisions)

    def complaints(self) -> Iterator[tuple[str, str]]:
        """The failures; a denial by the policy is one of them."""
        for failure in self.failures:
            yield complaint(failure.image or failure.attestor, failure.error)

    def errors(self) -> Iterator[tuple[str, StepError]]:
        """The failures."""
        return ((about(failure), failure.error) for failure in self.failures)

    def with_error(self, error: StepError) -> Report:
        """The same, and one failure more."""
        return replace(self, failures=(*self.failures, Failure(None, None, error)))


def _receipt_lines(receipt: Receipt) -> Iterator[tuple[str, str]]:
    yield f"{receipt.status.value} ", str(receipt.image)
    yield "  attestor    ", str(receipt.attestor)
    yield "  key         ", f"{receipt.public_key_id} ({receipt.algorithm})"
    if receipt.occurrence is not None:
        yield "  occurrence  ", receipt.occurrence
    if receipt.visible_after is not None:
        yield "  visible     ", f"after {show_duration(receipt.visible_after)}"


def _receipt_row(receipt: Receipt) -> tuple[str, ...]:
    waited = receipt.visible_after
    status = receipt.status.value + (f", visible after {show_duration(waited)}" if waited else "")
    return (
        str(receipt.image),
        str(receipt.attestor),
        status,
        receipt.occurrence or "",
        receipt.public_key_id,
    )
