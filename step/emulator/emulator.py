"""The emulator as a whole: services, seed, faults, log and ports."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import rsa

from step.emulator.admission import Admission
from step.emulator.binary_authorization import BinaryAuthorization, ValidationHelper
from step.emulator.builds import CloudBuild
from step.emulator.calls import CallLog
from step.emulator.dispatch import Dispatcher
from step.emulator.faults import Fault
from step.emulator.grafeas import Grafeas
from step.emulator.iam import iam_services
from step.emulator.keys import new_rsa_key
from step.emulator.kms import KeyManagement
from step.emulator.platform_checks import Checks
from step.emulator.platform_policies import PlatformPolicies, PlatformPolicyEvaluation
from step.emulator.refusal import EmulatorError
from step.emulator.rest import RestServer
from step.emulator.seed import Seed, plant
from step.emulator.server import GrpcServer
from step.emulator.storage import Storage
from step.emulator.system_policy import SystemPolicy
from step.emulator.webhook import AdmissionPort, AdmissionServer


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Emulator:
    """Five Google APIs on loopback, by gRPC and by REST, for as long as it is started.

    With ``admission``, also an endpoint that a Kubernetes cluster can ask.

    ``visibility_delay`` is the age at which a new occurrence enters lists, measured by ``now``;
    ``latency`` is slept, by ``sleep``, before each call; ``rsa_key`` gives RSA keys of a size,
    which takes seconds where each is new. State lives as long as the object.
    """

    def __init__(
        self,
        seed: Seed | None = None,
        *,
        visibility_delay: timedelta = timedelta(0),
        latency: timedelta = timedelta(0),
        faults: Iterable[Fault] = (),
        now: Callable[[], datetime] = _utc_now,
        sleep: Callable[[float], None] = time.sleep,
        rsa_key: Callable[[int], rsa.RSAPrivateKey] = new_rsa_key,
        call_log: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        rest_port: int = 0,
        admission: AdmissionPort | None = None,
    ) -> None:
        """Raises EmulatorError when the seed or a fault does not hold together."""
        seed = seed or Seed()
        self.calls = CallLog(call_log)
        self._host, self._port, self._rest_port = host, port, rest_port
        self._admission_port = admission
        self._servers: tuple[GrpcServer, RestServer] | None = None
        self._admission: AdmissionServer | None = None
        kms = KeyManagement(now, rsa_key)
        grafeas = self._grafeas = Grafeas(now, visibility_delay)
        authorization = BinaryAuthorization(now, _numbers(seed.projects))
        platform_policies = PlatformPolicies(now)
        builds = CloudBuild(now)
        self._storage = Storage(now)
        iam = iam_services(kms, grafeas, authorization)
        self._verdicts = Admission(authorization, grafeas, seed.system_policy).verdicts
        self._dispatcher = Dispatcher(
            (
                *(kms, grafeas, authorization, ValidationHelper(authorization.attestor)),
                *(SystemPolicy(seed.system_policy), platform_policies),
                *(PlatformPolicyEvaluation(platform_policies, Checks(grafeas)), builds),
                *(self._storage, *iam),
            ),
            calls=self.calls,
            latency=latency,
            sleep=sleep,
            hide=grafeas.hide,
            now=now,
        )
        for fault in faults:
            self._dispatcher.faults.add(fault)
        plant(seed, kms, grafeas, authorization, platform_policies, builds, iam)

    def start(self) -> Self:
        """Begin to serve; EmulatorError when the address is taken or not loopback."""
        if self._servers is not None:
            raise EmulatorError("the emulator is already started")
        with ExitStack() as undo:
            self.calls.open()
            undo.callback(self.calls.close)
            grpc = GrpcServer(self._dispatcher, self._host, self._port)
            undo.callback(grpc.stop)
            rest = RestServer(self._dispatcher, self._storage, self._host, self._rest_port)
            undo.callback(rest.stop)
            if self._admission_port is not None:
                self._admission = AdmissionServer(self._verdicts, self._admission_port)
            undo.pop_all()
        self._servers = grpc, rest
        return self

    def stop(self) -> None:
        """Stop serving; calls and state stay readable."""
        if self._admission is not None:
            self._admission.stop()
            self._admission = None
        if self._servers is not None:
            for server in self._servers:
                server.stop()
            self._servers = None
        self.calls.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def grpc_address(self) -> str:
        """``host:port`` of the gRPC side; EmulatorError while not started."""
        return self._started[0].address

    @property
    def rest_address(self) -> str:
        """``host:port`` of the REST side; EmulatorError while not started."""
        return self._started[1].address

    @property
    def admission_address(self) -> str:
        """``https://host:port`` of the admission endpoint; EmulatorError while it is not served."""
        if self._admission is None:
            raise EmulatorError("the admission endpoint is not served")
        return self._admission.address

    @property
    def _started(self) -> tuple[GrpcServer, RestServer]:
        if self._servers is None:
            raise EmulatorError("the emulator is not started")
        return self._servers

    def fail(self, *faults: str | Fault) -> None:
        """Add faults, such as ``AsymmetricSign=UNAVAILABLE:2``."""
        for fault in faults:
            parsed = fault if isinstance(fault, Fault) else Fault.parse(fault)
            self._dispatcher.faults.add(parsed)

    def occurrences(self, project: str, note: str) -> list[Any]:
        """What a list of a note shows now, without a call."""
        return self._grafeas.listed("", noteProjectId=project, noteId=note)

    def heal(self) -> None:
        """Take all faults away."""
        self._dispatcher.faults.clear()

    def write_ready_file(self, path: Path) -> None:
        """Write ``{"grpc": "host:port", "rest": "host:port", "pid": …}``, whole or not at all.

        ``"admission": "https://host:port"`` is in it where that is served.
        """
        ready = {"grpc": self.grpc_address, "rest": self.rest_address, "pid": os.getpid()}
        if self._admission is not None:
            ready["admission"] = self.admission_address
        part = path.with_name(path.name + ".part")
        try:
            part.write_text(json.dumps(ready) + "\n", encoding="utf-8")
            part.replace(path)
        except OSError as error:
            raise EmulatorError(f"cannot write the ready file {path}: {error}") from error


def _numbers(known: Mapping[str, int]) -> Callable[[str], int]:
    """Project numbers by id: the seed's, else twelve digits that depend on the id alone."""

    def number_of(project: str) -> int:
        digest = hashlib.sha256(project.encode()).digest()
        return known.get(project, 10**11 + int.from_bytes(digest[:8]) % (9 * 10**11))

    return number_of
