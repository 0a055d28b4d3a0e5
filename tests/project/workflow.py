"""A run of a workflow of this repository, the action's steps by the real program."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipelines import load
from tests.runner import outputs
from tests.world import Result, World

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
ACTION = load(ROOT / "action.yml")
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


@dataclass
class Run:
    """What is known so far, by the name that an expression has for it."""

    world: World
    patch: pytest.MonkeyPatch
    folder: Path
    path: Path
    known: dict[str, str]
    theirs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What the actions of others put out."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Inputs of the action that are to be others than the workflow's."""
    environ: Mapping[str, str] = field(default_factory=dict)
    checkout: Callable[[Path], object] = lambda _: None
    """Fills the workspace of a job."""
    images: list[str] = field(default_factory=list)
    """What ran the action, each time."""
    commands: list[str] = field(default_factory=list)
    """What it was to do."""
    results: list[Result] = field(default_factory=list)

    def job(self, name: str, *, without: tuple[str, ...] = ()) -> bool:
        """Run a job, but for the steps of these names; whether it succeeded."""
        document = load(self.path)
        job = document["jobs"][name]
        self._learn("env", {**document.get("env", {}), **job.get("env", {})})
        workspace = self.folder / f"{name}-{len(list(self.folder.iterdir()))}"
        workspace.mkdir()
        for step in job["steps"]:
            key = step.get("id")
            if step.get("if") == "failure()" or step.get("name") in without:
                continue
            succeeded, put = self._step(step, workspace)
            self._learn(f"steps.{key}.outputs", put)
            self.known[f"steps.{key}.outcome"] = "success" if succeeded else "failure"
            if not succeeded and "continue-on-error" not in step:
                return False
        self._learn(f"needs.{name}.outputs", job.get("outputs", {}))
        self.known = {key: v for key, v in self.known.items() if not key.startswith("steps.")}
        return True

    def _learn(self, prefix: str, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            self.known[f"{prefix}.{key}"] = self._resolved(value)

    def _resolved(self, text: str) -> str:
        """GitHub takes an output that a step did not put out for an empty text."""

        def value(match: re.Match[str]) -> str:
            step, output, _ = match[1].partition(".outputs.")
            if output and any(key.startswith(f"{step}.") for key in self.known):
                return self.known.get(match[1], "")
            return self.known[match[1]]

        return EXPRESSION.sub(value, text)

    def _step(self, step: dict[str, Any], workspace: Path) -> tuple[bool, dict[str, str]]:
        own = {key[4:]: value for key, value in self.known.items() if key.startswith("env.")}
        own |= {key: self._resolved(value) for key, value in step.get("env", {}).items()}
        given = {key: self._resolved(value) for key, value in step.get("with", {}).items()}
        file = self.folder / "outputs"
        file.write_text("")
        succeeded = True
        if step.get("uses") == "./":
            succeeded = self._action(workspace, given | dict(self.replaced), own, file)
        elif "run" in step:
            own |= {"GITHUB_OUTPUT": str(file), "GITHUB_WORKSPACE": str(workspace)}
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            environ = {**self.environ, **own}
            done = subprocess.run(
                command, cwd=workspace, env=environ, capture_output=True, check=False
            )
            succeeded = done.returncode == 0
        elif step["uses"].startswith("actions/checkout@"):
            self.checkout(workspace)
        put = dict(self.theirs.get(step.get("uses", "").partition("@")[0], {}))
        return succeeded, put | outputs(file.read_text())

    def _action(
        self, workspace: Path, given: dict[str, str], own: dict[str, str], file: Path
    ) -> bool:
        """The action, as the runner starts it: every input in a variable, no argument but `args`.

        https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstepswithargs
        """
        arguments = given.pop("args", "").split()
        action = workspace / "action.yml"
        actual = yaml.safe_load(action.read_text()) if action.exists() else ACTION
        self.images.append(actual["runs"]["image"])
        defaults = {key: each.get("default", "") for key, each in ACTION["inputs"].items()}
        assert set(given) <= set(defaults)
        inputs = {**defaults, **given}
        self.commands.append(arguments[0] if arguments else inputs["command"])
        with self.patch.context() as patch:
            for key, value in inputs.items():
                patch.setenv(f"INPUT_{key.upper()}", value)
            for key, value in own.items():
                patch.setenv(key, value)
            patch.setenv("GITHUB_ACTIONS", "true")
            patch.setenv("GITHUB_OUTPUT", str(file))
            patch.chdir(workspace)
            self.results.append(self.world.run(*arguments))
        return self.results[-1].code == 0
