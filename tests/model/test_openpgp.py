"""OpenPGP messages within bounds: what is let through, what is not, and how much that takes."""

from __future__ import annotations

import base64
import bz2
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pysequoia.packet import PacketPile

from step.errors import Unverified
from step.model.bounds import PACKETS, UNPACKED_BYTES, UNPACKED_DEPTH
from step.model.openpgp import unpacked
from tests.keys import PgpKind, pgp_key, pgp_sign

PAYLOAD = b"what is signed"
LIMIT = len(PAYLOAD) + UNPACKED_BYTES
KIND = PgpKind.ED25519
MESSAGE = b"".join(bytes(one) for one in PacketPile.from_bytes(pgp_sign(KIND, PAYLOAD)))
ZIP, ZLIB, BZIP2 = 1, 2, 3


def packet(tag: int, body: bytes) -> bytes:
    """Of the new format, with a length of four bytes."""
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4) + body


def deflated(data: bytes, bits: int = -15) -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, bits)
    return made.compress(data) + made.flush()


def compressed(data: bytes, algorithm: int) -> bytes:
    made = {0: data, ZIP: deflated(data), ZLIB: zlib.compress(data), BZIP2: bz2.compress(data)}[
        algorithm
    ]
    return packet(8, bytes([algorithm]) + made)


def literal(size: int) -> bytes:
    return packet(11, b"b\0\0\0\0\0" + bytes(size))


def armored(data: bytes, label: str = "MESSAGE", headers: str = "") -> bytes:
    text = base64.encodebytes(data).decode()
    return (
        f"-----BEGIN PGP {label}-----\n{headers}\n{text}=AAAA\n-----END PGP {label}-----\n".encode()
    )


@pytest.mark.parametrize("algorithm", [0, ZIP, ZLIB, BZIP2])
@pytest.mark.parametrize("depth", range(UNPACKED_DEPTH + 2))
def test_a_message_verifies_however_often_it_is_compressed_within_the_bound(
    algorithm: int, depth: int
) -> None:
    message = MESSAGE
    for _ in range(depth):
        message = compressed(message, algorithm)
    if depth <= UNPACKED_DEPTH:
        pgp_key(KIND).verify(PAYLOAD, message)
    else:
        with pytest.raises(Unverified, match="compressed more than 4 times over"):
            pgp_key(KIND).verify(PAYLOAD, message)


@pytest.mark.parametrize("algorithm", [ZIP, ZLIB, BZIP2])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_bomb_takes_no_more_memory_than_the_bound(algorithm: int, depth: int) -> None:
    bomb = literal(64 << 20)
    for _ in range(depth):
        bomb = compressed(bomb, algorithm)
    tracemalloc.start()
    try:
        with pytest.raises(Unverified, match="unpacks to much more than the payload"):
            unpacked(bomb, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_what_is_not_compressed_has_the_same_bound() -> None:
    assert unpacked(literal(LIMIT - 6), LIMIT)
    with pytest.raises(Unverified, match="unpacks to much more"):
        unpacked(literal(LIMIT - 5), LIMIT)


def test_several_small_parts_count_together() -> None:
    half = compressed(literal(LIMIT // 2), ZIP)
    assert unpacked(half, LIMIT)
    with pytest.raises(Unverified, match="unpacks to much more"):
        unpacked(half + half + half, LIMIT)
    with pytest.raises(Unverified, match=f"more than {PACKETS} packets"):
        unpacked(packet(10, b"PGP") * (PACKETS + 1), LIMIT)
    assert unpacked(packet(10, b"PGP") * PACKETS, LIMIT)


def test_a_message_that_is_not_a_signed_one_is_none() -> None:
    for tag in (1, 3, 5, 6, 9, 18, 20, 60):
        with pytest.raises(ValueError, match=f"no packet {tag}"):
            unpacked(packet(tag, b"x"), LIMIT)


def in_parts(body: bytes, tag: int, first: int) -> bytes:
    """A packet whose body comes in parts, of `2**first` bytes to begin with: Go's library begins
    with fewer than the 512 that the standard asks for."""
    size = 1 << first
    rest = body[size:]
    head = bytes([0xC0 | tag, 0xE0 | first]) + body[:size]
    return head + bytes([0xFF]) + len(rest).to_bytes(4) + rest


@pytest.mark.parametrize("first", [0, 1, 3])
def test_lengths_of_every_form_say_the_same(first: int) -> None:
    first_packet, middle_packet, last_packet = PacketPile.from_bytes(MESSAGE)
    once, rest = bytes(first_packet), bytes(last_packet)
    content = middle_packet.body
    old = bytes([0x80 | 11 << 2]) + bytes([len(content)]) + content
    old_long = bytes([0x80 | 11 << 2 | 2]) + len(content).to_bytes(4) + content
    short = bytes([0xC0 | 11, len(content)]) + content
    for form in (old, old_long, short, in_parts(content, 11, first)):
        pgp_key(KIND).verify(PAYLOAD, once + form + rest)
    without_end = bytes([0x80 | 8 << 2 | 3, ZIP]) + deflated(once + short + rest)
    pgp_key(KIND).verify(PAYLOAD, without_end)
    two_bytes = bytes([0xC0 | 11, 192 + (1000 - 192 >> 8), (1000 - 192) & 255]) + bytes(1000)
    assert unpacked(two_bytes, LIMIT) == packet(11, bytes(1000))


@pytest.mark.parametrize("label", ["MESSAGE", "SIGNATURE"])
@pytest.mark.parametrize("headers", ["", "Comment: a b\nVersion: x\n"])
@pytest.mark.parametrize("around", ["{}", "hello\n{}bye\n"])
def test_armor_of_every_form_is_read(label: str, headers: str, around: str) -> None:
    text = around.format(armored(MESSAGE, label, headers).decode())
    pgp_key(KIND).verify(PAYLOAD, text.encode())
    pgp_key(KIND).verify(PAYLOAD, text.replace("\n", "\r\n").encode())


@pytest.mark.parametrize(
    "text",
    [
        armored(MESSAGE, "PUBLIC KEY BLOCK"),
        armored(MESSAGE)[:-20],
        armored(MESSAGE).replace(b"=AAAA", b"!!!!"),
        b"-----BEGIN PGP MESSAGE-----\n-----END PGP MESSAGE-----\n",
        b"",
    ],
)
def test_other_texts_are_not_signed(text: bytes) -> None:
    with pytest.raises(Unverified, match="not signed by"):
        pgp_key(KIND).verify(PAYLOAD, text)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_whatever_comes_ends_within_its_limit(data: bytes, limit: int) -> None:
    for form in (data, b"\xcb" + data, b"\xc8" + data, armored(data)):
        with suppress(ValueError, Unverified):
            content = sum(len(one) for one in unpacked(form, limit).split(b"\xff"))
            assert content <= limit + 8 * PACKETS


@given(st.integers(0, 8 * len(MESSAGE) - 1))
def test_no_flipped_bit_gets_through_or_breaks_anything(at: int) -> None:
    data = bytearray(MESSAGE)
    data[at // 8] ^= 1 << at % 8
    with suppress(Unverified):
        pgp_key(KIND).verify(PAYLOAD, bytes(data))
        # What is not signed may be otherwise: the literal's date and name, a length's form.
        assert PAYLOAD in bytes(data)
