"""How policies and the decisions by them look: in every form, and as gcloud's YAML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import yaml

from step.model.admission import Attested, Decision, Evidence, Unattested, by_digest
from step.model.image import ImageRef
from step.model.names import AttestorName
from step.model.policy import Policy
from step.results.result import Result
from step.results.view import View


def decision(row: Decision, _: Result) -> View:
    """What a policy decides about an image, by which rule, and what each attestor says."""
    rule = row.rule
    modes = f": {rule.evaluation.value}, {rule.enforcement.value}" if rule else ""
    attested = (said for _, said in row.evidence if isinstance(said, Attested) and row.admitted)
    return View(
        kind="decisions",
        entry={
            "image": row.image,
            "admitted": row.admitted,
            "by": row.by,
            "evaluation_mode": rule.evaluation.value if rule else None,
            "enforcement_mode": rule.enforcement.value if rule else None,
            "denial": row.denial or None,
            "attestors": [_evidence(name, said) for name, said in row.evidence],
            "warnings": list(row.warnings),
        },
        lines=(
            ("admitted " if row.admitted else "denied ", row.image),
            ("  by          ", row.by + modes),
            *(line for name, said in row.evidence for line in _lines(name, said)),
            *([("  denial      ", row.denial)] if row.denial else []),
            *(("  warning     ", warning) for warning in row.warnings),
        ),
        about=row.image,
        head=("Image", "Policy", "By", "Warnings"),
        cells=(
            row.image,
            "admitted" if row.admitted else f"denied: {row.denial}",
            row.by,
            "; ".join(row.warnings),
        ),
        denial=None if row.admitted else row.denial,
        accepted=_accepted(row),
        evidence=tuple((said.occurrence, said.key_id) for said in attested),
    )


def afterwards(row: Decision, result: Result) -> View:
    """What a policy decides about an image that was attested: a no is among the failures."""
    return replace(decision(row, result), denial=None, accepted=None, evidence=())


def _accepted(row: Decision) -> ImageRef | None:
    """The image, if it is named by digest, without a tag.

    One whose tag has its part in that it is admitted, by an allowlist, is none: by digest alone it
    may be denied.
    """
    image = by_digest(row.image)
    return image if row.rule is not None or row.image == str(image) else None


def _lines(name: AttestorName, said: Evidence) -> Iterator[tuple[str, str]]:
    match said:
        case Attested():
            yield "  attestor    ", f"{name}: verified with {said.key_id}"
            yield "  occurrence  ", said.occurrence
        case Unattested():
            yield "  attestor    ", f"{name}: {said.reason}"
            yield from (("  rejected    ", detail) for detail in said.details)
        case error:
            yield "  attestor    ", f"{name}: could not be asked: {error.message}"


def policy_yaml(policy: Policy) -> str:
    """A policy in gcloud's export form, as YAML in ASCII.

    No line of it is a command to GitHub's runner: a text of several lines is written on one.
    """
    text: str = yaml.dump(policy.to_mapping(), Dumper=_Dumper, width=float("inf"))
    return text.replace("##[", "\\x23#[")


class _Dumper(yaml.SafeDumper):
    """Writes texts that a log reader could stumble over in double quotes, where escapes hold."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        odd = not data.isprintable() or "##[" in data
        style = '"' if odd else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)


def _evidence(name: AttestorName, said: Evidence) -> dict[str, Any]:
    key_id = occurrence = reason = None
    details: list[str] = []
    match said:
        case Attested():
            key_id, occurrence = said.key_id, said.occurrence
        case Unattested():
            reason, details = said.reason, list(said.details)
        case error:
            reason = f"could not be asked: {error.message}"
    return {
        "attestor": str(name),
        "verified": isinstance(said, Attested),
        "public_key_id": key_id,
        "occurrence": occurrence,
        "reason": reason,
        "details": details,
    }
