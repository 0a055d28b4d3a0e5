"""One connection to Google Cloud: credentials, channels, retries, errors."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import grpc
from google.api_core.exceptions import GoogleAPICallError

from step import __version__
from step.clock import Clock
from step.cloud.failures import (
    allowed,
    is_too_large,
    is_transient,
    retry_delay,
    said_by,
    translate,
    translate_auth,
)
from step.cloud.methods import BINARY_AUTHORIZATION, CLOUD_BUILD, CONTAINER_ANALYSIS, KMS, Method
from step.cloud.rates import Rates
from step.concurrency import Deadline, Pace
from step.errors import BadInput, NotAllowed
from step.model.bounds import RECEIVED_BYTES

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# gcloud's own way to point an API elsewhere, a private endpoint for example
# (https://cloud.google.com/sdk/gcloud/reference/config/set, api_endpoint_overrides).
_OVERRIDES = {
    KMS: "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS",
    BINARY_AUTHORIZATION: "CLOUDSDK_API_ENDPOINT_OVERRIDES_BINARYAUTHORIZATION",
    CONTAINER_ANALYSIS: "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINERANALYSIS",
    CLOUD_BUILD: "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBUILD",
}

# How long one call may take. The official clients leave ValidateAttestationOccurrence without any
# limit.
_CALL_TIMEOUT = timedelta(seconds=30)
_FIRST_PAUSE = timedelta(seconds=0.25)
_LONGEST_PAUSE = timedelta(seconds=8)

T = TypeVar("T")

# Kept until the process ends: a channel that goes while grpc still watches it connect leaves a
# traceback on standard error.
_CONNECTING: list[grpc.Channel] = []


class Connection:
    """Credentials and channels for one run; safe to share between threads.

    With an emulator, everything goes there, anonymously and unencrypted. Without one, Application
    Default Credentials are used (https://cloud.google.com/docs/authentication). Nothing that is
    asked goes on beyond the deadline, a call that fails in passing is repeated for `retry_for`, and
    no method is called more often than `rates` say.
    """

    def __init__(
        self,
        clock: Clock,
        environ: Mapping[str, str],
        emulator: str | None,
        deadline: Deadline | None = None,
        retry_for: timedelta = timedelta(minutes=1),
        rates: Rates | None = None,
    ) -> None:
        self.clock = clock
        self.deadline = deadline or Deadline(clock)
        self.emulator = emulator
        self.retry_for = retry_for
        self.rates = rates or Rates()
        self._paces: dict[str, Pace] = {}
        self.environ = environ
        self._lock = RLock()
        self._channels: dict[str, grpc.Channel] = {}
        self._clients: dict[str, Any] = {}

    def call(self, method: Method, request: object, resource: str) -> Any:
        """Call a method of a service, as `repeat` does."""
        return self.repeat(method, self.open(method), request, resource)

    def repeat(self, method: Method, remote: Callable[..., T], request: object, resource: str) -> T:
        """Call `remote`, repeating what fails in passing, with growing, jittered pauses.

        The official clients' own retries are off: they differ from method to method, leave
        RESOURCE_EXHAUSTED out, and sleep on a clock of their own. Raises NotAllowed, NotFound,
        BadInput, Refused, AlreadyExists or Unavailable; AnswerLost for a write without an answer,
        OutOfTime for anything else when the run's deadline passes, and TooLarge.
        """
        from google.auth.exceptions import GoogleAuthError

        awaited = f"{method.name} of {method.service}"
        pace = self._paces.setdefault(method.name, self.rates.pace(method))
        started = self.clock.elapsed()
        pause = _FIRST_PAUSE
        while True:
            sent = pace.permit(self.deadline, awaited)
            timeout = min(_CALL_TIMEOUT, self.deadline.require(awaited))
            try:
                answer = remote(request=request, retry=None, timeout=timeout.total_seconds())
            except GoogleAPICallError as error:
                if is_too_large(error) or not is_transient(error, method):
                    raise translate(error, method, resource, self.account) from error
                now = self.clock.elapsed()
                again = now + pause * random.uniform(0.7, 1.0)  # noqa: S311 - no secret
                if error.grpc_status_code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    again = pace.exhausted(sent, now, retry_delay(error), allowed(error))
                if again >= self.deadline.until and not method.writes:
                    said = error.grpc_status_code.name if error.grpc_status_code else ""
                    reason = f"{awaited} ({said}: {said_by(error)})"
                    raise self.deadline.over(reason) from error
                if again - started > self.retry_for:
                    raise translate(error, method, resource, self.account) from error
                self.deadline.sleep(again - now)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except GoogleAuthError as error:
                raise translate_auth(error) from error
            else:
                pace.succeeded(self.clock.elapsed())
                return answer

    def open(self, method: Method) -> Callable[..., Any]:
        """The official client's own method; imports that, and begins to connect."""
        module, _, name = method.client.partition(":")
        kind = getattr(import_module(module), name)
        with self._lock:
            client = self._clients.get(method.client)
            if client is None:
                # Grafeas' own transport has no host
                # (grafeas/services/grafeas/transports/grpc.py).
                transport = kind.get_transport_class("grpc")
                channel = self._channel(method.service, transport)
                client = kind(transport=transport(host=method.service, channel=channel))
                self._clients[method.client] = client
            remote: Callable[..., Any] = getattr(client, method.snake_name)
            return remote

    def access_token(self) -> str | None:
        """An OAuth 2 access token of the account that runs this; None without an account.

        It is for Google's own registries. There is none with an emulator. Raises NotAllowed or
        Unavailable when the account that was configured cannot get one.
        """
        from google.auth.exceptions import DefaultCredentialsError

        if self.emulator is not None:
            return None
        try:
            token: str | None = self.credentials.token
        except NotAllowed as error:
            nobody = isinstance(error.__cause__, DefaultCredentialsError)
            if nobody and not self.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
                return None
            raise
        return token

    def _channel(self, service: str, transport: Any) -> grpc.Channel:
        """The one channel to a service, or to the emulator."""
        with self._lock:
            known = self._channels.get(self.emulator or service)
            channel = known or self._new_channel(service, transport)
            self._channels[self.emulator or service] = channel
            return channel

    def _new_channel(self, service: str, transport: Any) -> grpc.Channel:
        options: list[tuple[str, str | int]] = [
            ("grpc.primary_user_agent", f"binauthz-attest/{__version__}"),
            # Google's own transports have no bound: a note may hold much that others wrote.
            ("grpc.max_receive_message_length", RECEIVED_BYTES),
            ("grpc.max_send_message_length", -1),
        ]
        if self.emulator is not None:
            # No proxy leads to it, whatever the environment names for other addresses.
            options.append(("grpc.enable_http_proxy", 0))
            return grpc.insecure_channel(self.emulator, options=options)
        credentials = self.credentials
        channel: grpc.Channel = transport.create_channel(
            _host(service, self.environ),
            credentials=credentials,
            scopes=[_SCOPE],
            quota_project_id=credentials.quota_project_id,
            options=options,
        )
        _connect(channel)
        return channel

    @property
    def credentials(self) -> Credentials:
        """Application Default Credentials that have shown that they can get a token.

        Asked for at once: over gRPC, a refusal would look like a service that is unavailable.
        """
        with self._lock:  # one token is enough, whoever asks first
            return self._application_default

    @cached_property
    def _application_default(self) -> Credentials:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.auth.transport.requests import Request

        def get() -> Credentials:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
            credentials.refresh(Request())  # type: ignore[no-untyped-call]
            return credentials

        try:
            # google-auth has a limit for each read alone.
            return self.deadline.wait(get, "the server that issues access tokens")
        except GoogleAuthError as error:
            raise translate_auth(error) from error
        except (OSError, ValueError, TypeError, AttributeError) as error:
            # How google-auth takes a folder, which a mount that is missing leaves, or other JSON.
            raise translate_auth(DefaultCredentialsError(error)) from error  # type: ignore[no-untyped-call]

    @property
    def account(self) -> str | None:
        """The service account that calls, where the credentials know it."""
        if self.emulator is not None:
            return None
        email = getattr(self.credentials, "service_account_email", None)
        return f"serviceAccount:{email}" if email and "@" in email else None


def _connect(channel: grpc.Channel) -> None:
    """Begin to connect, so that a first call that comes later need not wait for it."""
    _CONNECTING.append(channel)
    channel.subscribe(_ignore, try_to_connect=True)
    channel.unsubscribe(_ignore)


def _ignore(_: grpc.ChannelConnectivity) -> None:
    """Whether it is connected shows when it is used."""


def _host(service: str, environ: Mapping[str, str]) -> str:
    override = environ.get(_OVERRIDES[service], "")
    if not override:
        return service
    address = urlsplit(override if "//" in override else f"https://{override}")
    if address.scheme != "https" or not address.netloc or address.username:
        raise BadInput(
            f"{_OVERRIDES[service]} is not an address that can be used",
            "Write https://HOST/; plain http is spoken with the emulator only.",
        )
    return address.netloc
