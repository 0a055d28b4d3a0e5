"""What is on the notes of attestors: every signature, and what it is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from step.cloud.connection import Connection
from step.cloud.occurrences import Occurrences
from step.errors import BadInput, StepError
from step.events import Failure
from step.model.attestation import Attestor, Statement
from step.model.image import ImageRef
from step.model.names import AttestorName
from step.verify import read_attestors


@dataclass(frozen=True, slots=True)
class Listed:
    """A signature on an attestor's note, and what it is worth."""

    attestor: AttestorName
    statement: Statement


def listing(
    images: Sequence[ImageRef],
    attestors: Sequence[AttestorName],
    connection: Connection,
    key_id: str | None = None,
) -> Iterator[Listed | Failure]:
    """Every signature on the attestors' notes, for these images or for all if there are none.

    With `key_id`, only those that claim to be by that key. Raises BadInput without an attestor:
    nothing else says which keys are trusted.
    """
    if not attestors:
        raise BadInput("no attestor was named", "An attestor says which keys are trusted.")
    read = dict(read_attestors(attestors, connection))
    for name in dict.fromkeys(attestors):
        try:
            attestor = read[name]
            if isinstance(attestor, StepError):
                raise attestor
            for statement in _statements(attestor, images, connection):
                if key_id is None or statement.key_id == key_id:
                    yield Listed(name, statement)
        except StepError as error:
            yield Failure(None, name, error)


def _statements(
    attestor: Attestor, images: Sequence[ImageRef], connection: Connection
) -> Iterator[Statement]:
    occurrences = Occurrences(connection)
    for image in dict.fromkeys(images):
        for occurrence in occurrences.on(attestor.note, image):
            yield from attestor.statements(occurrence, image)
    if not images:
        for occurrence in occurrences.on(attestor.note):
            yield from attestor.own_statements(occurrence)
