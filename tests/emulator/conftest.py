"""Emulators to talk to."""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache

import pytest

from step.emulator import Emulator, Seed
from step.emulator.keys import SCHEMES, new_rsa_key
from tests.emulator.world import RING, SEED, Clients, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def emulator(clock: FakeClock) -> Iterator[Emulator]:
    """One key, one note, one attestor; a new occurrence is listed after three seconds."""
    with Emulator(
        Seed.parse(SEED), visibility_delay=timedelta(seconds=3), now=clock.now
    ) as running:
        yield running


@pytest.fixture
def clients(emulator: Emulator) -> Iterator[Clients]:
    made = Clients.of(emulator)
    yield made
    made.channel.close()


@pytest.fixture(scope="session")
def key_pool() -> Iterator[Clients]:
    """Clients of an emulator that has one key of each algorithm, named like it."""
    keys = "\n".join(
        f"  - {{name: {RING}/cryptoKeys/{name}, algorithm: {name}, protection_level: HSM}}"
        for name in SCHEMES
    )
    with Emulator(Seed.parse(f"keys:\n{keys}\n"), rsa_key=cache(new_rsa_key)) as running:
        made = Clients.of(running)
        yield made
        made.channel.close()
