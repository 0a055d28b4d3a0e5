"""The emulated Cloud KMS, judged by openssl where it can and by the clients' own rules."""

import hashlib
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from google.api_core.exceptions import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    MethodNotImplemented,
    NotFound,
)
from google.cloud import kms_v1 as kms
from google.protobuf import duration_pb2, field_mask_pb2

from step.emulator.keys import SCHEMES, Ecdsa, MlDsa, RsaPkcs1, RsaPss, wanted_input
from tests.emulator.world import KEY, RING, Clients, FakeClock, crc32c, version_of

State = kms.CryptoKeyVersion.CryptoKeyVersionState
Format = kms.PublicKey.PublicKeyFormat
DATA = b"what is to be signed"

DIGESTED = [
    name for name, scheme in SCHEMES.items() if isinstance(scheme, RsaPss | RsaPkcs1 | Ecdsa)
]
RAW_RSA = [name for name in SCHEMES if "_RAW_" in name]
ML_DSA = [name for name in SCHEMES if "ML_DSA" in name]
CLASSIC = [name for name in SCHEMES if name not in ML_DSA]


def signed(name: str, data: bytes) -> dict[str, Any]:
    """The request that asks for a signature over data by the key of one algorithm."""
    wanted, _ = wanted_input(SCHEMES[name])
    request: dict[str, Any] = {"name": version_of(name)}
    if wanted == "data":
        return request | {"data": data, "data_crc32c": crc32c(data)}
    digest = b"\x07" * 64 if wanted == "external_mu" else hashlib.new(wanted, data).digest()
    return request | {"digest": {wanted: digest}, "digest_crc32c": crc32c(digest)}


@pytest.mark.parametrize("name", list(SCHEMES))
def test_answer_carries_everything_a_client_must_check(key_pool: Clients, name: str) -> None:
    request = signed(name, DATA)
    response = key_pool.kms.asymmetric_sign(request)
    assert response.name == request["name"]
    assert response.signature_crc32c == crc32c(response.signature)
    assert response.verified_digest_crc32c == ("digest" in request)
    assert response.verified_data_crc32c == ("data" in request)
    assert response.protection_level == kms.ProtectionLevel.HSM


def test_without_checksums_nothing_is_said_to_be_verified(key_pool: Clients) -> None:
    request = signed("EC_SIGN_P256_SHA256", DATA)
    del request["digest_crc32c"]
    response = key_pool.kms.asymmetric_sign(request)
    assert not response.verified_digest_crc32c
    assert not response.verified_data_crc32c


def _openssl(tool: Callable[[str], str], *arguments: str | Path) -> int:
    return subprocess.run([tool("openssl"), *arguments], capture_output=True).returncode


def _written(folder: Path, clients: Clients, name: str) -> tuple[Path, Path, Path, Path]:
    key, data, other, signature = (folder / part for part in ("key", "data", "other", "signature"))
    key.write_text(clients.kms.get_public_key(name=version_of(name)).pem)
    data.write_bytes(DATA)
    other.write_bytes(DATA[:-1] + b"D")
    signature.write_bytes(clients.kms.asymmetric_sign(signed(name, DATA)).signature)
    return key, data, other, signature


