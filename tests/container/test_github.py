"""The image as an action, run as GitHub's runner runs it, after the steps that come before it.

What the runner mounts, sets and translates:
https://github.com/actions/runner/blob/main/src/Runner.Worker/Handlers/ContainerActionHandler.cs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from step.emulator import Emulator, Seed
from tests.container.engine import ROOT, Container, Finished
from tests.container.google import (
    ACCESS_TOKEN,
    ACCOUNT,
    AUDIENCE,
    FEDERATED,
    ID_TOKEN,
    REQUEST_TOKEN,
    Authority,
    Services,
    front,
    services,
)
from tests.judges import read
from tests.registries import Pushed
from tests.runner import commands, outputs
from tests.world import ATTESTOR, kms_seed

pytestmark = pytest.mark.timeout(900)

# The account that GitHub's own runners work as.
RUNNER = 1001
HOSTILE = "x\n::set-output name=image::evil\n##[add-path]/evil %0A::error::\x1b[2J<img src=x>|`"


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a workflow, in its folders on the runner."""

    container: Container
    folder: Path

    @property
    def workspace(self) -> Path:
        """Where the sources are checked out."""
        return self.folder / "app" / "app"

    @property
    def mounts(self) -> dict[Path, str]:
        """Folders of the runner, and where an action sees them."""
        temp = self.folder / "_temp"
        return {
            temp: "/github/runner_temp",
            temp / "_github_home": "/github/home",
            temp / "_github_workflow": "/github/workflow",
            temp / "_runner_file_commands": "/github/file_commands",
            self.workspace: "/github/workspace",
        }

    @property
    def output(self) -> Path:
        """The file of outputs."""
        return self.folder / "_temp" / "_runner_file_commands" / "set_output_6f3d"

    @property
    def summary(self) -> Path:
        """The file of the summary."""
        return self.folder / "_temp" / "_runner_file_commands" / "step_summary_6f3d"

    def prepare(self) -> None:
        """Make folders and files as the runner does, its own and no other's."""
        for path in self.mounts:
            path.mkdir(parents=True, exist_ok=True)
        (self.folder / "_temp" / "_github_workflow" / "event.json").write_text("{}")
        for path in (self.output, self.summary):
            path.touch(mode=0o644)
        for path in self.folder.rglob("*"):
            os.chown(path, RUNNER, RUNNER)

    def translated(self, text: str) -> str:
        """A value of the environment, as a container sees it: only whole values are paths."""
        for source, target in reversed(self.mounts.items()):
            if text == str(source) or text.startswith(f"{source}/"):
                return target + text.removeprefix(str(source))
        return text

    def uses(self, given: Mapping[str, str], env: Mapping[str, str]) -> Finished:
        """`uses:` this action `with:` what is given; inputs that are not get their defaults."""
        declared: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
        assert given.keys() <= declared.keys()
        inputs = {name: given.get(name, spec.get("default", "")) for name, spec in declared.items()}
        environ = {f"INPUT_{name.replace(' ', '_').upper()}": text for name, text in inputs.items()}
        environ |= {
            "HOME": "/github/home",
            "GITHUB_JOB": "build",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_REF_NAME": "main",
            "GITHUB_SHA": "1" * 40,
            "GITHUB_REPOSITORY": "me/app",
            "GITHUB_RUN_ID": "42",
            "GITHUB_RUN_NUMBER": "7",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_ACTOR": "me",
            "GITHUB_WORKFLOW": "release",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_API_URL": "https://api.github.com",
            "GITHUB_ACTION": "__me_binauthz-attest",
            "GITHUB_EVENT_PATH": str(self.folder / "_temp" / "_github_workflow" / "event.json"),
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_OS": "Linux",
            "RUNNER_ARCH": "X64",
            "RUNNER_TEMP": str(self.folder / "_temp"),
            "ACTIONS_RUNTIME_URL": "https://127.0.0.1:1/",
            "ACTIONS_RUNTIME_TOKEN": "runtime-token",
        }
        environ = {name: self.translated(text) for name, text in (environ | dict(env)).items()}
        environ |= {"GITHUB_ACTIONS": "true", "CI": "true"}
        place = "/github/workspace"
        return self.container.run(env=environ, mounts=self.mounts, workdir=place)


