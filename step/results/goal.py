"""What a run is for, and with that how its rows look."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from step.results.result import Result
    from step.results.view import View


class Goal(Enum):
    """What was asked of the images, and the list of the document that says what came of it."""

    ATTESTED = "receipts"
    REATTESTED = "targets"
    VERIFIED = "verdicts"
    ADMITTED = "decisions"
    LISTED = "attestations"
    DISCOVERED = "images"

    @property
    def word(self) -> str:
        """What the images were to become, such as `attested`."""
        return self.name.lower()

    @property
    def is_gone_by(self) -> bool:
        """Whether later steps of a pipeline go by the result, since it is a yes or a no."""
        return self in (
            Goal.ATTESTED,
            Goal.REATTESTED,
            Goal.VERIFIED,
            Goal.ADMITTED,
        )

    def view(self, row: Any, result: Result) -> View:
        """How one of the rows looks; a run imports what shows its own."""
        view: Callable[[Any, Result], View]
        match self:
            case Goal.ATTESTED:
                from step.results.receipts import attested as view
            case Goal.REATTESTED:
                from step.results.outcomes import reattested as view
            case Goal.VERIFIED:
                from step.results.verdicts import verdict as view
            case Goal.ADMITTED:
                from step.results.decisions import decision as view
            case Goal.LISTED:
                from step.results.verdicts import listed as view
            case Goal.DISCOVERED:
                from step.results.receipts import discovered as view
        return view(row, result)
