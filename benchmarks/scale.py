"""What many images cost: their wait, their results, and a long note of the emulator's.

Each in a process of its own, since what it imports would count as the memory of what is started:

    python -m benchmarks.scale results COUNT
    python -m benchmarks.scale listing ROUNDS
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

WAITING, DELAY_SECONDS = 64, 3
ROWS = 4_000
LONG, SHORT, LOOKS = 10_000, 100, 300


def results(rounds: int) -> dict[str, float]:
    """Seconds for the files of GitHub and Cloud Build, a JSON file, and standard output."""
    taken = [_apart("results", ROWS) for _ in range(min(rounds, 5))]
    return {"rows": ROWS} | {
        form: round(median(each[form] for each in taken), 2) for form in ("text", "json")
    }


def listing(rounds: int) -> dict[str, float]:
    """Milliseconds for a list of one digest: on a note of many occurrences, and of few, in turn."""
    return _apart("listing", rounds)


def _apart(what: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale", what, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _listing(rounds: int) -> dict[str, float]:
    from grafeas import grafeas_v1 as g

    from step.emulator.grafeas import Grafeas

    services = {}
    for count in (LONG, SHORT):
        services[count] = Grafeas(_now, timedelta(0))
        services[count].seed_note(g.Note(name="projects/p/notes/n", attestation={"hint": {}}))
        for number in range(count):
            uri, payload = f"https://r/i@sha256:{number:064x}", str(number).encode()
            attestation = g.AttestationOccurrence(serialized_payload=payload)
            services[count].seed_occurrence(
                g.Occurrence(
                    resource_uri=uri, note_name="projects/p/notes/n", attestation=attestation
                )
            )
    request = g.ListNoteOccurrencesRequest(
        name="projects/p/notes/n", filter=f'has_suffix(resourceUrl, "sha256:{7:064x}")'
    )
    times: dict[int, list[float]] = {LONG: [], SHORT: []}
    for _ in range(rounds):
        for count, service in services.items():
            started = time.perf_counter()
            for _ in range(LOOKS):
                assert len(service.list_note_occurrences(request).occurrences) == 1  # noqa: S101
            times[count].append((time.perf_counter() - started) / LOOKS)
    ratios = [ours / theirs for ours, theirs in zip(times[LONG], times[SHORT], strict=True)]
    return {
        "long": LONG,
        "short": SHORT,
        "ours": round(median(times[LONG]) * 1000, 3),
        "theirs": round(median(times[SHORT]) * 1000, 3),
        "ratio": round(median(ratios), 2),
    }


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


def _rows(count: int) -> dict[str, float]:
    """Write a result of so many receipts in every way that a run writes one."""
    from step.attest import Receipt, Status
    from step.cli.options import Format
    from step.cli.program import Program
    from step.cli.run import Asked, OutputOptions, run, show
    from step.clock import SystemClock
    from step.discovery.record import Discovered, Origin
    from step.model.image import ImageRef
    from step.model.names import AttestorName, NoteName
    from step.results.goal import Goal

    images = [ImageRef.parse(f"r.example/i@sha256:{number:064x}") for number in range(count)]
    attestor, note = AttestorName("p", "a"), NoteName("p", "n")
    asked = Asked([Discovered(image, Origin("a record")) for image in images], [attestor])
    rows = [
        Receipt(image, attestor, note, "key", "ECDSA", Status.CREATED, b"p" * 300, b"s" * 70, "o")
        for image in reversed(images)
    ]
    taken = {}
    with TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        names = {"GITHUB_OUTPUT": "outputs", "GITHUB_STEP_SUMMARY": "summary"}
        environ = {name: f"{folder}/{file}" for name, file in names.items()}
        program = Program(environ | {"BUILDER_OUTPUT": folder}, SystemClock())
        for form in (Format.TEXT, Format.JSON):
            output = OutputOptions(form, str(Path(folder, "result.json")))
            started = time.perf_counter()
            result = run(lambda: iter([asked, *rows]), Goal.ATTESTED, program, output)
            if show(result, program, output, nowhere):
                sys.exit("the result is no success")
            taken[form.value] = time.perf_counter() - started
    return taken


if __name__ == "__main__":
    measure = {"results": _rows, "listing": _listing}[sys.argv[1]]
    print(json.dumps(measure(int(sys.argv[2]))))
