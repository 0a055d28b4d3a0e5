"""The checks of platform policies: trusted directories and attestations."""

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from step.emulator import Emulator
from step.emulator.verification import PkixKey
from tests.emulator.platforms import (
    ERROR,
    GOOD,
    IMAGE,
    OTHER,
    UNKNOWN,
    WRONG,
    directory,
    judged,
    policy,
    public_key,
    simple,
    vulnerabilities,
)
from tests.emulator.rest import ask
from tests.emulator.signers import flipped, pkix, sign
from tests.emulator.world import DIGEST, NOTE, FakeClock, payload_for

# Checks


@pytest.mark.parametrize(
    ("pattern", "image", "expected"),
    [
        ("gcr.io/p/r", f"gcr.io/p/r/i@{DIGEST}", True),
        ("gcr.io/p/r", "gcr.io/p/r/i:tag", True),
        ("gcr.io/p/r", "gcr.io/p/r2/i", False),
        ("gcr.io/p/r", "gcr.io/p/r/s/i", False),
        ("gcr.io/p/r", "gcr.io/p/r", False),
        ("gcr.io/p/*", "gcr.io/p/r/i", True),
        ("gcr.io/p/*", "gcr.io/p/i", False),
        ("gcr.io/p/*", "gcr.io/p/r/s/i", False),
        ("gcr.io/p/**", "gcr.io/p/r/s/i", True),
        ("gcr.io/p/**", "gcr.io/p2/r/i", False),
        ("gcr.io/p*", "gcr.io/p2/i", True),
        ("*-docker.pkg.dev/p/r", "us-docker.pkg.dev/p/r/i", True),
        ("*-docker.pkg.dev/p/r", "us.evil-docker.pkg.dev/p/r/i", False),
        ("*-docker.pkg.dev/p/r", "docker.pkg.dev/p/r/i", False),
        ("*.gcr.io/p", "eu.gcr.io/p/i", True),
        ("*.gcr.io/p", "eu.gcrxio/p/i", False),
        ("gcr.io", "gcr.io/i", True),
        ("gcr.io", "nginx", False),
        ("example.com:5000/p", "example.com:5000/p/i", True),
    ],
)
def test_trusted_directories(emulator: Emulator, pattern: str, image: str, expected: bool) -> None:
    verdict, said = judged(emulator, policy(directory("other.example/x", pattern)), image)
    assert verdict == (GOOD if expected else WRONG)
    assert said.endswith(f"matches {pattern}.") == expected


KEY = "ECDSA_P256_SHA256"
KEY_ID = "https://example.com/k"


@pytest.fixture
def attest(emulator: Emulator, clock: FakeClock) -> Callable[..., None]:
    """Create an attestation, and let it enter the lists."""

    def make(
        payload: bytes = payload_for(),
        signed: bytes | None = None,
        *,
        key: str = KEY,
        key_id: str = KEY_ID,
        parent: str = "p",
        uri: str = f"https://{IMAGE}",
        signature: bytes | None = None,
    ) -> None:
        made = signature or sign(key, payload if signed is None else signed)
        body = {
            "resourceUri": uri,
            "noteName": NOTE,
            "attestation": {
                "serializedPayload": b64encode(payload).decode(),
                "signatures": [{"publicKeyId": key_id, "signature": b64encode(made).decode()}],
            },
        }
        assert ask(emulator, "POST", f"/v1/projects/{parent}/occurrences", body).status == 200
        clock.advance(timedelta(seconds=3))

    return make


CHECK = policy(simple(public_key(KEY, KEY_ID)))


def pae(payload: bytes) -> bytes:
    # The length of the type is 48.
    kind = b"application/vnd.dev.cosign.simplesigning.v1+json"
    return b" ".join([b"DSSEv1", b"48", kind, str(len(payload)).encode(), payload])


