"""Registries that are slow, large, broken, or lying."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from step.errors import BadInput, NotFound, Refused, StepError, Unavailable
from step.model.image import ImageTag
from step.registry.client import Platforms
from tests.registry.asking import BODY, anonymous, image, replies, tag
from tests.registry.hostile import (
    OCI_INDEX,
    Reply,
    Request,
    Script,
    Server,
    digest,
    entry,
    manifest,
    serve,
    served,
)
from tests.world import FakeClock

OTHER = manifest(name="another image")
MEBIBYTE = 1 << 20


def test_it_asks_once_by_tag_for_every_kind_of_image(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    server = start(replies(served(BODY)))
    assert str(anonymous(clock).resolve(tag(server))) == digest(BODY)
    [request] = server.requests
    assert (request.method, request.path) == ("GET", "/v2/team/app/manifests/v1")
    assert len(request.headers["Accept"].split(", ")) == 4
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["User-Agent"].startswith("binauthz-attest/")
    assert request.authorization is None


def test_without_a_digest_header_the_bytes_are_hashed(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    server = start(
        replies(Reply(200, {"Content-Type": OCI_INDEX}, manifest(OCI_INDEX, manifests=[])))
    )
    actual = anonymous(clock).resolve(tag(server))
    assert str(actual) == digest(manifest(OCI_INDEX, manifests=[]))


@pytest.mark.parametrize("lie", [digest(OTHER), "sha512:" + "0" * 128, "", "sha256:" + "a" * 9_999])
def test_a_digest_header_that_lies_is_not_believed(
    start: Callable[[Script], Server], clock: FakeClock, lie: str
) -> None:
    server = start(replies(served(BODY, **{"Docker-Content-Digest": lie})))
    with pytest.raises(Unavailable, match=f"sent {digest(BODY)} and says that it is") as caught:
        anonymous(clock).resolve(tag(server))
    assert len(caught.value.message) < 400
    with pytest.raises(Unavailable, match="says that it is"):
        anonymous(clock).manifest(image(server))
    assert len(server.requests) == 2, "a lie is not asked for again"


def test_bytes_of_another_digest_are_not_the_image(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    """It agrees with itself, but it was asked for something else."""
    server = start(replies(served(OTHER)))
    with pytest.raises(
        Unavailable, match=f"sent {digest(OTHER)} and says that it is {digest(BODY)}"
    ):
        anonymous(clock).manifest(image(server))


def test_what_was_fetched_by_digest_is_not_fetched_again(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    child = manifest(name="amd64")
    body = manifest(OCI_INDEX, manifests=[entry(child, "linux/amd64")])
    server = start(replies(served(body, OCI_INDEX)))
    registry, wanted = anonymous(clock), image(server, body)
    assert registry.expand(wanted, Platforms.parse("index")) == (wanted,)
    assert server.requests == []
    assert registry.manifest(wanted) is registry.manifest(wanted)
    actual = registry.expand(wanted, Platforms.parse("all"))
    assert [str(each.digest) for each in actual] == [digest(body), digest(child)]
    assert len(server.requests) == 1


def test_an_index_that_lists_itself_is_there_once(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    server = start(replies(served(BODY)))
    wanted = image(server)
    assert anonymous(clock).expand(wanted, Platforms.parse("all")) == (wanted,)


def four_gigabytes() -> Iterator[bytes]:
    return itertools.repeat(bytes(1 << 16), 1 << 16)


@pytest.mark.parametrize("path", ["manifest", "token"])
def test_four_gigabytes_are_not_read(
    start: Callable[[Script], Server], clock: FakeClock, path: str
) -> None:
    def script(request: Request) -> Reply:
        if path == "token" and "/v2/" in request.path:
            realm = f'Bearer realm="http://{server.address}/token"'
            return Reply(401, {"WWW-Authenticate": realm})
        return Reply(200, {"Content-Type": OCI_INDEX}, four_gigabytes())

    server = start(script)
    limit = 4 * MEBIBYTE if path == "manifest" else MEBIBYTE
    with pytest.raises(Unavailable, match=f"more than {limit} bytes"):
        anonymous(clock).resolve(tag(server))
    # What the system's own buffers hold comes on top.
    assert server.sent < limit + 24 * MEBIBYTE


def test_four_gigabytes_that_are_announced_are_not_even_begun(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    server = start(replies(Reply(200, {"Content-Length": str(4 << 30)}, four_gigabytes())))
    with pytest.raises(Unavailable, match=f"more than {4 * MEBIBYTE} bytes"):
        anonymous(clock).resolve(tag(server))
    assert server.sent < 24 * MEBIBYTE


@pytest.mark.parametrize("status", [302, 401, 404, 503])
def test_four_gigabytes_beside_a_status_are_not_read(
    start: Callable[[Script], Server], clock: FakeClock, status: int
) -> None:
    headers = {"Location": "/elsewhere", "WWW-Authenticate": "Basic"}
    server = start(replies(Reply(status, headers, four_gigabytes())))
    with pytest.raises(StepError):
        anonymous(clock).resolve(tag(server))
    assert server.sent < 24 * MEBIBYTE * len(server.requests)


def test_a_manifest_of_exactly_the_limit_is_read(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    body = manifest(name="x" * 99).ljust(4 * MEBIBYTE)
    server = start(replies(served(body), served(body + b" ")))
    registry = anonymous(clock)
    assert str(registry.resolve(tag(server))) == digest(body)
    with pytest.raises(Unavailable, match="more than"):
        registry.resolve(tag(server))


def test_a_body_that_drips_ends_at_the_deadline(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    """Every byte arrives in time; only all of them never do."""
    read = threading.Event()

    class Dripping(FakeClock):
        def elapsed(self) -> timedelta:
            read.set()
            return super().elapsed()

    def drip() -> Iterator[bytes]:
        for _ in range(1000):
            dripping.sleep(timedelta(seconds=10))
            read.clear()
            yield b" "
            read.wait(1)

    dripping = Dripping()
    server = start(replies(Reply(200, {"Content-Type": OCI_INDEX}, drip())))
    with pytest.raises(Unavailable, match="took longer than 1m to answer"):
        anonymous(dripping).resolve(tag(server))
    assert server.sent < 20


def test_a_registry_that_does_not_answer_is_left_at_the_deadline(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    release = threading.Event()

    def script(request: Request) -> Reply:
        if len(server.requests) == 1:
            clock.sleep(timedelta(seconds=59) - clock.elapsed() - timedelta(milliseconds=5))
            return Reply(503)
        release.wait(5)
        return Reply(503)

    server = start(script)
    try:
        with pytest.raises(Unavailable, match="did not answer: no answer in time"):
            anonymous(clock).resolve(tag(server))
    finally:
        release.set()


def test_an_answer_that_is_cut_off_is_asked_for_again(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    headers = {"Content-Type": OCI_INDEX, "Content-Length": "999"}
    cut = Reply(200, headers, BODY)
    server = start(replies(cut, served(BODY)))
    assert str(anonymous(clock).resolve(tag(server))) == digest(BODY)
    always = start(replies(cut))
    with pytest.raises(Unavailable, match="did not answer"):
        anonymous(clock).resolve(tag(always))
    assert len(always.requests) == 3


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_fails_in_passing_is_asked_again(
    start: Callable[[Script], Server], clock: FakeClock, status: int
) -> None:
    server = start(replies(Reply(status), Reply(status), served(BODY)))
    assert str(anonymous(clock).resolve(tag(server))) == digest(BODY)
    assert clock.elapsed() == timedelta(seconds=3)
    always = start(replies(Reply(status)))
    with pytest.raises(Unavailable, match=f"did not answer: status {status}"):
        anonymous(clock).resolve(tag(always))
    assert len(always.requests) == 3


@pytest.mark.parametrize(
    ("wanted", "waited"),
    [("7", 7), ("0", 1), ("Wed, 21 Oct 2026 07:28:00 GMT", 1), ("-1", 1), ("9" * 50, 1)],
)
def test_a_pause_that_is_asked_for_is_made(
    start: Callable[[Script], Server], clock: FakeClock, wanted: str, waited: int
) -> None:
    server = start(replies(Reply(429, {"Retry-After": wanted}), served(BODY)))
    anonymous(clock).resolve(tag(server))
    assert clock.elapsed() == timedelta(seconds=waited)


def test_a_pause_that_is_too_long_is_for_the_user_to_make(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    server = start(replies(Reply(429, {"Retry-After": "3600"})))
    with pytest.raises(Unavailable, match="status 429; it asks for a pause of 60m"):
        anonymous(clock).resolve(tag(server))
    assert clock.elapsed() == timedelta(0)


@pytest.mark.parametrize("status", [400, 405, 410, 206, 300, 303])
def test_another_status_is_no_answer(
    start: Callable[[Script], Server], clock: FakeClock, status: int
) -> None:
    server = start(replies(Reply(status, {}, BODY)))
    with pytest.raises(Unavailable, match=f"answered with status {status}"):
        anonymous(clock).resolve(tag(server))


def test_nobody_there_is_unavailable(clock: FakeClock) -> None:
    with serve(replies(Reply())) as gone:
        pass
    with pytest.raises(Unavailable, match="did not answer: Connection refused") as caught:
        anonymous(clock).resolve(tag(gone))
    assert caught.value.hint
    assert clock.elapsed() == timedelta(seconds=3)


def test_a_page_of_html_is_no_manifest(start: Callable[[Script], Server], clock: FakeClock) -> None:
    page = Reply(200, {"Content-Type": "text/html"}, b"<html>Please log in to the Wi-Fi</html>")
    server = start(replies(page))
    with pytest.raises(Unavailable, match="not a manifest but text/html"):
        anonymous(clock).resolve(tag(server))
    with pytest.raises(Unavailable, match="says that it is"):
        anonymous(clock).manifest(image(server))


def test_a_compressed_answer_is_refused(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    """A small one can unpack to anything."""
    server = start(replies(served(BODY, **{"Content-Encoding": "gzip"})))
    with pytest.raises(Unavailable, match="compresses its answer"):
        anonymous(clock).resolve(tag(server))


def test_a_config_in_place_of_a_manifest_is_refused(
    start: Callable[[Script], Server], clock: FakeClock
) -> None:
    kind = "application/vnd.oci.image.config.v1+json"
    body = b'{"architecture": "amd64", "rootfs": {}}'
    server = start(replies(served(body, kind)))
    for ask in (
        lambda: anonymous(clock).resolve(tag(server)),
        lambda: anonymous(clock).manifest(image(server, body)),
    ):
        with pytest.raises(Refused, match="is an image's config"):
            ask()


@pytest.mark.parametrize(
    ("blob", "wanted"),
    [
        (Reply(200, {"Content-Length": "999999999"}), Refused),
        (Reply(307, {"Location": "https://storage.example/"}), Refused),
        (Reply(404), NotFound),
        (Reply(403), NotFound),
        (Reply(503), NotFound),
    ],
)
def test_a_digest_of_a_blob_is_told_from_a_digest_of_nothing(
    start: Callable[[Script], Server], clock: FakeClock, blob: Reply, wanted: type[StepError]
) -> None:
    server = start(lambda request: blob if "/blobs/" in request.path else Reply(404))
    with pytest.raises(wanted):
        anonymous(clock).manifest(image(server))
    assert server.requests[1].method == "HEAD"


@pytest.mark.parametrize(
    "blob",
    [
        Reply(404),
        Reply(403),
        Reply(200, {}, OTHER),
        Reply(200, {}, b"other bytes, which are no JSON"),
        Reply(200, {}, BODY),
        Reply(500),
    ],
)
def test_a_registry_that_fails_is_not_taken_for_a_wrong_digest(
    start: Callable[[Script], Server], clock: FakeClock, blob: Reply
) -> None:
    server = start(lambda request: blob if "/blobs/" in request.path else Reply(500))
    with pytest.raises(Unavailable, match="status 500"):
        anonymous(clock).manifest(image(server))


def test_what_the_environment_has_for_other_programs_is_not_used(
    start: Callable[[Script], Server],
    clock: FakeClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A netrc file would be sent to the host, and a proxy would see all that goes to loopback."""
    (tmp_path / "netrc").write_text("machine localhost login netrc password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    proxy = start(replies(Reply(502)))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{proxy.address}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server = start(replies(served(BODY)))
    anonymous(clock).resolve(tag(server))
    assert server.requests[0].authorization is None
    assert proxy.requests == []


def test_a_port_that_is_none_is_bad_input(clock: FakeClock) -> None:
    with pytest.raises(BadInput, match="not an address"):
        anonymous(clock).resolve(ImageTag.parse("localhost:99999/team/app:v1"))
