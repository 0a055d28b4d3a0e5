"""Which addresses a server may make us connect to, however they are spelt."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.clock import SystemClock
from step.concurrency import Deadline
from step.errors import BadInput, StepError, Unavailable
from step.model.image import ImageTag
from step.registry.addresses import is_internal, is_metadata, read_ip
from step.registry.client import Registry
from step.registry.credentials import Keychain
from step.registry.fetch import Address, Fetcher
from tests.registry.asking import BODY, anonymous, replies
from tests.registry.hostile import Reply, Request, Script, Server, digest, internet, served
from tests.world import FakeClock

PUBLIC = ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "2002:808:808::1"]
INTERNAL = [
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "100.64.0.1",
    "::1",
    "fd00::1",
    "fec0::1",
    "::ffff:10.0.0.1",
    "::10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::10.0.0.1",
    "2002:a00:1::1",
]
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "fe80::1",
    "fe80::a9fe:a9fe%eth0",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
    "fd00:ec2::254",
    "fd20:ce::254",
    "168.63.129.16",
    "64:ff9b::168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "0.0.0.0",  # noqa: S104 - not to bind to
    "::",
    "224.0.0.1",
]


def judged(text: str) -> tuple[bool, bool]:
    address = read_ip(text)
    assert address is not None
    return is_internal(address), is_metadata(address)


@pytest.mark.parametrize("text", PUBLIC)
def test_what_the_internet_has(text: str) -> None:
    assert judged(text) == (False, False)


@pytest.mark.parametrize("text", INTERNAL)
def test_what_it_does_not_have(text: str) -> None:
    assert judged(text) == (True, False)


@pytest.mark.parametrize("text", METADATA)
def test_where_no_registry_is(text: str) -> None:
    assert judged(text) == (True, True)


@given(st.ip_addresses(v=4))
def test_an_address_in_an_address_is_judged_as_itself(inner: ipaddress.IPv4Address) -> None:
    text, number = str(inner), int(inner)
    halves = f"{number >> 16:x}:{number & 0xFFFF:x}"
    for form in (f"::ffff:{text}", f"64:ff9b::{text}", f"64:ff9b:1:2::{text}", f"2002:{halves}::"):
        assert judged(form) == judged(text)


@given(st.text(max_size=40))
def test_a_name_is_no_address(text: str) -> None:
    actual = read_ip(text)
    assert actual is None or ipaddress.ip_address(text.partition("%")[0])


def leading(patch: pytest.MonkeyPatch, names: dict[str, str]) -> None:
    """Have names lead to addresses, as whoever answers for them says."""
    before = socket.getaddrinfo

    def lead(host: Any, *args: Any, **settings: Any) -> Any:
        return before(names.get(host, host), *args, **settings)

    patch.setattr(socket, "getaddrinfo", lead)


def fetch(url: str, *, internal: bool) -> StepError:
    fetcher = Fetcher(Deadline(SystemClock()))
    with pytest.raises(Unavailable) as caught:
        fetcher.fetch(url, headers={}, limit=1000, internal=internal)
    return caught.value


@pytest.mark.parametrize("place", [each for each in METADATA if "%" not in each])
@pytest.mark.parametrize("internal", [True, False])
def test_no_name_leads_to_a_metadata_server(
    place: str, internal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    leading(monkeypatch, {"registry.example": place})
    error = fetch("https://registry.example/token", internal=internal)
    assert "registry.example leads to" in error.message
    assert "it was not connected to" in error.message


def test_a_name_leads_into_a_private_network_only_from_there(
    start: Callable[[Script], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(replies(served(BODY)))
    leading(monkeypatch, {"auth.example": "127.0.0.1"})
    error = fetch(f"https://auth.example:{server.port}/token", internal=False)
    assert "auth.example leads to 127.0.0.1, which the internet does not have" in error.message
    # From a private network it may; that there is no TLS behind it, is another matter.
    error = fetch(f"https://auth.example:{server.port}/token", internal=True)
    assert "TLS failed" in error.message or "did not answer" in error.message
    assert server.requests == []


def test_without_tls_only_loopback_is_connected_to(
    start: Callable[[Script], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(replies(served(BODY)))
    leading(monkeypatch, {"here.localhost": "127.0.0.1", "elsewhere.localhost": "10.1.2.3"})
    clock = FakeClock()
    tag = ImageTag.parse(f"here.localhost:{server.port}/team/app:v1")
    assert str(anonymous(clock).resolve(tag)) == digest(BODY)
    tag = ImageTag.parse(f"elsewhere.localhost:{server.port}/team/app:v1")
    with pytest.raises(Unavailable, match="which is not spoken to without TLS"):
        anonymous(clock).resolve(tag)


def test_a_redirect_from_loopback_to_a_metadata_server_is_not_followed(
    start: Callable[[Script], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    leading(monkeypatch, {"storage.example": "169.254.169.254"})
    server = start(replies(Reply(307, {"Location": "https://storage.example/latest"})))
    tag = ImageTag.parse(f"{server.address}/team/app:v1")
    with pytest.raises(Unavailable, match=r"leads to 169\.254\.169\.254, where no registry is"):
        anonymous(FakeClock()).resolve(tag)


@pytest.mark.parametrize("text", [*INTERNAL, *METADATA])
def test_an_address_in_a_url_is_judged_before_anything_is_asked(text: str) -> None:
    host = f"[{text}]" if ":" in text else text
    try:
        address = Address.of(f"https://{host}/token")
    except BadInput:
        assert "%" in text
        return
    assert address.private
    assert not Address.of("https://registry.example/").may_name(address)


# --- From the internet, which here is one server


@pytest.fixture
def reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Script, dict[str, str]], Server]]:
    """Start a server that is behind every address; names lead to addresses as a test says."""
    with ExitStack() as stack:

        def begin(script: Script, names: dict[str, str]) -> Server:
            server = stack.enter_context(internet(script, tmp_path, monkeypatch))
            for name in ("HTTPS_PROXY", "https_proxy"):
                monkeypatch.delenv(name)

            def connect(place: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
                made = socket.create_connection(("127.0.0.1", server.port))
                host = next(name for name, address in names.items() if address == place[0])
                made.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                while not made.recv(1, socket.MSG_PEEK):
                    pass
                answered = b""
                while not answered.endswith(b"\r\n\r\n"):
                    answered += made.recv(1)
                return made

            monkeypatch.setattr("step.registry.transport.create_connection", connect)
            leading(monkeypatch, names)
            return server

        yield begin


def challenging(request: Request) -> Reply:
    """A registry that wants a token of another server, and the token."""
    if not request.path.startswith("/v2/"):
        return Reply(200, {"Content-Type": "application/json"}, b'{"token": "t"}')
    if request.authorization == "Bearer t":
        return served(BODY)
    realm = 'Bearer realm="https://auth.example/token",service="s"'
    return Reply(401, {"WWW-Authenticate": realm})


@pytest.mark.parametrize("entry", [{}, {"identitytoken": "refresh"}], ids=["asked", "with a form"])
@pytest.mark.parametrize("here", ["8.8.8.8", "10.0.0.1"])
def test_a_token_server_in_a_private_network_is_for_registries_there(
    reached: Callable[..., Server], entry: dict[str, str], here: str
) -> None:
    names = {"r.example": here, "auth.example": "10.0.0.2"}
    server = reached(challenging, names)
    keychain = Keychain(json.dumps({"auths": {"r.example": entry} if entry else {}}))
    registry = Registry(keychain, FakeClock())
    tag = ImageTag.parse("r.example/team/app:v1")
    if here == "10.0.0.1":
        assert str(registry.resolve(tag)) == digest(BODY)
        return
    with pytest.raises(Unavailable, match=r"auth\.example leads to 10"):
        registry.resolve(tag)
    assert {request.host for request in server.requests} == {"r.example"}


def test_a_redirect_into_a_private_network_is_not_followed_from_the_internet(
    reached: Callable[..., Server],
) -> None:
    names = {"r.example": "8.8.8.8", "storage.example": "192.168.1.1"}
    elsewhere = Reply(307, {"Location": "https://storage.example/blob"})
    server = reached(replies(elsewhere), names)
    with pytest.raises(Unavailable, match=r"storage\.example leads to 192"):
        anonymous(FakeClock()).resolve(ImageTag.parse("r.example/team/app:v1"))
    assert len(server.requests) == 1
