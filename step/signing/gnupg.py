"""OpenPGP secret keys as GnuPG writes them, made as exact as Sequoia wants them.

GnuPG gives a number as many bits as whole bytes hold: when 2.4 exports a locked key on a curve, and
elsewhere when a number happens to start with zeros. Sequoia refuses such keys, or takes the right
passphrase for a wrong one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from pysequoia.packet import Packet, PacketPile, Tag

# Algorithms whose public half is that many numbers, and those that begin with a curve's name; the
# third also ends with parameters. https://www.rfc-editor.org/rfc/rfc9580#section-5.5.5
_NUMBERS = {1: 2, 2: 2, 3: 2, 16: 3, 17: 4}
_ECDH, _ECDSA, _EDDSA = 18, 19, 22
# https://www.rfc-editor.org/rfc/rfc9580#section-9.5 and #section-9.3
_HASHES = {2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
_AES = {7: 16, 8: 24, 9: 32}
_OPEN, _SHA1_CHECKED, _ITERATED = 0, 254, 3
_SHA1_SIZE = 20


def exact(packet: Packet) -> Packet:
    """A key that is not locked, its numbers as short as they are; anything else as it is."""
    if packet.tag not in (Tag.SecretKey, Tag.SecretSubkey):
        return packet
    body = packet.body
    try:
        start = _secret_start(body)
        if body[start] != _OPEN:
            return packet
        return _open_packet(packet, start, body[start + 1 : -2])
    except (IndexError, ValueError):
        return packet


def unlocked(packet: Packet, passphrase: str) -> Packet:
    """A key that GnuPG locked, opened and exact; one that is not locked as it is.

    Raises ValueError for a wrong passphrase and for any other way to lock a key.
    """
    body = packet.body
    start = _secret_start(body)
    if body[start : start + 1] == bytes([_OPEN]):
        return packet
    usage, cipher, kind, hash_id = body[start : start + 4]
    if usage != _SHA1_CHECKED or kind != _ITERATED or cipher not in _AES or hash_id not in _HASHES:
        raise ValueError("the key is not locked as GnuPG does it")
    salt, coded = body[start + 4 : start + 12], body[start + 12]
    vector, sealed = body[start + 13 : start + 29], body[start + 29 :]
    key = _derived(salt, coded, passphrase.encode(), _HASHES[hash_id], _AES[cipher])
    reader = Cipher(algorithms.AES(key), CFB(vector)).decryptor()
    clear = reader.update(sealed) + reader.finalize()
    numbers, check = clear[:-_SHA1_SIZE], clear[-_SHA1_SIZE:]
    if not hmac.compare_digest(hashlib.sha1(numbers, usedforsecurity=False).digest(), check):
        raise ValueError("the passphrase is wrong")
    return _open_packet(packet, start, numbers)


def _secret_start(body: bytes) -> int:
    """Where the secret half of a key of version 4 begins; ValueError for keys of other kinds."""
    version, algorithm = body[0], body[5]
    if version != 4:
        raise ValueError("not a key of version 4")
    at = 6
    if algorithm in (_ECDH, _ECDSA, _EDDSA):
        at = _number_end(body, at + 1 + body[at])
        return at + 1 + body[at] if algorithm == _ECDH else at
    if algorithm not in _NUMBERS:
        raise ValueError("not a key of numbers")
    for _ in range(_NUMBERS[algorithm]):
        at = _number_end(body, at)
    return at


def _number_end(data: bytes, at: int) -> int:
    """https://www.rfc-editor.org/rfc/rfc9580#section-3.2: a count of bits, then as many bytes."""
    end = at + 2 + (int.from_bytes(data[at : at + 2]) + 7) // 8
    if end > len(data):
        raise ValueError("a number is cut off")
    return end


def _numbers(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        end = _number_end(data, at)
        yield int.from_bytes(data[at + 2 : end])
        at = end


def _open_packet(packet: Packet, start: int, numbers: bytes) -> Packet:
    secret = b"".join(
        number.bit_length().to_bytes(2) + number.to_bytes((number.bit_length() + 7) // 8)
        for number in _numbers(numbers)
    )
    body = packet.body[:start] + bytes([_OPEN]) + secret + (sum(secret) % 65536).to_bytes(2)
    framed = bytes([0xC0 | int(packet.tag), 0xFF]) + len(body).to_bytes(4) + body
    [made] = PacketPile.from_bytes(framed)
    assert isinstance(made, Packet)  # noqa: S101 - a pile's items have no type
    return made


def _derived(salt: bytes, coded: int, passphrase: bytes, hash_name: str, size: int) -> bytes:
    """The key behind a passphrase: https://www.rfc-editor.org/rfc/rfc9580#section-3.7.1.3."""
    unit = salt + passphrase
    count = max((16 + (coded & 15)) << ((coded >> 4) + 6), len(unit))
    stretched = (unit * (count // len(unit) + 1))[:count]
    key, zeros = b"", 0
    while len(key) < size:
        digest = hashlib.new(hash_name, bytes(zeros), usedforsecurity=False)
        digest.update(stretched)
        key, zeros = key + digest.digest(), zeros + 1
    return key[:size]
