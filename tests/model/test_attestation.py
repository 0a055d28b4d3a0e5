"""When an attestor's attestation holds, and in which order that is found out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.errors import BadInput, Unverified
from step.model.attestation import (
    Attestation,
    Attestor,
    Occurrence,
    Rejected,
    Requirement,
    Signature,
    Statement,
    Verified,
)
from step.model.bounds import PAYLOAD_BYTES, SIGNATURE_BYTES, SIGNATURES, TEXT_LENGTH
from step.model.image import ImageRef
from step.model.keys import Algorithm, Key, UnusableKey
from step.model.payload import Payload
from tests.keys import PgpKind, attestor, pgp_key, pgp_sign, pkix_key, pkix_sign

IMAGE = ImageRef.parse(f"gcr.io/p/i@sha256:{'a' * 64}")
OTHER = ImageRef.parse(f"gcr.io/p/i@sha256:{'b' * 64}")
ELSEWHERE = ImageRef.parse(f"docker.io/library/x@sha256:{'a' * 64}")
PAYLOAD = Payload.of(IMAGE).to_bytes()
NO_PAYLOAD = b"not JSON"

P256 = Algorithm.ECDSA_P256_SHA256
P384 = Algorithm.ECDSA_P384_SHA384
EC, EC_OTHER, PGP = pkix_key(P256, "urn:ec"), pkix_key(P384, "urn:ec2"), pgp_key(PgpKind.ED25519)
ATTESTOR = attestor(EC, EC_OTHER, PGP)


def ec(payload: bytes) -> Signature:
    return Signature(EC.id, pkix_sign(P256, payload))


def pgp(payload: bytes) -> Signature:
    return Signature(PGP.id, pgp_sign(PgpKind.ED25519, payload))


@pytest.mark.parametrize("algorithm", Algorithm, ids=lambda each: each.name)
def test_an_attestation_of_every_algorithm_verifies(algorithm: Algorithm) -> None:
    key = pkix_key(algorithm)
    attestation = Attestation(PAYLOAD, (Signature(key.id, pkix_sign(algorithm, PAYLOAD)),))
    assert attestor(EC, key).verify(attestation, IMAGE) == key


@pytest.mark.parametrize("kind", PgpKind, ids=lambda each: each.name)
def test_an_attestation_of_every_openpgp_key_verifies(kind: PgpKind) -> None:
    key = pgp_key(kind)
    attestation = Attestation(PAYLOAD, (Signature(key.id, pgp_sign(kind, PAYLOAD)),))
    assert attestor(EC, key).verify(attestation, IMAGE) == key


def test_only_the_digest_counts_not_the_name() -> None:
    assert ATTESTOR.verify(Attestation(PAYLOAD, (ec(PAYLOAD),)), ELSEWHERE) == EC


def test_one_signature_that_holds_is_enough_in_any_place() -> None:
    bad = Signature(EC.id, b"bad")
    unknown = Signature("urn:unknown", b"")
    for signatures in ((pgp(PAYLOAD), bad, unknown), (bad, unknown, pgp(PAYLOAD))):
        assert ATTESTOR.verify(Attestation(PAYLOAD, signatures), IMAGE) == PGP


def reason(attestation: Attestation, image: ImageRef = IMAGE, by: Attestor = ATTESTOR) -> str:
    with pytest.raises(Unverified) as caught:
        by.verify(attestation, image)
    assert str(image) in caught.value.message
    return caught.value.message.partition(": ")[2]


def test_no_signature_is_no_attestation() -> None:
    assert reason(Attestation(PAYLOAD, ())) == "it has no signature"


def test_first_the_key_is_looked_up() -> None:
    actual = reason(Attestation(NO_PAYLOAD, (Signature("urn:unknown", b"bad"),)), OTHER)
    assert actual == f"{ATTESTOR.name} lists no key 'urn:unknown'"


def test_then_the_signature_is_verified() -> None:
    actual = reason(Attestation(NO_PAYLOAD, (Signature(EC.id, b"bad"),)), OTHER)
    assert actual == f"the signature is not that of {EC.id} over the payload"


def test_then_the_payload_is_parsed() -> None:
    actual = reason(Attestation(NO_PAYLOAD, (ec(NO_PAYLOAD),)), OTHER)
    assert actual == "the payload is not Binary Authorization's JSON"


def test_then_its_digest_is_compared() -> None:
    actual = reason(Attestation(PAYLOAD, (ec(PAYLOAD),)), OTHER)
    assert actual == f"it attests {IMAGE.digest}, not {OTHER.digest}"


def test_every_reason_is_told() -> None:
    actual = reason(Attestation(PAYLOAD, (Signature("urn:x", b""), Signature(EC.id, b""))))
    assert actual.count("; ") == 1
    assert "urn:x" in actual
    assert EC.id in actual


@pytest.mark.parametrize("key_id", [EC.id.upper(), f" {EC.id}", f"{EC.id}/", "", EC_OTHER.id])
def test_an_id_must_be_the_registered_one_byte_for_byte(key_id: str) -> None:
    reason(Attestation(PAYLOAD, (Signature(key_id, pkix_sign(P256, PAYLOAD)),)))


def test_an_attestor_without_keys_verifies_nothing() -> None:
    assert "lists no key" in reason(Attestation(PAYLOAD, (ec(PAYLOAD),)), by=attestor())


def test_an_unusable_key_verifies_nothing() -> None:
    broken = UnusableKey(EC.id, "its PEM cannot be read")
    actual = reason(Attestation(PAYLOAD, (ec(PAYLOAD),)), by=attestor(broken))
    assert "its PEM cannot be read" in actual


@dataclass(frozen=True)
class Made:
    """A signature, and whether it should hold for IMAGE's payload under ATTESTOR."""

    signature: Signature
    holds: bool


