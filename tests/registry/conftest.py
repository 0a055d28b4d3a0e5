"""Servers that answer as a test says, stopped when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.registry.hostile import Script, Server, serve
from tests.world import FakeClock


@pytest.fixture
def start() -> Iterator[Callable[[Script], Server]]:
    """Start a server that answers as the script says."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(serve(script))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
