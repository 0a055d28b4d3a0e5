"""Verdicts and listed attestations: as the JSON that others rely on, and as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from step.errors import ExitCode, StepError
from step.events import Failure
from step.gate import Listed, Verdict, passes
from step.model.attestation import Judged, Rejected, Verified
from step.model.image import ImageRef
from step.results.document import error_entry, rfc3339
from step.results.result import Found, Table, about, complaint, failure_table, worst


@dataclass(frozen=True, slots=True)
class Verification:
    """Everything that came of `verify` or `gate`, in the order to show it in."""

    verdicts: tuple[Verdict, ...]
    failures: tuple[Failure, ...]

    @property
    def verified(self) -> bool:
        """Whether everything that was asked was answered with yes."""
        return passes([*self.verdicts, *self.failures])

    @property
    def exit_code(self) -> ExitCode:
        """DONE only if `verified`; a no comes before what could not be asked."""
        if self.verified:
            return ExitCode.DONE
        refused = [ExitCode.REFUSED for verdict in self.verdicts if not verdict.verified]
        codes = [*refused, *(failure.error.exit_code for failure in self.failures)]
        return worst(codes or [ExitCode.REFUSED])

    @property
    def goal(self) -> str:
        """What the images were to be found."""
        return "verified"

    @property
    def status(self) -> str:
        """`verified` if everything is."""
        return "verified" if self.verified else "failed"

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """The images that every attestor asked says yes of; none where not all were asked."""
        failed = {failure.image for failure in self.failures}
        if None in failed:
            return ()
        doubted = failed | {one.image for one in self.verdicts if not one.verified}
        images = dict.fromkeys(one.image for one in self.verdicts)
        return tuple(image for image in images if image not in doubted)

    @property
    def attestations(self) -> tuple[str, ...]:
        """The occurrences that verify, each once."""
        return tuple(dict.fromkeys(one.occurrence.name for one in self._verifying()))

    @property
    def public_key_ids(self) -> tuple[str, ...]:
        """The keys that they verify with, each once."""
        return tuple(dict.fromkeys(one.key.id for one in self._verifying()))

    def tree(self) -> dict[str, list[dict[str, Any]]]:
        """`verdicts` and `errors`."""
        return {
            "verdicts": [_verdict(one) for one in self.verdicts],
            "errors": [error_entry(one) for one in self.failures],
        }

    def tables(self) -> Iterator[Table]:
        """What could not be asked, and the verdicts."""
        yield failure_table(self.goal, self.failures)
        yield (
            ("Image", "Attestor", "Verdict", "Attestations that verify"),
            [
                (
                    str(one.image),
                    str(one.attestor),
                    f"not verified: {one.unmet}" if one.unmet else "verified",
                    str(sum(isinstance(judged, Verified) for judged in one.judged)),
                )
                for one in self.verdicts
            ],
        )

    def complaints(self) -> Iterator[tuple[str, str]]:
        """What could not be asked, and every no."""
        for failure in self.failures:
            yield complaint(failure.image or failure.attestor, failure.error)
        for one in self.verdicts:
            if one.unmet is not None:
                yield str(one.image), f"{one.attestor}: {one.unmet}"

    def errors(self) -> Iterator[tuple[str, StepError]]:
        """What could not be asked."""
        return ((about(failure), failure.error) for failure in self.failures)

    def with_error(self, error: StepError) -> Verification:
        """The same, and one failure more, so that it is not verified."""
        return replace(self, failures=(*self.failures, Failure(None, None, error)))

    def _verifying(self) -> Iterator[Verified]:
        for verdict in self.verdicts:
            yield from (one for one in verdict.judged if isinstance(one, Verified))

    def lines(self) -> Iterator[tuple[str, str]]:
        """The verdicts for people: labels, and texts that anybody may have written."""
        for one in self.verdicts:
            yield ("verified " if one.verified else "not verified "), str(one.image)
            yield "  attestor    ", str(one.attestor)
            if one.unmet is not None:
                yield "  because     ", one.unmet
            for judged in one.judged:
                yield from _judged_lines(judged)


def listing(listed: Sequence[Listed], failures: Sequence[Failure]) -> Found:
    """What `list` found: `{"attestations": […], "errors": […]}` as a document."""
    entries = (
        {
            "image": None if one.judged.image is None else str(one.judged.image),
            "attestor": str(one.attestor),
            **_attestation(one.judged),
        }
        for one in listed
    )
    lines = (line for one in listed for line in _listed_lines(one))
    return Found("attestations", tuple(entries), tuple(lines), tuple(failures))


def _listed_lines(one: Listed) -> Iterator[tuple[str, str]]:
    occurrence = one.judged.occurrence
    yield "", occurrence.name
    yield "  image       ", occurrence.resource_uri
    yield "  attestor    ", str(one.attestor)
    if one.judged.key_id is not None:
        yield "  key         ", one.judged.key_id
    if occurrence.create_time is not None:
        yield "  created     ", rfc3339(occurrence.create_time)
    match one.judged:
        case Verified():
            yield "  verified    ", "yes"
        case Rejected(reason=reason):
            yield "  verified    ", f"no: {reason}"


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "image": str(verdict.image),
        "attestor": str(verdict.attestor),
        "verified": verdict.verified,
        "reason": verdict.unmet,
        "warnings": list(verdict.warnings),
        "attestations": [_attestation(one) for one in verdict.judged],
    }


def _attestation(judged: Judged) -> dict[str, Any]:
    occurrence = judged.occurrence
    created = occurrence.create_time
    return {
        "occurrence": occurrence.name,
        "resource_uri": occurrence.resource_uri,
        "public_key_id": judged.key_id,
        "create_time": None if created is None else rfc3339(created),
        "verified": isinstance(judged, Verified),
        "reason": judged.reason if isinstance(judged, Rejected) else None,
    }


def _judged_lines(judged: Judged) -> Iterator[tuple[str, str]]:
    match judged:
        case Verified(occurrence=occurrence, key=key):
            yield "  verified    ", occurrence.name
            yield "    key       ", f"{key.id} ({key.algorithm_name})"
        case Rejected(occurrence=occurrence, key_id=key_id, reason=reason):
            yield "  rejected    ", occurrence.name
            if key_id is not None:
                yield "    key       ", key_id
            yield "    because   ", reason
