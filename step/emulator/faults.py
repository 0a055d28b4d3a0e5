"""Faults: calls that go wrong on purpose, given as ``METHOD=WHAT[:COUNT]``."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
"""The occurrence is made and can be read by name, but no list ever shows it."""

QUOTA_SECONDS = 17

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
_ONLY = {
    NEVER_VISIBLE: frozenset({"CreateOccurrence"}),
    CORRUPT_REQUEST: frozenset({"AsymmetricSign"}),
}
_ANY_METHOD = _STATUSES | {SERVICE_DISABLED, DROP_ANSWER, QUOTA}


@dataclass(frozen=True, slots=True)
class Fault:
    """One method goes wrong in one way, ``count`` times or, with None, always."""

    method: str
    what: str
    count: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Read ``METHOD=WHAT[:COUNT]``, such as ``AsymmetricSign=UNAVAILABLE:2``.

        Whether the emulator has the method is checked when the fault is added to one.
        Raises EmulatorError for another form, an unknown fault, or one that the method cannot have.
        """
        method, equals, rest = text.partition("=")
        what, colon, count = rest.partition(":")
        if not method or not equals or not what:
            raise EmulatorError(f"fault {text!r} is not of the form METHOD=WHAT[:COUNT]")
        if colon and not (count.isascii() and count.isdecimal() and int(count)):
            raise EmulatorError(f"fault {text!r}: the count must be a whole number from 1")
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
        return cls(method, what, int(count) if colon else None)

    def refuse(self, method: Method, resource: str) -> None:
        """Raise the Refusal of a fault that strikes before the call does anything."""
        if self.what == SERVICE_DISABLED:
            raise _service_disabled(method.access(resource), _project(resource))
        if self.what == QUOTA:
            raise _quota(method.access(resource), _project(resource))
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


class Faults:
    """The faults still to come: of a method's faults the first not used up strikes."""

    def __init__(self, methods: Iterable[str]) -> None:
        self._methods = frozenset(methods)
        self._lock = Lock()
        self._waiting: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """Append a fault; EmulatorError when the emulator has no such method."""
        if fault.method not in self._methods:
            known = ", ".join(sorted(self._methods))
            raise EmulatorError(f"fault: unknown method {fault.method!r}; there are {known}")
        with self._lock:
            self._waiting.append((fault, fault.count))

    def clear(self) -> None:
        """Let everything go right from now on."""
        with self._lock:
            self._waiting.clear()

    def take(self, method: str) -> Fault | None:
        """The fault that strikes this call, used up by one."""
        with self._lock:
            for index, (fault, left) in enumerate(self._waiting):
                if fault.method == method:
                    if left == 1:
                        del self._waiting[index]
                    elif left is not None:
                        self._waiting[index] = (fault, left - 1)
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


def _quota(access: Access, project: str) -> Refusal:
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
                "quota_limit_value": "60",
            },
        ),
        QUOTA_SECONDS,
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
