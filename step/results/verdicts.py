"""What `verify`, `gate` and `list` show: verdicts, and the attestations that they rest on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from step.listing import Listed
from step.model.attestation import Rejected, Statement, Verified
from step.results.result import Result
from step.results.view import View, rfc3339
from step.verify import Verdict


def verdict(row: Verdict, _: Result) -> View:
    """Whether an attestor has attested an image, with every signature that was found."""
    image, attestor, unmet = str(row.image), str(row.attestor), row.unmet
    verified = [each for each in row.statements if isinstance(each, Verified)]
    because = [] if unmet is None else [("  because     ", unmet)]
    return View(
        kind="verdicts",
        entry={
            "image": image,
            "attestor": attestor,
            "verified": row.verified,
            "reason": unmet,
            "warnings": list(row.warnings),
            "attestations": [_attestation(statement) for statement in row.statements],
        },
        lines=(
            ("verified " if row.verified else "not verified ", image),
            ("  attestor    ", attestor),
            *because,
            *(line for statement in row.statements for line in _lines(statement)),
        ),
        about=image,
        head=("Image", "Attestor", "Verdict", "Attestations that verify"),
        cells=(
            image,
            attestor,
            f"not verified: {unmet}" if unmet else "verified",
            str(len(verified)),
        ),
        denial=None if unmet is None else f"{attestor}: {unmet}",
        accepted=row.image,
        evidence=tuple((each.occurrence.name, each.key.id) for each in verified),
    )


def listed(row: Listed, _: Result) -> View:
    """A signature on an attestor's note, and what it is worth."""
    statement, attestor = row.statement, str(row.attestor)
    occurrence = statement.occurrence
    image = None if statement.image is None else str(statement.image)
    lines = {
        "": occurrence.name,
        "  image       ": occurrence.resource_uri,
        "  attestor    ": attestor,
        "  key         ": statement.key_id,
        "  created     ": rfc3339(occurrence.create_time),
        "  verified    ": f"no: {statement.reason}" if isinstance(statement, Rejected) else "yes",
    }
    return View(
        kind="attestations",
        entry={"image": image, "attestor": attestor, **_attestation(statement)},
        lines=tuple((label, text) for label, text in lines.items() if text is not None),
        about=image or "",
    )


def _lines(statement: Statement) -> Iterator[tuple[str, str]]:
    match statement:
        case Verified(occurrence=occurrence, key=key):
            yield "  verified    ", occurrence.name
            yield "    key       ", f"{key.id} ({key.algorithm_name})"
        case Rejected(occurrence=occurrence, key_id=key_id, reason=reason):
            yield "  rejected    ", occurrence.name
            if key_id is not None:
                yield "    key       ", key_id
            yield "    because   ", reason


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
