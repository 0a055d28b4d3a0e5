"""Algorithms, public keys and their ids; the verification of one signature."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeAlias, assert_never

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, padding, rsa

from step.errors import BadInput, Unverified
from step.model.bounds import KEY_BYTES, UNPACKED_BYTES
from step.model.names import KmsKeyVersion
from step.model.openpgp import unpacked


class Scheme(Enum):
    """The families of signature that Binary Authorization verifies."""

    RSA_PSS = "RSA-PSS"
    RSA_PKCS1 = "RSA PKCS#1 v1.5"
    ECDSA = "ECDSA"
    ML_DSA = "ML-DSA"


class Algorithm(Enum):
    """The twelve signature algorithms of Binary Authorization, by the service's own names.

    google/cloud/binaryauthorization/v1/resources.proto, PkixPublicKey.SignatureAlgorithm, and the
    matching names of google/cloud/kms/v1/resources.proto, CryptoKeyVersionAlgorithm. The values
    are: scheme, key size in bits, hash name (None: the data itself is signed), KMS name.
    """

    RSA_PSS_2048_SHA256 = (Scheme.RSA_PSS, 2048, "sha256", "RSA_SIGN_PSS_2048_SHA256")
    RSA_PSS_3072_SHA256 = (Scheme.RSA_PSS, 3072, "sha256", "RSA_SIGN_PSS_3072_SHA256")
    RSA_PSS_4096_SHA256 = (Scheme.RSA_PSS, 4096, "sha256", "RSA_SIGN_PSS_4096_SHA256")
    RSA_PSS_4096_SHA512 = (Scheme.RSA_PSS, 4096, "sha512", "RSA_SIGN_PSS_4096_SHA512")
    RSA_SIGN_PKCS1_2048_SHA256 = (Scheme.RSA_PKCS1, 2048, "sha256", "RSA_SIGN_PKCS1_2048_SHA256")
    RSA_SIGN_PKCS1_3072_SHA256 = (Scheme.RSA_PKCS1, 3072, "sha256", "RSA_SIGN_PKCS1_3072_SHA256")
    RSA_SIGN_PKCS1_4096_SHA256 = (Scheme.RSA_PKCS1, 4096, "sha256", "RSA_SIGN_PKCS1_4096_SHA256")
    RSA_SIGN_PKCS1_4096_SHA512 = (Scheme.RSA_PKCS1, 4096, "sha512", "RSA_SIGN_PKCS1_4096_SHA512")
    ECDSA_P256_SHA256 = (Scheme.ECDSA, 256, "sha256", "EC_SIGN_P256_SHA256")
    ECDSA_P384_SHA384 = (Scheme.ECDSA, 384, "sha384", "EC_SIGN_P384_SHA384")
    # Cloud KMS has no P-521; EC_SIGN_P521_SHA512 is Binary Authorization's own second name for it.
    ECDSA_P521_SHA512 = (Scheme.ECDSA, 521, "sha512", None)
    ML_DSA_65 = (Scheme.ML_DSA, 0, None, "PQ_SIGN_ML_DSA_65")

    def __init__(self, scheme: Scheme, bits: int, hash_name: str | None, kms: str | None) -> None:
        self.scheme = scheme
        self.bits = bits
        self.hash_name = hash_name
        self.kms_name = kms

    @classmethod
    def parse(cls, name: str) -> Algorithm:
        """Read the service's name, its alias, or KMS's name; raises BadInput for all else."""
        algorithm = _ALGORITHMS.get(name)
        if algorithm is None:
            raise BadInput(f"Binary Authorization cannot verify the algorithm {name}")
        return algorithm

    def digest(self, data: bytes) -> bytes:
        """The digest that is signed for `data`; `data` itself where the algorithm hashes none."""
        return data if self.hash_name is None else hashlib.new(self.hash_name, data).digest()

    def admits(self, key: object) -> bool:
        """Whether a public or private key is of this algorithm's kind and size."""
        match self.scheme:
            case Scheme.RSA_PSS | Scheme.RSA_PKCS1:
                kinds = rsa.RSAPublicKey | rsa.RSAPrivateKey
                return isinstance(key, kinds) and key.key_size == self.bits
            case Scheme.ECDSA:
                if not isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
                    return False
                return key.curve.name == f"secp{self.bits}r1"
            case Scheme.ML_DSA:
                return isinstance(key, mldsa.MLDSA65PublicKey | mldsa.MLDSA65PrivateKey)
        assert_never(self.scheme)

    @property
    def hash(self) -> hashes.HashAlgorithm:
        """The hash as `cryptography` names it; not for ML-DSA, which has none."""
        return {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}[
            self.hash_name or ""
        ]


