"""Every error of Google's libraries, turned into one of ours with the role and the fix."""

from __future__ import annotations

import re
from datetime import timedelta

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.rpc import error_details_pb2

from step.cloud.methods import Method
from step.errors import (
    AlreadyExists,
    AnswerLost,
    BadInput,
    NotAllowed,
    NotFound,
    Refused,
    StepError,
    TooLarge,
    Unavailable,
)
from step.model.bounds import RECEIVED_BYTES
from step.model.quoting import on_one_line

_NO_CREDENTIALS = (
    "Give Application Default Credentials: google-github-actions/auth before this step on GitHub, "
    "the build's service account on Cloud Build, gcloud auth application-default login by hand."
)
# Over gRPC, a token that could not be had arrives as UNAVAILABLE with this text
# (grpc/src/core/credentials/call/plugin/plugin_credentials.cc).
_TOKENLESS = "Getting metadata from plugin failed"
_UNANSWERED = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
    }
)


def translate(
    error: GoogleAPICallError, method: Method, resource: str, account: str | None
) -> StepError:
    """Our error for a call that failed, with the role and the resource in its hint."""
    if is_too_large(error):
        return _too_large(method)
    code = error.grpc_status_code
    detail = said_by(error)
    match code:
        case grpc.StatusCode.UNAUTHENTICATED:
            return NotAllowed(f"{method.name}: the credentials are not valid", _NO_CREDENTIALS)
        case grpc.StatusCode.PERMISSION_DENIED:
            return _denied(error, method, resource, account)
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(
                f"{method.name}: {resource} does not exist ({detail})",
                f"Check the name of {method.resource}, and its project.",
            )
        case grpc.StatusCode.ALREADY_EXISTS:
            return AlreadyExists(f"{method.name}: {detail}")
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            return BadInput(
                f"{method.name}: the request about {resource} was refused as invalid: {detail}",
                f"Compare what was given with {method.resource}.",
            )
        case grpc.StatusCode.FAILED_PRECONDITION:
            return Refused(
                f"{method.name}: {resource} cannot be used: {detail}",
                f"Bring {method.resource} into a usable state, or name another.",
            )
        case _:
            return _unanswered(error, method)


def is_transient(error: GoogleAPICallError, method: Method) -> bool:
    """Whether the same call may simply be sent again.

    RESOURCE_EXHAUSTED is answered before anything is done, so even a write may be repeated; a write
    without an answer may not, as it may have happened.
    """
    code = error.grpc_status_code
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return True
    return code in _UNANSWERED and not method.writes and _TOKENLESS not in error.message


def is_too_large(error: GoogleAPICallError) -> bool:
    """Whether the answer came, and was larger than what the channel receives.

    grpc/src/core/ext/filters/message_size/message_size_filter.cc.
    """
    exhausted = error.grpc_status_code is grpc.StatusCode.RESOURCE_EXHAUSTED
    return exhausted and "Received message larger than max" in error.message


def retry_delay(error: GoogleAPICallError) -> timedelta | None:
    """How long the service asks to be left alone, if it says so: google/rpc/error_details.proto."""
    for detail in error.details:
        if isinstance(detail, error_details_pb2.RetryInfo):
            return timedelta(seconds=max(detail.retry_delay.seconds + 1, 0))  # a part counts whole
    return None


def allowed(error: GoogleAPICallError) -> int | None:
    """How many calls a minute the quota allows that was exhausted, if the service says so."""
    known = error.metadata or {}
    value, limit = known.get("quota_limit_value", ""), known.get("quota_limit", "")
    by_the_minute = "perminute" in limit.lower().replace(" ", "")
    return int(value) if by_the_minute and re.fullmatch("[1-9][0-9]{0,8}", value) else None


def quota_of(error: GoogleAPICallError) -> str:
    """Which quota was exhausted and what it allows, as far as the service says it.

    https://cloud.google.com/apis/design/errors#error_info: of a limit on the rate, ErrorInfo has
    the metric and its limit; QuotaFailure has whom it is for, and a text.
    """
    known = error.metadata or {}
    told = [known.get(name, "") for name in ("quota_metric", "quota_limit", "quota_limit_value")]
    for detail in error.details:
        if isinstance(detail, error_details_pb2.QuotaFailure):
            for violation in detail.violations:
                told += [violation.subject, violation.description]
    return on_one_line(", ".join(filter(None, told)))


def said_by(error: GoogleAPICallError) -> str:
    """What a service gave as its reason."""
    return on_one_line(error.message) or "no reason given"


def translate_auth(error: GoogleAuthError) -> StepError:
    """Our error for credentials that are missing, unreadable or refused."""
    if isinstance(error, TransportError) or error.retryable:
        return Unavailable(
            "the server that issues access tokens could not be reached",
            "Nothing was refused; running again is safe.",
        )
    if isinstance(error, DefaultCredentialsError):
        return NotAllowed("no usable Google Cloud credentials were found", _NO_CREDENTIALS)
    return NotAllowed("the Google Cloud credentials were refused", _NO_CREDENTIALS)


def _too_large(method: Method) -> AnswerLost | TooLarge:
    large = f"{method.name} of {method.service} answered with more than {RECEIVED_BYTES} bytes"
    if method.writes:
        return AnswerLost(large)
    return TooLarge(large, "Somebody has written something large there; see what it is.")


def _denied(
    error: GoogleAPICallError, method: Method, resource: str, account: str | None
) -> NotAllowed:
    # https://cloud.google.com/apis/design/errors#error_info
    if error.reason == "SERVICE_DISABLED":
        project = str(error.metadata.get("consumer", "")).removeprefix("projects/")
        return NotAllowed(
            f"{method.name}: the API {method.service} is not enabled",
            f"gcloud services enable {method.service}" + (f" --project={project}" * bool(project)),
        )
    return NotAllowed(
        f"{method.name}: permission denied on {resource}",
        f"Grant {method.roles} ({resource}) to "
        f"{account or 'the account that runs this step'}; a new grant can take minutes to work.",
    )


def _unanswered(error: GoogleAPICallError, method: Method) -> StepError:
    code, detail = error.grpc_status_code, said_by(error)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        limit = quota_of(error) or method.quota
        return Unavailable(
            f"{method.name}: the quota of {method.service} stayed exhausted "
            f"({detail}{'; ' * bool(limit)}{limit})",
            "Run again later, with a longer --retry-for, or ask for more quota.",
        )
    if _TOKENLESS in detail:
        return NotAllowed(f"no access token could be had for {method.name}", _NO_CREDENTIALS)
    if code in _UNANSWERED and method.writes:
        return AnswerLost(f"{method.name}: no answer from {method.service} ({detail})")
    name = code.name if code else type(error).__name__
    return Unavailable(
        f"{method.name}: {method.service} did not answer: {name} ({detail})",
        "Nothing was refused; running again is safe.",
    )
