"""`make image` finds an engine that answers, and gives it what it was given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from step import __version__
from tests.container.engine import ROOT
from tests.judges import FindTool


def make(path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it as on a machine with these commands."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--directory", str(ROOT), "--no-print-directory", "image", *arguments]
    return subprocess.run(
        command, env=kept | {"PATH": path}, capture_output=True, text=True, timeout=30
    )


def engine(folder: Path, name: str, answers: bool) -> None:
    """A command that says what it is given; one whose daemon is not there fails to inform."""
    path = folder / name
    path.write_text(
        f"#!/bin/sh\n[ $1 != info ] || exit {int(not answers)}\nprintf '%s\\n' {name} \"$@\"\n"
    )
    path.chmod(0o755)


@pytest.fixture
def folder(tool: FindTool, tmp_path: Path) -> Path:
    """A folder with nothing but what make itself needs."""
    for name in ("make", "bash", "sh", "sed", "git"):
        (tmp_path / name).symlink_to(tool(name))
    return tmp_path


def test_the_first_that_answers_builds(folder: Path) -> None:
    engine(folder, "docker", answers=False)
    engine(folder, "podman", answers=True)
    engine(folder, "buildah", answers=True)
    said = make(str(folder)).stdout.splitlines()
    assert said[:4] == ["podman", "build", "--tag", "localhost/binauthz-attest:dev"]
    # Bases that are not given are those of the Dockerfile.
    assert not [line for line in said if line.startswith(("BUILDER=", "RUNTIME="))]
    assert f"VERSION={__version__}" in said
    assert said[-1] == "."


def test_what_is_given_is_passed_on(folder: Path) -> None:
    engine(folder, "docker", answers=True)
    engine(folder, "buildah", answers=True)
    given = ["ENGINE=buildah", "BUILDER=a", "RUNTIME=b", "IMAGE=r.example/i:1", "SOURCE=https://s/"]
    said = make(str(folder), *given, "IMAGE_ARGS=--volume '/a b:/c:ro'").stdout.splitlines()
    assert said[:4] == ["buildah", "build", "--tag", "r.example/i:1"]
    assert {"BUILDER=a", "RUNTIME=b", "SOURCE=https://s/"} <= set(said)
    assert said[-3:] == ["--volume", "/a b:/c:ro", "."]


def test_without_an_engine_it_says_what_to_install(folder: Path) -> None:
    engine(folder, "docker", answers=False)
    done = make(str(folder))
    assert done.returncode != 0
    assert "none of these answers: docker podman buildah;" in done.stderr
    assert "apt install" in done.stderr
