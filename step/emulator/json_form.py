"""Requests and answers as JSON, in the form that Google's APIs have over HTTP.

https://protobuf.dev/programming-guides/json/ and, for where the fields of a request are,
https://github.com/googleapis/googleapis/blob/master/google/api/http.proto
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from step.emulator.refusal import Refusal, invalid
from step.emulator.routes import Match
from step.emulator.rpc import Http
from step.emulator.shapes import Document, read

# https://cloud.google.com/apis/docs/system-parameters
_SYSTEM = frozenset(
    {
        *("$.xgafv", "$alt", "$callback", "$fields", "$key", "$prettyPrint", "access_token"),
        *("alt", "callback", "fields", "key", "oauth_token", "prettyPrint", "quotaUser"),
        *("uploadType", "upload_protocol"),
    }
)
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}
# Either alphabet, padded or not.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_BOOL = {"true": True, "false": False}


def parse_request(match: Match, query: str, body: bytes) -> Any:
    """The message that a path, a query string and a body make together; the path has the last word.

    Raises Refusal (INVALID_ARGUMENT) for a body where none belongs, for anything that is not JSON
    of this message, and for fields that it does not have.
    """
    route = match.route
    if http := route.method.traits.http:
        return _read_document(http, query, body) | dict(match.variables)
    request = route.method.request()
    message = getattr(request, "_pb", request)
    if route.body == "*":
        _merge(_load(body, route.renamed), message)
    elif route.body:
        _merge({route.body: _load(body, route.renamed)}, message)
    elif body:
        raise _no_body()
    _merge(_query(message.DESCRIPTOR, query), message)
    for path, value in match.variables.items():
        *parents, last = path.split(".")
        target = message
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, value)
    return request


def show_answer(response: Any, renamed: Mapping[str, str]) -> bytes:
    """A message as JSON: camelCase, bytes in base64, 64-bit numbers as strings, no defaults.

    A dictionary is JSON already.
    """
    if isinstance(response, dict):
        return _dump(response)
    plain = getattr(response, "_pb", response)
    return _dump(_renamed(json_format.MessageToDict(plain), renamed))


def show_refusal(refusal: Refusal) -> tuple[int, bytes]:
    """The HTTP status of a refusal, and ``{"error": …}``.

    https://cloud.google.com/apis/design/errors#http_mapping
    """
    status = _HTTP_STATUS[refusal.code]
    error: dict[str, Any] = {
        "code": status,
        "message": refusal.message,
        "status": refusal.code.name,
    }
    if refusal.reason is not None:
        detail = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": refusal.reason.reason,
            "domain": refusal.reason.domain,
            "metadata": dict(refusal.reason.metadata),
        }
        error["details"] = [detail]
        if refusal.retry_seconds is not None:
            delay = f"{refusal.retry_seconds}s"
            kind = "type.googleapis.com/google.rpc.RetryInfo"
            error["details"].append({"@type": kind, "retryDelay": delay})
    return status, _dump({"error": error})


def _read_document(http: Http, query: str, body: bytes) -> Document:
    document: dict[str, Any] = {}
    if http.body == "*":
        document = _load(body, {})
    elif http.body:
        document = {http.body: _load(body, {})}
    elif body:
        raise _no_body()
    for name, values in parse_qs(query, keep_blank_values=True).items():
        if name in _SYSTEM:
            continue
        if name in document:
            raise _unknown(name)
        document[name] = _only(name, values)
    read_document: Document = read(http.fields, document, "request")
    return read_document


def _dump(document: Any) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()


def _load(body: bytes, renamed: Mapping[str, str]) -> dict[str, Any]:
    try:
        document = json.loads(body or b"{}")
        # Half a surrogate pair is JSON but no text, and nothing that json_format can take.
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise invalid("Invalid JSON payload received. It cannot be parsed.") from None
    if not isinstance(document, dict):
        raise invalid("Invalid JSON payload received. It is not an object.")
    # Both ways, so that the name of the other version is as unknown as it should be.
    back = {there: here for here, there in renamed.items()}
    swapped: dict[str, Any] = _renamed(document, {**renamed, **back})
    return swapped


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    match value:
        case dict() if names:
            return {names.get(key, key): _renamed(held, names) for key, held in value.items()}
        case list() if names:
            return [_renamed(held, names) for held in value]
    return value


def _merge(document: dict[str, Any], message: Any) -> None:
    try:
        _check_bytes(message.DESCRIPTOR, document)
        json_format.ParseDict(document, message, max_recursion_depth=50)
    # AttributeError is what json_format has for an Any whose type is no text.
    except (json_format.ParseError, RecursionError, AttributeError) as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None


def _check_bytes(kind: Descriptor, document: Any) -> None:
    """Refuse what is no base64; json_format would skip over the characters that do not belong."""
    if not isinstance(document, dict):
        return
    for name, value in document.items():
        field = _field(kind, name)
        if field is None:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            held = field.message_type.fields_by_name["value"]
            values = list(value.values()) if isinstance(value, dict) else []
        else:
            held, values = field, value if isinstance(value, list) else [value]
        for item in values:
            if held.message_type is not None:
                _check_bytes(held.message_type, item)
            elif held.type == FieldDescriptor.TYPE_BYTES and isinstance(item, str):
                digits = len(item.rstrip("="))
                if not _BASE64.fullmatch(item) or digits % 4 == 1:
                    raise json_format.ParseError(f"Base64 decoding failed for {name!r}.")


def _field(kind: Descriptor, name: str) -> FieldDescriptor | None:
    field: FieldDescriptor | None = kind.fields_by_camelcase_name.get(name)
    return field or kind.fields_by_name.get(name)


def _query(kind: Descriptor, query: str) -> dict[str, Any]:
    """A query string as JSON of the request; dots lead into messages."""
    document: dict[str, Any] = {}
    for path, values in parse_qs(query, keep_blank_values=True).items():
        if path in _SYSTEM:
            continue
        *parents, last = path.split(".")
        inside: Descriptor = kind
        holder: Any = document
        for parent in parents:
            field = _field(inside, parent)
            if field is None or field.message_type is None or not isinstance(holder, dict):
                raise _unknown(path)
            inside, holder = field.message_type, holder.setdefault(field.name, {})
        field = _field(inside, last)
        if field is None or not isinstance(holder, dict):
            raise _unknown(path)
        holder[field.name] = _query_value(field, path, values)
    return document


def _query_value(field: FieldDescriptor, path: str, values: Sequence[str]) -> Any:
    shown = [_shown(field, value) for value in values]
    if field.is_repeated:
        return shown
    return _only(path, shown)


def _only(path: str, values: Sequence[Any]) -> Any:
    if len(values) > 1:
        raise invalid(f"Invalid value at {path!r}: it is given {len(values)} times.")
    return values[0]


def _shown(field: FieldDescriptor, value: str) -> Any:
    """A query string's value as JSON has it."""
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _BOOL.get(value, value)
    if field.message_type is not None and field.message_type.full_name.endswith(".FieldMask"):
        return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), value)
    return value


def _no_body() -> Refusal:
    return invalid("Invalid request: this method takes no body.")


def _unknown(path: str) -> Refusal:
    return invalid(
        f'Invalid JSON payload received. Unknown name "{path}": Cannot bind query parameter.'
    )
