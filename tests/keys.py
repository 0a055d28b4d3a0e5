"""Keys made for the tests: nothing secret is stored in the repository.

Each is made once for a run, since an RSA key of 4096 bits takes a second or more.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import TypeAlias

import pysequoia
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from pysequoia.packet import Packet, PacketPile, Tag

from step.model.attestation import Attestor
from step.model.keys import Algorithm, Key, PgpKey, PkixKey, Scheme
from step.model.names import AttestorName, NoteName
from step.signing.pkix import PkixSigner

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | mldsa.MLDSA65PrivateKey

_CURVES = {256: ec.SECP256R1(), 384: ec.SECP384R1(), 521: ec.SECP521R1()}


def make_private_key(algorithm: Algorithm, number: int = 0) -> PrivateKey:
    """A private key that the algorithm admits; another `number` gives another key.

    Algorithms that differ in padding or hash only share their key.
    """
    return _private_key(algorithm.scheme is Scheme.ML_DSA, algorithm.bits, number)


@cache
def _private_key(post_quantum: bool, bits: int, number: int) -> PrivateKey:
    if post_quantum:
        return mldsa.MLDSA65PrivateKey.generate()
    if bits in _CURVES:
        return ec.generate_private_key(_CURVES[bits])
    return rsa.generate_private_key(65537, bits)


class KnownRsaKeys:
    """RSA keys for an emulator's Cloud KMS: every one has the same, in the order asked for."""

    def __init__(self) -> None:
        self._given = Counter[int]()

    def __call__(self, bits: int) -> rsa.RSAPrivateKey:
        self._given[bits] += 1
        # None that a test has for itself.
        key = _private_key(False, bits, -self._given[bits])
        assert isinstance(key, rsa.RSAPrivateKey)
        return key


def private_pem(
    key: PrivateKey, form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8
) -> bytes:
    """The key as PEM; `TraditionalOpenSSL` gives PKCS#1 for RSA and SEC1 for EC."""
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain)


def pkix_signer(
    algorithm: Algorithm,
    key_id: str | None = None,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
) -> PkixSigner:
    """The signer with `make_private_key`."""
    return _pkix_signer(private_pem(make_private_key(algorithm), form), key_id)


@cache
def _pkix_signer(pem: bytes, key_id: str | None) -> PkixSigner:
    """Once for each, since whoever reads an RSA key tests its primes."""
    return PkixSigner.load(pem, key_id)


def public_pem(key: PrivateKey) -> str:
    """The public half as PEM, as an attestor stores it."""
    public = key.public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


def pkix_key(algorithm: Algorithm, key_id: str = "", number: int = 0) -> PkixKey:
    """The registered half of `make_private_key`."""
    return PkixKey.from_pem(public_pem(make_private_key(algorithm, number)), algorithm, key_id)


def pkix_sign(algorithm: Algorithm, data: bytes, number: int = 0) -> bytes:
    """Sign without the code under test; PSS with the longest salt, as openssl does by default."""
    key = make_private_key(algorithm, number)
    match key:
        case rsa.RSAPrivateKey() if algorithm.scheme is Scheme.RSA_PSS:
            pss = padding.PSS(padding.MGF1(algorithm.hash), padding.PSS.MAX_LENGTH)
            return key.sign(data, pss, algorithm.hash)
        case rsa.RSAPrivateKey():
            return key.sign(data, padding.PKCS1v15(), algorithm.hash)
        case ec.EllipticCurvePrivateKey():
            return key.sign(data, ec.ECDSA(algorithm.hash))
        case mldsa.MLDSA65PrivateKey():
            return key.sign(data)


class PgpKind(Enum):
    """The kinds of OpenPGP key that are tried: a certifying primary and a signing subkey."""

    RSA = pysequoia.CipherSuite.RSA2k
    ED25519 = pysequoia.CipherSuite.Cv25519
    P256 = pysequoia.CipherSuite.P256
    P384 = pysequoia.CipherSuite.P384
    P521 = pysequoia.CipherSuite.P521


