"""Signing with an OpenPGP key, in the process: no gpg, no agent, no key ring, nothing on disk."""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto

import pysequoia
from pysequoia.packet import PacketPile, Tag

from step.errors import BadInput, KeyNotRegistered
from step.model.attestation import Attestor
from step.model.certificate import Part, parts_of, signing_parts
from step.model.keys import Key, PgpKey, UnusableKey
from step.signing.gnupg import exact, unlocked
from step.signing.signer import registered, unusable

# Sequoia's errors carry a native stack trace, and the text of a Tsk is the private key itself:
# neither may leave this module, so every error here is raised anew and `from None`.


@dataclass(frozen=True, slots=True)
class PgpSigner:
    """An unlocked OpenPGP key; `fingerprint` is its primary key's, in upper-case hex.

    It signs with the primary key or with a signing subkey; attestors list the primary either way.
    """

    fingerprint: str
    _signer: pysequoia.PySigner = field(repr=False, compare=False)

    @classmethod
    def load(cls, secret: bytes, passphrase: str | None, key_id: str | None = None) -> PgpSigner:
        """Read and unlock a private key: armored, binary, or base64 of either.

        A passphrase that the key does not need is ignored. `key_id`, if given, must be the
        fingerprint. Raises BadInput, each with its own line, for anything that is not one V4
        private key that can sign now: public, several, revoked, expired, locked, without a
        signing key.
        """
        try:
            key = _parse(_decoded(secret))
            signer = _unlocked(key, passphrase or None)
        except RuntimeError:  # all of Sequoia's errors
            raise _not_a_key() from None
        fingerprint = key.extract_certificate().fingerprint.upper()
        if key_id is not None and key_id != fingerprint:
            raise BadInput(
                f"the OpenPGP private key is {fingerprint}, not {key_id}",
                "Attestors list an OpenPGP key by the fingerprint of its primary key.",
            )
        return cls(fingerprint, signer)

    def key_on(self, attestor: Attestor) -> Key:
        """The attestor's OpenPGP key of that fingerprint."""
        key = attestor.key(self.fingerprint)
        match key:
            case PgpKey():
                return key
            case UnusableKey():
                raise unusable(attestor, key)
        alike = [key.id for key in attestor.keys if key.id.upper() == self.fingerprint]
        raise KeyNotRegistered(
            f"{attestor.name} does not list the OpenPGP key {self.fingerprint}",
            f"It lists {alike[0]}, which differs in its letters' case; ids match exactly."
            if alike
            else registered(attestor),
        )

    def prepare(self) -> None:
        """Nothing: the key is here."""

    def sign(self, payload: bytes, key: Key) -> bytes:
        """An armored message that holds the payload and its signature, as gpg --armor --sign."""
        try:
            return pysequoia.sign(self._signer, payload, mode=pysequoia.SignatureMode.INLINE)
        except RuntimeError:
            raise BadInput(
                f"the OpenPGP key {self.fingerprint} did not sign",
                "Try it where it was made: gpg --armor --sign FILE.",
            ) from None


def _decoded(secret: bytes) -> bytes:
    text = secret.strip()
    # A binary packet starts with a byte above 0x7f, https://www.rfc-editor.org/rfc/rfc9580#section-4.2.
    if not text or b"-----BEGIN" in text or text[0] > 0x7F:
        return secret
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except ValueError:
        raise _not_a_key() from None


