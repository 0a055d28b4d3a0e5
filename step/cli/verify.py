"""`binauthz-attest verify`, and what it shares with `gate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from step.cli.attestors import AttestorOptions
from step.cli.connection import ConnectionOptions
from step.cli.images import ImageOptions
from step.cli.options import DISTINCT_KEYS, HOW, app_of, option
from step.cli.program import Program
from step.cli.run import Asked, Event, OutputOptions, deliver
from step.clock import parse_age
from step.results.goal import Goal

if TYPE_CHECKING:
    from step.model.attestation import Requirement


@dataclass(frozen=True, slots=True)
class RequirementOptions:
    """What the options say of how much of an attestor's word is asked for."""

    at_least: int = option(
        HOW, "How many different keys of each attestor must have signed.", "N", 1
    )
    every_key: bool = option(
        HOW, "Want one attestation by every key that an attestor lists.", default=False
    )
    distinct_keys: bool = option(HOW, DISTINCT_KEYS, default=False)
    max_age: str | None = option(
        HOW,
        "Count no attestation that was created longer ago: 12h or 30d. When it was, is the "
        "service's word, and not signed.",
        "DURATION",
    )

    def requirement(self) -> Requirement:
        """What is asked for; raises BadInput for what cannot be."""
        from step.model.attestation import Requirement

        age = None if self.max_age is None else parse_age(self.max_age, "--max-age")
        return Requirement(self.at_least, self.every_key, self.distinct_keys, age)


def verify(
    context: typer.Context,
    images: ImageOptions,
    attestors: AttestorOptions,
    requirement: RequirementOptions,
    run: ConnectionOptions,
    output: OutputOptions,
) -> None:
    """Verify that every attestor named has attested the images.

    What counts is an attestation that verifies with a key that the attestor lists. Exit code 0 is a
    yes and 3 a no; any other says that it could not be asked.
    """
    program: Program = context.obj

    def verb() -> Iterator[Event]:
        from step.verify import verify

        program.refuse_empty(requirement)
        deadline = run.until(program)
        required, names = requirement.requirement(), attestors.names()
        connection = run.connection(program, deadline)
        discovered = images.discover(program, connection, attestors.default_project)
        yield Asked(discovered, names)
        references = [each.image for each in discovered]
        yield from warned(program, verify(references, names, connection, required))

    deliver(verb, Goal.VERIFIED, program, output)


app = app_of(verify)


def warned(program: Program, events: Iterator[Event]) -> Iterator[Event]:
    """The events; what their verdicts warn of is told at the end, each once."""
    from step.verify import Verdict

    warnings: dict[str, None] = {}
    for event in events:
        if isinstance(event, Verdict):
            warnings |= dict.fromkeys(event.warnings)
        yield event
    for text in warnings:
        program.warn(text)
