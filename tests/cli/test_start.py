"""A start imports what the run needs, and nothing else: imports are nine tenths of a run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from tests.world import ATTESTOR, IMAGE, World

# What a plain run needs none of, each worth milliseconds or megabytes.
LEFT_OUT = (
    "google.cloud.devtools",
    "html",
    "pydantic",
    "pysequoia",
    "rich",
    "step.cloud.builds",
    "step.cloud.policies",
    "step.cloud.provenance",
    "step.cloud.scans",
    "step.discovery.records",
    "step.registry.client",
    "step.emulator",
    "step.evaluate",
    "step.model.admission",
    "step.model.build",
    "step.model.policy",
    "step.model.provenance",
    "step.model.vulnerability",
    "step.preconditions",
    "step.preconditions.build",
    "step.preconditions.scan",
    "tomllib",
    "yaml",
)
RUN = """
import sys
from step.__main__ import run
code = run()
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""


def modules(*arguments: str) -> set[str]:
    """What a run of the program, in a process of its own, has imported by its end."""
    # What measures coverage imports much on its own account.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-c", RUN, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return set(done.stderr.splitlines()[-1].split())


def test_every_name_is_a_module() -> None:
    """One that was renamed would be left out for ever."""
    gone = {name for name in LEFT_OUT if importlib.util.find_spec(name) is None}
    assert gone <= {"pydantic"}


def test_a_plain_run_imports_what_it_needs(kms_world: World) -> None:
    imported = modules("attest", IMAGE, "--attestor", ATTESTOR)
    assert {"google.cloud.kms_v1", "step.signing.kms", "typer"} <= imported
    assert [name for name in LEFT_OUT if name in imported] == []
    assert kms_world.count("CreateOccurrence") == 1


def test_help_imports_no_client(kms_world: World) -> None:
    imported = modules("attest", "--help")
    assert [
        each for each in imported if each.startswith(("google.", "grpc", "step.emulator"))
    ] == []
    assert kms_world.methods == []


def test_a_verb_imports_no_other() -> None:
    imported = modules("verify", "--help")
    assert "step.cli.verify" in imported
    assert {"step.cli.attest", "step.cli.policy", "step.cli.emulator"} & imported == set()
