"""Policies and attestors of the emulated Binary Authorization."""

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.api_core.exceptions import Aborted, AlreadyExists, InvalidArgument, NotFound
from google.cloud import binaryauthorization_v1 as ba

from tests.emulator.signers import NAMES, SignatureAlgorithm, key_of, pem_of, pkix, trust
from tests.emulator.world import ATTESTOR, NOTE, PROJECT, Clients


@pytest.mark.parametrize("name", NAMES)
def test_a_key_of_another_algorithm_is_refused(clients: Clients, name: str) -> None:
    others = {"RSA_PSS_2048_SHA256", "RSA_PSS_3072_SHA256", "ECDSA_P256_SHA256", "ML_DSA_65"}
    for other in others - {SignatureAlgorithm.__members__[name].name}:
        if key_of(other) is key_of(name):
            continue
        key = pkix(name)
        key.pkix_public_key.public_key_pem = pem_of(key_of(other))
        with pytest.raises(InvalidArgument, match="is not a key of signature_algorithm"):
            trust(clients, key)


def test_default_id_is_the_documented_one(clients: Clients) -> None:
    # The example of https://cloud.google.com/binary-authorization/docs/making-attestations
    pem = (
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEXnpuYEfvLl1kj4fjxViFRwY1a+zC\n"
        "5qzlf9LJIK+rnjq42tiKGyyXMbnZKJiYPPdMDGyltnkrABnztg2jJ48aYQ==\n"
        "-----END PUBLIC KEY-----\n"
    )
    key = {"public_key_pem": pem, "signature_algorithm": "ECDSA_P256_SHA256"}
    assert trust(clients, ba.AttestorPublicKey(pkix_public_key=key)) == [
        "ni:///sha-256;EwVxs8fNUAHq9FI2AMfh8WNIXVBuuTMeGtPH72U-I70"
    ]


