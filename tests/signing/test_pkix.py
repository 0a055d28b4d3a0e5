"""Signing with a PEM file: every algorithm, every form of PEM, and openssl as a second opinion."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from step.errors import BadInput, KeyNotRegistered
from step.model.attestation import Attestation, Signature
from step.model.image import ImageRef
from step.model.keys import Algorithm, PkixKey, Scheme, UnusableKey
from step.model.payload import Payload
from step.signing.pkix import PkixSigner
from tests.keys import (
    PgpKind,
    attestor,
    make_private_key,
    pgp_key,
    pgp_secret,
    pkix_key,
    pkix_signer,
    private_pem,
    public_pem,
)

IMAGE = ImageRef.parse(f"gcr.io/p/i@sha256:{'a' * 64}")
PAYLOAD = Payload.of(IMAGE).to_bytes()
P256 = Algorithm.ECDSA_P256_SHA256
PKCS8, OLD = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL

FORMS = [
    pytest.param(algorithm, form, id=f"{algorithm.name} {name}")
    for algorithm in Algorithm
    for form, name in ((PKCS8, "PKCS#8"), (OLD, "PKCS#1 or SEC1"))
    if (algorithm.scheme, form) != (Scheme.ML_DSA, OLD)  # it has PKCS#8 only
]
every_form = pytest.mark.parametrize(("algorithm", "form"), FORMS)
every_algorithm = pytest.mark.parametrize("algorithm", Algorithm, ids=lambda each: each.name)


@every_form
def test_what_is_signed_verifies_with_the_registered_key(
    algorithm: Algorithm, form: serialization.PrivateFormat
) -> None:
    made = pkix_signer(algorithm, form=form)
    by = attestor(pkix_key(algorithm, number=1), pkix_key(algorithm))
    key = made.key_on(by)
    assert key == pkix_key(algorithm)
    signature = made.sign(PAYLOAD, key)
    assert by.verify(Attestation(PAYLOAD, (Signature(key.id, signature),)), IMAGE) == key


@pytest.mark.parametrize(
    "algorithm",
    [each for each in Algorithm if each.scheme is Scheme.RSA_PSS],
    ids=lambda each: each.name,
)
def test_a_pss_signature_has_a_salt_as_long_as_its_digest(algorithm: Algorithm) -> None:
    public = make_private_key(algorithm).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    signature = pkix_signer(algorithm).sign(PAYLOAD, pkix_key(algorithm))
    length = algorithm.hash.digest_size
    pss = padding.PSS(padding.MGF1(algorithm.hash), length)
    public.verify(signature, PAYLOAD, pss, algorithm.hash)


def openssl_options(algorithm: Algorithm) -> list[str]:
    if algorithm.scheme is Scheme.RSA_PSS:
        return ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    return []


# openssl has ML-DSA from 3.5 on only, later than the systems that this runs on.
@pytest.mark.parametrize(
    "algorithm", [each for each in Algorithm if each.hash_name], ids=lambda each: each.name
)
def test_openssl_verifies_what_is_signed(
    algorithm: Algorithm, tool: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "public").write_text(public_pem(make_private_key(algorithm)))
    signature = pkix_signer(algorithm).sign(PAYLOAD, pkix_key(algorithm))
    (tmp_path / "signature").write_bytes(signature)

    def verifies(payload: bytes) -> bool:
        command = [tool("openssl"), "dgst", f"-{algorithm.hash_name}"]
        command += ["-verify", str(tmp_path / "public")]
        command += ["-signature", str(tmp_path / "signature"), *openssl_options(algorithm)]
        return subprocess.run(command, input=payload, capture_output=True).returncode == 0

    assert verifies(PAYLOAD)
    assert not verifies(PAYLOAD + b" ")


def test_parameters_before_the_key_are_skipped_as_openssl_ecparam_writes_them() -> None:
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    pem = parameters + private_pem(make_private_key(P256), OLD)
    assert PkixSigner.load(pem) == pkix_signer(P256)


# --- which key of the attestor


@every_algorithm
def test_a_key_that_is_not_registered_is_refused_with_what_is(algorithm: Algorithm) -> None:
    other = pkix_key(algorithm, "urn:other", number=1)
    for by in (attestor(other, pgp_key(PgpKind.ED25519), UnusableKey("urn:x", "why")), attestor()):
        with pytest.raises(KeyNotRegistered) as caught:
            pkix_signer(algorithm).key_on(by)
        assert all(key.id in caught.value.hint for key in by.keys)
        assert caught.value.hint


def test_the_registered_algorithm_is_the_one_that_signs() -> None:
    made = pkix_signer(Algorithm.RSA_PSS_4096_SHA256)
    for algorithm in Algorithm:
        if algorithm.bits == 4096:
            key = made.key_on(attestor(pkix_key(algorithm)))
            assert isinstance(key, PkixKey)
            assert key.algorithm is algorithm
            key.verify(PAYLOAD, made.sign(PAYLOAD, key))


def test_a_key_that_is_registered_twice_needs_its_id() -> None:
    pss = pkix_key(Algorithm.RSA_PSS_2048_SHA256, "urn:pss")
    pkcs1 = pkix_key(Algorithm.RSA_SIGN_PKCS1_2048_SHA256, "urn:pkcs1")
    by = attestor(pss, pkcs1)
    with pytest.raises(BadInput) as undecided:
        pkix_signer(pss.algorithm).key_on(by)
    assert "--public-key-id: urn:pss, urn:pkcs1" in undecided.value.hint
    assert pkix_signer(pss.algorithm, "urn:pss").key_on(by) == pss
    assert pkix_signer(pss.algorithm, "urn:pkcs1").key_on(by) == pkcs1
    with pytest.raises(KeyNotRegistered) as caught:
        pkix_signer(pss.algorithm, "urn:PSS").key_on(by)
    assert "urn:pss and urn:pkcs1" in caught.value.hint


def test_the_id_of_another_key_is_refused() -> None:
    by = attestor(pkix_key(P256, "urn:mine"), pkix_key(P256, "urn:other", number=1))
    with pytest.raises(KeyNotRegistered, match="not as urn:other"):
        pkix_signer(P256, "urn:other").key_on(by)


def test_it_signs_for_no_other_key() -> None:
    for key in (pkix_key(P256, number=1), pgp_key(PgpKind.ED25519), UnusableKey("k", "why")):
        with pytest.raises(KeyNotRegistered):
            pkix_signer(P256).sign(PAYLOAD, key)


# --- what cannot be used


@every_form
def test_an_encrypted_key_is_refused_with_the_way_to_decrypt_it(
    algorithm: Algorithm, form: serialization.PrivateFormat
) -> None:
    pem = make_private_key(algorithm).private_bytes(
        serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"secret")
    )
    with pytest.raises(BadInput, match="encrypted") as caught:
        PkixSigner.load(pem)
    assert "openssl pkey" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        (ec.generate_private_key(ec.SECP224R1()), "secp224r1"),
        (ec.generate_private_key(ec.BrainpoolP256R1()), "brainpoolP256r1"),
        (rsa.generate_private_key(65537, 1024), "1024 bits"),  # noqa: S505 that is what is tested
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
    ],
    ids=["secp256k1", "secp224r1", "brainpool", "rsa1024", "ed25519"],
)
def test_a_kind_that_the_service_cannot_verify_is_refused(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, kind: str
) -> None:
    with pytest.raises(BadInput, match=kind) as caught:
        PkixSigner.load(private_pem(key))
    assert "P-256" in caught.value.hint


def test_a_curve_that_nobody_knows_is_refused(tool: Callable[[str], str]) -> None:
    command = [tool("openssl"), "ecparam", "-name", "sect233k1", "-genkey", "-noout"]
    pem = subprocess.run(command, capture_output=True, check=True).stdout
    with pytest.raises(BadInput, match="unknown kind"):
        PkixSigner.load(pem)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (public_pem(make_private_key(P256)).encode(), "a public key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a certificate"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n\n-----END OPENSSH PRIVATE KEY-----\n", "OpenSSH"),
        (pgp_secret(PgpKind.ED25519), "an OpenPGP key"),
        (b"", "cannot be read"),
        (b"secret text", "cannot be read"),
        (private_pem(make_private_key(P256))[:-40], "cannot be read"),
    ],
    ids=["public", "certificate", "openssh", "openpgp", "empty", "text", "cut"],
)
def test_what_is_no_private_key_is_refused_by_its_name(text: bytes, what: str) -> None:
    with pytest.raises(BadInput, match=what) as caught:
        PkixSigner.load(text)
    assert caught.value.hint
    assert text.decode() not in caught.value.message or not text
    assert caught.value.__suppress_context__


@given(st.binary() | st.binary().map(lambda data: private_pem(make_private_key(P256)) + data))
def test_any_bytes_are_a_key_or_bad_input(data: bytes) -> None:
    try:
        made = PkixSigner.load(data)
    except BadInput:
        return
    assert made == pkix_signer(P256)


@every_algorithm
def test_no_part_of_the_secret_is_shown(algorithm: Algorithm) -> None:
    pem = private_pem(make_private_key(algorithm)).decode()
    shown = repr(pkix_signer(algorithm, "urn:k"))
    assert "urn:k" in shown
    assert len(shown) < 100
    assert not any(line in shown for line in pem.splitlines())
