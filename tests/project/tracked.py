"""The files that git tracks: what is committed, whatever else lies in a contributor's folders."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@cache
def tracked() -> tuple[str, ...]:
    """The names, from the root; a test that asks is skipped where this is no checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, or git is not installed")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    # One may be deleted, and that not be committed yet.
    return tuple(name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file())


@cache
def tracked_texts() -> dict[str, str]:
    """What is in each, but for binary ones."""
    contents = {name: (ROOT / name).read_bytes() for name in tracked()}
    return {name: content.decode() for name, content in contents.items() if b"\0" not in content}
