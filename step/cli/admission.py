"""Which policy judges, and for where: from options to a judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from step.cli import options as opt
from step.cli.program import read_text
from step.errors import BadInput, StepError
from step.model.names import ProjectName

if TYPE_CHECKING:
    from step.cloud.connection import Connection
    from step.evaluate import Judge
    from step.model.admission import Request
    from step.model.policy import Policy, SystemPolicy
    from step.results.console import Terminal


@dataclass(frozen=True, slots=True)
class PlaceChoice:
    """What the options say of where the images are to run."""

    cluster: opt.Cluster = None
    namespace: opt.Namespace = None
    service_account: opt.ServiceAccount = None
    service_identity: opt.ServiceIdentity = None

    def request(self) -> Request:
        """Where the images are to run; raises BadInput for a contradiction or another form."""
        from step.model.admission import Request

        return Request.parse(
            self.cluster, self.namespace, self.service_account, self.service_identity
        )


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """What the options say of a policy."""

    project: opt.PolicyProject = None
    policy_file: opt.PolicyFile = None
    system_policy_file: opt.SystemPolicyFile = None
    distinct_keys: opt.DistinctKeys = False

    def judge(self, place: PlaceChoice, connection: Connection, terminal: Terminal) -> Judge:
        """Read the policy that was chosen, and Google's where that uses it.

        A system policy that cannot be read is a warning: it only ever admits more.
        """
        from step.evaluate import Judge

        request = place.request()
        policy = self.policy(connection)
        system = self._system(policy, connection, terminal)
        return Judge(policy, request, system, self.distinct_keys)

    def policy(self, connection: Connection) -> Policy:
        """The policy from its file, or the project's."""
        from step.cloud.policies import Policies
        from step.model.policy import Policy

        if self.policy_file:
            return Policy.parse(read_text(self.policy_file, "--policy-file"), "--policy-file")
        if not self.project:
            raise BadInput("no policy was given", "Give --project PROJECT, or --policy-file PATH.")
        return Policies(connection).get(ProjectName(self.project))

    def _system(
        self, policy: Policy, connection: Connection, terminal: Terminal
    ) -> SystemPolicy | None:
        """Google's system policy: from its file, or from the service where the policy is, too."""
        from step.evaluate import system_policy
        from step.model.policy import SystemPolicy

        if self.system_policy_file:
            option = "--system-policy-file"
            return SystemPolicy.parse(read_text(self.system_policy_file, option), option)
        if self.policy_file:  # a policy from a file is judged without asking for another
            return None
        found = system_policy(connection, policy)
        if isinstance(found, StepError):
            terminal.warning(f"Google's system policy could not be read: {found.message}")
            return None
        return found
