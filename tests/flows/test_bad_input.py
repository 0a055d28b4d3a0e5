"""Everything that is known to go wrong: exit code, one clear line with the fix, nothing written.

A new case belongs in one of the tables.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.cloud.kms_v1 import AsymmetricSignResponse

from step.emulator import faults
from step.model.keys import Algorithm
from tests.keys import PgpKind, make_private_key, pgp_locked, pgp_tsk, private_pem, public_pem
from tests.world import (
    ATTESTOR,
    DIGEST,
    IMAGE,
    KEY,
    NOTE,
    VERSION,
    World,
    assert_clear,
    attestor_seed,
    kms_seed,
    pgp_seed,
)

HEX = DIGEST.removeprefix("sha256:")
NAME = IMAGE.partition("@")[0]


def buildx(**changes: Any) -> str:
    record = {
        "containerimage.digest": DIGEST,
        "containerimage.config.digest": "sha256:" + "c" * 64,
        "image.name": f"{NAME}:v1",
    }
    return json.dumps({key: value for key, value in (record | changes).items() if value != ""})


# What is given, what the message says, what the hint says.
IMAGES: dict[str, tuple[list[str], str, str]] = {
    "tag only": ([f"{NAME}:v1"], "by tag", "digest"),
    "no tag either": ([NAME], "by tag", "digest"),
    "short digest": ([f"{NAME}@sha256:{HEX[:12]}"], "12 hexadecimal digits, not 64", "digest"),
    "upper-case digest": ([f"{NAME}@sha256:{HEX.upper()}"], "lower-case", "digest"),
    "sha512": ([f"{NAME}@sha512:{HEX * 2}"], "not a sha256 digest", "sha256:"),
    "padded": ([f"{NAME}@{DIGEST} "], "nothing else", "digest"),
    "empty digest": ([f"{NAME}@"], "the digest is empty", "pushed"),
    "empty reference": ([""], "is empty", "registry/repository@sha256:"),
    "nothing at all": ([], "no image was given", "--image"),
    "digest alone": ([DIGEST], "without a name", "--image"),
    "no registry": ([f"library/web@{DIGEST}"], "does not name a registry", "docker.io/library/"),
    "image id": (["--image", NAME, "--digest", HEX[:12]], "image id", "sha256:"),
    "name without digest": (["--image", NAME], "without a digest", "--digest"),
    "name with digest twice": (["--image", IMAGE, "--digest", DIGEST], "digest", "second digest"),
    "two registries": (
        ["--metadata", buildx(**{"image.name": f"{NAME}:v1,ghcr.io/me/web:v1"})],
        "several names",
        "--image",
    ),
    "another repository": (
        ["--metadata", buildx(), "--image", "ghcr.io/me/web"],
        "not among the names",
        "--image",
    ),
    "config digest": (
        ["--metadata", buildx(**{"containerimage.config.digest": DIGEST})],
        "config",
        "push",
    ),
    "nothing pushed": (
        ["--metadata", buildx(**{"containerimage.digest": ""})],
        "nothing was pushed",
        "push",
    ),
    "no JSON": (["--metadata", "{"], "--metadata", "Known are"),
    "missing file": (["--from-file", "/nowhere/digest"], "cannot be read", "mounted"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_an_image_that_cannot_be_attested(kms_world: World, case: str) -> None:
    given, says, fix = IMAGES[case]
    result = kms_world.run("attest", *given, "--attestor", ATTESTOR, "--format", "json")
    assert_clear(result, 2, says, fix)
    assert kms_world.methods == []


OPTIONS: dict[str, tuple[list[str], str, str]] = {
    "no attestor": ([IMAGE], "no attestor", "--attestor"),
    "no attestor's project": ([IMAGE, "--attestor", "a"], "no project", "--project"),
    "no attestor's name": ([IMAGE, "--attestor", "projects/p/a"], "not an attestor", "projects/"),
    "not a project": (
        [IMAGE, "--attestor", "a", "--project", "Not A Project"],
        "not a project id",
        "my-project",
    ),
    "timeout without unit": (
        [IMAGE, "--attestor", ATTESTOR, "--timeout", "120"],
        "not a duration",
        "2m",
    ),
    "a key without its version": (
        [IMAGE, "--attestor", ATTESTOR, "--kms-key-version", KEY],
        "without its version",
        "cryptoKeyVersions",
    ),
    "two keys": (
        [IMAGE, "--attestor", ATTESTOR, "--kms-key-version", VERSION, "--pgp-key-file", "k"],
        "two keys",
        "one of them",
    ),
    "passphrase without key": (
        [IMAGE, "--attestor", ATTESTOR, "--pgp-passphrase-file", "p"],
        "without an OpenPGP key",
        "--pgp-key-file",
    ),
    "signature without key id": (
        [IMAGE, "--attestor", ATTESTOR, "--signature-file", "s"],
        "without --public-key-id",
        "id",
    ),
    "payload without signature": (
        [IMAGE, "--attestor", ATTESTOR, "--payload-file", "p"],
        "without --signature-file",
        "signature made elsewhere",
    ),
    "unknown option": ([IMAGE, "--atestor", ATTESTOR], "--atestor", "--help"),
    "no value": ([IMAGE, "--attestor", ATTESTOR, "--wait", "--timeout"], "--timeout", "--help"),
    "not a choice": ([IMAGE, "--attestor", ATTESTOR, "--format", "xml"], "'xml'", "--help"),
    "a negative timeout": ([IMAGE, "--attestor", ATTESTOR, "--timeout", "-5s"], "duration", "2m"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_cannot_be_used(kms_world: World, case: str) -> None:
    given, says, fix = OPTIONS[case]
    result = kms_world.run("attest", "--format", "json", *given)
    assert_clear(result, 2, says, fix)
    assert kms_world.methods == []


# The method, and the role in the hint: https://cloud.google.com/iam/docs/understanding-roles.
PASSING = ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "ABORTED", "RESOURCE_EXHAUSTED"]
ROLES = {
    "GetAttestor": ("roles/binaryauthorization.attestorsViewer", ATTESTOR),
    "ListNoteOccurrences": ("roles/containeranalysis.notes.occurrences.viewer", NOTE),
    "AsymmetricSign": ("roles/cloudkms.signer", KEY),
    "ValidateAttestationOccurrence": ("roles/binaryauthorization.attestorsVerifier", ATTESTOR),
    "CreateOccurrence": ("roles/containeranalysis.notes.attacher", NOTE),
}


@pytest.mark.parametrize("method", ROLES)
def test_without_permission_the_hint_names_role_and_resource(kms_world: World, method: str) -> None:
    role, resource = ROLES[method]
    kms_world.emulator.fail(f"{method}=PERMISSION_DENIED")
    result = kms_world.attest()
    assert_clear(result, 4, "permission denied", role)
    assert f"{resource})" in result.error["hint"]
    assert kms_world.count(method) == 1
    assert not kms_world.wrote


@pytest.mark.parametrize("method", ROLES)
def test_an_api_that_is_not_enabled_is_named(kms_world: World, method: str) -> None:
    kms_world.emulator.fail(f"{method}=SERVICE_DISABLED")
    assert_clear(kms_world.attest(), 4, "is not enabled", "gcloud services enable ")
    assert not kms_world.wrote


@pytest.mark.parametrize("method", ROLES)
def test_invalid_credentials_are_told_apart(kms_world: World, method: str) -> None:
    kms_world.emulator.fail(f"{method}=UNAUTHENTICATED")
    assert_clear(kms_world.attest(), 4, "credentials", "Application Default Credentials")
    assert not kms_world.wrote


@pytest.mark.parametrize("status", PASSING)
@pytest.mark.parametrize("method", ROLES)
def test_what_fails_for_ever_ends_the_run(kms_world: World, method: str, status: str) -> None:
    kms_world.emulator.fail(f"{method}={status}")
    assert_clear(kms_world.attest(), 6, f"{method}: ", "again")
    assert not kms_world.wrote
    assert timedelta(seconds=20) < kms_world.clock.elapsed() < timedelta(minutes=3)


@pytest.mark.parametrize("status", PASSING)
@pytest.mark.parametrize("method", ROLES)
def test_what_fails_twice_is_asked_again(kms_world: World, method: str, status: str) -> None:
    kms_world.emulator.fail(f"{method}={status}:2")
    assert kms_world.attest().receipt["status"] == "created"
    assert len(kms_world.emulator.calls.writes()) == 1
    assert kms_world.clock.elapsed() > timedelta(0)


DAMAGE = {
    "CORRUPT_REQUEST": "INVALID_ARGUMENT",
    "CORRUPT_CHECKSUM": "OK",
    "UNVERIFIED_CHECKSUM": "OK",
    "WRONG_NAME": "OK",
}


@pytest.mark.parametrize("algorithm", ["EC_SIGN_P256_SHA256", "PQ_SIGN_ML_DSA_65"])
@pytest.mark.parametrize("fault", DAMAGE)
def test_an_answer_damaged_once_is_asked_for_again(
    make_world: Callable[..., World], fault: str, algorithm: str
) -> None:
    world = make_world(kms_seed(algorithm))
    world.emulator.fail(f"AsymmetricSign={fault}:1")
    assert world.attest().receipt["status"] == "created"
    signed = [call for call in world.emulator.calls if call.method == "AsymmetricSign"]
    assert [call.status for call in signed] == [DAMAGE[fault], "OK"]


@pytest.mark.parametrize("algorithm", ["EC_SIGN_P256_SHA256", "PQ_SIGN_ML_DSA_65"])
@pytest.mark.parametrize("fault", DAMAGE)
def test_answers_damaged_for_ever_end_the_run(
    make_world: Callable[..., World], fault: str, algorithm: str
) -> None:
    world = make_world(kms_seed(algorithm))
    world.emulator.fail(f"AsymmetricSign={fault}")
    assert_clear(world.attest(), 6, "AsymmetricSign", "proxy")
    assert world.count("AsymmetricSign") == 3
    assert not world.wrote


def test_a_checksum_that_was_verified_of_something_else_does_not_count(
    kms_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A digest was sent, and no data."""

    def swap(response: AsymmetricSignResponse) -> None:
        response.verified_digest_crc32c, response.verified_data_crc32c = False, True

    monkeypatch.setitem(faults._ALTERATIONS, "SWAPPED", (frozenset({"AsymmetricSign"}), swap))
    kms_world.emulator.fail("AsymmetricSign=SWAPPED")
    assert_clear(kms_world.attest(), 6, "checksum was not verified", "proxy")
    assert not kms_world.wrote


