"""Documents that people write or export, as YAML or JSON, read so that nothing is passed over."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import yaml

from step.errors import BadInput

_Choice = TypeVar("_Choice", bound=Enum)


@dataclass(frozen=True, slots=True)
class Place:
    """A value in a document and the place where it stands, for the error's one line.

    `form` is the hint of every error: what the document should look like.
    """

    where: str
    value: Any
    form: str

    def error(self, problem: str) -> BadInput:
        """The error that the value is."""
        return BadInput(f"{self.where}: {problem}", self.form)

    @property
    def keys(self) -> Collection[object]:
        """The keys of the mapping; raises BadInput for any other value."""
        if not isinstance(self.value, Mapping):
            raise self.error("must be a mapping")
        return self.value.keys()

    def only(self, *keys: str) -> None:
        """Raise BadInput for a key that is none of these."""
        for key in self.keys:
            if key not in keys:
                raise self.error(f"unknown key {shown(key)}; there are {', '.join(keys)}")

    def child(self, key: str) -> Place:
        """What stands under a key; raises BadInput if nothing does."""
        if key not in self.keys:
            raise self.error(f"{key} is missing")
        return Place(f"{self.where}: {key}", self.value[key], self.form)

    def text(self, key: str) -> str:
        """The text under a key, empty without it; raises BadInput for any other value."""
        if key not in self.keys:
            return ""
        child = self.child(key)
        if not isinstance(child.value, str):
            raise child.error("must be a text")
        return child.value

    def choice(self, key: str, choices: type[_Choice]) -> _Choice:
        """The member whose value stands under a key; raises BadInput for none, or no such one."""
        child = self.child(key)
        for one in choices:
            if one.value == child.value:
                return one
        names = ", ".join(one.value for one in choices)
        raise child.error(f"{shown(child.value)} is none of {names}")

    def items(self, key: str) -> list[Place]:
        """The items of the list under a key, none without it; raises BadInput for another value."""
        if key not in self.keys:
            return []
        child = self.child(key)
        if not isinstance(child.value, list):
            raise child.error("must be a list")
        return [Place(f"{child.where}[{n}]", item, self.form) for n, item in enumerate(child.value)]


def document(text: str, where: str, form: str) -> Place:
    """Read one YAML or JSON document, every scalar of YAML as the text that it is.

    Raises BadInput, with `form` as its hint, for several documents, a key that is given twice, and
    what is neither YAML nor JSON.
    """
    try:
        return Place(where, _read(text), form)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadInput(
            f"{where}: not YAML or JSON that can be read: {' '.join(problem.split())[:300]}", form
        ) from None


def shown(value: object) -> str:
    """A value for a message, of bounded length: aliases of YAML can make a small file endless."""
    if isinstance(value, Mapping | list | tuple):
        return "a list" if isinstance(value, list | tuple) else "a mapping"
    return repr(str(value)[:80])


class _Loader(yaml.BaseLoader):
    """Leaves every scalar a text, so that a namespace `on` stays one; refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _refuse_twice([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


def _refuse_twice(keys: Collection[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise ValueError(f"the key {key[:80]!r} is given twice")
        seen.add(key)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_twice([key for key, _ in pairs])
    return dict(pairs)


def _read(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError:  # JSON may be indented by tabs, which YAML refuses
        return yaml.load(text, _Loader)  # noqa: S506 - makes texts, lists and mappings only
