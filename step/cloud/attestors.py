"""Attestors of Binary Authorization: reading them, and asking the service to validate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from google.cloud import binaryauthorization_v1 as api
from grafeas import grafeas_v1

from step.cloud.connection import Connection
from step.cloud.methods import GET_ATTESTOR, LIST_ATTESTORS, VALIDATE
from step.cloud.pages import pages
from step.errors import BadInput, Refused, Unavailable, Unverified
from step.model.attestation import Attestation, Attestor
from step.model.bounds import ATTESTOR_KEYS
from step.model.image import ImageRef
from step.model.keys import Algorithm, Key, PgpKey, PkixKey, UnusableKey
from step.model.names import AttestorName, NoteName, ProjectName
from step.model.quoting import on_one_line, shortened

# service.proto, ListAttestorsRequest: the server may return fewer.
PAGE_SIZE = 100
_ALGORITHM_NAMES = {
    int(number): name for name, number in api.PkixPublicKey.SignatureAlgorithm.__members__.items()
}


@dataclass(frozen=True, slots=True)
class Attestors:
    """The attestors that a connection can reach."""

    connection: Connection

    def get(self, name: AttestorName) -> Attestor:
        """Read an attestor; needs roles/binaryauthorization.attestorsViewer on it.

        A key that nothing can be verified with becomes an UnusableKey, so that one such key does
        not hide the others.
        """
        request = api.GetAttestorRequest(name=str(name))
        stored: api.Attestor = self.connection.call(GET_ATTESTOR, request, str(name))
        own = stored.user_owned_grafeas_note
        try:
            note = NoteName.parse(own.note_reference)
        except BadInput:
            raise Refused(
                f"the attestor {name} has no Grafeas note, so that it can verify nothing",
                "Create the attestor anew, with a note.",
            ) from None
        if len(own.public_keys) > ATTESTOR_KEYS:
            raise Refused(
                f"the attestor {name} lists {len(own.public_keys)} keys; Binary Authorization "
                f"allows {ATTESTOR_KEYS}",
                "Is that the service itself?",
            )
        return Attestor(name, note, tuple(_key(key) for key in own.public_keys))

    def with_key(self, project: ProjectName, key_id: str) -> Iterator[AttestorName]:
        """The attestors of a project that list a key of that id.

        Needs roles/binaryauthorization.attestorsViewer on the project.
        """
        request = api.ListAttestorsRequest(parent=str(project), page_size=PAGE_SIZE)
        for page in pages(self.connection, LIST_ATTESTORS, request, str(project)):
            for stored in page.attestors:
                if any(key.id == key_id for key in stored.user_owned_grafeas_note.public_keys):
                    yield AttestorName.parse(stored.name)

    def validate(self, attestor: Attestor, attestation: Attestation, image: ImageRef) -> None:
        """Return if Binary Authorization itself verifies an attestation that is not stored yet.

        Needs roles/binaryauthorization.attestorsVerifier on the attestor. Raises Unverified with
        the service's reason, Unavailable when its answer is neither yes nor no.
        """
        answer = self.connection.call(
            VALIDATE,
            api.ValidateAttestationOccurrenceRequest(
                attestor=str(attestor.name),
                attestation=to_grafeas(attestation),
                occurrence_note=str(attestor.note),
                occurrence_resource_uri=image.resource_uri,
            ),
            str(attestor.name),
        )
        result = api.ValidateAttestationOccurrenceResponse.Result
        if answer.result == result.ATTESTATION_NOT_VERIFIABLE:
            raise Unverified(
                "Binary Authorization does not verify the attestation: "
                + (on_one_line(answer.denial_reason) or "no reason given"),
                f"Nothing was created. Compare the key and its algorithm with what {attestor.name} "
                "lists.",
            )
        if answer.result != result.VERIFIED:
            raise Unavailable(
                "Binary Authorization did not say whether the attestation verifies",
                "Nothing was created; running again is safe.",
            )


def to_grafeas(attestation: Attestation) -> grafeas_v1.AttestationOccurrence:
    """The attestation as the API has it."""
    return grafeas_v1.AttestationOccurrence(
        serialized_payload=attestation.payload,
        signatures=[
            grafeas_v1.Signature(public_key_id=each.key_id, signature=each.value)
            for each in attestation.signatures
        ],
    )


def _key(key: api.AttestorPublicKey) -> Key:
    try:
        if key.ascii_armored_pgp_public_key:
            # By the machine's clock, as Sequoia judges.
            now = datetime.now(UTC)
            return PgpKey.from_armored(key.ascii_armored_pgp_public_key, key.id, now)
        # As a number: one that this version of the client does not know has no name.
        number = api.PkixPublicKey.pb(key.pkix_public_key).signature_algorithm
        name = _ALGORITHM_NAMES.get(
            number, f"number {number}, which may be newer than this program"
        )
        return PkixKey.from_pem(key.pkix_public_key.public_key_pem, Algorithm.parse(name), key.id)
    except BadInput as error:
        return UnusableKey(key.id, shortened(error.message), error.hint)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a panic is one; it must not hide other keys
        return UnusableKey(
            key.id, f"it makes the library fail that reads it: {type(error).__name__}"
        )
