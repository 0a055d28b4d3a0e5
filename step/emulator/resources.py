"""Names, pages and copies: what the resources of all four APIs have in common."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from step.emulator.refusal import invalid

_Resource = TypeVar("_Resource")


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", template))


def parse_name(template: str, name: str) -> dict[str, str]:
    """The variable parts of a resource name such as ``projects/{project}/notes/{note}``.

    Raises Refusal (INVALID_ARGUMENT) when the name has another form.
    """
    match = _pattern(template).fullmatch(name)
    if match is None:
        expected = re.sub(r"{\w+}", "*", template)
        raise invalid(f"Resource name {name!r} does not match the pattern {expected!r}.")
    return match.groupdict()


def check_id(kind: str, value: str, pattern: str) -> str:
    """The id a caller chose for a new resource, when it has the form that the API asks for."""
    if re.fullmatch(pattern, value) is None:
        raise invalid(f"Invalid {kind} {value!r}: it must match {pattern}.")
    return value


def page(
    entries: Iterable[tuple[str, _Resource]],
    *,
    query: tuple[str, ...],
    token: str,
    size: int,
    default: int,
    maximum: int,
) -> tuple[list[_Resource], str]:
    """One page of ``(position, resource)`` entries, in the order of position, and the next token.

    Raises Refusal (INVALID_ARGUMENT) for a negative size or a token of another query.
    """
    ordered = sorted(entries, key=lambda entry: entry[0])
    return page_behind(
        lambda after: (entry for entry in ordered if entry[0] > after),
        query=query,
        token=token,
        size=min(size or default, maximum),
    )


def page_behind(
    entries: Callable[[str], Iterable[tuple[str, _Resource]]],
    *,
    query: tuple[str, ...],
    token: str,
    size: int,
) -> tuple[list[_Resource], str]:
    """The same of entries that are asked for behind a position, and read no further than a page.

    A token is opaque, belongs to the query that it came from, and points behind the last entry
    seen, so entries made or deleted between two pages neither repeat nor hide others.
    """
    if size < 0:
        raise invalid("page_size must not be negative.")
    fingerprint = hashlib.sha256("\0".join(query).encode()).hexdigest()[:16]
    after = _decode(token, fingerprint) if token else ""
    shown = list(islice(entries(after), size + 1))
    following = _encode(fingerprint, shown[size - 1][0]) if len(shown) > size else ""
    return [resource for _, resource in shown[:size]], following


def _encode(fingerprint: str, position: str) -> str:
    return base64.urlsafe_b64encode(f"{fingerprint}{position}".encode()).decode()


def _decode(token: str, fingerprint: str) -> str:
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeError):
        text = ""
    if not text.startswith(fingerprint):
        raise invalid("Invalid page_token: it does not belong to this request.")
    return text[len(fingerprint) :]


def masked_copy(old: Any, new: Any, paths: Iterable[str]) -> Any:
    """A copy of a message with the fields of ``paths`` taken from ``new``.

    Raises Refusal (INVALID_ARGUMENT) for a path that is no field of the message.
    """
    fields = type(old).meta.fields
    merged = type(old)(old)
    for path in paths:
        if path not in fields:
            raise invalid(f"Invalid field mask: no field {path!r}.")
        if path in new:
            setattr(merged, path, getattr(new, path))
        else:
            delattr(merged, path)
    return merged
