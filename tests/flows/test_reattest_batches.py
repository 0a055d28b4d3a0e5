"""`reattest` is right whatever a service makes of a batch, and ends early where all would fail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from grafeas import grafeas_v1

from tests.fleets import NEW, OLD, attest_old, attested, fleet_seed, names, once, rotate, target
from tests.world import NOTE, PROJECT, World

IMAGES = names(12)


@pytest.fixture
def fleet(make_world: Callable[..., World]) -> World:
    """A dozen images that are attested by the old key."""
    world = make_world(fleet_seed())
    attest_old(world, IMAGES)
    return world


@pytest.mark.parametrize(
    "faults",
    [
        ["BatchCreateOccurrences=PARTIAL:2"],
        ["BatchCreateOccurrences=DROP_ANSWER:2"],
        ["BatchCreateOccurrences=UNAVAILABLE:2"],
        ["BatchCreateOccurrences=SKIP_EXISTING"],
        ["BatchCreateOccurrences=INVALID_ARGUMENT:1"],
        ["BatchCreateOccurrences=RESOURCE_EXHAUSTED:3"],
        ["BatchCreateOccurrences=DROP_ANSWER:1", "ListNoteOccurrences=STALE:30"],
        ["AsymmetricSign=QUOTA:3"],
        ["AsymmetricSign=CORRUPT_CHECKSUM:2", "ListNoteOccurrences=UNAVAILABLE:2"],
        ["*=UNAVAILABLE:20%"],
    ],
    ids=lambda faults: ",".join(faults),
)
def test_whatever_the_service_makes_of_a_batch_each_is_there_once(
    fleet: World, faults: list[str]
) -> None:
    """Run again where it says that it is to be."""
    fleet.clock.sleep(timedelta(minutes=2))  # the old ones are old
    fleet.emulator.fail(*faults)
    result = rotate(fleet)
    for _ in range(5):
        if result.code == 0:
            break
        assert result.code == 8, result.out
        result = rotate(fleet)
    fleet.emulator.heal()
    assert result.code == 0
    assert attested(fleet) == once(IMAGES, OLD, NEW)


def test_what_was_created_and_cannot_be_seen_has_a_code_of_its_own(fleet: World) -> None:
    fleet.emulator.fail("BatchCreateOccurrences=NEVER_VISIBLE")
    result = rotate(fleet)
    assert (result.code, target(result)["failed"]) == (7, 12)
    assert "could not be read back" in result.err


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("ValidateAttestationOccurrence=NOT_VERIFIABLE", 3),
        ("BatchCreateOccurrences=PERMISSION_DENIED", 4),
        ("AsymmetricSign=PERMISSION_DENIED", 4),
        ("AsymmetricSign=FAILED_PRECONDITION", 3),
        ("AsymmetricSign=CORRUPT_SIGNATURE", 3),
    ],
)
def test_what_is_wrong_with_all_ends_it_early(
    make_world: Callable[..., World], fault: str, code: int
) -> None:
    world = make_world(fleet_seed())
    images = names(200)
    attest_old(world, images)
    world.emulator.fail(fault)
    before = world.count("AsymmetricSign")
    result = rotate(world)
    assert result.code == code, result.out
    assert world.count("AsymmetricSign") - before <= 80
    assert attested(world) == once(images, OLD)
    world.emulator.heal()
    assert rotate(world).code == 0
    assert attested(world) == once(images, OLD, NEW)


def test_after_a_no_of_the_service_nothing_is_created(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    """Not of the next signature either, which the service would take; and the same with those of a
    journal, of which there are many."""
    world = make_world(fleet_seed())
    images = names(200)
    attest_old(world, images)
    journal = ("--journal", str(tmp_path / "journal.jsonl"))
    # One attestation shows that it can be stored, a batch is journalled, and not stored.
    world.clock.sleep(timedelta(minutes=2))
    world.emulator.fail("BatchCreateOccurrences=NEVER_VISIBLE:1")
    world.emulator.fail("BatchCreateOccurrences=PERMISSION_DENIED")
    assert rotate(world, *journal).code == 4
    world.emulator.heal()
    before = world.count("BatchCreateOccurrences"), world.count("AsymmetricSign")
    world.emulator.fail("ValidateAttestationOccurrence=NOT_VERIFIABLE:1")
    for more in (journal, ()):
        result = rotate(world, *more)
        assert result.code == 3, result.out
        assert world.count("BatchCreateOccurrences") == before[0]
        world.emulator.fail("ValidateAttestationOccurrence=NOT_VERIFIABLE:1")
    assert world.count("AsymmetricSign") - before[1] <= 60
    assert attested(world) == once(images, OLD)


@pytest.mark.parametrize("spelling", [str.upper, lambda text: f" {text}", lambda text: text[:-2]])
def test_an_odd_digest_on_the_note_is_nobody_s(
    fleet: World, spelling: Callable[[str], str]
) -> None:
    """Whoever may write to the note can spell one oddly, and spoils no run."""
    name, _, digest = IMAGES[0].rpartition("@sha256:")
    for attestation in fleet.emulator.occurrences(PROJECT, NOTE.rpartition("/")[2])[:1]:
        odd = type(attestation)(attestation)
        odd.resource_uri = f"https://{name}@sha256:{spelling(digest)}"
        client = fleet.client(grafeas_v1.GrafeasClient)
        client.create_occurrence(parent=f"projects/{PROJECT}", occurrence=odd)
    result = rotate(fleet)
    assert (result.code, target(result)["created"]) == (0, 12), result.out
    assert rotate(fleet, "--receipts", "/dev/null/x").code == 2
    assert rotate(fleet, source=IMAGES).code == 0


def test_validation_of_every_one_asks_for_every_one(fleet: World) -> None:
    before = fleet.count("ValidateAttestationOccurrence")
    assert rotate(fleet, "--validate", "every").code == 0
    assert fleet.count("ValidateAttestationOccurrence") - before == 12
