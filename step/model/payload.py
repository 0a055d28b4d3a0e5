"""The bytes that are signed."""

from __future__ import annotations

import json
from dataclasses import dataclass

from step.errors import BadInput, Unverified
from step.model.image import Digest, ImageRef
from step.model.quoting import quoted, shortened
from step.model.strict import RepeatedKey, load_json

# gcloud's spelling; command_lib/container/binauthz/util.py of the Google Cloud SDK 528.0.0.
PAYLOAD_TYPE = "Google cloud binauthz container signature"
# Binary Authorization admits these too: capitals as in its documentation of the simple signing
# attestation check, and kritis' constant (pkg/kritis/constants/constants.go).
_ACCEPTED_TYPES = frozenset({PAYLOAD_TYPE.lower(), "atomic container signature"})

# The payload type that gcloud gives PAE unless told otherwise (--dsse-type), same source.
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"


@dataclass(frozen=True, slots=True)
class Payload:
    """What an attestation says: that this digest, once seen under this name, is attested.

    `docker_reference` is informative: "the enforcer uses only the image digest"
    (https://cloud.google.com/binary-authorization/docs/making-attestations).
    """

    docker_reference: str
    digest: Digest

    @classmethod
    def of(cls, image: ImageRef) -> Payload:
        """The payload that attests an image."""
        return cls(str(image.name), image.digest)

    def to_bytes(self) -> bytes:
        """The bytes that `gcloud container binauthz create-signature-payload` prints."""
        critical = {
            "identity": {"docker-reference": self.docker_reference},
            "image": {"docker-manifest-digest": str(self.digest)},
            "type": PAYLOAD_TYPE,
        }
        document = json.dumps({"critical": critical}, indent=2, separators=(",", ": "))
        return f"{document}\n".encode("ascii")

    @classmethod
    def parse(cls, data: bytes) -> Payload:
        """Read a payload in any JSON layout, after its signature was verified.

        Raises Unverified when the bytes are not a payload of Binary Authorization. A repeated key
        is refused: two readers could take different values for the digest.
        """
        try:
            document = load_json(data.decode("utf-8"))
            critical = document["critical"]
            kind = critical["type"]
            reference = critical["identity"]["docker-reference"]
            digest = critical["image"]["docker-manifest-digest"]
        except RepeatedKey as error:
            raise Unverified(f"the payload repeats the key {quoted(error.key)}") from None
        except (ValueError, LookupError, TypeError):
            raise Unverified("the payload is not Binary Authorization's JSON") from None
        if not (isinstance(kind, str) and kind.lower() in _ACCEPTED_TYPES):
            raise Unverified(f"the payload is of another type: {shortened(repr(kind))}")
        if not (isinstance(reference, str) and isinstance(digest, str)):
            raise Unverified("the payload's reference or digest is not text")
        try:
            return cls(reference, Digest.parse(digest))
        except BadInput as error:
            raise Unverified(f"the payload's digest is malformed: {error.message}") from None


def pae(payload_type: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding of a payload.

    https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)
