"""`policy`: will this image run? Against the emulator, with policies as gcloud exports them."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from step.cloud.connection import Connection
from step.emulator import faults
from step.errors import BadInput
from step.evaluate import Admission, decide
from step.model.admission import Request
from step.model.image import ImageRef
from step.model.payload import Payload
from step.model.policy import Policy
from tests.keys import PgpKind, pgp_secret, pgp_sign
from tests.policies import ALLOW, BLOCK, DENY, REQUIRE, policy, seed
from tests.world import (
    ATTESTOR,
    DIGEST,
    IMAGE,
    NOTE,
    PROJECT,
    VERSION,
    Result,
    World,
    image,
    kms_seed,
    pgp_seed,
)

UNTRUSTED = "No attestations found that were valid and signed by a key trusted by the attestor"
KEY_ID = f"//cloudkms.googleapis.com/v1/{VERSION}"
OTHER = str(image("7"))
CHECK = ("policy", "check", "--project", PROJECT)


def attestation(signature: bytes, key_id: str = KEY_ID, about: str = IMAGE) -> dict[str, Any]:
    """An occurrence on the attestor's note, with any signature."""
    payload = Payload.of(ImageRef.parse(about)).to_bytes()
    signatures = [{"publicKeyId": key_id, "signature": b64encode(signature).decode()}]
    return {
        "name": f"projects/{PROJECT}/occurrences/seeded",
        "resourceUri": f"https://{about}",
        "noteName": NOTE,
        "kind": "ATTESTATION",
        "attestation": {"serializedPayload": b64encode(payload).decode(), "signatures": signatures},
    }


def answer(result: Result) -> dict[str, Any]:
    document = json.loads(result.out)
    assert list(document) == ["decisions", "errors", "emulator"]
    assert isinstance(document, dict)
    return document


def decision(result: Result, code: int) -> dict[str, Any]:
    """The only decision; there is no error beside it."""
    assert result.code == code
    assert answer(result)["errors"] == []
    [actual] = answer(result)["decisions"]
    assert isinstance(actual, dict)
    assert actual["admitted"] is (code == 0)
    return actual


def error(result: Result, code: int) -> dict[str, Any]:
    """The only error; there is no decision beside it."""
    assert answer(result)["decisions"] == []
    [actual] = answer(result)["errors"]
    assert (result.code, actual["exit_code"]) == (code, code)
    assert actual["hint"]
    return dict(actual)


