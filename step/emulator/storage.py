"""Cloud Storage, the part of its JSON API that bulk work needs: create, read, list, delete objects.

https://cloud.google.com/storage/docs/json_api/v1
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, unquote

import google_crc32c
import grpc

from step.emulator.dispatch import Dispatcher
from step.emulator.json_form import show_refusal
from step.emulator.refusal import Refusal, invalid
from step.emulator.resources import page
from step.emulator.rpc import Http, methods_of, rpc

# No route of its own: which request is which method, `StorageApi` finds.
_OVER_HTTP = Http("", "storage", {})
_OBJECT = re.compile(r"(?:/(?:upload|download))?/storage/v1/b/([^/]+)/o(?:/([^/]+))?")
_PAGE, _MAX_PAGE = 1000, 1000


@dataclass(frozen=True, slots=True)
class ObjectRequest:
    """A request about an object, or about those of a bucket."""

    bucket: str
    name: str = ""
    query: dict[str, str] = field(default_factory=dict)
    data: bytes = b""

    @property
    def resource(self) -> str:
        """As the log has it."""
        return f"projects/_/buckets/{self.bucket}" + f"/objects/{self.name}" * bool(self.name)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object: its bytes and what is said of them."""

    data: bytes
    resource: dict[str, Any]


class Storage:
    """Objects by bucket and name; every bucket is there."""

    SERVICE = "google.storage.v1.Storage"
    HOST = "storage.googleapis.com"
    TITLE = "Cloud Storage"

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = Lock()
        self._generation = 0
        self._objects: dict[tuple[str, str], StoredObject] = {}

    @rpc("resource", "storage.objects.create", writes=True, http=_OVER_HTTP)
    def insert_object(self, request: ObjectRequest) -> StoredObject:
        with self._lock:
            old = self._objects.get((request.bucket, request.name))
            _check(request, old)
            self._generation += 1
            made = self._made(request, self._generation)
            self._objects[request.bucket, request.name] = made
            return made

    @rpc("resource", "storage.objects.get", http=_OVER_HTTP)
    def get_object(self, request: ObjectRequest) -> StoredObject:
        with self._lock:
            return self._object(request)

    @rpc("resource", "storage.objects.delete", writes=True, http=_OVER_HTTP)
    def delete_object(self, request: ObjectRequest) -> None:
        with self._lock:
            self._object(request)
            del self._objects[request.bucket, request.name]

    @rpc("resource", "storage.objects.list", http=_OVER_HTTP)
    def list_objects(self, request: ObjectRequest) -> dict[str, Any]:
        prefix = request.query.get("prefix", "")
        with self._lock:
            entries = [
                (name, stored.resource)
                for (bucket, name), stored in self._objects.items()
                if bucket == request.bucket and name.startswith(prefix)
            ]
        shown, token = page(
            entries,
            query=(request.bucket, prefix),
            token=request.query.get("pageToken", ""),
            size=int(request.query.get("maxResults") or 0),
            default=_PAGE,
            maximum=_MAX_PAGE,
        )
        answer: dict[str, Any] = {"kind": "storage#objects", "items": shown}
        return answer | ({"nextPageToken": token} if token else {})

    def _object(self, request: ObjectRequest) -> StoredObject:
        stored = self._objects.get((request.bucket, request.name))
        if stored is None:
            raise Refusal(
                grpc.StatusCode.NOT_FOUND, f"No such object: {request.bucket}/{request.name}"
            )
        _check(request, stored)
        return stored

    def _made(self, request: ObjectRequest, generation: int) -> StoredObject:
        checksum = google_crc32c.value(request.data).to_bytes(4)
        digest = hashlib.md5(request.data, usedforsecurity=False).digest()
        now = self._now().isoformat().replace("+00:00", "Z")
        return StoredObject(
            request.data,
            {
                "kind": "storage#object",
                "bucket": request.bucket,
                "name": request.name,
                "generation": str(generation),
                "metageneration": "1",
                "size": str(len(request.data)),
                "crc32c": base64.b64encode(checksum).decode(),
                "md5Hash": base64.b64encode(digest).decode(),
                "etag": f"CJ{generation}",
                "timeCreated": now,
                "updated": now,
            },
        )


class StorageApi:
    """The JSON API over HTTP: its paths, uploads and downloads."""

    def __init__(self, dispatcher: Dispatcher, storage: Storage) -> None:
        self._dispatcher = dispatcher
        self._methods = {method.name: method for method in methods_of(storage)}

    @staticmethod
    def has(path: str) -> bool:
        """Whether a path is one of this API."""
        return _OBJECT.fullmatch(path) is not None

    def answer(self, verb: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        """The HTTP status and the body of an answer."""
        match = _OBJECT.fullmatch(path)
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        try:
            if match is None:
                raise Refusal(grpc.StatusCode.NOT_FOUND, "Not Found")
            bucket, name = unquote(match[1]), unquote(match[2] or "")
            request = ObjectRequest(bucket, name, parameters, body)
            return 200, self._carry_out(verb, request)
        except Refusal as refusal:
            status, document = show_refusal(refusal)
            # https://cloud.google.com/storage/docs/json_api/v1/status-codes
            failed = refusal.code is grpc.StatusCode.FAILED_PRECONDITION
            return (412 if failed else status), document

    def _carry_out(self, verb: str, request: ObjectRequest) -> bytes:
        match verb, bool(request.name):
            case "POST", False:
                return _dump(self._call("InsertObject", _uploaded(request)).resource)
            case "GET", True:
                stored = self._call("GetObject", request)
                wants_data = request.query.get("alt") == "media"
                return stored.data if wants_data else _dump(stored.resource)
            case "GET", False:
                return _dump(self._call("ListObjects", request))
            case "DELETE", True:
                self._call("DeleteObject", request)
                return b""
        raise Refusal(grpc.StatusCode.UNIMPLEMENTED, f"{verb} is not served here.")

    def _call(self, name: str, request: ObjectRequest) -> Any:
        return self._dispatcher.call(self._methods[name], request)


def _check(request: ObjectRequest, stored: StoredObject | None) -> None:
    """https://cloud.google.com/storage/docs/request-preconditions"""
    generation = "0" if stored is None else stored.resource["generation"]
    wanted = request.query.get("ifGenerationMatch", generation)
    unwanted = request.query.get("ifGenerationNotMatch", "")
    if wanted != generation or unwanted == generation:
        raise Refusal(
            grpc.StatusCode.FAILED_PRECONDITION,
            "At least one of the pre-conditions you specified did not hold.",
        )


def _uploaded(request: ObjectRequest) -> ObjectRequest:
    """https://cloud.google.com/storage/docs/uploading-objects: simple, or in two parts."""
    if request.query.get("uploadType") == "media":
        name, data = request.query.get("name", ""), request.data
    elif request.query.get("uploadType") == "multipart":
        boundary, _, rest = request.data.partition(b"\r\n")
        document, _, rest = rest.partition(b"\r\n" + boundary + b"\r\n")
        name = _load(document.partition(b"\r\n\r\n")[2]).get("name", "")
        data = rest.partition(b"\r\n\r\n")[2].rpartition(b"\r\n" + boundary + b"--")[0]
    else:
        raise Refusal(grpc.StatusCode.UNIMPLEMENTED, "Only simple and multipart uploads are here.")
    if not isinstance(name, str) or not name:
        raise invalid("Required parameter: name")
    return ObjectRequest(request.bucket, name, request.query, data)


def _load(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        raise invalid("Parse Error") from None
    return document if isinstance(document, dict) else {}


def _dump(document: Any) -> bytes:
    return json.dumps(document).encode()
