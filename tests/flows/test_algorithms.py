"""Each of the twelve algorithms and each kind of OpenPGP key, from signing to the stored bytes."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import pysequoia
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, mldsa
from google.cloud import binaryauthorization_v1
from grafeas import grafeas_v1
from pysequoia.packet import PacketPile

from step.model.keys import Algorithm, Scheme
from tests.keys import PgpKind, make_private_key, pgp_public, pgp_secret, pgp_tsk, private_pem
from tests.world import ATTESTOR, VERSION, World, kms_seed, pgp_seed, pkix_seed

Elsewhere: TypeAlias = Callable[[Algorithm | PgpKind], tuple[dict[str, Any], dict[str, Any]]]

_MADE: dict[Algorithm | PgpKind, dict[str, Any]] = {}
KMS_ALGORITHMS = [algorithm for algorithm in Algorithm if algorithm.kms_name]
KMS_ID = f"//cloudkms.googleapis.com/v1/{VERSION}"


def key_file(algorithm: Algorithm, folder: Path) -> Path:
    path = folder / "key.pem"
    path.write_bytes(private_pem(make_private_key(algorithm)))
    return path


def pgp_file(kind: PgpKind, folder: Path) -> Path:
    path = folder / "key.asc"
    path.write_bytes(pgp_secret(kind))
    return path


def stored(world: World, name: str) -> grafeas_v1.AttestationOccurrence:
    """What the service holds, read by Google's own client."""
    return world.client(grafeas_v1.GrafeasClient).get_occurrence(name=name).attestation


def stored_key(world: World) -> binaryauthorization_v1.AttestorPublicKey:
    """The key that the service holds for the attestor, read by Google's own client."""
    client = world.client(binaryauthorization_v1.BinauthzManagementServiceV1Client)
    [key] = client.get_attestor(name=ATTESTOR).user_owned_grafeas_note.public_keys
    return key


def judge(
    algorithm: Algorithm, pem: str, payload: bytes, signature: bytes, tmp: Path, openssl: str
) -> bool:
    """Whether openssl verifies; ML-DSA needs openssl 3.5, so there it is OpenSSL's code in
    `cryptography`."""
    if algorithm.scheme is Scheme.ML_DSA:
        key = serialization.load_pem_public_key(pem.encode())
        assert isinstance(key, mldsa.MLDSA65PublicKey)
        key.verify(signature, payload)
        return True
    files = {"key.pub": pem.encode(), "payload": payload, "signature": signature}
    for name, content in files.items():
        (tmp / name).write_bytes(content)
    command = [openssl, "dgst", f"-{algorithm.hash_name}", "-verify", str(tmp / "key.pub")]
    if algorithm.scheme is Scheme.RSA_PSS:
        command += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:auto"]
    command += ["-signature", str(tmp / "signature"), str(tmp / "payload")]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    return verified.returncode == 0 and verified.stdout == "Verified OK\n"


@pytest.mark.parametrize("home", ["kms", "file"])
@pytest.mark.parametrize("algorithm", Algorithm, ids=lambda a: a.name)
def test_openssl_verifies_what_is_signed(
    make_world: Callable[..., World],
    algorithm: Algorithm,
    home: str,
    tool: Callable[[str], str],
    tmp_path: Path,
) -> None:
    if home == "file":
        world, by = make_world(pkix_seed(algorithm)), "ni:///sha-256;"
        options = ["--pkix-key-file", str(key_file(algorithm, tmp_path))]
    elif algorithm.kms_name:
        world, by = make_world(kms_seed(algorithm.kms_name)), KMS_ID
        options = []
    else:
        return  # Cloud KMS has no such key
    receipt = world.attest(*options).receipt
    assert (receipt["status"], receipt["algorithm"]) == ("created", algorithm.name)
    held, key = stored(world, receipt["occurrence"]), stored_key(world)
    [signature] = held.signatures
    assert signature.public_key_id == key.id
    assert key.id.startswith(by)
    assert base64.b64encode(signature.signature).decode() == receipt["signature"]
    pem, payload = key.pkix_public_key.public_key_pem, held.serialized_payload
    assert judge(algorithm, pem, payload, signature.signature, tmp_path, tool("openssl"))


