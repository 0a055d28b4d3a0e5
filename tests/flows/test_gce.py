"""The cloud-init of examples/gce: its script, run with stand-ins for what a VM has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from step.model.attestation import Signature
from tests.flows.notes import public, put, signed, together
from tests.world import ATTESTOR, IMAGE, World, attestor_seed

pytestmark = pytest.mark.usefixtures("bash")

ROOT = Path(__file__).resolve().parents[2]
CLOUD_INIT: dict[str, Any] = yaml.safe_load(
    (ROOT / "examples" / "gce" / "cloud-init.yaml").read_text()
)
FILES = {write_file["path"]: write_file["content"] for write_file in CLOUD_INIT["write_files"]}
SCRIPT = FILES["/etc/binauthz/gate.sh"]
TESTED = "projects/my-project/attestors/tested"
TESTED_NOTE = "projects/my-project/notes/tested"
GATE = "europe-docker.pkg.dev/my-project/tools/binauthz-attest@sha256:" + "e" * 64

# A firewall that keeps its rules in a file, one a line.
IPTABLES = """#!/bin/bash
table="$LOG.$(basename "$0")"; touch "$table"
action=$2; rule="${*:3}"
echo "$(basename "$0") $*" >>"$LOG"
case $action in
  -C) grep -qxF -- "$rule" "$table" ;;
  -I) echo "$rule" >>"$table" ;;
  -D) grep -qxF -- "$rule" "$table" && sed -i "0,/^$rule$/{//d}" "$table" ;;
esac
"""
# A docker that runs this program for the gate's image, and nothing else.
DOCKER = """#!/bin/bash
echo "docker $*" >>"$LOG"
while [ "$1" != "$GATE" ]; do shift; done
cd "$ROOT" && exec "$PYTHON" -m step "${@:2}"
"""
HELPER = """#!/bin/bash
echo "docker-credential-gcr $*" >>"$LOG"
"""


class Machine:
    """A VM's programs in a folder."""

    def __init__(self, world: World, folder: Path) -> None:
        self.log = folder / "log"
        self.script = folder / "gate.sh"
        self.script.write_text(SCRIPT)
        stand_ins = {"docker": DOCKER, "docker-credential-gcr": HELPER}
        stand_ins |= dict.fromkeys(("iptables", "ip6tables"), IPTABLES)
        for name, text in stand_ins.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.environ = {
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "LOG": str(self.log),
            "ROOT": str(ROOT),
            "PYTHON": sys.executable,
            "BINAUTHZ_EMULATOR_HOST": world.emulator.grpc_address,
            "IMAGE": IMAGE,
            "ATTESTORS": f"{ATTESTOR} {TESTED}",
            "GATE": GATE,
            "TIMEOUT": "0s",
        }

    def run(self, **settings: str) -> int:
        command = ["bash", str(self.script)]
        environ = self.environ | settings
        return subprocess.run(command, env=environ, capture_output=True, check=False).returncode

    def rules(self, tables: str = "iptables") -> list[str]:
        return Path(f"{self.log}.{tables}").read_text().splitlines()

    @property
    def ssh_is_closed(self) -> bool:
        closed = ["INPUT -p tcp --dport 22 -j DROP" in self.rules(t) for t in TABLES]
        assert len(set(closed)) == 1
        return closed[0]


TABLES = ("iptables", "ip6tables")


@pytest.fixture
def vm(make_world: Callable[..., World]) -> World:
    return make_world(together(attestor_seed(public()), attestor_seed(public(1), name=TESTED)))


def test_it_opens_when_the_second_attests_and_not_before(vm: World, tmp_path: Path) -> None:
    machine = Machine(vm, tmp_path)
    put(vm, signed())
    forged = Signature(signed(number=1).key_id, signed().value)
    put(vm, forged, note=TESTED_NOTE)
    assert machine.run() == 3
    assert machine.ssh_is_closed
    put(vm, signed(number=1), note=TESTED_NOTE)
    assert machine.run() == 0
    assert not machine.ssh_is_closed


def test_before_anything_is_asked_the_doors_are_shut(vm: World, tmp_path: Path) -> None:
    machine = Machine(vm, tmp_path)
    assert machine.run() == 3
    lines = machine.log.read_text().splitlines()
    started = next(i for i, line in enumerate(lines) if line.startswith("docker run"))
    assert {f"{t} -w -I INPUT -p tcp --dport 22 -j DROP" for t in TABLES} <= set(lines[:started])
    assert "iptables -w -I DOCKER-USER -d 169.254.169.254 -p tcp --dport 80 -j DROP" in lines
    assert not [line for line in lines if " -D " in line]


def test_every_key_of_an_attestor_must_have_signed(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    world = make_world(attestor_seed(public(), public(1)))
    machine = Machine(world, tmp_path)
    put(world, signed())
    assert machine.run(ATTESTORS=ATTESTOR) == 3
    put(world, signed(number=1))
    assert machine.run(ATTESTORS=ATTESTOR) == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"GATE": "europe-docker.pkg.dev/my-project/tools/binauthz-attest:latest"},
        {"IMAGE": IMAGE.partition("@")[0] + ":latest"},
        {"IMAGE": ""},
        {"ATTESTORS": ""},
        {"ATTESTORS": " "},
        {"TIMEOUT": "soon"},
        {"BINAUTHZ_EMULATOR_HOST": "nonsense"},
    ],
)
def test_what_cannot_be_asked_is_a_failure(
    vm: World, tmp_path: Path, settings: dict[str, str]
) -> None:
    put(vm, signed())
    put(vm, signed(number=1), note=TESTED_NOTE)
    machine = Machine(vm, tmp_path)
    assert machine.run(**settings) != 0
    if Path(f"{machine.log}.iptables").exists():
        assert machine.ssh_is_closed


def test_rules_are_not_piled_up(vm: World, tmp_path: Path) -> None:
    machine = Machine(vm, tmp_path)
    machine.run()
    first = machine.rules()
    machine.run()
    assert machine.rules() == first


def test_the_container_starts_only_behind_the_gate() -> None:
    unit = FILES["/etc/systemd/system/app.service"]
    for line in ("Requires=binauthz-gate.service", "After=binauthz-gate.service"):
        assert line in unit.splitlines()
    assert "--network=bridge" in unit, "the rule for the token is of that network"
    gate = FILES["/etc/systemd/system/binauthz-gate.service"].splitlines()
    assert "ExecStart=/bin/bash /etc/binauthz/gate.sh" in gate
    assert not [line for line in gate if line.startswith(("ExecStart=-", "SuccessExitStatus"))]


def test_the_script_is_clean(tool: Callable[[str], str], tmp_path: Path) -> None:
    script = tmp_path / "gate.sh"
    script.write_text(SCRIPT)
    subprocess.run([tool("shellcheck"), str(script)], check=True)
