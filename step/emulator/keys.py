"""The private keys of the emulated Cloud KMS: what each signing algorithm is, makes and wants.

Algorithms, their digests and their parameters:
https://cloud.google.com/kms/docs/algorithms#asymmetric_signing_algorithms
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from step.emulator.refusal import EmulatorError

MlDsaPrivateKey = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey
PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | MlDsaPrivateKey
)


@dataclass(frozen=True, slots=True)
class RsaPss:
    """RSASSA-PSS with MGF1 and a salt, both of the digest's size."""

    bits: int
    digest: hashes.HashAlgorithm


@dataclass(frozen=True, slots=True)
class RsaPkcs1:
    """RSASSA-PKCS1-v1_5 over a digest."""

    bits: int
    digest: hashes.HashAlgorithm


@dataclass(frozen=True, slots=True)
class RsaRawPkcs1:
    """PKCS #1 v1.5 over data as it is, without a DigestInfo."""

    bits: int


@dataclass(frozen=True, slots=True)
class Ecdsa:
    """ECDSA, the signature an ASN.1 DER sequence."""

    curve: ec.EllipticCurve
    digest: hashes.HashAlgorithm


@dataclass(frozen=True, slots=True)
class Ed25519:
    """PureEdDSA over data."""


@dataclass(frozen=True, slots=True)
class MlDsa:
    """ML-DSA (FIPS 204) over data, or over a 64-byte message representative (external mu)."""

    key: type[mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey]
    external_mu: bool = False


Scheme = RsaPss | RsaPkcs1 | RsaRawPkcs1 | Ecdsa | Ed25519 | MlDsa

SCHEMES: dict[str, Scheme] = {
    "RSA_SIGN_PSS_2048_SHA256": RsaPss(2048, hashes.SHA256()),
    "RSA_SIGN_PSS_3072_SHA256": RsaPss(3072, hashes.SHA256()),
    "RSA_SIGN_PSS_4096_SHA256": RsaPss(4096, hashes.SHA256()),
    "RSA_SIGN_PSS_4096_SHA512": RsaPss(4096, hashes.SHA512()),
    "RSA_SIGN_PKCS1_2048_SHA256": RsaPkcs1(2048, hashes.SHA256()),
    "RSA_SIGN_PKCS1_3072_SHA256": RsaPkcs1(3072, hashes.SHA256()),
    "RSA_SIGN_PKCS1_4096_SHA256": RsaPkcs1(4096, hashes.SHA256()),
    "RSA_SIGN_PKCS1_4096_SHA512": RsaPkcs1(4096, hashes.SHA512()),
    "RSA_SIGN_RAW_PKCS1_2048": RsaRawPkcs1(2048),
    "RSA_SIGN_RAW_PKCS1_3072": RsaRawPkcs1(3072),
    "RSA_SIGN_RAW_PKCS1_4096": RsaRawPkcs1(4096),
    "EC_SIGN_P256_SHA256": Ecdsa(ec.SECP256R1(), hashes.SHA256()),
    "EC_SIGN_P384_SHA384": Ecdsa(ec.SECP384R1(), hashes.SHA384()),
    "EC_SIGN_SECP256K1_SHA256": Ecdsa(ec.SECP256K1(), hashes.SHA256()),
    "EC_SIGN_ED25519": Ed25519(),
    "PQ_SIGN_ML_DSA_44": MlDsa(mldsa.MLDSA44PrivateKey),
    "PQ_SIGN_ML_DSA_65": MlDsa(mldsa.MLDSA65PrivateKey),
    "PQ_SIGN_ML_DSA_87": MlDsa(mldsa.MLDSA87PrivateKey),
    "PQ_SIGN_ML_DSA_44_EXTERNAL_MU": MlDsa(mldsa.MLDSA44PrivateKey, external_mu=True),
    "PQ_SIGN_ML_DSA_65_EXTERNAL_MU": MlDsa(mldsa.MLDSA65PrivateKey, external_mu=True),
    "PQ_SIGN_ML_DSA_87_EXTERNAL_MU": MlDsa(mldsa.MLDSA87PrivateKey, external_mu=True),
}


