"""Everything that came of a run, as one value to render."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from step.attest import Receipt, Status
from step.discovery.record import Discovered, Origin
from step.errors import ExitCode
from step.events import Failure
from step.model.image import ImageRef

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


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The one code that a run with all of these returns; DONE for none.

    Worst first: a bug, a refusal, bad input, credentials or IAM, something not found, a service
    that could not be asked, an attestation not seen in time, work left over. A refusal comes before
    all that a second run or another setting could mend.
    """
    found = set(codes)
    return next((code for code in _WORST_FIRST if code in found), ExitCode.DONE)


@dataclass(frozen=True, slots=True)
class Report:
    """Receipts and failures; `build` is the run's URL or build id, `version` this program's.

    `discovered` says where the digest of each image came from, as far as it came to that.

    Raises ValueError when both are empty: nothing was asked, and that must not look like success.
    """

    receipts: tuple[Receipt, ...]
    failures: tuple[Failure, ...]
    build: str | None
    version: str
    discovered: tuple[Discovered, ...] = ()

    def __post_init__(self) -> None:
        if not (self.receipts or self.failures):
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
        """`failed` if anything did; else `created` if anything was, `dry-run`, or `existing`."""
        if self.failures:
            return "failed"
        statuses = {receipt.status for receipt in self.receipts}
        order = (Status.CREATED, Status.DRY_RUN, Status.EXISTING)
        return next(status.value for status in order if status in statuses)

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """The images that every attestor asked has a receipt for, in order, each once."""
        failed = {failure.image for failure in self.failures}
        images = dict.fromkeys(receipt.image for receipt in self.receipts)
        return tuple(image for image in images if image not in failed)
