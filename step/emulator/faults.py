"""Faults: calls that go wrong on purpose, given as ``METHOD=WHAT[:HOW OFTEN]``."""

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil
from random import Random
from threading import Lock
from typing import Any

import google_crc32c
import grpc
from google.cloud import kms_v1

from step.emulator.refusal import EmulatorError, ErrorInfo, Refusal
from step.emulator.rpc import Access, Method

SERVICE_DISABLED = "SERVICE_DISABLED"
"""The API is not enabled in the project."""
DROP_ANSWER = "DROP_ANSWER"
"""The call is carried out, and the answer lost: the client sees UNAVAILABLE."""
QUOTA = "QUOTA"
"""A quota by the minute is exhausted, and the service says which and how long to wait."""
NEVER_VISIBLE = "NEVER_VISIBLE"
"""The occurrences are made and can be read by name, but no list ever shows them."""

QUOTA_SECONDS = 17
EXHAUSTED = "EXHAUSTED"
"""A quota by the minute, of which the service says neither what it allows nor how long to wait."""

PARTIAL = "PARTIAL"
"""The first half of a batch is stored, and the answer is an error that does not say which half.

https://github.com/grafeas/grafeas/blob/master/go/v1/api/occurrence.go
"""
SKIP_EXISTING = "SKIP_EXISTING"
"""A batch leaves out what exists already, and its answer does, too, as grafeas' own stores do."""
STALE = "STALE"
"""The list is as it was a minute ago."""

INSIDE: ContextVar[str] = ContextVar("inside", default="")
"""The fault that strikes inside of the handler that runs, if one does."""

CORRUPT_REQUEST = "CORRUPT_REQUEST"
"""The request arrives with other bytes than its checksum is of."""

_STATUSES = frozenset(code.name for code in grpc.StatusCode) - {"OK"}


def _wrong_checksum(response: Any) -> None:
    if isinstance(response, kms_v1.AsymmetricSignResponse):
        response.signature_crc32c = (response.signature_crc32c + 1) % 2**32
    elif "public_key" in response:
        checksum = response.public_key.crc32c_checksum
        response.public_key.crc32c_checksum = (checksum + 1) % 2**32
    else:
        response.pem_crc32c = (response.pem_crc32c + 1) % 2**32


def _wrong_signature(response: Any) -> None:
    response.signature = _flipped(response.signature)
    response.signature_crc32c = google_crc32c.value(response.signature)


def _unverified_checksum(response: Any) -> None:
    response.verified_digest_crc32c = False
    response.verified_data_crc32c = False


def _wrong_name(response: Any) -> None:
    parent, _, number = response.name.rpartition("/")
    response.name = f"{parent}/{int(number) + 1}"


def _not_verifiable(response: Any) -> None:
    response.result = type(response).Result.ATTESTATION_NOT_VERIFIABLE
    response.denial_reason = (
        "No attestations found that were valid and signed by a key trusted by the attestor"
    )


def _tampered(response: Any) -> None:
    for occurrence in response.occurrences:
        if "attestation" in occurrence:
            attestation = occurrence.attestation
            attestation.serialized_payload = _flipped(attestation.serialized_payload)


def _undecided(response: Any) -> None:
    response.result = 0


def _without_note(response: Any) -> None:
    del response.user_owned_grafeas_note


def _newer_algorithms(response: Any) -> None:
    for key in type(response).pb(response).user_owned_grafeas_note.public_keys:
        key.pkix_public_key.signature_algorithm = 999


def _flipped(value: bytes) -> bytes:
    """The value with the lowest bit of its last byte turned."""
    return value[:-1] + bytes([value[-1] ^ 1]) if value else value


