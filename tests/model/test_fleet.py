"""A fleet: every image once, in one shard, with what is known of it, in little memory."""

from __future__ import annotations

import hashlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.errors import BadInput
from step.model.fleet import Fleet, State
from step.model.shard import Shard

HASHES = st.binary(min_size=32, max_size=32)


def digest(data: bytes) -> str:
    return f"sha256:{data.hex()}"


@given(st.lists(HASHES, max_size=30), st.integers(1, 40))
def test_every_image_is_in_exactly_one_part_whatever_the_order(
    hashes: list[bytes], count: int
) -> None:
    parts = [Shard(number, count) for number in range(1, count + 1)]
    held = [[each for each in hashes if part.holds(each)] for part in parts]
    again = [[each for each in reversed(hashes) if part.holds(each)] for part in parts]
    assert sorted(each for part in held for each in part) == sorted(hashes)
    assert [set(part) for part in held] == [set(part) for part in again]


def test_parts_are_of_about_one_size() -> None:
    hashes = [hashlib.sha256(str(number).encode()).digest() for number in range(16_000)]
    sizes = [sum(Shard(number, 16).holds(each) for each in hashes) for number in range(1, 17)]
    assert 900 <= min(sizes) <= max(sizes) <= 1100


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/4/2", "1.0/2"])
def test_a_part_is_one_of_its_number(text: str) -> None:
    with pytest.raises(BadInput):
        Shard.parse(text, "--shard")


@given(st.lists(HASHES), st.lists(st.text(st.characters(codec="ascii"), min_size=1)))
def test_an_image_is_there_once_with_its_first_name(hashes: list[bytes], names: list[str]) -> None:
    fleet = Fleet(1, Shard())
    for index, each in enumerate(hashes):
        fleet.add(digest(each), names[index] if index < len(names) else "")
    assert list(fleet) == [digest(each) for each in dict.fromkeys(hashes)]
    assert len(fleet) == len(set(hashes))
    assert all(each in fleet for each in map(digest, hashes))


@given(st.lists(st.sampled_from(list(State)), min_size=1, max_size=50))
def test_states_and_reasons_are_counted(states: list[State]) -> None:
    fleet = Fleet(2, Shard())
    for index, state in enumerate(states):
        number = fleet.add(digest(hashlib.sha256(bytes([index])).digest()))
        assert number == index
        fleet.settle(number, 1, state, f"because {state.word}" if state else "")
    assert fleet.counts(1) == {state: states.count(state) for state in set(states)}
    assert fleet.counts(0) == {State.LEFT: len(states)}
    for state in State:
        assert len(list(fleet.of(1, state))) == states.count(state)
        if state and state in states:
            assert fleet.reasons(1, state) == {f"because {state.word}": states.count(state)}


def test_very_many_reasons_are_one_in_the_end() -> None:
    fleet = Fleet(1, Shard())
    for index in range(3000):
        number = fleet.add(digest(hashlib.sha256(str(index).encode()).digest()))
        assert number is not None
        fleet.settle(number, 0, State.FAILED, f"reason {index}")
    reasons = fleet.reasons(0, State.FAILED)
    assert len(reasons) <= 2001
    assert sum(reasons.values()) == 3000


@pytest.mark.parametrize(
    "text",
    ["sha256:12", "sha256:" + "G" * 64, "x" * 64, "", "sha256:", "sha256:" + "AB" * 32, "ab" * 32],
)
def test_what_is_no_digest_is_none(text: str) -> None:
    fleet = Fleet(1, Shard())
    fleet.add("sha256:" + "ab" * 32)
    assert text not in fleet
    with pytest.raises(BadInput):
        fleet.add(text)


def test_a_hundred_thousand_fit_in_a_few_megabytes() -> None:
    tracemalloc.start()
    try:
        fleet = Fleet(1, Shard())
        for index in range(100_000):
            fleet.add(digest(hashlib.sha256(str(index).encode()).digest()), f"r/{index % 50}")
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 8e6
