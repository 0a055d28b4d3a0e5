"""A result as JSON: the document that others rely on, whole or fitted into a limit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from step.events import Failure
from step.results.result import Result

# What a shortened document leaves out, first of little use to who reads it, then all but what it is
# about, by whom, and the outcome.
_BULKY = frozenset({"payload", "signature"})
_DETAIL = _BULKY | {
    *("digest", "note", "algorithm", "create_time", "visible_after_seconds", "resource_uri"),
    *("build", "version", "origin", "message", "hint", "found", "attestors", "attestations"),
    *("warnings", "denial", "reason"),
}


def document(result: Result) -> str:
    """The result as a `json_document`, which says if an emulator is behind it."""
    return json_document(tree(result) | _mark(result))


def tree(result: Result) -> dict[str, list[dict[str, Any]]]:
    """The lists of the document: what was asked for, `errors`, and what else there is."""
    lists: dict[str, list[dict[str, Any]]] = {
        result.goal.value: [],
        "errors": [_error(failure) for failure in result.failures],
    }
    for view in result.views:
        lists.setdefault(view.kind, []).append(view.entry)
    return lists


def fitted(result: Result, limit: int) -> str:
    """The document on one line, in at most `limit` ASCII characters.

    Whole keys are left out rather than text cut: payload and signature, then all but what it is
    about, by whom, and the outcome. If even that is too long, the lists are empty and `omitted`
    counts what each held.
    """
    lists = tree(result)
    for without in (frozenset[str](), _BULKY, _DETAIL):
        light = {
            kind: [
                {key: value for key, value in entry.items() if key not in without}
                for entry in entries
            ]
            for kind, entries in lists.items()
        }
        text = _dumped(light | _mark(result))
        if len(text) <= limit:
            return text
    omitted = {"omitted": {kind: len(entries) for kind, entries in lists.items()}}
    return _dumped({kind: [] for kind in lists} | _mark(result) | omitted)


def json_document(lists: Mapping[str, Any]) -> str:
    """JSON indented by two, in ASCII, with one line end.

    No line of it is a command to GitHub's runner: strings begin no line, and `##[` is escaped.
    """
    return _dumped(lists, indent=2) + "\n"


def _mark(result: Result) -> dict[str, Any]:
    return {"emulator": True} if result.emulator else {}


def _error(failure: Failure) -> dict[str, Any]:
    return {
        "image": None if failure.image is None else str(failure.image),
        "attestor": None if failure.attestor is None else str(failure.attestor),
        "exit_code": int(failure.error.exit_code),
        "message": failure.error.message,
        "hint": failure.error.hint,
    }


def _dumped(lists: Mapping[str, Any], indent: int | None = None) -> str:
    separators = (",", ":") if indent is None else None
    # `#` occurs in strings only, so its escape changes no value.
    return json.dumps(lists, indent=indent, separators=separators).replace("##[", "\\u0023#[")
