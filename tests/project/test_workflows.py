"""The workflows and cloudbuild.yaml may no more than they need, and do what they say."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from step.emulator import Emulator, Seed
from tests.pipelines import Machine, Script, load, substituted
from tests.project.workflow import ACTION, EXPRESSION, ROOT, WORKFLOWS, Run
from tests.world import DIGEST, IMAGE, KEY, PROJECT, VERSION, FakeClock, World, attestor_seed

PATHS = sorted(WORKFLOWS.iterdir())
CLOUD_BUILD = ROOT / "cloudbuild.yaml"
IDENTITY = "google-github-actions/auth@"


def jobs() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{p.stem}:{name}", job) for p in PATHS for name, job in load(p)["jobs"].items()]


every_job = pytest.mark.parametrize("job", dict(jobs()).values(), ids=dict(jobs()))
every_workflow = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)


def cloud_build() -> dict[str, Any]:
    """cloudbuild.yaml, in a build that a trigger started."""
    return substituted(CLOUD_BUILD, _IMAGE=IMAGE.partition("@")[0], COMMIT_SHA="c0ffee")


def scripts() -> Iterator[Script]:
    for name, job in jobs():
        for step in job["steps"]:
            if "run" in step:
                yield Script(f"{name}:{step['name']}", step["run"])
    for step in cloud_build()["steps"]:
        if step.get("entrypoint") == "bash":
            yield Script(f"cloudbuild:{step['id']}", step["args"][-1])


def test_the_workflows_are_these() -> None:
    assert [path.name for path in PATHS] == ["ci.yml", "release.yml"]


@every_workflow
def test_an_action_is_pinned_by_commit_and_says_its_version(path: Path) -> None:
    used = re.findall(r"^\s*(?:- )?uses: (.*)$", path.read_text(), re.MULTILINE)
    assert len(used) == sum(
        "uses" in step for j in load(path)["jobs"].values() for step in j["steps"]
    )
    for each in used:
        assert re.fullmatch(r"\./ # .+|[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)


def test_an_action_has_the_same_commit_wherever_it_is_used() -> None:
    examples = sorted((ROOT / "examples" / "github").glob("*.yml"))
    texts = [path.read_text() for path in [*PATHS, *examples]]
    used = {each for text in texts for each in re.findall(r"uses: (\S+@[0-9a-f]{40} # \S+)", text)}
    names = [each.partition("@")[0] for each in used]
    assert sorted(names) == sorted(set(names))


@every_workflow
def test_nobody_outside_starts_a_workflow_with_rights(path: Path) -> None:
    document = load(path)
    assert document["permissions"] == {}
    assert document["defaults"] == {"run": {"shell": "bash"}}
    assert set(document["concurrency"]) == {"group", "cancel-in-progress"}
    assert set(document["on"]) <= {"push", "pull_request"}
    secret = re.compile(r"secrets\.|secrets:")
    assert not secret.search(path.read_text())


@every_job
def test_a_job_ends_and_has_the_permissions_that_its_steps_need(job: dict[str, Any]) -> None:
    assert 0 < int(job["timeout-minutes"]) <= 60
    used = " ".join(step.get("uses", "") for step in job["steps"])
    said = " ".join(step.get("run", "") for step in job["steps"])
    needed = {
        "contents": "write" if "gh release" in said else "read" * ("actions/checkout@" in used),
        "id-token": "write" * (IDENTITY in used),
        "attestations": "write" * ("actions/attest-build-provenance@" in used),
    }
    assert job["permissions"] == {key: value for key, value in needed.items() if value}


@every_job
def test_a_checkout_leaves_no_token_behind(job: dict[str, Any]) -> None:
    for step in job["steps"]:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


@every_job
def test_what_is_asked_of_another_job_or_step_is_there(job: dict[str, Any]) -> None:
    """An expression that names nothing is an empty text to GitHub, and no error."""
    needed = job.get("needs", [])
    needed = [needed] if isinstance(needed, str) else needed
    known = {name.partition(":")[2]: each for name, each in jobs()}
    before = {step["id"]: step for step in job["steps"] if "id" in step}
    for expression in EXPRESSION.findall(json.dumps(job)):
        match expression.split("."):
            case ["needs", other, "outputs", output]:
                assert other in needed
                assert output in known[other]["outputs"]
            case ["steps", step, "outputs", output]:
                if before[step].get("uses") == "./":
                    assert output in ACTION["outputs"]
                elif "run" in before[step]:
                    assert f'"{output}=' in before[step]["run"]
            case ["steps", step, "outcome"]:
                assert step in before
            case ["env" | "vars" | "matrix", _] | ["github", "token"]:
                pass
            case other:
                pytest.fail(f"unexpected: {other}")


@pytest.mark.parametrize("script", list(scripts()), ids=str)
def test_a_script_holds_no_expression_and_can_be_read(script: Script) -> None:
    assert "${{" not in script.text
    subprocess.run(["bash", "-n", "-c", script.text], check=True)


def test_shellcheck_finds_nothing(tool: Callable[[str], str], tmp_path: Path) -> None:
    head = "#!/bin/bash\nset -eo pipefail\n"
    for number, script in enumerate(scripts()):
        (tmp_path / f"{number}.sh").write_text(f"{head}# {script}\n{script.text}")
    files = sorted(map(str, tmp_path.iterdir()))
    assert len(files) > 10
    own = [str(path) for path in (ROOT / ".ci").iterdir()]
    command = [tool("shellcheck"), *files, *own]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def test_every_version_of_python_that_is_promised_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = re.findall(r"Python :: (3\.\d+)\b", " ".join(project["classifiers"]))
    tested = load(WORKFLOWS / "ci.yml")["jobs"]["python"]["strategy"]["matrix"]["python"]
    assert tested == promised
    assert project["requires-python"] == f">={promised[0]}"


def run_of_ci(
    folder: Path, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch, seed: Seed
) -> bool:
    """The job of the container, where the emulator is another process; here it is not."""
    clock = FakeClock()
    with Emulator(seed, now=clock.now) as emulator:
        run = Run(
            World(emulator, clock, capture),
            patch,
            folder,
            WORKFLOWS / "ci.yml",
            {"steps.emulator.outputs.address": emulator.grpc_address},
            environ={"PATH": "/usr/bin:/bin"},
        )
        ended = run.job("container", without=("Build the image", "Start the emulator"))
        assert set(run.images) == {"Dockerfile"}
        assert [result.code for result in run.results] == [0, 0, 3]
        assert emulator.calls.count("CreateOccurrence") == 1
    return ended


def test_the_action_in_ci_has_the_outputs_that_are_looked_for(
    tool: Callable[[str], str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tool("jq")
    workflow = (WORKFLOWS / "ci.yml").read_text()
    [seed] = re.findall(r'--volume "\$PWD/(\S+):/seed\.yaml:ro"', workflow)
    assert run_of_ci(tmp_path, capfd, monkeypatch, Seed.load(ROOT / seed))


class Build:
    """A run of cloudbuild.yaml: the steps of its own image by the real program."""

    def __init__(self, world: World, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.patch = patch
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        self.machine = Machine(folder, world)
        patch.setenv("BUILDER_OUTPUT", str(self.workspace))

    def run(self) -> list[str]:
        document = cloud_build()
        text = json.dumps(document["steps"]).replace("/workspace", str(self.workspace))
        done = []
        for step in json.loads(text):
            if self._step(step) != 0:
                break
            done.append(step["id"])
        return done

    def _step(self, step: dict[str, Any]) -> int:
        own = step["name"] == f"{IMAGE.partition('@')[0]}:b-1"
        if own and "entrypoint" in step:
            # The tour has a test of its own.
            return 0 if (ROOT / step["args"][0]).exists() else 1
        if own:
            with self.patch.context() as patch:
                for variable in step.get("env", ()):
                    patch.setenv(*variable.split("="))
                return self.world.run(*step["args"]).code
        tool = step.get("entrypoint", "docker")
        return self.machine.start([tool, *step["args"]], self.workspace, {})


@pytest.fixture
def build(
    make_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Build:
    attestor = f"projects/{PROJECT}/attestors/built-by-cloud-build"
    keys = [{"name": KEY, "algorithm": "EC_SIGN_P256_SHA256"}]
    seed = attestor_seed({"kms": VERSION}, keys=keys, name=attestor)
    return Build(make_world(seed), tmp_path, monkeypatch)


def test_cloud_build_attests_the_image_with_itself(build: Build) -> None:
    assert build.run() == ["build", "try", "demo", "push", "attest", "gate"]
    [receipt] = json.loads((build.workspace / "receipts.json").read_text())["receipts"]
    assert (receipt["digest"], receipt["build"]) == (DIGEST, "b-1")


def test_cloud_build_ends_at_what_is_not_attested(build: Build) -> None:
    build.world.emulator.fail("CreateOccurrence=PERMISSION_DENIED")
    assert build.run() == ["build", "try", "demo", "push"]
