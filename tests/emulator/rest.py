"""The REST side, asked by Google's own clients and by hand."""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import binaryauthorization_v1 as ba
from google.cloud import kms_v1 as kms
from google.cloud.binaryauthorization_v1.services.binauthz_management_service_v1.transports import (
    BinauthzManagementServiceV1RestTransport,
)
from google.cloud.binaryauthorization_v1.services.validation_helper_v1.transports import (
    ValidationHelperV1RestTransport,
)
from google.cloud.devtools import cloudbuild_v1 as cloudbuild
from google.cloud.devtools.cloudbuild_v1.services.cloud_build.transports import (
    CloudBuildRestTransport,
)
from google.cloud.kms_v1.services.key_management_service.transports import (
    KeyManagementServiceRestTransport,
)
from grafeas import grafeas_v1 as g
from grafeas.grafeas_v1.services.grafeas.transports import GrafeasRestTransport

from step.emulator import Emulator
from step.emulator.binary_authorization import BinaryAuthorization, ValidationHelper
from step.emulator.builds import CloudBuild
from step.emulator.grafeas import Grafeas
from step.emulator.kms import KeyManagement
from step.emulator.rpc import Service
from tests.emulator.world import FakeClock

_now = FakeClock().now
_authorization = BinaryAuthorization(_now, lambda _: 1)
SERVICES: tuple[Service, ...] = (
    KeyManagement(_now),
    Grafeas(_now, timedelta(0)),
    _authorization,
    ValidationHelper(_authorization.attestor),
    CloudBuild(_now),
)


@dataclass(frozen=True)
class RestClients:
    """Google's clients over REST, and the methods that were asked of them."""

    kms: kms.KeyManagementServiceClient
    binauthz: ba.BinauthzManagementServiceV1Client
    validation: ba.ValidationHelperV1Client
    grafeas: g.GrafeasClient
    builds: cloudbuild.CloudBuildClient
    asked: set[str] = field(default_factory=set)

    def ask(self, method: Callable[..., Any], request: dict[str, Any]) -> Any:
        """Call a client's method."""
        name: str = method.__name__
        self.asked.add("".join(word.capitalize() for word in name.split("_")))
        return method(request)


@contextmanager
def rest_clients(emulator: Emulator) -> Iterator[RestClients]:
    """Clients for as long as they are needed."""
    given: Any = {
        "host": emulator.rest_address,
        "credentials": AnonymousCredentials(),  # type: ignore[no-untyped-call]
        "url_scheme": "http",
    }
    made = RestClients(
        kms.KeyManagementServiceClient(transport=KeyManagementServiceRestTransport(**given)),
        ba.BinauthzManagementServiceV1Client(
            transport=BinauthzManagementServiceV1RestTransport(**given)
        ),
        ba.ValidationHelperV1Client(transport=ValidationHelperV1RestTransport(**given)),
        g.GrafeasClient(transport=GrafeasRestTransport(**given)),
        cloudbuild.CloudBuildClient(transport=CloudBuildRestTransport(**given)),
    )
    yield made
    clients: Any = (made.kms, made.binauthz, made.validation, made.grafeas, made.builds)
    for client in clients:
        client.transport.close()


@dataclass(frozen=True)
class Answer:
    """What came back from the REST side."""

    status: int
    document: dict[str, Any]

    @property
    def error(self) -> tuple[int, str, str]:
        """HTTP status as the error tells it, status' name, message."""
        error = self.document["error"]
        return error["code"], error["status"], error["message"]


def ask(
    emulator: Emulator, verb: str, target: str, body: Any = None, headers: Any = None
) -> Answer:
    """One request on a connection of its own; a body that is not bytes is sent as JSON."""
    with closing(connect(emulator)) as connection:
        return ask_on(connection, verb, target, body, headers)


def connect(emulator: Emulator) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(emulator.rest_address, timeout=10)


def ask_on(
    connection: http.client.HTTPConnection,
    verb: str,
    target: str,
    body: Any = None,
    headers: Any = None,
) -> Answer:
    """One request on a connection."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(verb, target, data, headers or {})
    with connection.getresponse() as response:
        content = response.read()
        assert response.headers["Content-Type"].startswith("application/json")
        return Answer(response.status, json.loads(content) if content else {})
