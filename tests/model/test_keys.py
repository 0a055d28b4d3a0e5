"""The twelve algorithms, OpenPGP, key ids, and what verifies."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pysequoia
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from google.cloud.binaryauthorization_v1 import PkixPublicKey
from google.cloud.kms_v1 import CryptoKeyVersion
from pysequoia.packet import PacketPile, Tag

from step.errors import BadInput, Unverified
from step.model.bounds import KEY_BYTES
from step.model.keys import Algorithm, PgpKey, PkixKey, Scheme, UnusableKey, pkix_key_id
from tests.keys import (
    PgpKind,
    make_private_key,
    pgp_by_hand,
    pgp_expired,
    pgp_key,
    pgp_public,
    pgp_revoked,
    pgp_secret,
    pgp_sign,
    pgp_tsk,
    pkix_key,
    pkix_sign,
    public_pem,
)

PAYLOAD = b'{"critical": {}}\n'
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "signatures.json").read_text())

# google/cloud/binaryauthorization/v1/resources.proto: pairs of names share a value.
SERVICE = dict(PkixPublicKey.SignatureAlgorithm.__members__)
del SERVICE["SIGNATURE_ALGORITHM_UNSPECIFIED"]
KMS_NAMES = list(CryptoKeyVersion.CryptoKeyVersionAlgorithm.__members__)

every_algorithm = pytest.mark.parametrize("algorithm", Algorithm, ids=lambda each: each.name)
every_kind = pytest.mark.parametrize("kind", PgpKind, ids=lambda each: each.name)


def flipped(data: bytes, bit: int) -> bytes:
    """The data with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# --- algorithms


@pytest.mark.parametrize("name", SERVICE)
def test_every_name_of_the_service_is_read(name: str) -> None:
    algorithm = Algorithm.parse(name)
    assert SERVICE[algorithm.name] == SERVICE[name]


def test_there_are_no_others() -> None:
    assert {SERVICE[each.name] for each in Algorithm} == set(SERVICE.values())
    assert len(set(SERVICE.values())) == len(Algorithm) == 12


@pytest.mark.parametrize("name", KMS_NAMES)
def test_a_kms_algorithm_is_read_when_the_service_can_verify_it(name: str) -> None:
    prefixes = ("RSA_SIGN_PSS_", "RSA_SIGN_PKCS1_", "EC_SIGN_P256_", "EC_SIGN_P384_")
    if name.startswith(prefixes) or name == "PQ_SIGN_ML_DSA_65":
        algorithm = Algorithm.parse(name)
        assert algorithm.kms_name == name
        hashed = (algorithm.hash_name or "ml_dsa_65").upper()
        assert name.endswith(hashed)
        assert str(algorithm.bits or "") in name
    else:
        with pytest.raises(BadInput, match=name):
            Algorithm.parse(name)


@pytest.mark.parametrize("name", ["", "rsa_pss_2048_sha256", "ECDSA_P521_SHA256", "ML_DSA_87"])
def test_an_unknown_algorithm_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        Algorithm.parse(name)


@every_algorithm
def test_a_digest_is_as_long_as_its_name_says(algorithm: Algorithm) -> None:
    digest = algorithm.digest(PAYLOAD)
    if algorithm.scheme is Scheme.ML_DSA:
        assert digest == PAYLOAD
    else:
        assert algorithm.name.endswith(str(len(digest) * 8))
        assert algorithm.hash.digest_size == len(digest)


# --- PKIX keys


@every_algorithm
def test_a_signature_verifies_and_one_flipped_bit_anywhere_does_not(algorithm: Algorithm) -> None:
    key = pkix_key(algorithm)
    signature = pkix_sign(algorithm, PAYLOAD)
    key.verify(PAYLOAD, signature)
    for bit in (0, 7, len(PAYLOAD) * 4, len(PAYLOAD) * 8 - 1):
        with pytest.raises(Unverified):
            key.verify(flipped(PAYLOAD, bit), signature)
    for bit in (0, 7, len(signature) * 4, len(signature) * 8 - 1):
        with pytest.raises(Unverified):
            key.verify(PAYLOAD, flipped(signature, bit))
    with pytest.raises(Unverified) as caught:
        pkix_key(algorithm, number=1).verify(PAYLOAD, signature)
    assert pkix_key(algorithm, number=1).id in caught.value.message


