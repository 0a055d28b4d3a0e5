"""What a signer is."""

from __future__ import annotations

from typing import Protocol

from step.errors import KeyNotRegistered
from step.model.attestation import Attestor
from step.model.keys import Key, UnusableKey


class Signer(Protocol):
    """Signs payloads with a key that attestors list.

    It is trusted with nothing: whoever calls it verifies what it returns with the attestor's key.
    """

    def key_on(self, attestor: Attestor) -> Key:
        """The key of the attestor that this signer signs for.

        Raises KeyNotRegistered, listing what the attestor has, when there is none; BadInput,
        listing which it could be, when there are several.
        """

    def prepare(self) -> None:
        """Get ready to sign while something else is waited for; may do nothing, and ends soon."""

    def sign(self, payload: bytes, key: Key) -> bytes:
        """The signature over `payload`, in the form that `key.verify` reads.

        `key` is what `key_on` returned. Raises BadInput, Refused, NotAllowed, NotFound or
        Unavailable as the key's home has it.
        """


def unusable(attestor: Attestor, key: UnusableKey) -> KeyNotRegistered:
    """The error for a key that the attestor lists, but that no signature could be verified with."""
    return KeyNotRegistered(
        f"{attestor.name} lists {key.id}, but nothing can verify with it: {key.reason}",
        key.mend
        or "Register a key of an algorithm that Binary Authorization verifies; a newer "
        "binauthz-attest may know this one.",
    )


def registered(attestor: Attestor) -> str:
    """The ids of the attestor's keys, for a hint."""
    if not attestor.keys:
        return f"{attestor.name} lists no keys at all."
    return f"{attestor.name} lists: " + ", ".join(key.id for key in attestor.keys) + "."
