"""gcloud itself, pointed at the emulator's REST side."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.judges import PASSPHRASE, FindTool, Gpg, GpgKey
from tests.world import ATTESTOR, IMAGE, NOTE, PROJECT, VERSION, World, image, kms_seed

pytestmark = pytest.mark.timeout(300)

APIS = ("BINARYAUTHORIZATION", "CLOUDBUILD", "CLOUDKMS", "CONTAINERANALYSIS")
BINAUTHZ = ("container", "binauthz")
KEY_ID = f"//cloudkms.googleapis.com/v1/{VERSION}"


@dataclass(frozen=True)
class Gcloud:
    """gcloud with settings of its own, and no Google Cloud but the emulator."""

    program: str
    folder: Path
    world: World

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of it."""
        address = f"http://{self.world.emulator.rest_address}/"
        settings = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}": address for api in APIS} | {
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CONFIG": str(self.folder / "settings"),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
            "CLOUDSDK_CORE_PROJECT": PROJECT,
        }
        done = subprocess.run(
            [self.program, *arguments],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def read(self, *arguments: str) -> Any:
        """What a command prints, as JSON."""
        return json.loads(self.run(*arguments, "--format=json").stdout)

    def attestations(self, attestor: str = ATTESTOR, *more: str) -> list[dict[str, Any]]:
        """The attestations that gcloud lists."""
        listed = self.read(*BINAUTHZ, "attestations", "list", f"--attestor={attestor}", *more)
        assert isinstance(listed, list)
        return listed


@pytest.fixture
def gcloud(
    make_world: Callable[..., World], tool: FindTool, tmp_path: Path
) -> Callable[..., Gcloud]:
    """gcloud and a world with a seed."""
    program = tool("gcloud")
    return lambda seed: Gcloud(program, tmp_path, make_world(seed))


def verified(world: World) -> list[str]:
    """The occurrences by which our own `verify` says yes."""
    result = world.run("verify", IMAGE, "--attestor", ATTESTOR, "--format", "json")
    assert result.code == 0, result.err
    [verdict] = json.loads(result.out)["verdicts"]
    return [
        attestation["occurrence"]
        for attestation in verdict["attestations"]
        if attestation["verified"]
    ]


def notes(*names: str) -> dict[str, Any]:
    return {"notes": [{"name": name, "human_readable_name": "by hand"} for name in names]}


def test_a_pipeline_with_gpg_and_nothing_but_gcloud(
    gcloud: Callable[..., Gcloud],
    gpg_key: Callable[[str], GpgKey],
    make_gpg: Callable[[], Gpg],
    tmp_path: Path,
) -> None:
    cloud, key, gpg = gcloud(notes(NOTE)), gpg_key("rsa2048"), make_gpg()
    public, payload, signature = (tmp_path / name for name in ("key.asc", "payload", "signature"))
    secret, passphrase = tmp_path / "secret.asc", tmp_path / "passphrase"
    public.write_text(key.public)
    secret.write_text(key.secret)
    passphrase.write_text(PASSPHRASE)
    attestor = ATTESTOR.rpartition("/")[2]
    note = (f"--attestation-authority-note={NOTE}", "--description=built by our CI")
    cloud.run(*BINAUTHZ, "attestors", "create", attestor, *note)
    add = ("attestors", "public-keys", "add", f"--attestor={attestor}")
    cloud.run(*BINAUTHZ, *add, f"--pgp-public-key-file={public}")
    described = cloud.read(*BINAUTHZ, "attestors", "describe", attestor)
    assert described["description"] == "built by our CI"
    [listed] = described["userOwnedGrafeasNote"]["publicKeys"]
    assert listed["id"] == key.fingerprint

    made = cloud.run(*BINAUTHZ, "create-signature-payload", f"--artifact-url={IMAGE}")
    payload.write_text(made.stdout)
    unlocked = ("--pinentry-mode", "loopback", "--passphrase-file", str(passphrase))
    gpg.run(*unlocked, "--import", str(secret))
    gpg.run(*unlocked, "--armor", "--output", str(signature), "--sign", str(payload))
    create = [*BINAUTHZ, "attestations", "create", f"--artifact-url={IMAGE}", "--validate"]
    create += [f"--attestor={attestor}", f"--public-key-id={key.fingerprint}"]
    create += [f"--signature-file={signature}"]
    cloud.run(*create)
    # Once more is a conflict, which gcloud tells as the service words it.
    again = cloud.run(*create, check=False)
    assert again.returncode != 0
    assert "already exists" in again.stderr

    [attestation] = cloud.attestations()
    assert attestation["resourceUri"] == IMAGE
    assert cloud.world.emulator.calls.count("ValidateAttestationOccurrence", "OK") == 2
    # The program finds it good, and makes no second one.
    assert verified(cloud.world) == [attestation["name"]]
    result = cloud.world.attest(
        *("--pgp-key-file", str(secret), "--pgp-passphrase-file", str(passphrase))
    )
    assert result.code == 0, result.err
    assert result.receipt["status"] == "existing"
    assert result.receipt["occurrence"] == attestation["name"]


def test_cloud_kms_with_gcloud_first_and_with_gcloud_second(gcloud: Callable[..., Gcloud]) -> None:
    cloud = gcloud(kms_seed())
    sign = ["beta", *BINAUTHZ, "attestations", "sign-and-create", f"--attestor={ATTESTOR}"]
    # gcloud makes the id from the address that it asks, which is the emulator's here.
    sign += [f"--keyversion={VERSION}", f"--public-key-id-override={KEY_ID}", "--validate"]
    cloud.run(*sign, f"--artifact-url={IMAGE}")
    [made] = verified(cloud.world)
    result = cloud.world.attest("--kms-key-version", VERSION)
    assert result.code == 0, result.err
    assert result.receipt["status"] == "existing"
    theirs = result.receipt["occurrence"]
    assert theirs == made

    other = image("b")
    ours = cloud.world.attest("--kms-key-version", VERSION, image=str(other))
    assert ours.receipt["status"] == "created"
    both = {attestation["name"]: attestation["resourceUri"] for attestation in cloud.attestations()}
    assert both == {theirs: IMAGE, ours.receipt["occurrence"]: f"https://{other}"}
    [actual] = cloud.attestations(ATTESTOR, f"--artifact-url={other}")
    assert actual["name"] == ours.receipt["occurrence"]


def test_an_attestor_that_gcloud_makes_from_cloud_kms(gcloud: Callable[..., Gcloud]) -> None:
    cloud = gcloud(notes(NOTE) | {"keys": kms_seed()["keys"]})
    attestor = ATTESTOR.rpartition("/")[2]
    note = f"--attestation-authority-note={NOTE}"
    for version, name in (("alpha", attestor), ("beta", "other")):
        cloud.run(version, *BINAUTHZ, "attestors", "create", name, note)
    add = ("attestors", "public-keys", "add", f"--attestor={attestor}", f"--keyversion={VERSION}")
    cloud.run(*BINAUTHZ, *add, f"--public-key-id-override={KEY_ID}")
    older = {each["name"]: each for each in cloud.read("beta", *BINAUTHZ, "attestors", "list")}
    assert set(older) == {ATTESTOR, ATTESTOR.replace(attestor, "other")}
    [listed] = older[ATTESTOR]["userOwnedDrydockNote"]["publicKeys"]
    assert listed["id"] == KEY_ID
    ours = cloud.world.attest("--kms-key-version", VERSION)
    assert ours.code == 0, ours.err
    assert [each["name"] for each in cloud.attestations()] == [ours.receipt["occurrence"]]
    missing = cloud.run(*BINAUTHZ, "attestors", "describe", "none", check=False)
    assert missing.returncode != 0
    assert "NOT_FOUND" in missing.stderr


def test_what_we_made_gcloud_imports_again(gcloud: Callable[..., Gcloud], tmp_path: Path) -> None:
    """Our signature and payload, given to gcloud for a second attestor with the same key."""
    seed = kms_seed()
    name = ATTESTOR.replace("built-by-ci", "copy")
    copy = seed["attestors"][0] | {"name": name, "note": NOTE.replace("built-by-ci", "copy")}
    cloud = gcloud(seed | {"attestors": [*seed["attestors"], copy]})
    receipt = cloud.world.attest().receipt
    payload, signature = tmp_path / "payload", tmp_path / "signature"
    payload.write_bytes(base64.b64decode(receipt["payload"]))
    signature.write_bytes(base64.b64decode(receipt["signature"]))
    create = [*BINAUTHZ, "attestations", "create", f"--artifact-url={IMAGE}", "--validate"]
    create += [f"--attestor={name}", f"--public-key-id={receipt['public_key_id']}"]
    cloud.run(*create, f"--signature-file={signature}", f"--payload-file={payload}")
    [ours], [theirs] = cloud.attestations(), cloud.attestations(name)
    assert theirs["attestation"] == ours["attestation"]
    checked = cloud.world.run("verify", IMAGE, "--attestor", ATTESTOR, "--attestor", name)
    assert checked.code == 0, checked.err


@pytest.mark.parametrize(("form", "suffix"), [("text", "yaml"), ("json", "json")])
def test_what_we_show_of_a_policy_gcloud_imports(
    gcloud: Callable[..., Gcloud], tmp_path: Path, form: str, suffix: str
) -> None:
    cloud, path = gcloud(kms_seed()), tmp_path / f"policy.{suffix}"
    shown = cloud.world.run("policy", "show", "--project", PROJECT, "--format", form).out
    path.write_text(shown.replace("ALWAYS_ALLOW", "ALWAYS_DENY"))
    cloud.run(*BINAUTHZ, "policy", "import", str(path))
    exported = yaml.safe_load(cloud.run(*BINAUTHZ, "policy", "export").stdout)
    assert exported["defaultAdmissionRule"]["evaluationMode"] == "ALWAYS_DENY"
    assert cloud.world.run("policy", "check", IMAGE, "--project", PROJECT).code == 3


def test_a_policy_goes_out_and_in(gcloud: Callable[..., Gcloud], tmp_path: Path) -> None:
    cloud, path = gcloud(kms_seed()), tmp_path / "policy.yaml"
    policy = yaml.safe_load(cloud.run(*BINAUTHZ, "policy", "export").stdout)
    assert policy["defaultAdmissionRule"]["evaluationMode"] == "ALWAYS_ALLOW"
    policy["defaultAdmissionRule"] |= {
        "evaluationMode": "REQUIRE_ATTESTATION",
        "requireAttestationsBy": [ATTESTOR],
    }
    policy["admissionWhitelistPatterns"] = [{"namePattern": f"gcr.io/{PROJECT}/**"}]
    path.write_text(yaml.safe_dump(policy))
    cloud.run(*BINAUTHZ, "policy", "import", str(path))
    exported = yaml.safe_load(cloud.run(*BINAUTHZ, "policy", "export").stdout)
    changed = ("etag", "updateTime")
    assert {name: exported[name] for name in exported if name not in changed} == {
        name: policy[name] for name in policy if name not in changed
    }
    # The file is of the policy before, as its etag tells.
    stale = cloud.run(*BINAUTHZ, "policy", "import", str(path), check=False)
    assert stale.returncode != 0
    assert "etag" in stale.stderr
