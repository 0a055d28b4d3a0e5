"""Token servers, and public registries over TLS: who gets which credentials."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from step.errors import NotAllowed, StepError, Unavailable
from step.model.image import ImageTag
from step.registry.client import Registry
from step.registry.credentials import Keychain
from tests.registry.hostile import (
    Reply,
    Request,
    Script,
    Server,
    digest,
    internet,
    manifest,
    serve,
    served,
)
from tests.world import FakeClock

BODY = manifest(name="the image")
PASSWORD = "correct horse"
BASIC = "Basic Y2k6Y29ycmVjdCBob3JzZQ=="
LOGIN = {"username": "ci", "password": PASSWORD}
TOKEN = "a.token-of/the+registry=="


@pytest.fixture
def everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Script], Server]]:
    """Start a server that is every host of https."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(internet(script, tmp_path, monkeypatch))


def challenge(realm: str, scope: str = ',scope="repository:team/app:pull"') -> Reply:
    return Reply(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="the service"{scope}'})


def token(value: object = TOKEN, name: str = "token") -> Reply:
    return Reply(200, {"Content-Type": "application/json"}, json.dumps({name: value}).encode())


def registry(
    realm: str, answer: Reply | Callable[[Request], Reply] | None = None, scope: str | None = None
) -> Script:
    """A registry that takes TOKEN, and the token server at `/token`."""

    def script(request: Request) -> Reply:
        if not request.path.startswith("/v2/"):
            if callable(answer):
                return answer(request)
            return answer or token()
        if request.authorization == f"Bearer {TOKEN}":
            return served(BODY)
        return challenge(realm) if scope is None else challenge(realm, scope)

    return script


def keychain(host: str, entry: Mapping[str, str] | None) -> Keychain:
    return Keychain(json.dumps({"auths": {host: entry} if entry else {}}))


def resolve(host: str, keys: Keychain, repository: str = "team/app") -> str:
    tag = ImageTag.parse(f"{host}/{repository}:v1")
    return str(Registry(keys, FakeClock()).resolve(tag))


def asked(server: Server) -> Request:
    """The one request for a token."""
    [request] = [each for each in server.requests if not each.path.startswith("/v2/")]
    return request


@pytest.mark.parametrize("entry", [None, LOGIN])
@pytest.mark.parametrize("name", ["token", "access_token"])
def test_a_token_is_fetched_with_the_login_or_without(
    everywhere: Callable[[Script], Server], entry: Mapping[str, str] | None, name: str
) -> None:
    realm = "https://auth.example/token?account=x"
    server = everywhere(registry(realm, token(name=name)))
    assert resolve("r.example", keychain("r.example", entry)) == digest(BODY)
    request = asked(server)
    assert (request.method, request.host) == ("GET", "auth.example")
    assert parse_qs(urlsplit(request.path).query) == {
        "account": ["x"],
        "service": ["the service"],
        "scope": ["repository:team/app:pull"],
    }
    assert request.authorization == (BASIC if entry else None)
    sent = [each.authorization for each in server.requests if each.host == "r.example"]
    assert sent == [None, f"Bearer {TOKEN}"]


def test_without_a_scope_the_repository_is_asked_for(
    everywhere: Callable[[Script], Server],
) -> None:
    server = everywhere(registry("https://auth.example/token", scope=""))
    resolve("r.example", Keychain())
    query = parse_qs(urlsplit(asked(server).path).query)
    assert query["scope"] == ["repository:team/app:pull"]


def test_an_identity_token_is_exchanged_in_a_form(everywhere: Callable[[Script], Server]) -> None:
    server = everywhere(registry("https://auth.example/token", token(name="access_token")))
    keys = keychain("r.example", {"identitytoken": "the refresh token"})
    assert resolve("r.example", keys) == digest(BODY)
    request = asked(server)
    assert (request.method, request.path, request.authorization) == ("POST", "/token", None)
    assert parse_qs(request.body) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["the refresh token"],
        "client_id": ["binauthz-attest"],
        "service": ["the service"],
        "scope": ["repository:team/app:pull"],
    }


def test_a_registry_token_is_sent_as_it_is(everywhere: Callable[[Script], Server]) -> None:
    server = everywhere(registry("https://auth.example/token"))
    assert resolve("r.example", keychain("r.example", {"registrytoken": TOKEN})) == digest(BODY)
    assert {request.host for request in server.requests} == {"r.example"}


