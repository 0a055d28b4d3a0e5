"""gcloud as the command of an emulator, with no other setting."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.judges import FindTool
from tests.world import NOTE

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = f"{shlex.quote(sys.executable)} -m step"
SEED = str(ROOT / "examples" / "seed.yaml")


def shell(script: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script, with a gcloud that nobody has set up."""
    settings = {"CLOUDSDK_CONFIG": str(folder), "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true"}
    return subprocess.run(
        ["sh", "-c", script],
        cwd=ROOT,
        env=os.environ | settings | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_gcloud_lists_what_was_attested_as_the_readme_has_it(
    tool: FindTool, tmp_path: Path
) -> None:
    tool("gcloud")
    first, second = re.findall(
        r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    [export] = re.findall(r"^export .*\n", first, re.MULTILINE)
    script = export + second.replace(".venv/bin/binauthz-attest", PROGRAM)
    done = shell(script, tmp_path)
    assert done.returncode == 0, done.stderr
    [image] = re.findall(r"IMAGE=(\S+)", export)
    ours, _, listed = done.stdout.partition("\n---\n")
    assert ours.startswith(f"created {image}\n")
    [occurrence] = re.findall(r"occurrence +(\S+)", ours)
    assert f"\nname: {occurrence}\n" in listed
    assert f"\nresourceUri: https://{image}\n" in listed


def test_gcloud_goes_past_a_proxy_and_ends_the_emulator_with_its_exit_code(
    tool: FindTool, tmp_path: Path
) -> None:
    emulator = f"{PROGRAM} emulator --seed {shlex.quote(SEED)} -- {tool('gcloud')}"
    attestors = "container binauthz attestors"
    # Nothing listens where the proxy should be.
    proxy = {"http_proxy": "http://127.0.0.1:1", "no_proxy": "", "NO_PROXY": ""}
    describe = "describe built-by-ci --format='value(userOwnedGrafeasNote.noteReference)'"
    done = shell(f"{emulator} {attestors} {describe}", tmp_path, **proxy)
    assert (done.returncode, done.stdout) == (0, f"{NOTE}\n"), done.stderr
    done = shell(f"{emulator} {attestors} describe no-such", tmp_path, **proxy)
    assert (done.returncode, done.stdout) == (1, "")
    assert "NOT_FOUND" in done.stderr
