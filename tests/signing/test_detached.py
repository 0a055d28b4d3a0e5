"""A signature made elsewhere: which key it is for, and in which form it holds."""

from __future__ import annotations

import base64
from dataclasses import replace

import pysequoia
import pytest

from step.errors import BadInput, KeyNotRegistered, Unverified
from step.model.keys import Algorithm, Key, PgpKey, UnusableKey
from step.signing.detached import DetachedSigner
from tests.keys import PgpKind, attestor, pgp_key, pgp_sign, pgp_tsk, pkix_key, pkix_sign

PAYLOAD = b'{"critical": {}}\n'
P256 = Algorithm.ECDSA_P256_SHA256
NAME = "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
KMS_ID = f"//cloudkms.googleapis.com/v1/{NAME}"
PGP = pgp_key(PgpKind.ED25519)
PLAIN = pkix_key(P256, "urn:key")

every_algorithm = pytest.mark.parametrize("algorithm", Algorithm, ids=lambda each: each.name)
every_kind = pytest.mark.parametrize("kind", PgpKind, ids=lambda each: each.name)


@pytest.mark.parametrize("key", [PLAIN, PGP, pkix_key(P256, KMS_ID)], ids=["plain", "pgp", "kms"])
def test_a_key_is_found_by_its_exact_id(key: Key) -> None:
    by = attestor(pkix_key(P256, "urn:other", number=1), key)
    assert DetachedSigner(b"", key.id).key_on(by) == key


@pytest.mark.parametrize("registered", [NAME, KMS_ID])
@pytest.mark.parametrize(
    "asked", [NAME, KMS_ID, f"gcpkms://{NAME.replace('cryptoKeyVersions', 'versions')}"]
)
def test_a_kms_key_is_found_in_every_spelling(registered: str, asked: str) -> None:
    key = pkix_key(P256, registered)
    by = attestor(pkix_key(P256, KMS_ID + "2", number=1), key, PGP)
    assert DetachedSigner(b"", asked).key_on(by) == key


@pytest.mark.parametrize(
    "asked",
    [
        PGP.id.lower(),
        f"0x{PGP.id}",
        f"0X{PGP.id.lower()}",
        " ".join(PGP.id[at : at + 4] for at in range(0, 40, 4)),
        f" {PGP.id}\n",
    ],
    ids=["lower", "0x", "0X", "spaces", "around"],
)
def test_an_openpgp_key_is_found_however_its_fingerprint_is_written(asked: str) -> None:
    by = attestor(pgp_key(PgpKind.P256), PGP, UnusableKey("urn:x", "why"))
    assert DetachedSigner(b"", asked).key_on(by) == PGP


@pytest.mark.parametrize(
    "asked",
    ["", "urn:KEY", PGP.id[-16:], f"{PGP.id}0", NAME, "0x"],
    ids=["empty", "other", "key id", "longer", "key version", "prefix"],
)
def test_a_key_that_is_not_registered_is_refused_with_what_is(asked: str) -> None:
    with pytest.raises(KeyNotRegistered) as caught:
        DetachedSigner(b"", asked).key_on(attestor(PLAIN, PGP))
    assert PLAIN.id in caught.value.hint
    assert PGP.id in caught.value.hint


def test_a_key_version_that_is_registered_twice_needs_the_exact_id() -> None:
    by = attestor(pkix_key(P256, NAME), pkix_key(P256, KMS_ID))
    assert DetachedSigner(b"", NAME).key_on(by).id == NAME
    assert DetachedSigner(b"", KMS_ID).key_on(by).id == KMS_ID
    with pytest.raises(BadInput, match="2 keys") as caught:
        DetachedSigner(b"", f"gcpkms://{NAME}").key_on(by)
    assert KMS_ID in caught.value.hint


def test_an_unusable_key_is_refused_with_the_reason() -> None:
    with pytest.raises(KeyNotRegistered, match="its PEM cannot be read"):
        DetachedSigner(b"", "k").key_on(attestor(UnusableKey("k", "its PEM cannot be read")))


@every_algorithm
def test_a_pkix_signature_is_taken_raw_or_as_base64(algorithm: Algorithm) -> None:
    key, raw = pkix_key(algorithm), pkix_sign(algorithm, PAYLOAD)
    forms = (
        raw,
        base64.b64encode(raw),
        base64.encodebytes(raw),
        base64.urlsafe_b64encode(raw),
        b"  " + base64.b64encode(raw) + b"\r\n",
    )
    for form in forms:
        assert DetachedSigner(form, key.id).sign(PAYLOAD, key) == raw


@every_kind
def test_an_openpgp_message_is_taken_as_it_is(kind: PgpKind) -> None:
    key = pgp_key(kind)
    binary = pysequoia.sign(pgp_tsk(kind).signer(), PAYLOAD, armor=False)
    for form in (pgp_sign(kind, PAYLOAD), binary):
        assert DetachedSigner(form, key.id).sign(PAYLOAD, key) == form


@every_algorithm
def test_a_pkix_signature_that_does_not_verify_is_refused(algorithm: Algorithm) -> None:
    key, raw = pkix_key(algorithm), pkix_sign(algorithm, PAYLOAD)
    for form in (b"", raw[:-1], base64.b64encode(raw[:-1]), b"\xff\xfe", b"no signature"):
        refused(DetachedSigner(form, key.id), PAYLOAD, key)
    refused(DetachedSigner(raw, key.id), PAYLOAD.rstrip(), key)
    refused(DetachedSigner(raw, key.id), PAYLOAD, pkix_key(algorithm, number=1))


@every_kind
def test_an_openpgp_message_that_does_not_verify_is_refused(kind: PgpKind) -> None:
    key, message = pgp_key(kind), pgp_sign(kind, PAYLOAD)
    refused(DetachedSigner(message, key.id), PAYLOAD.rstrip(), key)
    refused(DetachedSigner(message, key.id), PAYLOAD, pgp_key(kind, 1))
    refused(DetachedSigner(base64.b64encode(message), key.id), PAYLOAD, key)


@every_kind
def test_a_signature_apart_from_its_message_says_what_is_needed(kind: PgpKind) -> None:
    mode = pysequoia.SignatureMode.DETACHED
    apart = pysequoia.sign(pgp_tsk(kind).signer(), PAYLOAD, mode=mode)
    hint = refused(DetachedSigner(apart, pgp_key(kind).id), PAYLOAD, pgp_key(kind))
    assert "gpg --armor --sign" in hint


def refused(signer: DetachedSigner, payload: bytes, key: Key) -> str:
    with pytest.raises(Unverified, match="does not verify for this payload") as caught:
        signer.sign(payload, key)
    assert "binauthz-attest payload IMAGE" in caught.value.hint
    assert "--payload-file" in caught.value.hint
    return caught.value.hint


def test_an_unusable_key_verifies_no_signature() -> None:
    refused(DetachedSigner(b"x", "k"), PAYLOAD, UnusableKey("k", "why"))


def test_a_fingerprint_finds_no_key_of_another_kind() -> None:
    by = attestor(replace(PLAIN, id=PGP.id.lower()))
    assert not isinstance(DetachedSigner(b"", PGP.id.lower()).key_on(by), PgpKey)
    with pytest.raises(KeyNotRegistered):
        DetachedSigner(b"", PGP.id).key_on(by)
