"""The scripts of examples/gke, with receipts of the real program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipelines import EXAMPLES, Machine
from tests.world import ATTESTOR, DIGEST, IMAGE, World, image

GKE = EXAMPLES / "gke"
NAME = IMAGE.partition("@")[0]
OTHER = str(image("7"))
SIDECAR = f"{NAME}-sidecar@{DIGEST}"


@pytest.fixture
def machine(kms_world: World, tmp_path: Path, tool: Callable[[str], str]) -> Machine:
    tool("jq")
    return Machine(tmp_path, kms_world)


def receipts(world: World, folder: Path, *arguments: str) -> Path:
    """What `attest` leaves in its file."""
    file = folder / "receipts.json"
    world.run("attest", *arguments, "--attestor", ATTESTOR, "--output-file", str(file))
    return file


def attested_image(machine: Machine, *arguments: str) -> tuple[int, str]:
    command = [str(GKE / "attested-image.sh"), *arguments]
    done = subprocess.run(command, env=machine.environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_it_is_the_image_that_was_attested(kms_world: World, machine: Machine) -> None:
    file = receipts(kms_world, machine.folder, IMAGE)
    assert attested_image(machine, str(file)) == (0, f"{IMAGE}\n")
    again = receipts(kms_world, machine.folder, IMAGE)
    assert json.loads(again.read_text())["receipts"][0]["status"] == "existing"
    assert attested_image(machine, str(again)) == (0, f"{IMAGE}\n")


def test_of_several_one_is_named(kms_world: World, machine: Machine) -> None:
    file = str(receipts(kms_world, machine.folder, IMAGE, SIDECAR))
    assert attested_image(machine, file)[0] != 0
    assert attested_image(machine, file, NAME) == (0, f"{IMAGE}\n")
    assert attested_image(machine, file, f"{NAME}-sidecar") == (0, f"{SIDECAR}\n")
    assert attested_image(machine, file, f"{NAME}-side") != (0, f"{SIDECAR}\n")
    two = str(receipts(kms_world, machine.folder, IMAGE, OTHER))
    assert attested_image(machine, two, NAME) == (5, "")


def test_the_images_of_platforms_do_not_count(kms_world: World, machine: Machine) -> None:
    file = receipts(kms_world, machine.folder, IMAGE, OTHER)
    document = json.loads(file.read_text())
    source = document["receipts"][0]["origin"]["source"]
    document["receipts"][1]["origin"]["source"] = f"platform of {DIGEST}, {source}"
    file.write_text(json.dumps(document))
    assert attested_image(machine, str(file)) == (0, f"{IMAGE}\n")


@pytest.mark.parametrize("script", ["attested-image", "kubectl", "kustomize", "helm"])
@pytest.mark.parametrize("why", ["refused", "dry run", "no file", "no receipts"])
def test_nothing_is_deployed_that_was_not_attested(
    kms_world: World, machine: Machine, script: str, why: str
) -> None:
    if why == "refused":
        kms_world.emulator.fail("CreateOccurrence=PERMISSION_DENIED")
    file = receipts(kms_world, machine.folder, IMAGE, *["--dry-run"] * (why == "dry run"))
    if why == "no file":
        file.unlink()
    if why == "no receipts":
        file.write_text('{"receipts": [], "errors": []}')
    settings = {"DEPLOYMENT": "web", "CONTAINER": "web", "RELEASE": "web", "CHART": "chart"}
    settings["OVERLAY"] = str(GKE / "kustomize")
    assert machine.start([str(GKE / f"{script}.sh"), str(file)], machine.folder, settings) != 0
    assert machine.log.read_text() == ""


def test_a_part_that_was_refused_stops_the_rest(kms_world: World, machine: Machine) -> None:
    kms_world.emulator.fail("CreateOccurrence=PERMISSION_DENIED:1")
    file = receipts(kms_world, machine.folder, IMAGE, SIDECAR)
    document: dict[str, list[Any]] = json.loads(file.read_text())
    assert (len(document["receipts"]), len(document["errors"])) == (1, 1)
    assert attested_image(machine, str(file)) == (5, "")


def test_kubectl(kms_world: World, machine: Machine) -> None:
    file = str(receipts(kms_world, machine.folder, IMAGE))
    command = [str(GKE / "kubectl.sh"), file]
    settings = {"DEPLOYMENT": "web", "CONTAINER": "app"}
    assert machine.start(command, machine.folder, settings) == 0
    assert machine.calls("kubectl") == [
        ["set", "image", "deployment/web", f"app={IMAGE}"],
        ["rollout", "status", "deployment/web", "--timeout=5m"],
    ]
    assert machine.start(command, machine.folder, {"CONTAINER": "app"}) != 0
    assert machine.start(command, machine.folder, {"DEPLOYMENT": "web"}) != 0


def test_kustomize(kms_world: World, machine: Machine) -> None:
    file = str(receipts(kms_world, machine.folder, IMAGE))
    overlay = str(GKE / "kustomize")
    command = [str(GKE / "kustomize.sh"), file]
    settings = {"DEPLOYMENT": "web", "OVERLAY": overlay}
    assert machine.start(command, machine.folder, settings) == 0
    assert machine.calls("kustomize") == [["edit", "set", "image", f"web={IMAGE}"]]
    assert machine.calls("kubectl") == [
        ["apply", "--kustomize", overlay],
        ["rollout", "status", "deployment/web", "--timeout=5m"],
    ]


def test_the_overlay_puts_the_digest_where_the_name_stands(
    tmp_path: Path, tool: Callable[[str], str]
) -> None:
    """By the kustomize that is in kubectl; `images:` is what `kustomize edit set image` writes:
    https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/
    """
    for file in (GKE / "kustomize").iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    overlay = yaml.safe_load((tmp_path / "kustomization.yaml").read_text())
    overlay["images"] = [{"name": "web", "newName": NAME, "digest": DIGEST}]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    command = [tool("kubectl"), "kustomize", str(tmp_path)]
    built = yaml.safe_load(subprocess.run(command, check=True, capture_output=True).stdout)
    [container] = built["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGE


def test_helm(kms_world: World, machine: Machine) -> None:
    file = str(receipts(kms_world, machine.folder, IMAGE))
    command = [str(GKE / "helm.sh"), file]
    settings = {"RELEASE": "web", "CHART": "chart", "TMPDIR": str(machine.folder)}
    assert machine.start(command, machine.folder, settings) == 0
    [[*arguments]] = machine.calls("helm")
    assert arguments[:4] == ["upgrade", "--install", "web", "chart"]
    assert "--wait" in arguments
    [[values]] = machine.calls("values")
    assert yaml.safe_load(values) == {"image": {"repository": NAME, "digest": DIGEST}}
    assert list(machine.folder.glob("tmp.*")) == []


@pytest.mark.parametrize("script", ["kubectl", "kustomize"])
def test_a_rollout_that_does_not_end_is_a_failure(
    kms_world: World, machine: Machine, script: str
) -> None:
    file = str(receipts(kms_world, machine.folder, IMAGE))
    settings = {"DEPLOYMENT": "web", "CONTAINER": "web", "OVERLAY": str(GKE / "kustomize")}
    settings["FAILS"] = "kubectl rollout status"
    assert machine.start([str(GKE / f"{script}.sh"), file], machine.folder, settings) != 0
