"""JSON documents of known shape, read as strictly as Google's APIs read theirs.

For messages that no published proto file has; https://protobuf.dev/programming-guides/json/
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from step.emulator.refusal import Refusal, invalid

Document: TypeAlias = dict[str, Any]

Shape: TypeAlias = "type[Any] | frozenset[str] | list[Shape] | Mapping[str, Shape]"
"""``str``, ``bool``, ``int`` (32 bits), ``dict`` (any object), the names of an enum, a list with
the one shape of its elements, or an object's fields by their JSON names."""

_INT32 = range(-(2**31), 2**31)


def read(shape: Shape, value: Any, where: str) -> Any:
    """A copy of a value without the fields that have their default, which is how they are shown.

    Raises Refusal (INVALID_ARGUMENT), with the place in it, for what has another shape and for
    fields that it does not have.
    """
    match shape:
        case frozenset():
            if not isinstance(value, str) or value not in shape:
                raise _bad(where, value)
            return value
        case list():
            if not isinstance(value, list):
                raise _bad(where, value)
            return [read(shape[0], item, f"{where}[{index}]") for index, item in enumerate(value)]
        case Mapping():
            return _object(shape, value, where)
    if shape is int:
        return _int32(value, where)
    if not isinstance(value, shape):
        raise _bad(where, value)
    return value


def _object(shape: Mapping[str, Shape], value: Any, where: str) -> Document:
    if not isinstance(value, dict):
        raise _bad(where, value)
    for name in value:
        if name not in shape:
            raise invalid(
                f'Invalid JSON payload received. Unknown name "{name}" at {where!r}: '
                "Cannot find field."
            )
    values = {
        name: read(shape[name], item, f"{where}.{name}")
        for name, item in value.items()
        if item is not None
    }
    # An empty object is there; an empty text, list, zero or false is the same as none.
    return {name: item for name, item in values.items() if item or isinstance(item, dict)}


def _int32(value: Any, where: str) -> int:
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii():
        value = int(value[:20])
    if type(value) is not int or value not in _INT32:
        raise _bad(where, value)
    return value


def _bad(where: str, value: Any) -> Refusal:
    return invalid(f"Invalid value at {where!r}: {str(value)[:100]!r}")
