"""Attestations as Container Analysis stores them: occurrences of kind ATTESTATION on a note."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from grafeas import grafeas_v1

from step.cloud.attestors import to_grafeas
from step.cloud.connection import Connection
from step.cloud.methods import BATCH_CREATE_OCCURRENCES, CREATE_OCCURRENCE, LIST_NOTE_OCCURRENCES
from step.cloud.pages import pages
from step.model.attestation import ATTESTATION, Attestation, Occurrence, Signature
from step.model.image import Digest, ImageRef
from step.model.names import NoteName, ProjectName

# The API states neither a default nor a limit for this method; gcloud asks for 100.
_PAGE_SIZE = 250
_LARGE_PAGE = 1000
_KINDS = {int(number): name for name, number in grafeas_v1.NoteKind.__members__.items()}


@dataclass(frozen=True, slots=True)
class About:
    """An attestation, and the digest that it is attached to: `sha256:` and whatever follows."""

    digest: str
    _plain: Any

    @property
    def occurrence(self) -> Occurrence:
        """The attestation itself."""
        return _from_grafeas(self._plain)


@dataclass(frozen=True, slots=True)
class Occurrences:
    """The attestations that a connection can reach."""

    connection: Connection

    def of(self, note: NoteName, image: ImageRef) -> Iterator[Occurrence]:
        """The attestations on a note for an image's digest, read page by page as they are used.

        Needs roles/containeranalysis.notes.occurrences.viewer on the note.
        """
        return (each for each in self.on(note, image) if each.kind == ATTESTATION)

    def of_each(
        self, note: NoteName, images: Collection[ImageRef]
    ) -> dict[Digest, list[Occurrence]]:
        """The attestations on a note for several images' digests, as `about` finds them."""
        listed: dict[Digest, dict[str, Occurrence]] = {image.digest: {} for image in images}
        texts = {str(digest): digest for digest in listed}
        for about in self.about(note, texts):
            listed[texts[about.digest]][about.occurrence.name] = about.occurrence
        return {digest: list(by_name.values()) for digest, by_name in listed.items()}

    def about(self, note: NoteName, digests: Collection[str]) -> Iterator[About]:
        """The attestations on a note for several digests, in any order, some of them twice.

        The note is read as a whole, unless it has more pages than there are digests: then each is
        looked up, which asks less. Raises what `on` raises.
        """
        pages = self._pages(note, "", _LARGE_PAGE) if len(digests) > 1 else iter(())
        for page, _ in zip(pages, digests, strict=False):
            yield from (each for each in _attestations(page) if each.digest in digests)
            if not page.next_page_token:
                return
        for digest in digests:
            for page in self._pages(note, f'has_suffix(resourceUrl, "{digest}")', _PAGE_SIZE):
                yield from (each for each in _attestations(page) if each.digest == digest)

    def sweep(self, note: NoteName) -> Iterator[About]:
        """All attestations on a note that name a digest, in large pages; raises what `on` does."""
        for page in self._pages(note, "", _LARGE_PAGE):
            yield from _attestations(page)

    def on(self, note: NoteName, image: ImageRef | None = None) -> Iterator[Occurrence]:
        """Whatever is on a note, of any kind: for an image's digest, or all of it.

        Matched by the digest at the end of the resource's URI, since writers spell what is before
        it differently. Needs roles/containeranalysis.notes.occurrences.viewer on the note.
        """
        about = f'has_suffix(resourceUrl, "{image.digest}")' if image else ""
        for page in self._pages(note, about, _PAGE_SIZE):
            yield from map(_from_grafeas, page.occurrences)

    def _pages(self, note: NoteName, about: str, size: int) -> Iterator[Any]:
        """Pages of a note as plain protobuf: of thousands, wrapping each would take most time."""
        request = grafeas_v1.ListNoteOccurrencesRequest(
            name=str(note), filter=about, page_size=size
        )
        for page in pages(self.connection, LIST_NOTE_OCCURRENCES, request, str(note)):
            yield grafeas_v1.ListNoteOccurrencesResponse.pb(page)

    def create(
        self, project: ProjectName, note: NoteName, image: ImageRef, attestation: Attestation
    ) -> Occurrence:
        """Store an attestation in a project; called for verified ones only.

        Needs roles/containeranalysis.occurrences.editor on the project and
        roles/containeranalysis.notes.attacher on the note. Raises AnswerLost when it cannot be
        known whether it was stored, AlreadyExists when the service holds the same one.
        """
        occurrence = _to_grafeas(note, image, attestation)
        request = grafeas_v1.CreateOccurrenceRequest(parent=str(project), occurrence=occurrence)
        stored = self.connection.call(CREATE_OCCURRENCE, request, f"{project}, {note}")
        return _from_grafeas(grafeas_v1.Occurrence.pb(stored))

    def create_batch(
        self, project: ProjectName, batch: Sequence[tuple[NoteName, ImageRef, Attestation]]
    ) -> list[Occurrence]:
        """Store several verified attestations at once; the answer may leave out what was there.

        Needs and raises what `create` does, for all of them; which were stored before an error, is
        not said (docs/adr/0027). At most 1,000: grafeas/v1/grafeas.proto,
        BatchCreateOccurrencesRequest.occurrences.
        """
        request = grafeas_v1.BatchCreateOccurrencesRequest(
            parent=str(project), occurrences=[_to_grafeas(*each) for each in batch]
        )
        notes = ", ".join(dict.fromkeys(str(note) for note, _, _ in batch))
        stored = self.connection.call(BATCH_CREATE_OCCURRENCES, request, f"{project}, {notes}")
        plain = grafeas_v1.BatchCreateOccurrencesResponse.pb(stored)
        return [_from_grafeas(each) for each in plain.occurrences]


def _attestations(page: Any) -> Iterator[About]:
    """What of a page attests a digest; wrapped only once it is used."""
    for plain in page.occurrences:
        digest = plain.resource_uri.rpartition("@")[2]
        if plain.kind == grafeas_v1.NoteKind.ATTESTATION and digest.startswith("sha256:"):
            yield About(digest, plain)


def _to_grafeas(note: NoteName, image: ImageRef, attestation: Attestation) -> grafeas_v1.Occurrence:
    return grafeas_v1.Occurrence(
        resource_uri=image.resource_uri,
        note_name=str(note),
        kind=grafeas_v1.NoteKind.ATTESTATION,
        attestation=to_grafeas(attestation),
    )


def _from_grafeas(stored: Any) -> Occurrence:
    attestation = Attestation(
        stored.attestation.serialized_payload,
        tuple(
            Signature(each.public_key_id, each.signature) for each in stored.attestation.signatures
        ),
    )
    # As a number: a kind that this version of the client does not know has no name.
    kind = _KINDS.get(stored.kind, f"number {stored.kind}")
    created = stored.create_time.ToDatetime(UTC) if stored.HasField("create_time") else None
    return Occurrence(stored.name, stored.resource_uri, attestation, created, kind)