_ALTERATIONS: Mapping[str, tuple[frozenset[str], Callable[[Any], None]]] = {
    "CORRUPT_CHECKSUM": (frozenset({"AsymmetricSign", "GetPublicKey"}), _wrong_checksum),
    "CORRUPT_SIGNATURE": (frozenset({"AsymmetricSign"}), _wrong_signature),
    "UNVERIFIED_CHECKSUM": (frozenset({"AsymmetricSign"}), _unverified_checksum),
    "WRONG_NAME": (frozenset({"AsymmetricSign", "GetPublicKey"}), _wrong_name),
    "NOT_VERIFIABLE": (frozenset({"ValidateAttestationOccurrence"}), _not_verifiable),
    "UNDECIDED": (frozenset({"ValidateAttestationOccurrence"}), _undecided),
    "TAMPER": (frozenset({"ListNoteOccurrences", "ListOccurrences"}), _tampered),
    "WITHOUT_NOTE": (frozenset({"GetAttestor"}), _without_note),
    "NEWER_ALGORITHMS": (frozenset({"GetAttestor"}), _newer_algorithms),
}
_LISTS = frozenset({"ListNoteOccurrences", "ListOccurrences"})
_ONLY = {
    NEVER_VISIBLE: frozenset({"CreateOccurrence", "BatchCreateOccurrences"}),
    CORRUPT_REQUEST: frozenset({"AsymmetricSign"}),
    PARTIAL: frozenset({"BatchCreateOccurrences"}),
    SKIP_EXISTING: frozenset({"BatchCreateOccurrences"}),
    STALE: _LISTS,
}
_QUOTAS = frozenset({QUOTA, EXHAUSTED})
_ANY_METHOD = _STATUSES | _QUOTAS | {SERVICE_DISABLED, DROP_ANSWER}
ANY = "*"
"""In place of a method: all of them."""
_HOW_OFTEN = re.compile(r"([1-9][0-9]*)|([0-9]+(?:\.[0-9]+)?)%|([1-9][0-9]*)/m")
_WINDOW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Fault:
    """One method, or any, goes wrong in one way: ``count`` times or, with None, always.

    With ``share``, only so many of its calls in a hundred; with ``a_minute``, those beyond so many
    in the last minute.
    """

    method: str
    what: str
    count: int | None = None
    share: float | None = None
    a_minute: int | None = None
    retry_seconds: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Read ``METHOD=WHAT[:HOW OFTEN]``, such as ``AsymmetricSign=UNAVAILABLE:2``.

        How often is a number, a share such as ``1%``, or, of a quota, how many calls a minute are
        let through, such as ``600/m``.

        Whether the emulator has the method is checked when the fault is added to one.
        Raises EmulatorError for another form, an unknown fault, or one that the method cannot have.
        """
        method, equals, rest = text.partition("=")
        what, colon, count = rest.partition(":")
        if not method or not equals or not what:
            raise EmulatorError(f"fault {text!r} is not of the form METHOD=WHAT[:COUNT]")
        often = _HOW_OFTEN.fullmatch(count)
        if colon and (often is None or (often[2] and not 0 < float(often[2]) <= 100)):
            raise EmulatorError(
                f"fault {text!r}: the count must be a whole number from 1, a share such as 1%, or "
                "calls a minute such as 600/m"
            )
        number, share, a_minute = often.groups() if often else (None, None, None)
        if (a_minute is not None and what not in _QUOTAS) or (what == EXHAUSTED and not a_minute):
            raise EmulatorError(f"fault {text!r}: calls a minute, N/m, are for QUOTA and EXHAUSTED")
        if what in _ANY_METHOD:
            methods = frozenset({method})
        elif what in _ONLY:
            methods = _ONLY[what]
        elif what in _ALTERATIONS:
            methods = _ALTERATIONS[what][0]
        else:
            known = ", ".join(sorted(_ANY_METHOD | set(_ALTERATIONS) | set(_ONLY)))
            raise EmulatorError(f"fault {text!r}: unknown fault {what!r}; there are {known}")
        if method not in methods:
            only = " and ".join(sorted(methods))
            raise EmulatorError(f"fault {text!r}: {what} is only for {only}")
        return cls(
            method,
            what,
            int(number) if number else None,
            float(share) / 100 if share else None,
            int(a_minute) if a_minute else None,
        )

    def refuse(self, method: Method, resource: str) -> None:
        """Raise the Refusal of a fault that strikes before the call does anything."""
        if self.what == SERVICE_DISABLED:
            raise _service_disabled(method.access(resource), _project(resource))
        if self.what == QUOTA:
            raise _quota(method.access(resource), _project(resource), self)
        if self.what == EXHAUSTED:
            raise _refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, method, resource)
        if self.what == CORRUPT_REQUEST:
            raise Refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                "The checksum in field digest_crc32c did not match the data in field digest.",
            )
        if self.what in _STATUSES:
            raise _refusal(grpc.StatusCode[self.what], method, resource)

    def alter(self, response: Any) -> Any:
        """The response as the client gets it; a Refusal when the answer is lost."""
        if self.what == DROP_ANSWER:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer.")
        if self.what not in _ALTERATIONS:
            return response
        altered = type(response)(response)
        _ALTERATIONS[self.what][1](altered)
        return altered


@dataclass
class _Waiting:
    """A fault, how often it is still to strike, and what it has seen."""

    fault: Fault
    left: int | None
    # The same calls are struck in every run.
    chance: Random = field(default_factory=lambda: Random(1))  # noqa: S311 - no secret
    passed: dict[str, deque[datetime]] = field(default_factory=lambda: defaultdict(deque))

    def strikes(self, method: str, now: datetime) -> Fault | None:
        """The fault, if it strikes this call of the method."""
        fault = self.fault
        if fault.share is not None and self.chance.random() >= fault.share:
            return None
        if fault.a_minute is None:
            return fault
        passed = self.passed[method]
        while passed and now - passed[0] >= _WINDOW:
            passed.popleft()
        if len(passed) < fault.a_minute:
            passed.append(now)
            return None
        wait = passed[0] + _WINDOW - now
        return replace(fault, retry_seconds=max(ceil(wait.total_seconds()), 1))


class Faults:
    """The faults still to come: of a method's faults the first that strikes does."""

    def __init__(self, methods: Iterable[str], now: Callable[[], datetime]) -> None:
        self._methods = frozenset(methods)
        self._now = now
        self._lock = Lock()
        self._waiting: list[_Waiting] = []

    def add(self, fault: Fault) -> None:
        """Append a fault; EmulatorError when the emulator has no such method."""
        if fault.method not in self._methods | {ANY}:
            known = ", ".join(sorted(self._methods))
            raise EmulatorError(f"fault: unknown method {fault.method!r}; there are {known}")
        with self._lock:
            self._waiting.append(_Waiting(fault, fault.count))

    def clear(self) -> None:
        """Let everything go right from now on."""
        with self._lock:
            self._waiting.clear()

    def take(self, method: str) -> Fault | None:
        """The fault that strikes this call, used up by one."""
        if not self._waiting:
            return None
        with self._lock:
            for waiting in self._waiting:
                if waiting.fault.method not in (method, ANY):
                    continue
                fault = waiting.strikes(method, self._now())
                if fault is not None:
                    if waiting.left is not None:
                        waiting.left -= 1
                        self._waiting = [each for each in self._waiting if each.left != 0]
                    return fault
        return None


