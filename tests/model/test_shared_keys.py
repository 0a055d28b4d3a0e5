"""Keys that several attestors list: found whatever their ids, and counted once."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from step.model.attestation import Attestor
from step.model.keys import Algorithm, Key, UnusableKey
from step.model.names import AttestorName, NoteName
from step.model.shared_keys import sharing, without_key_of_its_own
from tests.keys import PgpKind, pgp_key, pkix_key

P256 = Algorithm.ECDSA_P256_SHA256
NAMES = [AttestorName("p", name) for name in ("built", "tested", "scanned")]


def listing(name: AttestorName, *keys: Key) -> Attestor:
    return Attestor(name, NoteName("p", name.id), keys)


def test_a_key_is_the_same_under_another_id() -> None:
    built = listing(NAMES[0], pkix_key(P256, "urn:a"), pgp_key(PgpKind.ED25519))
    tested = listing(NAMES[1], pkix_key(P256, "urn:b"), pkix_key(P256, number=1))
    scanned = listing(NAMES[2], pgp_key(PgpKind.ED25519), pgp_key(PgpKind.P256))
    assert list(sharing([built, tested, scanned])) == [
        ("urn:a", (NAMES[0], NAMES[1])),
        (pgp_key(PgpKind.ED25519).id, (NAMES[0], NAMES[2])),
    ]


def test_what_is_not_shared() -> None:
    twice = listing(NAMES[0], pkix_key(P256, "urn:a"), pkix_key(P256, "urn:b"))
    broken = [listing(name, UnusableKey("urn:x", "it is broken")) for name in NAMES]
    other = listing(NAMES[1], pkix_key(P256, number=1))
    assert list(sharing([twice, other])) == []
    assert list(sharing(broken)) == []
    assert list(sharing([])) == []


def could_be(
    held: Mapping[AttestorName, frozenset[int]], needed: Mapping[AttestorName, int]
) -> bool:
    """By trying everything."""
    wanted = [name for name, count in needed.items() for _ in range(count)]
    every = sorted(set().union(*held.values()))
    return any(
        all(key in held[name] for name, key in zip(wanted, chosen, strict=True))
        for chosen in permutations(every, len(wanted))
    )


@given(
    st.dictionaries(
        st.sampled_from(NAMES), st.frozensets(st.integers(0, 4), max_size=4), min_size=1
    ),
    st.data(),
)
def test_somebody_is_left_only_if_somebody_must_be(
    held: dict[AttestorName, frozenset[int]], data: st.DataObject
) -> None:
    needed = {name: data.draw(st.integers(1, 2)) for name in held}
    lacking = without_key_of_its_own(held, needed)
    assert (lacking is None) is could_be(held, needed)
    assert lacking is None or lacking in held
