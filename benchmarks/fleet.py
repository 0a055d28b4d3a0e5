"""What re-attesting a fleet costs, and whether it stays right when everything goes wrong.

`python -m benchmarks.fleet` runs what CI has no time for, at full size: the calls that it takes,
faults on every hundredth call with batches that half exist and two kills -9, and sixteen shards of
which one is killed. It exits with 1 where a count is not what it must be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.runs import Command

# What a process has in memory, the programs that it starts seem to have, too.
if TYPE_CHECKING:
    from step.emulator import Emulator

ATTESTOR = "projects/p/attestors/a"
NOTE = "projects/p/notes/n"
KEY = "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions"
OLD, NEW = f"{KEY}/1", f"{KEY}/2"
SEED = f"""
keys: [{{name: {KEY.rpartition("/")[0]}, versions: [{{state: ENABLED}}, {{state: ENABLED}}]}}]
attestors:
  - {{name: {ATTESTOR}, note: {NOTE}, public_keys: [{{kms: {OLD}}}, {{kms: {NEW}}}]}}
"""
ROTATION = ("--from-attestor", ATTESTOR, "--kms-key-version", NEW)
FAULTS = (
    *("*=UNAVAILABLE:1%", "*=RESOURCE_EXHAUSTED:1%", "BatchCreateOccurrences=PARTIAL:10%"),
    *("BatchCreateOccurrences=DROP_ANSWER:5%", "AsymmetricSign=CORRUPT_CHECKSUM:1%"),
)
PARTS = 16
SERVE = "serve"
# Calls a minute, and how many images are enough to meet that; runs of gcloud that are timed.
QUOTA, OF_QUOTA, LOOP = 600, 1500, 20
# Of what verify is asked at once: a command line has an end.
_AT_ONCE = 4000


def images(count: int) -> list[str]:
    """So many images, in seven repositories."""
    hashes = (hashlib.sha256(str(number).encode()).hexdigest() for number in range(count))
    return [f"registry.example.com/apps/web{n % 7}@sha256:{h}" for n, h in enumerate(hashes)]


class Remote:
    """An emulator in a process of its own: what it keeps is not in the memory that is measured."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fleet", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._process.stdin is None or self._process.stdout is None:
            sys.exit("the emulator cannot be spoken to")
        self._words, self._answers = self._process.stdin, self._process.stdout
        self.grpc_address, self.rest_address = self._read()

    def fail(self, *faults: str) -> None:
        """As of the emulator."""
        self._ask("fail", *faults)

    def heal(self) -> None:
        """As of the emulator."""
        self._ask("heal")

    def count(self, method: str, status: str = "") -> int:
        """How often a method was called, with one status where that is given."""
        return int(self._ask("count", method, status))

    def calls(self) -> int:
        """How many calls there were."""
        return int(self._ask("calls"))

    def forget(self) -> None:
        """Begin to count anew."""
        self._ask("forget")

    def stored(self) -> Counter[int]:
        """How many pairs of image and key have how many attestations."""
        return Counter({int(count): pairs for count, pairs in self._ask("stored").items()})

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _ask(self, *words: str) -> Any:
        self._words.write(json.dumps(words) + "\n")
        self._words.flush()
        return self._read()

    def _read(self) -> Any:
        return json.loads(self._answers.readline())


def serve() -> None:
    """The other side of `Remote`: an answer for each line of standard input."""
    from step.emulator import Emulator, Seed

    with Emulator(Seed.parse(SEED)) as emulator:
        print(json.dumps([emulator.grpc_address, emulator.rest_address]), flush=True)
        for line in sys.stdin:
            print(json.dumps(_answer(emulator, *json.loads(line))), flush=True)


def _answer(emulator: Emulator, what: str, *given: str) -> Any:
    match what:
        case "fail":
            emulator.fail(*given)
        case "heal":
            emulator.heal()
        case "forget":
            emulator.calls.clear()
        case "count":
            return emulator.calls.count(given[0], given[1] or None)
        case "calls":
            return len(emulator.calls)
        case "stored":
            pairs: Counter[tuple[str, str]] = Counter()
            for occurrence in emulator.occurrences("p", "n"):
                for signature in occurrence.attestation.signatures:
                    pairs[occurrence.resource_uri, signature.public_key_id] += 1
            return Counter(pairs.values())
    return None


@dataclass(frozen=True, slots=True)
class Fleet:
    """An emulator, images that the old key attested, and the program."""

    emulator: Remote
    program: Path
    folder: Path
    images: Sequence[str]
    environ: dict[str, str]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin to re-attest."""
        command = [self.program, "reattest", "--attestor", ATTESTOR, "--yes", *arguments]
        return subprocess.Popen(
            list(map(str, command)),
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *arguments: str) -> int:
        """Re-attest to the end; the exit code."""
        process = self.start(*arguments)
        process.communicate()
        return process.returncode

    def rotation(self) -> Command:
        """A whole rotation with a journal, to be measured."""
        journal = ("--journal", self.folder / "journal.jsonl")
        verb = ("reattest", "--attestor", ATTESTOR, "--yes")
        return Command([self.program, *verb, *ROTATION, *journal], self.environ)

    def verified(self) -> int:
        """How many images `verify` says have attestations by both keys."""
        count = 0
        for begin in range(0, len(self.images), _AT_ONCE):
            some = self.images[begin : begin + _AT_ONCE]
            command = [self.program, "verify", *some, "--attestor", ATTESTOR, "--every-key"]
            printed = subprocess.run(
                [*map(str, command), "--format", "json", "--deadline", "1h"],
                env=self.environ,
                capture_output=True,
                text=True,
                check=False,
            ).stdout
            count += sum(verdict["verified"] for verdict in json.loads(printed)["verdicts"])
        return count


@contextmanager
def fleet(program: Path, count: int, folder: Path) -> Iterator[Fleet]:
    """A fleet of which the old key has attested all."""
    listed = images(count)
    (folder / "images.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    emulator = Remote()
    try:
        environ = {
            "PATH": "/usr/bin:/bin",
            "BINAUTHZ_EMULATOR_HOST": emulator.grpc_address,
            "STORAGE_EMULATOR_HOST": f"http://{emulator.rest_address}",
        }
        made = Fleet(emulator, program, folder, listed, environ)
        source = ("--from-file", str(folder / "images.txt"), "--unverified")
        if made.run(*source, "--kms-key-version", OLD):
            sys.exit("the fleet could not be attested")
        emulator.forget()
        yield made
    finally:
        emulator.close()


def calls_an_image(made: Fleet) -> float:
    """Calls for each image of a rotation without faults, by the emulator's log."""
    if made.run(*ROTATION):
        sys.exit("a rotation without faults failed")
    return made.emulator.calls() / len(made.images)


