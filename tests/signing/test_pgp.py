"""OpenPGP in the process: every form of key, and every reason to refuse one."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Callable
from threading import Thread

import pysequoia
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pysequoia.packet import Packet, PacketPile, SignatureType, Tag

from step.errors import BadInput, KeyNotRegistered
from step.model.attestation import Attestation, Signature
from step.model.keys import Algorithm, UnusableKey
from step.signing.pgp import PgpSigner
from tests.keys import (
    PgpKind,
    attestor,
    make_private_key,
    pgp_expired,
    pgp_key,
    pgp_locked,
    pgp_public,
    pgp_revoked,
    pgp_secret,
    pgp_stubbed,
    pgp_tsk,
    pgp_with_secrets,
    pkix_key,
    private_pem,
)
from tests.signing.trial import IMAGE, PAYLOAD, checked, refusal

PASSPHRASE = "  pä ss\"'$`\\ \n€ "
ED25519 = PgpKind.ED25519

every_kind = pytest.mark.parametrize("kind", PgpKind, ids=lambda each: each.name)


# --- forms


def binary(key: bytes) -> bytes:
    return bytes(pysequoia.Tsk.from_bytes(key))


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "armored": lambda key: key,
    "armored, windows line ends": lambda key: key.replace(b"\n", b"\r\n"),
    "armored, text around": lambda key: b"my key:\n\n" + key + b"\nthat was it\n",
    "binary": binary,
    "base64 of armored": base64.b64encode,
    "base64 of armored, wrapped": base64.encodebytes,
    "base64 of armored, indented": lambda key: textwrap.indent(
        base64.encodebytes(key).decode(), "  "
    ).encode(),
    "base64 of binary": lambda key: base64.b64encode(binary(key)),
    "base64 of binary, wrapped": lambda key: base64.encodebytes(binary(key)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["open", "locked"])
@every_kind
def test_a_key_is_read_in_every_form(
    kind: PgpKind, passphrase: str | None, form: Callable[[bytes], bytes]
) -> None:
    secret = form(pgp_secret(kind, passphrase=passphrase))
    key = checked(PgpSigner.load(secret, passphrase), pgp_public(kind))
    assert key == pgp_key(kind)


@every_kind
def test_an_attestation_verifies_by_the_primary_keys_id(kind: PgpKind) -> None:
    made = PgpSigner.load(pgp_secret(kind), None)
    by = attestor(pkix_key(Algorithm.ECDSA_P256_SHA256), pgp_key(kind, 1), pgp_key(kind))
    key = made.key_on(by)
    assert key.id == made.fingerprint == pgp_tsk(kind).extract_certificate().fingerprint.upper()
    attestation = Attestation(PAYLOAD, (Signature(key.id, made.sign(PAYLOAD, key)),))
    assert by.verify(attestation, IMAGE) == key


@every_kind
@pytest.mark.parametrize("passphrase", ["", "not needed"])
def test_a_passphrase_that_is_not_needed_does_no_harm(kind: PgpKind, passphrase: str) -> None:
    checked(PgpSigner.load(pgp_secret(kind), passphrase), pgp_public(kind))


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_passphrase_unlocks_what_it_locked(passphrase: str) -> None:
    secret = pgp_secret(ED25519, passphrase=passphrase)
    assert PgpSigner.load(secret, passphrase).fingerprint == pgp_key(ED25519).id
    with pytest.raises(BadInput, match="does not unlock"):
        PgpSigner.load(secret, passphrase + " ")


@every_kind
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["open", "locked"])
def test_a_signing_subkey_alone_signs(kind: PgpKind, passphrase: str | None) -> None:
    key = pgp_tsk(kind)
    stubbed = pgp_stubbed(pgp_locked(key, passphrase) if passphrase else key)
    assert checked(PgpSigner.load(str(stubbed).encode(), passphrase), pgp_public(kind))


def test_one_signer_serves_several_threads() -> None:
    made, key = PgpSigner.load(pgp_secret(ED25519), None), pgp_key(ED25519)
    messages: list[bytes] = []

    def sign() -> None:
        messages.extend(made.sign(PAYLOAD, key) for _ in range(5))

    threads = [Thread(target=sign) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(messages) == 40
    for message in messages:
        key.verify(PAYLOAD, message)


@given(st.binary(max_size=2000))
@settings(max_examples=30, deadline=None)
def test_any_payload_is_signed_as_it_is(payload: bytes) -> None:
    checked(PgpSigner.load(pgp_secret(ED25519), None), pgp_public(ED25519), payload)


# --- refusals


@every_kind
def test_a_locked_key_without_a_passphrase_is_refused(kind: PgpKind) -> None:
    secret = pgp_secret(kind, passphrase=PASSPHRASE)
    for passphrase in (None, ""):
        error = refusal(secret, passphrase)
        assert error.message == f"the OpenPGP key {pgp_key(kind).id} is locked and there is no " + (
            "passphrase"
        )
        assert "--pgp-passphrase-file" in error.hint


@every_kind
def test_a_wrong_passphrase_is_refused(kind: PgpKind) -> None:
    secret = pgp_secret(kind, passphrase=PASSPHRASE)
    for wrong in ("a wrong one", PASSPHRASE.strip(), PASSPHRASE + "\n", PASSPHRASE.upper()):
        message = refusal(secret, wrong).message
        assert message == f"the passphrase does not unlock the OpenPGP key {pgp_key(kind).id}"


@every_kind
def test_a_revoked_key_is_refused_although_its_subkey_could_sign(kind: PgpKind) -> None:
    error = refusal(str(pgp_revoked(pgp_tsk(kind))).encode())
    assert error.message == f"the OpenPGP key {pgp_key(kind).id} is revoked"


@every_kind
def test_an_expired_key_is_refused_with_the_day(kind: PgpKind) -> None:
    error = refusal(str(pgp_expired(pgp_tsk(kind))).encode())
    assert error.message.startswith(f"the OpenPGP key {pgp_key(kind).id} expired on 20")
    assert "--quick-set-expire" in error.hint


@every_kind
def test_a_locked_key_that_is_revoked_is_refused_for_that(kind: PgpKind) -> None:
    revoked = pgp_locked(pgp_revoked(pgp_tsk(kind)), PASSPHRASE)
    assert "is revoked" in refusal(str(revoked).encode()).message


@every_kind
def test_a_public_key_is_refused_as_such(kind: PgpKind) -> None:
    armored = pgp_public(kind).encode()
    for form in (armored, base64.b64encode(armored), bytes(pgp_tsk(kind).extract_certificate())):
        assert refusal(form).message.startswith("that is the public key of " + pgp_key(kind).id)


def test_several_keys_are_refused_with_their_names() -> None:
    first, second = pgp_secret(ED25519), pgp_secret(PgpKind.P256)
    for both in (first + second, binary(first) + binary(second), first + pgp_secret(ED25519, 1)):
        message = refusal(both).message
        assert message.startswith("there are 2 OpenPGP keys, not one: ")
        assert pgp_key(ED25519).id in message


def test_a_key_of_version_6_is_refused() -> None:
    key = pysequoia.Tsk.generate("v6", profile=pysequoia.Profile.RFC9580)
    assert "not of version 4" in refusal(str(key).encode()).message


def without_subkeys(kind: PgpKind) -> pysequoia.Tsk:
    """The primary key alone, which may only certify."""
    packets = list(PacketPile.from_bytes(bytes(pgp_tsk(kind))))
    first = next(at for at, packet in enumerate(packets) if packet.tag == Tag.SecretSubkey)
    return pysequoia.Tsk.from_packets(packets[:first])


@every_kind
def test_a_key_that_may_only_certify_is_refused(kind: PgpKind) -> None:
    error = refusal(str(without_subkeys(kind)).encode())
    assert error.message == f"the OpenPGP key {pgp_key(kind).id} has no signing key"
    assert "--quick-add-key" in error.hint


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" \n",
        b"secret text",
        b"c2VjcmV0IHRleHQ=",
        b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----\n",
        b"\x99\x01\x02",
        b"\xff" * 100,
        pgp_secret(ED25519)[:200],
        pgp_secret(ED25519).replace(b"\n", b" "),
        pysequoia.sign(pgp_tsk(ED25519).signer(), PAYLOAD),
        private_pem(make_private_key(Algorithm.ECDSA_P256_SHA256)),
    ],
    ids=[
        "empty", "space", "text", "base64", "armor", "cut", "bytes", "half", "one line", "message",
        "pem",
    ],
)  # fmt: skip
def test_what_is_no_openpgp_key_is_refused(text: bytes) -> None:
    error = refusal(text)
    assert error.message == "that is not an OpenPGP private key that can be read"
    assert "gpg --armor --export-secret-keys" in error.hint


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 7), st.booleans())
def test_a_damaged_key_signs_nothing_else_or_is_bad_input(at: int, bit: int, cut: bool) -> None:
    raw = bytearray(bytes(pgp_tsk(ED25519)))
    raw[at % len(raw)] ^= 1 << bit
    try:
        made = PgpSigner.load(bytes(raw[: at % len(raw)] if cut else raw), None)
    except BadInput:
        return
    # A part that does not matter was hit, or the primary key: then its name is another.
    assert len(made.fingerprint) == 40


def test_a_signature_of_an_unknown_type_in_the_key_is_refused() -> None:
    raw = bytes(pgp_tsk(ED25519))
    binding = next(
        from_byte
        for from_byte in PacketPile.from_bytes(raw)
        if from_byte.signature_type == SignatureType.SubkeyBinding
    )
    kind = raw.index(binding.body) + 1
    refusal(raw[:kind] + b"\x58" + raw[kind + 1 :])


def test_a_secret_that_does_not_fit_its_public_half_does_not_sign() -> None:
    def damage(packet: Packet, public: Packet) -> bytes:
        secret = bytearray(packet.body[len(public.body) + 1 : -2])
        secret[100] ^= 1  # within RSA's private exponent; the checksum is made to fit
        return public.body + b"\0" + secret + (sum(secret) % 65536).to_bytes(2)

    made = PgpSigner.load(bytes(pgp_with_secrets(pgp_tsk(PgpKind.RSA), damage)), None)
    with pytest.raises(BadInput, match="did not sign") as caught:
        made.sign(PAYLOAD, pgp_key(PgpKind.RSA))
    assert caught.value.__suppress_context__


def test_a_public_primary_with_a_secret_subkey_signs() -> None:
    public = {
        from_byte.fingerprint: from_byte
        for from_byte in PacketPile.from_bytes(bytes(pgp_tsk(ED25519).extract_certificate()))
        if from_byte.tag == Tag.PublicKey
    }
    packets = PacketPile.from_bytes(bytes(pgp_tsk(ED25519)))
    key = pysequoia.Tsk.from_packets([public.get(each.fingerprint, each) for each in packets])
    checked(PgpSigner.load(str(key).encode(), None), pgp_public(ED25519))


@given(st.binary())
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput):
        PgpSigner.load(data, None)


# --- which key of the attestor


def test_a_key_that_is_not_registered_is_refused_with_what_is() -> None:
    made = PgpSigner.load(pgp_secret(ED25519), None)
    other = pgp_key(ED25519, 1)
    with pytest.raises(KeyNotRegistered, match=made.fingerprint) as caught:
        made.key_on(attestor(other))
    assert other.id in caught.value.hint
    with pytest.raises(KeyNotRegistered) as caught:
        made.key_on(attestor())
    assert "no keys at all" in caught.value.hint


def test_an_id_that_differs_in_case_is_told() -> None:
    made = PgpSigner.load(pgp_secret(ED25519), None)
    with pytest.raises(KeyNotRegistered) as caught:
        made.key_on(attestor(UnusableKey(made.fingerprint.lower(), "why")))
    assert "letters' case" in caught.value.hint


def test_a_registration_that_cannot_be_read_is_told() -> None:
    made = PgpSigner.load(pgp_secret(ED25519), None)
    with pytest.raises(KeyNotRegistered, match="nothing can verify with it: why"):
        made.key_on(attestor(UnusableKey(made.fingerprint, "why")))


def test_a_pkix_key_under_the_fingerprint_is_not_taken_for_it() -> None:
    made = PgpSigner.load(pgp_secret(ED25519), None)
    with pytest.raises(KeyNotRegistered):
        made.key_on(attestor(pkix_key(Algorithm.ECDSA_P256_SHA256, made.fingerprint)))


def test_a_key_id_must_be_the_fingerprint() -> None:
    key_id = pgp_key(ED25519).id
    assert PgpSigner.load(pgp_secret(ED25519), None, key_id).fingerprint == key_id
    for other in (key_id.lower(), key_id[-16:], "urn:other", ""):
        with pytest.raises(BadInput, match=key_id):
            PgpSigner.load(pgp_secret(ED25519), None, other)


def test_no_part_of_the_secret_is_shown() -> None:
    made = PgpSigner.load(pgp_secret(ED25519, passphrase=PASSPHRASE), PASSPHRASE)
    assert repr(made) == f"PgpSigner(fingerprint='{made.fingerprint}')"
