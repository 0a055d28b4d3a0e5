"""`binauthz-attest verify`, and what it shares with `gate`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from step.cli import options as opt
from step.cli.attestors import AttestorChoice
from step.cli.groups import app_of
from step.cli.images import ImageChoice
from step.cli.outcome import UNCHANGED, prepare, show, telling, warn, write_files
from step.cli.program import Edge
from step.cli.run import RunChoice
from step.clock import parse_age, parse_duration

if TYPE_CHECKING:
    from step.events import Failure
    from step.gate import Gate, Verdict
    from step.model.attestation import Requirement
    from step.results.verdicts import Verification


@dataclass(frozen=True, slots=True)
class RequirementChoice:
    """What the options say of how much of an attestor's word is asked for."""

    at_least: opt.AtLeast = 1
    every_key: opt.EveryKey = False
    distinct_keys: opt.DistinctKeys = False
    max_age: opt.MaxAge = None

    def requirement(self) -> Requirement:
        """What is asked for; raises BadInput for what cannot be."""
        from step.model.attestation import Requirement

        age = None if self.max_age is None else parse_age(self.max_age, "--max-age")
        return Requirement(self.at_least, self.every_key, self.distinct_keys, age)


def verify(
    context: typer.Context,
    images: ImageChoice,
    attestors: AttestorChoice,
    requirement: RequirementChoice,
    run: RunChoice,
    format: opt.ResultFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
    output_file: opt.ResultFile = None,
) -> None:
    """Verify that every attestor named has attested the images.

    What counts is an attestation that verifies with a key that the attestor lists. Exit code 0 is a
    yes and 3 a no; any other says that it could not be asked.
    """
    edge: Edge = context.obj
    found = Question(images, attestors, requirement, run).settle(edge, output_file)
    raise typer.Exit(show(found, edge, format))


app = app_of(verify)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, as the options have it, by `verify` and by `gate`."""

    images: ImageChoice
    attestors: AttestorChoice
    requirement: RequirementChoice
    run: RunChoice
    timeout: str | None = None
    opens: bool = False
    """Whether a yes runs a command."""

    def settle(self, edge: Edge, output_file: str | None) -> Verification:
        """Ask, once or until `timeout` has passed, show the progress, and write the file.

        Whatever goes wrong is a failure in what is returned, so that it is not verified.
        """
        from step.events import Failure
        from step.results.console import Terminal
        from step.results.verdicts import Verification

        verdicts: list[Verdict] = []
        failures: list[Failure] = []
        with telling(lambda error: failures.append(Failure(None, None, error)), UNCHANGED):
            prepare(Terminal(sys.stdout, sys.stderr, edge.environ), edge, output_file)
            self._ask(edge, verdicts, failures)
        found = Verification(tuple(verdicts), tuple(failures))
        return write_files(found, edge, output_file)

    def _gate(self, edge: Edge) -> Gate | None:
        """What waits for a yes from now on, if that is asked for; raises BadInput."""
        if self.timeout is None:
            return None
        from step.gate import Gate

        own = timedelta.max if self.run.deadline is None else self.run.until(edge).until
        return Gate.open(edge.clock, parse_duration(self.timeout, "--timeout"), own)

    def _ask(self, edge: Edge, verdicts: list[Verdict], failures: list[Failure]) -> None:
        from step.events import Failure, Progress
        from step.gate import Verdict, verify
        from step.results.console import Terminal

        terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
        edge.refuse_empty(self.requirement)
        gate = self._gate(edge)
        deadline = gate.deadline if gate else self.run.until(edge)
        requirement = self.requirement.requirement()
        attestors = self.attestors.names()
        if self.opens:
            self.run.require_real(edge)
        connection = self.run.connection(edge, deadline)
        project = self.attestors.default_project
        with gate.saying_no() if gate else nullcontext():
            images = [one.image for one in self.images.discover(edge, connection, project)]
        several = len(images) * len(attestors) > 1
        events = (
            verify(images, attestors, connection, requirement)
            if gate is None
            else gate.answers(images, attestors, connection, requirement)
        )
        for event in events:
            match event:
                case Progress():
                    terminal.progress(event, which=several)
                case Verdict():
                    verdicts.append(event)
                case Failure():
                    failures.append(event)

        def place(one: Verdict | Failure) -> tuple[int, int]:
            return (
                images.index(one.image) if one.image else -1,
                attestors.index(one.attestor) if one.attestor else -1,
            )

        for told in dict.fromkeys(text for one in verdicts for text in one.warnings):
            warn(terminal, edge, told)
        verdicts.sort(key=place)
        failures.sort(key=place)