@pytest.mark.parametrize("name", DIGESTED)
def test_openssl_accepts_the_signature_and_no_other_data(
    key_pool: Clients, name: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    key, data, other, signature = _written(tmp_path, key_pool, name)
    digest, length = wanted_input(SCHEMES[name])
    options: list[str] = []
    if "_PSS_" in name:
        options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", f"rsa_pss_saltlen:{length}"]
    verify: tuple[str | Path, ...] = (
        "dgst",
        f"-{digest}",
        *options,
        "-verify",
        key,
        "-signature",
        signature,
    )
    assert _openssl(tool, *verify, data) == 0
    assert _openssl(tool, *verify, other) == 1


@pytest.mark.parametrize("name", [*RAW_RSA, "EC_SIGN_ED25519"])
def test_openssl_accepts_a_signature_over_data(
    key_pool: Clients, name: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    key, data, other, signature = _written(tmp_path, key_pool, name)
    kind = ["-rawin"] if name == "EC_SIGN_ED25519" else ["-pkeyopt", "rsa_padding_mode:pkcs1"]
    verify: tuple[str | Path, ...] = ("pkeyutl", "-verify", "-pubin", "-inkey", key, *kind)
    verify += ("-sigfile", signature, "-in")
    assert _openssl(tool, *verify, data) == 0
    assert _openssl(tool, *verify, other) == 1


@pytest.mark.parametrize("name", ML_DSA)
def test_ml_dsa_signatures_verify_with_every_form_of_the_public_key(
    key_pool: Clients, name: str
) -> None:
    exported = {
        form: key_pool.kms.get_public_key(
            kms.GetPublicKeyRequest(name=version_of(name), public_key_format=form)
        ).public_key
        for form in (Format.PEM, Format.DER, Format.NIST_PQC)
    }
    for public in exported.values():
        assert public.crc32c_checksum == crc32c(public.data)
    raw: Any = {
        "44": mldsa.MLDSA44PublicKey,
        "65": mldsa.MLDSA65PublicKey,
        "87": mldsa.MLDSA87PublicKey,
    }[name.removeprefix("PQ_SIGN_ML_DSA_")[:2]]
    keys: list[Any] = [
        load_pem_public_key(exported[Format.PEM].data),
        load_der_public_key(exported[Format.DER].data),
        raw.from_public_bytes(exported[Format.NIST_PQC].data),
    ]
    scheme = SCHEMES[name]
    assert isinstance(scheme, MlDsa)
    signature = key_pool.kms.asymmetric_sign(signed(name, DATA)).signature
    for key in keys:
        if scheme.external_mu:
            key.verify_mu(signature, b"\x07" * 64)
            with pytest.raises(InvalidSignature):
                key.verify_mu(signature, b"\x08" * 64)
        else:
            key.verify(signature, DATA)
            with pytest.raises(InvalidSignature):
                key.verify(signature, DATA + b".")


def test_ml_dsa_65_has_the_documented_sizes(key_pool: Clients) -> None:
    # https://cloud.google.com/kms/docs/digital-signatures
    public = key_pool.kms.get_public_key(
        kms.GetPublicKeyRequest(
            name=version_of("PQ_SIGN_ML_DSA_65"), public_key_format=Format.NIST_PQC
        )
    )
    assert len(public.public_key.data) == 1952
    assert public.public_key_format == Format.NIST_PQC
    response = key_pool.kms.asymmetric_sign(signed("PQ_SIGN_ML_DSA_65", DATA))
    assert len(response.signature) == 3309


@pytest.mark.parametrize("name", CLASSIC)
def test_a_public_key_without_a_format_is_pem_with_a_checksum(key_pool: Clients, name: str) -> None:
    public = key_pool.kms.get_public_key(name=version_of(name))
    assert public.name == version_of(name)
    assert kms.CryptoKeyVersion.CryptoKeyVersionAlgorithm(public.algorithm).name == name
    assert public.pem_crc32c == crc32c(public.pem.encode())
    assert "public_key" not in public
    pem = public.pem.encode()
    for form in (Format.PEM, Format.DER):
        other = key_pool.kms.get_public_key(
            kms.GetPublicKeyRequest(name=public.name, public_key_format=form)
        )
        assert not other.pem
        assert other.public_key.crc32c_checksum == crc32c(other.public_key.data)
        load = load_pem_public_key if form == Format.PEM else load_der_public_key
        assert load(other.public_key.data) == load_pem_public_key(pem)


@pytest.mark.parametrize("name", ML_DSA)
def test_a_pqc_key_needs_a_format(key_pool: Clients, name: str) -> None:
    with pytest.raises(InvalidArgument, match="must be specified for PQC"):
        key_pool.kms.get_public_key(name=version_of(name))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *[(name, Format.XWING_RAW_BYTES) for name in SCHEMES],
        *[(name, Format.NIST_PQC) for name in CLASSIC],
    ],
)
def test_formats_of_other_keys_are_refused(key_pool: Clients, name: str, form: Format) -> None:
    with pytest.raises(InvalidArgument, match=form.name):
        key_pool.kms.get_public_key(
            kms.GetPublicKeyRequest(name=version_of(name), public_key_format=form)
        )


