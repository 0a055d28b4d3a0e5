"""Policies of Binary Authorization: a project's, and Google's own for its systems."""

from __future__ import annotations

from dataclasses import dataclass

from google.cloud import binaryauthorization_v1 as api
from google.protobuf.json_format import MessageToDict

from step.cloud.connection import Connection
from step.cloud.methods import GET_POLICY, GET_SYSTEM_POLICY
from step.errors import BadInput, Unavailable
from step.model.names import ProjectName
from step.model.policy import Policy, SystemPolicy

# The least that every region admits, as changes reach one region after another
# (https://cloud.google.com/sdk/gcloud/reference/alpha/container/binauthz/policy/export-system-policy).
_SYSTEM_POLICY = "locations/global/policy"


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies that a connection can reach."""

    connection: Connection

    def get(self, project: ProjectName) -> Policy:
        """Read a project's policy; needs roles/binaryauthorization.policyViewer on the project.

        Raises Unavailable for a policy that holds what this program does not know: judged by the
        rest of it, an answer could be wrong.
        """
        name = f"{project}/policy"
        stored = self.connection.call(GET_POLICY, api.GetPolicyRequest(name=name), name)
        try:
            return Policy.from_mapping(_mapping(stored), name)
        except BadInput as error:
            raise Unavailable(
                f"GetPolicy: the policy cannot be judged by: {error.message}",
                "It may use what is newer than this program.",
            ) from None

    def system(self) -> SystemPolicy:
        """Read Google's system policy, as it is in every region."""
        request = api.GetSystemPolicyRequest(name=_SYSTEM_POLICY)
        stored = self.connection.call(GET_SYSTEM_POLICY, request, _SYSTEM_POLICY)
        return SystemPolicy.from_mapping(_mapping(stored), _SYSTEM_POLICY)


def _mapping(policy: api.Policy) -> object:
    """The policy in the JSON form that gcloud exports, so that there is one reader."""
    return MessageToDict(api.Policy.pb(policy))
