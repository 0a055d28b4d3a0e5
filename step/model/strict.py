"""Documents that people write or export, as YAML or JSON, read so that nothing is passed over."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from step.errors import BadInput
from step.model.quoting import on_one_line, quoted

_Choice = TypeVar("_Choice", bound=Enum)


@dataclass(frozen=True, slots=True)
class Value:
    """A value in a document, and where it stands, for the error's one line.

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
                raise self.error(f"unknown key {quoted(key)}; there are {', '.join(keys)}")

    def child(self, key: str) -> Value:
        """What stands under a key; raises BadInput if nothing does."""
        if key not in self.keys:
            raise self.error(f"{key} is missing")
        return Value(f"{self.where}: {key}", self.value[key], self.form)

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
        for choice in choices:
            if choice.value == child.value:
                return choice
        names = ", ".join(choice.value for choice in choices)
        raise child.error(f"{quoted(child.value)} is none of {names}")

    def items(self, key: str) -> list[Value]:
        """The items of the list under a key, none without it; raises BadInput for another value."""
        if key not in self.keys:
            return []
        child = self.child(key)
        if not isinstance(child.value, list):
            raise child.error("must be a list")
        return [Value(f"{child.where}[{n}]", item, self.form) for n, item in enumerate(child.value)]


def document(text: str, where: str, form: str) -> Value:
    """Read one YAML or JSON document, every scalar of YAML as the text that it is.

    Raises BadInput, with `form` as its hint, for several documents, a key that is given twice, and
    what is neither YAML nor JSON.
    """
    from yaml import YAMLError

    try:
        return Value(where, _read(text), form)
    except (YAMLError, ValueError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadInput(
            f"{where}: not YAML or JSON that can be read: {on_one_line(problem)}", form
        ) from None


class RepeatedKey(ValueError):
    """A key is given twice: two readers could take different values."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {quoted(key)} is given twice")
        self.key = key


def load_json(text: str | bytes, *, lenient: bool = False) -> Any:
    """The one value that a text is; raises ValueError for anything else, RepeatedKey among it.

    With `lenient`, the last value of a repeated key counts, as most programs have it.
    """
    try:
        return json.loads(text, object_pairs_hook=None if lenient else _once)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def load_object(text: str | bytes, *, lenient: bool = False) -> dict[str, Any] | None:
    """The JSON object that a text is, or None."""
    try:
        value = load_json(text, lenient=lenient)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise RepeatedKey(key)
        seen[key] = value
    return seen


def _read(text: str) -> object:
    import yaml  # which most runs have no document for

    class Loader(yaml.BaseLoader):
        """Leaves every scalar a text, so that a namespace `on` stays one."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            _once([(key.value, key) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
            return super().construct_mapping(node, deep)

    try:
        return load_json(text)
    except json.JSONDecodeError:  # JSON may be indented by tabs, which YAML refuses
        return yaml.load(text, Loader)  # noqa: S506 - makes texts, lists and mappings only
