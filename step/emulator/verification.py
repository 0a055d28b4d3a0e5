"""Whether a signature is good under a public key that an attestor holds: PKIX and OpenPGP.

Keys and algorithms:
https://github.com/googleapis/googleapis/blob/master/google/cloud/binaryauthorization/v1/resources.proto
"""

import base64
import hashlib
from dataclasses import dataclass

import pysequoia
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from step.emulator.refusal import invalid

_PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | mldsa.MLDSA65PublicKey

# PkixPublicKey.SignatureAlgorithm, by the first declared name of each number.
_RSA: dict[str, tuple[int, bool, hashes.HashAlgorithm]] = {
    "RSA_PSS_2048_SHA256": (2048, True, hashes.SHA256()),
    "RSA_PSS_3072_SHA256": (3072, True, hashes.SHA256()),
    "RSA_PSS_4096_SHA256": (4096, True, hashes.SHA256()),
    "RSA_PSS_4096_SHA512": (4096, True, hashes.SHA512()),
    "RSA_SIGN_PKCS1_2048_SHA256": (2048, False, hashes.SHA256()),
    "RSA_SIGN_PKCS1_3072_SHA256": (3072, False, hashes.SHA256()),
    "RSA_SIGN_PKCS1_4096_SHA256": (4096, False, hashes.SHA256()),
    "RSA_SIGN_PKCS1_4096_SHA512": (4096, False, hashes.SHA512()),
}
_EC: dict[str, tuple[type[ec.EllipticCurve], hashes.HashAlgorithm]] = {
    "ECDSA_P256_SHA256": (ec.SECP256R1, hashes.SHA256()),
    "ECDSA_P384_SHA384": (ec.SECP384R1, hashes.SHA384()),
    "ECDSA_P521_SHA512": (ec.SECP521R1, hashes.SHA512()),
}


class NotVerified(Exception):
    """A signature that does not verify; the message says why."""


@dataclass(frozen=True, slots=True)
class PkixKey:
    """A SubjectPublicKeyInfo and the one algorithm that its signatures are read with."""

    key: _PublicKey
    algorithm: str

    @classmethod
    def parse(cls, pem: str, algorithm: str) -> "PkixKey":
        """The key of a PEM text; Refusal (INVALID_ARGUMENT) when the two do not fit together."""
        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise invalid("public_key_pem is not a PEM-encoded public key.") from error
        match key:
            case rsa.RSAPublicKey() if _RSA.get(algorithm, (0,))[0] == key.key_size:
                return cls(key, algorithm)
            case ec.EllipticCurvePublicKey() if algorithm in _EC and isinstance(
                key.curve, _EC[algorithm][0]
            ):
                return cls(key, algorithm)
            case mldsa.MLDSA65PublicKey() if algorithm == "ML_DSA_65":
                return cls(key, algorithm)
        raise invalid(f"public_key_pem is not a key of signature_algorithm {algorithm}.")

    def default_id(self) -> str:
        """The id that the service gives a key without one: its RFC 6920 digest."""
        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=")
        return f"ni:///sha-256;{digest.decode()}"

    def verify(self, signature: bytes, payload: bytes) -> bytes:
        """The payload, if the signature over it is good; else NotVerified."""
        try:
            self._check(signature, payload)
        except InvalidSignature:
            raise NotVerified("the signature does not match the payload") from None
        return payload

    def _check(self, signature: bytes, payload: bytes) -> None:
        match self.key:
            case rsa.RSAPublicKey() as key:
                _, pss, digest = _RSA[self.algorithm]
                scheme: padding.AsymmetricPadding = padding.PKCS1v15()
                if pss:
                    # No source fixes the salt's length, so any is taken.
                    scheme = padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
                key.verify(signature, payload, scheme, digest)
            case ec.EllipticCurvePublicKey() as key:
                key.verify(signature, payload, ec.ECDSA(_EC[self.algorithm][1]))
            case mldsa.MLDSA65PublicKey() as key:
                key.verify(signature, payload)


@dataclass(frozen=True, slots=True)
class PgpKey:
    """An OpenPGP certificate; signatures of its signing subkeys count as its own."""

    certificate: pysequoia.Cert

    @classmethod
    def parse(cls, armored: str) -> "PgpKey":
        """The certificate of an armored text; Refusal (INVALID_ARGUMENT) when it is none."""
        if not armored.lstrip().startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----"):
            raise invalid("ascii_armored_pgp_public_key is not an armored OpenPGP public key.")
        # Sequoia's errors carry a native stack trace: not for clients.
        try:
            certificate = pysequoia.Cert.from_bytes(armored.encode())
        except RuntimeError:
            raise invalid("ascii_armored_pgp_public_key cannot be read.") from None
        return cls(certificate)

    def default_id(self) -> str:
        """The primary key's fingerprint, upper-case hex."""
        return self.certificate.fingerprint.upper()

    def verify(self, signature: bytes, payload: bytes) -> bytes:
        """The message inside an armored, attached signature; else NotVerified.

        It must equal the payload, unless the payload is empty.
        """
        if not signature.lstrip().startswith(b"-----BEGIN PGP MESSAGE-----"):
            raise NotVerified("the signature is not an armored, attached OpenPGP message")
        try:
            verified = pysequoia.verify(signature, store=lambda _: [self.certificate])
        except RuntimeError:
            raise NotVerified("the OpenPGP signature does not verify") from None
        message = verified.bytes
        if message is None or not verified.valid_sigs:
            raise NotVerified("the OpenPGP message carries no valid signature")
        if payload and message != payload:
            raise NotVerified("the signed OpenPGP message is not the serialized payload")
        return message
