"""A small seed, and Google's own clients talking to an emulator over the wire."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import google_crc32c
import grpc
from google.cloud import binaryauthorization_v1 as ba
from google.cloud import kms_v1 as kms
from google.cloud.binaryauthorization_v1.services.binauthz_management_service_v1.transports import (
    BinauthzManagementServiceV1GrpcTransport,
)
from google.cloud.binaryauthorization_v1.services.validation_helper_v1.transports import (
    ValidationHelperV1GrpcTransport,
)
from google.cloud.devtools import cloudbuild_v1 as cloudbuild
from google.cloud.devtools.cloudbuild_v1.services.cloud_build.transports import (
    CloudBuildGrpcTransport,
)
from google.cloud.kms_v1.services.key_management_service.transports import (
    KeyManagementServiceGrpcTransport,
)
from grafeas import grafeas_v1 as g
from grafeas.grafeas_v1.services.grafeas.transports import GrafeasGrpcTransport

from step.emulator import Emulator

PROJECT = "projects/p"
NOTE = f"{PROJECT}/notes/n"
ATTESTOR = f"{PROJECT}/attestors/a"
RING = f"{PROJECT}/locations/global/keyRings/r"
DIGEST = "sha256:" + "ab" * 32
URI = f"https://example.com/image@{DIGEST}"


def version_of(key: str, number: int = 1) -> str:
    return f"{RING}/cryptoKeys/{key}/cryptoKeyVersions/{number}"


KEY = version_of("k")
KEY_ID = f"//cloudkms.googleapis.com/v1/{KEY}"

SEED = f"""
projects: {{p: {{number: 123456789012}}}}
keys:
  - {{name: {RING}/cryptoKeys/k}}
attestors:
  - name: {ATTESTOR}
    note: {NOTE}
    public_keys: [{{kms: {KEY}}}]
"""


@dataclass(frozen=True)
class Clients:
    """Google's clients on one channel."""

    channel: grpc.Channel
    kms: kms.KeyManagementServiceClient
    binauthz: ba.BinauthzManagementServiceV1Client
    validation: ba.ValidationHelperV1Client
    grafeas: g.GrafeasClient
    builds: cloudbuild.CloudBuildClient

    @classmethod
    def of(cls, emulator: Emulator) -> "Clients":
        channel = grpc.insecure_channel(emulator.grpc_address)
        return cls(
            channel,
            kms.KeyManagementServiceClient(
                transport=KeyManagementServiceGrpcTransport(channel=channel)
            ),
            ba.BinauthzManagementServiceV1Client(
                transport=BinauthzManagementServiceV1GrpcTransport(channel=channel)
            ),
            ba.ValidationHelperV1Client(transport=ValidationHelperV1GrpcTransport(channel=channel)),
            g.GrafeasClient(
                transport=GrafeasGrpcTransport(
                    channel=channel, host="containeranalysis.googleapis.com"
                )
            ),
            cloudbuild.CloudBuildClient(transport=CloudBuildGrpcTransport(channel=channel)),
        )

    def sign(self, payload: bytes, version: str = KEY) -> bytes:
        """A signature of an EC P-256 key version."""
        digest = hashlib.sha256(payload).digest()
        response = self.kms.asymmetric_sign(
            kms.AsymmetricSignRequest(name=version, digest=kms.Digest(sha256=digest)), retry=None
        )
        return bytes(response.signature)

    def attestation(self, digest: str = DIGEST) -> g.AttestationOccurrence:
        """A good attestation by the seeded key."""
        payload = payload_for(digest)
        return g.AttestationOccurrence(
            serialized_payload=payload,
            signatures=[g.Signature(public_key_id=KEY_ID, signature=self.sign(payload))],
        )

    def validate(
        self, attestation: g.AttestationOccurrence, *, note: str = NOTE, uri: str = URI
    ) -> ba.ValidateAttestationOccurrenceResponse:
        return self.validation.validate_attestation_occurrence(
            ba.ValidateAttestationOccurrenceRequest(
                attestor=ATTESTOR,
                attestation=attestation,
                occurrence_note=note,
                occurrence_resource_uri=uri,
            )
        )

    def create(
        self, attestation: g.AttestationOccurrence, *, uri: str = URI, parent: str = PROJECT
    ) -> g.Occurrence:
        return self.grafeas.create_occurrence(
            parent=parent,
            occurrence=g.Occurrence(resource_uri=uri, note_name=NOTE, attestation=attestation),
        )

    def listed(self, text: str = "") -> list[str]:
        """The names that ListNoteOccurrences gives."""
        actual = self.grafeas.list_note_occurrences(name=NOTE, filter=text, retry=None)
        return [occurrence.name for occurrence in actual]


def payload_for(digest: str = DIGEST) -> bytes:
    return json.dumps({"critical": {"image": {"docker-manifest-digest": digest}}}).encode()


def crc32c(value: bytes) -> int:
    checksum: int = google_crc32c.value(value)
    return checksum


@dataclass
class FakeClock:
    """A time that stands still until it is moved."""

    time: datetime = field(default_factory=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))

    def now(self) -> datetime:
        return self.time

    def advance(self, by: timedelta) -> None:
        self.time += by
