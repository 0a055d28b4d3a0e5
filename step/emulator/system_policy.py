"""Binary Authorization's system policy: which images of Google's own are always admitted.

https://github.com/googleapis/googleapis/blob/master/google/cloud/binaryauthorization/v1/service.proto
"""

from google.cloud import binaryauthorization_v1 as ba

from step.emulator.binary_authorization import BinaryAuthorization
from step.emulator.resources import parse_name
from step.emulator.rpc import rpc

SYSTEM_POLICY = "locations/{location}/policy"


class SystemPolicy:
    """``SystemPolicyV1``: one policy, the same in every location.

    What Google's own one admits is not published; this one admits what it is given.
    """

    SERVICE = "google.cloud.binaryauthorization.v1.SystemPolicyV1"
    HOST = BinaryAuthorization.HOST
    TITLE = BinaryAuthorization.TITLE

    def __init__(self, policy: ba.Policy) -> None:
        self._policy = policy

    @rpc("name", "binaryauthorization.policy.get")
    def get_system_policy(self, request: ba.GetSystemPolicyRequest) -> ba.Policy:
        parse_name(SYSTEM_POLICY, request.name)
        shown = ba.Policy(self._policy)
        shown.name = request.name
        return shown
