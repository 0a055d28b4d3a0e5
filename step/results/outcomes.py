"""What `reattest` shows: the plan, how many images came how far, and receipts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from step.attest import Receipt
from step.clock import show_duration
from step.reattest.plan import Plan, Share, Tally
from step.results.receipts import attested
from step.results.view import View

if TYPE_CHECKING:
    from step.results.result import Result

_COUNTS = ("created", "existing", "refused", "failed", "left")


def reattested(row: Receipt | Plan | Tally, result: Result) -> View:
    """A row of `reattest`."""
    match row:
        case Plan():
            return _plan(row)
        case Tally():
            return _tally(row)
        case receipt:
            return attested(receipt, result)


def plan_lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """The plan for people, as labels and texts."""
    part = "" if plan.shard == "1/1" else f" of part {plan.shard}"
    yield "plan ", f"{plan.images:,} images{part}, {plan.to_do:,} attestations to be made"
    for share in plan.shares:
        yield "  attestor    ", str(share.attestor)
        yield "  key         ", share.public_key_id
        yield "    to do     ", f"{share.to_do:,}"
        yield "    done      ", f"{share.existing:,} already"
        for reason, count in _refused(share):
            yield "    refused   ", f"{count:,}: {reason}"
    for name, count in plan.calls.items():
        yield "  calls       ", f"{count:,} {name}"
    if plan.calls:
        known = plan.duration
        time = (
            "as fast as the services allow" if known is None else f"{show_duration(known)} at least"
        )
        yield "  time        ", time


def _plan(plan: Plan) -> View:
    duration = None if plan.duration is None else round(plan.duration.total_seconds())
    return View(
        kind="plans",
        entry={
            "images": plan.images,
            "shard": plan.shard,
            "to_do": plan.to_do,
            "targets": [
                {
                    "attestor": str(share.attestor),
                    "public_key_id": share.public_key_id,
                    "to_do": share.to_do,
                    "existing": share.existing,
                    "refused": dict(_refused(share)),
                }
                for share in plan.shares
            ],
            "calls": dict(plan.calls),
            "seconds": duration,
        },
        lines=tuple(plan_lines(plan)),
        head=("Attestor", "Key", "To do", "Done already", "Refused"),
        status="dry-run",
    )


def _tally(tally: Tally) -> View:
    counts = {name: getattr(tally, name) for name in _COUNTS}
    told = [f"{count:,} {name}" for name, count in counts.items() if count] or ["nothing to do"]
    if tally.unverified:
        told.append(f"{tally.unverified:,} of them unverified: no old attestation vouched for them")
    entry = asdict(tally) | {"attestor": str(tally.attestor)}
    if not tally.unverified:
        del entry["unverified"]
    return View(
        kind="targets",
        entry=entry,
        lines=(
            ("attestor ", str(tally.attestor)),
            ("  key         ", tally.public_key_id),
            *(("  ", text) for text in told),
        ),
        head=("Attestor", "Key", *(name.capitalize() for name in _COUNTS), "Unverified"),
        cells=(
            str(tally.attestor),
            tally.public_key_id,
            *(f"{count:,}" for count in counts.values()),
            f"{tally.unverified:,}" if tally.unverified else "",
        ),
        status="created" if tally.created else "existing",
    )


def _refused(share: Share) -> list[tuple[str, int]]:
    """Why images are refused, the most frequent reasons first; of very many, some."""
    return sorted(share.refused.items(), key=lambda item: -item[1])[:20]
