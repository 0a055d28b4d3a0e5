"""Credentials, addresses and errors, without and with a server that answers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.auth.exceptions import RefreshError, TransportError

from step.cloud.connection import Connection
from step.cloud.failures import is_transient, translate, translate_auth
from step.cloud.methods import GET_ATTESTOR, SIGN, VALIDATE, Grant, Method
from step.errors import (
    AlreadyExists,
    AnswerLost,
    BadInput,
    NotAllowed,
    NotFound,
    Refused,
    StepError,
    Unavailable,
)
from tests.world import FakeClock, World

READ = Method(
    "GetThing",
    "thing.googleapis.com",
    "things:Client",
    (Grant("thing.get", "roles/thing.viewer", "the thing"),),
    "ten a minute",
)
WRITE = Method(
    "MakeThing",
    "thing.googleapis.com",
    "things:Client",
    (Grant("thing.create", "roles/thing.editor", "the thing"),),
    writes=True,
)

# What each status is for a read and for a write; google/rpc/code.proto says what they mean.
STATUSES: dict[str, tuple[type[StepError], type[StepError]]] = {
    "CANCELLED": (Unavailable, AnswerLost),
    "UNKNOWN": (Unavailable, AnswerLost),
    "INVALID_ARGUMENT": (BadInput, BadInput),
    "DEADLINE_EXCEEDED": (Unavailable, AnswerLost),
    "NOT_FOUND": (NotFound, NotFound),
    "ALREADY_EXISTS": (AlreadyExists, AlreadyExists),
    "PERMISSION_DENIED": (NotAllowed, NotAllowed),
    "UNAUTHENTICATED": (NotAllowed, NotAllowed),
    "RESOURCE_EXHAUSTED": (Unavailable, Unavailable),
    "FAILED_PRECONDITION": (Refused, Refused),
    "ABORTED": (Unavailable, AnswerLost),
    "OUT_OF_RANGE": (BadInput, BadInput),
    "UNIMPLEMENTED": (Unavailable, Unavailable),
    "INTERNAL": (Unavailable, AnswerLost),
    "UNAVAILABLE": (Unavailable, AnswerLost),
    "DATA_LOSS": (Unavailable, AnswerLost),
}


def raised(status: str, text: str = "what\nthe server\tsaid") -> exceptions.GoogleAPICallError:
    actual = exceptions.from_grpc_status(grpc.StatusCode[status], text)  # type: ignore[no-untyped-call]
    assert isinstance(actual, exceptions.GoogleAPICallError)
    return actual


def test_every_status_has_its_row() -> None:
    assert set(STATUSES) == {code.name for code in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_becomes_one_of_our_errors_on_one_line(status: str) -> None:
    for method, wanted in zip((READ, WRITE), STATUSES[status], strict=True):
        error = translate(raised(status), method, "projects/p/things/t", None)
        assert type(error) is wanted
        assert "\n" not in error.message + error.hint
        assert method.name in error.message


@pytest.mark.parametrize("status", STATUSES)
def test_a_write_is_repeated_only_when_it_was_surely_refused(status: str) -> None:
    assert is_transient(raised(status), WRITE) == (status == "RESOURCE_EXHAUSTED")


def test_the_account_is_named_where_it_is_known() -> None:
    error = translate(raised("PERMISSION_DENIED"), READ, "projects/p", "serviceAccount:a@b.c")
    assert "roles/thing.viewer" in error.hint
    assert "serviceAccount:a@b.c" in error.hint


def test_a_token_that_cannot_be_had_is_no_unavailable_service() -> None:
    text = "Getting metadata from plugin failed with error: ('invalid_grant', {})"
    error = raised("UNAVAILABLE", text)
    assert not is_transient(error, READ)
    assert type(translate(error, WRITE, "projects/p", None)) is NotAllowed


def test_a_server_text_of_any_length_stays_short() -> None:
    assert len(translate(raised("INTERNAL", "x" * 10_000), READ, "r", None).message) < 500


def test_a_token_server_that_cannot_be_reached_is_worth_a_second_run() -> None:
    assert type(translate_auth(TransportError("no route"))) is Unavailable  # type: ignore[no-untyped-call]
    assert type(translate_auth(RefreshError("later", retryable=True))) is Unavailable  # type: ignore[no-untyped-call]
    assert type(translate_auth(RefreshError("no"))) is NotAllowed  # type: ignore[no-untyped-call]


def sign(connection: Connection) -> None:
    """Any call that needs credentials."""
    from google.cloud.kms_v1 import GetPublicKeyRequest

    request = GetPublicKeyRequest(name="projects/p/locations/l/keyRings/r/cryptoKeys/k")
    get_public_key = replace(SIGN, name="GetPublicKey")
    connection.call(get_public_key, request, "r")


def test_credentials_that_are_missing_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(NotAllowed, match="no usable Google Cloud credentials"):
        sign(Connection(FakeClock(), {}, None))


def test_credentials_that_are_refused_are_told_at_once(account: Callable[..., None]) -> None:
    account(400, error="invalid_grant")
    clock = FakeClock()
    with pytest.raises(NotAllowed, match="credentials were refused") as caught:
        sign(Connection(clock, {}, None))
    assert clock.elapsed().total_seconds() == 0
    assert "Application Default Credentials" in caught.value.hint


def test_calls_go_to_the_address_that_gcloud_is_told_too(account: Callable[..., None]) -> None:
    """A port of loopback where nothing listens stands for a private endpoint."""
    account()
    environ = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": "https://127.0.0.1:1/"}
    connection = Connection(FakeClock(), environ, None)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        sign(connection)
    assert connection.account == "serviceAccount:builder@my-project.iam.gserviceaccount.com"


def test_a_channel_is_one_a_service_and_connects_before_its_first_call(
    account: Callable[..., None],
) -> None:
    """So that whoever gets one ready ahead does not wait for it later."""
    account()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        environ = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_BINARYAUTHORIZATION": address}
        connection = Connection(FakeClock(), environ, None)
        made: list[Any] = [connection.open(method) for method in (GET_ATTESTOR, VALIDATE)]
        listening.settimeout(20)
        listening.accept()[0].close()
    assert len({id(method.__self__.transport.grpc_channel) for method in made}) == 1


@pytest.mark.parametrize("address", ["http://host/", "https://", "https://user@host/", "ftp://h"])
def test_an_address_that_is_not_encrypted_is_refused(
    account: Callable[..., None], address: str
) -> None:
    account()
    environ = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": address}
    with pytest.raises(BadInput, match="CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS"):
        sign(Connection(FakeClock(), environ, None))


def test_no_proxy_is_asked_for_the_emulator(
    monkeypatch: pytest.MonkeyPatch, kms_world: World
) -> None:
    """Nothing listens where the proxy should be."""
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert kms_world.attest().code == 0


def test_an_access_token_is_the_accounts_own(account: Callable[..., None]) -> None:
    account()
    assert Connection(FakeClock(), {}, None).access_token() == "token"
    assert Connection(FakeClock(), {}, "localhost:1").access_token() is None


def test_without_an_account_there_is_no_access_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Many registries need none; credentials that were named and cannot be used are an error."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Connection(FakeClock(), {}, None).access_token() is None
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "missing.json")}
    monkeypatch.setenv(*next(iter(environ.items())))
    with pytest.raises(NotAllowed, match="no usable Google Cloud credentials"):
        Connection(FakeClock(), environ, None).access_token()


def test_an_account_that_is_refused_has_no_access_token(account: Callable[..., None]) -> None:
    account(400, error="invalid_grant")
    with pytest.raises(NotAllowed, match="credentials were refused"):
        Connection(FakeClock(), {}, None).access_token()
