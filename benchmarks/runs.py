"""Programs that are run to be measured: an installed one, an emulator for it, and pairs of runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a program took: seconds of processor and by the clock, MiB at its peak."""

    cpu: float
    wall: float
    memory: float


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, and all of the environment that it gets."""

    arguments: Sequence[str | Path]
    environ: Mapping[str, str]

    def run(self) -> tuple[Cost, str]:
        """Run it to its end; its cost, and what it printed on standard output."""
        started = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, self.arguments)),
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        printed = process.stdout.read() if process.stdout else ""
        # Of this child, and of its own children that it waited for.
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"exit code {process.returncode}: {self.arguments} {printed[-2000:]}")
        return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024), printed


@dataclass(frozen=True, slots=True)
class Pairs:
    """Costs of two programs that ran in turn, so that both met whatever else the machine did."""

    ours: tuple[Cost, ...]
    theirs: tuple[Cost, ...]

    def row(self, of: str, digits: int = 2) -> dict[str, float]:
        """The medians of both, and the median of the pairs' ratios."""
        ours, theirs = ([getattr(each, of) for each in side] for side in (self.ours, self.theirs))
        ratios = [our / other for our, other in zip(ours, theirs, strict=True)]
        return {
            "ours": round(median(ours), digits),
            "theirs": round(median(theirs), digits),
            "ratio": round(median(ratios), 2),
        }


def paired(ours: Iterator[Command], theirs: Iterator[Command], rounds: int) -> Pairs:
    """Run both in turn, each first in every other round; the first round is not counted."""
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    for number in range(rounds + 1):
        sides = [(costs[0], ours), (costs[1], theirs)]
        for side, commands in sides if number % 2 else reversed(sides):
            cost, _ = next(commands).run()
            if number:
                side.append(cost)
    return Pairs(tuple(costs[0]), tuple(costs[1]))


@dataclass(frozen=True, slots=True)
class Emulator:
    """Google Cloud on loopback, in a process of its own."""

    grpc: str
    rest: str
    log: Path

    def calls(self) -> list[str]:
        """The methods that were called so far."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["method"] for line in lines]


@contextmanager
def emulator(program: Path, seed: str, folder: Path, *settings: str) -> Iterator[Emulator]:
    """An emulator with a seed, for as long as it is used."""
    ready, log = folder / "ready.json", folder / "calls.jsonl"
    for file in (ready, log):
        file.unlink(missing_ok=True)
    (folder / "seed.yaml").write_text(seed, encoding="utf-8")
    files = ["--seed", folder / "seed.yaml", "--ready-file", ready, "--call-log", log]
    process = subprocess.Popen(
        list(map(str, [program, "emulator", *files, *settings])),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("the emulator did not start")
            time.sleep(0.05)
        document: dict[str, Any] = json.loads(ready.read_text(encoding="utf-8"))
        yield Emulator(document["grpc"], document["rest"], log)
    finally:
        process.terminate()
        process.wait()


def installed(folder: Path, python: str) -> Path:
    """The program as the image has it: from the runtime lock, a wheel, with bytecode; its path."""
    env, wheels = folder / "env", folder / "wheels"
    pip = ["-m", "pip", "--disable-pip-version-check", "--quiet", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)]
    _do([ROOT / "requirements" / "install", "runtime", env, python])
    _do([sys.executable, *pip, *build])
    own = env / "bin" / "python"
    _do([own, *pip, "install", "--no-deps", *wheels.glob("*.whl")])
    _do([own, "-m", "compileall", "-q", *(env / "lib").glob("python*/site-packages")])
    return own.with_name("binauthz-attest")


def layer_megabytes(image: str, folder: Path) -> float | None:
    """What an image in buildah's storage adds to its base, compressed; None where it has none."""
    if shutil.which("buildah") is None:
        return None
    layout = folder / "layout"
    push = ["buildah", "push", "--quiet", image, f"oci:{layout}:bench"]
    if subprocess.run(push, capture_output=True).returncode:
        return None
    blobs = layout / "blobs" / "sha256"
    index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
    digest = index["manifests"][0]["digest"].partition(":")[2]
    manifest = json.loads((blobs / digest).read_text(encoding="utf-8"))
    return float(round(manifest["layers"][-1]["size"] / 1e6, 1))


def _do(command: Sequence[str | Path]) -> None:
    subprocess.run(list(map(str, command)), check=True)
