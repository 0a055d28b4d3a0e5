"""docs/troubleshooting.md quotes what the program prints: a run brings each message about."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from step.errors import ExitCode
from tests.keys import PgpKind, pgp_secret
from tests.policies import ALLOW, DENY, policy
from tests.scans import scan, vulnerability
from tests.world import (
    ATTESTOR,
    BUILD,
    DIGEST,
    IMAGE,
    KEY,
    PROJECT,
    VERSION,
    World,
    attestor_seed,
    build_seed,
    kms_seed,
)

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
NAME = IMAGE.partition("@")[0]
SECOND = VERSION.removesuffix("1") + "2"
LIMITS = ROOT / "examples" / "github" / "vulnerabilities.yaml"
LOCKED = pgp_secret(PgpKind.RSA, passphrase="un deux").decode()
KEY_VARIABLE = "BINAUTHZ_PGP_PRIVATE_KEY"
PHRASE_VARIABLE = "BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE"
PUSHED = {"image.name": f"{NAME}:v1", "containerimage.config.digest": DIGEST}
EMULATOR = "BINAUTHZ_EMULATOR_HOST"
FOR = ("--attestor", ATTESTOR)


@dataclass(frozen=True)
class Case:
    """A run that ends with the message; `None` takes a variable away."""

    arguments: tuple[str, ...] = ("attest", IMAGE, *FOR)
    seed: Mapping[str, Any] = field(default_factory=kms_seed)
    fault: str | None = None
    environ: Mapping[str, str | None] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    before: Callable[[World], None] = lambda world: None


def attest(*arguments: str) -> tuple[str, ...]:
    return ("attest", *arguments, *FOR)


def metadata(**record: str) -> tuple[str, ...]:
    return attest("--metadata", json.dumps(record))


def scanned(world: World) -> None:
    scan(world)
    vulnerability(world, severity=5)


def inspected(*references: str) -> dict[str, str]:
    about = {"Id": "sha256:" + "5" * 64, "RepoTags": [f"{NAME}:v1"], "RepoDigests": references}
    return {"inspect.json": json.dumps([about])}


INSPECTED = attest("--from-file", "inspect.json")
TWO_KEYS = attestor_seed(
    {"kms": VERSION},
    {"kms": SECOND},
    keys=[{"name": KEY, "algorithm": "EC_SIGN_P256_SHA256", "versions": [{}, {}]}],
)
CASES = {
    "… names … by tag, not by digest": Case(attest(f"{NAME}:v1")),
    "--digest: the digest is empty": Case(attest("--image", NAME, "--digest", "")),
    "--metadata: there is no containerimage.digest: nothing was pushed": Case(metadata(**PUSHED)),
    "--metadata: containerimage.digest is the digest of the image's configuration: the image was "
    "not pushed": Case(metadata(**PUSHED, **{"containerimage.digest": DIGEST})),
    "--digest: … looks like an image id or a bare hash, not a digest": Case(
        attest("--image", NAME, "--digest", DIGEST.removeprefix("sha256:"))
    ),
    "…: the image has no RepoDigests: it was not pushed": Case(INSPECTED, files=inspected()),
    "…: the image was pushed under several names: …": Case(
        INSPECTED, files=inspected(IMAGE, f"registry.example/web@{DIGEST}")
    ),
    "no image was given": Case(attest("--workspace", ".")),
    "the workspace holds several records: …": Case(
        attest("--workspace", "."),
        files={"image-refs": f"{NAME}@sha256:{'1' * 64}\n", "image.refs": f"{IMAGE}\n"},
    ),
    "--from-file: … cannot be read: …": Case(attest("--from-file", "elsewhere.json")),
    "no attestor was given": Case(("attest", IMAGE)),
    "the attestor … has no project": Case(("attest", IMAGE, "--attestor", "built-by-ci")),
    "two keys are given: …": Case(
        attest(IMAGE, "--kms-key-version", VERSION), environ={KEY_VARIABLE: LOCKED}
    ),
    "BINAUTHZ_PGP_PRIVATE_KEY is set, but empty": Case(environ={KEY_VARIABLE: ""}),
    "that is not an OpenPGP private key that can be read": Case(environ={KEY_VARIABLE: "lQOYBF"}),
    "the OpenPGP key … is locked and there is no passphrase": Case(environ={KEY_VARIABLE: LOCKED}),
    "the passphrase does not unlock the OpenPGP key …": Case(
        environ={KEY_VARIABLE: LOCKED, PHRASE_VARIABLE: "un deux\n"}
    ),
    "… lists 2 Cloud KMS keys: …": Case(seed=TWO_KEYS),
    "BINAUTHZ_EMULATOR_HOST is …, not HOST:PORT": Case(environ={EMULATOR: "yes"}),
    "--metadata: the record is JSON of an unknown shape": Case(metadata(image="web")),
    "… does not list …; nothing was signed": Case(attest(IMAGE, "--kms-key-version", SECOND)),
    "… does not list the OpenPGP key …": Case(
        environ={KEY_VARIABLE: LOCKED, PHRASE_VARIABLE: "un deux"}
    ),
    "Binary Authorization does not verify the attestation: …": Case(
        fault="ValidateAttestationOccurrence=NOT_VERIFIABLE"
    ),
    "no attestation verifies": Case(("verify", IMAGE, *FOR)),
    "…: the build … has not finished: its status is WORKING": Case(
        attest("--build", BUILD), build_seed(status="WORKING")
    ),
    "attested, and not admitted by …: …": Case(
        attest(IMAGE, "--policy-check"), kms_seed() | {"policies": [policy(DENY)]}
    ),
    "… has 1 vulnerability (1 CRITICAL), and 1 beyond the policy's limits: …": Case(
        attest(IMAGE, "--vulnerability-policy", str(LIMITS)), before=scanned
    ),
    "the scan of … was not complete after 5m: …": Case(
        attest(IMAGE, "--vulnerability-policy", str(LIMITS))
    ),
    "… has no record of a build of …": Case(
        attest(IMAGE, "--require-build", "--trusted-project", PROJECT)
    ),
    "no usable Google Cloud credentials were found": Case(
        environ={EMULATOR: None, "GOOGLE_APPLICATION_CREDENTIALS": "gha-creds-0.json"}
    ),
    "CreateOccurrence: permission denied on …": Case(fault="CreateOccurrence=PERMISSION_DENIED"),
    "GetAttestor: the API … is not enabled": Case(fault="GetAttestor=SERVICE_DISABLED"),
    "GetAttestor: … does not exist (…)": Case(("attest", IMAGE, "--attestor", f"{ATTESTOR}-2")),
    "GetBuild: … does not exist (…)": Case(
        attest("--build", BUILD.replace("europe-west1", "global")), build_seed()
    ),
    "GetAttestor: … did not answer: UNAVAILABLE (…)": Case(fault="GetAttestor=UNAVAILABLE"),
    "GetAttestor: the quota of … stayed exhausted (…)": Case(
        fault="GetAttestor=RESOURCE_EXHAUSTED"
    ),
    "CreateOccurrence: no answer from …; … shows no attestation of …": Case(
        fault="CreateOccurrence=UNAVAILABLE"
    ),
    "… was created, but could not be read back from … in time": Case(
        settings={"visibility_delay": timedelta(hours=1)}
    ),
}


@dataclass(frozen=True)
class Entry:
    """A message as the page has it, the code it stands under, and what is said of it."""

    code: int
    message: str
    text: str


def entries() -> list[Entry]:
    actual = []
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading, *rest = re.split(r"^### ", section, flags=re.MULTILINE)
        if match := re.match(r"Exit code (\d): ", heading):
            for entry in rest:
                first, _, text = entry.partition("\n")
                actual.append(Entry(int(match[1]), first.strip().strip("`"), text))
    return actual


ENTRIES = entries()


def test_every_message_of_the_page_is_tried() -> None:
    assert [entry.message for entry in ENTRIES] == list(CASES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.message[:60])
def test_a_message_is_what_a_run_prints(
    entry: Entry, make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With that exit code; and whatever the hint names to be given or granted, the page names."""
    case = CASES[entry.message]
    world = make_world(case.seed, **case.settings)
    case.before(world)
    if case.fault:
        world.emulator.fail(case.fault)
    for name, text in case.files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    for name, value in case.environ.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    result = world.run(*case.arguments, "--format", "json")
    document = json.loads(result.out)
    [error] = document["errors"] or [
        {"message": verdict["reason"], "hint": "", "exit_code": 3}
        for verdict in document["verdicts"]
    ]
    pattern = ".+".join(map(re.escape, entry.message.split("…")))
    assert re.fullmatch(pattern, error["message"]), error["message"]
    assert result.code == error["exit_code"] == entry.code
    named = re.findall(r"--[a-z][a-z-]+|roles/[\w.]+\w|BINAUTHZ_[A-Z_]+", error["hint"])
    foreign = {"--armor", "--export-secret-keys", "--help", "--project"}
    assert [name for name in named if name not in entry.text and name not in foreign] == []


