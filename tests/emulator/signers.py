"""Signers that are no part of the emulator, and the attestor that is told to trust them."""

from functools import cache
from typing import Any

import pysequoia
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.cloud import binaryauthorization_v1 as ba
from grafeas import grafeas_v1 as g

from tests.emulator.world import ATTESTOR, NOTE, Clients, payload_for

Result = ba.ValidateAttestationOccurrenceResponse.Result
SignatureAlgorithm = ba.PkixPublicKey.SignatureAlgorithm
PAYLOAD = payload_for()

_PSS256 = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
_PSS512 = padding.PSS(padding.MGF1(hashes.SHA512()), padding.PSS.MAX_LENGTH)
_PKCS1 = padding.PKCS1v15()
SCHEMES: dict[str, tuple[Any, ...]] = {
    "RSA_PSS_2048_SHA256": (2048, _PSS256, hashes.SHA256()),
    "RSA_PSS_3072_SHA256": (3072, _PSS256, hashes.SHA256()),
    "RSA_PSS_4096_SHA256": (4096, _PSS256, hashes.SHA256()),
    "RSA_PSS_4096_SHA512": (4096, _PSS512, hashes.SHA512()),
    "RSA_SIGN_PKCS1_2048_SHA256": (2048, _PKCS1, hashes.SHA256()),
    "RSA_SIGN_PKCS1_3072_SHA256": (3072, _PKCS1, hashes.SHA256()),
    "RSA_SIGN_PKCS1_4096_SHA256": (4096, _PKCS1, hashes.SHA256()),
    "RSA_SIGN_PKCS1_4096_SHA512": (4096, _PKCS1, hashes.SHA512()),
    "ECDSA_P256_SHA256": (ec.SECP256R1(), ec.ECDSA(hashes.SHA256())),
    "ECDSA_P384_SHA384": (ec.SECP384R1(), ec.ECDSA(hashes.SHA384())),
    "ECDSA_P521_SHA512": (ec.SECP521R1(), ec.ECDSA(hashes.SHA512())),
    "ML_DSA_65": ("ML-DSA",),
}
NAMES = [name for name in SignatureAlgorithm.__members__ if "UNSPECIFIED" not in name]


@cache
def _key(kind: Any) -> Any:
    match kind:
        case int():
            return rsa.generate_private_key(65537, kind)
        case ec.EllipticCurve():
            return ec.generate_private_key(kind)
    return mldsa.MLDSA65PrivateKey.generate()


def key_of(name: str) -> Any:
    """The private key for an algorithm, by either of its names."""
    return _key(SCHEMES[SignatureAlgorithm.__members__[name].name][0])


def pem_of(key: Any) -> str:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def pkix(name: str, **more: Any) -> ba.AttestorPublicKey:
    return ba.AttestorPublicKey(
        pkix_public_key={"public_key_pem": pem_of(key_of(name)), "signature_algorithm": name},
        **more,
    )


def sign(name: str, payload: bytes) -> bytes:
    arguments = SCHEMES[SignatureAlgorithm.__members__[name].name][1:]
    signature: bytes = key_of(name).sign(payload, *arguments)
    return signature


def trust(clients: Clients, *keys: ba.AttestorPublicKey) -> list[str]:
    """Make these the attestor's only keys; their ids."""
    attestor = ba.Attestor(
        name=ATTESTOR, user_owned_grafeas_note={"note_reference": NOTE, "public_keys": keys}
    )
    updated = clients.binauthz.update_attestor(attestor=attestor)
    return [key.id for key in updated.user_owned_grafeas_note.public_keys]


def attestation(payload: bytes, *signatures: tuple[str, bytes]) -> g.AttestationOccurrence:
    return g.AttestationOccurrence(
        serialized_payload=payload,
        signatures=[{"public_key_id": key, "signature": made} for key, made in signatures],
    )


def flipped(value: bytes) -> bytes:
    return value[:-1] + bytes([value[-1] ^ 1])


SUITES = ["Cv25519", "P256", "P384", "P521", "RSA2k"]


@cache
def certificate(suite: str, number: int = 0) -> pysequoia.Tsk:
    return pysequoia.Tsk.generate(
        user_id=f"{suite} {number}", cipher_suite=getattr(pysequoia.CipherSuite, suite)
    )


def pgp(key: pysequoia.Tsk) -> ba.AttestorPublicKey:
    return ba.AttestorPublicKey(
        id="overwritten", ascii_armored_pgp_public_key=str(key.extract_certificate())
    )


def pgp_message(
    key: pysequoia.Tsk,
    payload: bytes,
    mode: pysequoia.SignatureMode = pysequoia.SignatureMode.INLINE,
) -> bytes:
    return bytes(pysequoia.sign(key.signer(), payload, mode=mode))
