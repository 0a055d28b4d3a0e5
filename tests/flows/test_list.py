"""`list`: what is on an attestor's note, and what each of it is worth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grafeas import grafeas_v1

from step.emulator import faults
from step.model.attestation import Signature
from tests.flows.notes import KEY_ID, OTHER_ID, entries, errors, public, put, signed, together
from tests.world import ATTESTOR, IMAGE, PROJECT, World, attestor_seed, image

OTHER = str(image("f"))


@pytest.fixture
def note(make_world: Callable[..., World]) -> World:
    return make_world(attestor_seed(public(), public(1)))


def listed(world: World, *arguments: str) -> list[dict[str, Any]]:
    result = world.run("list", *arguments, "--attestor", ATTESTOR, "--format", "json")
    assert (result.code, errors(result)) == (0, [])
    return entries(result, "attestations")


def test_of_an_image_an_attestor_and_a_key(note: World) -> None:
    each = put(note, signed())
    two = put(note, signed(number=1))
    bad = put(note, Signature(KEY_ID, b"bad"))
    other = put(note, signed(image=OTHER), image=OTHER)
    assert [actual["occurrence"] for actual in listed(note)] == [each, two, bad, other]
    assert [actual["verified"] for actual in listed(note)] == [True, True, False, True]
    assert [actual["occurrence"] for actual in listed(note, IMAGE)] == [each, two, bad]
    assert [actual["occurrence"] for actual in listed(note, OTHER)] == [other]
    by_key = [actual["occurrence"] for actual in listed(note, IMAGE, "--public-key-id", KEY_ID)]
    assert by_key == [each, bad]
    assert [each["occurrence"] for each in listed(note, "--public-key-id", OTHER_ID)] == [two]
    assert listed(note, "--public-key-id", "urn:nobody") == []


def test_what_is_told_of_each(note: World) -> None:
    name = put(note, Signature(KEY_ID, b"bad"))
    assert listed(note) == [
        {
            "image": IMAGE,
            "attestor": ATTESTOR,
            "occurrence": name,
            "resource_uri": f"https://{IMAGE}",
            "public_key_id": KEY_ID,
            "create_time": "2026-11-01T00:00:00Z",
            "verified": False,
            "reason": f"the signature is not that of {KEY_ID} over the payload",
        }
    ]


def test_what_is_attached_to_no_image(note: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def detach(response: grafeas_v1.ListNoteOccurrencesResponse) -> None:
        response.occurrences[0].resource_uri = "https://gcr.io/p/i:tag"
        del response.occurrences[0].create_time

    monkeypatch.setitem(faults._ALTERATIONS, "DETACH", (frozenset({"ListNoteOccurrences"}), detach))
    put(note, signed())
    note.emulator.fail("ListNoteOccurrences=DETACH")
    [only] = listed(note)
    assert (only["image"], only["public_key_id"], only["create_time"]) == (None, None, None)
    assert only["reason"] == "it is attached to no image by digest"
    lines = note.run("list", "--attestor", ATTESTOR).out.splitlines()
    assert lines[-1] == "  verified    no: it is attached to no image by digest"
    assert not any(line.startswith(("  key", "  created")) for line in lines)


def test_what_is_attached_to_another_image_than_was_asked_for(
    note: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the service's filter let one through, its signature does not make up for it."""

    def move(response: grafeas_v1.ListNoteOccurrencesResponse) -> None:
        response.occurrences[0].resource_uri = f"https://{OTHER}"

    monkeypatch.setitem(faults._ALTERATIONS, "MOVE", (frozenset({"ListNoteOccurrences"}), move))
    put(note, signed())
    note.emulator.fail("ListNoteOccurrences=MOVE")
    [only] = listed(note, IMAGE)
    assert not only["verified"]
    assert only["reason"].startswith(f"it is attached to 'https://{OTHER}'")
    [only] = listed(note)
    assert only["reason"].startswith("it attests sha256:0123")


def test_nothing_is_said_to_be_nothing(note: World) -> None:
    result = note.run("list", IMAGE, "--attestor", ATTESTOR)
    assert (result.code, result.out) == (0, "")
    assert result.err.splitlines()[-1] == "no attestation was found"
    put(note, signed())
    assert "no attestation" not in note.run("list", IMAGE, "--attestor", ATTESTOR).err


