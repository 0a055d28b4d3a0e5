"""How long the program takes to start inside of the image and outside, as a ratio.

Usage: start.py ROOT

ROOT is where the image's files are: `buildah mount $(buildah from IMAGE)` prints it. Both run on
this machine, each by the interpreter that it is installed with; files are read before, so that no
disk is measured. Needs root, for unshare.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 15
SHOWN = ["attest", "--help"]


def seconds(command: list[str]) -> float:
    """The shortest of some runs: what is longer was disturbed."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin"})
        best = min(best, time.perf_counter() - started)
    return best


def main(root: str) -> None:
    """Measure and print."""
    program = "/opt/binauthz-attest/bin/binauthz-attest"
    enter = ["unshare", f"--root={root}", "--wd=/"]
    inside = seconds([*enter, program, *SHOWN])
    outside = seconds([str(Path(sys.executable).with_name("binauthz-attest")), *SHOWN])
    print(f"{inside / outside:8.2f}  attest --help in the image / outside (near 1)")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
