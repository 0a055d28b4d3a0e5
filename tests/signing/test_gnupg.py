"""Keys whose numbers GnuPG wrote with more bits than they have."""

from __future__ import annotations

import pysequoia
import pytest
from pysequoia.packet import Packet, PacketPile, Tag

from step.signing.gnupg import exact, unlocked
from step.signing.pgp import PgpSigner
from tests.keys import PgpKind, pgp_locked, pgp_public, pgp_rounded, pgp_stubbed, pgp_tsk
from tests.signing.trial import checked, refusal

PASSPHRASE = "pässwörd"


def secrets(key: pysequoia.Tsk) -> list[Packet]:
    """The secret packets of a key."""
    packets = PacketPile.from_bytes(bytes(key))
    return [each for each in packets if each.tag in (Tag.SecretKey, Tag.SecretSubkey)]


def inexact(numbers: bytes) -> bytes:
    """Numbers that Sequoia is sure to refuse: with a byte of zeros before each."""
    changed = b""
    while numbers:
        size = (int.from_bytes(numbers[:2]) + 7) // 8
        changed += (8 * size + 8).to_bytes(2) + b"\0" + numbers[2 : 2 + size]
        numbers = numbers[2 + size :]
    return changed


@pytest.mark.parametrize("change", [pgp_rounded, inexact])
@pytest.mark.parametrize("kind", PgpKind)
def test_a_locked_key_with_inexact_numbers_signs(kind: PgpKind, change: object) -> None:
    """GnuPG 2.4 exports more than half of the locked keys on curves so."""
    assert callable(change)
    locked = pgp_locked(pgp_tsk(kind), PASSPHRASE, change)
    checked(PgpSigner.load(str(locked).encode(), PASSPHRASE), pgp_public(kind))


def test_sequoia_alone_does_not_take_such_a_key() -> None:
    """When it does one day, `step.signing.gnupg` can go."""
    locked = pgp_locked(pgp_tsk(PgpKind.ED25519), PASSPHRASE, inexact)
    with pytest.raises(RuntimeError):
        locked.signer(PASSPHRASE)


@pytest.mark.parametrize("kind", PgpKind)
def test_a_wrong_passphrase_stays_wrong(kind: PgpKind) -> None:
    locked = pgp_locked(pgp_tsk(kind), PASSPHRASE, inexact)
    for wrong in ("passwörd", "", PASSPHRASE + "\n"):
        error = refusal(str(locked).encode(), wrong or None)
        assert "passphrase" in error.message


@pytest.mark.parametrize("kind", PgpKind)
def test_an_open_key_with_inexact_numbers_signs(kind: PgpKind) -> None:
    """One Ed25519 key in 256 begins with a byte of zeros, and GnuPG counts its bits."""

    def change(packet: Packet, public: Packet) -> bytes:
        numbers = inexact(packet.body[len(public.body) + 1 : -2])
        return public.body + b"\0" + numbers + (sum(numbers) % 65536).to_bytes(2)

    raw = _changed(pgp_tsk(kind), change)
    with pytest.raises(RuntimeError):
        pysequoia.Tsk.from_bytes(raw)
    checked(PgpSigner.load(raw, None), pgp_public(kind))


def _changed(key: pysequoia.Tsk, change: object) -> bytes:
    """The packets themselves, since no key can be made of them."""
    assert callable(change)
    certificate = PacketPile.from_bytes(bytes(key.extract_certificate()))
    public = {each.fingerprint: each for each in certificate if each.fingerprint}
    packets = b""
    for from_byte in PacketPile.from_bytes(bytes(key)):
        if from_byte.fingerprint:
            body = change(from_byte, public[from_byte.fingerprint])
            head = bytes([0xC0 | int(from_byte.tag), 0xFF]) + len(body).to_bytes(4)
            packets += head + body
        else:
            packets += bytes(from_byte)
    return packets


@pytest.mark.parametrize("kind", PgpKind)
def test_an_exact_key_stays_as_it_is(kind: PgpKind) -> None:
    for packet in secrets(pgp_tsk(kind)):
        assert exact(packet).body == packet.body
        assert unlocked(packet, PASSPHRASE).body == packet.body


def test_what_is_not_an_open_secret_stays_as_it_is() -> None:
    locked = pgp_locked(pgp_tsk(PgpKind.RSA), PASSPHRASE)
    for key in (locked, pgp_stubbed(pgp_tsk(PgpKind.P256))):
        for packet in PacketPile.from_bytes(bytes(key)):
            assert exact(packet).body == packet.body
    modern = pysequoia.Tsk.generate("x", profile=pysequoia.Profile.RFC9580)
    for packet in secrets(modern):
        assert exact(packet).body == packet.body


def test_other_ways_to_lock_a_key_are_left_to_sequoia() -> None:
    """A stub of GnuPG, for one, and a key of version 6."""
    stub = secrets(pgp_stubbed(pgp_tsk(PgpKind.P256)))[0]
    modern = secrets(pysequoia.Tsk.generate("x", profile=pysequoia.Profile.RFC9580))[0]
    for packet in (stub, modern):
        with pytest.raises(ValueError, match="not"):
            unlocked(packet, PASSPHRASE)


@pytest.mark.parametrize("index", range(6, 60, 3))
def test_a_damaged_secret_is_refused_in_one_line(index: int) -> None:
    def damage(packet: Packet, public: Packet) -> bytes:
        changed = bytearray(packet.body)
        changed[index] ^= 0xFF
        return bytes(changed)

    raw = _changed(pgp_tsk(PgpKind.P256), damage)
    refusal(raw)
