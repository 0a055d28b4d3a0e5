"""How a row of a result looks in every form; a function for each kind of row says it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from step.model.image import ImageRef


@dataclass(frozen=True, slots=True)
class View:
    """A row as documents, terminals, pages and later steps have it.

    `kind` is the list of the document that `entry` is in; `lines` are labels, ours, and texts for a
    terminal; `head` are the headings above `cells`, for a page. Texts may be anybody's.
    """

    kind: str
    entry: dict[str, Any]
    lines: tuple[tuple[str, str], ...]
    about: str = ""
    """The image, as it was asked for."""
    head: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    denial: str | None = None
    """Why the answer is no; None where it is a yes, or not a question."""
    accepted: ImageRef | None = None
    """The image that this is a yes of."""
    status: str = ""
    """What happened to the image, where that is more than a yes."""
    evidence: tuple[tuple[str | None, str], ...] = ()
    """The occurrences that a yes rests on, and their keys."""


def rfc3339(moment: datetime | None) -> str | None:
    """A time in UTC, as JSON has it."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
