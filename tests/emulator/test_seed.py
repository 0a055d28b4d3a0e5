"""Seeds: what they plant, and the one line that says what is wrong with one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api_core.exceptions import FailedPrecondition
from google.cloud import binaryauthorization_v1 as ba
from google.cloud import kms_v1 as kms
from google.cloud.devtools import cloudbuild_v1 as cloudbuild

from step.emulator import Emulator, EmulatorError, Seed
from tests.emulator.signers import certificate, key_of, pem_of
from tests.emulator.world import ATTESTOR, NOTE, RING, SEED, URI, Clients, version_of

FULL = f"""
projects:
  p: {{number: 42}}
keys:
  - name: {RING}/cryptoKeys/k
    algorithm: EC_SIGN_P384_SHA384
    versions: [{{state: DISABLED}}, {{}}, {{algorithm: EC_SIGN_P256_SHA256, state: ENABLED}}]
  - {{name: {RING}/cryptoKeys/q, algorithm: PQ_SIGN_ML_DSA_65, protection_level: HSM}}
notes:
  - {{name: {NOTE}, human_readable_name: Quality}}
attestors:
  - name: {ATTESTOR}
    note: {NOTE}
    description: what it says
    public_keys:
      - {{kms: {version_of("k", 3)}, id: https://example.com/k, comment: by hand}}
      - kms: {version_of("q")}
      - pkix: {{file: key.pem, algorithm: EC_SIGN_P521_SHA512, id: https://example.com/p}}
      - pgp: {{file: key.asc}}
        comment: a person
      - pkix:
          algorithm: ECDSA_P256_SHA256
          pem: |
            {{pem}}
policies:
  - name: projects/p/policy
    etag: '"abc"'
    updateTime: 2026-01-01T00:00:00.000000Z
    globalPolicyEvaluationMode: ENABLE
    defaultAdmissionRule:
      evaluationMode: REQUIRE_ATTESTATION
      enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG
      requireAttestationsBy: [{ATTESTOR}]
builds:
  - id: one
    projectId: p
    status: SUCCESS
    createTime: 2026-01-01 00:00:00
    results: {{images: [{{name: example.com/i, digest: "sha256:00"}}]}}
  - {{name: projects/p/locations/europe-west3/builds/two, status: FAILURE}}
occurrences:
  - resourceUri: {URI}
    noteName: {NOTE}
    createTime: 2025-01-01T01:02:03Z
    attestation:
      serializedPayload: aGk_
      signatures: [{{publicKeyId: https://example.com/k, signature: AAAA}}]
  - name: projects/q/occurrences/mine
    resourceUri: {URI}
    noteName: {NOTE}
    discovery: {{analysisStatus: FINISHED_SUCCESS}}
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    folder = tmp_path_factory.mktemp("seed")
    pem = pem_of(key_of("ECDSA_P256_SHA256"))
    (folder / "key.pem").write_text(pem_of(key_of("ECDSA_P521_SHA512")))
    (folder / "key.asc").write_text(str(certificate("P256").extract_certificate()))
    seed = folder / "seed.yaml"
    seed.write_text(FULL.replace("{pem}", pem.strip().replace("\n", "\n            ")))
    with Emulator(Seed.load(seed)) as emulator:
        clients = Clients.of(emulator)
        yield clients
        clients.channel.close()


def test_keys_and_versions(planted: Clients) -> None:
    states = kms.CryptoKeyVersion.CryptoKeyVersionState
    versions = planted.kms.list_crypto_key_versions(parent=f"{RING}/cryptoKeys/k")
    assert [(states(each.state).name, each.algorithm.name) for each in versions] == [
        ("DISABLED", "EC_SIGN_P384_SHA384"),
        ("ENABLED", "EC_SIGN_P384_SHA384"),
        ("ENABLED", "EC_SIGN_P256_SHA256"),
    ]
    [only] = planted.kms.list_crypto_key_versions(parent=f"{RING}/cryptoKeys/q")
    assert only.protection_level == kms.ProtectionLevel.HSM
    with pytest.raises(FailedPrecondition):
        planted.kms.get_public_key(name=version_of("k"))


def test_attestors_and_notes(planted: Clients) -> None:
    attestor = planted.binauthz.get_attestor(name=ATTESTOR)
    assert attestor.description == "what it says"
    note = attestor.user_owned_grafeas_note
    assert note.delegation_service_account_email.startswith("service-42@")
    held = {
        key.id: (ba.PkixPublicKey.SignatureAlgorithm(key.pkix_public_key.signature_algorithm).name)
        for key in note.public_keys
    }
    assert list(held.values()) == [
        "ECDSA_P256_SHA256",
        "ML_DSA_65",
        "ECDSA_P521_SHA512",
        "SIGNATURE_ALGORITHM_UNSPECIFIED",
        "ECDSA_P256_SHA256",
    ]
    assert list(held)[:4] == [
        "https://example.com/k",
        f"//cloudkms.googleapis.com/v1/{version_of('q')}",
        "https://example.com/p",
        certificate("P256").extract_certificate().fingerprint.upper(),
    ]
    assert list(held)[4].startswith("ni:///sha-256;")
    assert [key.comment for key in note.public_keys] == ["by hand", "", "", "a person", ""]
    hint = planted.grafeas.get_note(name=NOTE).attestation.hint
    assert hint.human_readable_name == "Quality"


def test_the_keys_of_an_attestor_are_those_of_kms(planted: Clients) -> None:
    [first, *_] = planted.binauthz.get_attestor(name=ATTESTOR).user_owned_grafeas_note.public_keys
    pem = planted.kms.get_public_key(name=version_of("k", 3)).pem
    assert first.pkix_public_key.public_key_pem == pem


def test_policies(planted: Clients) -> None:
    rule = planted.binauthz.get_policy(name="projects/p/policy").default_admission_rule
    assert rule.require_attestations_by == [ATTESTOR]


def test_builds(planted: Clients) -> None:
    each = planted.builds.get_build(project_id="p", id="one")
    assert each.name == "projects/p/locations/global/builds/one"
    assert each.status == cloudbuild.Build.Status.SUCCESS
    assert each.results.images[0].digest == "sha256:00"
    assert each.create_time.year == 2026


def test_occurrences_are_listed_at_once_with_their_times(planted: Clients) -> None:
    [first, second] = planted.grafeas.list_note_occurrences(name=NOTE)
    assert first.create_time.year == 2025
    assert first.attestation.serialized_payload == b"hi?"
    assert first.name.startswith("projects/p/occurrences/")
    assert second.name == "projects/q/occurrences/mine"


def test_an_empty_seed_is_a_seed() -> None:
    assert Seed.parse("") == Seed.parse("projects:\nkeys: []\nsystem_policy:\n") == Seed()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "seed: not YAML: "),
        ("- a", "seed: must be a mapping with projects, keys"),
        ("key: []", "seed: unknown key 'key'; there are projects, keys"),
        ("keys: []\nkeys: []", "key 'keys' is given twice"),
        ("keys: {}", "seed.keys: must be a list"),
        ("projects: []", "seed.projects: must be a mapping of project ids"),
        ("projects: {p: {}}", "seed.projects.p.number: must be a number"),
        ("projects: {p: {number: '1'}}", "seed.projects.p.number: must be a number"),
        ("projects: {p: {id: 1}}", "seed.projects.p: unknown key 'id'; there are number"),
        ("keys: [{}]", r"seed.keys\[0\].name: is required"),
        ("keys: [{name: 1}]", r"seed.keys\[0\].name: must be a text"),
        ("keys: [x]", r"seed.keys\[0\]: must be a mapping with name"),
        ("keys: [{name: k, state: x}]", r"seed.keys\[0\]: unknown key 'state'"),
        ("keys: [{name: k, protection_level: x}]", r"protection_level: no such value 'x'"),
        (
            "keys: [{name: k, versions: [{}, {state: ON}]}]",
            r"seed.keys\[0\].versions\[1\].state: must be a text",
        ),
        (
            "keys: [{name: k, versions: [{state: X}]}]",
            r"seed.keys\[0\].versions\[0\].state: no such value 'X'",
        ),
        ("attestors: [{name: a}]", r"seed.attestors\[0\].note: is required"),
        (
            "attestors: [{name: a, note: n, public_keys: [{}]}]",
            r"public_keys\[0\]: needs exactly one of kms, pkix, pgp",
        ),
        (
            "attestors: [{name: a, note: n, public_keys: [{kms: a, pgp: {}}]}]",
            r"public_keys\[0\]: needs exactly one of",
        ),
        (
            "attestors: [{name: a, note: n, public_keys: [{pgp: {file: x}, id: y}]}]",
            r"public_keys\[0\]: unknown key 'id'; there are pgp, comment",
        ),
        (
            "attestors: [{name: a, note: n, public_keys: [{pgp: {file: missing.asc}}]}]",
            r"public_keys\[0\].pgp.file: cannot read .*missing.asc",
        ),
        (
            "attestors: [{name: a, note: n, public_keys: [{pkix: {pem: x}}]}]",
            r"public_keys\[0\].pkix.algorithm: is required",
        ),
        (
            "attestors: [{name: a, note: n, public_keys: [{pkix: {pem: x, algorithm: y}}]}]",
            r"pkix.algorithm: no such value 'y'",
        ),
        ("notes: [{name: n, discovery: 1}]", r"seed.notes\[0\]: "),
        ("notes: [{name: n, build: {version: 1}}]", r"seed.notes\[0\]: .*no field named .version."),
        ("notes: [{name: n, bild: {}}]", r"seed.notes\[0\]: unknown key 'bild'; there are name"),
        (
            "notes: [{name: n, attestation: {}, human_readable_name: x}]",
            r"seed.notes\[0\]: .*no field named .human_readable_name.",
        ),
        ("system_policy: [x]", r"seed.system_policy: "),
        ("system_policy: {admissionWhitelist: []}", r"seed.system_policy: .*no field named"),
        ("policies: [{nane: x}]", r"seed.policies\[0\]: .*no field named .nane."),
        ("policies: [~]", r"seed.policies\[0\]: "),
        ("policies: [x]", r"seed.policies\[0\]: "),
        ("builds: [{status: DONE}]", r"seed.builds\[0\]: .*DONE"),
        ("occurrences: [{attestation: 1}]", r"seed.occurrences\[0\]: "),
        ("occurrences: [{createTime: 2025-01-01}]", r"seed.occurrences\[0\]: .*createTime"),
    ],
)
def test_what_is_wrong_with_a_seed_is_one_line(text: str, message: str) -> None:
    with pytest.raises(EmulatorError, match=message) as refused:
        Seed.parse(text)
    assert "\n" not in str(refused.value)


BY_KMS = f"""
attestors:
  - {{name: {ATTESTOR}, note: {NOTE}, public_keys: [{{kms: {version_of("k")}}}]}}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keys: [{name: k}]", "seed: key k: .*does not match the pattern"),
        (f"keys: [{{name: {RING}/cryptoKeys/k, algorithm: X}}]", "X is not a signing algorithm"),
        (
            f"keys: [{{name: {RING}/cryptoKeys/k}}, {{name: {RING}/cryptoKeys/k}}]",
            "cryptoKeys/k already exists",
        ),
        ("notes: [{name: n}]", "seed: note n: .*does not match the pattern"),
        ("notes: [{name: n, build: {}}]", "seed: note n: .*does not match the pattern"),
        (BY_KMS, f"seed: attestor {ATTESTOR}: CryptoKeyVersion .* not found"),
        (f"{SEED}  - {{name: {ATTESTOR}, note: {NOTE}}}\n", "attestors/a already exists"),
        (
            f"keys: [{{name: {RING}/cryptoKeys/k, algorithm: EC_SIGN_ED25519}}]\n{BY_KMS}",
            "Binary Authorization has no algorithm EC_SIGN_ED25519",
        ),
        ("policies: [{name: projects/p/policy}]", "default_admission_rule is required"),
        ("builds: [{id: x}]", "seed: build x: A build needs a name, or projectId and id"),
        ("builds: [{id: x, projectId: p}, {id: x, projectId: p}]", "builds/x already exists"),
        ("occurrences: [{resourceUri: x}]", "seed: occurrence x: .*does not match the pattern"),
        (
            f"""
            notes: [{{name: {NOTE}}}]
            occurrences:
              - &o
                name: projects/p/occurrences/o
                resourceUri: x
                noteName: {NOTE}
                discovery: {{}}
              - *o
            """,
            "occurrences/o already exists",
        ),
    ],
)
def test_what_the_services_refuse_is_named(text: str, message: str) -> None:
    seed = Seed.parse(text)
    with pytest.raises(EmulatorError, match=message) as refused:
        Emulator(seed)
    assert "\n" not in str(refused.value)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        EmulatorError, match=r"cannot read the seed \S+: No such file or directory$"
    ):
        Seed.load(tmp_path / "missing.yaml")
    binary = tmp_path / "seed.yaml"
    binary.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(EmulatorError, match=r"cannot read the seed .*: it is not UTF-8 text"):
        Seed.load(binary)


@pytest.mark.parametrize(
    "text",
    [
        "projects: {p: {number: 1}}",
        "keys: [{name: projects/p/locations/global/keyRings/r/cryptoKeys/k}]",
        "notes: [{name: projects/p/notes/n}]",
        "attestors: [{name: projects/p/attestors/a, note: projects/p/notes/n}]",
        "policies: [{name: projects/p/policy}]",
        "platform_policies: [{name: projects/p/platforms/gke/policies/x}]",
        "builds: [{id: one, projectId: p}]",
        "builds: [{name: projects/p/locations/l/builds/one}]",
        "occurrences: [{noteName: projects/p/notes/n, resourceUri: https://example.com/q}]",
        "iam_policies: {projects/p/notes/n: {}}",
    ],
)
def test_the_projects_are_those_of_every_resource(text: str) -> None:
    assert Seed.parse(text).project_ids == {"p"}


def test_the_projects_of_an_attestor_and_its_note_are_two() -> None:
    text = "attestors: [{name: projects/p/attestors/a, note: projects/q/notes/n}]"
    assert Seed.parse(text).project_ids == {"p", "q"}
