"""Whoever may write to a note can neither stop, nor slow, nor change what is said of the rest."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pytest

from step.model.attestation import Signature
from step.model.bounds import KEY_BYTES, PAYLOAD_BYTES, RECEIVED_BYTES, SIGNATURE_BYTES, SIGNATURES
from step.model.payload import Payload
from tests.flows.notes import KEY_ID, entries, errors, public, put, signed
from tests.keys import PgpKind, pgp_expired, pgp_key, pgp_public, pgp_secret, pgp_sign, pgp_tsk
from tests.world import ATTESTOR, IMAGE, World, attestor_seed, image

KIND = PgpKind.ED25519
PGP_ID = pgp_key(KIND).id
OTHER = image("a")
PAYLOAD = Payload.of(image("0")).to_bytes()
NAMED = ("--attestor", ATTESTOR)


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4) + body


def bomb(mebibytes: int, depth: int) -> bytes:
    """An OpenPGP message that nobody signed, of zeros, compressed over and over."""
    message = packet(11, b"b\0\0\0\0\0" + bytes(mebibytes << 20))
    for _ in range(depth):
        made = zlib.compressobj(9, zlib.DEFLATED, -15)
        message = packet(8, b"\x01" + made.compress(message) + made.flush())
    return message


HOSTILE: dict[str, tuple[Signature, ...]] = {
    "a message that unpacks to 26 MiB": (Signature(PGP_ID, bomb(26, 1)),),
    "a bomb in a bomb": (Signature(PGP_ID, bomb(64, 3)),),
    "deep": (Signature(PGP_ID, bomb(0, 40)),),
    "packets without end": (Signature(PGP_ID, packet(10, b"PGP") * 10_000),),
    "encrypted": (Signature(PGP_ID, packet(1, bytes(300)) + packet(18, bytes(300))),),
    "garbage": (Signature(PGP_ID, bytes(range(256)) * 100), Signature(KEY_ID, b"\xff" * 4096)),
    "huge": (Signature(KEY_ID, bytes(SIGNATURE_BYTES + 1)),),
    "many": (Signature(KEY_ID, b"x"),) * (SIGNATURES + 1),
    "a key id without end": (Signature("k" * 1_000_000, b"x"),),
    "a key id of control characters": (Signature("\x1b[2J\n::error::\u202e", b"x"),),
    "none": (),
}


@pytest.fixture
def note(make_world: Callable[..., World]) -> World:
    return make_world(attestor_seed(public(), {"pgp": {"armored": pgp_public(KIND)}}))


def plant(world: World, payload: bytes = b"{}") -> None:
    """All of it, on the note, for one image."""
    for signatures in HOSTILE.values():
        put(world, *signatures, payload=payload)
    put(world, Signature(PGP_ID, b"x"), payload=payload + bytes(PAYLOAD_BYTES))
    deep = b"[" * 60_000 + payload
    put(world, signed(deep), payload=deep)


def verdict(world: World, verb: str, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    result = world.run(verb, *arguments, *NAMED, "--format", "json")
    assert errors(result) == []
    assert "bug" not in result.err
    return result.code, entries(result, "attestations" if verb == "list" else "verdicts")


@pytest.mark.parametrize("verb", ["verify", "gate"])
def test_the_good_one_is_found_among_them(note: World, verb: str) -> None:
    plant(note)
    put(note, signed())
    plant(note, b"{ }")
    code, [each] = verdict(note, verb, IMAGE)
    assert (code, each["verified"]) == (0, True)
    held = [judged for judged in each["attestations"] if judged["verified"]]
    assert [judged["public_key_id"] for judged in held] == [KEY_ID]
    refused = [judged for judged in each["attestations"] if not judged["verified"]]
    assert len(refused) == 2 * (len(HOSTILE) + 3)  # "garbage" has two signatures
    assert all(judged["reason"] and len(judged["reason"]) <= 500 for judged in refused)


def test_they_are_no_yes_and_no_error(note: World) -> None:
    plant(note)
    code, [each] = verdict(note, "verify", IMAGE)
    assert (code, each["verified"], each["reason"]) == (3, False, "no attestation verifies")
    assert verdict(note, "list")[0] == 0


def test_they_change_nothing_for_another_image(note: World) -> None:
    plant(note)
    put(note, signed(image=str(OTHER)), image=str(OTHER))
    code, verdicts = verdict(note, "verify", IMAGE, str(OTHER))
    assert (code, [each["verified"] for each in verdicts]) == (3, [False, True])


def test_an_image_that_they_wait_for_is_attested_all_the_same(
    note: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(note)
    monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY", pgp_secret(KIND).decode())
    assert note.attest().receipt["status"] == "created"
    assert note.attest().receipt["status"] == "existing"


def test_a_page_that_is_too_large_is_asked_for_in_parts(
    note: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is its writers'; the page's is ours."""
    for number in range(6):
        put(note, Signature(KEY_ID, bytes([number]) * SIGNATURE_BYTES))
    put(note, signed())
    monkeypatch.setattr("step.cloud.connection.RECEIVED_BYTES", 400_000)
    note.emulator.calls.clear()
    assert verdict(note, "verify", IMAGE)[0] == 0
    assert note.count("ListNoteOccurrences") > 3
    assert RECEIVED_BYTES > 100 * SIGNATURE_BYTES, "a page of them is received as it is"


def test_one_that_is_too_large_by_itself_is_told(
    note: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(note, Signature(KEY_ID, bytes(SIGNATURE_BYTES)))
    monkeypatch.setattr("step.cloud.connection.RECEIVED_BYTES", 50_000)
    result = note.run("verify", IMAGE, *NAMED)
    assert result.code == 6
    assert "answered with more than" in result.err


def test_a_key_that_is_no_use_hides_no_other(make_world: Callable[..., World]) -> None:
    expired = str(pgp_expired(pgp_tsk(KIND)).extract_certificate())
    world = make_world(attestor_seed({"pgp": {"armored": expired}}, public()))
    put(world, Signature(PGP_ID, pgp_sign(KIND, PAYLOAD)), signed())
    code, [each] = verdict(world, "verify", IMAGE)
    bad, good = each["attestations"]
    assert (code, bad["verified"], good["verified"]) == (0, False, True)
    assert f"the OpenPGP key {PGP_ID} expired on" in bad["reason"]


def test_signing_for_a_key_that_is_no_use_stops_before_it(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    expired = str(pgp_expired(pgp_tsk(KIND)).extract_certificate())
    world = make_world(attestor_seed({"pgp": {"armored": expired}}))
    monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY", pgp_secret(KIND).decode())
    result = world.attest()
    assert (result.code, world.wrote) == (3, False)
    assert "expired on" in result.error["message"]
    assert "--quick-set-expire" in result.error["hint"]
    assert len(expired) < KEY_BYTES


def test_more_keys_than_an_attestor_can_have(note: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("step.cloud.attestors.ATTESTOR_KEYS", 1)
    put(note, signed())
    result = note.run("verify", IMAGE, *NAMED)
    assert result.code == 3
    assert "lists 2 keys; Binary Authorization allows 1" in result.err
