"""Images and a policy become decisions: read what the policy's rules need, and evaluate."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from step.cloud.connection import Connection
from step.cloud.occurrences import Occurrences
from step.cloud.policies import Policies
from step.errors import BadInput, Refused, StepError
from step.events import Failure
from step.model.admission import Attested, Decision, Evidence, Request, Unattested, evaluate
from step.model.attestation import Attestor, Verified
from step.model.image import ImageRef
from step.model.keys import identity
from step.model.names import AttestorName
from step.model.policy import Policy, SystemPolicy
from step.model.shared_keys import shared_warning, sharing
from step.verify import read_attestors


@dataclass(frozen=True, slots=True)
class Admission:
    """A policy, where the images are to run, and Google's system policy where it is known."""

    policy: Policy
    request: Request
    system: SystemPolicy | None = None
    distinct_keys: bool = False


def decide(
    images: Sequence[str],
    admission: Admission,
    connection: Connection,
    expected: Collection[AttestorName] = (),
) -> Iterator[Decision | Failure]:
    """Evaluate a policy for images as a pod names them, with every signature verified here.

    Nothing is asked that no rule needs. An attestor is read once, and its attestations of an image
    are listed once; that takes roles/binaryauthorization.attestorsViewer on the attestors and
    roles/containeranalysis.notes.occurrences.viewer on their notes. What could not be asked is
    a Failure, neither a denial nor an admission. `expected` are attestors of which a warning says
    if the policy never asks for their attestation.

    Raises BadInput for an empty list: nothing denied is not everything admitted.
    """
    if not images:
        raise BadInput("there is no image to evaluate", "Name at least one image.")
    reader = _Reader(connection, admission.distinct_keys)
    for image in dict.fromkeys(images):
        try:
            decision = evaluate(
                admission.policy,
                image,
                admission.request,
                reader.evidence,
                admission.system,
                expected,
                distinct_keys=admission.distinct_keys,
            )
            shared = reader.shared(name for name, _ in decision.evidence)
            yield replace(decision, warnings=(*decision.warnings, *shared))
        except StepError as error:
            yield Failure(image, None, error)


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
class _Reader:
    """What attestors say of images; every attestor is read once."""

    connection: Connection
    distinct_keys: bool
    read: dict[AttestorName, Attestor | StepError] = field(default_factory=dict)

    def shared(self, names: Iterable[AttestorName]) -> Iterator[str]:
        """Warnings of keys that several of the attestors list."""
        read = (self.read.get(name) for name in names)
        for key_id, by in sharing(each for each in read if isinstance(each, Attestor)):
            yield shared_warning(key_id, by)

    def evidence(self, name: AttestorName, image: ImageRef) -> Evidence:
        try:
            attestor = self._attestor(name)
            details: list[str] = []
            held: list[Verified] = []
            for occurrence in Occurrences(self.connection).of(attestor.note, image):
                for statement in attestor.statements(occurrence, image):
                    if isinstance(statement, Verified):
                        held.append(statement)
                    else:
                        details.append(f"{occurrence.name}: {statement.reason}")
                if held and not self.distinct_keys:
                    break
            if held:
                keys = frozenset(identity(statement.key) for statement in held)
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
            self.read.update(read_attestors([name], self.connection))
        attestor = self.read[name]
        if isinstance(attestor, StepError):
            raise attestor
        return attestor