EC_BYTES, PGP_BYTES = pkix_sign(P256, PAYLOAD), pgp_sign(PgpKind.ED25519, PAYLOAD)
MADE = (
    Made(Signature(EC.id, EC_BYTES), True),
    Made(Signature(PGP.id, PGP_BYTES), True),
    Made(Signature(EC.id, PGP_BYTES), False),
    Made(Signature(PGP.id, EC_BYTES), False),
    Made(Signature(EC_OTHER.id, EC_BYTES), False),
    Made(Signature("urn:not-registered", EC_BYTES), False),
    Made(Signature(EC.id, pkix_sign(P256, PAYLOAD, number=1)), False),
    Made(Signature(EC.id, pkix_sign(P256, Payload.of(OTHER).to_bytes())), False),
    Made(Signature(PGP.id, pgp_sign(PgpKind.ED25519, Payload.of(OTHER).to_bytes())), False),
    Made(Signature(EC.id, b""), False),
)


@given(st.lists(st.sampled_from(MADE), max_size=6), st.sampled_from([IMAGE, OTHER, ELSEWHERE]))
def test_it_holds_exactly_when_one_signature_holds_over_the_right_digest(
    made: list[Made], image: ImageRef
) -> None:
    attestation = Attestation(PAYLOAD, tuple(each.signature for each in made))
    key: Key | None = None
    try:
        key = ATTESTOR.verify(attestation, image)
    except Unverified:
        assert image == OTHER or not any(each.holds for each in made)
    else:
        assert image != OTHER
        assert key.id == next(each.signature.key_id for each in made if each.holds)


def occurrence(*signatures: Signature, image: ImageRef = IMAGE) -> Occurrence:
    return Occurrence(
        "projects/p/occurrences/1", image.resource_uri, Attestation(PAYLOAD, signatures)
    )


def test_an_occurrence_counts_under_exactly_the_wanted_key() -> None:
    bad, good = occurrence(Signature(EC.id, b"bad")), occurrence(pgp(PAYLOAD), ec(PAYLOAD))
    assert ATTESTOR.first_verified(iter([bad, good]), IMAGE, EC) is good
    assert ATTESTOR.first_verified(iter([bad, good]), IMAGE, PGP) is good
    assert ATTESTOR.first_verified(iter([bad, good]), IMAGE, EC_OTHER) is None
    assert ATTESTOR.first_verified(iter([bad, good]), OTHER, EC) is None
    assert ATTESTOR.first_verified(iter([]), IMAGE, EC) is None


