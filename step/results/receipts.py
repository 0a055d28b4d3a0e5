"""What `attest` and `discover` show: receipts, checks that passed, and where a digest came from."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from step import __version__
from step.clock import show_duration
from step.events import Passed
from step.results.view import View, rfc3339

if TYPE_CHECKING:
    from step.attest import Receipt
    from step.discovery.record import Discovered, Origin
    from step.model.admission import Decision
    from step.model.image import ImageRef
    from step.results.result import Result


def view(row: Receipt | Passed | Decision) -> View:
    """A row of `attest`: a receipt, a check, or what the policy decides in the end."""
    from step.attest import Receipt

    match row:
        case Receipt():
            return ReceiptView(row)
        case Passed():
            return PassedView(row)
        case decision:
            from step.results.decisions import AfterwardsView

            return AfterwardsView(decision)


@dataclass(frozen=True, slots=True)
class ReceiptView(View):
    """An attestation that was made, or found."""

    row: Receipt
    kind = "receipts"
    head = ("Image", "Attestor", "Status", "Occurrence", "Key")

    def entry(self, result: Result) -> dict[str, Any]:
        """The receipt that others rely on."""
        receipt = self.row
        waited = receipt.visible_after
        mark = {"emulator": True} if result.emulator else {}
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
            "create_time": rfc3339(receipt.create_time),
            "visible_after_seconds": None if waited is None else round(waited.total_seconds(), 3),
            "resource_uri": receipt.resource_uri,
            "build": result.build,
            "version": __version__,
            "origin": _origin(result.origins.get(receipt.image)),
            **mark,
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """What was done, by whom, with which key."""
        receipt = self.row
        yield f"{receipt.status.value} ", str(receipt.image)
        yield "  attestor    ", str(receipt.attestor)
        yield "  key         ", f"{receipt.public_key_id} ({receipt.algorithm})"
        if receipt.occurrence is not None:
            yield "  occurrence  ", receipt.occurrence
        if receipt.visible_after is not None:
            yield "  visible     ", f"after {show_duration(receipt.visible_after)}"

    def cells(self) -> tuple[str, ...]:
        """The same in short."""
        receipt = self.row
        waited = receipt.visible_after
        visible = f", visible after {show_duration(waited)}" if waited else ""
        return (
            str(receipt.image),
            str(receipt.attestor),
            receipt.status.value + visible,
            receipt.occurrence or "",
            receipt.public_key_id,
        )

    @property
    def accepted(self) -> ImageRef:
        """The image, which this attestor attests."""
        return self.row.image

    @property
    def status(self) -> str:
        """What happened to the attestation."""
        return self.row.status.value

    @property
    def evidence(self) -> Iterator[tuple[str | None, str]]:
        """The attestation."""
        yield self.row.occurrence, self.row.public_key_id


@dataclass(frozen=True, slots=True)
class PassedView(View):
    """A check that said yes before anything was signed."""

    row: Passed
    kind = "checks"
    head = ("Checked", "Check", "Found")

    def entry(self, _: Result) -> dict[str, Any]:
        """What was checked, and what that rests on."""
        passed = self.row
        return {"image": str(passed.image), "check": passed.name, "found": passed.grounds}

    def lines(self) -> Iterator[tuple[str, str]]:
        """The same."""
        yield "passed ", str(self.row.image)
        yield f"  {self.row.name:<12}", self.row.grounds

    def cells(self) -> tuple[str, ...]:
        """The same."""
        return str(self.row.image), self.row.name, self.row.grounds

    @property
    def status(self) -> str:
        """What a run is that makes checks and nothing else."""
        return "checked"


@dataclass(frozen=True, slots=True)
class DiscoveredView(View):
    """An image that would be attested."""

    row: Discovered
    kind = "images"

    def entry(self, _: Result) -> dict[str, Any]:
        """The image, and where its digest came from."""
        image = self.row.image
        return {
            "image": str(image),
            "digest": str(image.digest),
            "origin": _origin(self.row.origin),
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """The same."""
        yield "", str(self.row.image)
        for label, value in asdict(self.row.origin).items():
            if value is not None:
                yield f"  {label:<12}", value


def _origin(origin: Origin | None) -> dict[str, str | None] | None:
    return None if origin is None else asdict(origin)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
