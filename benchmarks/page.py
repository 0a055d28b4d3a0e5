"""docs/performance.md, and README's one line of it, out of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = Path(__file__).with_name("results.json")

_UNITS = {"cpu": ("processor time", "s"), "wall": ("time", "s"), "memory": ("peak memory", "MiB")}


def summary(results: Mapping[str, Any]) -> str:
    """What a run costs, in one line; raises KeyError or TypeError where gcloud was not measured."""
    quick = results["gcloud"]["0s"]
    parts = [
        f"{quick['cpu']['ratio']:.2f} of its processor time",
        f"{quick['wall']['ratio']:.2f} of its time",
        f"{quick['memory']['ratio']:.2f} of its memory",
    ]
    seconds = f"{quick['wall']['ours']:.1f} s beside what the services take"
    return f"One image costs {seconds}; measured beside gcloud, {', '.join(parts)}."


def render(results: Mapping[str, Any]) -> str:
    """The page as it is committed."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    on = results["on"]
    yield "# What a run costs"
    yield ""
    yield "Made by `make bench`; what it found is in [results.json](../benchmarks/results.json)."
    yield ""
    yield (
        f"Measured on {on['date']} with Python {on['python']} on {on['system']}, {on['cores']} "
        f"cores, as medians of {on['rounds']} pairs: two programs run in turn, and each pair is a "
        "ratio. Seconds differ from machine to machine, ratios hardly. The program is installed as "
        "in the image, from the runtime lock, with bytecode; the services are the emulator's, in a "
        "process of its own, whose work is not counted."
    )
    yield from _gcloud(results)
    yield ""
    yield from _fleet(results["fleet"])
    yield ""
    yield "## The wait"
    yield ""
    yield "How long after an attestation could be seen it is seen, and how often it is looked for."
    yield ""
    yield "| seen after | late, median | late, at most | looks a second, at most |"
    yield "|---|---|---|---|"
    for delay, row in results["waits"].items():
        yield f"| {delay} | {row['late']:.2f} s | {row['latest']:.2f} s | {row['looks']:.1f} |"
    yield ""
    yield "## Calls, growth, start and size"
    yield ""
    yield "| what | |"
    yield "|---|---|"
    names = results["calls"]
    yield f"| calls for one image, two of them together | {len(names)}: {', '.join(names)} |"
    growth = results["growth"]
    yield (
        f"| {growth['images']} images beside one, calls of 50 ms | "
        f"{growth['ours']:.2f} s : {growth['theirs']:.2f} s = {growth['ratio']:.2f} |"
    )
    yield from _many(results)
    start = results["start"]
    yield (
        "| `attest --help` beside `import typer`, processor time | "
        f"{start['ours']:.2f} s : {start['theirs']:.2f} s = {start['ratio']:.2f} |"
    )
    size = results["image_megabytes"]
    weight = "not measured: there was no image" if size is None else f"{size:.1f} MB"
    yield f"| what the image adds to its base, compressed | {weight} |"
    yield ""
    yield from _hostile(results["hostile"])
    yield ""
    yield "## To repeat it"
    yield ""
    yield "The image's size takes buildah, the pairs take gcloud; what is missing is left out."
    yield ""
    yield "```console"
    yield "$ make image ENGINE=buildah"
    yield "$ make bench BENCH='--python python3 --rounds 15'"
    yield "```"


def _many(results: Mapping[str, Any]) -> Iterator[str]:
    many, rows, note = results["many"], results["results"], results["listing"]
    yield (
        f"| {many['images']} images in one run, each seen after {many['delay']} s | "
        f"{many['wall']:.2f} s, {many['rate']:.1f} a second |"
    )
    yield (
        f"| {rows['rows']:,} receipts to GitHub, Cloud Build, a file and standard output | "
        f"{rows['text']:.2f} s as text, {rows['json']:.2f} s as JSON |"
    )
    yield (
        f"| the emulator's list of one digest, of {note['long']:,} occurrences on the note beside "
        f"{note['short']} | {note['ours']:.2f} ms : {note['theirs']:.2f} ms = {note['ratio']:.2f} |"
    )


def _hostile(results: Mapping[str, Any]) -> Iterator[str]:
    yield "## A note full of what others wrote"
    yield ""
    yield (
        f"One image is verified whose attestor's note holds {results['count']:,} hostile "
        "occurrences for it, bombs and garbage among them, beside one good one; compared with a "
        f"note that holds {results['count']:,} honest attestations of other images, which the "
        "service leaves out."
    )
    yield ""
    yield "| | | hostile | honest | ratio |"
    yield "|---|---|---|---|---|"
    for verb in ("verify", "gate"):
        for key, (what, unit) in (("wall", _UNITS["wall"]), ("memory", _UNITS["memory"])):
            row = results[verb][key]
            ours, theirs = f"{row['ours']:.2f} {unit}", f"{row['theirs']:.2f} {unit}"
            yield f"| `{verb}` | {what} | {ours} | {theirs} | {row['ratio']:.2f} |"


def _gcloud(results: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "## Beside gcloud"
    yield ""
    measured = results["gcloud"]
    if measured is None:
        yield "Not measured: gcloud was not installed."
        return
    yield (
        "`attest` looks for an attestation, signs, verifies, has Binary Authorization validate, "
        "creates, and reads back. `gcloud beta container binauthz attestations sign-and-create "
        f"--validate` ({results['on']['gcloud']}), on the same emulator, does neither the first "
        "nor the last."
    )
    yield ""
    yield "| a call takes | | `attest` | gcloud | ratio |"
    yield "|---|---|---|---|---|"
    for latency, rows in measured.items():
        for key, (what, unit) in _UNITS.items():
            row = rows[key]
            ours, theirs = f"{row['ours']:.2f} {unit}", f"{row['theirs']:.2f} {unit}"
            yield f"| {latency} | {what} | {ours} | {theirs} | {row['ratio']:.2f} |"


def _fleet(fleet: Mapping[str, Any]) -> Iterator[str]:
    yield "## Many images"
    yield ""
    yield (
        "`reattest` from an old key to a new one, both in Cloud KMS, with a journal: the old "
        "attestations are read and verified, each image is signed, stored and read back. Beside "
        "it, a loop of gcloud's `sign-and-create` on the same emulator."
    )
    yield ""
    yield "| images | time | an image | peak memory |"
    yield "|---|---|---|---|"
    counted = {name: row for name, row in fleet.items() if name[0].isdigit()}
    for name, row in counted.items():
        yield f"| {name} | {row['wall']:.1f} s | {row['each']:.2f} ms | {row['memory']:.1f} MiB |"
    least, *_, most = counted.values()
    yield ""
    yield f"Peak memory of the most beside the fewest: {most['memory'] / least['memory']:.2f}."
    if "gcloud" in fleet:
        ratio = fleet["gcloud"] / counted["20,000"]["each"]
        yield f"gcloud takes {fleet['gcloud']:.0f} ms an image: {ratio:.0f} times as long."
    yield ""
    yield "| a quota of 600 signatures a minute | time for 1,500 | used of it | calls refused |"
    yield "|---|---|---|---|"
    for word, told in (("QUOTA", "the service tells it"), ("EXHAUSTED", "it is only exhausted")):
        row = fleet[word]
        yield f"| {told} | {row['wall']} s | {row['used']:.0%} | {row['refused']} |"
    yield ""
    yield (
        "`python -m benchmarks.fleet` shows at 20,000 images that nothing is lost and nothing made "
        "twice: with faults and kills, and in sixteen shards."
    )