@every_algorithm
def test_one_flipped_bit_in_the_key_verifies_nothing(algorithm: Algorithm) -> None:
    key = pkix_key(algorithm)
    signature = pkix_sign(algorithm, PAYLOAD)
    lines = public_pem(make_private_key(algorithm)).splitlines()
    spki = base64.b64decode("".join(lines[1:-1]))
    assert spki == key.spki
    for bit in (len(spki) * 8 - 80, len(spki) * 4):
        other = base64.encodebytes(flipped(spki, bit)).decode()
        pem = f"{lines[0]}\n{other}{lines[-1]}\n"
        try:
            changed = PkixKey.from_pem(pem, algorithm)
        except BadInput:
            continue  # a point that is not on the curve
        with pytest.raises(Unverified):
            changed.verify(PAYLOAD, signature)


@every_algorithm
@pytest.mark.parametrize("signature", [b"", b"\0", b"\0" * 64, b"\x30\x00", b"A" * 10_000])
def test_what_is_no_signature_at_all_is_unverified(algorithm: Algorithm, signature: bytes) -> None:
    with pytest.raises(Unverified):
        pkix_key(algorithm).verify(PAYLOAD, signature)


@every_algorithm
def test_a_signature_of_another_algorithm_does_not_verify(algorithm: Algorithm) -> None:
    signature = pkix_sign(algorithm, PAYLOAD)
    for other in Algorithm:
        if other is not algorithm:
            with pytest.raises(Unverified):
                pkix_key(other).verify(PAYLOAD, signature)


@every_algorithm
def test_a_key_of_another_kind_or_size_is_refused(algorithm: Algorithm) -> None:
    for other in Algorithm:
        pem = public_pem(make_private_key(other))
        alike = make_private_key(other) is make_private_key(algorithm)
        assert algorithm.admits(make_private_key(other)) == alike
        assert algorithm.admits(make_private_key(other).public_key()) == alike
        if alike:
            assert PkixKey.from_pem(pem, algorithm).algorithm is algorithm
        else:
            with pytest.raises(BadInput, match=algorithm.name):
                PkixKey.from_pem(pem, algorithm)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.SECP224R1()),
        ec.generate_private_key(ec.BrainpoolP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 1024),  # noqa: S505 that is what is tested
        "no key",
    ],
    ids=["secp256k1", "secp224r1", "brainpool", "ed25519", "rsa1024", "text"],
)
def test_no_algorithm_admits_what_the_service_cannot_verify(key: object) -> None:
    assert not any(algorithm.admits(key) for algorithm in Algorithm)


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "key",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        pgp_public(PgpKind.ED25519),
    ],
)
def test_a_text_that_is_no_public_key_is_refused(pem: str) -> None:
    with pytest.raises(BadInput, match="not a public key"):
        PkixKey.from_pem(pem, Algorithm.ECDSA_P256_SHA256)


def test_a_public_key_of_an_unknown_kind_is_refused() -> None:
    first, *lines, last = public_pem(make_private_key(Algorithm.ECDSA_P256_SHA256)).splitlines()
    # The curve's identifier, 1.2.840.10045.3.1.7, becomes another: RFC 5480, section 2.1.1.1.
    named, other = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030106")
    spki = base64.b64decode("".join(lines)).replace(named, other)
    pem = f"{first}\n{base64.encodebytes(spki).decode()}{last}\n"
    with pytest.raises(BadInput, match="not a public key"):
        PkixKey.from_pem(pem, Algorithm.ECDSA_P256_SHA256)


@every_algorithm
def test_a_key_made_with_the_wrong_algorithm_verifies_nothing(algorithm: Algorithm) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    spki = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(Unverified):
        PkixKey("k", algorithm, spki).verify(PAYLOAD, private.sign(PAYLOAD))


