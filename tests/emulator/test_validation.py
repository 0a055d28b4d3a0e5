"""Which attestations the emulated Binary Authorization takes for good."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysequoia
import pytest
from google.api_core.exceptions import InvalidArgument, NotFound
from google.cloud import binaryauthorization_v1 as ba
from grafeas import grafeas_v1 as g

from tests.emulator.signers import (
    NAMES,
    PAYLOAD,
    SUITES,
    Result,
    attestation,
    certificate,
    flipped,
    pgp,
    pgp_message,
    pkix,
    sign,
    trust,
)
from tests.emulator.world import ATTESTOR, KEY_ID, NOTE, PROJECT, URI, Clients, payload_for


@pytest.mark.parametrize("name", NAMES)
def test_every_algorithm_verifies_and_notices_one_bit(clients: Clients, name: str) -> None:
    [key] = trust(clients, pkix(name))
    signature = sign(name, PAYLOAD)
    assert clients.validate(attestation(PAYLOAD, (key, signature))).result == Result.VERIFIED
    for bad in (
        attestation(PAYLOAD, (key, flipped(signature))),
        attestation(PAYLOAD, (key, signature[:-1])),
        attestation(PAYLOAD, (key, b"")),
        attestation(PAYLOAD + b" ", (key, signature)),
        attestation(b"", (key, signature)),
    ):
        response = clients.validate(bad)
        assert response.result == Result.ATTESTATION_NOT_VERIFIABLE
        assert "does not match the payload" in response.denial_reason


# Which attestation counts


def test_the_seeded_kms_key_attests(clients: Clients) -> None:
    response = clients.validate(clients.attestation())
    assert (response.result, response.denial_reason) == (Result.VERIFIED, "")


def test_one_good_signature_among_bad_ones_is_enough(clients: Clients) -> None:
    good = clients.attestation()
    first = g.Signature(public_key_id="unknown", signature=b"x")
    second = g.Signature(public_key_id=KEY_ID, signature=b"x")
    good.signatures = [first, second, *good.signatures]
    assert clients.validate(good).result == Result.VERIFIED


def test_of_two_keys_with_one_id_either_counts(clients: Clients) -> None:
    names = ("ECDSA_P256_SHA256", "ECDSA_P384_SHA384")
    trust(clients, *(pkix(name, id="https://example.com/k") for name in names))
    for name in names:
        made = attestation(PAYLOAD, ("https://example.com/k", sign(name, PAYLOAD)))
        assert clients.validate(made).result == Result.VERIFIED


@pytest.mark.parametrize(
    ("changes", "arguments", "reason"),
    [
        ({"signatures": []}, {}, "the attestation has no signatures"),
        ({"public_key_id": KEY_ID + "1"}, {}, "no key '.*' on the attestor"),
        ({"public_key_id": KEY_ID.removeprefix("//")}, {}, "no key"),
        ({}, {"note": f"{PROJECT}/notes/other"}, "is not the attestor's note"),
        ({}, {"uri": "https://example.com/image:tag"}, "Expected digest with sha256 scheme"),
        ({}, {"uri": URI.upper()}, "Expected digest with sha256 scheme"),
        ({}, {"uri": URI + "0"}, "Expected digest with sha256 scheme"),
        ({}, {"uri": URI.replace("ab", "cd")}, "it is for digest 'sha256:abab"),
    ],
)
def test_what_does_not_count(
    clients: Clients, changes: dict[str, Any], arguments: dict[str, str], reason: str
) -> None:
    made = clients.attestation()
    if "public_key_id" in changes:
        made.signatures[0].public_key_id = changes["public_key_id"]
    if "signatures" in changes:
        made.signatures = []
    response = clients.validate(made, **arguments)
    assert response.result == Result.ATTESTATION_NOT_VERIFIABLE
    assert re.search(reason, response.denial_reason)


@pytest.mark.parametrize(
    "payload",
    [b"not json", b"[]", b"{}", b'{"critical": 1}', b'{"critical": {"image": {}}}', b"\xff", b"1"],
)
def test_a_signed_message_of_another_form_does_not_count(clients: Clients, payload: bytes) -> None:
    response = clients.validate(attestation(payload, (KEY_ID, clients.sign(payload))))
    assert response.result == Result.ATTESTATION_NOT_VERIFIABLE
    assert response.denial_reason.startswith(
        "Signature verified, but unexpected message was signed"
    )


def test_an_attestor_without_keys_verifies_nothing(clients: Clients) -> None:
    made = clients.attestation()
    trust(clients)
    assert clients.validate(made).result == Result.ATTESTATION_NOT_VERIFIABLE


def test_validation_asks_for_all_of_its_fields(clients: Clients) -> None:
    with pytest.raises(InvalidArgument, match="occurrence_note is required"):
        clients.validate(clients.attestation(), note="")
    with pytest.raises(InvalidArgument, match="occurrence_resource_uri is required"):
        clients.validate(clients.attestation(), uri="")
    with pytest.raises(InvalidArgument, match="attestation is required"):
        clients.validation.validate_attestation_occurrence({"attestor": ATTESTOR})
    with pytest.raises(NotFound, match="Attestor projects/p/attestors/x not found"):
        clients.validation.validate_attestation_occurrence(
            ba.ValidateAttestationOccurrenceRequest(
                attestor=f"{PROJECT}/attestors/x",
                attestation=clients.attestation(),
                occurrence_note=NOTE,
                occurrence_resource_uri=URI,
            )
        )


@pytest.mark.parametrize("suite", SUITES)
def test_pgp_keys_verify_under_the_primarys_fingerprint(clients: Clients, suite: str) -> None:
    key = certificate(suite)
    fingerprint = key.extract_certificate().fingerprint.upper()
    assert trust(clients, pgp(key)) == [fingerprint]
    message = pgp_message(key, PAYLOAD)
    verified = pysequoia.verify(message, store=lambda _: [key.extract_certificate()])
    # The message is signed by a subkey, whose own fingerprint the attestor does not list.
    assert verified.valid_sigs[0].signing_key.upper() != fingerprint
    for payload in (PAYLOAD, b""):
        made = attestation(payload, (fingerprint, message))
        assert clients.validate(made).result == Result.VERIFIED


@pytest.mark.parametrize(
    ("payload", "signature", "reason"),
    [
        (PAYLOAD + b" ", lambda: pgp_message(certificate("P256"), PAYLOAD), "not the serialized"),
        (PAYLOAD, lambda: pgp_message(certificate("P256", 1), PAYLOAD), "does not verify"),
        (PAYLOAD, lambda: b"-----BEGIN PGP MESSAGE-----\n\nxxxx", "does not verify"),
        (PAYLOAD, lambda: b"", "not an armored, attached"),
        (
            PAYLOAD,
            lambda: pgp_message(certificate("P256"), PAYLOAD, pysequoia.SignatureMode.DETACHED),
            "not an armored, attached",
        ),
        (
            PAYLOAD,
            lambda: pgp_message(certificate("P256"), PAYLOAD, pysequoia.SignatureMode.CLEAR),
            "not an armored, attached",
        ),
    ],
)
def test_pgp_messages_that_do_not_count(
    clients: Clients, payload: bytes, signature: Callable[[], bytes], reason: str
) -> None:
    [key] = trust(clients, pgp(certificate("P256")))
    response = clients.validate(attestation(payload, (key, signature())))
    assert response.result == Result.ATTESTATION_NOT_VERIFIABLE
    assert reason in response.denial_reason
    assert "backtrace" not in response.denial_reason


def test_a_private_pgp_key_is_refused_and_not_shown(clients: Clients) -> None:
    armored = str(certificate("P256"))
    with pytest.raises(InvalidArgument, match="not an armored OpenPGP public key") as refused:
        trust(clients, ba.AttestorPublicKey(ascii_armored_pgp_public_key=armored))
    assert "PRIVATE" not in str(refused.value)


def test_a_message_made_by_gpg_verifies(
    clients: Clients, tool: Callable[[str], str], tmp_path: Path
) -> None:
    program = tool("gpg")

    def gpg(*arguments: str, stdin: bytes = b"") -> bytes:
        return subprocess.run(
            [program, "--homedir", str(home), "--batch", "--no-tty", *arguments],
            input=stdin,
            check=True,
            capture_output=True,
        ).stdout

    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    try:
        gpg("--passphrase", "", "--quick-generate-key", "me <me@example.com>", "ed25519", "sign")
        armored = gpg("--armor", "--export").decode()
        message = gpg("--armor", "--sign", stdin=PAYLOAD)
    finally:
        subprocess.run(
            ["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True
        )
    [key] = trust(clients, ba.AttestorPublicKey(ascii_armored_pgp_public_key=armored))
    assert clients.validate(attestation(PAYLOAD, (key, message))).result == Result.VERIFIED
    other = attestation(payload_for("sha256:" + "0" * 64), (key, message))
    assert clients.validate(other).result == Result.ATTESTATION_NOT_VERIFIABLE
