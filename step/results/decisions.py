"""How policies and the decisions by them look: in every form, and as gcloud's YAML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from step.model.admission import Attested, Decision, Evidence, Unattested, by_digest
from step.model.image import ImageRef
from step.model.names import AttestorName
from step.model.policy import Policy
from step.results.result import Result
from step.results.view import View


@dataclass(frozen=True, slots=True)
class DecisionView(View):
    """What a policy decides about an image."""

    row: Decision
    kind = "decisions"
    head = ("Image", "Policy", "By", "Warnings")

    def entry(self, _: Result) -> dict[str, Any]:
        """The decision, with what each attestor says."""
        decision = self.row
        rule = decision.rule
        return {
            "image": decision.image,
            "admitted": decision.admitted,
            "by": decision.by,
            "evaluation_mode": rule.evaluation.value if rule else None,
            "enforcement_mode": rule.enforcement.value if rule else None,
            "denial": decision.denial or None,
            "attestors": [_evidence(name, said) for name, said in decision.evidence],
            "warnings": list(decision.warnings),
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """What, by which rule, what each attestor says, warnings."""
        decision = self.row
        yield ("admitted " if decision.admitted else "denied "), decision.image
        rule = decision.rule
        modes = f": {rule.evaluation.value}, {rule.enforcement.value}" if rule else ""
        yield "  by          ", decision.by + modes
        for name, said in decision.evidence:
            match said:
                case Attested():
                    yield "  attestor    ", f"{name}: verified with {said.key_id}"
                    yield "  occurrence  ", said.occurrence
                case Unattested():
                    yield "  attestor    ", f"{name}: {said.reason}"
                    yield from (("  rejected    ", detail) for detail in said.details)
                case error:
                    yield "  attestor    ", f"{name}: could not be asked: {error.message}"
        if decision.denial:
            yield "  denial      ", decision.denial
        for warning in decision.warnings:
            yield "  warning     ", warning

    def cells(self) -> tuple[str, ...]:
        """The decision in short."""
        decision = self.row
        told = "admitted" if decision.admitted else f"denied: {decision.denial}"
        return decision.image, told, decision.by, "; ".join(decision.warnings)

    @property
    def denial(self) -> str | None:
        """Why the image would not run."""
        return None if self.row.admitted else self.row.denial

    @property
    def accepted(self) -> ImageRef | None:
        """The image, if it is admitted and named by digest, without a tag.

        One whose tag has its part in that it is admitted, by an allowlist, is none: by digest alone
        it may be denied.
        """
        image = by_digest(self.row.image)
        whole = self.row.rule is not None or self.row.image == str(image)
        return image if whole else None

    @property
    def evidence(self) -> Iterator[tuple[str | None, str]]:
        """The attestations that the image is admitted by."""
        if self.row.admitted:
            for _, said in self.row.evidence:
                if isinstance(said, Attested):
                    yield said.occurrence, said.key_id


class AfterwardsView(DecisionView):
    """What a policy decides about an image that was attested: a no is among the failures."""

    __slots__ = ()
    denial = None
    accepted = None
    evidence = ()  # type: ignore[assignment]


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