def test_a_token_is_used_for_its_own_repository_alone(
    everywhere: Callable[[Script], Server],
) -> None:
    server = everywhere(registry("https://auth.example/token"))
    client = Registry(Keychain(), FakeClock())
    for repository in ("team/app", "team/app", "team/other"):
        client.resolve(ImageTag.parse(f"r.example/{repository}:v1"))
    paths = [
        (request.path.partition("?")[0], request.authorization is None)
        for request in server.requests
    ]
    assert paths == [
        ("/v2/team/app/manifests/v1", True),
        ("/token", True),
        ("/v2/team/app/manifests/v1", False),
        ("/v2/team/app/manifests/v1", False),
        ("/v2/team/other/manifests/v1", True),
        ("/token", True),
        ("/v2/team/other/manifests/v1", False),
    ]


def test_a_token_that_ran_out_is_replaced(everywhere: Callable[[Script], Server]) -> None:
    good: set[str] = set()

    def script(request: Request) -> Reply:
        if not request.path.startswith("/v2/"):
            good.clear()
            good.add(f"Bearer {len(server.requests)}")
            return token(str(len(server.requests)))
        return served(BODY) if request.authorization in good else challenge("https://a.example/t")

    server = everywhere(script)
    client = Registry(Keychain(), FakeClock())
    tag = ImageTag.parse("r.example/team/app:v1")
    client.resolve(tag)
    good.clear()
    assert str(client.resolve(tag)) == digest(BODY)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_login_that_the_token_server_refuses_is_not_allowed(
    everywhere: Callable[[Script], Server], status: int
) -> None:
    everywhere(registry("https://auth.example/token", Reply(status)))
    with pytest.raises(NotAllowed, match=r"r\.example does not let team/app be read") as caught:
        resolve("r.example", keychain("r.example", LOGIN))
    assert "docker login r.example" in caught.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        Reply(404),
        Reply(500),
        Reply(302, {"Location": "https://auth.example/elsewhere"}),
        Reply(200, {}, b"<html>"),
        Reply(200, {}, b"[]"),
        Reply(200, {}, b"{}"),
        token(7),
        token(""),
        token("two words"),
        token("a\r\nX-Injected: yes"),
        token("ü"),
    ],
)
def test_a_token_server_without_a_token_is_unavailable(
    everywhere: Callable[[Script], Server], answer: Reply
) -> None:
    server = everywhere(registry("https://auth.example/token", answer))
    with pytest.raises(Unavailable) as caught:
        resolve("r.example", keychain("r.example", LOGIN))
    assert "\n" not in caught.value.message
    assert not any("elsewhere" in request.path for request in server.requests)


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example/token",
        "https://localhost/token",
        "https://a.localhost/token",
        "https://127.0.0.1/token",
        "https://127.1/token",
        "https://0x7f000001/token",
        "https://2130706433/token",
        "https://10.0.0.1/token",
        "https://192.168.1.1:8443/token",
        "https://169.254.169.254/computeMetadata/v1/",
        "https://[::1]/token",
        "https://[fd00::1]/token",
        "https://[::ffff:127.0.0.1]/token",
        "https://localhost./token",
        "https://user:secret@auth.example/token",
        "ftp://auth.example/token",
        "//auth.example/token",
        "/token",
        "https://[::1/token",
        # In quotes, two are one; urllib3 ends the host before it.
        "https://169.254.169.254\\\\.auth.example/token",
        "https://auth.example:0/token",
        "https://auth.example:99999/token",
    ],
)
def test_a_token_server_that_must_not_be_asked(
    everywhere: Callable[[Script], Server], realm: str
) -> None:
    """The registry names it, and it would get the password."""
    server = everywhere(registry(realm))
    with pytest.raises(Unavailable, match="names a token server that is not asked"):
        resolve("r.example", keychain("r.example", LOGIN))
    assert {request.authorization for request in server.requests} == {None}
    assert server.last is None


def test_a_private_registry_may_have_a_private_token_server(
    everywhere: Callable[[Script], Server],
) -> None:
    """Its certificate is not ours here, so that it stays with the attempt."""
    everywhere(registry("https://10.0.0.2/token"))
    with pytest.raises(Unavailable, match=r"https://10\.0\.0\.1: TLS failed: ") as caught:
        resolve("10.0.0.1", keychain("10.0.0.1", LOGIN))
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint


def test_a_registry_on_loopback_may_have_its_token_server_there() -> None:
    def script(request: Request) -> Reply:
        return registry(f"http://127.0.0.1:{server.port}/token")(request)

    with serve(script) as server:
        assert resolve(server.address, keychain(server.address, LOGIN)) == digest(BODY)
        assert asked(server).authorization == BASIC


