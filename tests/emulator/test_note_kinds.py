"""Notes and occurrences of other kinds than attestations: seeded, made, found by filters."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from grafeas import grafeas_v1 as g

from step.emulator import Emulator, Seed
from tests.emulator.rest import RestClients, ask, rest_clients
from tests.emulator.world import DIGEST, NOTE, PROJECT, URI, Clients, FakeClock

SCAN = "projects/goog-analysis/notes/PACKAGE_VULNERABILITY"
CVE = "projects/goog-vulnz/notes/CVE-2024-1"
BUILD = f"{PROJECT}/notes/built"
OTHER = f"https://example.com/other@{DIGEST}"

# One of each kind that an image has after its build and scan.
FOUND: dict[str, dict[str, Any]] = {
    "DISCOVERY": {
        "noteName": SCAN,
        "discovery": {"analysisStatus": "FINISHED_SUCCESS", "continuousAnalysis": "ACTIVE"},
    },
    "VULNERABILITY": {
        "noteName": CVE,
        "vulnerability": {
            "effectiveSeverity": "HIGH",
            "fixAvailable": True,
            "packageIssue": [
                {
                    "affectedCpeUri": "cpe:/o:debian:debian_linux:12",
                    "affectedPackage": "zlib",
                    "affectedVersion": {"name": "1.2", "kind": "NORMAL", "fullName": "1.2"},
                    "fixedVersion": {"kind": "MAXIMUM"},
                }
            ],
        },
    },
    "BUILD": {
        "noteName": BUILD,
        "build": {
            "provenance": {
                "id": "6a1c0f52",
                "projectId": "p",
                "builtArtifacts": [{"checksum": DIGEST, "names": ["example.com/image:v1"]}],
            }
        },
    },
}
NOTES: list[dict[str, Any]] = [
    {"name": SCAN, "discovery": {"analysisKind": "VULNERABILITY"}, "shortDescription": "scan"},
    {
        "name": CVE,
        "vulnerability": {
            "severity": "HIGH",
            "details": [{"affectedCpeUri": "cpe:/o:debian:debian_linux:12"}],
        },
    },
    {"name": BUILD, "build": {"builderVersion": "1"}},
]


@pytest.fixture
def seeded(clock: FakeClock) -> Iterator[Emulator]:
    """Notes of each kind, an occurrence of each in a project, and one of another image."""
    occurrences = [
        {"name": f"{PROJECT}/occurrences/{kind.lower()}", "resourceUri": URI} | actual
        for kind, actual in FOUND.items()
    ]
    occurrences.append(
        {"name": f"{PROJECT}/occurrences/other", "resourceUri": OTHER} | FOUND["VULNERABILITY"]
    )
    text = json.dumps({"notes": NOTES, "occurrences": occurrences})
    with Emulator(Seed.parse(text), now=clock.now) as running:
        yield running


@pytest.fixture
def rest(seeded: Emulator) -> Iterator[RestClients]:
    with rest_clients(seeded) as made:
        yield made


def test_seeded_notes_have_their_kind(seeded: Emulator, rest: RestClients) -> None:
    clients = Clients.of(seeded)
    for grafeas in (clients.grafeas, rest.grafeas):
        kinds = [grafeas.get_note(name=note["name"]).kind for note in NOTES]
        assert kinds == [g.NoteKind.DISCOVERY, g.NoteKind.VULNERABILITY, g.NoteKind.BUILD]
        assert grafeas.get_note(name=SCAN).discovery.analysis_kind == g.NoteKind.VULNERABILITY
        assert grafeas.get_note(name=SCAN).short_description == "scan"
        assert grafeas.get_note(name=BUILD).build.builder_version == "1"
        assert grafeas.get_note(name=CVE).vulnerability.severity == g.Severity.HIGH
    clients.channel.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["discovery", "vulnerability", "build", "other"]),
        ('kind="DISCOVERY"', ["discovery"]),
        ('kind="BUILD"', ["build"]),
        ('kind="VULNERABILITY"', ["vulnerability", "other"]),
        (f'kind="VULNERABILITY" AND resourceUrl="{URI}"', ["vulnerability"]),
        (
            f'resourceUrl="{URI}" AND noteProjectId="goog-analysis" '
            'AND noteId="PACKAGE_VULNERABILITY"',
            ["discovery"],
        ),
        ('noteProjectId="goog-vulnz" AND noteId="CVE-2024-1"', ["vulnerability", "other"]),
        (
            'has_prefix(resourceUrl, "https://example.com/im")',
            ["discovery", "vulnerability", "build"],
        ),
        (
            '(has_prefix(resourceUrl, "https://example.com/")) AND ((kind = "BUILD") OR '
            f'(kind = "DISCOVERY")) AND ((resourceUrl = "{URI}"))',
            ["discovery", "build"],
        ),
        ('kind="ATTESTATION"', []),
    ],
)
def test_they_are_found_by_filters_over_grpc_and_rest(
    seeded: Emulator, rest: RestClients, text: str, expected: list[str]
) -> None:
    clients = Clients.of(seeded)
    for grafeas in (clients.grafeas, rest.grafeas):
        actual = grafeas.list_occurrences(parent=PROJECT, filter=text)
        assert [each.name.rpartition("/")[2] for each in actual] == expected
    clients.channel.close()


def test_they_are_shown_as_they_were_seeded(seeded: Emulator) -> None:
    for kind, wanted in FOUND.items():
        wanted_kind = quote(f'kind="{kind}" AND resourceUrl="{URI}"')
        target = f"/v1/{PROJECT}/occurrences?filter={wanted_kind}"
        [shown] = ask(seeded, "GET", target).document["occurrences"]
        assert shown["kind"] == kind
        assert wanted.items() <= shown.items()


@pytest.mark.parametrize("kind", FOUND)
def test_they_are_made_and_listed_by_their_note(
    seeded: Emulator, rest: RestClients, kind: str
) -> None:
    clients = Clients.of(seeded)
    body = {"resourceUri": f"{URI}0"} | FOUND[kind]
    made = ask(seeded, "POST", f"/v1/{PROJECT}/occurrences", body)
    assert (made.status, made.document["kind"]) == (200, kind)
    occurrence = g.Occurrence(clients.grafeas.get_occurrence(name=made.document["name"]))
    # The same finding again is another one: only attestations are known again.
    for grafeas in (clients.grafeas, rest.grafeas):
        again = grafeas.create_occurrence(parent=PROJECT, occurrence=occurrence)
        assert g.NoteKind(again.kind).name == kind
        note = FOUND[kind]["noteName"]
        listed = grafeas.list_note_occurrences(
            name=note, filter=f'kind="{kind}" AND resourceUrl="{URI}0"'
        )
        assert again.name in [each.name for each in listed]
        assert grafeas.get_occurrence_note(name=again.name).name == note
    clients.channel.close()


def test_an_occurrence_needs_its_note_and_a_note_its_kind(seeded: Emulator) -> None:
    body: Any = {"resourceUri": URI, "noteName": NOTE, "discovery": {}}
    refused = ask(seeded, "POST", f"/v1/{PROJECT}/occurrences", body)
    assert refused.error[:2] == (404, "NOT_FOUND")
    refused = ask(seeded, "POST", f"/v1/{PROJECT}/notes?noteId=x", {"kind": "BUILD"})
    assert refused.error[:2] == (400, "INVALID_ARGUMENT")