def test_a_key_registered_under_another_algorithm_is_refused_by_kms(
    make_world: Callable[..., World],
) -> None:
    """KMS wants a digest of the kind that its key has."""
    pem = public_pem(make_private_key(Algorithm.ECDSA_P384_SHA384))
    public = {"pkix": {"pem": pem, "algorithm": "ECDSA_P384_SHA384", "id": VERSION}}
    world = make_world(attestor_seed(public, keys=[{"name": KEY}]))
    result = world.attest()
    assert_clear(result, 2, "AsymmetricSign", "algorithm")
    assert not world.wrote


def test_an_answer_that_is_neither_yes_nor_no_is_no(kms_world: World) -> None:
    kms_world.emulator.fail("ValidateAttestationOccurrence=UNDECIDED")
    assert_clear(kms_world.attest(), 6, "did not say whether", "again")
    assert not kms_world.wrote


def test_an_attestor_without_a_note(kms_world: World) -> None:
    kms_world.emulator.fail("GetAttestor=WITHOUT_NOTE")
    assert_clear(kms_world.attest(), 3, "has no Grafeas note", "attestor")
    assert kms_world.methods == ["GetAttestor"]


def test_a_key_of_an_algorithm_that_is_not_known_yet(kms_world: World) -> None:
    kms_world.emulator.fail("GetAttestor=NEWER_ALGORITHMS")
    assert_clear(kms_world.attest(), 3, "number 999", "newer")
    assert kms_world.methods == ["GetAttestor"]