def test_an_attestation_by_a_trusted_key_is_enough(
    emulator: Emulator, attest: Callable[..., None]
) -> None:
    verdict, said = judged(emulator, CHECK)
    assert verdict == WRONG
    assert said == f"No attestation of {DIGEST} in projects/p verifies with a trusted key."
    attest()
    verdict, said = judged(emulator, CHECK)
    assert (verdict, KEY_ID in said) == (GOOD, True)
    # Of all authenticators, one; of all projects, one; and the name before the digest is free.
    both = simple(public_key("ECDSA_P384_SHA384"), public_key(KEY, KEY_ID), projects=PROJECTS)
    assert judged(emulator, policy(both), f"mirror.example/x@{DIGEST}")[0] == GOOD


PROJECTS = ("projects/q", "projects/p")


def test_the_signature_may_be_over_the_pae_of_the_payload(
    emulator: Emulator, attest: Callable[..., None]
) -> None:
    attest(signed=pae(payload_for()))
    assert judged(emulator, CHECK)[0] == GOOD


def test_a_key_without_an_id_has_that_of_its_digest(
    emulator: Emulator, attest: Callable[..., None]
) -> None:
    check = policy(simple(public_key(KEY)))
    attest()
    assert judged(emulator, check)[0] == WRONG
    attest(key_id=default_id())
    assert judged(emulator, check)[0] == GOOD


def default_id() -> str:
    return PkixKey.parse(pkix(KEY).pkix_public_key.public_key_pem, KEY).default_id()


@pytest.mark.parametrize(
    "made",
    [
        {"signature": flipped(sign(KEY, payload_for()))},
        {"key_id": "https://example.com/other"},
        {"signature": sign("ECDSA_P521_SHA512", payload_for())},
        {"payload": payload_for(f"sha256:{'cd' * 32}")},
        {"payload": b"{}"},
        {"signed": pae(b"other")},
        {"parent": "q"},
        {"uri": f"https://{OTHER}"},
        {"uri": f"https://{IMAGE}0"},
        {"uri": "https://example.com/apps/web"},
    ],
)
def test_an_attestation_that_does_not_verify_is_none(
    emulator: Emulator, attest: Callable[..., None], made: dict[str, Any]
) -> None:
    attest(**made)
    assert judged(emulator, CHECK)[0] == WRONG


def test_an_attestation_counts_once_it_is_listed(
    emulator: Emulator, attest: Callable[..., None], clock: FakeClock
) -> None:
    attest()
    clock.advance(timedelta(seconds=-1))
    assert judged(emulator, CHECK)[0] == WRONG
    clock.advance(timedelta(seconds=1))
    assert judged(emulator, CHECK)[0] == GOOD


@pytest.mark.parametrize(
    "image", ["example.com/apps/web:v1", "example.com/apps/web@sha256:ab", f"{IMAGE}\n"]
)
@pytest.mark.parametrize("check", [simple(public_key(KEY)), vulnerabilities()])
def test_an_image_without_a_digest_is_an_error(emulator: Emulator, check: Any, image: str) -> None:
    verdict, said = judged(emulator, policy(check), image)
    assert (verdict, "IMAGE_URL@IMAGE_DIGEST" in said) == (ERROR, True)


def test_a_check_that_says_no_project_is_an_error(
    emulator: Emulator, attest: Callable[..., None]
) -> None:
    attest()
    check = policy(simple(public_key(KEY, KEY_ID), projects=()))
    verdict, said = judged(emulator, check)
    assert (verdict, "names no project" in said) == (ERROR, True)


@pytest.mark.parametrize(
    "check",
    [
        UNKNOWN,
        {"slsaCheck": {"rules": [{"trustedBuilder": "GOOGLE_CLOUD_BUILD"}]}},
        {
            "sigstoreSignatureCheck": {
                "sigstoreAuthorities": [{"publicKeySet": {"publicKeys": [{"publicKeyPem": "x"}]}}]
            }
        },
    ],
)
def test_what_is_not_evaluated_is_an_error_and_says_so(emulator: Emulator, check: Any) -> None:
    [kind] = check
    assert judged(emulator, policy(check)) == (ERROR, f"The emulator does not evaluate {kind}.")
