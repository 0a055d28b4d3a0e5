"""Many images to re-attest: an attestor with an old and a new key, and what the emulator holds."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from grafeas import grafeas_v1

from tests.world import ATTESTOR, KEY, NOTE, PROJECT, Result, World

OLD, NEW = f"{KEY}/cryptoKeyVersions/1", f"{KEY}/cryptoKeyVersions/2"
PREFIX = "//cloudkms.googleapis.com/v1/"
OTHER = f"projects/{PROJECT}/attestors/other"
OTHER_NOTE = f"projects/{PROJECT}/notes/other"


def fleet_seed() -> dict[str, Any]:
    """An attestor that lists two versions of a key, and another one that lists the second."""
    enabled = {"state": "ENABLED"}
    return {
        "keys": [{"name": KEY, "versions": [enabled, enabled]}],
        "attestors": [
            {"name": ATTESTOR, "note": NOTE, "public_keys": [{"kms": OLD}, {"kms": NEW}]},
            {"name": OTHER, "note": OTHER_NOTE, "public_keys": [{"kms": NEW}]},
        ],
    }


def names(count: int, start: int = 0) -> list[str]:
    """So many images, in a few repositories."""
    return [
        f"europe-docker.pkg.dev/{PROJECT}/apps/web{number % 7}@sha256:"
        + hashlib.sha256(str(number).encode()).hexdigest()
        for number in range(start, start + count)
    ]


def attest_old(world: World, images: Iterable[str], key: str = OLD) -> None:
    """Have all of them attested by a key, without a word about what was before."""
    result = world.run(
        *("reattest", *images, "--attestor", ATTESTOR, "--kms-key-version", key),
        *("--unverified", "--yes"),
    )
    assert result.code == 0, result.err


def attested(world: World, note: str = NOTE) -> Counter[tuple[str, str]]:
    """How many attestations there are on a note, by digest and key, whoever lists them."""
    client = world.client(grafeas_v1.GrafeasClient)
    request = grafeas_v1.ListNoteOccurrencesRequest(name=note, page_size=1000)
    counted: Counter[tuple[str, str]] = Counter()
    for occurrence in client.list_note_occurrences(request):
        plain = grafeas_v1.Occurrence.pb(occurrence)
        for signature in plain.attestation.signatures:
            digest = occurrence.resource_uri.rpartition("@")[2]
            counted[digest, signature.public_key_id.removeprefix(PREFIX)] += 1
    return counted


def once(images: Iterable[str], *keys: str) -> Counter[tuple[str, str]]:
    """One attestation of each image by each key."""
    return Counter((image.rpartition("@")[2], key) for image in images for key in keys)


def rotate(
    world: World, *more: str, source: Sequence[str] = ("--from-attestor", ATTESTOR)
) -> Result:
    """From the old key to the new one."""
    return world.run(
        *("reattest", *source, "--attestor", ATTESTOR, "--kms-key-version", NEW),
        *("--yes", "--format", "json", *more),
    )


def target(result: Result) -> dict[str, Any]:
    """The counts for the only attestor and key."""
    [counts] = json.loads(result.out)["targets"]
    assert isinstance(counts, dict)
    return counts
