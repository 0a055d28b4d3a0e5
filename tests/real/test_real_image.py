"""From a real build to an attestation that tools other than ours find good."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from grafeas import grafeas_v1

from step.model.keys import Algorithm, Scheme
from tests.judges import (
    PASSPHRASE,
    FindTool,
    Gpg,
    GpgKey,
    OpenSsl,
    Stored,
    gcloud_payload,
    read,
    stored_images,
)
from tests.registries import INDEX, MANIFEST, Pushed, Registry
from tests.world import ATTESTOR, NOTE, World, attestor_seed, kms_seed

pytestmark = pytest.mark.timeout(300)

# Of each scheme and curve that Cloud KMS has: tests/flows tries them all.
IN_KMS = [
    Algorithm.ECDSA_P256_SHA256,
    Algorithm.ECDSA_P384_SHA384,
    Algorithm.RSA_SIGN_PKCS1_2048_SHA256,
    Algorithm.RSA_PSS_2048_SHA256,
]
# openssl knows ML-DSA from 3.5 on only.
IN_FILES = [algorithm for algorithm in Algorithm if algorithm.scheme is not Scheme.ML_DSA]


def attest(world: World, pushed: Pushed, *key: str) -> Stored:
    """Attest what a build pushed, from the build tool's own file, and read what is stored."""
    image = ("--image", pushed.name, "--from-file", str(pushed.digest_file))
    result = world.run("attest", *image, "--attestor", ATTESTOR, "--format", "json", *key)
    assert result.code == 0, result.err
    receipt = result.receipt
    assert receipt["status"] == "created"
    assert receipt["image"] == pushed.image
    stored = read(world.emulator.grpc_address, receipt["occurrence"], ATTESTOR)
    assert stored.key.id == receipt["public_key_id"]
    assert stored.occurrence.resource_uri == f"https://{pushed.image}"
    return stored


def damaged(stored: Stored, **parts: bytes) -> Stored:
    """The same attestation with other bytes in it, and the same key."""
    occurrence = grafeas_v1.Occurrence(stored.occurrence)
    occurrence.attestation.serialized_payload = parts.get("payload", stored.payload)
    occurrence.attestation.signatures[0].signature = parts.get("signature", stored.signature)
    return Stored(occurrence, stored.key)


