"""How a row of a result looks in every form; each kind of row says what is its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from step.model.image import ImageRef
    from step.results.result import Result


@dataclass(frozen=True, slots=True)
class View:
    """A row as documents, terminals, pages and later steps have it.

    `kind` is the list of the document that it is in, `head` the headings above its `cells`.
    """

    row: Any
    kind: ClassVar[str]
    head: ClassVar[tuple[str, ...]] = ()

    def entry(self, result: Result) -> dict[str, Any]:
        """The row as JSON."""
        raise NotImplementedError

    def lines(self) -> Iterator[tuple[str, str]]:
        """The row for a terminal: labels, ours, and texts that anybody may have written."""
        raise NotImplementedError

    def cells(self) -> tuple[str, ...]:
        """The row for a page: texts that anybody may have written."""
        return ()

    @property
    def about(self) -> str:
        """The image, as it was asked for."""
        return str(self.row.image)

    @property
    def denial(self) -> str | None:
        """Why the answer is no; None where it is a yes, or not a question."""
        return None

    @property
    def accepted(self) -> ImageRef | None:
        """The image that this is a yes of."""
        return None

    @property
    def status(self) -> str:
        """What happened to the image, where that is more than a yes."""
        return ""

    @property
    def evidence(self) -> Iterator[tuple[str | None, str]]:
        """The occurrences that a yes rests on, and their keys."""
        return iter(())


def rfc3339(moment: datetime | None) -> str | None:
    """A time in UTC, as JSON has it."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