_ALGORITHMS = {a.name: a for a in Algorithm} | {a.kms_name: a for a in Algorithm if a.kms_name}
_ALGORITHMS["EC_SIGN_P521_SHA512"] = Algorithm.ECDSA_P521_SHA512


@dataclass(frozen=True, slots=True)
class PkixKey:
    """A public key with one algorithm; `id` as the attestor spells it, `spki` DER."""

    id: str
    algorithm: Algorithm
    spki: bytes = field(repr=False)

    @classmethod
    def from_pem(cls, pem: str, algorithm: Algorithm, key_id: str = "") -> PkixKey:
        """Read a PEM public key; a blank id becomes the one that the service computes.

        Raises BadInput when it is not a public key, or not one of the algorithm's kind and size.
        """
        _require_size(pem)
        try:
            key = serialization.load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise BadInput("the PEM text is not a public key that can be read") from None
        if not algorithm.admits(key):
            raise BadInput(f"the public key is not of the kind that {algorithm.name} needs")
        spki = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(key_id or pkix_key_id(spki), algorithm, spki)

    @property
    def kms_key_version(self) -> KmsKeyVersion | None:
        """The Cloud KMS key version that the id names, in either spelling; None if it names none.

        gcloud registers `//cloudkms.googleapis.com/v1/projects/…`, Terraform `projects/…`.
        """
        return KmsKeyVersion.find(self.id)

    @property
    def algorithm_name(self) -> str:
        """The algorithm by the service's name."""
        return self.algorithm.name

    def verify(self, payload: bytes, signature: bytes) -> None:
        """Return if `signature` is this key's over `payload`; raises Unverified if not."""
        key = serialization.load_der_public_key(self.spki)
        try:
            _verify(self.algorithm, key, payload, signature)
        except (InvalidSignature, ValueError):
            raise Unverified(f"the signature is not that of {self.id} over the payload") from None


