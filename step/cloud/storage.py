"""Objects of Cloud Storage: read, listed, and created only where there is none."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from google.api_core import exceptions as api
from google.auth.exceptions import GoogleAuthError

from step.cloud.connection import Connection
from step.cloud.failures import said_by, translate_auth
from step.concurrency import patiently, poll
from step.errors import BadInput, NotAllowed, NotFound, Refused, StepError, Unavailable
from step.model.names import StorageName

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

# How Google's own client, and others, are led to an emulator.
EMULATOR = "STORAGE_EMULATOR_HOST"
_CALL_TIMEOUT = timedelta(seconds=60)
# https://cloud.google.com/storage/docs/retry-strategy
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_PAGE = 1000

T = TypeVar("T")


@dataclass
class Storage:
    """The objects that a connection can reach.

    Needs roles/storage.objectViewer to read and list, and roles/storage.objectCreator to create, on
    the bucket. Raises NotAllowed, NotFound, BadInput or Unavailable.
    """

    connection: Connection

    def read(self, name: StorageName) -> bytes:
        """What an object holds; a checksum is compared on the way."""

        def call(timeout: float) -> bytes:
            data: bytes = self._blob(name).download_as_bytes(
                retry=None, timeout=timeout, checksum="crc32c"
            )
            return data

        return self._repeat(call, str(name))

    def below(self, name: StorageName) -> Iterator[StorageName]:
        """The objects whose names begin with this one and a slash, in the order of their names."""

        def call(timeout: float) -> list[str]:
            listed: Any = self._client.list_blobs(
                name.bucket,
                prefix=f"{name.path}/",
                page_size=_PAGE,
                fields="items(name),nextPageToken",
                retry=None,
                timeout=timeout,
            )
            return [blob.name for blob in listed]

        return (StorageName(name.bucket, path) for path in self._repeat(call, str(name)))

    def create(self, name: StorageName, data: bytes) -> None:
        """Create an object; the same bytes there already are an answer that was lost.

        Raises Refused where other bytes are there: somebody else writes them.
        """

        def call(timeout: float) -> bool:
            try:
                self._blob(name).upload_from_string(
                    data,
                    content_type="application/x-ndjson",
                    # https://cloud.google.com/storage/docs/request-preconditions
                    if_generation_match=0,
                    retry=None,
                    timeout=timeout,
                    checksum="crc32c",
                )
            except api.PreconditionFailed:
                return False
            return True

        if not self._repeat(call, str(name)) and self.read(name) != data:
            raise Refused(
                f"{name} is there already, with other bytes",
                "Another run writes there; give each its own name, or its own --shard.",
            )

    def close(self) -> None:
        """End the connections that are open."""
        if "_client" in vars(self):
            self._client.close()

    def _blob(self, name: StorageName) -> Blob:
        return self._client.bucket(name.bucket).blob(name.path)

    @cached_property
    def _client(self) -> Client:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        emulator = _emulator(self.connection)
        if emulator is None:
            return Client(project="-", credentials=self.connection.credentials)
        options = {"api_endpoint": emulator}
        anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return Client(project="-", credentials=anonymous, client_options=options)

    def _repeat(self, call: Callable[[float], T], name: str) -> T:
        """Call until it is answered, as long as calls are repeated at all."""
        from google.cloud.storage.exceptions import DataCorruption
        from requests.exceptions import RequestException

        deadline = self.connection.deadline

        def ask() -> T | StepError:
            awaited = f"Cloud Storage, {name}"
            limit = min(_CALL_TIMEOUT, deadline.require(awaited))
            try:
                # The client's limit is for each read, and each page, alone.
                return deadline.wait(lambda: call(limit.total_seconds()), awaited)
            except api.GoogleAPICallError as error:
                failure = _translated(error, name)
                if error.code not in _TRANSIENT:
                    raise failure from error
                return failure
            except (RequestException, DataCorruption) as error:
                return _unavailable(name, type(error).__name__)
            except GoogleAuthError as error:
                raise translate_auth(error) from error

        def pause(waited: timedelta) -> timedelta:
            return patiently(waited) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

        for answer, _, is_last in poll(ask, deadline, self.connection.retry_for, pause):
            if not isinstance(answer, StepError):
                return answer
            if is_last:
                raise answer
        raise AssertionError  # the last answer is one of both


def _emulator(connection: Connection) -> str | None:
    """Where an emulator of Cloud Storage is; raises BadInput unless all is emulated, or nothing."""
    address = connection.environ.get(EMULATOR, "")
    if bool(address) != bool(connection.emulator):
        here, other = (EMULATOR, "BINAUTHZ_EMULATOR_HOST")
        here, other = (here, other) if address else (other, here)
        raise BadInput(
            f"{here} is set, and {other} is not",
            "Set both, as `binauthz-attest emulator` does, or none of them.",
        )
    if not address:
        return None
    parts = urlsplit(address if "//" in address else f"http://{address}")
    emulator = (connection.emulator or "").rpartition(":")[0].strip("[]")
    if parts.hostname not in {emulator, "localhost", "127.0.0.1", "::1"}:
        raise BadInput(
            f"{EMULATOR} is {address!r}, which is not where the emulator is",
            "Set it to what `binauthz-attest emulator` prints.",
        )
    return parts.geturl()


def _translated(error: api.GoogleAPICallError, name: str) -> StepError:
    reason = said_by(error)
    match error.code:
        case 401 | 403:
            return NotAllowed(
                f"Cloud Storage: permission denied on {name}",
                "Grant roles/storage.objectViewer, and to write roles/storage.objectCreator, on "
                "the bucket.",
            )
        case 404:
            return NotFound(f"Cloud Storage: {name} does not exist", "Check bucket and path.")
        case code if code in _TRANSIENT:
            return _unavailable(name, f"{code} ({reason})")
        case _:
            return BadInput(f"Cloud Storage: {name} was refused: {reason}", "Check its name.")


def _unavailable(name: str, reason: str) -> Unavailable:
    return Unavailable(
        f"Cloud Storage did not answer about {name}: {reason}",
        "Nothing was refused; running again is safe.",
    )