def test_text_for_people(note: World) -> None:
    name = put(note, signed())
    result = note.run("list", IMAGE, "--attestor", ATTESTOR)
    assert result.code == 0
    assert result.out.splitlines() == [
        name,
        f"  image       https://{IMAGE}",
        f"  attestor    {ATTESTOR}",
        f"  key         {KEY_ID}",
        "  created     2026-11-01T00:00:00Z",
        "  verified    yes",
    ]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("GetAttestor=UNAVAILABLE", 6),
        ("GetAttestor=PERMISSION_DENIED", 4),
        ("ListNoteOccurrences=NOT_FOUND", 5),
    ],
)
def test_what_could_not_be_asked(note: World, fault: str, code: int) -> None:
    note.emulator.fail(fault)
    result = note.run("list", "--attestor", ATTESTOR, "--format", "json")
    assert result.code == code
    assert entries(result, "attestations") == []
    assert [each["attestor"] for each in errors(result)] == [ATTESTOR]
    assert "error: " in result.err


def test_what_was_read_before_a_failure_is_shown(note: World) -> None:
    put(note, signed())
    result = note.run(
        "list", "--attestor", ATTESTOR, "--attestor", ATTESTOR + "-2", "--format", "json"
    )
    assert result.code == 5
    assert len(entries(result, "attestations")) == 1


def test_attestors_come_in_the_order_they_were_named(make_world: Callable[..., World]) -> None:
    names = [f"projects/my-project/attestors/number-{number}" for number in (3, 1, 2)]
    world = make_world(together(*(attestor_seed(public(), name=name) for name in names)))
    for name in names:
        put(world, signed(), note=name.replace("attestors", "notes"))
    given = [word for name in names for word in ("--attestor", name)]
    attestations = entries(world.run("list", *given, "--format", "json"), "attestations")
    assert [each["attestor"] for each in attestations] == names


@pytest.mark.parametrize(
    "arguments", [["list"], ["list", IMAGE], ["list", "gcr.io/p/i:tag", "--attestor", ATTESTOR]]
)
def test_bad_input(note: World, arguments: list[str]) -> None:
    result = note.run(*arguments)
    assert (result.code, result.out, note.methods) == (2, "", [])


def test_the_image_may_be_spelt_in_any_way(note: World, tmp_path: Path) -> None:
    put(note, signed())
    assert len(listed(note, f"https://{IMAGE}")) == 1


def test_of_a_key_alone(make_world: Callable[..., World]) -> None:
    """Whoever retires a key asks what it attested, and need not know for whom."""
    name = ATTESTOR.replace("built-by-ci", "tested")
    third = ATTESTOR.replace("built-by-ci", "other")
    world = make_world(
        together(
            attestor_seed(public(), public(1)),
            attestor_seed(public(), name=name),
            attestor_seed(public(1), name=third),
        )
    )
    each = put(world, signed())
    two = put(world, signed(), note=name.replace("/attestors/", "/notes/"))
    put(world, signed(number=1), note=third.replace("/attestors/", "/notes/"))
    arguments = ("list", "--public-key-id", KEY_ID, "--project", PROJECT, "--format", "json")
    shown = entries(world.run(*arguments), "attestations")
    assert {entry["occurrence"]: entry["attestor"] for entry in shown} == {
        each: ATTESTOR,
        two: name,
    }
    assert world.count("GetAttestor") == 2
    assert [
        entry["occurrence"] for entry in entries(world.run(*arguments, OTHER), "attestations")
    ] == []


def test_of_a_key_that_no_attestor_lists(note: World) -> None:
    result = note.run("list", "--public-key-id", "urn:x", "--project", PROJECT, "--format", "json")
    [error] = errors(result)
    assert (result.code, error["exit_code"]) == (5, 5)
    assert "lists the key urn:x" in error["message"]


def test_every_page_of_attestors_is_read(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{ATTESTOR}-{number}" for number in range(3)]
    seeds = [attestor_seed(public(), name=name) for name in names]
    monkeypatch.setattr("step.cloud.attestors.PAGE_SIZE", 2)
    world = make_world(together(*seeds))
    put(world, signed(), note=names[2].replace("/attestors/", "/notes/"))
    shown = world.run("list", "--public-key-id", KEY_ID, "--project", PROJECT, "--format", "json")
    assert [attestation["attestor"] for attestation in entries(shown, "attestations")] == [names[2]]
    assert world.count("ListAttestors") == 2