def pgp_tsk(kind: PgpKind, number: int = 0) -> pysequoia.Tsk:
    """A private key, not locked; its text is the secret, so never let it into a message."""
    return _tsk(kind, number)


@cache
def _tsk(kind: PgpKind, number: int) -> pysequoia.Tsk:
    return pysequoia.Tsk.generate(f"{kind.name}-{number}@example.com", cipher_suite=kind.value)


def pgp_secret(kind: PgpKind, number: int = 0, *, passphrase: str | None = None) -> bytes:
    """The private key, armored; locked when there is a passphrase."""
    key = pgp_tsk(kind, number)
    if passphrase is not None:
        key = pgp_locked(key, passphrase)
    return str(key).encode()


def pgp_public(kind: PgpKind, number: int = 0) -> str:
    """The public key, armored, as an attestor stores it."""
    return str(pgp_tsk(kind, number).extract_certificate())


def pgp_key(kind: PgpKind, number: int = 0) -> PgpKey:
    """The registered half of `pgp_secret`."""
    return PgpKey.from_armored(pgp_public(kind, number))


def pgp_sign(kind: PgpKind, data: bytes, number: int = 0) -> bytes:
    """An armored message that holds `data` and its signature."""
    return pysequoia.sign(pgp_tsk(kind, number).signer(), data)