def test_ids_are_the_callers_where_given(clients: Clients) -> None:
    inner = pkix("ECDSA_P256_SHA256")
    inner.pkix_public_key.key_id = "https://example.com/inner"
    outer = pkix("ECDSA_P384_SHA384", id="https://example.com/outer")
    assert trust(clients, inner, outer) == [
        "https://example.com/inner",
        "https://example.com/outer",
    ]
    inner.id = "https://example.com/other"
    with pytest.raises(InvalidArgument, match="differs from id"):
        trust(clients, inner)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (ba.AttestorPublicKey(id="x"), "needs a pkix_public_key or ascii_armored"),
        (
            ba.AttestorPublicKey(
                pkix_public_key={"public_key_pem": "x", "signature_algorithm": "ML_DSA_65"}
            ),
            "not a PEM-encoded public key",
        ),
        (
            ba.AttestorPublicKey(
                pkix_public_key={"public_key_pem": pem_of(key_of("ECDSA_P256_SHA256"))}
            ),
            "signature_algorithm SIGNATURE_ALGORITHM_UNSPECIFIED",
        ),
        (ba.AttestorPublicKey(ascii_armored_pgp_public_key="x"), "not an armored OpenPGP"),
        (
            ba.AttestorPublicKey(
                ascii_armored_pgp_public_key="-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx"
            ),
            "cannot be read",
        ),
    ],
)
def test_bad_keys_are_refused(clients: Clients, key: ba.AttestorPublicKey, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        trust(clients, key)
    assert trust(clients) == []


# Attestors


def _create(clients: Clients, identity: str, **note: Any) -> ba.Attestor:
    return clients.binauthz.create_attestor(
        parent=PROJECT,
        attestor_id=identity,
        attestor=ba.Attestor(
            description="d", user_owned_grafeas_note={"note_reference": NOTE} | note
        ),
    )


def test_an_attestor_lives_and_dies(clients: Clients) -> None:
    made = _create(clients, "b", public_keys=[pkix("ECDSA_P256_SHA256")])
    assert made.name == f"{PROJECT}/attestors/b"
    assert made.etag
    assert made.update_time
    assert made.user_owned_grafeas_note.delegation_service_account_email == (
        "service-123456789012@gcp-sa-binaryauthorization.iam.gserviceaccount.com"
    )
    assert clients.binauthz.get_attestor(name=made.name) == made
    made.description = "other"
    updated = clients.binauthz.update_attestor(attestor=made)
    assert updated.description == "other"
    assert updated.etag != made.etag
    with pytest.raises(Aborted, match="etag"):
        clients.binauthz.update_attestor(attestor=made)
    clients.binauthz.delete_attestor(name=made.name)
    for gone in (clients.binauthz.get_attestor, clients.binauthz.delete_attestor):
        with pytest.raises(NotFound, match="attestors/b not found"):
            gone(name=made.name)
    with pytest.raises(NotFound):
        clients.binauthz.update_attestor(attestor=updated)


def test_attestors_that_are_refused(clients: Clients) -> None:
    with pytest.raises(AlreadyExists, match="attestors/a already exists"):
        _create(clients, "a")
    with pytest.raises(InvalidArgument, match="project number"):
        _create(clients, "b", note_reference="projects/123/notes/n")
    with pytest.raises(InvalidArgument, match="does not match the pattern"):
        _create(clients, "b", note_reference="n")
    with pytest.raises(InvalidArgument, match="does not match the pattern"):
        _create(clients, "b/c")
    with pytest.raises(InvalidArgument, match="is not 'projects/p/attestors/b'"):
        clients.binauthz.create_attestor(
            parent=PROJECT, attestor_id="b", attestor=ba.Attestor(name=ATTESTOR)
        )
    moved = clients.binauthz.get_attestor(name=ATTESTOR)
    moved.user_owned_grafeas_note.note_reference = f"{PROJECT}/notes/other"
    with pytest.raises(InvalidArgument, match="may not be updated"):
        clients.binauthz.update_attestor(attestor=moved)


def test_attestors_are_listed_in_pages_by_project(clients: Clients) -> None:
    for number in range(4):
        _create(clients, f"b{number}")
    clients.binauthz.create_attestor(
        parent="projects/other",
        attestor_id="z",
        attestor=ba.Attestor(user_owned_grafeas_note={"note_reference": NOTE}),
    )
    pages = clients.binauthz.list_attestors(
        ba.ListAttestorsRequest(parent=PROJECT, page_size=2)
    ).pages
    assert [len(page.attestors) for page in pages] == [2, 2, 1]
    [other] = clients.binauthz.list_attestors(parent="projects/other")
    email = other.user_owned_grafeas_note.delegation_service_account_email
    assert email.removeprefix("service-").partition("@")[0].isdecimal()


# Policy

POLICY = f"{PROJECT}/policy"
ALLOW = {"evaluation_mode": "ALWAYS_ALLOW", "enforcement_mode": "DRYRUN_AUDIT_LOG_ONLY"}
REQUIRE = {
    "evaluation_mode": "REQUIRE_ATTESTATION",
    "enforcement_mode": "ENFORCED_BLOCK_AND_AUDIT_LOG",
    "require_attestations_by": [ATTESTOR],
}


def test_a_project_starts_with_the_default_policy(clients: Clients) -> None:
    policy = clients.binauthz.get_policy(name=POLICY)
    assert policy.name == POLICY
    assert policy.global_policy_evaluation_mode == ba.Policy.GlobalPolicyEvaluationMode.ENABLE
    rule = policy.default_admission_rule
    assert rule.evaluation_mode == ba.AdmissionRule.EvaluationMode.ALWAYS_ALLOW
    assert rule.enforcement_mode == ba.AdmissionRule.EnforcementMode.ENFORCED_BLOCK_AND_AUDIT_LOG
    assert "update_time" not in policy


def test_a_policy_is_replaced_whole_and_guarded_by_its_etag(clients: Clients) -> None:
    policy = clients.binauthz.get_policy(name=POLICY)
    policy.default_admission_rule = ba.AdmissionRule(REQUIRE)
    policy.cluster_admission_rules = {"us-east1-a.prod": ba.AdmissionRule(ALLOW)}
    stored = clients.binauthz.update_policy(policy=policy)
    assert clients.binauthz.get_policy(name=POLICY) == stored
    assert stored.update_time
    with pytest.raises(Aborted, match="etag"):
        clients.binauthz.update_policy(policy=policy)
    bare = ba.Policy(name=POLICY, default_admission_rule=ALLOW)
    assert not clients.binauthz.update_policy(policy=bare).cluster_admission_rules


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "default_admission_rule is required"),
        ({"default_admission_rule": {"evaluation_mode": "ALWAYS_ALLOW"}}, "are required"),
        (
            {"default_admission_rule": REQUIRE | {"require_attestations_by": []}},
            "must be non-empty",
        ),
        ({"default_admission_rule": ALLOW | {"require_attestations_by": [ATTESTOR]}}, "and empty"),
        (
            {
                "default_admission_rule": ALLOW,
                "cluster_admission_rules": {"a.b": ALLOW},
                "istio_service_identity_admission_rules": {"spiffe://x/ns/n/sa/s": ALLOW},
            },
            "Only one rule map may be non-empty, but these are: cluster_admission_rules, istio",
        ),
        (
            {
                "default_admission_rule": ALLOW,
                "kubernetes_namespace_admission_rules": {"n": {"evaluation_mode": "ALWAYS_DENY"}},
            },
            r"kubernetes_namespace_admission_rules\[n\]",
        ),
    ],
)
def test_policies_that_are_refused(clients: Clients, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        clients.binauthz.update_policy(policy=ba.Policy({"name": POLICY} | fields))


def test_a_policy_names_attestors_that_exist(clients: Clients) -> None:
    rule = REQUIRE | {"require_attestations_by": [ATTESTOR, ATTESTOR + "x"]}
    with pytest.raises(NotFound, match="attestors/ax not found"):
        clients.binauthz.update_policy(policy=ba.Policy(name=POLICY, default_admission_rule=rule))


def test_default_ids_hash_the_der_form(clients: Clients) -> None:
    [identity] = trust(clients, pkix("ML_DSA_65"))
    der = (
        key_of("ML_DSA_65")
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    digest = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
    assert identity == f"ni:///sha-256;{digest}"