@pytest.fixture
def job(container: Container, tmp_path: Path) -> Job:
    """A job that has just begun."""
    made = Job(container, tmp_path / "runner")
    made.prepare()
    return made


@pytest.fixture
def google(authority: Authority) -> Iterator[Services]:
    """The services that give tokens, over TLS."""
    with services(authority) as running:
        yield running


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An attestor with a key in Cloud KMS."""
    with Emulator(Seed.parse(yaml.safe_dump(kms_seed()), Path())) as running:
        yield running


def built(pushed: Pushed) -> str:
    """The output `metadata` of docker/build-push-action."""
    name = f"{pushed.name}:{pushed.tag}"
    record = {"buildx.build.ref": "builder/builder0/1", "containerimage.digest": pushed.digest}
    return json.dumps(record | {"image.name": name}, indent=2)


def authenticate(job: Job, google: Services) -> dict[str, str]:
    """Leave behind what google-github-actions/auth does: a file in the workspace, and variables.

    https://github.com/google-github-actions/auth/blob/main/src/client/workload_identity_federation.ts
    """
    request = f"https://{google.address}/oidc?api-version=2.0"
    impersonated = f"https://{google.address}/v1/projects/-/serviceAccounts/{ACCOUNT}"
    content = {
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"https://{google.address}/v1/token",
        "service_account_impersonation_url": f"{impersonated}:generateAccessToken",
        "credential_source": {
            "url": f"{request}&audience=https%3A{AUDIENCE.replace('/', '%2F')}",
            "headers": {"Authorization": f"Bearer {REQUEST_TOKEN}"},
            "format": {"type": "json", "subject_token_field_name": "value"},
        },
    }
    path = job.workspace / "gha-creds-0a1b2c3d4e5f6071.json"
    path.write_text(json.dumps(content))
    path.chmod(0o640)
    os.chown(path, RUNNER, RUNNER)
    files = ("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", "GOOGLE_APPLICATION_CREDENTIALS")
    projects = ("CLOUDSDK_CORE_PROJECT", "CLOUDSDK_PROJECT", "GCLOUD_PROJECT", "GCP_PROJECT")
    return {
        **dict.fromkeys((*files, "GOOGLE_GHA_CREDS_PATH"), str(path)),
        **dict.fromkeys((*projects, "GOOGLE_CLOUD_PROJECT"), "my-project"),
        "ACTIONS_ID_TOKEN_REQUEST_URL": request,
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
    }


def trusting(job: Job, authority: Authority) -> dict[str, str]:
    """The environment in which the tests' own authority is trusted, and nothing else."""
    copy = job.workspace / "ca.pem"
    copy.write_bytes(authority.certificate.read_bytes())
    return dict.fromkeys(("REQUESTS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"), str(copy))


def test_a_job_that_authenticates_builds_and_attests(
    job: Job, google: Services, authority: Authority, emulator: Emulator, pushed: Pushed
) -> None:
    """Federated, impersonated and over TLS, as with Google; the image is in a real registry."""
    job.output.write_text("earlier=kept\n")
    env = authenticate(job, google) | trusting(job, authority)
    with front(emulator.grpc_address, authority) as (doors, calls):
        given = {
            "metadata": built(pushed),
            "attestor": ATTESTOR,
            "check_registry": "true",
            "output_file": "receipts.json",
        }
        done = job.uses(given, env | doors)
    assert google.asked.wrong == []
    assert done.code == 0, done.log
    assert google.asked.steps[:3] == ["id token", "exchange", "impersonate"]
    assert {"GetAttestor", "AsymmetricSign", "CreateOccurrence"} <= set(calls)

    actual = outputs(job.output.read_text())
    assert actual.pop("earlier") == "kept"
    receipts = json.loads(actual.pop("receipts"))
    [receipt] = receipts["receipts"]
    assert actual == {
        "image": pushed.image,
        "images": pushed.image,
        "digest": pushed.digest,
        "attestations": receipt["occurrence"],
        "public_key_ids": receipt["public_key_id"],
        "status": "created",
        "emulator": "",
    }
    assert receipt["build"] == "https://github.com/me/app/actions/runs/42/attempts/1"
    stored = read(emulator.grpc_address, receipt["occurrence"], ATTESTOR)
    assert stored.occurrence.resource_uri == f"https://{pushed.image}"
    assert pushed.image in job.summary.read_text()
    assert commands(done.log) == []

    for path in (job.output, job.summary):
        status = path.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (RUNNER, RUNNER, 0o644)
    written = job.workspace / "receipts.json"
    assert written.stat().st_uid == 0
    assert json.loads(written.read_text())["receipts"] == [receipt]

    everything = done.log + job.output.read_text() + job.summary.read_text() + written.read_text()
    for secret in (REQUEST_TOKEN, ID_TOKEN, FEDERATED, ACCESS_TOKEN):
        assert secret not in everything


