"""Images and attestors become verdicts: are they attested?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from step.cloud.attestors import Attestors
from step.cloud.connection import Connection
from step.cloud.occurrences import Occurrences
from step.concurrency import side_by_side
from step.errors import BadInput, StepError
from step.events import Failure
from step.model.attestation import Attestor, Requirement, Statement, Verified
from step.model.image import ImageRef
from step.model.keys import Identity, identity
from step.model.names import AttestorName, NoteName
from step.model.shared_keys import (
    NO_KEY_OF_ITS_OWN,
    shared_warning,
    sharing,
    without_keys_of_their_own,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an attestor's attestations of an image are what was required, and what was found.

    `unmet` says what is missing, None if nothing is; `statements` is every signature there was.
    """

    image: ImageRef
    attestor: AttestorName
    note: NoteName
    statements: tuple[Statement, ...]
    unmet: str | None
    warnings: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether it is a yes."""
        return self.unmet is None

    @property
    def keys(self) -> frozenset[Identity]:
        """The keys that verify."""
        return frozenset(
            identity(statement.key)
            for statement in self.statements
            if isinstance(statement, Verified)
        )


def verify(
    images: Sequence[ImageRef],
    attestors: Sequence[AttestorName],
    connection: Connection,
    requirement: Requirement,
) -> Iterator[Verdict | Failure]:
    """Verify what every attestor's note holds for every image, side by side.

    For each pair there is one Verdict or, where it could not be asked, one Failure, in the order in
    which they end; with distinct keys asked for, when all have. Raises BadInput for an empty list:
    of nothing, everything is true.
    """
    if not images or not attestors:
        raise BadInput("there is nothing to verify", "Name at least one image and one attestor.")
    images = tuple(dict.fromkeys(images))
    read = dict(read_attestors(attestors, connection))
    for name, error in read.items():
        if isinstance(error, StepError):
            yield from (Failure(image, name, error) for image in images)
    asked = [
        attestor
        for name in dict.fromkeys(attestors)
        if isinstance(attestor := read[name], Attestor)
    ]
    warned = dict(sharing(asked))
    answers = side_by_side(
        _verdict(image, attestor, connection, requirement, warned)
        for attestor in asked
        for image in images
    )
    yield from _distinct(tuple(answers), requirement, asked) if requirement.distinct else answers


def read_attestors(
    names: Sequence[AttestorName], connection: Connection
) -> Iterator[tuple[AttestorName, Attestor | StepError]]:
    """The attestors, side by side, each once, or why one could not be read."""
    attestors = Attestors(connection)

    def get(name: AttestorName) -> Iterator[tuple[AttestorName, Attestor | StepError]]:
        try:
            yield name, attestors.get(name)
        except StepError as error:
            yield name, error

    return side_by_side(map(get, dict.fromkeys(names)))


def _verdict(
    image: ImageRef,
    attestor: Attestor,
    connection: Connection,
    requirement: Requirement,
    shared: Mapping[str, tuple[AttestorName, ...]],
) -> Iterator[Verdict | Failure]:
    try:
        now = connection.clock.now()
        statements = tuple(
            requirement.counted(statement, now)
            for occurrence in Occurrences(connection).on(attestor.note, image)
            for statement in attestor.statements(occurrence, image)
        )
        unmet = requirement.unmet(attestor, statements)
        warnings = tuple(
            shared_warning(key_id, names)
            for key_id, names in shared.items()
            if attestor.name in names
        )
        yield Verdict(image, attestor.name, attestor.note, statements, unmet, warnings)
    except StepError as error:
        yield Failure(image, attestor.name, error)


def _distinct(
    answers: Sequence[Verdict | Failure], requirement: Requirement, attestors: Sequence[Attestor]
) -> Iterator[Verdict | Failure]:
    """The answers, a yes become a no where its keys are needed for other attestors as well."""
    needed = {attestor.name: requirement.needed(attestor) for attestor in attestors}
    every: dict[ImageRef, dict[AttestorName, Verdict]] = {}
    for answer in answers:
        if isinstance(answer, Verdict) and answer.verified:
            every.setdefault(answer.image, {})[answer.attestor] = answer
        else:
            yield answer
    for verdicts in every.values():
        held = {name: verdict.keys for name, verdict in verdicts.items()}
        # In the order in which they were named, so that the answer does not depend on the network.
        own = {name: count for name, count in needed.items() if name in held}
        lacking = without_keys_of_their_own(held, own)
        for name, verdict in verdicts.items():
            unmet = NO_KEY_OF_ITS_OWN if name in lacking else None
            yield replace(verdict, unmet=unmet)
