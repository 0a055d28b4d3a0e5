"""How the cost of attesting grows, as ratios; run it with `make bench`.

Times differ from machine to machine, their ratios hardly. Each is printed with what it should be
near, and nothing fails: a benchmark is read by a person.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from step.attest import Receipt, Terms, attest
from step.clock import SystemClock
from step.cloud.connection import Connection
from step.emulator import Emulator, Seed
from step.model.image import ImageRef
from step.model.names import AttestorName
from step.signing.kms import KmsSigner

ATTESTOR = AttestorName.parse("projects/p/attestors/a")
KEY = "projects/p/locations/global/keyRings/r/cryptoKeys/k"
SEED = f"""
keys: [{{name: {KEY}}}]
attestors:
  - name: {ATTESTOR}
    note: projects/p/notes/n
    public_keys: [{{kms: {KEY}/cryptoKeyVersions/1}}]
"""
LATENCY = timedelta(milliseconds=20)


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """The shortest of some rounds: what is longer was disturbed."""
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def attesting(count: int, latency: timedelta = LATENCY) -> float:
    """Seconds to attest that many images, each for the first time."""
    with Emulator(Seed.parse(SEED), latency=latency) as emulator:
        connection = Connection(SystemClock(), {}, emulator.grpc_address)
        made = 0

        def work() -> None:
            nonlocal made
            images = [
                ImageRef.parse(f"r.example/i@sha256:{number:064x}")
                for number in range(made, made + count)
            ]
            made += count
            events = attest(images, [ATTESTOR], KmsSigner(connection), connection, Terms())
            if sum(isinstance(event, Receipt) for event in events) != count:
                sys.exit("an image was not attested: nothing to measure")

        work()  # imports, channels
        return seconds(work)


def starting(*command: str) -> float:
    """Seconds until a Python program is done."""
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, *command]
        return seconds(lambda: subprocess.run(run, check=True, capture_output=True, cwd=folder), 5)


def show(what: str, ratio: float, near: str) -> None:
    """One line of the result."""
    print(f"{ratio:8.2f}  {what} (near {near})")


def main() -> None:
    """Measure and print."""
    one, sixteen = attesting(1), attesting(16)
    show("16 images / 1 image, calls that take 20 ms: two rounds of eight", sixteen / one, "2")
    own = attesting(16, timedelta(0)) / 16
    show(
        "work of our own / one call of 20 ms, for each image", own / LATENCY.total_seconds(), "0.3"
    )
    root = str(Path(__file__).resolve().parents[1])
    ours = f"import sys; sys.path.insert(0, {root!r}); import step.cli; "
    shown = starting("-c", f"{ours} step.cli.main(['attest', '--help'])")
    bare = starting("-c", "import typer, rich.console")
    show("attest --help / importing typer and rich alone", shown / bare, "2")


if __name__ == "__main__":
    main()
