"""Which addresses a server may make us connect to, however they are spelt."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.clock import SystemClock
from step.deadline import Deadline
from step.discovery.fetch import Address, Fetcher
from step.discovery.reach import is_internal, is_metadata, read_ip
from step.errors import BadInput, StepError, Unavailable
from step.model.image import ImageTag
from tests.registry.asking import BODY, anonymous, replies
from tests.registry.hostile import Reply, Script, Server, digest, served
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
    found = read_ip(text)
    assert found is None or ipaddress.ip_address(text.partition("%")[0])


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


@pytest.mark.parametrize("place", [one for one in METADATA if "%" not in one])
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