def test_an_id_that_names_no_key_version(make_world: Callable[..., World]) -> None:
    world = make_world(kms_seed(key_id="urn:our-key"))
    result = world.attest("--public-key-id", "urn:our-key")
    assert_clear(result, 3, "names no Cloud KMS key version", "--kms-key-version")
    assert world.methods == ["GetAttestor"]


def test_what_the_service_does_not_verify_is_not_created(kms_world: World) -> None:
    kms_world.emulator.fail("ValidateAttestationOccurrence=NOT_VERIFIABLE")
    result = kms_world.attest()
    assert_clear(result, 3, "No attestations found that were valid", ATTESTOR)
    assert not kms_world.wrote


@pytest.mark.parametrize("validate", ["--validate", "--no-validate"])
def test_a_payload_for_another_image_is_refused_however_well_it_is_signed(
    kms_world: World, tmp_path: Path, validate: str
) -> None:
    """Nobody but this program compares the digest, when the service is not asked."""
    receipt = kms_world.attest().receipt
    given = ["--public-key-id", receipt["public_key_id"], validate]
    for name in ("signature", "payload"):
        (tmp_path / name).write_bytes(base64.b64decode(receipt[name]))
        given += [f"--{name}-file", str(tmp_path / name)]
    writes = len(kms_world.emulator.calls.writes())
    other = IMAGE.replace(DIGEST, "sha256:" + "f" * 64)
    result = kms_world.attest(*given, image=other)
    assert_clear(result, 3, f"it attests {DIGEST}", "this digest")
    assert len(kms_world.emulator.calls.writes()) == writes
    assert kms_world.count("ValidateAttestationOccurrence") == 1


