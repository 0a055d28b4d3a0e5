"""Keys that several attestors list: found whatever their ids, and counted once."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from step.model.attestation import Attestor
from step.model.keys import Algorithm, Identity, Key, UnusableKey
from step.model.names import AttestorName, NoteName
from step.model.shared_keys import sharing, without_keys_of_their_own
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
    held: Mapping[AttestorName, frozenset[Identity]], needed: Mapping[AttestorName, int]
) -> bool:
    """By trying everything."""
    wanted = [name for name, count in needed.items() for _ in range(count)]
    every = sorted(set().union(*held.values()), key=str)
    return any(
        all(key in held[name] for name, key in zip(wanted, chosen, strict=True))
        for chosen in permutations(every, len(wanted))
    )


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.frozensets(st.sampled_from([b"0", b"1", b"2", b"3", b"4"]), max_size=4),
        min_size=1,
    ),
    st.data(),
)
def test_somebody_is_left_only_if_somebody_must_be(
    held: dict[AttestorName, frozenset[Identity]], data: st.DataObject
) -> None:
    needed = {name: data.draw(st.integers(1, 2)) for name in held}
    lacking = without_keys_of_their_own(held, needed)
    assert (not lacking) is could_be(held, needed)
    assert lacking <= held.keys()
    # Without them, the others have enough.
    kept = {name: count for name, count in needed.items() if name not in lacking}
    assert could_be(held, kept)


def test_all_who_are_left_are_told() -> None:
    held: dict[AttestorName, frozenset[Identity]] = dict.fromkeys(NAMES, frozenset({b"one"}))
    assert without_keys_of_their_own(held, dict.fromkeys(NAMES, 1)) == set(NAMES[1:])


def test_what_is_not_enough_for_one_is_left_to_others() -> None:
    held: dict[AttestorName, frozenset[Identity]] = dict.fromkeys(NAMES[:2], frozenset({b"one"}))
    assert without_keys_of_their_own(held, {NAMES[0]: 2, NAMES[1]: 1}) == {NAMES[0]}