def _parse(data: bytes) -> pysequoia.Tsk:
    try:
        certificates = pysequoia.Cert.split_bytes(data)
    except RuntimeError:
        data = b"".join(bytes(exact(packet)) for packet in PacketPile.from_bytes(data))
        certificates = pysequoia.Cert.split_bytes(data)
    if len(certificates) > 1:
        names = ", ".join(each.fingerprint.upper() for each in certificates)
        raise BadInput(
            f"there are {len(certificates)} OpenPGP keys, not one: {names}",
            "Export only the one that signs: gpg --armor --export-secret-keys FINGERPRINT.",
        )
    key = pysequoia.Tsk.from_bytes(data)
    packets = PacketPile.from_bytes(bytes(key))
    fingerprint = key.extract_certificate().fingerprint.upper()
    if not any(packet.tag in (Tag.SecretKey, Tag.SecretSubkey) for packet in packets):
        raise BadInput(
            f"that is the public key of {fingerprint}, not the private key",
            "Export the private key: gpg --armor --export-secret-keys FINGERPRINT.",
        )
    if len(fingerprint) != 40:
        raise BadInput(
            f"the OpenPGP key {fingerprint} is not of version 4",
            "Binary Authorization names OpenPGP keys by their version 4 fingerprint.",
        )
    return key


def _unlocked(key: pysequoia.Tsk, passphrase: str | None) -> pysequoia.PySigner:
    parts = parts_of(key)
    usable = _usable(key.extract_certificate(), parts)
    # Sequoia would stop at the first key that is a stub, and does not mind a revoked primary key:
    # it is shown the secrets of keys that may sign, and public halves of all others.
    signing = pysequoia.Tsk.from_packets(
        [
            packet
            for part in parts
            for packet in (part.key if part in usable else part.public, *part.about)
        ]
    )
    with suppress(RuntimeError):
        return signing.signer()
    if passphrase is not None:
        with suppress(RuntimeError, UnicodeEncodeError):  # the environment may hold any bytes
            return signing.signer(passphrase)
        with suppress(RuntimeError, ValueError):
            opened = [
                packet
                for part in parts
                for packet in (
                    unlocked(part.key, passphrase) if part in usable else part.public,
                    *part.about,
                )
            ]
            return pysequoia.Tsk.from_packets(opened).signer()
    name = f"the OpenPGP key {parts[0].fingerprint}"
    if all(_Secret.of(part) is _Secret.OPEN for part in usable):
        raise BadInput(
            f"{name} cannot sign: its algorithm is not supported",
            "Use RSA of 2048 bits or more, Ed25519 or a NIST curve.",
        )
    if passphrase is None:
        raise BadInput(
            f"{name} is locked and there is no passphrase",
            "Give it in the environment as BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE, or with "
            "--pgp-passphrase-file.",
        )
    raise BadInput(f"the passphrase does not unlock {name}", "Spaces and line ends count, too.")


def _usable(certificate: pysequoia.Cert, parts: list[Part]) -> list[Part]:
    """The keys that may sign now, locked or not; raises BadInput when there is none."""
    live = signing_parts(certificate, parts, datetime.now(UTC))
    held = [part for part in live if _Secret.of(part) in (_Secret.OPEN, _Secret.LOCKED)]
    if not held:
        raise BadInput(
            f"the OpenPGP key {parts[0].fingerprint} came without the secret half of its signing "
            "key",
            "It is kept elsewhere, or on a smart card. Export its signing subkey where it is: "
            "gpg --armor --export-secret-subkeys FINGERPRINT.",
        )
    return held


class _Secret(Enum):
    ABSENT = auto()
    OPEN = auto()
    LOCKED = auto()
    STUB = auto()

    @classmethod
    def of(cls, part: Part) -> _Secret:
        """What a key packet holds beyond its public half, which is how a secret one begins.

        https://www.rfc-editor.org/rfc/rfc9580#section-5.5.3; a stub is GnuPG's extension to it,
        "GNU extensions to the S2K algorithm" in doc/DETAILS of GnuPG.
        """
        usage, *rest = part.key.body[len(part.public.body) :] or [None]
        if usage is None:
            return cls.ABSENT
        if usage == 0:
            return cls.OPEN
        return cls.STUB if usage in (254, 255) and rest[1:2] == [101] else cls.LOCKED


def _not_a_key() -> BadInput:
    return BadInput(
        "that is not an OpenPGP private key that can be read",
        "Give it armored with its line breaks, binary, or as base64 of either: "
        "gpg --armor --export-secret-keys FINGERPRINT | base64.",
    )
