"""The pipelines of examples/: their scripts, and tools that stand in for what a CI has."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.world import DIGEST, World

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
TOOLS = ("docker", "executor", "buildah", "pack", "gcloud", "kubectl", "kustomize", "helm")
PROGRAM = "europe-docker.pkg.dev/my-project/tools/binauthz-attest@sha256:DIGEST"
_DOLLAR = re.compile(r"\$\$|\$\{(\w+)\}|\$(\w+)")


def load(path: Path) -> dict[str, Any]:
    """A pipeline; `on` of a workflow is a word here, as GitHub reads it."""
    actual = yaml.load(path.read_text(), yaml.BaseLoader)  # noqa: S506 - it makes texts only
    assert isinstance(actual, dict)
    return actual


def pipelines(*folders: str) -> list[Path]:
    """The pipeline files of these folders of examples/."""
    actual = [path for folder in folders for path in sorted((EXAMPLES / folder).glob("*.y*ml"))]
    return [path for path in actual if path.name != "vulnerabilities.yaml"]


@dataclass(frozen=True)
class Script:
    """A script in an example, and the shell that runs it there."""

    name: str
    text: str
    shell: str = "bash"

    def __str__(self) -> str:
        return self.name


def scripts() -> Iterator[Script]:
    """Every script of the examples, those in the pipelines included."""
    for path in sorted(EXAMPLES.rglob("*.sh")):
        yield Script(path.relative_to(EXAMPLES).as_posix(), path.read_text())
    for folder, within in _WITHIN.items():
        for path in pipelines(folder):
            yield from within(path)


def _of_github(path: Path) -> Iterator[Script]:
    for name, job in load(path)["jobs"].items():
        for step in job["steps"]:
            if "run" in step:
                yield Script(f"{path.name}:{name}:{step['name']}", step["run"])


def _of_cloud_build(path: Path) -> Iterator[Script]:
    for step in substituted(path)["steps"]:
        if (shell := step.get("entrypoint")) in ("bash", "sh"):
            yield Script(f"{path.name}:{step['id']}", step["args"][-1], shell)


def _of_circleci(path: Path) -> Iterator[Script]:
    for name, job in load(path)["jobs"].items():
        for step in job["steps"]:
            if run := isinstance(step, dict) and step.get("run"):
                yield Script(f"{path.name}:{name}:{run['name']}", run["command"])


def _of_gitlab(path: Path) -> Iterator[Script]:
    for name, job in load(path).items():
        if isinstance(job, dict) and "script" in job:
            yield Script(f"{path.name}:{name}", "\n".join(job["script"]), "sh")


_WITHIN = {
    "github": _of_github,
    "cloudbuild": _of_cloud_build,
    "circleci": _of_circleci,
    "gitlab": _of_gitlab,
}


def substituted(path: Path, **changes: str) -> dict[str, Any]:
    """A Cloud Build configuration with its substitutions in place.

    An unknown name is an error, as it is there without ALLOW_LOOSE; and so is one that is declared
    and used nowhere:
    https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values
    """
    document = load(path)
    own = document.pop("substitutions", {}) | changes
    values = {"PROJECT_ID": "my-project", "BUILD_ID": "b-1", "LOCATION": "europe-west1"}
    used: set[str] = set()

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        used.add(name := match[1] or match[2])
        return values[name]

    for name, value in own.items():
        values[name] = _DOLLAR.sub(replace, value)
    used.clear()

    def walk(node: Any) -> Any:
        match node:
            case dict():
                return {key: walk(value) for key, value in node.items()}
            case list():
                return [walk(value) for value in node]
            case _:
                return _DOLLAR.sub(replace, node)

    actual = walk(document)
    assert isinstance(actual, dict)
    assert set(own) <= used, "a substitution that is declared and not used"
    return actual


class Machine:
    """A folder, tools on PATH that log how they were called, and the emulator's address."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.touch()
        programs = folder / "bin"
        programs.mkdir()
        stand_in = Path(__file__).with_name("stand_in.py")
        for tool in TOOLS:
            program = programs / tool
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{stand_in}" {tool} "$@"\n')
            program.chmod(0o755)
        (programs / "python3").symlink_to(sys.executable)
        self.environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LOG": str(self.log),
            "DIGEST": DIGEST,
            "BINAUTHZ_EMULATOR_HOST": world.emulator.grpc_address,
        }

    def run(self, script: str, cwd: Path | None = None, **environ: str) -> int:
        """Run a script as the CI does, where a command that fails ends it; returns its code."""
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return self.start(command, cwd or self.folder, environ)

    def start(self, command: list[str], cwd: Path, environ: Mapping[str, str]) -> int:
        """Run a command with the tools on PATH; returns its code."""
        done = subprocess.run(
            command, cwd=cwd, env=self.environ | dict(environ), capture_output=True, check=False
        )
        assert b"Traceback" not in done.stderr or done.returncode, done.stderr
        return done.returncode

    def calls(self, tool: str) -> list[list[str]]:
        """The arguments of every call of a tool so far."""
        lines = map(json.loads, self.log.read_text().splitlines())
        return [arguments for name, *arguments in lines if name == tool]
