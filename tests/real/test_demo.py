"""The tour of `make demo` goes as it tells, and leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.judges import FindTool

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo" / "run.py"
PEM = "-----BEGIN"

pytestmark = pytest.mark.timeout(300)


def run_demo(path: str, folder: Path) -> str:
    """Run the demo with a PATH, in a temporary directory that must be empty again at its end."""
    # The variables of a CI, which the demo must neither obey nor write to.
    output = folder / "github-output"
    output.touch()
    github = {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(output), "INPUT_FORMAT": "json"}
    # Not in the test's own folder: its path can be too long for the socket of gpg's agent.
    with TemporaryDirectory(prefix="demo-") as temporary:
        done = subprocess.run(
            [sys.executable, DEMO],
            env=os.environ | github | {"PATH": path, "TMPDIR": temporary},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert list(Path(temporary).iterdir()) == []
    assert done.returncode == 0, done.stdout + done.stderr
    assert output.read_text() == ""
    return done.stdout + done.stderr


def check_story(output: str) -> None:
    """Everything that the tour promises is seen, each refusal by its exit code."""
    assert "waiting until the attestation can be read back" in output
    assert output.count("\n  created registry.example.com/shop/web@sha256:") == 2
    assert output.count("\n  existing registry.example.com/shop/web@sha256:") == 1
    assert output.count("\n  dry-run registry.example.com/shop/web@sha256:") == 1
    assert output.count("(exit code 3)") == 2
    assert "does not list the public half of this private key" in output
    assert "the given signature does not verify for this payload" in output
    assert "3 attestations were stored" in output
    assert PEM not in output
    assert "Traceback" not in output


def test_it_goes_as_told_and_shows_no_secret(tool: FindTool, tmp_path: Path) -> None:
    """A gpg that notes what it is called with and given knows the passphrase, as we do not."""
    tools, noted, passphrases = tmp_path / "bin", tmp_path / "noted", tmp_path / "passphrases"
    tools.mkdir()
    spy = tools / "gpg"
    spy.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {shlex.quote(str(noted))}\n'
        'previous=\nfor one in "$@"; do\n'
        f'  [ "$previous" = --passphrase-file ] && cat "$one" > {shlex.quote(str(passphrases))}\n'
        "  previous=$one\ndone\n"
        f'exec {shlex.quote(tool("gpg"))} "$@"\n'
    )
    spy.chmod(0o755)
    output = run_demo(f"{tools}{os.pathsep}{os.environ['PATH']}", tmp_path)
    check_story(output)
    assert "--pgp-passphrase-file passphrase" in output
    passphrase = passphrases.read_text()
    assert len(passphrase) > 10
    assert passphrase not in output
    assert passphrase not in noted.read_text()


def test_without_gpg_it_says_so_and_goes_on(tmp_path: Path) -> None:
    output = run_demo(str(tmp_path), tmp_path)
    check_story(output)
    assert "PGP key has no passphrase" in output
    assert "--pgp-passphrase-file" not in output
