"""One self-contained HTML page about bulk work: images by attestors, failures first."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from step.results.text import one_line

STATUSES = {
    "failed": "could not be made",
    "refused": "an answer was no",
    "left": "not reached by this run",
    "created": "made by this run",
    "existing": "was there before",
    "dry-run": "would be made",
}
"""What may become of an image under an attestor, with what that means; the worst are first."""
_NOT_MADE = ("failed", "refused", "left")

# So many distinct texts are told by number once they were told whole. An honest run has fewer;
# where every text is another, remembering them would only take memory.
_REMEMBERED = 1000
# Of a word of a heading; its title has the whole.
_WORD_LENGTH = 32
# An attestor, or a key of Cloud KMS as Binary Authorization names it.
_RESOURCE = re.compile(r"(?://[a-z.]+\.com/v1/)?(projects/[^/]+(?:/[^/]+/[^/]+)+)")
# Of a hundred, that a status has of the bar, however rare it is: else nobody would see it.
_LEAST_SHARE = 0.6
_BY_DIGEST = re.compile("(?:(.*)@)?sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Cell:
    """What became of an image under one attestor; the detail says why, and may be anybody's."""

    status: str
    """One of `STATUSES`, or empty where nothing was asked."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """An image by digest, its name before it or not, with one cell for each column."""

    image: str
    cells: tuple[Cell, ...]


def render(
    heading: str,
    facts: Sequence[tuple[str, str]],
    columns: Sequence[str],
    lines: Iterable[Line],
) -> Iterator[str]:
    """The page in pieces, so that memory does not grow with the number of lines.

    `facts` are labels and values for its top; a value whose label is `Warning` is a banner. Raises
    ValueError for a line without a cell for each column, and for a status that is none.
    """
    import jinja2  # here, so that a run that makes no page does not pay for it

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    yield from environment.from_string(_file("page.html")).generate(
        heading=one_line(heading),
        warnings=[one_line(value) for label, value in facts if label == "Warning"],
        facts=[(one_line(label), one_line(value)) for label, value in facts if label != "Warning"],
        columns=[_Column(one_line(column)) for column in columns],
        rows=_Rows(len(columns), lines),
        meanings=STATUSES,
        style=_file("page.css"),
        script=_file("page.js"),
        allowed=_allowed,
    )


def _file(name: str) -> str:
    return resources.files("step.results").joinpath(name).read_text(encoding="utf-8")


def _allowed(inline: str) -> str:
    """The source that allows this text alone: https://www.w3.org/TR/CSP3/#grammardef-hash-source."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"


@dataclass(frozen=True, slots=True)
class _Column:
    """A heading: the whole, and words short enough for the head of a table."""

    whole: str

    @property
    def words(self) -> list[str]:
        return [_short(word) for word in self.whole.split()]


def _short(word: str) -> str:
    """A resource's name without its collections; of a long one the end, where two differ."""
    if match := _RESOURCE.fullmatch(word):
        word = "/".join(match[1].split("/")[1::2])
    if len(word) <= _WORD_LENGTH:
        return word
    end = word[1 - _WORD_LENGTH :]
    return f"…{end[max(end.find('/'), 0) :]}"


class _Rows:
    """The lines as JSON, counted on their way: what they come to is known when all are through."""

    def __init__(self, width: int, lines: Iterable[Line]) -> None:
        self.images = 0
        self._width = width
        self._lines = lines
        self._counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        """Each line as an array: the image's name, its digest in hexadecimal, and its cells.

        A name or a cell is told whole at first, and then as the number of distinct ones before it.
        """
        from jinja2.utils import htmlsafe_json_dumps

        names, cells = _Told(), _Told()
        for line in self._lines:
            if len(line.cells) != self._width:
                raise ValueError(f"{len(line.cells)} cells for {self._width} columns")
            name, digest = _parts(line.image)
            row: list[object] = [names.number(name), digest]
            if row[0] is None:
                row[0] = one_line(name)
            for cell in line.cells:
                if cell.status and cell.status not in STATUSES:
                    raise ValueError(f"{cell.status!r} is no status")
                self._counts[cell.status] += 1
                number = cells.number((cell.status, cell.detail))
                row.append(_whole(cell) if number is None else number)
            text = htmlsafe_json_dumps(row, json.dumps, separators=(",", ":"))
            yield f",\n{text}" if self.images else text
            self.images += 1

    @property
    def counts(self) -> dict[str, int]:
        """How often each status was met that was, the worst first."""
        return {status: self._counts[status] for status in STATUSES if self._counts[status]}

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def verdict(self) -> tuple[str, str]:
        """Whether it worked: a status, for its mark, and a sentence."""
        counts, total = self.counts, self.total
        if not total:
            return "left", "Nothing was asked for"
        noun = "attestation" if total == 1 else "attestations"
        missing = [status for status in counts if status in _NOT_MADE]
        if missing:
            count = sum(counts[status] for status in missing)
            return missing[0], f"{count:,} of {total:,} {noun} {_was(count)} not made"
        if planned := counts.get("dry-run"):
            return "dry-run", f"{planned:,} of {total:,} {noun} would be made"
        return "created", f"All {total:,} {noun} are there" if total > 1 else f"The {noun} is there"

    @property
    def shares(self) -> list[tuple[str, float, float]]:
        """What each status has of a bar: where it starts, and how wide it is, of a hundred."""
        widths = {
            status: max(100 * count / self.total, _LEAST_SHARE)
            for status, count in self.counts.items()
        }
        scale, start = 100 / max(sum(widths.values()), 1), 0.0
        shares: list[tuple[str, float, float]] = []
        for status, width in widths.items():
            shares.append((status, round(start, 2), round(width * scale, 2)))
            start += width * scale
        return shares


class _Told:
    """What was told whole, by number."""

    def __init__(self) -> None:
        self._count = 0
        self._numbers: dict[Hashable, int] = {}

    def number(self, thing: Hashable) -> int | None:
        """The number of a thing; None where it must be told whole, which gives it one."""
        number = self._numbers.get(thing)
        if number is None:
            if len(self._numbers) < _REMEMBERED:
                self._numbers[thing] = self._count
            self._count += 1
        return number


def _parts(image: str) -> tuple[str, str]:
    """The name and the digest, each empty where there is none."""
    match = _BY_DIGEST.fullmatch(image)
    return (match[1] or "", match[2]) if match else (image, "")


def _whole(cell: Cell) -> list[str]:
    return [cell.status, one_line(cell.detail)] if cell.detail else [cell.status]


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
