"""Attestations, and the attestor that decides whether one holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from step.errors import Unverified
from step.model.image import ImageRef
from step.model.keys import Key
from step.model.names import AttestorName, NoteName
from step.model.payload import Payload


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature and the id of the key that is said to have made it: a claim until verified."""

    key_id: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Attestation:
    """The payload exactly as it was signed, and its signatures."""

    payload: bytes
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An attestation as Container Analysis stores it; `name` is `projects/P/occurrences/ID`."""

    name: str
    resource_uri: str
    attestation: Attestation
    create_time: datetime | None = None

    def is_about(self, image: ImageRef) -> bool:
        """Whether it names the image's digest; the name before it may be spelt in any way."""
        return self.resource_uri.endswith(f"@{image.digest}")


@dataclass(frozen=True, slots=True)
class Attestor:
    """Who attests: a note to find attestations on, and the public keys that can verify them."""

    name: AttestorName
    note: NoteName
    keys: tuple[Key, ...]

    def key(self, key_id: str) -> Key | None:
        """The registered key of that id, byte for byte as registered, or None."""
        return next((key for key in self.keys if key.id == key_id), None)

    def verify(self, attestation: Attestation, image: ImageRef) -> Key:
        """Return the registered key that verifies the attestation, if it attests `image`.

        Finds the key by the signature's id, verifies, and only then parses the payload and
        compares its digest with the caller's. One signature that holds is enough
        (grafeas/v1/attestation.proto). Raises Unverified, with every reason, when none does.
        """
        reasons: list[str] = []
        for signature in attestation.signatures:
            key = self.key(signature.key_id)
            if key is None:
                reasons.append(f"{self.name} lists no key {signature.key_id!r}")
                continue
            try:
                key.verify(attestation.payload, signature.value)
                attested = Payload.parse(attestation.payload)
                if attested.digest != image.digest:
                    raise Unverified(f"it attests {attested.digest}, not {image.digest}")
            except Unverified as error:
                reasons.append(error.message)
            else:
                return key
        raise Unverified(
            f"no valid attestation of {image}: " + ("; ".join(reasons) or "it has no signature"),
            f"It must be of this digest, signed by a key that {self.name} lists, under that id.",
        )

    def first_verified(
        self, occurrences: Iterable[Occurrence], image: ImageRef, key: Key
    ) -> Occurrence | None:
        """The first of the note's occurrences that attests `image` under exactly `key`, or None."""
        for occurrence in occurrences:
            attestation = occurrence.attestation
            own = tuple(s for s in attestation.signatures if s.key_id == key.id)
            try:
                self.verify(Attestation(attestation.payload, own), image)
            except Unverified:
                continue
            if occurrence.is_about(image):
                return occurrence
        return None