# https://cloud.google.com/binary-authorization/docs/making-attestations: this key has this id.
DOCUMENTED_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEXnpuYEfvLl1kj4fjxViFRwY1a+zC
5qzlf9LJIK+rnjq42tiKGyyXMbnZKJiYPPdMDGyltnkrABnztg2jJ48aYQ==
-----END PUBLIC KEY-----
"""
DOCUMENTED_ID = "ni:///sha-256;EwVxs8fNUAHq9FI2AMfh8WNIXVBuuTMeGtPH72U-I70"


def test_a_blank_key_id_becomes_the_one_that_the_service_computes() -> None:
    key = PkixKey.from_pem(DOCUMENTED_KEY, Algorithm.ECDSA_P256_SHA256)
    assert key.id == pkix_key_id(key.spki) == DOCUMENTED_ID
    assert key.kms_key_version is None


def test_a_key_id_is_kept_as_it_is_spelt() -> None:
    name = "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
    for spelling in (name, f"//cloudkms.googleapis.com/v1/{name}"):
        key = PkixKey.from_pem(DOCUMENTED_KEY, Algorithm.ECDSA_P256_SHA256, spelling)
        assert key.id == spelling
        assert key.kms_key_version is not None
        assert key.kms_key_version.name == name


@every_algorithm
def test_a_key_is_shown_without_its_bytes(algorithm: Algorithm) -> None:
    key = pkix_key(algorithm, "k")
    assert len(repr(key)) < 200
    assert key.algorithm_name == algorithm.name


# --- OpenPGP keys


def body_bits(message: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Each single-bit change of what is signed in a message, or of the signature's numbers.

    Other parts, such as a signature's unhashed area, may change without harm: they say nothing.
    """
    packets = [(packet, bytes(packet)) for packet in PacketPile.from_bytes(message)]
    raw = b"".join(data for _, data in packets)
    start = 0
    for packet, data in packets:
        end = start + len(data)
        if packet.tag == Tag.Literal:
            for bit in range((end - len(PAYLOAD)) * 8, end * 8, 37):
                yield "payload", bit, flipped(raw, bit)
        if packet.tag == Tag.Signature:
            yield "signature", end * 8 - 8, flipped(raw, end * 8 - 8)
            yield "signature", end * 8 - 80, flipped(raw, end * 8 - 80)
            # The hashed area comes after six octets: version, type, algorithms and its length.
            hashed = (end - len(packet.body) + 6) * 8
            yield "hashed area", hashed + 40, flipped(raw, hashed + 40)
        start = end


@every_kind
def test_a_message_verifies_and_one_flipped_bit_does_not(kind: PgpKind) -> None:
    key, message = pgp_key(kind), pgp_sign(kind, PAYLOAD)
    key.verify(PAYLOAD, message)
    changed = list(body_bits(message))
    assert {what for what, _, _ in changed} == {"payload", "signature", "hashed area"}
    for what, bit, data in changed:
        for wanted in (PAYLOAD, flipped(PAYLOAD, 0)):
            try:
                key.verify(wanted, data)
            except Unverified:
                continue
            pytest.fail(f"{what}, bit {bit}")
    with pytest.raises(Unverified, match="not signed by"):
        pgp_key(kind, 1).verify(PAYLOAD, message)
    with pytest.raises(Unverified, match="other bytes"):
        key.verify(flipped(PAYLOAD, 3), message)


@every_kind
def test_one_flipped_bit_in_an_openpgp_key_verifies_nothing(kind: PgpKind) -> None:
    message = pgp_sign(kind, PAYLOAD)
    raw = bytes(pgp_tsk(kind).extract_certificate())
    start = 0
    for packet in PacketPile.from_bytes(raw):
        end = start + len(bytes(packet))
        if packet.tag == Tag.PublicKey:
            with pytest.raises((Unverified, BadInput)):
                PgpKey.from_armored(
                    pysequoia.armor(flipped(raw, end * 8 - 5), pysequoia.ArmorKind.PublicKey)
                ).verify(PAYLOAD, message)
        start = end


@every_kind
def test_a_binary_message_verifies_and_other_forms_do_not(kind: PgpKind) -> None:
    signer = pgp_tsk(kind).signer()
    pgp_key(kind).verify(PAYLOAD, pysequoia.sign(signer, PAYLOAD, armor=False))
    for data in (
        pysequoia.sign(signer, PAYLOAD, mode=pysequoia.SignatureMode.DETACHED),
        b"",
        b"no message",
        b"-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n",
        pgp_public(kind).encode(),
    ):
        with pytest.raises(Unverified):
            pgp_key(kind).verify(PAYLOAD, data)


@every_kind
def test_a_message_without_a_valid_signature_says_nothing(kind: PgpKind) -> None:
    packets = list(PacketPile.from_bytes(pgp_sign(kind, PAYLOAD)))
    others = list(PacketPile.from_bytes(pgp_sign(kind, b"other")))
    literal = [each for each in packets if each.tag == Tag.Literal]
    foreign = [each for each in others if each.tag == Tag.Signature]
    for parts in (literal, [*literal, *foreign], [packets[0], *literal, *foreign], packets[:-1]):
        with pytest.raises(Unverified):
            pgp_key(kind).verify(PAYLOAD, b"".join(bytes(part) for part in parts))