SHA256 = hashlib.sha256(DATA).digest()


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("EC_SIGN_P256_SHA256", {}, "signs sha256, but the request carries nothing"),
        ("EC_SIGN_P256_SHA256", {"digest": {}}, "carries nothing"),
        ("EC_SIGN_P256_SHA256", {"data": DATA}, "carries data"),
        ("EC_SIGN_P256_SHA256", {"digest": {"sha256": SHA256}, "data": DATA}, "Only one of"),
        ("EC_SIGN_P256_SHA256", {"digest": {"sha512": b"x" * 64}}, "carries sha512"),
        ("EC_SIGN_P256_SHA256", {"digest": {"sha256": SHA256[:-1]}}, "32 bytes long, not 31"),
        (
            "EC_SIGN_P256_SHA256",
            {"digest": {"sha256": SHA256}, "digest_crc32c": crc32c(SHA256) ^ 1},
            "checksum in field digest_crc32c did not match the data in field digest",
        ),
        (
            "EC_SIGN_P256_SHA256",
            {"digest": {"sha256": SHA256}, "data_crc32c": crc32c(SHA256)},
            "checksum in field data_crc32c",
        ),
        ("RSA_SIGN_PSS_4096_SHA512", {"digest": {"sha256": SHA256}}, "signs sha512"),
        ("EC_SIGN_P384_SHA384", {"digest": {"sha256": SHA256}}, "signs sha384"),
        ("EC_SIGN_ED25519", {"digest": {"sha256": SHA256}}, "signs data"),
        ("PQ_SIGN_ML_DSA_65", {"digest": {"sha512": b"x" * 64}}, "signs data"),
        ("PQ_SIGN_ML_DSA_65_EXTERNAL_MU", {"data": DATA}, "signs external_mu"),
        ("PQ_SIGN_ML_DSA_65", {"data": b"x" * (64 * 1024 + 1)}, "at most 65536 bytes"),
        (
            "PQ_SIGN_ML_DSA_65",
            {"data": DATA, "data_crc32c": crc32c(DATA) ^ 1},
            "checksum in field data_crc32c did not match the data in field data",
        ),
        ("RSA_SIGN_RAW_PKCS1_2048", {"data": b"x" * 300}, "cannot be signed"),
    ],
)
def test_a_wrong_request_is_refused(
    key_pool: Clients, name: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        key_pool.kms.asymmetric_sign({"name": version_of(name)} | fields)


def test_data_of_exactly_64_kib_is_signed(key_pool: Clients) -> None:
    data = b"x" * 64 * 1024
    assert key_pool.kms.asymmetric_sign(signed("PQ_SIGN_ML_DSA_44", data)).verified_data_crc32c


def _sha256(name: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": SHA256}}


def _set_state(clients: Clients, state: int) -> kms.CryptoKeyVersion:
    return clients.kms.update_crypto_key_version(
        crypto_key_version=kms.CryptoKeyVersion(name=KEY, state=state),
        update_mask=field_mask_pb2.FieldMask(paths=["state"]),
    )


def test_only_an_enabled_version_is_usable(clients: Clients) -> None:
    assert _set_state(clients, State.DISABLED).state == State.DISABLED
    for use in (
        lambda: clients.kms.asymmetric_sign(_sha256(KEY)),
        lambda: clients.kms.get_public_key(name=KEY),
    ):
        with pytest.raises(FailedPrecondition, match="is not enabled, current state is: DISABLED"):
            use()
    _set_state(clients, State.ENABLED)
    assert clients.kms.asymmetric_sign(_sha256(KEY)).signature


def test_a_version_is_destroyed_after_thirty_days_unless_restored(
    clients: Clients, clock: FakeClock
) -> None:
    destroyed = clients.kms.destroy_crypto_key_version(name=KEY)
    assert destroyed.state == State.DESTROY_SCHEDULED
    assert destroyed.destroy_time == clock.now() + timedelta(days=30)
    with pytest.raises(FailedPrecondition, match="DESTROY_SCHEDULED"):
        _set_state(clients, State.ENABLED)
    with pytest.raises(FailedPrecondition, match="DESTROY_SCHEDULED"):
        clients.kms.destroy_crypto_key_version(name=KEY)
    restored = clients.kms.restore_crypto_key_version(name=KEY)
    assert (restored.state, restored.destroy_time) == (State.DISABLED, None)
    clients.kms.destroy_crypto_key_version(name=KEY)
    clock.advance(timedelta(days=30))
    gone = clients.kms.get_crypto_key_version(name=KEY)
    assert (gone.state, gone.destroy_event_time) == (State.DESTROYED, clock.now())
    with pytest.raises(FailedPrecondition, match="DESTROYED"):
        clients.kms.restore_crypto_key_version(name=KEY)


@pytest.mark.parametrize("state", [State.DESTROYED, State.CRYPTO_KEY_VERSION_STATE_UNSPECIFIED])
def test_no_other_state_can_be_set(clients: Clients, state: State) -> None:
    with pytest.raises(InvalidArgument, match="only to ENABLED or DISABLED"):
        _set_state(clients, state)


def test_only_the_state_can_be_updated(clients: Clients) -> None:
    with pytest.raises(InvalidArgument, match="update_mask"):
        clients.kms.update_crypto_key_version(
            crypto_key_version=kms.CryptoKeyVersion(name=KEY, state=State.DISABLED),
            update_mask=field_mask_pb2.FieldMask(paths=["state", "algorithm"]),
        )


def _template(algorithm: str, level: str = "SOFTWARE") -> dict[str, Any]:
    return {
        "purpose": "ASYMMETRIC_SIGN",
        "version_template": {"algorithm": algorithm, "protection_level": level},
    }


def _create_key(clients: Clients, name: str, key: dict[str, Any], **more: Any) -> kms.CryptoKey:
    return clients.kms.create_crypto_key(
        kms.CreateCryptoKeyRequest(parent=RING, crypto_key_id=name, crypto_key=key, **more)
    )


def test_rings_keys_and_versions_are_made_and_signed_with(clients: Clients) -> None:
    parent = "projects/new/locations/europe-west3"
    ring = clients.kms.create_key_ring(
        parent=parent, key_ring_id="ring", key_ring=kms.KeyRing()
    ).name
    assert clients.kms.get_key_ring(name=ring).name == f"{parent}/keyRings/ring"
    key = clients.kms.create_crypto_key(
        kms.CreateCryptoKeyRequest(
            parent=ring,
            crypto_key_id="key",
            crypto_key=kms.CryptoKey(
                purpose=kms.CryptoKey.CryptoKeyPurpose.ASYMMETRIC_SIGN,
                version_template={"algorithm": "EC_SIGN_P256_SHA256"},
                labels={"a": "b"},
                destroy_scheduled_duration=duration_pb2.Duration(seconds=86400),
            ),
        )
    )
    assert clients.kms.get_crypto_key(name=key.name) == key
    assert key.version_template.protection_level == kms.ProtectionLevel.SOFTWARE
    assert key.labels == {"a": "b"}
    second = clients.kms.create_crypto_key_version(
        parent=key.name, crypto_key_version=kms.CryptoKeyVersion()
    )
    names = [version.name for version in clients.kms.list_crypto_key_versions(parent=key.name)]
    assert names == [f"{key.name}/cryptoKeyVersions/{number}" for number in (1, 2)]
    assert second.name == names[1]
    pems = {clients.kms.get_public_key(name=name).pem for name in names}
    assert len(pems) == 2
    assert clients.kms.asymmetric_sign(_sha256(second.name)).signature
    destroyed = clients.kms.destroy_crypto_key_version(name=second.name)
    assert destroyed.destroy_time - destroyed.create_time == timedelta(days=1)


def test_a_key_can_be_made_without_a_version(clients: Clients) -> None:
    key = _create_key(
        clients, "empty", _template("EC_SIGN_P256_SHA256"), skip_initial_version_creation=True
    )
    assert list(clients.kms.list_crypto_key_versions(parent=key.name)) == []


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"purpose": "ENCRYPT_DECRYPT"}, "only makes ASYMMETRIC_SIGN keys"),
        (_template("GOOGLE_SYMMETRIC_ENCRYPTION"), "not a signing algorithm"),
        (_template("PQ_SIGN_SLH_DSA_SHA2_128S"), "not a signing algorithm of this emulator"),
        (_template("EC_SIGN_SECP256K1_SHA256"), "needs protection level HSM"),
    ],
)
def test_keys_that_cannot_sign_are_refused(
    clients: Clients, key: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        _create_key(clients, "other", key)


def test_names_are_taken_once_and_must_be_well_formed(clients: Clients) -> None:
    with pytest.raises(AlreadyExists, match=r"CryptoKey .* already exists"):
        _create_key(clients, "k", _template("EC_SIGN_P256_SHA256"))
    with pytest.raises(InvalidArgument, match="crypto_key_id"):
        _create_key(clients, "a/b", _template("EC_SIGN_P256_SHA256"))
    location = RING.partition("/keyRings")[0]
    with pytest.raises(AlreadyExists, match=r"KeyRing .* already exists"):
        clients.kms.create_key_ring(parent=location, key_ring_id="r", key_ring=kms.KeyRing())
    with pytest.raises(NotFound, match=r"KeyRing .* not found"):
        clients.kms.create_crypto_key(
            parent=RING + "x",
            crypto_key_id="k",
            crypto_key=kms.CryptoKey(_template("EC_SIGN_P256_SHA256")),
        )


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.kms.get_key_ring(name=RING + "x"),
        lambda c: c.kms.get_crypto_key(name=f"{RING}/cryptoKeys/x"),
        lambda c: c.kms.get_crypto_key_version(name=version_of("x")),
        lambda c: c.kms.get_public_key(name=version_of("k", 2)),
        lambda c: c.kms.asymmetric_sign(_sha256(version_of("k", 2))),
        lambda c: c.kms.list_crypto_keys(parent=RING + "x"),
        lambda c: c.kms.list_crypto_key_versions(parent=f"{RING}/cryptoKeys/x"),
        lambda c: c.kms.destroy_crypto_key_version(name=version_of("x")),
        lambda c: c.kms.create_crypto_key_version(
            parent=f"{RING}/cryptoKeys/x", crypto_key_version=kms.CryptoKeyVersion()
        ),
    ],
)
def test_what_is_not_there_is_not_found(clients: Clients, call: Callable[[Clients], Any]) -> None:
    with pytest.raises(NotFound, match="not found"):
        call(clients)


