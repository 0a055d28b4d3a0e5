"""What `attest` and `discover` show: receipts, checks that passed, and where a digest came from."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING

from step import __version__
from step.clock import show_duration
from step.events import Passed
from step.results.view import View, rfc3339

if TYPE_CHECKING:
    from step.attest import Receipt
    from step.discovery.record import Discovered, Origin
    from step.model.admission import Decision
    from step.results.result import Result


def attested(row: Receipt | Passed | Decision, result: Result) -> View:
    """A row of `attest`: a receipt, a check, or what the policy decides in the end."""
    from step.attest import Receipt

    match row:
        case Receipt():
            return _receipt(row, result)
        case Passed():
            return _passed(row)
        case decision:
            from step.results.decisions import afterwards

            return afterwards(decision, result)


def _receipt(receipt: Receipt, result: Result) -> View:
    """An attestation that was made, or found; the entry is the receipt that others rely on."""
    image, attestor, status = str(receipt.image), str(receipt.attestor), receipt.status.value
    waited, key_id, occurrence = receipt.visible_after, receipt.public_key_id, receipt.occurrence
    lines = [
        (f"{status} ", image),
        ("  attestor    ", attestor),
        ("  key         ", f"{key_id} ({receipt.algorithm})"),
    ]
    if occurrence is not None:
        lines.append(("  occurrence  ", occurrence))
    if waited is not None:
        lines.append(("  visible     ", f"after {show_duration(waited)}"))
    seen = f", visible after {show_duration(waited)}" if waited else ""
    return View(
        kind="receipts",
        entry={
            "image": image,
            "digest": str(receipt.image.digest),
            "attestor": attestor,
            "note": str(receipt.note),
            "occurrence": occurrence,
            "public_key_id": key_id,
            "algorithm": receipt.algorithm,
            "status": status,
            "payload": _base64(receipt.payload),
            "signature": None if receipt.signature is None else _base64(receipt.signature),
            "create_time": rfc3339(receipt.create_time),
            "visible_after_seconds": None if waited is None else round(waited.total_seconds(), 3),
            "resource_uri": receipt.resource_uri,
            "build": result.build,
            "version": __version__,
            "origin": _origin(result.origins.get(receipt.image)),
            **({"unverified": True} if receipt.unverified else {}),
            **({"emulator": True} if result.emulator else {}),
        },
        lines=tuple(lines),
        about=image,
        head=("Image", "Attestor", "Status", "Occurrence", "Key"),
        cells=(image, attestor, status + seen, occurrence or "", key_id),
        accepted=receipt.image,
        status=status,
        evidence=((occurrence, key_id),),
    )


def _passed(passed: Passed) -> View:
    """A check that said yes before anything was signed, and what that rests on."""
    image = str(passed.image)
    return View(
        kind="checks",
        entry={"image": image, "check": passed.name, "found": passed.grounds},
        lines=(("passed ", image), (f"  {passed.name:<12}", passed.grounds)),
        about=image,
        head=("Checked", "Check", "Found"),
        cells=(image, passed.name, passed.grounds),
        status="checked",
    )


def discovered(row: Discovered, _: Result) -> View:
    """An image that would be attested, and where its digest came from."""
    image, origin = str(row.image), _origin(row.origin)
    said = [(f"  {label:<12}", text) for label, text in asdict(row.origin).items() if text]
    return View(
        kind="images",
        entry={"image": image, "digest": str(row.image.digest), "origin": origin},
        lines=(("", image), *said),
        about=image,
    )


def _origin(origin: Origin | None) -> dict[str, str | None] | None:
    return None if origin is None else asdict(origin)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