@dataclass(frozen=True, slots=True)
class PgpKey:
    """An OpenPGP certificate; `id` is its primary key's V4 fingerprint in upper-case hex."""

    id: str
    certificate: bytes = field(repr=False)

    @classmethod
    def from_armored(cls, text: str, key_id: str = "", now: datetime | None = None) -> PgpKey:
        """Read a public key block, armored or binary; `key_id`, if given, must be its fingerprint.

        Only those of its keys are kept that may sign `now` (docs/adr/0019); without it, expired
        ones, too. Raises BadInput when it is not one certificate, when none of its keys may sign,
        and when its key is not V4, which Binary Authorization requires
        (google/cloud/binaryauthorization/v1/resources.proto,
        AttestorPublicKey.ascii_armored_pgp_public_key).
        """
        import pysequoia  # ten megabytes, which most runs have no key for

        from step.model.certificate import parts_of, signing_parts

        _require_size(text)
        try:
            certificate = pysequoia.Cert.from_bytes(text.encode())
        except RuntimeError:  # its text carries a native stack trace
            raise BadInput("the text is not an OpenPGP public key that can be read") from None
        fingerprint = certificate.fingerprint.upper()
        if len(fingerprint) != 40:
            raise BadInput(f"the OpenPGP key {fingerprint} is not of version 4")
        if key_id and key_id != fingerprint:
            raise BadInput(f"the OpenPGP key {fingerprint} is registered under another id")
        primary, *subkeys = parts_of(certificate)
        usable = signing_parts(certificate, [primary, *subkeys], now)
        kept = [primary, *(part for part in subkeys if part in usable)]
        packets = (packet for part in kept for packet in (part.public, *part.about))
        return cls(fingerprint, b"".join(map(bytes, packets)))

    @property
    def algorithm_name(self) -> str:
        """OpenPGP carries its algorithm inside the signature."""
        return "OPENPGP"

    def verify(self, payload: bytes, signature: bytes) -> None:
        """Return if `signature` is a signed message of this key that holds `payload`.

        An attached signature is the one form that Binary Authorization is known to read
        (grafeas/v1/attestation.proto); it may be a signing subkey's. Raises Unverified if not.
        """
        import pysequoia

        certificate = _certificate(self.certificate)
        try:
            message = unpacked(signature, len(payload) + UNPACKED_BYTES)
            signed = pysequoia.verify(message, lambda _: [certificate])
        except (ValueError, RuntimeError):  # Sequoia's text carries a native stack trace
            signed = None
        wanted = self.id.lower()
        if signed is None or all(each.certificate != wanted for each in signed.valid_sigs):
            raise Unverified(
                f"the OpenPGP message is not signed by {self.id}",
                "Make an attached signature, as gpg --armor --sign does; the key or subkey must be "
                "valid in the attestor's copy of the public key.",
            )
        if signed.bytes != payload:
            raise Unverified("the OpenPGP message holds other bytes than the payload")


@dataclass(frozen=True, slots=True)
class UnusableKey:
    """A key that an attestor lists and that nothing can be verified with.

    `reason` says why, `mend` what to do about it, where that is known.
    """

    id: str
    reason: str
    mend: str = ""

    @property
    def algorithm_name(self) -> str:
        """An unusable key has none that is known."""
        return "UNKNOWN"

    def verify(self, payload: bytes, signature: bytes) -> None:
        """Raises Unverified, whatever is asked."""
        raise Unverified(f"the key {self.id} cannot verify anything: {self.reason}")


Key: TypeAlias = PkixKey | PgpKey | UnusableKey

Identity: TypeAlias = bytes | str
"""What makes two listed keys the same key, under whatever ids they are listed."""


def identity(key: Key) -> Identity:
    """A PKIX key's bytes; of any other, its id, which is an OpenPGP key's fingerprint."""
    return key.spki if isinstance(key, PkixKey) else key.id


def pkix_key_id(spki: bytes) -> str:
    """The id that Binary Authorization gives a PKIX key registered without one (RFC 6920).

    https://cloud.google.com/binary-authorization/docs/making-attestations
    """
    digest = base64.urlsafe_b64encode(hashlib.sha256(spki).digest())
    return f"ni:///sha-256;{digest.decode().rstrip('=')}"


def _require_size(text: str) -> None:
    if len(text) > KEY_BYTES:
        raise BadInput(f"its {len(text)} bytes are over the {KEY_BYTES} allowed")


@cache
def _certificate(data: bytes) -> Any:
    import pysequoia

    return pysequoia.Cert.from_bytes(data)


def _verify(algorithm: Algorithm, key: object, payload: bytes, signature: bytes) -> None:
    match key:
        case rsa.RSAPublicKey() if algorithm.scheme is Scheme.RSA_PSS:
            # Cloud KMS does not document its salt length, so any is read.
            pss = padding.PSS(padding.MGF1(algorithm.hash), padding.PSS.AUTO)
            key.verify(signature, payload, pss, algorithm.hash)
        case rsa.RSAPublicKey():
            key.verify(signature, payload, padding.PKCS1v15(), algorithm.hash)
        case ec.EllipticCurvePublicKey():
            key.verify(signature, payload, ec.ECDSA(algorithm.hash))
        case mldsa.MLDSA65PublicKey():
            key.verify(signature, payload)
        case _:
            raise InvalidSignature