def test_a_name_of_another_form_is_refused(clients: Clients) -> None:
    with pytest.raises(InvalidArgument, match="does not match the pattern"):
        clients.kms.get_public_key(name=f"{RING}/cryptoKeys/k/versions/1")


def test_lists_come_in_pages(clients: Clients) -> None:
    for number in range(12):
        clients.kms.create_crypto_key_version(
            parent=f"{RING}/cryptoKeys/k", crypto_key_version=kms.CryptoKeyVersion()
        )
        _create_key(clients, f"other{number:02d}", _template("EC_SIGN_ED25519"))
    versions = clients.kms.list_crypto_key_versions(
        kms.ListCryptoKeyVersionsRequest(parent=f"{RING}/cryptoKeys/k", page_size=5)
    )
    pages = list(versions.pages)
    assert [len(page.crypto_key_versions) for page in pages] == [5, 5, 3]
    assert {page.total_size for page in pages} == {13}
    numbers = [each.name.rpartition("/")[2] for page in pages for each in page.crypto_key_versions]
    assert numbers == [str(number) for number in range(1, 14)]
    keys = clients.kms.list_crypto_keys(kms.ListCryptoKeysRequest(parent=RING, page_size=10))
    assert [len(page.crypto_keys) for page in keys.pages] == [10, 3]
    location = RING.partition("/keyRings")[0]
    assert [ring.name for ring in clients.kms.list_key_rings(parent=location)] == [RING]


def test_a_filter_is_refused_rather_than_ignored(clients: Clients) -> None:
    with pytest.raises(MethodNotImplemented, match="filter"):
        clients.kms.list_crypto_keys(kms.ListCryptoKeysRequest(parent=RING, filter="name:k"))
