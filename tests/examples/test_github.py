"""The workflows of examples/github: their steps in order, the action's by the real program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.keys import PgpKind, pgp_secret
from tests.pipelines import EXAMPLES, ROOT, Machine, load, pipelines
from tests.policies import ALLOW, BLOCK, DENY, policy
from tests.runner import outputs
from tests.scans import scan, vulnerability
from tests.world import (
    ATTESTOR,
    DIGEST,
    IMAGE,
    KEY,
    PROJECT,
    VERSION,
    Result,
    World,
    attestor_seed,
    build_seed,
    pgp_seed,
)

pytestmark = pytest.mark.usefixtures("bash")

ACTION = load(ROOT / "action.yml")
OURS = "OWNER/binauthz-attest@main"
NAME = IMAGE.partition("@")[0]
SCANNED = f"projects/{PROJECT}/attestors/scanned"
SHA = re.compile(r"[\w./-]+@[0-9a-f]{40}")
EXPRESSION = re.compile(r"\$\{\{\s*([\w.]+)\s*\}\}")
# What the other actions put out, as far as a workflow here asks for it.
THEIRS = {
    "google-github-actions/auth": {"access_token": "ya29.token"},
    "docker/build-push-action": {
        "digest": DIGEST,
        "metadata": json.dumps({"containerimage.digest": DIGEST, "image.name": f"{NAME}:c0ffee"}),
    },
}


def require(*attestors: str) -> dict[str, Any]:
    rule = {"evaluationMode": "REQUIRE_ATTESTATION", "enforcementMode": BLOCK}
    return policy(
        DENY,
        clusterAdmissionRules={
            "europe-west1.prod": rule | {"requireAttestationsBy": [*attestors]},
            "europe-west1.test": ALLOW,
        },
    )


def seed(*attestors: str) -> dict[str, Any]:
    keys = [{"name": KEY, "algorithm": "EC_SIGN_P256_SHA256"}]
    listed = [attestor_seed({"kms": VERSION}, name=name)["attestors"][0] for name in attestors]
    return {"keys": keys, "attestors": listed, "policies": [require(*attestors)]}


class Workflow:
    """A run of a workflow: its jobs one after the other, until a step fails."""

    def __init__(
        self, world: World, folder: Path, patch: pytest.MonkeyPatch, name: str, **inputs: str
    ) -> None:
        self.world = world
        self.folder = folder
        self.patch = patch
        self.machine = Machine(folder, world)
        self.document = load(EXAMPLES / "github" / name)
        self.known = {
            "github.sha": "c0ffee",
            "github.ref": "refs/heads/main",
            **{f"inputs.{key}": value for key, value in inputs.items()},
        }
        self.replaced: dict[str, str] = {}
        self.results: list[Result] = []
        for key, value in self.document.get("env", {}).items():
            self.known[f"env.{key}"] = value

    def run(self) -> list[str]:
        """The jobs that succeeded."""
        done: list[str] = []
        for name, job in self.document["jobs"].items():
            needed = job.get("needs")
            assert needed is None or needed in done, "jobs stand in the order that they need"
            if not all(map(self._step, job["steps"])):
                break
            for key, value in job.get("outputs", {}).items():
                self.known[f"needs.{name}.outputs.{key}"] = self._resolved(value)
            self.known = {k: v for k, v in self.known.items() if not k.startswith("steps.")}
            done.append(name)
        return done

    def _resolved(self, text: str) -> str:
        return EXPRESSION.sub(lambda match: self.known[match[1]], text)

    def _step(self, step: dict[str, Any]) -> bool:
        environ = self.document.get("env", {}) | step.get("env", {})
        environ = {key: self._resolved(value) for key, value in environ.items()}
        given = {key: self._resolved(value) for key, value in step.get("with", {}).items()}
        file = self.folder / "outputs"
        file.write_text("")
        put: dict[str, str] = {}
        if step.get("uses") == OURS:
            succeeded = self._attest(given | self.replaced, environ, file)
        elif "run" in step:
            environ |= {"GITHUB_OUTPUT": str(file), **self._credentials()}
            succeeded = self.machine.run(step["run"], ROOT, **environ) == 0
        else:
            assert SHA.fullmatch(step["uses"]), "an action is pinned by its commit"
            if step["uses"].startswith("google-github-actions/deploy-cloudrun@"):
                self.deployed = given
            put, succeeded = THEIRS.get(step["uses"].partition("@")[0], {}), True
        for key, value in (put | outputs(file.read_text())).items():
            self.known[f"steps.{step.get('id')}.outputs.{key}"] = value
        return succeeded

    def _credentials(self) -> dict[str, str]:
        file = self.folder / "gha-creds-0.json"
        file.write_text("{}")
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}

    def _attest(self, given: dict[str, str], environ: dict[str, str], file: Path) -> bool:
        """The action, as the runner starts it: without arguments, every input in a variable."""
        defaults = {key: each.get("default", "") for key, each in ACTION["inputs"].items()}
        assert set(given) <= set(defaults)
        with self.patch.context() as patch:
            for key, value in (defaults | given).items():
                patch.setenv(f"INPUT_{key.upper()}", value)
            for key, value in environ.items():
                patch.setenv(key, value)
            patch.setenv("GITHUB_ACTIONS", "true")
            patch.setenv("GITHUB_OUTPUT", str(file))
            patch.chdir(ROOT)
            self.results.append(self.world.run())
        return self.results[-1].code == 0


@pytest.fixture
def start(
    make_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Workflow]:
    def make(name: str, seed: dict[str, Any], **inputs: str) -> Workflow:
        return Workflow(make_world(seed), tmp_path, monkeypatch, name, **inputs)

    return make


def test_to_gke(start: Callable[..., Workflow]) -> None:
    workflow = start("gke.yml", seed(ATTESTOR))
    assert workflow.run() == ["attest", "deploy"]
    assert workflow.machine.calls("kubectl") == [
        ["set", "image", "deployment/web", f"web={IMAGE}"],
        ["rollout", "status", "deployment/web", "--timeout=5m"],
    ]


def test_to_gke_only_what_its_policy_admits(start: Callable[..., Workflow]) -> None:
    workflow = start("gke.yml", seed(ATTESTOR, SCANNED))
    assert workflow.run() == []
    assert [result.code for result in workflow.results] == [3]
    assert workflow.machine.calls("kubectl") == []


def test_a_job_without_the_image_deploys_nothing(start: Callable[..., Workflow]) -> None:
    workflow = start("gke.yml", seed(ATTESTOR))
    [script] = [
        step["run"] for step in workflow.document["jobs"]["deploy"]["steps"] if "run" in step
    ]
    assert workflow.machine.run(script, IMAGE="") != 0
    assert workflow.machine.calls("kubectl") == []


def test_to_gke_with_kustomize(start: Callable[..., Workflow]) -> None:
    workflow = start("kustomize.yml", seed(ATTESTOR), image=IMAGE)
    [script] = [
        step["run"] for step in workflow.document["jobs"]["deploy"]["steps"] if "run" in step
    ]
    overlay = workflow.folder / "deploy" / "prod"
    overlay.mkdir(parents=True)
    (overlay / "kustomization.yaml").touch()
    assert workflow.machine.run(script, IMAGE=IMAGE, OVERLAY="deploy/prod") == 0
    assert workflow.machine.calls("kustomize") == [["edit", "set", "image", f"web={IMAGE}"]]
    assert workflow.machine.run(script, IMAGE=f"{NAME}:v1", OVERLAY="deploy/prod") != 0
    assert len(workflow.machine.calls("kustomize")) == 1


def test_to_cloud_run(start: Callable[..., Workflow]) -> None:
    workflow = start("cloud-run.yml", seed(ATTESTOR))
    # All of the platforms takes a registry that has them.
    workflow.replaced = {"platforms": "index"}
    assert workflow.run() == ["attest", "deploy"]
    assert workflow.deployed["image"] == IMAGE
    assert workflow.deployed["flags"] == "--binary-authorization=default"
    [step] = [s for s in workflow.document["jobs"]["attest"]["steps"] if s.get("uses") == OURS]
    assert step["with"]["platforms"] == "all"


def test_with_an_openpgp_key(start: Callable[..., Workflow]) -> None:
    workflow = start("pgp.yml", pgp_seed(PgpKind.RSA))
    secret = pgp_secret(PgpKind.RSA, passphrase="un deux").decode()
    workflow.known["secrets.BINAUTHZ_PGP_PRIVATE_KEY"] = secret
    workflow.known["secrets.BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE"] = "un deux"
    assert workflow.run() == ["attest"]
    assert workflow.world.count("CreateOccurrence") == 1


@pytest.mark.parametrize(("severity", "jobs", "created"), [(2, ["attest"], 2), (5, [], 1)])
def test_behind_gates(
    start: Callable[..., Workflow], severity: int, jobs: list[str], created: int
) -> None:
    both = seed(ATTESTOR, SCANNED) | {"builds": build_seed()["builds"]}
    rules = both["policies"][0]["clusterAdmissionRules"]
    assert rules["europe-west1.prod"]["requireAttestationsBy"] == [ATTESTOR, SCANNED]
    workflow = start("gates.yml", both)
    scan(workflow.world)
    vulnerability(workflow.world, severity=severity)
    assert workflow.run() == jobs
    assert workflow.world.count("CreateOccurrence") == created
    assert [result.code for result in workflow.results] == [0, 0 if jobs else 3]


def test_a_build_of_another_project_is_not_signed(start: Callable[..., Workflow]) -> None:
    workflow = start("gates.yml", seed(ATTESTOR, SCANNED) | {"builds": build_seed()["builds"]})
    workflow.replaced = {"trusted_project": "their-project"}
    assert workflow.run() == []
    assert [result.code for result in workflow.results] == [3]
    assert not workflow.world.wrote


def test_by_hand_only_what_is_attested(start: Callable[..., Workflow]) -> None:
    workflow = start("verify.yml", seed(ATTESTOR), image=IMAGE)
    assert workflow.run() == []
    assert workflow.machine.calls("gcloud") == []
    workflow.world.attest()
    assert workflow.run() == ["verify", "deploy"]
    [deploy] = workflow.machine.calls("gcloud")
    assert deploy[:4] == ["run", "services", "update", "web"]
    assert {f"--image={IMAGE}", "--binary-authorization=default"} <= set(deploy)


@pytest.mark.parametrize(
    ("policies", "attested"), [([policy(ALLOW)], False), ([policy(DENY)], True)]
)
def test_by_hand_both_questions_count(
    start: Callable[..., Workflow], policies: list[dict[str, Any]], attested: bool
) -> None:
    workflow = start("verify.yml", seed(ATTESTOR) | {"policies": policies}, image=IMAGE)
    if attested:
        workflow.world.attest()
    assert workflow.run() == []
    assert workflow.machine.calls("gcloud") == []


@pytest.mark.parametrize("path", pipelines("github"), ids=lambda path: path.name)
def test_no_job_may_more_than_it_needs(path: Path) -> None:
    document = load(path)
    assert document["permissions"] == {}
    for job in document["jobs"].values():
        checks_out = any("actions/checkout@" in step.get("uses", "") for step in job["steps"])
        assert job["permissions"] == {"id-token": "write"} | (
            {"contents": "read"} if checks_out else {}
        )


@pytest.mark.parametrize("path", pipelines("github"), ids=lambda path: path.name)
def test_outputs_are_those_of_the_action(path: Path) -> None:
    for name, job in load(path)["jobs"].items():
        ours = {step["id"] for step in job["steps"] if step.get("uses") == OURS and "id" in step}
        asked = re.findall(r"steps\.(\w+)\.outputs\.(\w+)", json.dumps(job))
        unknown = [put for step, put in asked if step in ours and put not in ACTION["outputs"]]
        assert unknown == [], name