def test_an_empty_payload_file_is_not_taken_for_none(kms_world: World, tmp_path: Path) -> None:
    receipt = kms_world.attest("--no-wait").receipt
    signature, payload = tmp_path / "signature", tmp_path / "payload"
    signature.write_bytes(base64.b64decode(receipt["signature"]))
    payload.touch()
    given = ["--signature-file", str(signature), "--payload-file", str(payload)]
    kms_world.emulator.fail("ListNoteOccurrences=TAMPER")
    result = kms_world.attest(*given, "--public-key-id", receipt["public_key_id"])
    assert_clear(result, 3, "does not verify for this payload", "--payload-file")
    assert kms_world.count("CreateOccurrence") == 1


def test_a_disabled_key_version(make_world: Callable[..., World]) -> None:
    keys = [{"name": KEY, "versions": [{"state": "DISABLED"}]}]
    world = make_world(attestor_seed({"kms": VERSION}, keys=keys))
    assert_clear(world.attest(), 3, "not enabled", "usable state")
    assert not world.wrote


def test_a_key_version_that_does_not_exist(make_world: Callable[..., World]) -> None:
    other = VERSION.removesuffix("1") + "7"
    seed = kms_seed(key_id="urn:k")
    world = make_world(seed)
    result = world.attest("--kms-key-version", other, "--public-key-id", "urn:k")
    assert_clear(result, 5, "does not exist", "the key")
    assert not world.wrote


def test_a_key_that_the_attestor_does_not_list(kms_world: World) -> None:
    other = VERSION.replace("/attest/", "/other/")
    result = kms_world.attest("--kms-key-version", other)
    assert_clear(result, 3, "does not list", VERSION)
    assert kms_world.methods == ["GetAttestor"]