def test_a_registry_whose_certificate_is_unknown_is_unavailable(
    everywhere: Callable[[Script], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = everywhere(registry("https://auth.example/token"))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(Unavailable, match=r"TLS failed: .*certificate verify failed"):
        resolve("r.example", keychain("r.example", LOGIN))
    assert server.requests == []


def test_a_redirect_from_tls_to_none_is_not_followed(
    everywhere: Callable[[Script], Server],
) -> None:
    for location in ("http://r.example/x", "http://localhost/x", "https://10.0.0.1/x"):
        server = everywhere(lambda request, to=location: Reply(302, {"Location": to}))  # type: ignore[misc]
        with pytest.raises(Unavailable, match="which is not followed"):
            resolve("r.example", Keychain())
        assert len(server.requests) == 1


def test_a_password_is_answered_only_with_a_password(
    everywhere: Callable[[Script], Server],
) -> None:
    everywhere(lambda request: Reply(401, {"WWW-Authenticate": "Basic"}))
    with pytest.raises(NotAllowed, match="wants a name and a password, and there is only a token"):
        resolve("r.example", keychain("r.example", {"identitytoken": "t"}))
    for entry in (None, LOGIN):
        with pytest.raises(NotAllowed, match="does not let team/app be read"):
            resolve("r.example", keychain("r.example", entry))


@pytest.mark.parametrize("header", [{}, {"WWW-Authenticate": "Negotiate"}])
def test_a_challenge_that_nobody_can_answer_is_not_allowed(
    everywhere: Callable[[Script], Server], header: dict[str, str]
) -> None:
    everywhere(lambda request: Reply(401, header))
    with pytest.raises(NotAllowed, match="does not say what it wants"):
        resolve("r.example", keychain("r.example", LOGIN))


def test_forbidden_is_not_allowed(everywhere: Callable[[Script], Server]) -> None:
    everywhere(lambda request: Reply(403))
    with pytest.raises(NotAllowed, match=r"r\.example does not let team/app be read"):
        resolve("r.example", Keychain())


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("docker.io/nginx", "library/nginx"),
        ("docker.io/library/nginx", "library/nginx"),
        ("index.docker.io/team/app", "team/app"),
        ("registry-1.docker.io/team/app", "team/app"),
        ("DOCKER.io/team/app", "team/app"),
    ],
)
def test_docker_hub_is_asked_where_it_is(
    everywhere: Callable[[Script], Server], name: str, path: str
) -> None:
    server = everywhere(registry("https://auth.docker.io/token"))
    host, _, repository = name.partition("/")
    resolve(host, keychain("https://index.docker.io/v1/", LOGIN), repository)
    assert server.requests[0].host == "registry-1.docker.io"
    assert server.requests[0].path == f"/v2/{path}/manifests/v1"
    assert asked(server).authorization == BASIC


@pytest.mark.parametrize("host", ["europe-docker.pkg.dev", "gcr.io", "eu.gcr.io"])
def test_google_gets_its_own_access_token(
    everywhere: Callable[[Script], Server], host: str
) -> None:
    server = everywhere(registry(f"https://{host}/token"))
    assert resolve(host, Keychain(google=lambda: "ya29.token")) == digest(BODY)
    basic = base64.b64encode(b"oauth2accesstoken:ya29.token").decode()
    assert asked(server).authorization == f"Basic {basic}"


@pytest.mark.parametrize(
    "host", ["evil-pkg.dev", "pkg.dev", "evilgcr.io", "gcr.io.evil.example", "us.pkg.dev.example"]
)
def test_nobody_else_gets_an_access_token(
    everywhere: Callable[[Script], Server], host: str
) -> None:
    server = everywhere(registry(f"https://{host}/token"))

    def google() -> str:
        raise AssertionError("Google was asked for a token for somebody else")

    assert resolve(host, Keychain(google=google)) == digest(BODY)
    assert asked(server).authorization is None


def test_google_refuses_with_the_role(everywhere: Callable[[Script], Server]) -> None:
    everywhere(lambda request: Reply(403))
    with pytest.raises(NotAllowed) as caught:
        resolve("europe-docker.pkg.dev", Keychain(google=lambda: None))
    assert "roles/artifactregistry.reader" in caught.value.hint


@pytest.mark.parametrize("answer", [token(), token("wrong"), Reply(403), Reply(500), Reply(404)])
@pytest.mark.parametrize(
    "entry", [LOGIN, {"identitytoken": PASSWORD}, {"registrytoken": "no" + TOKEN}]
)
def test_no_error_shows_a_credential(
    everywhere: Callable[[Script], Server], answer: Reply, entry: dict[str, str]
) -> None:
    everywhere(registry("https://auth.example/token", answer))
    secrets = {PASSWORD, BASIC, BASIC.removeprefix("Basic "), TOKEN}
    keys = keychain("r.example", entry)
    try:
        resolve("r.example", keys)
    except StepError as error:
        shown = f"{error.message} {error.hint} {error.args!r} {error.__cause__!r}"
        assert not any(secret in shown for secret in secrets)
    assert not any(secret in repr((keys, keys.find("r.example"))) for secret in secrets)
