"""Attestations as Container Analysis stores them: occurrences of kind ATTESTATION on a note."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from grafeas import grafeas_v1

from step.cloud.attestors import to_grafeas
from step.cloud.connection import CONTAINER_ANALYSIS, Connection
from step.cloud.failures import Method
from step.cloud.pages import pages
from step.model.attestation import ATTESTATION, Attestation, Occurrence, Signature
from step.model.image import ImageRef
from step.model.names import NoteName, ProjectName

_LIST = Method(
    "ListNoteOccurrences",
    CONTAINER_ANALYSIS,
    "roles/containeranalysis.notes.occurrences.viewer",
    "the attestor's note",
)
_CREATE = Method(
    "CreateOccurrence",
    CONTAINER_ANALYSIS,
    "roles/containeranalysis.occurrences.editor on the attestation project and "
    "roles/containeranalysis.notes.attacher",
    "the attestor's note",
    writes=True,
)
# The API states neither a default nor a limit for this method; gcloud asks for 100.
_PAGE_SIZE = 250
_KINDS = {int(one): name for name, one in grafeas_v1.NoteKind.__members__.items()}


class Occurrences:
    """The attestations that a connection can reach."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, note: NoteName, image: ImageRef) -> Iterator[Occurrence]:
        """The attestations on a note for an image's digest, read page by page as they are used.

        Needs roles/containeranalysis.notes.occurrences.viewer on the note.
        """
        return (one for one in self.on(note, image) if one.kind == ATTESTATION)

    def on(self, note: NoteName, image: ImageRef | None = None) -> Iterator[Occurrence]:
        """Whatever is on a note, of any kind: for an image's digest, or all of it.

        Matched by the digest at the end of the resource's URI, since writers spell what is before
        it differently. Needs roles/containeranalysis.notes.occurrences.viewer on the note.
        """
        about = f'has_suffix(resourceUrl, "{image.digest}")' if image else ""
        request = grafeas_v1.ListNoteOccurrencesRequest(
            name=str(note), filter=about, page_size=_PAGE_SIZE
        )
        listed = self._connection.occurrences.list_note_occurrences
        for page in pages(self._connection, _LIST, listed, request, str(note)):
            plain = grafeas_v1.ListNoteOccurrencesResponse.pb(page)
            yield from map(_from_grafeas, plain.occurrences)

    def create(
        self, project: ProjectName, note: NoteName, image: ImageRef, attestation: Attestation
    ) -> Occurrence:
        """Store an attestation in a project; called for verified ones only.

        Needs roles/containeranalysis.occurrences.editor on the project and
        roles/containeranalysis.notes.attacher on the note. Raises AnswerLost when it cannot be
        known whether it was stored, AlreadyExists when the service holds the same one.
        """
        stored = self._connection.call(
            _CREATE,
            self._connection.occurrences.create_occurrence,
            grafeas_v1.CreateOccurrenceRequest(
                parent=str(project),
                occurrence=grafeas_v1.Occurrence(
                    resource_uri=image.resource_uri,
                    note_name=str(note),
                    kind=grafeas_v1.NoteKind.ATTESTATION,
                    attestation=to_grafeas(attestation),
                ),
            ),
            f"{project}, {note}",
        )
        return _from_grafeas(grafeas_v1.Occurrence.pb(stored))


def _from_grafeas(found: Any) -> Occurrence:
    """One of the API's, as plain protobuf: of thousands, wrapping each would take most time."""
    attestation = Attestation(
        found.attestation.serialized_payload,
        tuple(Signature(one.public_key_id, one.signature) for one in found.attestation.signatures),
    )
    # As a number: a kind that this version of the client does not know has no name.
    kind = _KINDS.get(found.kind, f"number {found.kind}")
    created = found.create_time.ToDatetime(UTC) if found.HasField("create_time") else None
    return Occurrence(found.name, found.resource_uri, attestation, created, kind)
