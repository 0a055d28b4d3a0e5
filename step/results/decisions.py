"""How policies and the decisions by them leave: as lines, as JSON, as gcloud's YAML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from step.errors import ExitCode, StepError
from step.evaluate import Undecided
from step.events import Failure
from step.model.admission import Attested, Decision, Unattested, Verdict, by_digest
from step.model.image import ImageRef
from step.model.names import AttestorName
from step.model.policy import Policy
from step.results.document import error_entry, json_document
from step.results.result import Table, complaint, worst


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that came of evaluating a policy, in the order to show it in."""

    decisions: tuple[Decision, ...]
    undecided: tuple[Undecided, ...]

    @property
    def goal(self) -> str:
        """What the images were to become."""
        return "admitted"

    @property
    def status(self) -> str:
        """`admitted` if all are."""
        return "failed" if self.exit_code else "admitted"

    @property
    def exit_code(self) -> ExitCode:
        """REFUSED for a denial, or where nothing was asked; else the worst error's, else DONE."""
        if not (self.decisions or self.undecided):
            return ExitCode.REFUSED
        denied = [ExitCode.REFUSED for one in self.decisions if not one.admitted]
        return worst([*denied, *(one.error.exit_code for one in self.undecided)])

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """The images that are admitted and named by digest, without a tag.

        One whose tag has its part in that it is admitted, by an allowlist, is not among them: by
        digest alone it may be denied.
        """
        against = {about for about, _ in self.complaints()}
        named = ((one, by_digest(one.image)) for one in self.decisions if one.image not in against)
        return tuple(
            dict.fromkeys(
                image
                for one, image in named
                if image is not None and (one.rule is not None or one.image == str(image))
            )
        )

    @property
    def attestations(self) -> tuple[str, ...]:
        """The occurrences that images are admitted by, each once."""
        return tuple(dict.fromkeys(one.occurrence for one in self._attested()))

    @property
    def public_key_ids(self) -> tuple[str, ...]:
        """The keys of those, each once."""
        return tuple(dict.fromkeys(one.key_id for one in self._attested()))

    def tree(self) -> dict[str, list[dict[str, Any]]]:
        """`decisions` and `errors`."""
        errors = [
            error_entry(Failure(None, None, one.error)) | {"image": one.image}
            for one in self.undecided
        ]
        return {"decisions": [decision_entry(one) for one in self.decisions], "errors": errors}

    def lines(self) -> Iterator[tuple[str, str]]:
        """The decisions."""
        for decision in self.decisions:
            yield from decision_lines(decision)

    def tables(self) -> Iterator[Table]:
        """What could not be told, and the decisions."""
        yield (
            ("Not decided", "Error", "Fix"),
            [(one.image or "", one.error.message, one.error.hint) for one in self.undecided],
        )
        yield decision_table(self.decisions)

    def complaints(self) -> Iterator[tuple[str, str]]:
        """What could not be told, and the denials."""
        for one in self.undecided:
            yield complaint(one.image, one.error)
        for decision in self.decisions:
            if not decision.admitted:
                yield decision.image, decision.denial

    def errors(self) -> Iterator[tuple[str, StepError]]:
        """What could not be told."""
        return ((one.image or "", one.error) for one in self.undecided)

    def with_error(self, error: StepError) -> Evaluation:
        """The same, and one more that could not be told."""
        return replace(self, undecided=(*self.undecided, Undecided(None, error)))

    def _attested(self) -> Iterator[Attested]:
        for decision in self.decisions:
            if decision.admitted:
                yield from (one for _, one in decision.verdicts if isinstance(one, Attested))


def decision_lines(decision: Decision) -> Iterator[tuple[str, str]]:
    """A decision for a terminal: what, by which rule, what each attestor says, warnings."""
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


def decision_table(decisions: Sequence[Decision]) -> Table:
    """Decisions for people."""
    rows = [
        (
            one.image,
            "admitted" if one.admitted else f"denied: {one.denial}",
            one.by,
            "; ".join(one.warnings),
        )
        for one in decisions
    ]
    return ("Image", "Policy", "By", "Warnings"), rows


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


def decision_entry(decision: Decision) -> dict[str, Any]:
    """A decision as every document has it."""
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
