"""The script that makes action.yml run an image by digest, and nothing else of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines import load
from tests.project.workflow import ROOT
from tests.world import DIGEST, IMAGE

NAME = IMAGE.partition("@")[0]
OTHER = f"{NAME}@sha256:{'9' * 64}"


def pin(file: Path, image: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / ".ci" / "pin-action"), str(file), image]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def action(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "action.yml", tmp_path))


def test_a_pinned_action_differs_in_the_line_of_its_image(action: Path) -> None:
    before = action.read_text().splitlines()
    assert pin(action, IMAGE).returncode == 0
    after = action.read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [("  image: Dockerfile", f"  image: docker://{IMAGE}")]
    assert load(action)["runs"] == {"using": "docker", "image": f"docker://{IMAGE}"}


def test_a_pinned_action_is_an_action(action: Path) -> None:
    assert pin(action, IMAGE).returncode == 0
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-actions",
    ]
    done = subprocess.run([*command, str(action)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_pinning_again_changes_nothing_and_another_image_replaces_it(action: Path) -> None:
    assert pin(action, IMAGE).returncode == 0
    once = action.read_text()
    assert pin(action, IMAGE).returncode == 0
    assert action.read_text() == once
    assert pin(action, OTHER).returncode == 0
    assert action.read_text() == once.replace(IMAGE, OTHER)


@pytest.mark.parametrize(
    "image",
    [
        "",
        DIGEST,
        NAME,
        f"{NAME}:v1",
        f"{NAME}:v1@{DIGEST}",
        f"{NAME}@{DIGEST[:-1]}",
        f"{NAME}@{DIGEST}0",
        f"{NAME}@{DIGEST.replace('a', 'A')}",
        f"{NAME}@sha512:{'0' * 128}",
        f"docker://{IMAGE}",
        f"library/web@{DIGEST}",
        f"europe-docker.pkg.dev@{DIGEST}",
        f"Europe-docker.pkg.dev/web@{DIGEST}",
        f" {IMAGE}",
        f"{IMAGE}\n",
        f"{IMAGE}\n  args: [--no-validate]",
        f"europe-docker.pkg.dev/a|b/web@{DIGEST}",
        f"europe-docker.pkg.dev/&/web@{DIGEST}",
    ],
)
def test_only_an_image_by_digest_is_pinned(action: Path, image: str) -> None:
    before = action.read_text()
    done = pin(action, image)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert action.read_text() == before


@pytest.mark.parametrize("change", [("  image: Dockerfile", ""), ("runs:", "  image: Dockerfile")])
def test_only_an_action_with_one_image_is_pinned(action: Path, change: tuple[str, str]) -> None:
    action.write_text(before := action.read_text().replace(*change))
    assert pin(action, IMAGE).returncode == 2
    assert action.read_text() == before
