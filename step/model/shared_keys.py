"""One signature is one statement: keys that several attestors list, and what they may count for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from step.model.attestation import Attestor
from step.model.keys import Identity, UnusableKey, identity
from step.model.names import AttestorName

NO_KEY_OF_ITS_OWN = "what verifies is by a key that counts for another attestor already"
"""What is missing where an attestor is left without a key of its own."""


def sharing(attestors: Iterable[Attestor]) -> Iterator[tuple[str, tuple[AttestorName, ...]]]:
    """The keys that several of the attestors list: an id of each, and who lists it.

    What is signed names no attestor, so that a signature for one of them, copied to another's note,
    is an attestation by both.
    """
    listed: dict[Identity, tuple[str, dict[AttestorName, None]]] = {}
    for attestor in attestors:
        for key in attestor.keys:
            if not isinstance(key, UnusableKey):
                _, names = listed.setdefault(identity(key), (key.id, {}))
                names[attestor.name] = None
    for key_id, names in listed.values():
        if len(names) > 1:
            yield key_id, tuple(names)


def shared_warning(key_id: str, names: Iterable[AttestorName]) -> str:
    """One line about a key that several attestors list."""
    return (
        f"{' and '.join(map(str, names))} list the same key, {key_id}: one signature by it is an "
        "attestation by each; --distinct-keys asks for a different key each"
    )


def without_keys_of_their_own(
    held: Mapping[AttestorName, frozenset[Identity]], needed: Mapping[AttestorName, int]
) -> frozenset[AttestorName]:
    """The attestors that are left without enough keys if each key counts for one of them.

    `held` are the keys that verify for each, `needed` how many each must have. It is an assignment
    of keys to attestors, found by augmenting paths: some are left only if some must be, and who was
    named later is.
    """
    counts_for: dict[Identity, AttestorName] = {}

    def give(name: AttestorName, tried: set[Identity]) -> bool:
        for key in held[name] - tried:
            tried.add(key)
            taken = counts_for.get(key)
            if taken != name and (taken is None or give(taken, tried)):
                counts_for[key] = name
                return True
        return False

    lacking: set[AttestorName] = set()
    for name, count in needed.items():
        if not all(give(name, set()) for _ in range(count)):
            lacking.add(name)
            for key in [key for key, owner in counts_for.items() if owner == name]:
                del counts_for[key]  # what is not enough is free for others
    return frozenset(lacking)