@pytest.mark.parametrize("kind", PgpKind, ids=lambda k: k.name)
def test_openpgp_signs_what_gpg_verifies(
    make_world: Callable[..., World], kind: PgpKind, tool: Callable[[str], str], tmp_path: Path
) -> None:
    world = make_world(pgp_seed(kind))
    receipt = world.attest("--pgp-key-file", str(pgp_file(kind, tmp_path))).receipt
    assert (receipt["status"], receipt["algorithm"]) == ("created", "OPENPGP")
    held, key = stored(world, receipt["occurrence"]), stored_key(world)
    [signature] = held.signatures
    assert signature.public_key_id == key.id == receipt["public_key_id"]
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = [tool("gpg"), "--homedir", str(home), "--batch", "--no-autostart"]
    armored = key.ascii_armored_pgp_public_key
    subprocess.run([*gpg, "--import"], input=armored.encode(), capture_output=True, check=True)
    opened = subprocess.run(
        [*gpg, "--status-fd", "2", "--decrypt"],
        input=signature.signature,
        capture_output=True,
        check=True,
    )
    assert opened.stdout == held.serialized_payload
    # The last word of VALIDSIG is the primary key's fingerprint: gnupg.git, doc/DETAILS.
    [valid] = re.findall(rb"VALIDSIG .* (\w+)$", opened.stderr, re.MULTILINE)
    assert valid.decode() == key.id


def flipped(data: bytes, index: int) -> bytes:
    """The data with one bit turned."""
    changed = bytearray(data)
    changed[index] ^= 1
    return bytes(changed)


def damaged_pem(algorithm: Algorithm) -> str:
    """The test's public key with one bit of its key material turned.

    On a curve, a turned bit mostly leaves the curve, and such a key no service registers: bits of
    the point's x coordinate are tried until one gives a point.
    """
    key = make_private_key(algorithm).public_key()
    encoding, form = serialization.Encoding, serialization.PublicFormat
    if isinstance(key, ec.EllipticCurvePublicKey):
        point = key.public_bytes(encoding.X962, form.CompressedPoint)
        for index in range(1, len(point)):
            with suppress(ValueError):
                other = ec.EllipticCurvePublicKey.from_encoded_point(
                    key.curve, flipped(point, index)
                )
                return other.public_bytes(encoding.PEM, form.SubjectPublicKeyInfo).decode()
    der = flipped(key.public_bytes(encoding.DER, form.SubjectPublicKeyInfo), -9)
    loaded = serialization.load_der_public_key(der)
    return loaded.public_bytes(encoding.PEM, form.SubjectPublicKeyInfo).decode()


CASES: list[Any] = [
    *(pytest.param(algorithm, id=algorithm.name) for algorithm in Algorithm),
    *(pytest.param(kind, id=f"OPENPGP-{kind.name}") for kind in PgpKind),
]


def seed_and_key(case: Algorithm | PgpKind, folder: Path) -> tuple[dict[str, Any], list[str]]:
    if isinstance(case, Algorithm):
        return pkix_seed(case), ["--pkix-key-file", str(key_file(case, folder))]
    return pgp_seed(case), ["--pgp-key-file", str(pgp_file(case, folder))]


@pytest.fixture
def elsewhere(make_world: Callable[..., World], tmp_path: Path) -> Elsewhere:
    """Make a valid signature and payload as files, and give the seed and their receipt.

    Each is made once for a run, since to sign with an RSA key is to test its primes first.
    """

    def make(case: Algorithm | PgpKind) -> tuple[dict[str, Any], dict[str, Any]]:
        seed, sign = seed_and_key(case, tmp_path)
        if case not in _MADE:
            _MADE[case] = make_world(seed).attest(*sign, "--no-wait").receipt
        for name in ("signature", "payload"):
            (tmp_path / name).write_bytes(base64.b64decode(_MADE[case][name]))
        return seed, _MADE[case]

    return make


def made_elsewhere(folder: Path, key_id: str) -> list[str]:
    files = [
        "--signature-file",
        str(folder / "signature"),
        "--payload-file",
        str(folder / "payload"),
    ]
    return [*files, "--public-key-id", key_id]