def pgp_locked(
    key: pysequoia.Tsk, passphrase: str, change: Callable[[bytes], bytes] = bytes
) -> pysequoia.Tsk:
    """The key with every secret in it encrypted, as RFC 4880 section 5.5.3 has it.

    `change` gets the numbers of each secret before they are encrypted.
    """

    def lock(packet: Packet, public: Packet) -> bytes:
        # between "not encrypted" and the checksum
        secret = change(packet.body[len(public.body) + 1 : -2])
        salt, start = os.urandom(8), os.urandom(16)
        count = 65536  # octets to hash; written as 96, RFC 4880 section 3.7.1.3
        once = salt + passphrase.encode()
        symmetric = hashlib.sha256((once * (count // len(once) + 1))[:count]).digest()
        cipher = Cipher(algorithms.AES(symmetric), CFB(start)).encryptor()
        checked = secret + hashlib.sha1(secret, usedforsecurity=False).digest()
        # Usage 254 (SHA-1 inside), cipher 9 (AES-256), S2K 3 (iterated, salted), hash 8 (SHA-256).
        head = bytes([254, 9, 3, 8]) + salt + bytes([96]) + start
        return public.body + head + cipher.update(checked) + cipher.finalize()

    return pgp_with_secrets(key, lock)


def pgp_rounded(numbers: bytes) -> bytes:
    """The numbers of a secret with their bits counted in whole bytes, as GnuPG 2.4 exports them."""
    rounded = b""
    while numbers:
        size = (int.from_bytes(numbers[:2]) + 7) // 8
        rounded += (8 * size).to_bytes(2) + numbers[2 : 2 + size]
        numbers = numbers[2 + size :]
    return rounded


def pgp_stubbed(key: pysequoia.Tsk) -> pysequoia.Tsk:
    """The key without its primary's secret, as gpg --export-secret-subkeys leaves it."""

    def stub(packet: Packet, public: Packet) -> bytes:
        return (
            public.body + b"\xff\x00\x65\x00GNU\x01" if packet.tag == Tag.SecretKey else packet.body
        )

    return pgp_with_secrets(key, stub)


def pgp_revoked(key: pysequoia.Tsk) -> pysequoia.Tsk:
    """The key, revoked by itself."""
    revocation = key.extract_certificate().revoke(key.certifier())
    primary, *rest = PacketPile.from_bytes(bytes(key))
    revoked = PacketPile.from_bytes(bytes(revocation))
    return pysequoia.Tsk.from_packets([primary, *revoked, *rest])


def pgp_expired(key: pysequoia.Tsk) -> pysequoia.Tsk:
    """The key, from now on expired."""
    expired = key.extract_certificate().set_expiration(datetime.now(UTC), key.certifier())
    secret = {
        from_byte.fingerprint: from_byte
        for from_byte in PacketPile.from_bytes(bytes(key))
        if from_byte.fingerprint
    }
    packets = PacketPile.from_bytes(bytes(expired))
    return pysequoia.Tsk.from_packets([secret.get(each.fingerprint, each) for each in packets])


def pgp_by_hand(flags: int | None = 3, hash_id: int = 8) -> str:
    """A public RSA key as hardly any tool makes one: without key flags, certified with SHA-1.

    RFC 4880, 5.5.2 (the key), 5.2.3 (the certification of its name) and 5.2.4 (what that is over).
    """
    private = make_private_key(Algorithm.RSA_SIGN_PKCS1_2048_SHA256)
    assert isinstance(private, rsa.RSAPrivateKey)
    numbers = private.public_key().public_numbers()
    created, name = 1_700_000_000, b"by-hand@example.com"
    head = b"\x04" + created.to_bytes(4) + b"\x01"
    key = head + b"".join(map(_number, (numbers.n, numbers.e)))
    hashed = b"\x05\x02" + (created + 1).to_bytes(4)
    hashed += b"" if flags is None else b"\x02\x1b" + bytes([flags])
    about = b"\x04\x13\x01" + bytes([hash_id]) + len(hashed).to_bytes(2) + hashed
    data = b"\x99" + len(key).to_bytes(2) + key + b"\xb4" + len(name).to_bytes(4) + name
    data += about + b"\x04\xff" + len(about).to_bytes(4)
    digest = {2: hashes.SHA1, 8: hashes.SHA256}[hash_id]()
    issuer = hashlib.sha1(b"\x99" + len(key).to_bytes(2) + key, usedforsecurity=False).digest()[-8:]
    unhashed = b"\x09\x10" + issuer
    hasher = hashes.Hash(digest)
    hasher.update(data)
    left = hasher.finalize()[:2]
    signature = int.from_bytes(private.sign(data, padding.PKCS1v15(), digest))
    made = about + len(unhashed).to_bytes(2) + unhashed + left + _number(signature)
    packets = ((6, key), (13, name), (2, made))
    whole = b"".join(bytes([0xC0 | t, 0xFF]) + len(each).to_bytes(4) + each for t, each in packets)
    return pysequoia.armor(whole, pysequoia.ArmorKind.PublicKey)


def _number(value: int) -> bytes:
    return value.bit_length().to_bytes(2) + value.to_bytes((value.bit_length() + 7) // 8)


def pgp_with_secrets(
    key: pysequoia.Tsk, change: Callable[[Packet, Packet], bytes]
) -> pysequoia.Tsk:
    """The key with each secret packet's body changed; `change` gets it and its public half."""
    certificate = PacketPile.from_bytes(bytes(key.extract_certificate()))
    public = {item.fingerprint: item for item in certificate if item.fingerprint}
    packets = b""
    for packet in PacketPile.from_bytes(bytes(key)):
        if packet.fingerprint:
            body = change(packet, public[packet.fingerprint])
            # A packet of the new format with a length of five octets, RFC 4880 section 4.2.2.3.
            packets += bytes([0xC0 | int(packet.tag), 0xFF]) + len(body).to_bytes(4) + body
        else:
            packets += bytes(packet)
    return pysequoia.Tsk.from_bytes(packets)


def attestor(*keys: Key) -> Attestor:
    """An attestor that lists those keys."""
    name = AttestorName.parse("projects/build-project/attestors/built-by-ci")
    return Attestor(name, NoteName.parse("projects/build-project/notes/built-by-ci"), keys)
