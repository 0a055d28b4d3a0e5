"""Notes and occurrences of the emulated Container Analysis."""

from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from google.api_core.exceptions import AlreadyExists, InvalidArgument, NotFound
from google.protobuf import field_mask_pb2
from grafeas import grafeas_v1 as g

from step.emulator import Emulator
from step.emulator.filters import Filter
from step.emulator.occurrences import Occurrences
from tests.emulator.world import DIGEST, NOTE, PROJECT, URI, Clients, FakeClock

HINT = {"attestation": {"hint": {"human_readable_name": "qa"}}}


def attestation(text: str) -> g.AttestationOccurrence:
    return g.AttestationOccurrence(
        serialized_payload=text.encode(), signatures=[{"public_key_id": "k", "signature": b"s"}]
    )


def occurrence(text: str = "one", uri: str = URI) -> g.Occurrence:
    return g.Occurrence(resource_uri=uri, note_name=NOTE, attestation=attestation(text))


# Occurrences


def test_an_occurrence_gets_name_kind_and_times(clients: Clients, clock: FakeClock) -> None:
    made = clients.create(attestation("one"))
    assert made.name.startswith(f"{PROJECT}/occurrences/")
    assert made.kind == g.NoteKind.ATTESTATION
    assert made.create_time == made.update_time == clock.now()
    assert made.attestation == attestation("one")
    assert clients.grafeas.get_occurrence(name=made.name) == made
    assert clients.grafeas.get_occurrence_note(name=made.name).name == NOTE


def test_a_new_occurrence_is_readable_at_once_and_listed_later(
    clients: Clients, clock: FakeClock
) -> None:
    made = clients.create(attestation("one"))
    assert clients.grafeas.get_occurrence(name=made.name) == made
    clock.advance(timedelta(seconds=2.999))
    assert clients.listed() == []
    assert list(clients.grafeas.list_occurrences(parent=PROJECT)) == []
    clock.advance(timedelta(seconds=0.001))
    assert clients.listed() == [made.name]
    assert [
        list_occurrence.name for list_occurrence in clients.grafeas.list_occurrences(parent=PROJECT)
    ] == [made.name]


def test_the_same_attestation_again_already_exists_listed_or_not(
    clients: Clients, clock: FakeClock
) -> None:
    made = clients.create(attestation("one"))
    identity = made.name.rpartition("/")[2]
    for _ in range(2):
        with pytest.raises(AlreadyExists, match=f'^409 occurrence ID "{identity}" already exists$'):
            clients.create(attestation("one"))
        clock.advance(timedelta(seconds=5))
    clients.create(attestation("two"))
    clients.create(attestation("one"), uri=URI.replace("ab", "cd"))
    clients.create(attestation("one"), parent="projects/other")
    assert len(clients.listed()) == 1
    clients.grafeas.delete_occurrence(name=made.name)
    clients.create(attestation("one"))


def test_only_attestations_are_known_again(clients: Clients) -> None:
    build = g.Occurrence(resource_uri=URI, note_name=NOTE, discovery={})
    names = {
        clients.grafeas.create_occurrence(parent=PROJECT, occurrence=build).name for _ in range(2)
    }
    assert len(names) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resource_uri": ""}, "resource_uri is required"),
        ({"note_name": ""}, "does not match the pattern"),
        ({"attestation": None}, "details fields of Occurrence is required"),
    ],
)
def test_incomplete_occurrences_are_refused(
    clients: Clients, change: dict[str, Any], message: str
) -> None:
    made = occurrence()
    for field, value in change.items():
        setattr(made, field, value)
    with pytest.raises(InvalidArgument, match=message):
        clients.grafeas.create_occurrence(parent=PROJECT, occurrence=made)


