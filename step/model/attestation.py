"""Attestations, and the attestor that decides whether one holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from step.errors import BadInput, Unverified
from step.model.bounds import PAYLOAD_BYTES, SIGNATURE_BYTES, SIGNATURES
from step.model.image import ImageRef
from step.model.keys import Key, identity
from step.model.names import AttestorName, NoteName
from step.model.payload import Payload
from step.model.quoting import shortened

ATTESTATION = "ATTESTATION"
"""The kind of occurrence that attests: grafeas.v1.NoteKind."""


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

    @property
    def excess(self) -> str | None:
        """Which bound it is over, if any; then nothing of it is looked at."""
        if len(self.payload) > PAYLOAD_BYTES:
            return f"its payload of {len(self.payload)} bytes is over the {PAYLOAD_BYTES} allowed"
        if len(self.signatures) > SIGNATURES:
            return f"its {len(self.signatures)} signatures are over the {SIGNATURES} allowed"
        return None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An attestation as Container Analysis stores it; `name` is `projects/P/occurrences/ID`.

    `kind` is that of grafeas.v1.NoteKind; of any other than ATTESTATION, the attestation is empty.
    """

    name: str
    resource_uri: str
    attestation: Attestation
    create_time: datetime | None = None
    kind: str = ATTESTATION

    def is_about(self, image: ImageRef) -> bool:
        """Whether it names the image's digest; the name before it may be spelt in any way."""
        return self.resource_uri.endswith(f"@{image.digest}")


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature of an occurrence that attests the image, and the registered key it holds under.

    `image` is the one that it was asked for.
    """

    occurrence: Occurrence
    image: ImageRef
    key: Key

    @property
    def key_id(self) -> str:
        """The id under which the attestor lists the key."""
        return self.key.id


@dataclass(frozen=True, slots=True)
class Rejected:
    """A signature of an occurrence that attests nothing, and why; its key id is a mere claim.

    `key_id` is None where it is the whole occurrence that is rejected, `image` where that names
    none. Neither payload nor signatures are kept, and of texts no more than is shown.
    """

    occurrence: Occurrence
    image: ImageRef | None
    key_id: str | None
    reason: str

    @classmethod
    def of(
        cls, occurrence: Occurrence, image: ImageRef | None, key_id: str | None, reason: str
    ) -> Rejected:
        """The rejection of an occurrence, or of one of its signatures."""
        shown = shortened(occurrence.resource_uri)
        bare = replace(occurrence, resource_uri=shown, attestation=Attestation(b"", ()))
        return cls(bare, image, key_id and shortened(key_id), shortened(reason))


Statement: TypeAlias = Verified | Rejected


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
        reasons = [attestation.excess] if attestation.excess else []
        for signature in () if reasons else attestation.signatures:
            try:
                return self._holder(signature, attestation.payload, image)
            except Unverified as error:
                reasons.append(error.message)
        raise Unverified(
            f"no valid attestation of {image}: " + ("; ".join(reasons) or "it has no signature"),
            f"It must be of this digest, signed by a key that {self.name} lists, under that id.",
        )

    def statements(self, occurrence: Occurrence, image: ImageRef) -> tuple[Statement, ...]:
        """What each signature of one of the note's occurrences is worth for `image`, in order.

        Never empty: an occurrence without a signature is rejected as a whole, as is one that is not
        an attestation, or is larger than any honest one. One that is attached to another image
        counts for none, even if it verifies. Whatever is wrong with one changes nothing for others.
        """
        if occurrence.kind != ATTESTATION:
            reason = f"it is not an attestation, but of kind {occurrence.kind}"
            return (Rejected.of(occurrence, image, None, reason),)
        attestation = occurrence.attestation
        if attestation.excess:
            return (Rejected.of(occurrence, image, None, attestation.excess),)
        statements = tuple(
            self._statement(signature, occurrence, image) for signature in attestation.signatures
        )
        return statements or (Rejected.of(occurrence, image, None, "it has no signature"),)

    def own_statements(self, occurrence: Occurrence) -> tuple[Statement, ...]:
        """Like `statements`, for the image that the occurrence is attached to."""
        try:
            image = ImageRef.parse(occurrence.resource_uri)
        except BadInput:
            reason = "it is attached to no image by digest"
            return (Rejected.of(occurrence, None, None, reason),)
        return self.statements(occurrence, image)

    def _statement(
        self, signature: Signature, occurrence: Occurrence, image: ImageRef
    ) -> Statement:
        try:
            key = self._holder(signature, occurrence.attestation.payload, image)
        except Unverified as error:
            return Rejected.of(occurrence, image, signature.key_id, error.message)
        if not occurrence.is_about(image):
            attached = shortened(occurrence.resource_uri)
            reason = f"it is attached to {attached!r}, not to {image.digest}"
            return Rejected.of(occurrence, image, signature.key_id, reason)
        return Verified(occurrence, image, key)

    def _holder(self, signature: Signature, payload: bytes, image: ImageRef) -> Key:
        """The registered key that a signature holds under; raises Unverified with the reason."""
        key = self.key(signature.key_id)
        if key is None:
            raise Unverified(f"{self.name} lists no key {shortened(signature.key_id)!r}")
        size = len(signature.value)
        if size > SIGNATURE_BYTES:
            raise Unverified(f"the signature's {size} bytes are over the {SIGNATURE_BYTES} allowed")
        _verify(key, payload, signature.value)
        attested = Payload.parse(payload)
        if attested.digest != image.digest:
            raise Unverified(f"it attests {attested.digest}, not {image.digest}")
        return key

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


def _verify(key: Key, payload: bytes, signature: bytes) -> None:
    """Verify; whatever else a library raises is a rejection, too, its panic included.

    A panic of Rust code is a BaseException in Python
    (https://docs.rs/pyo3/latest/pyo3/panic/struct.PanicException.html).
    """
    try:
        key.verify(payload, signature)
    except (Unverified, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 - of what anybody may have written
        kind = type(error).__name__  # its text, nobody has looked at
        raise Unverified(f"it makes the library fail that verifies it: {kind}") from None


@dataclass(frozen=True, slots=True)
class Requirement:
    """How much must verify: attestations by `at_least` different keys, or by every registered one.

    Keys are counted, not occurrences: whoever may write to the note could store a copy of an
    attestation, but not sign a second one. A key that is registered under two ids counts once.

    Raises BadInput for `at_least` under one: asking for nothing would always be met.
    """

    at_least: int = 1
    every_key: bool = False
    distinct: bool = False
    """Whether a key counts for one of the attestors that are asked, and for no other."""
    max_age: timedelta | None = None
    """How long ago an attestation may have been created, by the service's unsigned word."""

    def __post_init__(self) -> None:
        if self.at_least < 1:
            raise BadInput(
                f"--at-least is {self.at_least}", "At least one attestation must be asked for."
            )

    def counted(self, statement: Statement, now: datetime) -> Statement:
        """The statement, a verified one that is too old become a rejection.

        One whose time is not known is too old.
        """
        if self.max_age is None or not isinstance(statement, Verified):
            return statement
        created = statement.occurrence.create_time
        if created is not None and now - created <= self.max_age:
            return statement
        told = "at no time that is known" if created is None else f"{created:%Y-%m-%d %H:%M} UTC"
        reason = f"it verifies, and was created {told}, longer ago than is asked for"
        return Rejected.of(statement.occurrence, statement.image, statement.key_id, reason)

    def needed(self, attestor: Attestor) -> int:
        """How many different keys of an attestor must have signed."""
        return max(self.at_least, len(set(map(identity, attestor.keys))) if self.every_key else 1)

    def unmet(self, attestor: Attestor, statements: Iterable[Statement]) -> str | None:
        """What is missing, or None; an attestor that lists no key never meets it."""
        if not attestor.keys:
            return f"{attestor.name} lists no key, so that nothing can verify"
        holding = {each.key for each in statements if isinstance(each, Verified)}
        counted = set(map(identity, holding))
        if len(counted) < self.at_least:
            few = f"attestations by {len(counted)} of {self.at_least} keys verify"
            return "no attestation verifies" if not counted else few
        lacking = [key.id for key in attestor.keys if key not in holding]
        if self.every_key and lacking:
            return f"no attestation by {', '.join(lacking)} verifies"
        return None