def test_an_openpgp_key_is_named_by_its_primary_key() -> None:
    key = pgp_key(PgpKind.ED25519)
    certificate = pgp_tsk(PgpKind.ED25519).extract_certificate()
    subkeys = [from_byte.fingerprint for from_byte in PacketPile.from_bytes(bytes(certificate))][1:]
    assert key.id == certificate.fingerprint.upper()
    assert key.id.lower() not in subkeys
    assert len(key.id) == 40
    assert key.algorithm_name == "OPENPGP"
    assert PgpKey.from_armored(pgp_public(PgpKind.ED25519), key.id) == key
    assert len(repr(key)) < 200


def test_an_openpgp_key_under_another_id_is_refused() -> None:
    for key_id in ("0" * 40, pgp_key(PgpKind.ED25519).id.lower()):
        with pytest.raises(BadInput, match="another id"):
            PgpKey.from_armored(pgp_public(PgpKind.ED25519), key_id)


def test_an_openpgp_key_of_version_6_is_refused() -> None:
    key = pysequoia.Tsk.generate("v6", profile=pysequoia.Profile.RFC9580)
    with pytest.raises(BadInput, match="not of version 4"):
        PgpKey.from_armored(str(key.extract_certificate()))


@pytest.mark.parametrize(
    "text", ["", "key", DOCUMENTED_KEY, pgp_public(PgpKind.P256) + pgp_public(PgpKind.ED25519)]
)
def test_a_text_that_is_no_single_certificate_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        PgpKey.from_armored(text)
    assert "\n" not in caught.value.message


@every_kind
def test_a_revoked_key_verifies_nothing(kind: PgpKind) -> None:
    with pytest.raises(BadInput, match=f"the OpenPGP key {pgp_key(kind).id} is revoked"):
        PgpKey.from_armored(str(pgp_revoked(pgp_tsk(kind)).extract_certificate()))


def test_a_key_of_any_size_is_not_read() -> None:
    large = "-----BEGIN PUBLIC KEY-----\n" + "A" * KEY_BYTES
    with pytest.raises(BadInput, match="over the 1048576 allowed"):
        PkixKey.from_pem(large, Algorithm.ECDSA_P256_SHA256)
    with pytest.raises(BadInput, match="over the 1048576 allowed"):
        PgpKey.from_armored(large)


def certificate(tsk: pysequoia.Tsk) -> str:
    return str(tsk.extract_certificate())


def test_a_key_that_cannot_verify_says_why() -> None:
    tsk, name = pgp_tsk(PgpKind.ED25519), pgp_key(PgpKind.ED25519).id
    reasons = {
        f"the OpenPGP key {name} is revoked": certificate(pgp_revoked(tsk)),
        f"the OpenPGP key {name} expired on ": certificate(pgp_expired(tsk)),
        "has no signing key": pgp_by_hand(flags=1),  # it certifies
        "has no key flags, so that it does not say that it may sign": pgp_by_hand(flags=None),
        "has no signature on itself that can be checked": pgp_by_hand(hash_id=2),  # SHA-1
    }
    for reason, text in reasons.items():
        with pytest.raises(BadInput) as caught:
            PgpKey.from_armored(text, now=datetime.now(UTC))
        assert reason in caught.value.message
        assert caught.value.hint
    assert PgpKey.from_armored(pgp_by_hand())


def test_a_private_key_that_was_registered_by_mistake_is_not_kept() -> None:
    key = PgpKey.from_armored(pgp_secret(PgpKind.ED25519).decode())
    assert key == pgp_key(PgpKind.ED25519)


def test_an_unusable_key_verifies_nothing() -> None:
    key = UnusableKey("k", "its algorithm is unknown")
    assert key.algorithm_name == "UNKNOWN"
    with pytest.raises(Unverified, match="its algorithm is unknown"):
        key.verify(PAYLOAD, b"")


# --- what other tools made


@pytest.mark.parametrize("vector", VECTORS["signatures"], ids=lambda vector: vector["algorithm"])
def test_a_signature_of_openssl_or_gpg_verifies(vector: dict[str, str]) -> None:
    payload = VECTORS["payload"].encode()
    key: PkixKey | PgpKey
    if vector["algorithm"].startswith("OpenPGP"):
        key = PgpKey.from_armored(vector["public_key"])
    else:
        key = PkixKey.from_pem(vector["public_key"], Algorithm.parse(vector["algorithm"]))
    signature = base64.b64decode(vector["signature"])
    key.verify(payload, signature)
    with pytest.raises(Unverified):
        key.verify(payload + b" ", signature)


def test_there_is_a_vector_for_each_algorithm_that_openssl_has() -> None:
    made = {vector["algorithm"] for vector in VECTORS["signatures"]}
    assert {each.name for each in Algorithm} - made == {"ML_DSA_65"}
    assert sum(name.startswith("OpenPGP") for name in made) == 6
