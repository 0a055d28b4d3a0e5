"""Registries that lead elsewhere: nothing of ours goes along."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from step.errors import NotAllowed, Unavailable
from step.model.image import ImageTag
from step.registry.client import Registry
from step.registry.credentials import Keychain
from tests.registry.asking import BODY, anonymous, image, replies, tag
from tests.registry.hostile import Reply, Request, Script, Server, served
from tests.world import FakeClock

LOGIN = '{"auths": {"%s": {"username": "ci", "password": "correct horse"}}}'
BASIC = "Basic Y2k6Y29ycmVjdCBob3JzZQ=="
ASK_BASIC = {"WWW-Authenticate": 'Basic realm="here"'}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("to", ["itself", "another host"])
def test_a_redirect_never_carries_credentials_to_another_host(
    start: Callable[[Script], Server], clock: FakeClock, status: int, to: str
) -> None:
    def script(request: Request) -> Reply:
        if request.authorization is None:
            return Reply(401, ASK_BASIC)
        if request.path != "/elsewhere":
            base = "" if to == "itself" else f"http://{other.address}"
            return Reply(status, {"Location": f"{base}/elsewhere", "Set-Cookie": "a=secret"})
        return served(BODY)

    other = start(replies(served(BODY)))
    server = start(script)
    registry = Registry(Keychain(LOGIN % server.address), clock)
    assert registry.manifest(image(server))
    followed = server.requests[-1] if to == "itself" else other.requests[0]
    assert followed.path == "/elsewhere"
    assert followed.authorization == (BASIC if to == "itself" else None)
    assert followed.headers["Cookie"] is None
    assert "secret" not in str(followed.headers)


def test_credentials_do_not_come_back_with_a_redirect(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    """Another host must not choose what is asked of the registry in our name."""

    def script(request: Request) -> Reply:
        if request.path == "/chosen":
            return served(BODY)
        if request.authorization is None:
            return Reply(401, ASK_BASIC)
        return Reply(307, {"Location": f"http://{other.address}/"})

    other = start(lambda request: Reply(307, {"Location": f"http://{server.address}/chosen"}))
    server = start(script)
    Registry(Keychain(LOGIN % server.address), clock).manifest(image(server))
    assert [request.authorization for request in server.requests] == [None, BASIC, None]


def test_another_host_that_wants_credentials_gets_none(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    other = start(replies(Reply(401, ASK_BASIC)))
    server = start(replies(Reply(307, {"Location": f"http://{other.address}/"})))
    logins = Keychain(LOGIN % server.address), Keychain(LOGIN % other.address)
    for keychain in logins:
        with pytest.raises(NotAllowed, match=f"redirected to http://{other.address}, which wants"):
            Registry(keychain, clock).resolve(tag(server))
    assert {request.authorization for request in server.requests + other.requests} == {None}


def test_redirects_without_an_end_are_left(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    server = start(lambda request: Reply(302, {"Location": request.path + "x"}))
    with pytest.raises(Unavailable, match="redirected more than 3 times"):
        anonymous(clock).resolve(tag(server))
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "location",
    [
        "ftp://a.example/",
        "file:///etc/passwd",
        "http://u:p@a.example/",
        "http://[::1/",
        # What urllib3 asks here is 169.254.169.254, and what urlsplit reads is another host.
        "https://169.254.169.254\\.a.example/",
        "https://a%2eexample/",
        "https://ü.example/",
        "https://127.0.0.\xb9/",
        "https://a.exa\tmple/",
        "https://a.example /",
        "https://a.example:0/",
        "https://a[::1]/",
    ],
)
def test_a_redirect_to_no_address_is_not_followed(
    start: Callable[[Script], Server], clock: FakeClock, location: str
) -> None:
    server = start(replies(Reply(302, {"Location": location})))
    with pytest.raises(Unavailable, match="redirected to nowhere"):
        anonymous(clock).resolve(tag(server))


def test_a_redirect_to_a_host_that_cannot_be_one_is_unavailable(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    server = start(replies(Reply(302, {"Location": f"https://{'a' * 70}.example/"})))
    with pytest.raises(Unavailable, match=r"did not answer: .*label (?:empty or )?too long"):
        anonymous(clock).resolve(tag(server))


def test_a_redirect_off_this_machine_needs_tls(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    server = start(replies(Reply(302, {"Location": "http://registry.example/"})))
    with pytest.raises(Unavailable, match="which is not followed"):
        anonymous(clock).resolve(tag(server))


def test_a_proxy_that_is_none_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://")
    with pytest.raises(Unavailable, match="cannot be asked: InvalidProxyURL"):
        anonymous(clock).resolve(ImageTag.parse("r.example/a:1"))
