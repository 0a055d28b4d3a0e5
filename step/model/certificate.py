"""OpenPGP certificates: which of their keys may sign now, and if none may, why."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import pysequoia
from pysequoia.packet import HashAlgorithm, Packet, PacketPile, SignatureType

from step.errors import BadInput

_AND_AGAIN = "export it again, and update the attestor's copy of the public key."
# What Sequoia and GnuPG take no certification by any more.
_BROKEN = (HashAlgorithm.MD5, HashAlgorithm.SHA1, HashAlgorithm.RipeMD)


@dataclass(slots=True, eq=False)
class Part:
    """A primary key or subkey with what is signed about it; `key` may hold a secret."""

    key: Packet = field(repr=False)
    public: Packet
    about: list[Packet] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """In upper-case hex."""
        return (self.key.fingerprint or "").upper()

    @property
    def flagged(self) -> bool:
        """Whether anything says what it is for."""
        return self._newest is not None

    @property
    def signs(self) -> bool:
        """Whether it is for signing, whatever its state."""
        newest = self._newest
        return newest is not None and newest.key_flags is not None and newest.key_flags.signing

    def is_over(self, now: datetime | None) -> bool:
        """Whether it has expired or is revoked."""
        if any(each.signature_type == SignatureType.SubkeyRevocation for each in self.about):
            return True
        created, newest = self.key.key_created, self._newest
        validity = newest.key_validity_period if newest else None
        if now is None or created is None or validity is None:
            return False
        return created + validity <= now

    @property
    def is_weak(self) -> bool:
        """Whether what binds it to its primary key is certified with a broken hash."""
        newest = self._newest
        return newest is not None and newest.hash_algorithm in _BROKEN

    @property
    def _newest(self) -> Packet | None:
        own = {each.signature_created: each for each in self.about if each.key_flags}
        return own[max(filter(None, own))] if any(own) else None


def parts_of(key: pysequoia.Cert | pysequoia.Tsk) -> list[Part]:
    """The primary key and the subkeys, in order, each with the packets that follow it."""
    certificate = key.extract_certificate() if isinstance(key, pysequoia.Tsk) else key
    pile = PacketPile.from_bytes(bytes(certificate))
    public = {packet.fingerprint: packet for packet in pile if packet.fingerprint}
    parts: list[Part] = []
    for packet in PacketPile.from_bytes(bytes(key)):
        if packet.fingerprint:
            parts.append(Part(packet, public[packet.fingerprint]))
        else:
            parts[-1].about.append(packet)
    return parts


def signing_parts(
    certificate: pysequoia.Cert, parts: list[Part], now: datetime | None
) -> list[Part]:
    """Those of a certificate's keys that may sign at a time; None leaves expiry aside.

    Raises BadInput, each with its own reason, where
    there is none: without a self-signature that can be checked, revoked, expired, without key
    flags, or without a signing key that is still valid.
    """
    name = f"the OpenPGP key {parts[0].fingerprint}"
    try:
        revoked, expiration = certificate.is_revoked, certificate.expiration
    except RuntimeError:  # its text carries a native stack trace
        raise BadInput(
            f"{name} has no signature on itself that can be checked",
            "Use RSA of 2048 bits or more, Ed25519 or a NIST curve, certified with SHA-2.",
        ) from None
    if revoked:
        raise BadInput(f"{name} is revoked", "Register another key on the attestor and use that.")
    if now is not None and expiration is not None and expiration <= now:
        raise BadInput(
            f"{name} expired on {expiration:%Y-%m-%d}",
            f"Extend it with gpg --quick-set-expire, {_AND_AGAIN}",
        )
    if not any(part.flagged for part in parts):
        raise BadInput(
            f"{name} has no key flags, so that it does not say that it may sign",
            "gpg takes it for all uses. Set them with gpg --edit-key and change-usage, "
            f"{_AND_AGAIN}",
        )
    every = f"every signing subkey of {name}"
    for keeps, lacking in (
        (lambda part: part.signs, f"{name} has no signing key"),
        (lambda part: not part.is_over(now), f"{every} has expired or is revoked"),
        (lambda part: not part.is_weak, f"{every} is certified with a broken hash, such as SHA-1"),
    ):
        parts = list(filter(keeps, parts))
        if not parts:
            fix = "Add one with gpg --quick-add-key FINGERPRINT ed25519 sign"
            raise BadInput(lacking, f"{fix}, {_AND_AGAIN}")
    return parts
