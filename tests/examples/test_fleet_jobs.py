"""The examples of many machines: each engine's numbers give every image to exactly one task."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleets import NEW, OLD, attest_old, attested, fleet_seed, names, once
from tests.world import ATTESTOR, World

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def cloud_run() -> tuple[list[str], int, list[dict[str, str]]]:
    job = yaml.safe_load((EXAMPLES / "cloud-run-job" / "job.yaml").read_text())["spec"]["template"][
        "spec"
    ]
    [container] = job["template"]["spec"]["containers"]
    count = job["taskCount"]
    return container["args"], count, [_numbered("CLOUD_RUN_TASK", n, count) for n in range(count)]


def batch() -> tuple[list[str], int, list[dict[str, str]]]:
    [group] = json.loads((EXAMPLES / "batch" / "job.json").read_text())["taskGroups"]
    [runnable] = group["taskSpec"]["runnables"]
    count = int(group["taskCount"])
    tasks = [_numbered("BATCH_TASK", n, count) for n in range(count)]
    return runnable["container"]["commands"], count, tasks


def kubernetes() -> tuple[list[str], int, list[dict[str, str]]]:
    spec: Any = yaml.safe_load((EXAMPLES / "kubernetes-job" / "job.yaml").read_text())["spec"]
    [container] = spec["template"]["spec"]["containers"]
    count = spec["completions"]
    assert spec["completionMode"] == "Indexed"
    return container["args"], count, [{"JOB_COMPLETION_INDEX": str(n)} for n in range(count)]


def _numbered(prefix: str, number: int, count: int) -> dict[str, str]:
    return {f"{prefix}_INDEX": str(number), f"{prefix}_COUNT": str(count)}


@pytest.mark.parametrize("engine", [cloud_run, batch, kubernetes])
def test_the_tasks_of_an_engine_attest_every_image_once(
    engine: Callable[[], tuple[list[str], int, list[dict[str, str]]]],
    make_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make_world(fleet_seed())
    images = names(48)
    attest_old(world, images)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{world.emulator.rest_address}")
    put(world, "images.txt", "\n".join(reversed(images)))
    arguments, count, tasks = engine()
    mine = [arg for arg in arguments if not arg.startswith(("--attestor", "--kms-key-version"))]
    assert len(arguments) - len(mine) == 2
    assert count == len(tasks) == 16
    for variables in tasks:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            result = world.run(*mine, "--attestor", ATTESTOR, "--kms-key-version", NEW)
            assert result.code == 0, result.err
    assert attested(world) == once(images, OLD, NEW)


def put(world: World, name: str, text: str) -> None:
    """Put an object into the examples' bucket, by Google's own client."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    options = {"api_endpoint": f"http://{world.emulator.rest_address}"}
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = Client(project="p", credentials=anonymous, client_options=options)
    client.bucket("my-bucket").blob(name).upload_from_string(text)
    client.close()
