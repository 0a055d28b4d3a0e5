"""A signature that was made elsewhere, for example with a key that is kept offline."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass

from step.errors import BadInput, KeyNotRegistered, Unverified
from step.model.attestation import Attestor
from step.model.keys import Key, PgpKey, PkixKey, UnusableKey
from step.model.names import KmsKeyVersion
from step.signing.signer import registered, unusable

_HINT = (
    "Sign exactly the bytes that `binauthz-attest payload IMAGE` prints, or give the file that was "
    "signed with --payload-file."
)


@dataclass(frozen=True, slots=True)
class DetachedSigner:
    """Hands over one signature; it holds for one payload and one key only.

    `signature` is an OpenPGP message, armored or binary, or a PKIX signature, raw or as base64.
    """

    signature: bytes
    key_id: str

    def key_on(self, attestor: Attestor) -> Key:
        """The attestor's key of that id.

        A KMS key version is found under either spelling, an OpenPGP fingerprint in any case, with
        spaces or after 0x; what the attestor spells is what is used.
        """
        key = attestor.key(self.key_id)
        alike = [key] if key else [key for key in attestor.keys if _same_id(key, self.key_id)]
        match alike:
            case [UnusableKey() as other]:
                raise unusable(attestor, other)
            case [only]:
                return only
            case []:
                raise KeyNotRegistered(
                    f"{attestor.name} lists no key {self.key_id!r}", registered(attestor)
                )
            case _:
                raise BadInput(
                    f"{attestor.name} lists {len(alike)} keys that {self.key_id!r} could mean",
                    f"Give one id as it is written there: {', '.join(key.id for key in alike)}.",
                )

    def prepare(self) -> None:
        """Nothing: the signature is here."""

    def sign(self, payload: bytes, key: Key) -> bytes:
        """The signature in the form that verifies: as it is, or decoded from base64.

        Raises Unverified when it is not a signature of `key` over `payload`.
        """
        for candidate in self._forms(key):
            try:
                key.verify(payload, candidate)
            except Unverified as error:
                refusal = error
            else:
                return candidate
        raise Unverified(
            f"the given signature does not verify for this payload: {refusal.message}",
            f"{refusal.hint} {_HINT}".strip(),
        )

    def _forms(self, key: Key) -> Iterator[bytes]:
        yield self.signature
        if isinstance(key, PkixKey):
            # Alphabets of gcloud and of `openssl base64`; anything else decodes to no signature.
            text = b"".join(self.signature.split()).translate(bytes.maketrans(b"-_", b"+/"))
            try:
                yield base64.b64decode(text, validate=True)
            except ValueError:
                return


def _same_id(key: Key, key_id: str) -> bool:
    match key:
        case PkixKey():
            version = KmsKeyVersion.find(key_id)
            return version is not None and key.kms_key_version == version
        case PgpKey():
            return key.id == re.sub(r"\A0x|\s", "", key_id.strip(), flags=re.IGNORECASE).upper()
        case _:
            return False
