"""Lists and notes become what is known of each image: who vouches for it, and what is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil

from step.cloud.connection import Connection
from step.cloud.methods import (
    BATCH_CREATE_OCCURRENCES,
    LIST_NOTE_OCCURRENCES,
    SIGN,
    VALIDATE,
    Method,
)
from step.cloud.occurrences import About, Occurrences
from step.errors import BadInput, Unverified
from step.events import Progress
from step.model.attestation import Attestor, Occurrence, Statement, Verified
from step.model.fleet import Fleet, State
from step.model.image import Digest, ImageName
from step.model.names import NoteName
from step.model.payload import Payload
from step.reattest.batches import BATCH
from step.reattest.plan import Plan, Settings, Share, Target, Validate
from step.signing.kms import KmsSigner

# Bits that the fleet keeps of each image.
_FACTS = 64
_TELL_EVERY = 10_000
# A signature is looked at for a digest, whatever the occurrence calls the image.
_NAMELESS = ImageName("registry.invalid", "image")


@dataclass(frozen=True, slots=True)
class NoteSource:
    """Images that are attested on a note: under keys of these attestors, or by anybody's word.

    With `key_id`, by that key alone; by anybody's word, too, where there is no attestor.
    """

    note: NoteName
    attestors: tuple[int, ...] = ()
    key_id: str | None = None

    def lists(self, occurrence: Occurrence, statements: Sequence[tuple[int, Statement]]) -> bool:
        """Whether an occurrence, with what is said of it, puts its image on the list."""
        if not self.attestors:
            claimed = (signature.key_id for signature in occurrence.attestation.signatures)
            return self.key_id is None or self.key_id in claimed
        return any(
            isinstance(said, Verified)
            and number in self.attestors
            and self.key_id in (None, said.key_id)
            for number, said in statements
        )


@dataclass
class Survey:
    """What is known of a fleet's images, for targets, by all attestors that are read.

    `attestors` are those of the targets, of what they need, and of the sources. An
    attestor has a bit among an image's facts, a target two.
    """

    fleet: Fleet
    attestors: Sequence[Attestor]
    targets: Sequence[Target]
    connection: Connection
    settings: Settings
    _seen: dict[NoteName, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.attestors) + 2 * len(self.targets) > _FACTS:
            raise BadInput(
                f"{len(self.attestors)} attestors and {len(self.targets)} keys are too many at "
                "once",
                "Do it in several runs.",
            )

    def run(self, sources: Sequence[NoteSource] = ()) -> Iterator[Progress]:
        """Look at every note once: first at those that list images, then at the others.

        An image that comes only with a later note is not looked for on the earlier ones again, but
        for sources that are several. Raises what `Occurrences.on` does.
        """
        # Of several lists, each must be whole before the facts of all its images are looked for.
        several = len({source.note for source in sources}) > 1
        for source in sources if several else ():
            yield from self._look(source.note, [source], quietly=True)
        mine = () if several else tuple(sources)
        notes = [source.note for source in sources]
        notes += [attestor.note for attestor in self._asked()]
        for note in dict.fromkeys(notes):
            yield from self._look(note, [each for each in mine if each.note == note])
        for target in self.targets:
            self._settle(target)

    def plan(self) -> Plan:
        """What is to do, as far as it is known by now."""
        shares = tuple(self._share(target) for target in self.targets)
        calls = self._calls(shares)
        rates = ((count, self.connection.rates.of(method)) for method, count in calls.items())
        times = [timedelta(minutes=1) * count / rate for count, rate in rates if rate]
        named = {method.name: count for method, count in calls.items() if count}
        return Plan(len(self.fleet), str(self.fleet.shard), shares, named, max(times, default=None))

    def vouched(self, number: int, target: Target) -> bool:
        """Whether all whom a target needs have attested an image."""
        facts = self.fleet.facts(number)
        return all(facts >> need & 1 for need in target.needs)

    def is_told(self, number: int, target: Target) -> bool:
        """Whether an image's attestation by a target was told of."""
        return bool(self.fleet.facts(number) >> self._told(target) & 1)

    def tell(self, number: int, target: Target) -> None:
        """Note that it was."""
        self.fleet.learn(number, self._told(target))

    def _asked(self) -> Iterator[Attestor]:
        """The attestors whose notes say what is vouched for, and what is done."""
        for target in self.targets:
            yield target.attestor
            yield from (self.attestors[need] for need in target.needs)

    def _look(
        self, note: NoteName, sources: Sequence[NoteSource], *, quietly: bool = False
    ) -> Iterator[Progress]:
        """Take what a note says of the images; with sources, those that it lists are added."""
        occurrences = Occurrences(self.connection)
        listed = occurrences.sweep(note) if sources else occurrences.about(note, self.fleet)
        own = [pair for pair in enumerate(self.attestors) if pair[1].note == note]
        count = 0
        for count, about in enumerate(listed, 1):
            self._take(about, own, sources)
            if count % _TELL_EVERY == 0:
                yield Progress(None, None, f"reading {note}: {count} attestations so far")
        if not quietly:
            self._seen[note] = count
            yield Progress(None, None, f"read {note}: {count} attestations")

    def _take(
        self, about: About, own: Sequence[tuple[int, Attestor]], sources: Sequence[NoteSource]
    ) -> None:
        number = self.fleet.find(about.digest)
        if number is None and not sources:
            return
        try:
            image = _NAMELESS.at(Digest.parse(about.digest))
        except BadInput:
            return
        occurrence = about.occurrence
        statements = [
            (bit, said) for bit, attestor in own for said in attestor.statements(occurrence, image)
        ]
        if number is None:
            if not any(source.lists(occurrence, statements) for source in sources):
                return
            number = self.fleet.add(about.digest)
            if number is None:  # another shard's
                return
        for bit, said in statements:
            self._learn(number, bit, said)
        if not any(isinstance(said, Verified) for _, said in statements):
            self._name(number, occurrence.resource_uri, firmly=False)

    def _learn(self, number: int, bit: int, said: Statement) -> None:
        if not isinstance(said, Verified):
            for target in self.targets:
                if bit in target.needs and self.fleet.state(number, target.number) is State.LEFT:
                    self.fleet.settle(number, target.number, State.LEFT, said.reason)
            return
        if not self.fleet.facts(number) >> bit & 1:
            self.fleet.learn(number, bit)
            self._name(number, _reference(said.occurrence), firmly=True)
        for target in self.targets:
            if target.attestor is self.attestors[bit] and target.key == said.key:
                self.fleet.learn(number, self._done(target))

    def _name(self, number: int, text: str, *, firmly: bool) -> None:
        """Call an image by what was attested; by where that is attached only if nothing else."""
        try:
            name = str(ImageName.parse(text.partition("@")[0]))
        except BadInput:
            return
        if firmly:
            self.fleet.rename(number, name)
        else:
            self.fleet.suggest(number, name)

    def _settle(self, target: Target) -> None:
        """Say of every image whether it is done, to be done, or refused for a target."""
        names = ", ".join(str(self.attestors[need].name) for need in target.needs)
        for number, digest in self.fleet.each():
            settle, why = State.LEFT, self.fleet.reason(number, target.number)
            if self.fleet.facts(number) >> self._done(target) & 1:
                settle, why = State.EXISTING, ""
            elif not (self.settings.unverified or self.vouched(number, target)):
                settle = State.REFUSED
                why = f"no attestation of {names} verifies" + (f": {why}" if why else "")
            elif self.fleet.image(number, digest) is None:
                settle, why = State.REFUSED, "nothing says what it is called"
            else:
                why = ""
            self.fleet.settle(number, target.number, settle, why)

    def _done(self, target: Target) -> int:
        """The bit that says that a target's own attestation is there."""
        return len(self.attestors) + target.number

    def _told(self, target: Target) -> int:
        return len(self.attestors) + len(self.targets) + target.number

    def _share(self, target: Target) -> Share:
        counts = self.fleet.counts(target.number)
        return Share(
            target.name,
            target.attestor.note,
            target.key.id,
            counts[State.LEFT],
            counts[State.EXISTING],
            self.fleet.reasons(target.number, State.REFUSED),
        )

    def _calls(self, shares: Sequence[Share]) -> dict[Method, int]:
        """How often each method is called, if nothing fails and all can be seen at once."""
        calls: dict[Method, int] = dict.fromkeys(
            (SIGN, VALIDATE, BATCH_CREATE_OCCURRENCES, LIST_NOTE_OCCURRENCES), 0
        )
        for share, target in zip(shares, self.targets, strict=True):
            if not share.to_do:
                continue
            calls[SIGN] += share.to_do * isinstance(target.signer, KmsSigner)
            match self.settings.validate:
                case Validate.FIRST:
                    calls[VALIDATE] += 1
                case Validate.EVERY:
                    calls[VALIDATE] += share.to_do
            calls[BATCH_CREATE_OCCURRENCES] += 1 + ceil((share.to_do - 1) / BATCH)
        for note in dict.fromkeys(share.note for share in shares):
            new = sum(share.to_do for share in shares if share.note == note)
            if new:
                pages = ceil((self._seen.get(note, 0) + new) / 1000)
                calls[LIST_NOTE_OCCURRENCES] += min(pages, new)
        return calls


def _reference(occurrence: Occurrence) -> str:
    """What a payload calls the image; empty where it cannot be read."""
    try:
        return Payload.parse(occurrence.attestation.payload).docker_reference
    except Unverified:
        return ""
