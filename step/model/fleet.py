"""Many images by digest, and what is known of each: a hundred thousand fit in a few megabytes."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from enum import IntEnum

from step.errors import BadInput
from step.model.image import Digest, ImageName, ImageRef
from step.model.shard import Shard

# Of a sha256.
_SIZE = 32
# Beyond so many different ones, reasons are not told apart.
_REASONS = 2000
_ANY_OTHER = "for one of many other reasons"


class State(IntEnum):
    """How far an image has come for one attestor and key."""

    LEFT = 0
    """To be attested."""
    EXISTING = 1
    """Attested before this run."""
    REFUSED = 2
    """Not to be attested: nothing vouches for it."""
    SIGNED = 3
    """Signed, and not sent yet."""
    STORED = 4
    """Sent, and not read back yet."""
    CREATED = 5
    """Read back and verified."""
    FAILED = 6
    """Could not be attested, or not be read back."""

    @property
    def word(self) -> str:
        """As receipts and reports have it."""
        return self.name.lower()


class Fleet(Collection[str]):
    """The images of one shard, each once, in the order in which they came.

    As a collection it is that of the digests, as texts. `targets` is how many attestations each
    image is to have; facts are bits that mean what their owner says. Not safe to share between
    threads that write.
    """

    def __init__(self, targets: int, shard: Shard) -> None:
        self.shard = shard
        self._digests = _Digests()
        self._names = _Texts()
        self._reasons = _Texts(_REASONS)
        self._name = array("I")
        self._facts = array("Q")
        self._states = [bytearray() for _ in range(targets)]
        self._reason = [array("H") for _ in range(targets)]

    def __len__(self) -> int:
        return len(self._name)

    def __iter__(self) -> Iterator[str]:
        return (digest for _, digest in self.each())

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and self.find(digest) is not None

    def add(self, digest: str, name: str = "") -> int | None:
        """Take an image, perhaps with its name; its number, or None if another shard has it.

        Raises BadInput for what is not a digest.
        """
        key = bytes.fromhex(Digest.parse(digest).hex)
        if not self.shard.holds(key):
            return None
        number = self._digests.add(key)
        if number == len(self._name):
            self._name.append(0)
            self._facts.append(0)
            for states, reasons in zip(self._states, self._reason, strict=True):
                states.append(State.LEFT)
                reasons.append(0)
        if name:
            self.suggest(number, name)
        return number

    def each(self) -> Iterator[tuple[int, str]]:
        """The numbers and digests of all images."""
        return ((number, self._digests.text(number)) for number in range(len(self)))

    def find(self, digest: str) -> int | None:
        """The number of an image, None if it is not here; of any text."""
        try:
            return self._digests.find(bytes.fromhex(Digest.parse(digest).hex))
        except BadInput:
            return None

    def suggest(self, number: int, name: str) -> None:
        """Give an image a name while it has none."""
        if not self._name[number]:
            self.rename(number, name)

    def rename(self, number: int, name: str) -> None:
        """Give an image the name that counts from now on."""
        self._name[number] = self._names.number(name)

    def image(self, number: int, digest: str) -> ImageRef | None:
        """An image by its number and digest; None while nothing gave it a name."""
        name = self._names.text(self._name[number])
        return ImageRef(ImageName.parse(name), Digest.parse(digest)) if name else None

    def facts(self, number: int) -> int:
        """The bits that are known of an image."""
        return self._facts[number]

    def learn(self, number: int, bit: int) -> None:
        """Set a bit."""
        self._facts[number] |= 1 << bit

    def state(self, number: int, target: int) -> State:
        """How far an image has come for one of its attestations."""
        return State(self._states[target][number])

    def reason(self, number: int, target: int) -> str:
        """Why, where it is refused or has failed."""
        return self._reasons.text(self._reason[target][number])

    def settle(self, number: int, target: int, state: State, reason: str = "") -> None:
        """Say how far an image has come."""
        self._states[target][number] = state
        self._reason[target][number] = self._reasons.number(reason)

    def counts(self, target: int) -> Counter[State]:
        """How many images have come how far."""
        return Counter(map(State, self._states[target]))

    def reasons(self, target: int, state: State) -> Counter[str]:
        """Why images are in a state, and how many for each reason."""
        states, reasons = self._states[target], self._reason[target]
        numbers = Counter(why for of, why in zip(states, reasons, strict=True) if of == state)
        return Counter({self._reasons.text(why): count for why, count in numbers.items()})

    def of(self, target: int, *states: State) -> Iterator[tuple[int, str]]:
        """The numbers and digests of the images that are in one of the states."""
        mine = self._states[target]
        for number in range(len(self)):
            if mine[number] in states:
                yield number, self._digests.text(number)


class _Digests:
    """Digests by number, in one piece of memory: a dictionary of them takes four times as much.

    A table of numbers, half empty at least, is looked up by the hash that Python gives to bytes: it
    differs from run to run, so that nobody can choose digests that meet in it.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._count = 0
        self._slots = array("I", bytes(4 * 1024))

    def add(self, key: bytes) -> int:
        """The number of a digest, a new one for a new digest."""
        at, number = self._look(key)
        if number is None:
            if 2 * self._count >= len(self._slots):
                self._grow()
                at, _ = self._look(key)
            number = self._count
            self._bytes += key
            self._count += 1
            self._slots[at] = self._count
        return number

    def find(self, key: bytes) -> int | None:
        """The number of a digest, None if it is not here."""
        return self._look(key)[1]

    def text(self, number: int) -> str:
        """A digest as references have it."""
        return f"sha256:{self._at(number).hex()}"

    def _at(self, number: int) -> bytes:
        return bytes(self._bytes[number * _SIZE : (number + 1) * _SIZE])

    def _look(self, key: bytes) -> tuple[int, int | None]:
        """The slot of a digest, and its number if it is there; a slot holds the number and one."""
        at = hash(key) % len(self._slots)
        while self._slots[at]:
            number = self._slots[at] - 1
            if self._at(number) == key:
                return at, number
            at = (at + 1) % len(self._slots)
        return at, None

    def _grow(self) -> None:
        self._slots = array("I", bytes(4 * 2 * len(self._slots)))
        for number in range(self._count):
            at, _ = self._look(self._at(number))
            self._slots[at] = number + 1


class _Texts:
    """Texts by number, 0 for none; once there are `limit`, one stands for all that are new."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._numbers = {"": 0}
        self._texts = [""]

    def number(self, text: str) -> int:
        if text not in self._numbers:
            if self._limit is not None and len(self._texts) >= self._limit:
                text = _ANY_OTHER
            if text not in self._numbers:
                self._numbers[text] = len(self._texts)
                self._texts.append(text)
        return self._numbers[text]

    def text(self, number: int) -> str:
        return self._texts[number]