def test_denied_with_a_forged_attestation_then_attested_and_admitted(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    """The pipeline's story: only an attestation by the attestor's own key opens the door."""
    other = pgp_sign(PgpKind.ED25519, Payload.of(ImageRef.parse(IMAGE)).to_bytes(), number=1)
    base = pgp_seed(PgpKind.ED25519)
    key = tmp_path / "key.asc"
    key.write_bytes(pgp_secret(PgpKind.ED25519))
    probe = make_world(base).attest("--pgp-key-file", str(key)).receipt
    forged = attestation(other, probe["public_key_id"])
    world = make_world(base | {"policies": [policy()], "occurrences": [forged]})
    denied = decision(world.run(*CHECK, IMAGE, "--format", "json"), 3)
    assert denied["denial"] == (
        f"Image {IMAGE} denied by Binary Authorization default admission rule. "
        f"Image {IMAGE} denied by attestor {ATTESTOR}: {UNTRUSTED}"
    )
    [verdict] = denied["attestors"]
    assert (verdict["attestor"], verdict["verified"]) == (ATTESTOR, False)
    [detail] = verdict["details"]
    assert detail.startswith(f"projects/{PROJECT}/occurrences/seeded: ")
    receipt = world.attest("--pgp-key-file", str(key)).receipt
    admitted = decision(world.run(*CHECK, IMAGE, "--format", "json"), 0)
    assert admitted == {
        "image": IMAGE,
        "admitted": True,
        "by": "default admission rule",
        "evaluation_mode": "REQUIRE_ATTESTATION",
        "enforcement_mode": BLOCK,
        "denial": None,
        "attestors": [
            {
                "attestor": ATTESTOR,
                "verified": True,
                "public_key_id": receipt["public_key_id"],
                "occurrence": receipt["occurrence"],
                "reason": None,
                "details": [],
            }
        ],
        "warnings": [],
    }


def test_everything_is_asked_once_and_nothing_is_written(make_world: Callable[..., World]) -> None:
    world = make_world(seed())
    world.attest()
    before = len(world.methods)
    result = world.run(*CHECK, IMAGE, OTHER, IMAGE, f"{PROJECT}.io/web:v1", "--format", "json")
    assert result.code == 3
    actual = answer(result)["decisions"]
    assert [each["admitted"] for each in actual] == [True, False, False]
    assert actual[2]["attestors"][0]["reason"].startswith("Expected digest with sha256 scheme")
    assert world.methods[before:] == [
        "GetPolicy",
        "GetAttestor",
        "ListNoteOccurrences",
        "ListNoteOccurrences",
    ]


@pytest.mark.parametrize("rule", [ALLOW, DENY])
def test_nothing_is_asked_that_no_rule_needs(
    make_world: Callable[..., World], rule: dict[str, Any]
) -> None:
    world = make_world(seed(default=rule))
    assert world.run(*CHECK, IMAGE).code == (0 if rule is ALLOW else 3)
    assert world.methods == ["GetPolicy"]


def test_the_text_names_the_rule_the_verdicts_and_the_warnings(
    make_world: Callable[..., World],
) -> None:
    rules = {"europe-west1.prod": REQUIRE}
    world = make_world(seed(default=ALLOW, clusterAdmissionRules=rules))
    receipt = world.attest().receipt
    other = f"projects/{PROJECT}/attestors/tested"
    arguments = ("--cluster", "europe-west1.prod", "--attestor", "tested")
    result = world.run(*CHECK, IMAGE, OTHER, *arguments)
    assert result.code == 3
    assert result.out.splitlines() == [
        f"admitted {IMAGE}",
        "  by          cluster admission rule for europe-west1.prod: REQUIRE_ATTESTATION, " + BLOCK,
        f"  attestor    {ATTESTOR}: verified with {KEY_ID}",
        f"  occurrence  {receipt['occurrence']}",
        f"  warning     the attestation by {other} was not tested: the rule does not require it",
        f"denied {OTHER}",
        "  by          cluster admission rule for europe-west1.prod: REQUIRE_ATTESTATION, " + BLOCK,
        f"  attestor    {ATTESTOR}: {UNTRUSTED}",
        f"  denial      Image {OTHER} denied by Binary Authorization cluster admission rule for "
        f"europe-west1.prod. Image {OTHER} denied by attestor {ATTESTOR}: {UNTRUSTED}",
        f"  warning     the attestation by {other} was not tested: the rule does not require it",
    ]
    text = world.run(*CHECK, IMAGE)
    assert text.code == 0
    assert "warning     no attestation was tested: the rule is ALWAYS_ALLOW" in text.out
    assert "--cluster was not given" in text.out


@pytest.mark.parametrize(
    ("method", "status", "code"),
    [
        ("GetPolicy", "PERMISSION_DENIED", 4),
        ("GetPolicy", "UNAVAILABLE", 6),
        ("GetAttestor", "PERMISSION_DENIED", 4),
        ("GetAttestor", "NOT_FOUND", 5),
        ("GetAttestor", "UNAVAILABLE", 6),
        ("ListNoteOccurrences", "PERMISSION_DENIED", 4),
        ("ListNoteOccurrences", "UNAVAILABLE", 6),
    ],
)
def test_what_could_not_be_asked_is_neither_yes_nor_no(
    make_world: Callable[..., World], method: str, status: str, code: int
) -> None:
    world = make_world(seed())
    world.attest()
    world.emulator.fail(f"{method}={status}")
    result = world.run(*CHECK, IMAGE, "--format", "json")
    actual = error(result, code)
    assert actual["image"] == (None if method == "GetPolicy" else IMAGE)
    assert ("for: " + IMAGE in result.err) is (method != "GetPolicy")
    if code == 4:
        assert "roles/" in actual["hint"]


def test_an_attestor_that_could_not_be_asked_is_told_beside_one_that_denies(
    make_world: Callable[..., World],
) -> None:
    base = kms_seed()
    second = f"projects/{PROJECT}/attestors/tested"
    note = {"name": second, "note": second.replace("attestors", "notes"), "public_keys": []}
    both = REQUIRE | {"requireAttestationsBy": [ATTESTOR, second]}
    world = make_world(base | {"attestors": [*base["attestors"], note], "policies": [policy(both)]})
    world.emulator.fail("GetAttestor=PERMISSION_DENIED:1")
    result = world.run(*CHECK, IMAGE, IMAGE.replace("web", "api"))
    assert result.code == 3
    assert world.count("GetAttestor") == 2, "an attestor that cannot be read is not asked for again"
    assert f"attestor    {ATTESTOR}: could not be asked: GetAttestor: permission" in result.out
    assert f"attestor    {second}: {UNTRUSTED}" in result.out
    assert f"rejected    {second} lists no key" in result.out
    world.emulator.fail("GetAttestor=PERMISSION_DENIED:1")
    verdicts = decision(world.run(*CHECK, IMAGE, "--format", "json"), 3)["attestors"]
    assert [each["verified"] for each in verdicts] == [False, False]
    assert verdicts[0]["reason"].startswith("could not be asked")


def test_an_attestor_without_a_note_denies(make_world: Callable[..., World]) -> None:
    world = make_world(seed())
    world.emulator.fail("GetAttestor=WITHOUT_NOTE")
    [verdict] = decision(world.run(*CHECK, IMAGE, "--format", "json"), 3)["attestors"]
    assert "has no Grafeas note" in verdict["details"][0]


# The system policy


@pytest.fixture
def system_file(tmp_path: Path) -> str:
    path = tmp_path / "system.yaml"
    patterns = [{"namePattern": "gke.gcr.io/**"}]
    path.write_text(
        yaml.dump({"admissionWhitelistPatterns": patterns, "name": "locations/l/policy"})
    )
    return str(path)


def test_a_system_policy_that_cannot_be_read_is_warned_of(
    make_world: Callable[..., World], system_file: str
) -> None:
    world = make_world(seed(default=DENY, globalPolicyEvaluationMode="ENABLE"))
    world.emulator.fail("GetSystemPolicy=PERMISSION_DENIED")
    gke = "gke.gcr.io/pause:1"
    result = world.run(*CHECK, gke)
    assert result.code == 3
    assert "warning: Google's system policy could not be read: GetSystemPolicy" in result.err
    assert "Google's system policy is in use, not known here" in result.out
    result = world.run(*CHECK, gke, IMAGE, "--system-policy-file", system_file)
    assert result.out.splitlines()[:2] == [
        f"admitted {gke}",
        "  by          system policy, pattern gke.gcr.io/**",
    ]
    assert (result.code, "could not be read" in result.err) == (3, False)


def test_the_system_policy_is_read_from_the_service(make_world: Callable[..., World]) -> None:
    patterns = [{"namePattern": "gke.gcr.io/**"}]
    system = {"system_policy": {"admissionWhitelistPatterns": patterns}}
    world = make_world(seed(default=DENY, globalPolicyEvaluationMode="ENABLE") | system)
    result = world.run(*CHECK, "gke.gcr.io/pause:1", "docker.io/library/pause:1")
    assert [(call.method, call.resource) for call in world.emulator.calls] == [
        ("GetPolicy", f"projects/{PROJECT}/policy"),
        ("GetSystemPolicy", "locations/global/policy"),
    ]
    assert result.code == 3
    assert "admitted gke.gcr.io/pause:1\n  by          system policy, pattern gke" in result.out
    assert "denied docker.io/library/pause:1\n" in result.out
    assert "system policy" not in result.err
    # Where the policy does not use it, it is neither asked for nor counts.
    world = make_world(seed(default=DENY) | system)
    assert world.run(*CHECK, "gke.gcr.io/pause:1").code == 3
    assert world.count("GetSystemPolicy") == 0


# Files


def test_a_policy_from_a_file_is_judged_with_the_same_evidence(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    world = make_world()
    world.attest()
    own = policy(globalPolicyEvaluationMode="ENABLE")
    for name, text in (("p.yaml", yaml.dump(own)), ("p.json", json.dumps(own))):
        (tmp_path / name).write_text(text)
        result = world.run("policy", "check", IMAGE, "--policy-file", str(tmp_path / name))
        assert result.code == 0
    assert world.count("GetPolicy") == world.count("GetSystemPolicy") == 0
    (tmp_path / "p.yaml").write_text(yaml.dump(policy(clusterAdmisionRules={})))
    file = ("--policy-file", str(tmp_path / "p.yaml"), "--format", "json")
    assert "unknown key" in error(world.run("policy", "check", IMAGE, *file), 2)["message"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_show_prints_what_can_be_read_again(
    make_world: Callable[..., World], tmp_path: Path, form: str
) -> None:
    rules = {"shop:web": REQUIRE, "shop:db": ALLOW}
    nasty = "two\nlines ::set-output name=x::y\n::warning::\x1b[31m ##[error]é"
    world = make_world(
        seed(kubernetesServiceAccountAdmissionRules=rules, default=DENY, description=nasty)
    )
    shown = world.run("policy", "show", "--project", PROJECT, "--format", form)
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert not [line for line in lines if line.lstrip().startswith("::") or "##[" in line]
    assert shown.out.isascii()
    assert "\x1b" not in shown.out
    read = Policy.parse(shown.out, "shown")
    assert read.description == nasty
    assert dict(read.rules)["shop:web"].to_mapping() == REQUIRE
    assert read.etag
    assert read.update_time.startswith("2026-11-01T")
    path = tmp_path / "shown"
    path.write_text(shown.out)
    again = world.run("policy", "show", "--policy-file", str(path), "--format", form)
    assert (again.out, again.err) == (shown.out, "")
    world.emulator.stop()
    seeded = {"policies": [yaml.safe_load(shown.out)]}
    assert (
        make_world(kms_seed() | seeded).run(*CHECK, IMAGE, "--service-account", "shop:db").code == 0
    )


def test_a_project_without_a_policy_has_the_default_one(make_world: Callable[..., World]) -> None:
    shown = make_world().run("policy", "show", "--project", PROJECT)
    assert yaml.safe_load(shown.out)["defaultAdmissionRule"] == ALLOW


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", IMAGE),
        ("check", IMAGE, "--project", "Not A Project"),
        ("check", "https://" + IMAGE, "--project", PROJECT),
        ("check", f"web@{DIGEST}", "--project", PROJECT),
        ("check", IMAGE, "--project", PROJECT, "--cluster", "prod"),
        ("check", IMAGE, "--project", PROJECT, "--service-account", "web"),
        ("check", IMAGE, "--project", PROJECT, "--attestor", "a/b"),
        ("check", IMAGE, "--project", PROJECT, "--system-policy-file", "missing"),
        ("check", IMAGE, "--policy-file", "missing"),
    ],
)
def test_bad_input_is_told_before_anything_is_decided(
    make_world: Callable[..., World], arguments: tuple[str, ...]
) -> None:
    world = make_world(seed())
    error(world.run("policy", *arguments, "--format", "json"), 2)


def test_show_needs_a_policy(make_world: Callable[..., World]) -> None:
    result = make_world().run("policy", "show")
    assert result.code == 2
    assert "no policy was given" in result.err


def test_a_policy_that_this_program_does_not_know_is_not_judged_by(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(response: Any) -> None:
        type(response).pb(response).default_admission_rule.evaluation_mode = 99

    monkeypatch.setitem(faults._ALTERATIONS, "NEWER", (frozenset({"GetPolicy"}), newer))
    world = make_world(seed())
    world.emulator.fail("GetPolicy=NEWER")
    assert (
        "cannot be judged by" in error(world.run(*CHECK, IMAGE, "--format", "json"), 6)["message"]
    )


def test_nothing_to_judge_is_bad_input(kms_world: World) -> None:
    connection = Connection(kms_world.clock, {}, kms_world.emulator.grpc_address)
    parsed = Policy.from_mapping(policy(), "here")
    with pytest.raises(BadInput, match="no image"):
        list(decide([], Admission(parsed, Request()), connection))


def test_the_verb_alone_shows_its_help(kms_world: World) -> None:
    shown = kms_world.run("policy", "--help")
    assert shown.code == 0
    assert {"show", "check"} <= set(shown.out.split())


def test_its_help_loads_no_client_library() -> None:
    code = (
        "import sys; from step.cli import main; main(['policy', 'check', '--help'])\n"
        "assert not {'grpc', 'google.auth', 'yaml'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
