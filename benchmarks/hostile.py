"""What a note full of what others wrote costs whoever verifies, beside one full of honest ones."""

from __future__ import annotations

import subprocess
import sys
from itertools import repeat
from pathlib import Path
from typing import Any

from benchmarks.runs import Command, emulator, paired

COUNT = 5_000
IMAGE = f"registry.example.com/apps/web@sha256:{'a' * 64}"
SEED, KEYS = "notes.json", "keys.json"
"""Files in the folder that both processes know."""


def beside_honest(
    program: Path, environ: dict[str, str], folder: Path, rounds: int
) -> dict[str, Any]:
    """`verify` and `gate` of an image, its note full of hostile occurrences, beside honest ones.

    The honest are of other images, the hostile of this one; one good attestation is on each note.
    """
    _notes("seed", folder)
    seed = (folder / SEED).read_text(encoding="utf-8")  # JSON, which is YAML, too
    with emulator(program, seed, folder) as running:
        _notes("plant", folder, running.grpc)
        measured: dict[str, Any] = {"count": COUNT}
        for verb in ("verify", "gate"):
            hostile, honest = (
                Command(
                    [program, verb, IMAGE, "--attestor", f"projects/p/attestors/{note}"],
                    environ | {"BINAUTHZ_EMULATOR_HOST": running.grpc},
                )
                for note in ("hostile", "honest")
            )
            pairs = paired(repeat(hostile), repeat(honest), rounds)
            measured[verb] = {"wall": pairs.row("wall"), "memory": pairs.row("memory", 1)}
        return measured


def _notes(*arguments: object) -> None:
    command = [sys.executable, "-m", "benchmarks.notes", *map(str, arguments)]
    subprocess.run(command, check=True)
