"""How the emulator says no: to a client as a status, to whoever starts it as an EmulatorError."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc


class EmulatorError(ValueError):
    """The emulator cannot be started as asked: a bad seed, fault, address or file."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """The machine-readable reason of a refusal.

    Reasons, domain and metadata keys as in
    https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto
    """

    reason: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    domain: str = "googleapis.com"


class Refusal(Exception):
    """A call refused with a gRPC status; raised by the services, sent by the transports."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: ErrorInfo | None = None,
        retry_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.retry_seconds = retry_seconds


class KeptRefusal(Refusal):
    """A call refused that did a part of its work all the same."""


def invalid(message: str) -> Refusal:
    """The request itself is wrong (INVALID_ARGUMENT)."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(kind: str, name: str) -> Refusal:
    """The resource named does not exist (NOT_FOUND)."""
    return Refusal(grpc.StatusCode.NOT_FOUND, f"{kind} {name} not found.")


def already_exists(kind: str, name: str) -> Refusal:
    """A resource of this name is already there (ALREADY_EXISTS)."""
    return Refusal(grpc.StatusCode.ALREADY_EXISTS, f"{kind} {name} already exists.")


def precondition(message: str) -> Refusal:
    """The resource is in the wrong state for this call (FAILED_PRECONDITION)."""
    return Refusal(grpc.StatusCode.FAILED_PRECONDITION, message)
