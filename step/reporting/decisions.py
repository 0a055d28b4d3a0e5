"""How policies and the decisions by them leave: as lines, as JSON, as gcloud's YAML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from step.errors import ExitCode
from step.evaluate import Undecided
from step.events import Failure
from step.model.admission import Attested, Decision, Unattested, Verdict
from step.model.names import AttestorName
from step.model.policy import Policy
from step.reporting.receipts import error_entry, json_document
from step.reporting.report import worst


def exit_code(decisions: Sequence[Decision], undecided: Sequence[Undecided]) -> ExitCode:
    """REFUSED if an image is denied, else the worst of the errors, else DONE."""
    denied = [ExitCode.REFUSED for one in decisions if not one.admitted]
    return worst([*denied, *(one.error.exit_code for one in undecided)])


def lines(decision: Decision) -> Iterator[tuple[str, str]]:
    """A decision for `Terminal.result`: what, by which rule, what each attestor says, warnings."""
    yield ("admitted " if decision.admitted else "denied "), decision.image
    rule = decision.rule
    modes = f": {rule.evaluation.value}, {rule.enforcement.value}" if rule else ""
    yield "  by          ", decision.by + modes
    for name, verdict in decision.verdicts:
        match verdict:
            case Attested():
                yield "  attestor    ", f"{name}: verified with {verdict.key_id}"
                yield "  occurrence  ", verdict.occurrence
            case Unattested():
                yield "  attestor    ", f"{name}: {verdict.reason}"
                yield from (("  rejected    ", detail) for detail in verdict.details)
            case error:
                yield "  attestor    ", f"{name}: could not be asked: {error.message}"
    if decision.denial:
        yield "  denial      ", decision.denial
    for warning in decision.warnings:
        yield "  warning     ", warning


def decisions_document(decisions: Sequence[Decision], undecided: Sequence[Undecided]) -> str:
    """`{"decisions": […], "errors": […]}` as a `json_document`."""
    errors = [
        error_entry(Failure(None, None, one.error)) | {"image": one.image} for one in undecided
    ]
    return json_document({"decisions": [_decision(one) for one in decisions], "errors": errors})


def policy_document(policy: Policy) -> str:
    """A policy in gcloud's export form, as a `json_document`."""
    return json_document(policy.to_mapping())


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


def _decision(decision: Decision) -> dict[str, Any]:
    rule = decision.rule
    return {
        "image": decision.image,
        "admitted": decision.admitted,
        "by": decision.by,
        "evaluation_mode": rule.evaluation.value if rule else None,
        "enforcement_mode": rule.enforcement.value if rule else None,
        "denial": decision.denial or None,
        "attestors": [_verdict(name, verdict) for name, verdict in decision.verdicts],
        "warnings": list(decision.warnings),
    }


def _verdict(name: AttestorName, verdict: Verdict) -> dict[str, Any]:
    key_id = occurrence = reason = None
    details: list[str] = []
    match verdict:
        case Attested():
            key_id, occurrence = verdict.key_id, verdict.occurrence
        case Unattested():
            reason, details = verdict.reason, list(verdict.details)
        case error:
            reason = f"could not be asked: {error.message}"
    return {
        "attestor": str(name),
        "verified": isinstance(verdict, Attested),
        "public_key_id": key_id,
        "occurrence": occurrence,
        "reason": reason,
        "details": details,
    }
