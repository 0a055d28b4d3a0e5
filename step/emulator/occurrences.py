"""Where occurrences are kept: listed by note, project and digest without a look at the others."""

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from grafeas import grafeas_v1 as g

from step.emulator.filters import Filter, Value

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Stored:
    """An occurrence and when lists begin to show it; ``None`` is never."""

    position: str
    listed_from: datetime | None
    resource: g.Occurrence
    fields: Mapping[str, Value]
    """What filters compare, read once."""


class Occurrences:
    """All that are stored, by name; whoever uses it holds a lock."""

    def __init__(self) -> None:
        self._stored: dict[str, Stored] = {}
        self._lists: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
        self._made = 0

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def __getitem__(self, name: str) -> Stored:
        return self._stored[name]

    def get(self, name: str) -> Stored | None:
        """The one of that name, if it is there."""
        return self._stored.get(name)

    def add(
        self, resource: g.Occurrence, listed_from: datetime, fields: Mapping[str, Value]
    ) -> None:
        """Store a new one, behind all that are there."""
        self._made += 1
        stored = Stored(f"{self._made:012d}", listed_from, resource, fields)
        self._stored[resource.name] = stored
        for key in _keys(fields):
            self._lists[key].append((stored.position, resource.name))

    def replace(self, stored: Stored) -> None:
        """Take this for the one of its name; note and image are the same."""
        self._stored[stored.resource.name] = stored

    def remove(self, name: str) -> None:
        """Forget one that is there."""
        stored = self._stored.pop(name)
        for key in _keys(stored.fields):
            entries = self._lists[key]
            del entries[bisect_left(entries, (stored.position, name))]

    def behind(
        self, position: str, chosen: Filter, scope: Mapping[str, str], now: datetime
    ) -> Iterator[Stored]:
        """What lists show of a project or a note behind a position, in their order."""
        entries = self._lists.get(_narrowest(chosen, scope), [])
        for at in range(bisect_right(entries, (position, "~")), len(entries)):
            stored = self._stored[entries[at][1]]
            if (
                stored.listed_from is not None
                and stored.listed_from <= now
                and all(stored.fields[field] == value for field, value in scope.items())
                and chosen.matches(stored.fields)
            ):
                yield stored


def _keys(fields: Mapping[str, Value]) -> Iterator[tuple[str, str, str]]:
    """The lists that an occurrence is in."""
    for digest in {"", _digest([str(fields["resourceUri"])])}:
        yield str(fields["projectId"]), "", digest
        yield str(fields["noteProjectId"]), str(fields["noteId"]), digest


def _narrowest(chosen: Filter, scope: Mapping[str, str]) -> tuple[str, str, str]:
    """The shortest list that has all that a filter and a scope choose."""
    digest = _digest(chosen.suffixes("resourceUrl", "resourceUri"))
    if "noteId" in scope:
        return scope["noteProjectId"], scope["noteId"], digest
    return scope["projectId"], "", digest


def _digest(texts: Iterable[str]) -> str:
    """The digest that one of the texts ends with; empty where none does."""
    return next((match[0] for match in map(_DIGEST.search, texts) if match), "")
