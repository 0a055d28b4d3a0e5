"""The pipelines for CircleCI and GitLab: their commands, run in order with tools that log."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth import identity_pool

from tests.keys import PgpKind, pgp_secret
from tests.pipelines import EXAMPLES, PROGRAM, ROOT, Machine, load
from tests.world import DIGEST, IMAGE, World, attestor_seed, kms_seed, pgp_seed

pytestmark = pytest.mark.usefixtures("bash")

NAME = IMAGE.partition("@")[0]
SET_IMAGE = ["set", "image", "deployment/web", f"web={IMAGE}"]
PASSPHRASE = "un deux trois"
COMMIT = "0123456789" * 4


class Job:
    """A machine whose folders of /tmp are in the test's own."""

    def __init__(self, world: World, folder: Path, **environ: str) -> None:
        self.machine = Machine(folder, world)
        self.folder = folder
        self.environ = environ

    def run(self, script: str) -> int:
        moved = script.replace("/tmp/", f"{self.folder}/")
        environ = {name: value.replace("/tmp/", f"{self.folder}/") for name, value in self.given()}
        return self.machine.run(moved, ROOT, **environ)

    def given(self) -> Iterator[tuple[str, str]]:
        yield from self.environ.items()

    def receipts(self, path: str) -> list[dict[str, str]]:
        actual = json.loads((self.folder / path).read_text())["receipts"]
        assert isinstance(actual, list)
        return actual


def circleci(world: World, folder: Path, name: str) -> tuple[Job, dict[str, list[str]]]:
    """A machine, and the commands of each job."""
    document = load(EXAMPLES / "circleci" / name)
    commands = {
        job: [step["run"]["command"] for step in about["steps"] if "run" in step]
        for job, about in document["jobs"].items()
    }
    environ = document["jobs"]["attest"]["environment"] | {
        "CIRCLECI": "true",
        "CIRCLE_SHA1": COMMIT,
        "CIRCLE_BUILD_URL": "https://circleci.com/gh/me/app/7",
        "CIRCLE_OIDC_TOKEN_V2": "a.b.c",
        "GOOGLE_KEY": base64.b64encode(b"{}").decode(),
    }
    return Job(world, folder, **environ), commands


@pytest.fixture
def pgp(make_world: Callable[..., World]) -> World:
    return make_world(pgp_seed(PgpKind.RSA))


def pgp_job(world: World, folder: Path) -> tuple[Job, dict[str, list[str]]]:
    job, commands = circleci(world, folder, "pgp.yml")
    secret = base64.b64encode(pgp_secret(PgpKind.RSA, passphrase=PASSPHRASE)).decode()
    job.environ["BINAUTHZ_PGP_PRIVATE_KEY"] = secret
    job.environ["BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE"] = PASSPHRASE
    return job, commands


