"""The system policy: what the seed says, in every location."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, InvalidArgument
from google.auth.credentials import AnonymousCredentials
from google.cloud import binaryauthorization_v1 as ba
from google.cloud.binaryauthorization_v1.services.system_policy_v1.transports import (
    SystemPolicyV1GrpcTransport,
    SystemPolicyV1RestTransport,
)

from step.emulator import Emulator, Seed
from tests.emulator.rest import ask
from tests.emulator.world import Clients

SEED = """
system_policy:
  name: locations/us-central1/policy
  updateTime: 2026-01-01T00:00:00Z
  admissionWhitelistPatterns: [{namePattern: "registry.example/system/**"}]
"""


@pytest.fixture(params=["grpc", "rest"])
def client(request: Any) -> Iterator[tuple[Emulator, ba.SystemPolicyV1Client]]:
    with Emulator(Seed.parse(SEED)) as emulator:
        if request.param == "rest":
            given: Any = {
                "host": emulator.rest_address,
                "credentials": AnonymousCredentials(),  # type: ignore[no-untyped-call]
                "url_scheme": "http",
            }
            transport: Any = SystemPolicyV1RestTransport(**given)
            yield emulator, ba.SystemPolicyV1Client(transport=transport)
            transport.close()
        else:
            channel = Clients.of(emulator).channel
            yield (
                emulator,
                ba.SystemPolicyV1Client(transport=SystemPolicyV1GrpcTransport(channel=channel)),
            )
            channel.close()


def test_it_is_the_seeds_in_every_location(
    client: tuple[Emulator, ba.SystemPolicyV1Client],
) -> None:
    emulator, service = client
    for location in ("global", "us-central1"):
        name = f"locations/{location}/policy"
        actual = service.get_system_policy(name=name)
        assert actual.name == name
        assert actual.update_time.year == 2026
        [pattern] = actual.admission_whitelist_patterns
        assert pattern.name_pattern == "registry.example/system/**"
    assert [(call.method, call.resource) for call in emulator.calls] == [
        ("GetSystemPolicy", "locations/global/policy"),
        ("GetSystemPolicy", "locations/us-central1/policy"),
    ]


def test_it_can_be_refused(client: tuple[Emulator, ba.SystemPolicyV1Client]) -> None:
    emulator, service = client
    emulator.fail("GetSystemPolicy=PERMISSION_DENIED:1")
    with pytest.raises(Forbidden, match=r"binaryauthorization\.policy\.get"):
        service.get_system_policy(name="locations/global/policy")


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha2"])
def test_every_version_has_it_and_without_a_seed_it_admits_nothing(version: str) -> None:
    name = "locations/global/policy"
    with Emulator() as emulator:
        answer = ask(emulator, "GET", f"/{version}/{name}")
        assert (answer.status, answer.document) == (200, {"name": name})
        assert ask(emulator, "PUT", f"/{version}/{name}", {}).status == 404


def test_another_name_is_invalid() -> None:
    with Emulator() as emulator:
        channel = Clients.of(emulator).channel
        service = ba.SystemPolicyV1Client(transport=SystemPolicyV1GrpcTransport(channel=channel))
        with pytest.raises(InvalidArgument, match="does not match the pattern"):
            service.get_system_policy(name="projects/p/policy")
        channel.close()
