"""Signing with a PKIX private key from a PEM file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, padding, rsa

from step.errors import BadInput, KeyNotRegistered
from step.model.attestation import Attestor
from step.model.keys import Algorithm, Key, PkixKey, Scheme
from step.signing.signer import registered

_PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | mldsa.MLDSA65PrivateKey

_SUPPORTED = (
    "Binary Authorization verifies RSA of 2048, 3072 or 4096 bits, P-256, P-384, P-521 and "
)
_SUPPORTED += "ML-DSA-65."


@dataclass(frozen=True, slots=True)
class PkixSigner:
    """A private key in the process; which algorithm it signs with is the attestor's to say."""

    spki: bytes = field(repr=False)
    key_id: str | None
    _key: _PrivateKey = field(repr=False, compare=False)

    @classmethod
    def load(cls, pem: bytes, key_id: str | None = None) -> PkixSigner:
        """Read an unencrypted PEM private key: PKCS#8, PKCS#1 or SEC1.

        `key_id` chooses among several registrations of the same key. Raises BadInput when the text
        is no such key, is locked, or is of a kind that Binary Authorization cannot verify.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except TypeError:  # what cryptography raises for a key that needs a password
            raise BadInput(
                "the PKIX private key is encrypted",
                "Decrypt it where it is kept: openssl pkey -in KEY -out KEY.plain; "
                "or keep the key in Cloud KMS.",
            ) from None
        except UnsupportedAlgorithm:
            raise BadInput("the PKIX private key is of an unknown kind", _SUPPORTED) from None
        except ValueError:
            raise _unreadable(pem) from None
        if not isinstance(key, _PrivateKey) or not any(a.admits(key) for a in Algorithm):
            raise BadInput(
                f"Binary Authorization cannot verify signatures of {_kind(key)}", _SUPPORTED
            )
        spki = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(spki, key_id, key)

    def key_on(self, attestor: Attestor) -> Key:
        """The attestor's registration of this key's public half."""
        same = [key for key in attestor.keys if isinstance(key, PkixKey) and key.spki == self.spki]
        if not same:
            raise KeyNotRegistered(
                f"{attestor.name} does not list the public half of this private key",
                registered(attestor),
            )
        named = [key for key in same if key.id == self.key_id] if self.key_id else same
        if not named:
            raise KeyNotRegistered(
                f"{attestor.name} lists this private key, but not as {self.key_id}",
                f"It is {' and '.join(key.id for key in same)} there.",
            )
        if len(named) > 1:
            raise BadInput(
                f"{attestor.name} lists this private key {len(named)} times",
                f"Choose one with --public-key-id: {', '.join(key.id for key in named)}.",
            )
        return named[0]

    def prepare(self) -> None:
        """Nothing: the key is here."""

    def sign(self, payload: bytes, key: Key) -> bytes:
        """Sign as `key`'s algorithm has it: RSA as is, ECDSA as DER, ML-DSA in its pure form."""
        if not (isinstance(key, PkixKey) and key.spki == self.spki):
            raise KeyNotRegistered(f"{key.id} is not the public half of this private key")
        algorithm = key.algorithm
        match self._key:
            case rsa.RSAPrivateKey() if algorithm.scheme is Scheme.RSA_PSS:
                # The salt's usual length, https://www.rfc-editor.org/rfc/rfc8017#section-9.1.
                pss = padding.PSS(padding.MGF1(algorithm.hash), padding.PSS.DIGEST_LENGTH)
                return self._key.sign(payload, pss, algorithm.hash)
            case rsa.RSAPrivateKey():
                return self._key.sign(payload, padding.PKCS1v15(), algorithm.hash)
            case ec.EllipticCurvePrivateKey():
                return self._key.sign(payload, ec.ECDSA(algorithm.hash))
            case mldsa.MLDSA65PrivateKey():
                return self._key.sign(payload)
        assert_never(self._key)


def _unreadable(pem: bytes) -> BadInput:
    for label, what in (
        (b"-----BEGIN PUBLIC KEY-----", "a public key"),
        (b"-----BEGIN CERTIFICATE-----", "a certificate"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----", "an OpenSSH key"),
        (b"-----BEGIN PGP ", "an OpenPGP key"),
    ):
        if label in pem:
            return BadInput(
                f"that is {what}, not a PEM private key", "PKCS#8, PKCS#1 and SEC1 are read."
            )
    return BadInput(
        "the PKIX private key cannot be read",
        "It must be PEM text: PKCS#8, PKCS#1 or SEC1, as openssl genpkey writes it.",
    )


def _kind(key: object) -> str:
    match key:
        case rsa.RSAPrivateKey():
            return f"an RSA key of {key.key_size} bits"
        case ec.EllipticCurvePrivateKey():
            return f"a key on the curve {key.curve.name}"
        case _:
            return f"a {type(key).__name__.removesuffix('PrivateKey')} key"
