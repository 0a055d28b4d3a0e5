"""Grafeas v1, as Container Analysis serves it: notes and occurrences.

https://github.com/googleapis/googleapis/blob/master/grafeas/v1/grafeas.proto
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from threading import Lock
from typing import Any

import grpc
from google.protobuf import empty_pb2
from grafeas import grafeas_v1 as g

from step.emulator.faults import INSIDE, PARTIAL, SKIP_EXISTING, STALE
from step.emulator.filters import Filter, Value
from step.emulator.occurrences import Occurrences, Stored
from step.emulator.refusal import KeptRefusal, Refusal, already_exists, invalid, not_found
from step.emulator.resources import masked_copy, page, page_behind, parse_name
from step.emulator.rpc import rpc

PROJECT = "projects/{project}"
NOTE = "projects/{project}/notes/{note}"
OCCURRENCE = "projects/{project}/occurrences/{occurrence}"

# grafeas.proto, ListOccurrencesRequest.page_size: "Max allowed page size is 1000. If not
# specified, page size defaults to 20."
_PAGE, _MAX_PAGE = 20, 1000
# grafeas.proto, BatchCreateOccurrencesRequest and BatchCreateNotesRequest: "Max allowed length
# is 1000."
_MAX_BATCH = 1000
_STALE = timedelta(minutes=1)
_NOTE_FIELDS = ("name", "kind", "noteProjectId", "noteId", "createTime", "updateTime")
_OCCURRENCE_FIELDS = (*_NOTE_FIELDS, "projectId", "resourceUrl", "resourceUri")


class Grafeas:
    """``grafeas.v1.Grafeas``.

    A new occurrence can be read by name at once, but is in no list until ``visibility_delay``
    has passed.
    """

    SERVICE = "grafeas.v1.Grafeas"
    HOST = "containeranalysis.googleapis.com"
    TITLE = "Container Analysis API"

    def __init__(self, now: Callable[[], datetime], visibility_delay: timedelta) -> None:
        self._now = now
        self._delay = visibility_delay
        self._lock = Lock()
        self._notes: dict[str, g.Note] = {}
        self._occurrences = Occurrences()
        self._attested: dict[tuple[str, ...], str] = {}
        self.on_delete: list[Callable[[str], None]] = []
        """Told the name of each note that is deleted."""

    def seed_note(self, note: g.Note) -> None:
        """Make a note that is named in full; one that is there already stays as it is."""
        parse_name(NOTE, note.name)
        with self._lock:
            if note.name not in self._notes:
                self._notes[note.name] = self._stamped(note, note.name, "type")

    def seed_occurrence(self, occurrence: g.Occurrence) -> None:
        """Make an occurrence that is listed at once.

        It keeps its name and time of creation where it has them; without a name it is stored in
        the note's project.
        """
        home = parse_name(NOTE, occurrence.note_name)["project"]
        name = occurrence.name or _new_name(f"projects/{home}")
        parse_name(OCCURRENCE, name)
        with self._lock:
            if name in self._occurrences:
                raise already_exists("Occurrence", name)
            self._add(name, occurrence, self._now(), occurrence.create_time)

    def hide(self, name: str) -> None:
        """Keep an occurrence out of every list for ever."""
        with self._lock:
            self._occurrences.replace(replace(self._occurrences[name], listed_from=None))

    def listed(self, text: str, **scope: str) -> list[g.Occurrence]:
        """What lists show now of a filter's matches in a project, with `scope`'s values."""
        chosen = Filter.parse(text, _OCCURRENCE_FIELDS)
        with self._lock:
            return [
                stored.resource
                for stored in self._occurrences.behind("", chosen, scope, self._now())
            ]

    # Notes

    @rpc("parent", "containeranalysis.notes.create", writes=True)
    def create_note(self, request: g.CreateNoteRequest) -> g.Note:
        with self._lock:
            return self._create_note(request.parent, request.note_id, request.note)

    @rpc("parent", "containeranalysis.notes.create", writes=True)
    def batch_create_notes(self, request: g.BatchCreateNotesRequest) -> g.BatchCreateNotesResponse:
        _check_batch(len(request.notes))
        made: list[g.Note] = []
        with self._lock, _all_or_nothing(made, self._notes.__delitem__):
            for note_id, note in request.notes.items():
                made.append(self._create_note(request.parent, note_id, note))
        return g.BatchCreateNotesResponse(notes=made)

    @rpc("name", "containeranalysis.notes.get")
    def get_note(self, request: g.GetNoteRequest) -> g.Note:
        parse_name(NOTE, request.name)
        with self._lock:
            return self._note(request.name)

    @rpc("parent", "containeranalysis.notes.list")
    def list_notes(self, request: g.ListNotesRequest) -> g.ListNotesResponse:
        parse_name(PROJECT, request.parent)
        chosen = Filter.parse(request.filter, _NOTE_FIELDS)
        prefix = request.parent + "/notes/"
        with self._lock:
            notes = [entry for entry in self._notes.items() if entry[0].startswith(prefix)]
        entries = [(name, note) for name, note in notes if chosen.matches(_fields(note, name))]
        shown, token = page(
            entries,
            query=(request.parent, request.filter),
            token=request.page_token,
            size=request.page_size,
            default=_PAGE,
            maximum=_MAX_PAGE,
        )
        return g.ListNotesResponse(notes=shown, next_page_token=token)

    @rpc("name", "containeranalysis.notes.update", writes=True)
    def update_note(self, request: g.UpdateNoteRequest) -> g.Note:
        parse_name(NOTE, request.name)
        with self._lock:
            old = self._note(request.name)
            new = _updated(old, request.note, request.update_mask.paths)
            self._notes[request.name] = self._stamped(new, request.name, "type", old.create_time)
            return self._notes[request.name]

    @rpc("name", "containeranalysis.notes.delete", writes=True)
    def delete_note(self, request: g.DeleteNoteRequest) -> empty_pb2.Empty:
        parse_name(NOTE, request.name)
        with self._lock:
            self._note(request.name)
            del self._notes[request.name]
            for tell in self.on_delete:
                tell(request.name)
        return empty_pb2.Empty()

    # Occurrences

    @rpc("parent", "containeranalysis.occurrences.create", writes=True)
    def create_occurrence(self, request: g.CreateOccurrenceRequest) -> g.Occurrence:
        with self._lock:
            return self._create_occurrence(request.parent, request.occurrence)

    @rpc("parent", "containeranalysis.occurrences.create", writes=True)
    def batch_create_occurrences(
        self, request: g.BatchCreateOccurrencesRequest
    ) -> g.BatchCreateOccurrencesResponse:
        _check_batch(len(request.occurrences))
        made: list[g.Occurrence] = []
        total, fault = len(request.occurrences), INSIDE.get()
        wanted = islice(request.occurrences, (total + 1) // 2 if fault == PARTIAL else total)
        with self._lock, _all_or_nothing(made, self._occurrences.remove):
            for occurrence in wanted:
                try:
                    made.append(self._create_occurrence(request.parent, occurrence))
                except Refusal as refusal:
                    exists = refusal.code is grpc.StatusCode.ALREADY_EXISTS
                    if not (exists and fault in (PARTIAL, SKIP_EXISTING)):
                        raise
        if fault == PARTIAL:
            failed = total - len(made)
            raise KeptRefusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"errors encountered when batch creating occurrences: {failed} of {total} "
                "occurrences failed",
            )
        return g.BatchCreateOccurrencesResponse(occurrences=made)

    @rpc("name", "containeranalysis.occurrences.get")
    def get_occurrence(self, request: g.GetOccurrenceRequest) -> g.Occurrence:
        with self._lock:
            return self._occurrence(request.name).resource

    @rpc("name", "containeranalysis.occurrences.get")
    def get_occurrence_note(self, request: g.GetOccurrenceNoteRequest) -> g.Note:
        with self._lock:
            return self._note(self._occurrence(request.name).resource.note_name)

    @rpc("parent", "containeranalysis.occurrences.list")
    def list_occurrences(self, request: g.ListOccurrencesRequest) -> g.ListOccurrencesResponse:
        home = parse_name(PROJECT, request.parent)
        shown, token = self._listed_page(request, request.parent, {"projectId": home["project"]})
        return g.ListOccurrencesResponse(occurrences=shown, next_page_token=token)

    @rpc("name", "containeranalysis.notes.listOccurrences")
    def list_note_occurrences(
        self, request: g.ListNoteOccurrencesRequest
    ) -> g.ListNoteOccurrencesResponse:
        parse_name(NOTE, request.name)
        with self._lock:
            self._note(request.name)
        home = parse_name(NOTE, request.name)
        scope = {"noteProjectId": home["project"], "noteId": home["note"]}
        shown, token = self._listed_page(request, request.name, scope)
        return g.ListNoteOccurrencesResponse(occurrences=shown, next_page_token=token)

    @rpc("name", "containeranalysis.occurrences.update", writes=True)
    def update_occurrence(self, request: g.UpdateOccurrenceRequest) -> g.Occurrence:
        with self._lock:
            stored = self._occurrence(request.name)
            old = stored.resource
            wanted = _updated(old, request.occurrence, request.update_mask.paths)
            for field in ("resource_uri", "note_name"):
                if getattr(wanted, field) != getattr(old, field):
                    raise invalid(f"{field} is immutable.")
            new: g.Occurrence = self._stamped(wanted, request.name, "details", old.create_time)
            changed = replace(stored, resource=new, fields=_occurrence_fields(new))
            self._occurrences.replace(changed)
            self._attested[_identity(new)] = request.name
            return new

    @rpc("name", "containeranalysis.occurrences.delete", writes=True)
    def delete_occurrence(self, request: g.DeleteOccurrenceRequest) -> empty_pb2.Empty:
        with self._lock:
            self._occurrence(request.name)
            self._occurrences.remove(request.name)
        return empty_pb2.Empty()

    def _listed_page(
        self, request: Any, parent: str, scope: Mapping[str, str]
    ) -> tuple[list[g.Occurrence], str]:
        chosen = Filter.parse(request.filter, _OCCURRENCE_FIELDS)
        now = self._now()
        if INSIDE.get() == STALE:
            now -= _STALE
        with self._lock:
            return page_behind(
                lambda after: (
                    (stored.position, stored.resource)
                    for stored in self._occurrences.behind(after, chosen, scope, now)
                ),
                query=(parent, request.filter),
                token=request.page_token,
                size=min(request.page_size or _PAGE, _MAX_PAGE),
            )

    # State; the lock is held by the caller except where said otherwise

    def _create_note(self, parent: str, note_id: str, note: g.Note) -> g.Note:
        parse_name(PROJECT, parent)
        name = f"{parent}/notes/{note_id}"
        parse_name(NOTE, name)
        if name in self._notes:
            raise already_exists("Note", name)
        self._notes[name] = self._stamped(note, name, "type")
        return self._notes[name]

    def _create_occurrence(self, parent: str, occurrence: g.Occurrence) -> g.Occurrence:
        parse_name(PROJECT, parent)
        return self._add(_new_name(parent), occurrence, self._now() + self._delay)

    def _add(
        self,
        name: str,
        occurrence: g.Occurrence,
        listed_from: datetime,
        create_time: datetime | None = None,
    ) -> g.Occurrence:
        if not occurrence.resource_uri:
            raise invalid("occurrence.resource_uri is required.")
        parse_name(NOTE, occurrence.note_name)
        self._note(occurrence.note_name)
        made: g.Occurrence = self._stamped(occurrence, name, "details", create_time)
        self._refuse_duplicate(made)
        self._occurrences.add(made, listed_from, _occurrence_fields(made))
        self._attested[_identity(made)] = name
        return made

    def _refuse_duplicate(self, made: g.Occurrence) -> None:
        """The service knows an attestation again; which fields it compares is not documented."""
        identity = _identity(made)
        known = self._occurrences.get(self._attested.get(identity, ""))
        if "attestation" in made and known and _identity(known.resource) == identity:
            # https://github.com/GoogleCloudPlatform/gke-binary-auth-tools/issues/4
            taken = known.resource.name.rpartition("/")[2]
            raise Refusal(grpc.StatusCode.ALREADY_EXISTS, f'occurrence ID "{taken}" already exists')

    def _note(self, name: str) -> g.Note:
        if name not in self._notes:
            raise not_found("Note", name)
        return self._notes[name]

    def _occurrence(self, name: str) -> Stored:
        parse_name(OCCURRENCE, name)
        if name not in self._occurrences:
            raise not_found("Occurrence", name)
        return self._occurrences[name]

    def _stamped(
        self, resource: Any, name: str, oneof: str, create_time: datetime | None = None
    ) -> Any:
        """A copy with the fields that the service sets: name, kind and times."""
        stamped = type(resource)(resource)
        kind = type(resource).pb(stamped).WhichOneof(oneof)
        if kind is None:
            raise invalid(f"One of the {oneof} fields of {type(resource).__name__} is required.")
        stamped.name = name
        stamped.kind = g.NoteKind.__members__[kind.upper()]
        stamped.update_time = self._now()
        stamped.create_time = create_time or stamped.update_time
        return stamped


@contextmanager
def _all_or_nothing(made: Sequence[Any], remove: Callable[[str], None]) -> Iterator[None]:
    """Removes what was made when the block ends in an exception."""
    try:
        yield
    except BaseException:
        for resource in made:
            remove(resource.name)
        raise


def _new_name(parent: str) -> str:
    return f"{parent}/occurrences/{uuid.uuid4()}"


def _check_batch(size: int) -> None:
    if size == 0:
        raise invalid("A batch must not be empty.")
    if size > _MAX_BATCH:
        raise invalid(f"A batch holds at most {_MAX_BATCH} resources, not {size}.")


def _updated(old: Any, new: Any, paths: Any) -> Any:
    return masked_copy(old, new, paths) if paths else type(new)(new)


def _fields(resource: g.Note | g.Occurrence, note_name: str) -> dict[str, Value]:
    note = parse_name(NOTE, note_name)
    return {
        "name": resource.name,
        "kind": g.NoteKind(resource.kind).name,
        "noteProjectId": note["project"],
        "noteId": note["note"],
        "createTime": resource.create_time,
        "updateTime": resource.update_time,
    }


def _occurrence_fields(occurrence: g.Occurrence) -> dict[str, Value]:
    return _fields(occurrence, occurrence.note_name) | {
        "projectId": parse_name(OCCURRENCE, occurrence.name)["project"],
        "resourceUrl": occurrence.resource_uri,
        "resourceUri": occurrence.resource_uri,
    }


def _identity(occurrence: g.Occurrence) -> tuple[str, ...]:
    """What makes an attestation the same one again: all but its name and times."""
    return (
        occurrence.name.rpartition("/")[0],
        occurrence.note_name,
        occurrence.resource_uri,
        g.AttestationOccurrence.serialize(occurrence.attestation).hex(),
    )
