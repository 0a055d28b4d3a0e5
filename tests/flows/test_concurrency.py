"""Many pairs of image and attestor at the same time, and what one of them may do to the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pytest

from step.attest import Event, Receipt, Settings, Status, attest
from step.cloud.connection import Connection
from step.errors import BadInput
from step.events import Failure
from step.model.attestation import Attestor
from step.model.image import ImageRef
from step.model.keys import Algorithm, Key
from step.model.names import AttestorName
from step.signing.pkix import PkixSigner
from step.signing.signer import Signer
from tests.keys import pkix_signer
from tests.world import ATTESTOR, World, image, pkix_seed

NAME = AttestorName.parse(ATTESTOR)
IMAGES = [image(digit) for digit in "0123456789abcdef"]
P256 = Algorithm.ECDSA_P256_SHA256


@dataclass
class Watched:
    """Signs, after `before` was called with the payload."""

    before: Callable[[bytes], object]
    algorithm: Algorithm = P256

    @cached_property
    def inner(self) -> PkixSigner:
        return pkix_signer(self.algorithm)

    def key_on(self, attestor: Attestor) -> Key:
        return self.inner.key_on(attestor)

    def prepare(self) -> None:
        self.inner.prepare()

    def sign(self, payload: bytes, key: Key) -> bytes:
        self.before(payload)
        return self.inner.sign(payload, key)


@pytest.fixture
def run(
    make_world: Callable[..., World],
) -> Callable[[Signer, Sequence[ImageRef], list[Event]], World]:
    """Attest images, and keep what happens in a list, also when it ends in an exception."""
    world = make_world(pkix_seed(P256))

    def start(signer: Signer, images: Sequence[ImageRef], events: list[Event]) -> World:
        connection = Connection(world.clock, {}, world.emulator.grpc_address)
        for event in attest(images, [NAME], signer, connection, Settings()):
            events.append(event)
        return world

    return start


Run = Callable[[Signer, Sequence[ImageRef], list[Event]], World]


def test_eight_at_a_time(run: Run) -> None:
    """Each waits until eight have come to sign, and there are sixteen."""
    signing, most, lock = set[int](), 0, threading.Lock()
    barrier = threading.Barrier(8, timeout=20)

    def meet(_: bytes) -> None:
        nonlocal most
        with lock:
            signing.add(threading.get_ident())
            most = max(most, len(signing))
        barrier.wait()
        with lock:
            signing.discard(threading.get_ident())

    events = list[Event]()
    run(Watched(meet), IMAGES, events)
    assert sum(isinstance(event, Receipt) for event in events) == 16
    assert most == 8


def test_a_bug_in_one_is_raised_when_the_others_have_ended(run: Run) -> None:
    """Nothing is left half done behind it, and what was created is told."""

    def stumble(payload: bytes) -> None:
        if str(IMAGES[0].digest).encode() in payload:
            raise ZeroDivisionError

    events = list[Event]()
    with pytest.raises(ZeroDivisionError):
        run(Watched(stumble), IMAGES, events)
    receipts = [event for event in events if isinstance(event, Receipt)]
    assert {receipt.image for receipt in receipts} == set(IMAGES[1:])
    assert not any(isinstance(event, Failure) for event in events)


def test_two_runs_at_the_same_time_make_one_attestation(make_world: Callable[..., World]) -> None:
    """Both find nothing, and sign; PKCS #1 gives both the same bytes, and the second is told so."""
    algorithm = Algorithm.RSA_SIGN_PKCS1_2048_SHA256
    world = make_world(pkix_seed(algorithm))
    barrier = threading.Barrier(2, timeout=20)
    events = list[Event]()

    def start() -> None:
        connection = Connection(world.clock, {}, world.emulator.grpc_address)
        signer = Watched(lambda _: barrier.wait(), algorithm)
        events.extend(attest(IMAGES[:1], [NAME], signer, connection, Settings()))

    other = threading.Thread(target=start)
    other.start()
    start()
    other.join()
    receipts = [event for event in events if isinstance(event, Receipt)]
    assert {receipt.status for receipt in receipts} == {Status.CREATED, Status.EXISTING}
    assert len({receipt.occurrence for receipt in receipts}) == 1
    assert len(world.emulator.calls.writes()) == 1


def test_an_attestor_that_is_given_twice_is_read_once(make_world: Callable[..., World]) -> None:
    world = make_world(pkix_seed(P256))
    connection = Connection(world.clock, {}, world.emulator.grpc_address)
    signer = Watched(lambda _: None)
    events = list(attest(IMAGES[:1], [NAME, NAME], signer, connection, Settings()))
    assert len([each for each in events if isinstance(each, Receipt)]) == 1
    assert world.count("GetAttestor") == world.count("CreateOccurrence") == 1


def test_an_image_that_is_given_twice_is_attested_once(run: Run) -> None:
    events = list[Event]()
    world = run(Watched(lambda _: None), [IMAGES[0]] * 3, events)
    assert sum(isinstance(event, Receipt) for event in events) == 1
    assert world.count("CreateOccurrence") == 1


@pytest.mark.parametrize(("images", "attestors"), [([], [NAME]), (IMAGES, []), ([], [])])
def test_attesting_nothing_is_never_what_was_meant(
    kms_world: World, images: list[ImageRef], attestors: list[AttestorName]
) -> None:
    connection = Connection(kms_world.clock, {}, kms_world.emulator.grpc_address)
    signer = Watched(lambda _: None)
    with pytest.raises(BadInput, match="nothing to attest"):
        next(attest(images, attestors, signer, connection, Settings()))
    assert kms_world.methods == []
