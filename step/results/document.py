"""What every JSON document of the program has in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from step.events import Failure


def json_document(tree: Mapping[str, Any]) -> str:
    """JSON indented by two, in ASCII, with one line end.

    No line of it is a command to GitHub's runner: strings begin no line, and `##[` is escaped.
    """
    return dumped(tree, indent=2) + "\n"


def error_entry(failure: Failure) -> dict[str, Any]:
    """A failure as every document has it."""
    return {
        "image": None if failure.image is None else str(failure.image),
        "attestor": None if failure.attestor is None else str(failure.attestor),
        "exit_code": int(failure.error.exit_code),
        "message": failure.error.message,
        "hint": failure.error.hint,
    }


def dumped(tree: Mapping[str, Any], indent: int | None = None) -> str:
    """The tree as JSON in ASCII, on one line without `indent`."""
    separators = (",", ":") if indent is None else None
    # `#` occurs in strings only, so its escape changes no value.
    return json.dumps(tree, indent=indent, separators=separators).replace("##[", "\\u0023#[")


def rfc3339(moment: datetime) -> str:
    """A time in UTC, as JSON has it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