@pytest.mark.parametrize("case", CASES)
def test_a_signature_made_elsewhere_is_verified_and_stored(
    make_world: Callable[..., World],
    elsewhere: Elsewhere,
    case: Algorithm | PgpKind,
    tmp_path: Path,
) -> None:
    seed, made = elsewhere(case)
    world = make_world(seed)
    receipt = world.attest(*made_elsewhere(tmp_path, made["public_key_id"])).receipt
    assert receipt["status"] == "created"
    held = stored(world, receipt["occurrence"])
    assert held.serialized_payload == base64.b64decode(made["payload"])
    assert [each.signature for each in held.signatures] == [base64.b64decode(made["signature"])]


def assert_refused(world: World, key_id: str, folder: Path) -> None:
    result = world.attest(*made_elsewhere(folder, key_id))
    assert (result.code, result.error["exit_code"]) == (3, 3)
    assert not world.wrote


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("part", ["payload", "signature"])
def test_one_flipped_bit_is_refused_and_nothing_is_created(
    make_world: Callable[..., World],
    elsewhere: Elsewhere,
    case: Algorithm | PgpKind,
    part: str,
    tmp_path: Path,
) -> None:
    seed, made = elsewhere(case)
    data = (tmp_path / part).read_bytes()
    # Within the signed bytes: OpenPGP ends in an armor's checksum, which nobody has to read.
    index = -60 if isinstance(case, PgpKind) and part == "signature" else len(data) // 2
    (tmp_path / part).write_bytes(flipped(data, index))
    assert_refused(make_world(seed), made["public_key_id"], tmp_path)


@pytest.mark.parametrize("algorithm", Algorithm, ids=lambda a: a.name)
def test_one_flipped_bit_in_the_attestors_key_is_refused(
    make_world: Callable[..., World], elsewhere: Elsewhere, algorithm: Algorithm, tmp_path: Path
) -> None:
    seed, _ = elsewhere(algorithm)
    damaged = {"pem": damaged_pem(algorithm), "algorithm": algorithm.name, "id": "urn:damaged"}
    seed["attestors"][0]["public_keys"] = [{"pkix": damaged}]
    assert_refused(make_world(seed), "urn:damaged", tmp_path)


@pytest.mark.parametrize("kind", PgpKind, ids=lambda k: k.name)
def test_one_flipped_bit_in_the_attestors_openpgp_key_is_refused(
    make_world: Callable[..., World], elsewhere: Elsewhere, kind: PgpKind, tmp_path: Path
) -> None:
    """In the subkey that signs: with its primary key, the whole key would have another name."""
    seed, made = elsewhere(kind)
    certificate = pgp_tsk(kind).extract_certificate()
    signed = pysequoia.verify((tmp_path / "signature").read_bytes(), lambda _: [certificate])
    [signature] = signed.valid_sigs
    raw = b"".join(
        flipped(bytes(packet), -1) if packet.fingerprint == signature.signing_key else bytes(packet)
        for packet in PacketPile.from_bytes(bytes(certificate))
    )
    armored = pysequoia.armor(raw, pysequoia.ArmorKind.PublicKey)
    assert armored != str(certificate)
    seed["attestors"][0]["public_keys"] = [{"pgp": {"armored": armored}}]
    assert_refused(make_world(seed), made["public_key_id"], tmp_path)


@pytest.mark.parametrize("kind", PgpKind, ids=lambda k: k.name)
def test_another_openpgp_key_on_the_attestor_is_refused(
    make_world: Callable[..., World], elsewhere: Elsewhere, kind: PgpKind, tmp_path: Path
) -> None:
    seed, _ = elsewhere(kind)
    seed["attestors"][0]["public_keys"] = [{"pgp": {"armored": pgp_public(kind, 1)}}]
    world = make_world(seed)
    assert_refused(world, stored_key(world).id, tmp_path)


@pytest.mark.parametrize("algorithm", KMS_ALGORITHMS, ids=lambda a: a.name)
def test_a_bit_flipped_on_the_way_from_kms_is_refused(
    make_world: Callable[..., World], algorithm: Algorithm
) -> None:
    """The checksum is right: only verifying with the attestor's key can tell."""
    world = make_world(kms_seed(str(algorithm.kms_name)))
    world.emulator.fail("AsymmetricSign=CORRUPT_SIGNATURE")
    result = world.attest()
    assert result.code == 3
    assert not world.wrote
    assert world.count("ValidateAttestationOccurrence") == 0
