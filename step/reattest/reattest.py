"""Who attests with what, and the run: survey, plan, sign and store, confirm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from step.cloud.attestors import Attestors
from step.cloud.connection import Connection
from step.errors import BadInput, KeyNotRegistered
from step.events import Failure, Progress
from step.journal import Journal
from step.model.attestation import Attestor
from step.model.fleet import Fleet, State
from step.model.keys import Key
from step.model.names import AttestorName, NoteName
from step.model.shard import Shard
from step.reattest.batches import Batches
from step.reattest.confirm import Confirmation
from step.reattest.plan import Advance, Outcome, Plan, Settings, Tally, Target
from step.reattest.survey import NoteSource, Survey
from step.signing.signer import Signer


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for: with whom to attest, who must have, and whose attestations are a list.

    `old` are the attestors that all must have attested an image; where there are none, the new
    attestor itself must have, under any key that it lists. `listed` are attestors, or notes alone,
    whose images are re-attested, with `key_id` those by that key only.
    """

    attestors: Sequence[AttestorName]
    signers: Sequence[Signer]
    old: Sequence[AttestorName] = ()
    listed: Sequence[AttestorName | NoteName] = ()
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Reattestation:
    """Work that is known as far as names go; `prepare` makes it."""

    survey: Survey
    sources: Sequence[NoteSource]
    connection: Connection
    settings: Settings

    @property
    def fleet(self) -> Fleet:
        """The images; whoever has a list adds them before the plan."""
        return self.survey.fleet

    @property
    def targets(self) -> Sequence[Target]:
        """The attestors and keys."""
        return self.survey.targets

    def look(self) -> Iterator[Progress]:
        """Read the notes; needs roles/containeranalysis.notes.occurrences.viewer on each."""
        yield from self.survey.run(self.sources)

    def plan(self) -> Plan:
        """What there is to do, once the notes were read."""
        return self.survey.plan()

    def tallies(self) -> Iterator[Tally]:
        """How far all came, by now."""
        for target in self.targets:
            counts = self.fleet.counts(target.number)
            unverified = 0
            if self.settings.unverified:
                made = self.fleet.of(target.number, State.CREATED)
                unverified = sum(not self.survey.vouched(number, target) for number, _ in made)
            yield Tally(
                target.name,
                target.key.id,
                counts[State.CREATED],
                counts[State.EXISTING],
                counts[State.REFUSED],
                counts[State.FAILED],
                counts[State.LEFT] + counts[State.SIGNED] + counts[State.STORED],
                unverified,
            )

    def perform(
        self, journal: Journal | None, stop: Callable[[], bool]
    ) -> Iterator[Advance | Outcome | Progress | Failure]:
        """Do what is planned, and tell what became of every image, and of the work itself.

        `stop` is asked before anything is begun; what is under way then is ended, and confirmed by
        one look.
        """
        batches = Batches(self.fleet, self.targets, self.connection, self.settings, journal, stop)
        yield from batches.run()
        confirmation = Confirmation(self.survey, self.connection, self.settings)
        yield from confirmation.run(batches.halted or stop())


def prepare(
    wanted: Wanted, connection: Connection, settings: Settings, shard: Shard
) -> Reattestation:
    """Read the attestors, and find which key of each signs.

    Each attestor must list a key of one of the signers, and each signer must be of use. Needs
    roles/binaryauthorization.attestorsViewer on the attestors. Raises what reading one raises,
    KeyNotRegistered, and BadInput for a key id that none of the lists' attestors has.
    """
    reader = Attestors(connection)
    lists = wanted.listed or (wanted.attestors if wanted.key_id else ())
    asked = (*wanted.attestors, *wanted.old, *(n for n in lists if isinstance(n, AttestorName)))
    attestors = {name: reader.get(name) for name in dict.fromkeys(asked)}
    numbers = {name: number for number, name in enumerate(attestors)}
    targets: list[Target] = []
    for name in dict.fromkeys(wanted.attestors):
        needs = tuple(numbers[old] for old in dict.fromkeys(wanted.old or [name]))
        for signer, key in _keys(attestors[name], wanted.signers):
            targets.append(Target(len(targets), attestors[name], key, signer, needs))
    for signer in wanted.signers:
        if not any(target.signer is signer for target in targets):
            signer.key_on(targets[0].attestor)  # which says why not
    sources = [_source(name, attestors, numbers, wanted.key_id) for name in dict.fromkeys(lists)]
    listing = [attestors[name] for name in lists if isinstance(name, AttestorName)]
    if wanted.key_id and listing and not any(each.key(wanted.key_id) for each in listing):
        names = ", ".join(str(each.name) for each in listing)
        raise BadInput(
            f"--from-key: {wanted.key_id} is listed by none of {names}",
            "Give the id as the attestor lists it: gcloud container binauthz attestors describe.",
        )
    survey = Survey(
        Fleet(len(targets), shard), list(attestors.values()), targets, connection, settings
    )
    return Reattestation(survey, sources, connection, settings)


def _keys(attestor: Attestor, signers: Sequence[Signer]) -> Iterator[tuple[Signer, Key]]:
    """The signers that an attestor lists a key of; the first one's error where there is none."""
    unlisted: list[KeyNotRegistered] = []
    for signer in signers:
        try:
            yield signer, signer.key_on(attestor)
        except KeyNotRegistered as error:
            unlisted.append(error)
    if len(unlisted) == len(signers):
        raise unlisted[0]


def _source(
    name: AttestorName | NoteName,
    attestors: dict[AttestorName, Attestor],
    numbers: dict[AttestorName, int],
    key_id: str | None,
) -> NoteSource:
    if isinstance(name, NoteName):
        return NoteSource(name, (), key_id)
    return NoteSource(attestors[name].note, (numbers[name],), key_id)