def test_a_token_that_is_refused_stops_the_job(
    job: Job, google: Services, authority: Authority, emulator: Emulator, pushed: Pushed
) -> None:
    env = authenticate(job, google) | trusting(job, authority)
    path = Path(env["GOOGLE_APPLICATION_CREDENTIALS"])
    path.write_text(path.read_text().replace(REQUEST_TOKEN, "another"))
    with front(emulator.grpc_address, authority) as (doors, calls):
        done = job.uses({"metadata": built(pushed), "attestor": ATTESTOR}, env | doors)
    assert done.code == 4, done.log
    assert calls == []
    assert [command.name for command in commands(done.log)] == ["error"]
    assert outputs(job.output.read_text())["status"] == "failed"


def test_without_the_tests_authority_nobody_is_believed(
    job: Job, google: Services, emulator: Emulator, pushed: Pushed
) -> None:
    """So the jobs above show that certificates are verified."""
    done = job.uses({"metadata": built(pushed), "attestor": ATTESTOR}, authenticate(job, google))
    assert done.code == 6, done.log
    assert google.asked.steps == []


@pytest.mark.parametrize("by", ["images", "image", "metadata", "from_file", "attestor", "branch"])
def test_hostile_text_becomes_no_command(
    job: Job, emulator: Emulator, pushed: Pushed, by: str
) -> None:
    """Names come from branches, registries and other tools."""
    given = {"metadata": built(pushed), "attestor": ATTESTOR}
    env = {"BINAUTHZ_EMULATOR_HOST": emulator.grpc_address}
    match by:
        case "branch":
            env |= {"GITHUB_REF_NAME": HOSTILE, "GITHUB_HEAD_REF": HOSTILE, "GITHUB_ACTOR": HOSTILE}
        case "metadata":
            given |= {by: json.dumps({HOSTILE: {"image.name": HOSTILE}, "image.name": HOSTILE})}
        case _:
            given |= {by: HOSTILE}
    done = job.uses(given, env)
    # A branch is no business of the attestation; all the rest is refused.
    assert done.code == (0 if by == "branch" else 2), done.log
    assert {command.name for command in commands(done.log)} <= {"error", "warning"}
    actual = outputs(job.output.read_text())
    assert "evil" not in actual["image"]
    summary = job.summary.read_text()
    for text in (done.log, summary, *actual.values()):
        assert "\x1b" not in text
    assert "<img" not in summary


def test_a_hostile_attestor_is_quoted_as_it_is_meant(job: Job, pushed: Pushed) -> None:
    """Whoever may describe an attestor must not speak for the step."""
    seed = kms_seed()
    seed["attestors"][0]["description"] = HOSTILE
    with Emulator(Seed.parse(yaml.safe_dump(seed), Path())) as emulator:
        env = {"BINAUTHZ_EMULATOR_HOST": emulator.grpc_address}
        done = job.uses({"metadata": built(pushed), "attestor": ATTESTOR}, env)
    assert done.code == 0, done.log
    assert {command.name for command in commands(done.log)} <= {"warning"}
    for text in (done.log, job.output.read_text(), job.summary.read_text()):
        assert "\x1b" not in text
        assert "evil" not in text