def test_an_occurrence_counts_for_the_image_that_it_names_only() -> None:
    good = occurrence(ec(PAYLOAD))
    about_other = occurrence(ec(PAYLOAD), image=OTHER)
    assert ATTESTOR.first_verified(iter([about_other]), IMAGE, EC) is None
    bare = replace(good, resource_uri=str(IMAGE))
    assert ATTESTOR.first_verified(iter([about_other, bare]), IMAGE, EC) is bare


@pytest.mark.parametrize(
    ("resource_uri", "about"),
    [
        (IMAGE.resource_uri, True),
        (str(IMAGE), True),
        (f"gcr.io/p/i:tag@{IMAGE.digest}", True),
        (ELSEWHERE.resource_uri, True),
        (OTHER.resource_uri, False),
        (f"{IMAGE}0", False),
        (f"https://{IMAGE.name}", False),
        (f"https://{IMAGE.name}:{IMAGE.digest}", False),
        ("", False),
    ],
)
def test_an_occurrence_is_about_the_digest_that_it_names(resource_uri: str, about: bool) -> None:
    assert replace(occurrence(), resource_uri=resource_uri).is_about(IMAGE) is about


def test_each_signature_is_judged_in_its_place() -> None:
    actual = occurrence(Signature("urn:x", b""), ec(PAYLOAD), Signature(PGP.id, b"bad"))
    unknown, held, bad = ATTESTOR.statements(actual, IMAGE)
    assert held == Verified(actual, IMAGE, EC)
    assert isinstance(unknown, Rejected)
    assert isinstance(bad, Rejected)
    assert (unknown.key_id, held.key_id, bad.key_id) == ("urn:x", EC.id, PGP.id)
    assert "lists no key" in unknown.reason
    assert "not signed by" in bad.reason


@pytest.mark.parametrize("kind", ["VULNERABILITY", "", "attestation"])
def test_another_kind_is_rejected_whatever_it_holds(kind: str) -> None:
    actual = replace(occurrence(ec(PAYLOAD)), kind=kind)
    [only] = ATTESTOR.statements(actual, IMAGE)
    assert isinstance(only, Rejected)
    assert "not an attestation" in only.reason


# --- What is larger than any honest one


def large(payload: bytes = PAYLOAD, count: int = 1, size: int = 1) -> Attestation:
    return Attestation(payload, (*[Signature(EC.id, bytes(size))] * (count - 1), ec(PAYLOAD)))


