"""What happens to every call, whatever it came in by: latency, faults, the log."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import grpc

from step.emulator.calls import CallLog
from step.emulator.faults import INSIDE, NEVER_VISIBLE, Faults
from step.emulator.refusal import KeptRefusal, Refusal
from step.emulator.rpc import Method, Service, methods_of

_logger = logging.getLogger(__name__)


class Dispatcher:
    """Carries out the calls of all services, for every transport alike."""

    def __init__(
        self,
        services: Iterable[Service],
        *,
        calls: CallLog,
        latency: timedelta,
        sleep: Callable[[float], None],
        hide: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        self.services = tuple(services)
        self._calls = calls
        self._latency = latency.total_seconds()
        self._sleep = sleep
        self._hide = hide
        self.faults = Faults(
            (method.name for service in self.services for method in methods_of(service)), now
        )

    def call(self, method: Method, request: Any) -> Any:
        """Carry out a call and log it; the answer, or a Refusal.

        An unexpected exception is logged here and reaches the client as a bare INTERNAL.
        """
        call = _Progress(str(method.traits.resource(request)))
        started = time.monotonic()
        try:
            return self._answer(method, request, call)
        except Refusal as refusal:
            call.status = refusal.code
            raise
        except Exception:
            call.status = grpc.StatusCode.INTERNAL
            _logger.exception("%s failed", method.path)
            raise Refusal(call.status, "Internal error encountered.") from None
        finally:
            self._calls.add(
                method=method.name,
                path=method.path,
                resource=call.resource,
                status=call.status.name,
                wrote=call.handled and method.traits.writes,
                seconds=time.monotonic() - started,
            )

    def _answer(self, method: Method, request: Any, call: "_Progress") -> Any:
        if self._latency:
            self._sleep(self._latency)
        fault = self.faults.take(method.name)
        if fault is not None:
            fault.refuse(method, call.resource)
        try:
            INSIDE.set("" if fault is None else fault.what)
            response = method.handle(request)
        except KeptRefusal:
            call.handled = True
            raise
        call.handled = True
        if fault is None:
            return response
        if fault.what == NEVER_VISIBLE:
            for made in getattr(response, "occurrences", [response]):
                self._hide(made.name)
        return fault.alter(response)


@dataclass(slots=True)
class _Progress:
    """How far a call has come."""

    resource: str
    status: grpc.StatusCode = grpc.StatusCode.OK
    handled: bool = False
