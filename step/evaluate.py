"""Images and a policy become decisions: read what the policy's rules need, and evaluate."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from step.cloud.attestors import Attestors
from step.cloud.connection import Connection
from step.cloud.occurrences import Occurrences
from step.cloud.policies import Policies
from step.errors import BadInput, Refused, StepError
from step.model.admission import (
    Attested,
    Decision,
    Request,
    Unattested,
    Verdict,
    evaluate,
)
from step.model.attestation import Attestor, Verified
from step.model.image import ImageRef
from step.model.keys import identity
from step.model.names import AttestorName
from step.model.policy import Policy, SystemPolicy
from step.model.shared_keys import shared_warning, sharing


@dataclass(frozen=True, slots=True)
class Undecided:
    """Why there is no decision; `image` is as it was given, or None where it is about none."""

    image: str | None
    error: StepError


@dataclass(frozen=True, slots=True)
class Judge:
    """A policy, where the images are to run, and Google's system policy where it is known."""

    policy: Policy
    request: Request
    system: SystemPolicy | None = None
    distinct_keys: bool = False


def decide(
    images: Sequence[str],
    judge: Judge,
    connection: Connection,
    expected: Collection[AttestorName] = (),
) -> Iterator[Decision | Undecided]:
    """Evaluate a policy for images as a pod names them, with every signature verified here.

    Nothing is asked that no rule needs. An attestor is read once, and its attestations of an image
    are listed once; that takes roles/binaryauthorization.attestorsViewer on the attestors and
    roles/containeranalysis.notes.occurrences.viewer on their notes. What could not be asked is
    Undecided, neither a denial nor an admission. `expected` are attestors of which a warning says
    if the policy never asks for their attestation.

    Raises BadInput for an empty list: nothing denied is not everything admitted.
    """
    if not images:
        raise BadInput("there is no image to evaluate", "Name at least one image.")
    evidence = _Evidence(connection, judge.distinct_keys)
    for image in dict.fromkeys(images):
        try:
            decision = evaluate(
                judge.policy,
                image,
                judge.request,
                evidence.verdict,
                judge.system,
                expected,
                distinct_keys=judge.distinct_keys,
            )
            shared = evidence.shared(name for name, _ in decision.verdicts)
            yield replace(decision, warnings=(*decision.warnings, *shared))
        except StepError as error:
            yield Undecided(image, error)


def system_policy(connection: Connection, policy: Policy) -> SystemPolicy | StepError | None:
    """Google's system policy where the policy uses it, or why it could not be read.

    It only ever admits more, so that going on without it is safe.
    """
    if not policy.uses_system_policy:
        return None
    try:
        return Policies(connection).system()
    except StepError as error:
        return error


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What attestors say of images; every attestor is read once."""

    connection: Connection
    distinct_keys: bool
    read: dict[AttestorName, Attestor | StepError] = field(default_factory=dict)

    def shared(self, names: Iterable[AttestorName]) -> Iterator[str]:
        """Warnings of keys that several of the attestors list."""
        read = (self.read.get(name) for name in names)
        for key_id, by in sharing(one for one in read if isinstance(one, Attestor)):
            yield shared_warning(key_id, by)

    def verdict(self, name: AttestorName, image: ImageRef) -> Verdict:
        try:
            attestor = self._attestor(name)
            details: list[str] = []
            held: list[Verified] = []
            for occurrence in Occurrences(self.connection).of(attestor.note, image):
                for judged in attestor.judge(occurrence, image):
                    if isinstance(judged, Verified):
                        held.append(judged)
                    else:
                        details.append(f"{occurrence.name}: {judged.reason}")
                if held and not self.distinct_keys:
                    break
            if held:
                keys = frozenset(identity(one.key) for one in held)
                return Attested(held[0].key_id, held[0].occurrence.name, keys)
        except Refused as error:  # an attestor that can verify nothing
            return Unattested(details=(error.message,))
        except StepError as error:
            return error
        if not attestor.keys:
            details.append(f"{name} lists no key")
        return Unattested(details=tuple(details))

    def _attestor(self, name: AttestorName) -> Attestor:
        if name not in self.read:
            try:
                self.read[name] = Attestors(self.connection).get(name)
            except StepError as error:
                self.read[name] = error
        found = self.read[name]
        if isinstance(found, StepError):
            raise found
        return found