def with_faults(made: Fleet) -> dict[str, Any]:
    """A rotation with faults and two kills -9, run until there is nothing left."""
    made.emulator.fail(*FAULTS)
    arguments = (*ROTATION, "--journal", str(made.folder / "journal.jsonl"))
    chance = random.Random(7)  # noqa: S311 - no secret
    codes = []
    for kill in (True, True, False, False, False, False):
        process = made.start(*arguments)
        if kill:
            before = made.emulator.count("BatchCreateOccurrences")
            wanted = before + chance.randint(3, max(len(made.images) // 2000, 4))
            while process.poll() is None and made.emulator.count("BatchCreateOccurrences") < wanted:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        process.communicate()
        codes.append(process.returncode)
        if process.returncode == 0:
            break
    calls = made.emulator.calls()
    made.emulator.heal()
    return {"codes": codes, "calls": calls}


def in_shards(made: Fleet) -> list[int]:
    """Sixteen processes at once, journals in storage; one of them is killed and started again."""
    listed = ("--from-file", str(made.folder / "images.txt"), "--kms-key-version", NEW)

    def part(number: int) -> tuple[str, ...]:
        return (*listed, "--journal", "gs://bucket/run", "--shard", f"{number}/{PARTS}")

    running = {number: made.start(*part(number)) for number in range(1, PARTS + 1)}
    while made.emulator.count("InsertObject") < PARTS + 2:
        time.sleep(0.01)
    running[5].send_signal(signal.SIGKILL)
    codes = []
    for process in running.values():
        process.communicate()
        codes.append(process.returncode)
    return [*codes, made.run(*part(5))]


def bulk(program: Path, gcloud: Callable[[str, Path], Command]) -> dict[str, Any]:
    """A rotation beside a loop of gcloud, its memory, and what a quota by the minute leaves of it.

    `gcloud` makes a command that signs one image at an emulator's REST address.
    """
    measured: dict[str, Any] = {}
    for count in (1_000, 20_000, 100_000):
        with rotated(program, count) as made:
            cost, _ = made.rotation().run()
            measured[f"{count:,}"] = {
                "wall": round(cost.wall, 1),
                "each": round(1000 * cost.wall / count, 2),
                "memory": round(cost.memory, 1),
            }
            if count == 20_000 and shutil.which("gcloud"):
                rest = made.environ["STORAGE_EMULATOR_HOST"].removeprefix("http://")
                loop = [gcloud(rest, made.folder).run()[0].wall for _ in range(LOOP)]
                measured["gcloud"] = round(1000 * sum(loop) / len(loop), 1)
    for word in ("QUOTA", "EXHAUSTED"):
        with rotated(program, OF_QUOTA) as made:
            made.emulator.fail(f"AsymmetricSign={word}:{QUOTA}/m")
            cost, _ = made.rotation().run()
            refused = made.emulator.count("AsymmetricSign", "RESOURCE_EXHAUSTED")
            used = OF_QUOTA / (QUOTA * cost.wall / 60)
            measured[word] = {"wall": round(cost.wall), "used": round(used, 2), "refused": refused}
    return measured


@contextmanager
def rotated(program: Path, count: int) -> Iterator[Fleet]:
    """A fleet to be rotated, in a folder of its own."""
    with (
        TemporaryDirectory(prefix="binauthz-fleet-") as name,
        fleet(program, count, Path(name)) as made,
    ):
        yield made


def main() -> None:
    """Run it all, print what was seen, and say with the exit code whether it is right."""
    if sys.argv[1:] == [SERVE]:
        return serve()
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("what", nargs="*", default=["calls", "faults", "shards"])
    given = parser.parse_args()
    program = Path(sys.executable).with_name("binauthz-attest")
    shows = {"calls": calls_an_image, "faults": with_faults, "shards": in_shards}
    right = True
    for what in given.what:
        with rotated(program, given.images) as made:
            begun = time.monotonic()
            seen = shows[what](made)
            took = time.monotonic() - begun
            stored, verified = made.emulator.stored(), made.verified()
        fine = stored == Counter({1: 2 * given.images}) and verified == given.images
        right = right and fine
        print(
            f"{what}: {seen}; {took:.1f} s; {given.images} images, stored {dict(stored)}, "
            f"verified under both keys {verified}: {'right' if fine else 'WRONG'}",
            flush=True,
        )
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
