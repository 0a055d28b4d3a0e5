"""What a run came to, in the form in which a CI takes it: every verb that answers has one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeAlias

from step.errors import ExitCode, StepError
from step.events import Failure
from step.model.image import ImageRef
from step.results.document import dumped, error_entry, json_document

Table: TypeAlias = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]
"""Headings, and rows of as many texts, which anybody may have written."""

# What a shortened document leaves out, first of little use to who reads it, then all but what it is
# about, by whom, and the outcome.
_BULKY = frozenset({"payload", "signature"})
_DETAIL = _BULKY | {
    "digest",
    "note",
    "algorithm",
    "create_time",
    "visible_after_seconds",
    "resource_uri",
    "build",
    "version",
    "origin",
    "message",
    "hint",
    "found",
    "attestors",
    "attestations",
    "warnings",
    "denial",
    "reason",
}


_WORST_FIRST = (
    ExitCode.BUG,
    ExitCode.REFUSED,
    ExitCode.BAD_INPUT,
    ExitCode.NOT_ALLOWED,
    ExitCode.NOT_FOUND,
    ExitCode.UNAVAILABLE,
    ExitCode.NOT_VISIBLE,
    ExitCode.INCOMPLETE,
)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The one code that a run with all of these returns; DONE for none.

    Worst first: a bug, a refusal, bad input, credentials or IAM, something not found, a service
    that could not be asked, an attestation not seen in time, work left over. A refusal comes before
    all that a second run or another setting could mend.
    """
    found = set(codes)
    return next((code for code in _WORST_FIRST if code in found), ExitCode.DONE)


class Answer(Protocol):
    """What came of a run, as it is shown; `goal` is what was asked for, such as `attested`."""

    @property
    def goal(self) -> str: ...
    @property
    def exit_code(self) -> ExitCode: ...

    def tree(self) -> Mapping[str, list[dict[str, Any]]]:
        """The document's lists by name; the last is `errors`, or what was added since."""
        ...

    def lines(self) -> Iterator[tuple[str, str]]:
        """The result for a terminal: labels, ours, and texts that anybody may have written."""
        ...

    def complaints(self) -> Iterator[tuple[str, str]]:
        """Every no: what it is about, perhaps nothing, and the message."""
        ...

    def errors(self) -> Iterator[tuple[str, StepError]]:
        """What went wrong, a no that is an answer apart: what it is about, and the error."""
        ...

    def with_error(self, error: StepError) -> Self:
        """The same, and one error more, about nothing in particular."""
        ...


class Result(Answer, Protocol):
    """An answer that later steps of a pipeline go by.

    `status` is the outcome in one word. `images` are those of which all that was asked is a yes,
    each once.
    """

    @property
    def status(self) -> str: ...
    @property
    def images(self) -> tuple[ImageRef, ...]: ...
    @property
    def attestations(self) -> tuple[str, ...]: ...
    @property
    def public_key_ids(self) -> tuple[str, ...]: ...

    def tables(self) -> Iterator[Table]:
        """The result for a page; tables without rows are not shown."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What `list` and `discover` find: entries of the document's `kind`, and lines that show them.

    No later step goes by it, since it is a yes to nothing.
    """

    kind: str
    entries: tuple[dict[str, Any], ...]
    shown: tuple[tuple[str, str], ...]
    failures: tuple[Failure, ...]

    @property
    def goal(self) -> str:
        """What was asked for."""
        return "found"

    @property
    def exit_code(self) -> ExitCode:
        """The worst of the failures' codes."""
        return worst(failure.error.exit_code for failure in self.failures)

    def tree(self) -> dict[str, list[dict[str, Any]]]:
        """What was found, and `errors`."""
        return {
            self.kind: list(self.entries),
            "errors": [error_entry(failure) for failure in self.failures],
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """What was found."""
        return iter(self.shown)

    def complaints(self) -> Iterator[tuple[str, str]]:
        """The failures."""
        for failure in self.failures:
            yield complaint(failure.image or failure.attestor, failure.error)

    def errors(self) -> Iterator[tuple[str, StepError]]:
        """The failures."""
        return ((about(failure), failure.error) for failure in self.failures)

    def with_error(self, error: StepError) -> Found:
        """The same, and one failure more."""
        return replace(self, failures=(*self.failures, Failure(None, None, error)))


def document(result: Answer, *, emulator: bool = False) -> str:
    """The result as a `json_document`, which says if an emulator is behind it."""
    return json_document(_marked(result.tree(), emulator))


def _marked(tree: Mapping[str, list[dict[str, Any]]], emulator: bool) -> dict[str, Any]:
    """The document's lists; of an emulator's, it and each receipt say so."""
    if not emulator:
        return dict(tree)
    mark = {"emulator": True}
    receipts = {"receipts": [one | mark for one in tree["receipts"]]} if "receipts" in tree else {}
    return {**tree, **receipts, **mark}


def fitted(result: Result, limit: int, *, emulator: bool = False) -> str:
    """The document on one line, in at most `limit` ASCII characters.

    Whole keys are left out rather than text cut: payload and signature, then all but what it is
    about, by whom, and the outcome. If even that is too long, the lists are empty and `omitted`
    counts what each held.
    """
    tree = result.tree()
    for without in (frozenset[str](), _BULKY, _DETAIL):
        light = {kind: [_less(one, without) for one in tree[kind]] for kind in tree}
        text = dumped(_marked(light, emulator))
        if len(text) <= limit:
            return text
    omitted = {"omitted": {kind: len(tree[kind]) for kind in tree}}
    return dumped(_marked({kind: [] for kind in tree}, emulator) | omitted)


def failure_table(goal: str, failures: Sequence[Failure]) -> Table:
    """The failures of a run, with what mends them."""
    rows = [
        (
            str(failure.image or ""),
            str(failure.attestor or ""),
            f"{failure.error.message} (exit code {failure.error.exit_code.value})",
            failure.error.hint,
        )
        for failure in failures
    ]
    return (f"Not {goal}", "Attestor", "Error", "Fix"), rows


def about(failure: Failure) -> str:
    """What a failure is about, perhaps nothing."""
    return ", ".join(str(one) for one in (failure.image, failure.attestor) if one is not None)


def complaint(about: object, error: StepError) -> tuple[str, str]:
    """An error as a complaint, with message and hint in one."""
    return str(about or ""), f"{error.message}. {error.hint}" if error.hint else error.message


def _less(entry: dict[str, Any], without: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in without}