def test_every_code_for_errors_has_its_section() -> None:
    """But that of bugs, and that which no verb returns yet."""
    sections = [int(code) for code in re.findall(r"^## Exit code (\d): ", PAGE, re.MULTILINE)]
    without = {ExitCode.DONE, ExitCode.BUG, ExitCode.INCOMPLETE}
    assert sections == [code for code in ExitCode if code not in without]


@pytest.mark.parametrize("rule", ["allowlist", "dry run"])
def test_what_is_admitted_without_an_attestation_is_warned_of(
    make_world: Callable[..., World], rule: str
) -> None:
    allowed = policy(DENY, admissionWhitelistPatterns=[{"namePattern": f"{NAME}@*"}])
    dry = policy(DENY | {"enforcementMode": "DRYRUN_AUDIT_LOG_ONLY"})
    world = make_world(kms_seed() | {"policies": [allowed if rule == "allowlist" else dry]})
    result = world.run("policy", "check", IMAGE, "--project", PROJECT, "--format", "json")
    [decision] = json.loads(result.out)["decisions"]
    assert decision["admitted"]
    assert decision["warnings"]


def test_an_image_that_one_attestor_refused_is_no_output(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    world = make_world(kms_seed() | {"policies": [policy(ALLOW)]})
    assert world.attest("--attestor", f"{ATTESTOR}-2").code == 5
    assert world.count("CreateOccurrence") == 1
    assert f"\n{IMAGE}\n" not in outputs.read_text().partition("receipts<<")[0]


def test_the_emulator_is_warned_of(kms_world: World) -> None:
    assert "emulator" in kms_world.attest().err