def test_the_note_must_exist(clients: Clients) -> None:
    made = occurrence()
    made.note_name = f"{PROJECT}/notes/other"
    with pytest.raises(NotFound, match="Note projects/p/notes/other not found"):
        clients.grafeas.create_occurrence(parent=PROJECT, occurrence=made)
    with pytest.raises(NotFound):
        clients.grafeas.list_note_occurrences(name=made.note_name)


def test_a_deleted_occurrence_is_gone(clients: Clients, clock: FakeClock) -> None:
    made = clients.create(attestation("one"))
    clock.advance(timedelta(seconds=3))
    clients.grafeas.delete_occurrence(name=made.name)
    assert clients.listed() == []
    for gone in (
        clients.grafeas.get_occurrence,
        clients.grafeas.get_occurrence_note,
        clients.grafeas.delete_occurrence,
    ):
        with pytest.raises(NotFound, match="not found"):
            gone(name=made.name)


def _update(clients: Clients, name: str, fields: dict[str, Any], *paths: str) -> g.Occurrence:
    return clients.grafeas.update_occurrence(
        name=name,
        occurrence=g.Occurrence(fields),
        update_mask=field_mask_pb2.FieldMask(paths=paths),
    )


def test_an_occurrence_is_updated_by_mask(clients: Clients, clock: FakeClock) -> None:
    made = clients.create(attestation("one"))
    clock.advance(timedelta(seconds=1))
    updated = _update(clients, made.name, {"remediation": "r"}, "remediation")
    assert (updated.remediation, updated.attestation) == ("r", made.attestation)
    assert updated.update_time == clock.now()
    assert updated.create_time == made.create_time
    assert _update(clients, made.name, {}, "remediation").remediation == ""
    for path, message in (("resource_uri", "immutable"), ("nothing", "no field 'nothing'")):
        with pytest.raises(InvalidArgument, match=message):
            _update(clients, made.name, {"resource_uri": "x"}, path)


def test_after_an_update_the_new_content_is_known_and_the_old_is_not(clients: Clients) -> None:
    made = clients.create(attestation("one"))
    fields = {"resource_uri": URI, "note_name": NOTE, "attestation": attestation("two")}
    assert _update(clients, made.name, fields).attestation == attestation("two")
    with pytest.raises(AlreadyExists):
        clients.create(attestation("two"))
    clients.create(attestation("one"))


# Batches


def _batch(clients: Clients, *made: g.Occurrence) -> list[str]:
    response = clients.grafeas.batch_create_occurrences(parent=PROJECT, occurrences=list(made))
    return [each.name for each in response.occurrences]


def test_a_batch_is_made_whole_or_not_at_all(clients: Clients, clock: FakeClock) -> None:
    names = _batch(clients, occurrence("one"), occurrence("two"))
    with pytest.raises(AlreadyExists):
        _batch(clients, occurrence("three"), occurrence("two"))
    clock.advance(timedelta(seconds=3))
    assert clients.listed() == names
    assert len(_batch(clients, occurrence("three"))) == 1


def test_a_batch_has_at_least_one_and_at_most_a_thousand(clients: Clients) -> None:
    with pytest.raises(InvalidArgument, match="must not be empty"):
        _batch(clients)
    with pytest.raises(InvalidArgument, match="at most 1000 resources, not 1001"):
        _batch(clients, *[occurrence()] * 1001)


# Lists


@pytest.fixture
def seven(clients: Clients, clock: FakeClock) -> list[str]:
    """Seven listed occurrences, in the order in which they were made."""
    names = _batch(clients, *(occurrence(str(number), f"{URI}#{number}") for number in range(7)))
    clock.advance(timedelta(seconds=3))
    return names


def test_lists_come_in_pages(clients: Clients, seven: list[str]) -> None:
    pages = list(
        clients.grafeas.list_note_occurrences(
            g.ListNoteOccurrencesRequest(name=NOTE, page_size=3)
        ).pages
    )
    assert [len(page.occurrences) for page in pages] == [3, 3, 1]
    assert [each.name for page in pages for each in page.occurrences] == seven
    assert [bool(page.next_page_token) for page in pages] == [True, True, False]


