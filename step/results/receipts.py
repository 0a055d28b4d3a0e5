"""Receipts, and where a digest came from, as the JSON that others rely on."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from step.attest import Receipt
from step.discovery.record import Discovered, Origin
from step.events import Failure
from step.results.document import rfc3339
from step.results.result import Found


def receipt_entry(
    receipt: Receipt, origin: Origin | None, build: str | None, version: str
) -> dict[str, Any]:
    """A receipt as every document has it."""
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
        "build": build,
        "version": version,
        "origin": _origin(origin),
    }


def discovery(discovered: Sequence[Discovered], failures: Sequence[Failure]) -> Found:
    """What `discover` found: `{"images": […], "errors": […]}` as a document."""
    entries = (
        {
            "image": str(one.image),
            "digest": str(one.image.digest),
            "origin": _origin(one.origin),
        }
        for one in discovered
    )
    lines = (line for one in discovered for line in _lines(one))
    return Found("images", tuple(entries), tuple(lines), tuple(failures))


def _lines(one: Discovered) -> Iterator[tuple[str, str]]:
    yield "", str(one.image)
    for label, value in asdict(one.origin).items():
        if value is not None:
            yield f"  {label:<12}", value


def _origin(origin: Origin | None) -> dict[str, str | None] | None:
    return None if origin is None else asdict(origin)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