def scheme_of(algorithm: str, protection_level: str) -> Scheme:
    """How an algorithm signs, by its name in Cloud KMS.

    Raises EmulatorError when it is no signing algorithm, or one that this emulator has no
    implementation of (SLH-DSA), or not offered at this protection level.
    """
    scheme = SCHEMES.get(algorithm)
    if scheme is None:
        raise EmulatorError(
            f"{algorithm} is not a signing algorithm of this emulator; it has {', '.join(SCHEMES)}"
        )
    if algorithm == "EC_SIGN_SECP256K1_SHA256" and protection_level != "HSM":
        raise EmulatorError(f"{algorithm} needs protection level HSM, not {protection_level}")
    return scheme


def wanted_input(scheme: Scheme) -> tuple[str, int | None]:
    """The field that AsymmetricSign must carry, and its length in bytes where that is fixed.

    The field is ``data`` or one of the Digest message: ``sha256``, ``sha384``, ``sha512``,
    ``external_mu``.
    """
    match scheme:
        case RsaPss(digest=digest) | RsaPkcs1(digest=digest) | Ecdsa(digest=digest):
            return digest.name, digest.digest_size
        case MlDsa(external_mu=True):
            return "external_mu", 64  # FIPS 204, algorithm 7, line 6
        case RsaRawPkcs1() | Ed25519() | MlDsa():
            return "data", None


def new_rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """An RSA key of that many bits, which takes up to seconds to find."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _make(
    scheme: Scheme, rsa_key: Callable[[int], rsa.RSAPrivateKey]
) -> tuple[PrivateKey, Callable[[bytes], bytes]]:
    """A new private key and how it signs what ``wanted_input`` asks for."""
    match scheme:
        case RsaPss(bits, digest):
            pss = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
            return _rsa(rsa_key(bits), pss, utils.Prehashed(digest))
        case RsaPkcs1(bits, digest):
            return _rsa(rsa_key(bits), padding.PKCS1v15(), utils.Prehashed(digest))
        case RsaRawPkcs1(bits):
            return _rsa(rsa_key(bits), padding.PKCS1v15(), utils.NoDigestInfo())
        case Ecdsa(curve, digest):
            ecdsa = ec.ECDSA(utils.Prehashed(digest))
            ec_key = ec.generate_private_key(curve)
            return ec_key, lambda value: ec_key.sign(value, ecdsa)
        case Ed25519():
            ed_key = ed25519.Ed25519PrivateKey.generate()
            return ed_key, ed_key.sign
        case MlDsa(kind, external_mu):
            ml_key = kind.generate()
            return ml_key, ml_key.sign_mu if external_mu else ml_key.sign


def _rsa(
    key: rsa.RSAPrivateKey,
    scheme: padding.AsymmetricPadding,
    digest: utils.Prehashed | utils.NoDigestInfo,
) -> tuple[PrivateKey, Callable[[bytes], bytes]]:
    return key, lambda value: key.sign(value, scheme, digest)


class SigningKey:
    """A private key, made when it is first used: RSA keys take seconds."""

    def __init__(self, scheme: Scheme, rsa_key: Callable[[int], rsa.RSAPrivateKey]) -> None:
        self.scheme = scheme
        self._rsa_key = rsa_key
        self._lock = Lock()

    @cached_property
    def _made(self) -> tuple[PrivateKey, Callable[[bytes], bytes]]:
        return _make(self.scheme, self._rsa_key)

    def _pair(self) -> tuple[PrivateKey, Callable[[bytes], bytes]]:
        with self._lock:
            return self._made

    def sign(self, value: bytes) -> bytes:
        """Sign what ``wanted_input`` asks for: a digest, or data.

        Raises ValueError when a raw RSA key is too short for the data.
        """
        _, sign = self._pair()
        return sign(value)

    def public_pem(self) -> bytes:
        """The SubjectPublicKeyInfo, PEM (RFC 7468)."""
        return self._public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def public_der(self) -> bytes:
        """The SubjectPublicKeyInfo, DER."""
        return self._public(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def public_raw(self) -> bytes:
        """The bare key of an ML-DSA pair, as FIPS 204 encodes it."""
        return self._public(Encoding.Raw, PublicFormat.Raw)

    def _public(self, encoding: Encoding, form: PublicFormat) -> bytes:
        key, _ = self._pair()
        return key.public_key().public_bytes(encoding, form)
