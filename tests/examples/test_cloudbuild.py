"""The configurations of examples/cloudbuild, step by step: the program really attests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines import EXAMPLES, PROGRAM, Machine, pipelines, substituted
from tests.policies import BLOCK, DENY, policy
from tests.world import DIGEST, IMAGE, KEY, PROJECT, VERSION, World, attestor_seed, build_seed

pytestmark = pytest.mark.usefixtures("bash")

ATTESTOR = f"projects/{PROJECT}/attestors/built-by-cloud-build"
REQUIRE = {
    "evaluationMode": "REQUIRE_ATTESTATION",
    "enforcementMode": BLOCK,
    "requireAttestationsBy": [ATTESTOR],
}
POLICY = policy(DENY, clusterAdmissionRules={"europe-west1.prod": REQUIRE})
TRIGGER = "7f3c8f0e-6f0b-4d59-8a8f-0f6d4d1e2b10"
# What the entrypoint of an image is, where a step gives none.
ENTRYPOINTS = {
    "gcr.io/cloud-builders/docker": "docker",
    "gcr.io/kaniko-project/executor": "executor",
    "docker.io/buildpacksio/pack": "pack",
}


def seed() -> dict[str, Any]:
    keys = [{"name": KEY, "algorithm": "EC_SIGN_P256_SHA256"}]
    return attestor_seed({"kms": VERSION}, keys=keys, name=ATTESTOR) | {"policies": [POLICY]}


class Build:
    """A build: its steps one after the other, as long as they succeed."""

    def __init__(self, world: World, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        self.output = folder / "output"
        self.output.mkdir()
        self.machine = Machine(folder, world)
        patch.setenv("BUILDER_OUTPUT", str(self.output))
        self.patch = patch

    def run(self, name: str, **changes: str) -> list[str]:
        """The ids of the steps that succeeded."""
        done = []
        document = substituted(EXAMPLES / "cloudbuild" / name, **changes)
        text = json.dumps(document["steps"]).replace("/workspace", str(self.workspace))
        for step in json.loads(text):
            if self._step(step) != 0:
                break
            done.append(step["id"])
        return done

    def _step(self, step: dict[str, Any]) -> int:
        if step["name"] == PROGRAM:
            with self.patch.context() as patch:
                for variable in step["env"]:
                    patch.setenv(*variable.split("="))
                return self.world.run(*step["args"]).code
        tool = step.get("entrypoint") or ENTRYPOINTS[step["name"].partition(":")[0]]
        return self.machine.start([tool, *step["args"]], self.workspace, {})


@pytest.fixture
def build(
    make_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Build:
    return Build(make_world(seed()), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("docker.yaml", {}),
        # All of the platforms takes a registry that has them.
        ("buildx.yaml", {"_ATTESTED": "index"}),
        ("buildpacks.yaml", {}),
    ],
)
def test_to_cloud_run(build: Build, name: str, changes: dict[str, str]) -> None:
    steps = build.run(name, **changes)
    assert steps[-2:] == ["attest", "deploy"]
    assert build.world.count("CreateOccurrence") == 1
    [deploy] = build.machine.calls("gcloud")
    assert deploy[:3] == ["run", "deploy", "web"]
    assert f"--image={IMAGE}" in deploy
    assert "--binary-authorization=default" in deploy
    stored = json.loads((build.output / "output").read_text())
    assert [receipt["build"] for receipt in stored["receipts"]] == ["b-1"]


def test_to_gke(build: Build) -> None:
    assert build.run("kaniko.yaml") == ["build", "attest", "deploy"]
    assert ["set", "image", "deployment/web", f"web={IMAGE}"] in build.machine.calls("kubectl")


def test_to_gke_only_what_its_policy_admits(build: Build) -> None:
    assert build.run("kaniko.yaml", _CLUSTER="test") == ["build"]
    assert build.machine.calls("kubectl") == []


@pytest.mark.parametrize("path", pipelines("cloudbuild"), ids=lambda path: path.name)
def test_what_is_not_attested_is_not_deployed(build: Build, path: Path) -> None:
    build.world.emulator.fail("CreateOccurrence=PERMISSION_DENIED")
    changes = {"_ATTESTED": "index"} if path.name == "buildx.yaml" else {}
    steps = build.run(path.name, **changes)
    assert not {"attest", "deploy"} & set(steps)
    assert build.machine.calls("gcloud") + build.machine.calls("kubectl") == []


def test_the_deploying_step_wants_one_receipt(build: Build) -> None:
    steps = substituted(EXAMPLES / "cloudbuild" / "docker.yaml")["steps"]
    script = steps[-1]["args"][-1].replace("/workspace", str(build.workspace))
    for receipts in ([], [{"image": IMAGE}, {"image": IMAGE}]):
        (build.workspace / "receipts.json").write_text(json.dumps({"receipts": receipts}))
        assert build.machine.run(script) != 0
    assert build.machine.calls("gcloud") == []


@pytest.mark.parametrize(("trigger", "done"), [(TRIGGER, ["attest"]), ("another", [])])
def test_a_finished_build_is_attested_if_its_trigger_is_trusted(
    make_world: Callable[..., World],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trigger: str,
    done: list[str],
) -> None:
    builds = build_seed(buildTriggerId=trigger)["builds"]
    build = Build(make_world(seed() | {"builds": builds}), tmp_path, monkeypatch)
    assert build.run("after-build.yaml", _BUILD=builds[0]["id"]) == done
    assert build.world.wrote is bool(done)


def test_both_platforms_and_the_index_are_what_buildx_attests() -> None:
    steps = substituted(EXAMPLES / "cloudbuild" / "buildx.yaml")["steps"]
    assert "--platforms=all" in steps[1]["args"]
    assert DIGEST not in json.dumps(steps)