def _project(resource: str) -> str:
    return resource.split("/")[1] if resource.startswith("projects/") else "unknown"


def _service_disabled(access: Access, project: str) -> Refusal:
    """https://cloud.google.com/apis/docs/troubleshooting and error_reason.proto."""
    host, title = access.host, access.title
    link = f"https://console.developers.google.com/apis/api/{host}/overview?project={project}"
    return Refusal(
        grpc.StatusCode.PERMISSION_DENIED,
        f"{title} has not been used in project {project} before or it is disabled. Enable it by "
        f"visiting {link} then retry. If you enabled this API recently, wait a few minutes for "
        "the action to propagate to our systems and retry.",
        ErrorInfo("SERVICE_DISABLED", {"service": host, "consumer": f"projects/{project}"}),
    )


def _quota(access: Access, project: str, fault: Fault) -> Refusal:
    """https://cloud.google.com/apis/design/errors#error_info, and error_details.proto."""
    host, limit = access.host, "RequestsPerMinutePerProject"
    metric = f"{host}/requests"
    return Refusal(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"Quota exceeded for quota metric '{metric}' and limit '{limit}' of service '{host}' for "
        f"consumer 'projects/{project}'.",
        ErrorInfo(
            "RATE_LIMIT_EXCEEDED",
            {
                "service": host,
                "consumer": f"projects/{project}",
                "quota_metric": metric,
                "quota_limit": limit,
                "quota_limit_value": str(fault.a_minute or 60),
            },
        ),
        fault.retry_seconds or QUOTA_SECONDS,
    )


def _refusal(code: grpc.StatusCode, method: Method, resource: str) -> Refusal:
    access = method.access(resource)
    host, permission = access.host, access.permission
    match code:
        case grpc.StatusCode.PERMISSION_DENIED if permission:
            return Refusal(
                code,
                f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
                ErrorInfo(
                    "IAM_PERMISSION_DENIED", {"permission": permission, "resource": resource}
                ),
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Refusal(
                code,
                f"Quota exceeded for service '{host}', consumer 'projects/{_project(resource)}'.",
                ErrorInfo(
                    "RATE_LIMIT_EXCEEDED",
                    {"service": host, "consumer": f"projects/{_project(resource)}"},
                ),
            )
        case grpc.StatusCode.UNAUTHENTICATED:
            return Refusal(
                code,
                "Request had invalid authentication credentials. Expected OAuth 2 access token, "
                "login cookie or other valid authentication credential.",
            )
        case grpc.StatusCode.UNAVAILABLE:
            return Refusal(code, "The service is currently unavailable.")
        case grpc.StatusCode.INTERNAL:
            return Refusal(code, "Internal error encountered.")
        case grpc.StatusCode.NOT_FOUND:
            return Refusal(code, "Requested entity was not found.")
    return Refusal(code, f"{method.name} was refused: {code.name}.")
