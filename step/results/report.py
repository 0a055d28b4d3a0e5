"""A page about a whole re-attestation: images by attestors, failures first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from step.model.fleet import State
from step.reattest.reattest import Reattestation
from step.results import github
from step.results.files import write_pieces
from step.results.page import Cell, Line, render
from step.results.result import Result

_BAD = (State.FAILED, State.REFUSED, State.LEFT)


def write_report(path: str, task: Reattestation, result: Result, now: datetime) -> None:
    """Write the page, as Markdown where the name says so; raises BadInput naming the path."""
    rows = tuple(task.tallies())
    if path.endswith(".md"):
        whole = Result(result.goal, rows, build=result.build, emulator=result.emulator)
        write_pieces(path, [github.summary(whole)])
        return
    facts = [
        ("Images", f"{len(task.fleet):,}"),
        ("Made", f"{now:%Y-%m-%d %H:%M} UTC"),
    ]
    if str(task.fleet.shard) != "1/1":
        facts.append(("Part", str(task.fleet.shard)))
    if result.build:
        facts.append(("Build", result.build))
    if result.emulator:
        facts.append(("Warning", "An emulator said this, not Google Cloud."))
    unverified = sum(row.unverified for row in rows)
    if unverified:
        told = f"{unverified:,} attestations were made though no old one vouched for the image."
        facts.append(("Warning", told))
    columns = [f"{target.name} {target.key.id}" for target in task.targets]
    pieces = render("Re-attestation", facts, columns, _lines(task))
    write_pieces(path, pieces)


def _lines(task: Reattestation) -> Iterator[Line]:
    """A line for each image: those with something wrong, and then the others."""
    for wrong in (True, False):
        for number, digest in task.fleet.each():
            states = [task.fleet.state(number, target.number) for target in task.targets]
            if any(state in _BAD for state in states) is wrong:
                image = task.fleet.image(number, digest)
                reasons = (task.fleet.reason(number, target.number) for target in task.targets)
                yield Line(str(image or digest), tuple(_cells(states, reasons)))


def _cells(states: Iterable[State], reasons: Iterable[str]) -> Iterator[Cell]:
    for state, reason in zip(states, reasons, strict=True):
        yield Cell(state.word, reason)