def flipped(data: bytes) -> bytes:
    """The data with one bit changed, in its middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.fixture
def kms_world(make_world: Callable[..., World]) -> World:
    """A world whose one attestor lists one KMS key."""
    return make_world()


def test_what_is_attested_is_what_the_registry_serves(
    kms_world: World, pushed: Pushed, registry: Registry
) -> None:
    payload = json.loads(attest(kms_world, pushed).payload)
    by_tag = registry.manifest(pushed.repository, pushed.tag)
    assert by_tag.kind == MANIFEST
    assert by_tag.claimed == by_tag.digest
    assert registry.manifest(pushed.repository, pushed.tag, "HEAD").claimed == by_tag.digest
    assert payload["critical"]["image"] == {"docker-manifest-digest": by_tag.digest}
    assert payload["critical"]["identity"] == {"docker-reference": pushed.name}
    assert registry.manifest(pushed.repository, pushed.digest).body == by_tag.body


def test_skopeo_reads_the_same_digest(kms_world: World, pushed: Pushed, tool: FindTool) -> None:
    stored = attest(kms_world, pushed)
    inspect = [tool("skopeo"), "inspect", "--tls-verify=false", "--format", "{{.Digest}}"]
    command = [*inspect, f"docker://{pushed.name}:{pushed.tag}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    image = json.loads(stored.payload)["critical"]["image"]
    assert image == {"docker-manifest-digest": done.stdout.strip()}


def test_the_payload_is_gclouds(
    kms_world: World, pushed: Pushed, tool: FindTool, tmp_path: Path
) -> None:
    stored = attest(kms_world, pushed)
    assert stored.payload == gcloud_payload(tool("gcloud"), pushed.image, tmp_path)


def test_the_digest_of_an_index_is_attested_and_not_its_childrens(
    kms_world: World, pushed_index: Pushed, registry: Registry, openssl: OpenSsl
) -> None:
    stored = attest(kms_world, pushed_index)
    served = registry.manifest(pushed_index.repository, pushed_index.tag)
    assert served.kind == INDEX
    image = json.loads(stored.payload)["critical"]["image"]
    assert image == {"docker-manifest-digest": served.digest}
    children = json.loads(served.body)["manifests"]
    assert [child["platform"]["architecture"] for child in children] == ["amd64", "arm64"]
    stored_for = stored_images(kms_world.emulator.grpc_address, NOTE)
    assert stored_for == [f"https://{pushed_index.name}@{served.digest}"]
    assert openssl.accepts(stored, Algorithm.ECDSA_P256_SHA256)


@pytest.mark.parametrize("algorithm", IN_KMS, ids=lambda algorithm: algorithm.name)
def test_openssl_verifies_what_cloud_kms_signed(
    make_world: Callable[..., World], pushed: Pushed, openssl: OpenSsl, algorithm: Algorithm
) -> None:
    world = make_world(kms_seed(str(algorithm.kms_name)))
    check_by_openssl(attest(world, pushed), openssl, algorithm)


@pytest.mark.parametrize("algorithm", IN_FILES, ids=lambda algorithm: algorithm.name)
def test_openssl_verifies_what_its_own_key_signed(
    make_world: Callable[..., World], pushed: Pushed, openssl: OpenSsl, algorithm: Algorithm
) -> None:
    private = openssl.private_key(algorithm)
    public = {"pem": openssl.public_key(private), "algorithm": algorithm.name}
    world = make_world(attestor_seed({"pkix": public}))
    stored = attest(world, pushed, "--pkix-key-file", str(private))
    check_by_openssl(stored, openssl, algorithm)


def check_by_openssl(stored: Stored, openssl: OpenSsl, algorithm: Algorithm) -> None:
    """openssl finds it good, and is a judge that can say no."""
    assert openssl.accepts(stored, algorithm)
    assert not openssl.accepts(damaged(stored, payload=flipped(stored.payload)), algorithm)
    assert not openssl.accepts(damaged(stored, signature=flipped(stored.signature)), algorithm)


@pytest.mark.parametrize("secrets_are", ["in files", "in the environment"])
@pytest.mark.parametrize("algorithm", ["ed25519", "rsa2048", "nistp256", "nistp384", "nistp521"])
def test_gpg_verifies_what_its_own_locked_subkey_signed(
    make_world: Callable[..., World],
    pushed: Pushed,
    gpg_key: Callable[[str], GpgKey],
    make_gpg: Callable[[], Gpg],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    secrets_are: str,
) -> None:
    made = gpg_key(algorithm)
    world = make_world(attestor_seed({"pgp": {"armored": made.public}}))
    if secrets_are == "in files":
        key, passphrase = tmp_path / "key.asc", tmp_path / "passphrase"
        key.write_text(made.secret)
        passphrase.write_text(PASSPHRASE + "\n", encoding="utf-8")
        options = ("--pgp-key-file", str(key), "--pgp-passphrase-file", str(passphrase))
        stored = attest(world, pushed, *options)
    else:
        monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY", made.secret)
        monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE", PASSPHRASE)
        stored = attest(world, pushed)
    assert stored.key.id == made.fingerprint

    judge = make_gpg()
    assert judge.opened(stored.signature)[1] == []
    judge.run("--import", given=stored.key.ascii_armored_pgp_public_key.encode())
    assert judge.opened(stored.signature) == (stored.payload, [made.fingerprint])
    binary = judge.run("--dearmor", given=stored.signature).stdout
    assert judge.opened(binary) == (stored.payload, [made.fingerprint])
    # The last bytes are the signature's own numbers.
    assert judge.opened(binary[:-2] + flipped(binary[-2:]))[1] == []


def test_without_its_passphrase_gpgs_key_signs_nothing(
    make_world: Callable[..., World],
    pushed: Pushed,
    gpg_key: Callable[[str], GpgKey],
    tmp_path: Path,
) -> None:
    """So the keys of the tests above are truly locked."""
    made, key = gpg_key("ed25519"), tmp_path / "key.asc"
    key.write_text(made.secret)
    world = make_world(attestor_seed({"pgp": {"armored": made.public}}))
    result = world.attest("--pgp-key-file", str(key), image=pushed.image)
    assert result.code == 2
    assert "locked" in result.error["message"]
    assert not world.wrote
