"""Which policy decides, and for where: from options to what evaluation takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from step.cli.options import DISTINCT_KEYS, HOW, WHERE, option, variables
from step.cli.program import Program, read_text
from step.errors import BadInput, StepError
from step.model.names import ProjectName

if TYPE_CHECKING:
    from step.cloud.connection import Connection
    from step.evaluate import Admission
    from step.model.admission import Request
    from step.model.policy import Policy, SystemPolicy


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What the options say of where the images are to run."""

    cluster: str | None = option(WHERE, "LOCATION.NAME, for rules by cluster.", "LOCATION.NAME")
    namespace: str | None = option(WHERE, "Kubernetes namespace, for rules by it.", "NAME")
    service_account: str | None = option(
        WHERE,
        "NAMESPACE:NAME, or NAME beside --namespace, for rules by Kubernetes service account.",
        "NAME",
    )
    service_identity: str | None = option(
        WHERE, "spiffe://DOMAIN/ns/NAMESPACE/sa/NAME, for rules by Istio service identity.", "ID"
    )

    def request(self) -> Request:
        """Where the images are to run; raises BadInput for a contradiction or another form."""
        from step.model.admission import Request

        return Request.parse(
            self.cluster, self.namespace, self.service_account, self.service_identity
        )


@dataclass(frozen=True, slots=True)
class PolicyFileOptions:
    """What the options say of where a policy is."""

    project: str | None = option(
        None,
        "Project whose policy it is.",
        "PROJECT",
        # An action's inputs serve attest as well, where the attestors' project has that name.
        variables=[*variables("POLICY_PROJECT"), *variables("PROJECT")],
    )
    policy_file: str | None = option(
        None,
        "The policy as gcloud exports it, YAML or JSON, instead of the project's; - for standard "
        "input.",
        "PATH",
    )

    def policy(self, connection: Connection) -> Policy:
        """The policy from its file, or the project's."""
        from step.cloud.policies import Policies
        from step.model.policy import Policy

        if self.policy_file:
            return Policy.parse(read_text(self.policy_file, "--policy-file"), "--policy-file")
        if not self.project:
            raise BadInput("no policy was given", "Give --project PROJECT, or --policy-file PATH.")
        return Policies(connection).get(ProjectName(self.project))


@dataclass(frozen=True, slots=True)
class PolicyOptions(PolicyFileOptions):
    """What the options say of how a policy is evaluated."""

    system_policy_file: str | None = option(
        None,
        "Google's system policy, as gcloud alpha container binauthz policy export-system-policy "
        "prints it.",
        "PATH",
    )
    distinct_keys: bool = option(HOW, DISTINCT_KEYS, default=False)

    def admission(
        self, request: RequestOptions, connection: Connection, program: Program
    ) -> Admission:
        """Read the policy that was chosen, and Google's where that uses it.

        A system policy that cannot be read is a warning: it only ever admits more.
        """
        from step.evaluate import Admission

        where = request.request()
        policy = self.policy(connection)
        system = self._system(policy, connection, program)
        return Admission(policy, where, system, self.distinct_keys)

    def _system(
        self, policy: Policy, connection: Connection, program: Program
    ) -> SystemPolicy | None:
        """Google's system policy: from its file, or from the service where the policy is, too."""
        from step.evaluate import system_policy
        from step.model.policy import SystemPolicy

        if self.system_policy_file:
            option = "--system-policy-file"
            return SystemPolicy.parse(read_text(self.system_policy_file, option), option)
        if self.policy_file:  # a policy from a file is evaluated without asking for another
            return None
        system = system_policy(connection, policy)
        if isinstance(system, StepError):
            program.warn(f"Google's system policy could not be read: {system.message}")
            return None
        return system
