"""What a run costs, beside gcloud's; `make bench` runs it, and writes down what it finds.

Seconds differ from machine to machine, ratios of runs in turn hardly, so these are what to compare.
Nothing fails here: a person reads it. `results.json` beside this file has the figures, and
docs/performance.md is made of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.fleet import OLD as FLEET_KEY
from benchmarks.fleet import bulk
from benchmarks.hostile import beside_honest
from benchmarks.page import PAGE, RESULTS, render
from benchmarks.runs import Command, Emulator, emulator, installed, layer_megabytes, paired
from benchmarks.scale import DELAY_SECONDS, WAITING, listing
from benchmarks.scale import results as results_of_many

ATTESTOR = "projects/p/attestors/a"
KEY = "projects/p/locations/global/keyRings/r/cryptoKeys/k"
VERSION = f"{KEY}/cryptoKeyVersions/1"
SEED = f"""
keys: [{{name: {KEY}}}]
attestors:
  - {{name: {ATTESTOR}, note: projects/p/notes/n, public_keys: [{{kms: {VERSION}}}]}}
"""
LATENCIES = ("0s", "50ms")
# Of each delay in seconds, how many waits are measured.
DELAYS = {0.5: 15, 3.0: 11, 10.0: 5}
MANY = 16


def image() -> str:
    """An image that nobody has attested yet."""
    return f"registry.example.com/apps/web@sha256:{secrets.token_hex(32)}"


def bare_environ() -> dict[str, str]:
    """What any program needs, and nothing of the machine's own settings."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def attest(program: Path, running: Emulator, *options: str, images: int = 1) -> Command:
    """One run of ours, with everything on that is on by default."""
    environ = bare_environ() | {"BINAUTHZ_EMULATOR_HOST": running.grpc}
    named = [image() for _ in range(images)]
    return Command([program, "attest", *named, "--attestor", ATTESTOR, *options], environ)


def sign_and_create(rest: str, folder: Path, version: str = VERSION) -> Command:
    """What gcloud has for it: it looks for no attestation before, and waits for none after."""
    apis = ("BINARYAUTHORIZATION", "CLOUDKMS", "CONTAINERANALYSIS")
    environ = bare_environ() | {
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CONFIG": str(folder / "gcloud"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
        "CLOUDSDK_CORE_PROJECT": "p",
        **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}": f"http://{rest}/" for api in apis},
    }
    verb = ("beta", "container", "binauthz", "attestations", "sign-and-create", "--validate")
    what = (f"--artifact-url={image()}", f"--attestor={ATTESTOR}")
    key_id = f"//cloudkms.googleapis.com/v1/{version}"
    key = (f"--keyversion={version}", f"--public-key-id-override={key_id}")
    return Command(["gcloud", *verb, *what, *key], environ)


def against_gcloud(program: Path, folder: Path, rounds: int) -> dict[str, Any] | None:
    """Pairs with gcloud on the same emulator, for each latency; None where gcloud is missing."""
    if shutil.which("gcloud") is None:
        return None
    measured: dict[str, Any] = {}
    for latency in LATENCIES:
        with emulator(program, SEED, folder, "--latency", latency) as running:
            ours = (attest(program, running) for _ in itertools.count())
            theirs = (sign_and_create(running.rest, folder) for _ in itertools.count())
            pairs = paired(ours, theirs, rounds)
            measured[latency] = {
                "cpu": pairs.row("cpu"),
                "wall": pairs.row("wall"),
                "memory": pairs.row("memory", 1),
            }
    return measured


def waits(program: Path, folder: Path) -> dict[str, dict[str, float]]:
    """How late it is noticed that an attestation can be seen, and how often that is looked for."""
    measured = {}
    for delay, count in DELAYS.items():
        late, often = [], []
        with emulator(program, SEED, folder, "--visibility-delay", f"{delay}s") as running:
            for _ in range(count):
                before = len(running.calls())
                _, printed = attest(program, running, "--format", "json").run()
                waited = json.loads(printed)["receipts"][0]["visible_after_seconds"]
                looks = Counter(running.calls()[before:])["ListNoteOccurrences"]
                late.append(waited - delay)
                # One was for an existing attestation, and one begins the wait.
                often.append((looks - 2) / waited)
        measured[f"{delay:g} s"] = {
            "late": round(median(late), 2),
            "latest": round(max(late), 2),
            "looks": round(max(often), 1),
        }
    return measured


def many(program: Path, folder: Path, rounds: int) -> dict[str, float]:
    """How many images a run attests a second where each is seen after a delay only."""
    with emulator(program, SEED, folder, "--visibility-delay", f"{DELAY_SECONDS}s") as running:
        command = (attest(program, running, images=WAITING) for _ in itertools.count())
        taken = median(next(command).run()[0].wall for _ in range(min(rounds, 5)))
    images = round(WAITING / taken, 1)
    return {"images": WAITING, "delay": DELAY_SECONDS, "wall": round(taken, 2), "rate": images}


def calls(program: Path, folder: Path) -> list[str]:
    """The calls for one image that is attested for the first time."""
    with emulator(program, SEED, folder) as running:
        attest(program, running).run()
        return sorted(running.calls())


def growth(program: Path, folder: Path, rounds: int) -> dict[str, float]:
    """Many images beside one, where a call takes 50 ms."""
    with emulator(program, SEED, folder, "--latency", "50ms") as running:
        many = (attest(program, running, images=MANY) for _ in itertools.count())
        alone = (attest(program, running) for _ in itertools.count())
        return {"images": MANY} | paired(many, alone, rounds).row("wall")


def starting(program: Path, rounds: int) -> dict[str, float]:
    """`attest --help` beside the import of typer, which declares its options."""
    bare = [str(program.with_name("python")), "-c", "import typer"]
    help_shown = itertools.repeat(Command([program, "attest", "--help"], bare_environ()))
    return paired(help_shown, itertools.repeat(Command(bare, bare_environ())), rounds).row("cpu")


def machine(program: Path) -> dict[str, str | int | None]:
    """What it is measured on."""
    version = "import platform; print(platform.python_version())"
    gcloud = None
    if shutil.which("gcloud"):
        gcloud = _printed("gcloud", "version", "--format=value('Google Cloud SDK')")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": _printed(str(program.with_name("python")), "-c", version),
        "system": f"{platform.system()} on {platform.machine()}",
        "cores": os.cpu_count(),
        "gcloud": gcloud,
    }


def _printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measure, write it down and print it."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=15, help="how many pairs are counted")
    parser.add_argument("--python", default=sys.executable, help="what runs the program")
    parser.add_argument("--image", default="localhost/binauthz-attest:dev", help="to be weighed")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="binauthz-bench-") as name:
        folder = Path(name)
        program = installed(folder, given.python)
        results = {
            "on": machine(program) | {"rounds": given.rounds},
            "gcloud": against_gcloud(program, folder, given.rounds),
            "waits": waits(program, folder),
            "calls": calls(program, folder),
            "growth": growth(program, folder, given.rounds),
            "start": starting(program, given.rounds),
            "many": many(program, folder, given.rounds),
            "results": results_of_many(given.rounds),
            "listing": listing(given.rounds),
            "fleet": bulk(program, lambda rest, folder: sign_and_create(rest, folder, FLEET_KEY)),
            "hostile": beside_honest(program, bare_environ(), folder, given.rounds),
            "image_megabytes": layer_megabytes(given.image, folder),
        }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(render(results), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