def test_circleci_with_an_openpgp_key(pgp: World, tmp_path: Path) -> None:
    job, commands = pgp_job(pgp, tmp_path)
    assert [job.run(command) for command in commands["attest"]] == [0, 0, 0]
    [receipt] = job.receipts("attest/receipts.json")
    assert (receipt["image"], receipt["status"]) == (IMAGE, "created")
    assert receipt["build"] == "https://circleci.com/gh/me/app/7"
    assert [job.run(command) for command in commands["deploy"]] == [0]
    assert SET_IMAGE in job.machine.calls("kubectl")
    # The key itself is left nowhere, nor ever an argument.
    secret = job.environ["BINAUTHZ_PGP_PRIVATE_KEY"].encode()
    held = [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert held == []
    assert secret.decode() not in job.machine.log.read_text()


def test_circleci_with_a_key_in_cloud_kms(kms_world: World, tmp_path: Path) -> None:
    job, commands = circleci(kms_world, tmp_path, "kms.yml")
    assert [job.run(command) for command in commands["attest"]] == [0, 0, 0]
    assert (tmp_path / "google").stat().st_mode & 0o077 == 0
    assert [receipt["image"] for receipt in job.receipts("attest/receipts.json")] == [IMAGE]
    assert [job.run(command) for command in commands["deploy"]] == [0]
    assert SET_IMAGE in job.machine.calls("kubectl")


@pytest.mark.parametrize("name", ["pgp.yml", "kms.yml"])
def test_circleci_deploys_nothing_that_is_not_attested(
    make_world: Callable[..., World], tmp_path: Path, name: str
) -> None:
    # The attestor lists no key at all.
    job, commands = circleci(make_world(attestor_seed()), tmp_path, name)
    *before, attest = commands["attest"]
    assert [job.run(command) for command in before] == [0, 0]
    assert job.run(attest) == 3
    assert [job.run(command) != 0 for command in commands["deploy"]] == [True]
    assert job.machine.calls("kubectl") == []


def test_circleci_waits_for_the_attestation_and_not_for_the_clock() -> None:
    for path in (EXAMPLES / "circleci").glob("*.yml"):
        document = load(path)
        assert "sleep" not in json.dumps(document)
        # CircleCI would take it for a parameter of its own.
        assert "<<" not in json.dumps(document)
        [_, deploy] = document["workflows"]["release"]["jobs"]
        assert deploy["deploy"]["requires"] == ["attest"]


class Gitlab(Job):
    """GitLab's jobs: files that are artifacts and variables of a dotenv report go on."""

    def __init__(self, world: World, folder: Path, *files: str) -> None:
        project = folder / "project"
        (project / "examples").mkdir(parents=True)
        (project / "examples" / "gitlab").symlink_to(EXAMPLES / "gitlab")
        super().__init__(
            world,
            folder,
            GITLAB_CI="true",
            CI_JOB_URL="https://gitlab.com/me/app/-/jobs/7",
            CI_COMMIT_SHA=COMMIT,
            CI_PROJECT_DIR=str(project),
            CI_REGISTRY="europe-docker.pkg.dev",
            CI_REGISTRY_IMAGE=NAME,
            CI_REGISTRY_USER="me",
            CI_REGISTRY_PASSWORD="secret",
            GOOGLE_TOKEN="a.b.c",
        )
        self.document = load(EXAMPLES / "gitlab" / "gitlab-ci.yml")
        for file in files:
            self.document |= load(EXAMPLES / "gitlab" / file)
        self.environ |= self.document["variables"] | {"BINAUTHZ_ATTEST": PROGRAM}
        self.project = project

    def job(self, name: str) -> int:
        about = self.document[name]
        script = "\n".join(about["script"])
        for tool in ("/kaniko/.docker", "/kaniko/executor"):
            script = script.replace(tool, f"{self.folder}/{tool.replace('/kaniko', 'bin')}")
        moved = script.replace("/tmp/google", f"{self.folder}/google")
        code = self.machine.run(moved, self.project, **self.environ)
        if code == 0 and (report := about.get("artifacts", {}).get("reports")):
            lines = (self.project / report["dotenv"]).read_text().splitlines()
            self.environ |= dict(line.split("=", 1) for line in lines)
        return code


@pytest.mark.parametrize("files", [(), ("kaniko.gitlab-ci.yml",)])
def test_gitlab(kms_world: World, tmp_path: Path, files: tuple[str, ...]) -> None:
    jobs = Gitlab(kms_world, tmp_path, *files)
    assert [jobs.job(name) for name in jobs.document["stages"]] == [0, 0, 0]
    assert (jobs.project / "digest").read_text() == DIGEST
    [receipt] = jobs.receipts("project/receipts.json")
    assert (receipt["image"], receipt["status"]) == (IMAGE, "created")
    assert receipt["build"] == "https://gitlab.com/me/app/-/jobs/7"
    assert SET_IMAGE in jobs.machine.calls("kubectl")
    assert len(jobs.machine.calls("executor" if files else "buildah")) == (1 if files else 3)


def test_gitlab_tells_no_image_that_is_not_attested(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    world = make_world(kms_seed())
    world.emulator.fail("CreateOccurrence=PERMISSION_DENIED")
    jobs = Gitlab(world, tmp_path)
    assert jobs.job("build") == 0
    assert jobs.job("attest") == 4
    assert not (jobs.project / "attested.env").exists()


def test_gitlab_keeps_the_token_out_of_the_artifacts() -> None:
    document = load(EXAMPLES / "gitlab" / "gitlab-ci.yml")
    assert document["attest"]["artifacts"]["paths"] == ["receipts.json"]
    assert document["build"]["artifacts"]["paths"] == ["digest"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*er.json")), ids=lambda path: path.parent)
def test_the_configurations_of_credentials_are_what_google_reads(path: Path) -> None:
    """They name the token's file and the account, and hold no secret."""
    read: Any = identity_pool.Credentials.from_file
    credentials = read(str(path))
    assert credentials.service_account_email.startswith(f"{path.stem}@")
    assert json.loads(path.read_text())["credential_source"] == {"file": "/tmp/google/token"}
