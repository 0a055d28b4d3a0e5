"""What `verify`, `gate` and `list` show: verdicts, and the attestations that they rest on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from step.listing import Listed
from step.model.attestation import Rejected, Statement, Verified
from step.model.image import ImageRef
from step.results.result import Result
from step.results.view import View, rfc3339
from step.verify import Verdict


@dataclass(frozen=True, slots=True)
class VerdictView(View):
    """Whether an attestor has attested an image."""

    row: Verdict
    kind = "verdicts"
    head = ("Image", "Attestor", "Verdict", "Attestations that verify")

    def entry(self, _: Result) -> dict[str, Any]:
        """The verdict, with every signature that was found."""
        verdict = self.row
        return {
            "image": str(verdict.image),
            "attestor": str(verdict.attestor),
            "verified": verdict.verified,
            "reason": verdict.unmet,
            "warnings": list(verdict.warnings),
            "attestations": [_attestation(statement) for statement in verdict.statements],
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """The same."""
        verdict = self.row
        yield ("verified " if verdict.verified else "not verified "), str(verdict.image)
        yield "  attestor    ", str(verdict.attestor)
        if verdict.unmet is not None:
            yield "  because     ", verdict.unmet
        for statement in verdict.statements:
            match statement:
                case Verified(occurrence=occurrence, key=key):
                    yield "  verified    ", occurrence.name
                    yield "    key       ", f"{key.id} ({key.algorithm_name})"
                case Rejected(occurrence=occurrence, key_id=key_id, reason=reason):
                    yield "  rejected    ", occurrence.name
                    if key_id is not None:
                        yield "    key       ", key_id
                    yield "    because   ", reason

    def cells(self) -> tuple[str, ...]:
        """The verdict, and how much it rests on."""
        verdict = self.row
        return (
            str(verdict.image),
            str(verdict.attestor),
            f"not verified: {verdict.unmet}" if verdict.unmet else "verified",
            str(len(list(self.evidence))),
        )

    @property
    def denial(self) -> str | None:
        """What is missing."""
        unmet = self.row.unmet
        return None if unmet is None else f"{self.row.attestor}: {unmet}"

    @property
    def accepted(self) -> ImageRef:
        """The image, where it is a yes."""
        return self.row.image

    @property
    def evidence(self) -> Iterator[tuple[str | None, str]]:
        """What verifies."""
        for statement in self.row.statements:
            if isinstance(statement, Verified):
                yield statement.occurrence.name, statement.key.id


@dataclass(frozen=True, slots=True)
class ListedView(View):
    """A signature on an attestor's note."""

    row: Listed
    kind = "attestations"

    def entry(self, _: Result) -> dict[str, Any]:
        """The signature, and what it is worth."""
        statement = self.row.statement
        return {
            "image": None if statement.image is None else str(statement.image),
            "attestor": str(self.row.attestor),
            **_attestation(statement),
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """The same."""
        statement = self.row.statement
        occurrence = statement.occurrence
        yield "", occurrence.name
        yield "  image       ", occurrence.resource_uri
        yield "  attestor    ", str(self.row.attestor)
        if statement.key_id is not None:
            yield "  key         ", statement.key_id
        if created := rfc3339(occurrence.create_time):
            yield "  created     ", created
        no = f"no: {statement.reason}" if isinstance(statement, Rejected) else None
        yield "  verified    ", no or "yes"


def _attestation(statement: Statement) -> dict[str, Any]:
    occurrence = statement.occurrence
    return {
        "occurrence": occurrence.name,
        "resource_uri": occurrence.resource_uri,
        "public_key_id": statement.key_id,
        "create_time": rfc3339(occurrence.create_time),
        "verified": isinstance(statement, Verified),
        "reason": statement.reason if isinstance(statement, Rejected) else None,
    }
