"""OpenPGP messages, unpacked within bounds before a library sees them.

Formats: https://www.rfc-editor.org/rfc/rfc9580#section-4.2 (packets), #section-5.6 (compression)
and #section-6 (armor).
"""

from __future__ import annotations

import base64
import bz2
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from step.errors import Unverified
from step.model.bounds import PACKETS, UNPACKED_DEPTH

# kritis writes its messages under the second label (pkg/attestlib/pgp_signer.go).
_ARMOR = re.compile(
    rb"^-----BEGIN PGP (MESSAGE|SIGNATURE)-----[ \t]*\r?\n(?P<inside>.*?)^-----END PGP \1-----",
    re.MULTILINE | re.DOTALL,
)
_BLANK_LINE = re.compile(rb"^[ \t]*\r?\n", re.MULTILINE)
_SIGNATURE, _ONE_PASS, _COMPRESSED, _MARKER, _LITERAL = 2, 4, 8, 10, 11
_KEPT = frozenset({_SIGNATURE, _ONE_PASS, _MARKER, _LITERAL})
_UNCOMPRESSED, _ZIP, _ZLIB, _BZIP2 = range(4)


def unpacked(message: bytes, limit: int) -> bytes:
    """The packets of a signed message, binary, none compressed or in parts, at most `limit` bytes.

    What a library reads is then what was counted here. Raises ValueError for what is malformed or
    no signed message, Unverified for what is larger or more deeply packed than the bounds.
    """
    try:
        return _Unpacking(limit).all_of(_binary(message), 0)
    except (IndexError, EOFError, OSError, zlib.error):
        raise ValueError("the packets cannot be read") from None


@dataclass
class _Unpacking:
    left: int
    packets: int = PACKETS

    def all_of(self, data: bytes, depth: int) -> bytes:
        kept: list[bytes] = []
        for tag, body in _packets(data):
            self.packets -= 1
            if self.packets < 0:
                raise Unverified(f"the OpenPGP message has more than {PACKETS} packets")
            if tag == _COMPRESSED:
                if depth == UNPACKED_DEPTH:
                    raise Unverified(
                        f"the OpenPGP message is compressed more than {UNPACKED_DEPTH} times over"
                    )
                kept.append(self.all_of(self._decompressed(body), depth + 1))
            elif tag in _KEPT:
                self._take(len(body))
                kept.append(bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4) + body)
            else:
                raise ValueError(f"a signed message has no packet {tag}")
        return b"".join(kept)

    def _decompressed(self, body: bytes) -> bytes:
        """A compressed packet's content: never more than what is left, and one byte to show it."""
        algorithm, packed, most = body[0], body[1:], self.left + 1
        if algorithm == _UNCOMPRESSED:
            return packed
        if algorithm in (_ZIP, _ZLIB):
            inflate = zlib.decompressobj(-zlib.MAX_WBITS if algorithm == _ZIP else zlib.MAX_WBITS)
            data = inflate.decompress(packed, most)
        elif algorithm == _BZIP2:
            data = bz2.BZ2Decompressor().decompress(packed, most)
        else:
            raise ValueError("unknown compression")
        if len(data) == most:
            raise _too_large()
        return data

    def _take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _too_large()


def _too_large() -> Unverified:
    return Unverified("the OpenPGP message unpacks to much more than the payload")


def _binary(message: bytes) -> bytes:
    """The message without its armor, if it has any; the first bit of a packet is always set."""
    if message[:1] >= b"\x80":
        return message
    match = _ARMOR.search(message)
    if match is None:
        raise ValueError("neither binary nor armored")
    inside = match["inside"]
    blank = _BLANK_LINE.search(inside)  # headers end with it
    lines = (inside[blank.end() :] if blank else inside).split()
    # The line that starts with = is a checksum, which says nothing that a signature does not.
    return base64.b64decode(b"".join(line for line in lines if line[:1] != b"="), validate=True)


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tags and bodies of the packets, in order; raises IndexError or ValueError."""
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise ValueError("not a packet")
        if head & 0x40:
            body, at = _body(data, at + 1)
            yield head & 0x3F, body
            continue
        kind, tag = head & 3, head >> 2 & 15
        if kind == 3:  # to the end of the data
            yield tag, data[at + 1 :]
            return
        start = at + 1 + (1 << kind)
        at = start + int.from_bytes(data[at + 1 : start])
        yield tag, _slice(data, start, at)


def _body(data: bytes, at: int) -> tuple[bytes, int]:
    """A body behind a length of the new format, its parts joined, and where it ends."""
    parts: list[bytes] = []
    while True:
        first = data[at]
        if first < 192:
            start, size = at + 1, first
        elif first < 224:
            start, size = at + 2, (first - 192 << 8) + data[at + 1] + 192
        elif first == 255:
            start, size = at + 5, int.from_bytes(data[at + 1 : at + 5])
        else:  # a part, and another length behind it
            start, size = at + 1, 1 << (first & 0x1F)
        at = start + size
        parts.append(_slice(data, start, at))
        if not 224 <= first < 255:
            return b"".join(parts), at


def _slice(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise IndexError("cut off")
    return data[start:end]
