"""Signatures by Cloud KMS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import google_crc32c

from step.cloud.connection import Connection
from step.cloud.methods import SIGN
from step.errors import BadInput, KeyNotRegistered, Unavailable
from step.model.attestation import Attestor
from step.model.keys import Key, PkixKey, UnusableKey
from step.model.names import KmsKeyVersion
from step.signing.signer import registered, unusable

if TYPE_CHECKING:
    from google.cloud.kms_v1 import AsymmetricSignRequest, AsymmetricSignResponse

# "Discard the response and perform a limited number of retries"
# (https://cloud.google.com/kms/docs/data-integrity-guidelines).
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class KmsSigner:
    """Signs with a key version in Cloud KMS; needs roles/cloudkms.signer on the key.

    Without `version`, the attestor's one registered KMS key signs. `key_id` is the public key id
    on the attestor, for a key that is registered there under an id of its own.
    """

    connection: Connection
    version: KmsKeyVersion | None = None
    key_id: str | None = None

    def key_on(self, attestor: Attestor) -> Key:
        """The attestor's key that names the key version, or that has the id, under which it signs.

        One key version under both spellings of its name is one key: the first is taken.
        """
        meant = [key for key in attestor.keys if self._is_meant(key)]
        if not meant:
            wanted = self.version.key_id if self.version else "any Cloud KMS key"
            if self.key_id is not None:
                wanted += f" as {self.key_id}"
            fix = "Name a listed key, or add this one to the attestor."
            if not self.version and not self.key_id:
                fix = "Give its private key with --pgp-key-file, BINAUTHZ_PGP_PRIVATE_KEY or "
                fix += "--pkix-key-file, or add a key in Cloud KMS to the attestor."
            raise KeyNotRegistered(
                f"{attestor.name} does not list {wanted}; nothing was signed",
                f"{registered(attestor)} {fix}",
            )
        if len({KmsKeyVersion.find(key.id) for key in meant}) > 1:
            ids = ", ".join(key.id for key in meant)
            raise BadInput(
                f"{attestor.name} lists {len(meant)} Cloud KMS keys: {ids}",
                "Say which one signs with --kms-key-version.",
            )
        match meant[0]:
            case PkixKey() as key if self.version or key.kms_key_version:
                return key
            case UnusableKey() as key:
                raise unusable(attestor, key)
            case other:
                raise KeyNotRegistered(
                    f"{other.id} on {attestor.name} names no Cloud KMS key version",
                    "Name the key version with --kms-key-version.",
                )

    def prepare(self) -> None:
        """Import Cloud KMS's client, and begin to connect."""
        self.connection.open(SIGN)

    def sign(self, payload: bytes, key: Key) -> bytes:
        """Have the payload's digest signed; for ML-DSA, the payload itself.

        Raises Unavailable when the checksums do not agree, however often it is asked.
        """
        version = self.version or KmsKeyVersion.parse(key.id)
        assert isinstance(key, PkixKey)  # noqa: S101 - key_on returns no other
        from google.cloud import kms_v1

        request = kms_v1.AsymmetricSignRequest(name=version.name)
        to_sign = key.algorithm.digest(payload)
        if key.algorithm.hash_name is None:
            request.data, request.data_crc32c = to_sign, google_crc32c.value(to_sign)
        else:
            request.digest = kms_v1.Digest({key.algorithm.hash_name: to_sign})
            request.digest_crc32c = google_crc32c.value(to_sign)
        wrong = ""
        for _ in range(_ATTEMPTS):
            try:
                answer = self.connection.call(SIGN, request, version.key)
            except BadInput as error:
                # "The checksum in field … did not match the data in field …": not the user's doing.
                if "crc32c" not in error.message:
                    raise BadInput(
                        error.message,
                        f"The attestor lists the key's algorithm as {key.algorithm_name}; is it?",
                    ) from error
                wrong = "the request arrived damaged"
                continue
            wrong = _damage(request, answer)
            if not wrong:
                return bytes(answer.signature)
        raise Unavailable(
            f"AsymmetricSign: {wrong}, {_ATTEMPTS} times; nothing was created",
            "Something between here and Cloud KMS damages messages: a proxy, or bad memory.",
        )

    def _is_meant(self, key: Key) -> bool:
        if self.key_id not in (None, key.id):
            return False
        named = KmsKeyVersion.find(key.id)
        return self.key_id is not None if named is None else self.version in (None, named)


def _damage(request: AsymmetricSignRequest, answer: AsymmetricSignResponse) -> str:
    """What shows that the answer is not Cloud KMS's to this request; empty if nothing does.

    https://cloud.google.com/kms/docs/data-integrity-guidelines
    """
    if answer.name != request.name:
        return "the answer is for another key version"
    if not (answer.verified_data_crc32c if request.data else answer.verified_digest_crc32c):
        return "the request's checksum was not verified"
    if answer.signature_crc32c != google_crc32c.value(bytes(answer.signature)):
        return "the signature does not match its checksum"
    return ""