def test_an_id_that_names_another_key_version_than_the_one_that_signs(kms_world: World) -> None:
    key_id = f"//cloudkms.googleapis.com/v1/{VERSION}"
    other = VERSION.removesuffix("1") + "2"
    result = kms_world.attest("--kms-key-version", other, "--public-key-id", key_id)
    assert_clear(result, 3, f"/2 as {key_id}", VERSION)
    assert kms_world.methods == ["GetAttestor"]


def test_a_key_missing_on_one_attestor_stops_the_run_before_anything_is_signed(
    make_world: Callable[..., World],
) -> None:
    seed = kms_seed()
    other = ATTESTOR.replace("built-by-ci", "tested-by-qa")
    seed["attestors"] += attestor_seed(name=other)["attestors"]
    world = make_world(seed)
    result = world.attest("--attestor", other)
    assert result.code == 3
    assert set(world.methods) == {"GetAttestor"}


def test_no_key_is_given_for_an_attestor_without_a_key_in_cloud_kms(
    make_world: Callable[..., World],
) -> None:
    world = make_world(pgp_seed(PgpKind.ED25519))
    assert_clear(world.attest(), 3, "does not list any Cloud KMS key", "--pgp-key-file")
    assert world.methods == ["GetAttestor"]


def test_an_attestor_without_keys(make_world: Callable[..., World]) -> None:
    world = make_world(attestor_seed())
    assert_clear(world.attest(), 3, "does not list", "lists no keys")
    assert world.methods == ["GetAttestor"]


def test_an_attestor_that_does_not_exist(kms_world: World) -> None:
    result = kms_world.attest(attestor="projects/my-project/attestors/missing")
    assert_clear(result, 5, "does not exist", "attestor")
    assert kms_world.methods == ["GetAttestor"]


def test_a_wrong_passphrase(make_world: Callable[..., World], tmp_path: Path) -> None:
    world = make_world(pgp_seed(PgpKind.ED25519))
    key, passphrase = tmp_path / "key.asc", tmp_path / "passphrase"
    key.write_text(str(pgp_locked(pgp_tsk(PgpKind.ED25519), "right")))
    passphrase.write_text("wrong\n")
    given = ["--pgp-key-file", str(key), "--pgp-passphrase-file", str(passphrase)]
    assert_clear(world.attest(*given), 2, "passphrase does not unlock", "Spaces")
    assert world.methods == []


def test_a_private_key_that_the_attestor_does_not_list(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    world = make_world(kms_seed())
    key = tmp_path / "key.pem"
    key.write_bytes(private_pem(make_private_key(Algorithm.ECDSA_P256_SHA256)))
    result = world.attest("--pkix-key-file", str(key))
    assert_clear(result, 3, "does not list the public half", VERSION)
    assert world.methods == ["GetAttestor"]


@pytest.mark.parametrize(
    "more", [[IMAGE.replace(DIGEST, f"sha256:{'f' * 64}")], ["--attestor", f"{ATTESTOR}-2"]]
)
def test_one_signature_is_for_one_image_and_attestor(
    kms_world: World, tmp_path: Path, more: list[str]
) -> None:
    signature = tmp_path / "signature"
    signature.write_bytes(b"signature")
    given = ["--signature-file", str(signature), "--public-key-id", "x"]
    assert_clear(kms_world.attest(*more, *given), 2, "", "")
    assert kms_world.methods == []


def test_nothing_answers_at_the_emulators_address(
    kms_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kms_world.emulator.stop()
    assert_clear(kms_world.attest(), 6, "GetAttestor", "again")


def test_an_output_file_that_cannot_be_written_is_told_before_anything_is_done(
    kms_world: World, tmp_path: Path
) -> None:
    result = kms_world.attest("--output-file", str(tmp_path / "no" / "such" / "folder"))
    assert_clear(result, 2, "cannot be written", "folder that exists")
    assert kms_world.methods == []