def test_pages_hold_twenty_unless_asked_otherwise(clients: Clients, clock: FakeClock) -> None:
    _batch(clients, *(occurrence(str(number)) for number in range(21)))
    clock.advance(timedelta(seconds=3))
    for size, expected in ((0, [20, 1]), (1000, [21]), (5000, [21])):
        pages = clients.grafeas.list_occurrences(
            g.ListOccurrencesRequest(parent=PROJECT, page_size=size)
        ).pages
        assert [len(page.occurrences) for page in pages] == expected


def test_what_changes_between_pages_hides_and_repeats_nothing(
    clients: Clients, clock: FakeClock, seven: list[str]
) -> None:
    request = g.ListNoteOccurrencesRequest(name=NOTE, page_size=3)
    first = clients.grafeas.list_note_occurrences(request)
    clients.grafeas.delete_occurrence(name=seven[2])
    added = _batch(clients, occurrence("more"))
    clock.advance(timedelta(seconds=3))
    assert [each.name for each in first] == seven + added


@pytest.mark.parametrize(
    "change", [{"page_token": "x"}, {"page_token": "é"}, {"filter": 'kind="BUILD"'}]
)
def test_a_token_belongs_to_its_request(
    clients: Clients, seven: list[str], change: dict[str, str]
) -> None:
    request = g.ListNoteOccurrencesRequest(name=NOTE, page_size=3)
    request.page_token = next(
        iter(clients.grafeas.list_note_occurrences(request).pages)
    ).next_page_token
    for field, value in change.items():
        setattr(request, field, value)
    with pytest.raises(InvalidArgument, match="page_token"):
        clients.grafeas.list_note_occurrences(request)


def test_a_negative_page_size_is_refused(clients: Clients) -> None:
    with pytest.raises(InvalidArgument, match="page_size"):
        clients.grafeas.list_occurrences(g.ListOccurrencesRequest(parent=PROJECT, page_size=-1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'has_suffix(resourceUrl, "{DIGEST}#3")', [3]),
        (f'resourceUrl="{URI}#1" OR resource_url="{URI}#2"', [1, 2]),
        ('kind="ATTESTATION" AND noteProjectId="p" AND noteId="n" AND resourceUri:"#4"', [4]),
        ('has_prefix(resource_uri, "https://example.com/") AND NOT kind="ATTESTATION"', []),
        ('createTime>"2026-01-01T00:00:00Z" AND resourceUrl:"#0"', [0]),
        ('createTime<"2026-01-01T00:00:00Z"', []),
        ('projectId="other"', []),
    ],
)
def test_lists_are_filtered(
    clients: Clients, seven: list[str], text: str, expected: list[int]
) -> None:
    assert clients.listed(text) == [seven[number] for number in expected]
    listed = clients.grafeas.list_occurrences(parent=PROJECT, filter=text)
    assert [each.name for each in listed] == [seven[number] for number in expected]


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.grafeas.list_occurrences(parent=PROJECT, filter="kind"),
        lambda c: c.grafeas.list_notes(parent=PROJECT, filter='resourceUrl="x"'),
        lambda c: c.grafeas.list_note_occurrences(name=NOTE, filter='nothing="x"'),
        lambda c: c.grafeas.list_notes(parent="p", filter=""),
        lambda c: c.grafeas.get_note(name="n"),
    ],
)
def test_bad_requests_are_refused(clients: Clients, call: Callable[[Clients], Any]) -> None:
    with pytest.raises(InvalidArgument):
        call(clients)


# Notes


def _create_note(clients: Clients, identity: str) -> g.Note:
    return clients.grafeas.create_note(parent=PROJECT, note_id=identity, note=g.Note(HINT))