@pytest.mark.parametrize(
    ("attestation", "says"),
    [
        (Attestation(PAYLOAD + b" " * PAYLOAD_BYTES, (ec(PAYLOAD),)), "payload of 65"),
        (large(count=SIGNATURES + 1), "33 signatures"),
    ],
)
def test_what_is_over_a_bound_is_one_rejection_and_nobody_looks_at_it(
    attestation: Attestation, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("cryptography.hazmat.primitives.serialization.load_der_public_key")
    actual = Occurrence("projects/p/occurrences/1", IMAGE.resource_uri, attestation)
    [only] = ATTESTOR.statements(actual, IMAGE)
    assert isinstance(only, Rejected)
    assert only.key_id is None
    assert says in only.reason
    assert says in reason(attestation)
    assert ATTESTOR.first_verified([actual], IMAGE, EC) is None


def test_what_is_within_the_bounds_is_looked_at() -> None:
    padded = PAYLOAD + b" " * (PAYLOAD_BYTES - len(PAYLOAD))
    assert ATTESTOR.verify(Attestation(padded, (ec(padded),)), IMAGE) == EC
    assert ATTESTOR.verify(large(count=SIGNATURES), IMAGE) == EC


def test_a_signature_over_the_bound_is_rejected_and_the_one_beside_it_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("pysequoia.verify")
    huge = Signature(PGP.id, bytes(SIGNATURE_BYTES + 1))
    bad, good = ATTESTOR.statements(occurrence(huge, ec(PAYLOAD)), IMAGE)
    assert isinstance(bad, Rejected)
    assert "131073 bytes are over the 131072 allowed" in bad.reason
    assert isinstance(good, Verified)


class PanicException(BaseException):
    """What a panic of Rust code is in Python: no Exception."""


@pytest.mark.parametrize("failure", [OSError(5, "secret"), MemoryError(), PanicException("secret")])
def test_whatever_a_library_raises_is_one_rejection(
    failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise failure

    actual = occurrence(pgp(PAYLOAD), ec(PAYLOAD))
    monkeypatch.setattr("pysequoia.verify", fail)
    bad, good = ATTESTOR.statements(actual, IMAGE)
    assert isinstance(bad, Rejected)
    assert bad.reason.endswith(f"fail that verifies it: {type(failure).__name__}")
    assert isinstance(good, Verified)
    assert ATTESTOR.verify(actual.attestation, IMAGE) == EC


def test_who_interrupts_is_not_taken_for_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    actual = occurrence(pgp(PAYLOAD))
    monkeypatch.setattr("pysequoia.verify", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ATTESTOR.statements(actual, IMAGE)


def test_a_rejection_keeps_neither_bytes_nor_more_text_than_is_shown() -> None:
    long = "x" * 1_000_000
    uri = f"https://{long}@{OTHER.digest}"
    actual = Occurrence("o", uri, Attestation(b"p", (Signature(long, b"s"), ec(PAYLOAD))))
    for statement in ATTESTOR.statements(actual, IMAGE):
        assert isinstance(statement, Rejected)
        assert statement.occurrence.attestation == Attestation(b"", ())
        texts = [statement.reason, statement.key_id or "", statement.occurrence.resource_uri]
        assert max(map(len, texts)) <= TEXT_LENGTH


@given(st.lists(st.sampled_from(MADE), max_size=4), st.sampled_from([IMAGE, OTHER, ELSEWHERE]))
def test_judging_and_verifying_agree(made: list[Made], image: ImageRef) -> None:
    actual = occurrence(*(each.signature for each in made), image=image)
    judged = ATTESTOR.statements(actual, image)
    assert len(judged) == max(len(made), 1)
    keys = [each.key for each in judged if isinstance(each, Verified)]
    try:
        assert ATTESTOR.verify(actual.attestation, image) == keys[0]
    except Unverified:
        assert keys == []


def held(*keys: Key) -> list[Statement]:
    return [Verified(occurrence(), IMAGE, key) for key in keys]


AGAIN = pkix_key(P256, "urn:ec-again")
BROKEN = UnusableKey("urn:broken", "its PEM cannot be read")
REJECTED = Rejected(occurrence(), IMAGE, EC.id, "bad")


UNMET: list[tuple[Requirement, tuple[Key, ...], list[Key], str | None]] = [
    (Requirement(), (EC, PGP), [], "no attestation verifies"),
    (Requirement(), (EC, PGP), [EC], None),
    (Requirement(), (EC, BROKEN), [EC], None),
    (Requirement(), (), [], f"{ATTESTOR.name} lists no key, so that nothing can verify"),
    (Requirement(), (), [EC], f"{ATTESTOR.name} lists no key, so that nothing can verify"),
    (Requirement(2), (EC, PGP), [EC, EC], "attestations by 1 of 2 keys verify"),
    (Requirement(2), (EC, PGP), [EC, PGP], None),
    (Requirement(2), (EC, AGAIN), [EC, AGAIN], "attestations by 1 of 2 keys verify"),
    (Requirement(3), (EC, PGP), [EC, PGP], "attestations by 2 of 3 keys verify"),
    (Requirement(every_key=True), (EC,), [EC], None),
    (Requirement(every_key=True), (EC, PGP), [EC], f"no attestation by {PGP.id} verifies"),
    (Requirement(every_key=True), (EC, PGP), [PGP, EC], None),
    (Requirement(every_key=True), (EC, AGAIN), [EC], "no attestation by urn:ec-again verifies"),
    (Requirement(every_key=True), (EC, BROKEN), [EC], "no attestation by urn:broken verifies"),
    (Requirement(every_key=True), (BROKEN,), [], "no attestation verifies"),
]


@pytest.mark.parametrize(("requirement", "keys", "holding", "unmet"), UNMET, ids=range(len(UNMET)))
def test_what_a_requirement_lacks(
    requirement: Requirement, keys: tuple[Key, ...], holding: list[Key], unmet: str | None
) -> None:
    judged: list[Statement] = [REJECTED, *held(*holding), REJECTED]
    assert requirement.unmet(attestor(*keys), judged) == unmet


@pytest.mark.parametrize("count", [0, -1])
def test_asking_for_nothing_is_refused(count: int) -> None:
    with pytest.raises(BadInput, match="--at-least"):
        Requirement(count)
