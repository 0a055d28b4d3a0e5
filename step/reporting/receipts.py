"""The JSON that others rely on."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from step.attest import Receipt
from step.discovery.record import Discovered, Origin
from step.events import Failure
from step.reporting.report import Report

# What a shortened document leaves out, first of little use to who reads it, then all but what was
# attested, by whom, and the outcome.
_BULKY = frozenset({"payload", "signature"})
_DETAIL = _BULKY | {
    "digest",
    "note",
    "algorithm",
    "create_time",
    "visible_after_seconds",
    "resource_uri",
    "build",
    "version",
    "origin",
    "message",
    "hint",
}


def document(report: Report) -> str:
    """`{"receipts": […], "errors": […]}` as a `json_document`."""
    return json_document(_tree(report))


def listing(discovered: Sequence[Discovered], failures: Sequence[Failure]) -> str:
    """What `discover` found: `{"images": […], "errors": […]}`, as a `json_document`."""
    images = [
        {
            "image": str(one.image),
            "digest": str(one.image.digest),
            "origin": _origin(one.origin),
        }
        for one in discovered
    ]
    tree = {"images": images, "errors": [error_entry(failure) for failure in failures]}
    return json_document(tree)


def fitted(report: Report, limit: int) -> str:
    """The document on one line, in at most `limit` ASCII characters.

    Whole keys are left out rather than text cut: payload and signature, then all but what was
    attested, by whom, and the outcome. If even that is too long, both lists are empty and `omitted`
    counts what each held.
    """
    tree = _tree(report)
    for without in (frozenset[str](), _BULKY, _DETAIL):
        text = _dumped({kind: [_less(one, without) for one in tree[kind]] for kind in tree})
        if len(text) <= limit:
            return text
    return _dumped({kind: [] for kind in tree} | {"omitted": {k: len(tree[k]) for k in tree}})


def _tree(report: Report) -> dict[str, list[dict[str, Any]]]:
    return {
        "receipts": [_receipt(receipt, report) for receipt in report.receipts],
        "errors": [error_entry(failure) for failure in report.failures],
    }


def _receipt(receipt: Receipt, report: Report) -> dict[str, Any]:
    waited = receipt.visible_after
    return {
        "image": str(receipt.image),
        "digest": str(receipt.image.digest),
        "attestor": str(receipt.attestor),
        "note": str(receipt.note),
        "occurrence": receipt.occurrence,
        "public_key_id": receipt.public_key_id,
        "algorithm": receipt.algorithm,
        "status": receipt.status.value,
        "payload": _base64(receipt.payload),
        "signature": None if receipt.signature is None else _base64(receipt.signature),
        "create_time": None if receipt.create_time is None else rfc3339(receipt.create_time),
        "visible_after_seconds": None if waited is None else round(waited.total_seconds(), 3),
        "resource_uri": receipt.resource_uri,
        "build": report.build,
        "version": report.version,
        "origin": _origin(report.origin(receipt.image)),
    }


def _origin(origin: Origin | None) -> dict[str, str | None] | None:
    return None if origin is None else asdict(origin)


def json_document(tree: Mapping[str, Any]) -> str:
    """JSON indented by two, in ASCII, with one line end.

    No line of it is a command to GitHub's runner: strings begin no line, and `##[` is escaped.
    """
    return _dumped(tree, indent=2) + "\n"


def error_entry(failure: Failure) -> dict[str, Any]:
    """A failure as every document has it."""
    return {
        "image": None if failure.image is None else str(failure.image),
        "attestor": None if failure.attestor is None else str(failure.attestor),
        "exit_code": int(failure.error.exit_code),
        "message": failure.error.message,
        "hint": failure.error.hint,
    }


def _less(entry: dict[str, Any], without: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in without}


def _dumped(tree: Mapping[str, Any], indent: int | None = None) -> str:
    separators = (",", ":") if indent is None else None
    # `#` occurs in strings only, so its escape changes no value.
    return json.dumps(tree, indent=indent, separators=separators).replace("##[", "\\u0023#[")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def rfc3339(moment: datetime) -> str:
    """A time in UTC, as JSON has it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