def test_a_note_lives_and_dies(clients: Clients, clock: FakeClock) -> None:
    made = _create_note(clients, "m")
    assert (made.name, made.kind) == (f"{PROJECT}/notes/m", g.NoteKind.ATTESTATION)
    assert clients.grafeas.get_note(name=made.name) == made
    with pytest.raises(AlreadyExists, match="notes/m already exists"):
        _create_note(clients, "m")
    clock.advance(timedelta(seconds=1))
    updated = clients.grafeas.update_note(
        name=made.name,
        note=g.Note(short_description="s"),
        update_mask=field_mask_pb2.FieldMask(paths=["short_description"]),
    )
    assert (updated.short_description, updated.attestation) == ("s", made.attestation)
    assert updated.update_time - updated.create_time == timedelta(seconds=1)
    clients.grafeas.delete_note(name=made.name)
    for gone in (clients.grafeas.get_note, clients.grafeas.delete_note):
        with pytest.raises(NotFound):
            gone(name=made.name)


def test_a_note_needs_an_id_and_a_type(clients: Clients) -> None:
    with pytest.raises(InvalidArgument, match="does not match the pattern"):
        _create_note(clients, "")
    with pytest.raises(InvalidArgument, match="type fields of Note is required"):
        clients.grafeas.create_note(parent=PROJECT, note_id="m", note=g.Note())


def test_notes_are_made_in_batches_and_listed_by_filter(clients: Clients) -> None:
    build = g.Note(build={"builder_version": "1"})
    response = clients.grafeas.batch_create_notes(
        parent=PROJECT, notes={"m1": g.Note(HINT), "m2": build}
    )
    assert {note.name for note in response.notes} == {f"{PROJECT}/notes/m{n}" for n in (1, 2)}
    with pytest.raises(AlreadyExists):
        clients.grafeas.batch_create_notes(
            parent=PROJECT, notes={"m0": g.Note(HINT), "n": g.Note(HINT)}
        )
    listed = [note.name for note in clients.grafeas.list_notes(parent=PROJECT)]
    assert listed == [f"{PROJECT}/notes/{name}" for name in ("m1", "m2", "n")]
    [only] = clients.grafeas.list_notes(parent=PROJECT, filter='kind="BUILD"')
    assert only.name == f"{PROJECT}/notes/m2"
    assert list(clients.grafeas.list_notes(parent="projects/other")) == []


def test_each_write_is_in_the_call_log(clients: Clients, emulator: Emulator) -> None:
    made = clients.create(attestation("one"))
    clients.grafeas.get_occurrence(name=made.name)
    clients.grafeas.delete_occurrence(name=made.name)
    assert [(call.method, call.resource) for call in emulator.calls.writes()] == [
        ("CreateOccurrence", PROJECT),
        ("DeleteOccurrence", made.name),
    ]


def test_a_list_for_one_digest_looks_at_no_other(clock: FakeClock) -> None:
    """Of ten thousand on the note, and page by page of all of them no more than a page."""

    class Counted(dict[str, Any]):
        read = 0

        def __getitem__(self, key: str) -> Any:
            Counted.read += 1
            return super().__getitem__(key)

    stored, home = Occurrences(), {"noteProjectId": "p", "noteId": "n"}
    for number in range(10_000):
        uri = f"https://registry/image@sha256:{number:064x}"
        fields = {"projectId": "p", "resourceUri": uri, "resourceUrl": uri} | home
        made = g.Occurrence(name=f"projects/p/occurrences/{number}")
        stored.add(made, clock.now(), Counted(fields))
    every = Filter.parse("", fields)
    about = Filter.parse(f'has_suffix(resourceUrl, "sha256:{4711:064x}")', fields)
    Counted.read = 0
    [actual] = stored.behind("", about, home, clock.now())
    assert actual.resource.name.endswith("/4711")
    assert Counted.read <= 8
    page = list(islice(stored.behind(f"{5000:012d}", every, home, clock.now()), 3))
    assert [each.resource.name.rpartition("/")[2] for each in page] == ["5000", "5001", "5002"]
    assert Counted.read <= 20
