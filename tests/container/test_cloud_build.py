"""The image as a step of Cloud Build, in the environment that a build gives to its steps.

What is mounted and set: https://github.com/GoogleCloudPlatform/cloud-build-local, pkg/build, and
https://cloud.google.com/build/docs/build-config-file-schema.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from step.emulator import Emulator, Seed
from tests.container.engine import ROOT, Container, Finished
from tests.container.google import ACCESS_TOKEN, Authority, Services, front, services
from tests.judges import FindTool, read
from tests.registries import LOGIN, USERS, Builder, Pushed, serve
from tests.world import ATTESTOR, KEY, VERSION, attestor_seed

pytestmark = pytest.mark.timeout(900)

BUILD_ID = "6a1c0f52-52b3-4b07-a9b9-0f6c1fbb44b7"


@dataclass(frozen=True, slots=True)
class Build:
    """A build, in its folders, with what it substitutes."""

    container: Container
    folder: Path
    environ: dict[str, str]
    substitutions: dict[str, str]

    @property
    def mounts(self) -> dict[Path, str]:
        """What all steps share, and what this one gives back."""
        places = ("/workspace", "/builder/home", "/builder/outputs")
        return {self.folder / place.removeprefix("/"): place for place in places}

    @property
    def output(self) -> dict[str, Any]:
        """What becomes one of the build's `buildStepOutputs`, of which 50 KB are kept."""
        written = (self.folder / "builder" / "outputs" / "output").read_bytes()
        assert len(written) < 50_000
        document: dict[str, Any] = json.loads(written)
        return document

    def step(self, step: Mapping[str, Any], mapped: bool = False) -> Finished:
        """Run a step of a build's configuration with this image.

        Substitutions are text. With `mapped`, as with automapSubstitutions, they are variables too.
        """
        environ = {"HOME": "/builder/home", "BUILDER_OUTPUT": "/builder/outputs"} | self.environ
        if mapped:
            environ |= self.substitutions
        environ |= dict(self.substituted(pair).split("=", 1) for pair in step.get("env", []))
        arguments = [self.substituted(argument) for argument in step["args"]]
        place = "/workspace"
        return self.container.run(*arguments, env=environ, mounts=self.mounts, workdir=place)

    def substituted(self, text: str) -> str:
        """https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values."""

        def substitute(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            name = match[1] or match[2]
            assert name in self.substitutions, f"${name} is not substituted"
            return self.substitutions[name]

        return re.sub(r"\$\$|\$(\w+)|\$\{(\w+)\}", substitute, text)


@pytest.fixture(scope="session")
def private(
    container: Container, tool: FindTool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pushed]:
    """A real image in a registry that wants a password."""
    folder = tmp_path_factory.mktemp("registry")
    with serve(tool("docker-registry"), folder, USERS) as running:
        builder = Builder(tool("buildah"), tmp_path_factory.mktemp("buildah"), running, LOGIN)
        yield builder.push_image("apps/web", "v1", "hello\n")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An attestor with a key in Cloud KMS."""
    keys = [{"name": KEY, "algorithm": "EC_SIGN_P256_SHA256"}]
    # The build itself, which says when it began: nothing older in the workspace is its own.
    its_build = {
        "name": f"projects/my-project/locations/global/builds/{BUILD_ID}",
        "id": BUILD_ID,
        "projectId": "my-project",
        "status": "WORKING",
        "startTime": "2026-01-01T00:00:00Z",
    }
    seed = attestor_seed({"kms": VERSION}, keys=keys) | {"builds": [its_build]}
    with Emulator(Seed.parse(yaml.safe_dump(seed), Path())) as running:
        yield running


@pytest.fixture
def metadata() -> Iterator[Services]:
    """The metadata server, which is asked without TLS, as on the build's own network."""
    with services() as running:
        yield running


@pytest.fixture
def build(container: Container, private: Pushed, metadata: Services, tmp_path: Path) -> Build:
    """A build whose docker has logged in, and whose steps pushed an image and wrote its digest."""
    substitutions = {
        "PROJECT_ID": "my-project",
        "PROJECT_NUMBER": "123456789012",
        "BUILD_ID": BUILD_ID,
        "LOCATION": "global",
        "BRANCH_NAME": "main",
        "SHORT_SHA": "1234567",
        "_IMAGE": private.name,
        "_ATTESTOR": ATTESTOR,
    }
    # On the build's network these are metadata.google.internal and 169.254.169.254.
    environ = dict.fromkeys(("GCE_METADATA_HOST", "GCE_METADATA_IP"), metadata.address)
    made = Build(container, tmp_path / "build", environ, substitutions)
    for path in made.mounts:
        path.mkdir(parents=True)
    # What `docker image inspect` prints of it once it is pushed.
    inspected = [{"Id": f"sha256:{'c' * 64}", "RepoDigests": [f"{private.name}@{private.digest}"]}]
    (made.folder / "workspace" / "inspect.json").write_text(json.dumps(inspected))
    login = {private.name.partition("/")[0]: {"auth": base64.b64encode(LOGIN.encode()).decode()}}
    docker = made.folder / "builder" / "home" / ".docker"
    docker.mkdir()
    (docker / "config.json").write_text(json.dumps({"auths": login}))
    return made


def encrypted(build: Build, authority: Authority) -> dict[str, str]:
    """The environment in which Google's front door is believed to be Google's."""
    copy = build.folder / "workspace" / "ca.pem"
    copy.write_bytes(authority.certificate.read_bytes())
    return {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": "/workspace/ca.pem"}


def own_step() -> dict[str, Any]:
    """The step of this repository's own build that attests."""
    configured = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    [step] = [step for step in configured["steps"] if step["id"] == "attest"]
    actual: dict[str, Any] = step
    return actual


@pytest.mark.parametrize("mapped", [False, True], ids=["text", "automapSubstitutions"])
def test_a_step_attests_with_the_account_of_the_build(
    build: Build,
    metadata: Services,
    authority: Authority,
    emulator: Emulator,
    private: Pushed,
    mapped: bool,
) -> None:
    step = own_step()
    step["args"] = [*step["args"], "--check-registry", "--format=json"]
    with front(emulator.grpc_address, authority) as (doors, calls):
        build.environ.update(encrypted(build, authority) | doors)
        done = build.step(step, mapped)
    assert metadata.asked.wrong == []
    assert done.code == 0, done.log
    assert any(asked.endswith("/token") for asked in metadata.asked.steps)
    assert {"GetAttestor", "AsymmetricSign", "CreateOccurrence"} <= set(calls)

    [receipt] = done.document["receipts"]
    assert (receipt["image"], receipt["status"]) == (private.image, "created")
    assert BUILD_ID in receipt["build"]
    stored = read(emulator.grpc_address, receipt["occurrence"], ATTESTOR)
    assert stored.occurrence.resource_uri == f"https://{private.image}"
    assert build.output == done.document
    written = json.loads((build.folder / "workspace" / "receipts.json").read_text())
    assert written == done.document
    assert ACCESS_TOKEN not in done.log + json.dumps(written)


def test_a_record_in_the_workspace_is_found(
    build: Build, emulator: Emulator, private: Pushed
) -> None:
    """Substitutions that are variables tell that this is Cloud Build; nothing is named here."""
    (build.folder / "workspace" / "inspect.json").unlink()
    record = {"containerimage.digest": private.digest, "image.name": f"{private.name}:v1"}
    (build.folder / "workspace" / "metadata.json").write_text(json.dumps(record))
    build.environ["BINAUTHZ_EMULATOR_HOST"] = emulator.grpc_address
    arguments = ["attest", "--attestor=$_ATTESTOR", "--format=json"]
    done = build.step({"args": arguments, "env": []}, mapped=True)
    assert done.code == 0, done.log
    assert [receipt["image"] for receipt in done.document["receipts"]] == [private.image]


def test_without_the_builds_login_the_registry_says_no(build: Build, emulator: Emulator) -> None:
    """So the jobs above show that docker's configuration is read."""
    (build.folder / "builder" / "home" / ".docker" / "config.json").unlink()
    build.environ["BINAUTHZ_EMULATOR_HOST"] = emulator.grpc_address
    step = own_step()
    done = build.step(step | {"args": [*step["args"], "--check-registry", "--format=json"]})
    assert done.code == 4, done.log
    assert build.output["errors"] == done.document["errors"] != []


def test_a_hostile_substitution_stays_text(build: Build, emulator: Emulator) -> None:
    """Whoever names a branch must not name the image."""
    build.environ["BINAUTHZ_EMULATOR_HOST"] = emulator.grpc_address
    hostile = "x\n::set-output name=image::evil %0A\x1b[2J<img src=x>"
    build.substitutions.update(BRANCH_NAME=hostile, SHORT_SHA=hostile)
    step = own_step()
    done = build.step(step, mapped=True)
    assert done.code == 0, done.log
    build.substitutions["_IMAGE"] = f"{build.substitutions['_IMAGE']}{hostile}"
    refused = build.step(step, mapped=True)
    assert refused.code == 2, refused.log
    for text in (done.log, refused.log, json.dumps(build.output, ensure_ascii=False)):
        assert "\x1b" not in text
        assert "\n::" not in text
