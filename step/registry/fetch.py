"""HTTP with a server that is not trusted: bounded in bytes, time and hops, its word never law."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal
from urllib.parse import urljoin, urlsplit

from step import __version__
from step.clock import show_duration
from step.concurrency import Deadline
from step.errors import BadInput, OutOfTime, Unavailable
from step.model.quoting import on_one_line, quoted
from step.registry.addresses import is_internal, read_ip

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from step.registry.transport import GuardedSession

# One request, its redirects and its repetitions, from asking to the last byte.
PATIENCE = timedelta(seconds=60)
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 30.0
_CHUNK = 1 << 16
# What the limits of single reads get to say what it was, before all is cut off.
_SETTLE = timedelta(seconds=0.5)
HOPS = 3
_SAFE = "Nothing was refused; running again is safe."

# What go-containerregistry, and so crane and ko, repeats, and how often
# (https://github.com/google/go-containerregistry/blob/main/pkg/v1/remote/options.go).
_TRIES = 3
_REPEATED = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=20)

_PORTS = {"http": 80, "https": 443}
# What all readers of an URL split alike: with a backslash, a blank, or a host that is not ASCII or
# holds escapes, requests asks another host than the one that urllib shows us.
_PLAIN_URL = re.compile(
    r"https?://(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::[0-9]*)?(?:[/?#][^\s\\]*)?", re.IGNORECASE
)

# 303 is for the answer to a form, and 300 leaves the choice to a person (RFC 9110, 15.4).
REDIRECTS = frozenset({301, 302, 307, 308})


@dataclass(frozen=True, slots=True)
class Address:
    """Where an URL points: what has to be the same for credentials to go there again."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Address:
        """Raises BadInput for what is not an http or https address, or names a user."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            host, port = "", None
        if not host or port == 0 or not _PLAIN_URL.fullmatch(url):
            raise BadInput(f"{quoted(url)} is not an address that can be asked")
        return cls(parts.scheme, host.lower(), port or _PORTS[parts.scheme])

    @property
    def loopback(self) -> bool:
        """Whether it is this machine, by its name alone: localhost (RFC 6761), 127/8, ::1."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        address = read_ip(self.host)
        return address is not None and address.is_loopback

    @property
    def private(self) -> bool:
        """Whether it is an address that the internet does not have, a metadata server's included.

        Only its spelling is looked at; what a host name leads to is judged when it is connected to.
        """
        if self.loopback:
            return True
        address = read_ip(self.host)
        # The resolver also reads 127.1 and 0x7f000001; nobody writes them in good faith.
        odd = address is None and re.search(r"(?:\A|\.)(?:0x[0-9a-f]*|[0-9]+)\Z", self.host)
        return bool(odd) or (address is not None and is_internal(address))

    def may_name(self, other: Address) -> bool:
        """Whether a server here may send us there: never off TLS, nor into a private network."""
        if other.scheme == "http":
            return self.scheme == "http" and other.loopback
        return self.private or not other.private

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == _PORTS[self.scheme]
        return f"{self.scheme}://{host}" + (f":{self.port}" * (not usual))


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; `body` is read for status 200 only, and `address` is who answered.

    `internal` is whether that is, as far as is known, an address that the internet does not have:
    who is there may lead us to others like it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    address: Address
    internal: bool = False


class Failing(Unavailable):
    """The server answers, and every time that it cannot; `status` is how it says so."""

    def __init__(self, address: Address, reply: Reply) -> None:
        wanted = _retry_after(reply.headers)
        asked = f"; it asks for a pause of {show_duration(wanted)}" if wanted else ""
        super().__init__(f"{address} did not answer: status {reply.status}{asked}", _SAFE)
        self.status = reply.status


class _Interrupted(Exception):
    """The connection failed in passing; the message is for people."""


@dataclass(frozen=True, slots=True)
class _Request:
    """One request, without its redirects; its repetitions are the same."""

    method: Literal["GET", "HEAD", "POST"]
    url: str
    headers: Mapping[str, str]
    form: Mapping[str, str] | None
    limit: int
    until: timedelta
    session: GuardedSession
    address: Address


class Fetcher:
    """Sends requests; proxies and TLS certificates are the environment's, as requests has them."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._clock = deadline.clock

    def fetch(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        authorization: str | None = None,
        form: Mapping[str, str] | None = None,
        method: Literal["GET", "HEAD"] = "GET",
        limit: int,
        hops: int = HOPS,
        internal: bool = True,
    ) -> Reply:
        """Ask, follow redirects, and repeat what fails in passing; a form is posted.

        Without `hops`, a redirect is an answer like any other.
        `limit` is in bytes. `authorization` goes to the address of `url` alone, never along with a
        redirect to another one. Without `internal`, nothing is connected to that the internet does
        not have; a server that it does have leads nowhere else either. Raises Unavailable when
        there is no answer within PATIENCE, when it is too large, and when it leads where it must
        not; OutOfTime when the run's deadline passes.
        """
        until = min(self._clock.elapsed() + PATIENCE, self._deadline.until)
        kind = method if form is None else "POST"
        first = here = Address.of(url)
        for _ in range(hops + 1):
            sent = {**headers, "Accept-Encoding": "identity"}
            if authorization is not None and here == first:
                sent["Authorization"] = authorization
            else:
                authorization = None
            session = self._sessions[internal]
            reply = self._repeat(_Request(kind, url, sent, form, limit, until, session, here))
            if reply.status not in REDIRECTS or not hops:
                return reply
            url, here = _led(url, reply)
            internal = reply.internal
        raise Unavailable(
            f"{first} redirected more than {hops} times", "Is it the registry itself?"
        )

    def _repeat(self, request: _Request) -> Reply:
        pause, tries = _FIRST_PAUSE, _TRIES
        while True:
            tries, wanted = tries - 1, None
            try:
                reply = self._in_time(request)
            except _Interrupted as error:
                said = str(error)
                failure = Unavailable(f"{request.address} did not answer: {error}", _SAFE)
            else:
                if reply.status not in _REPEATED:
                    return reply
                said, wanted = f"status {reply.status}", _retry_after(reply.headers)
                failure = Failing(request.address, reply)
            wait = wanted or pause
            if wait > _LONGEST_PAUSE or not tries:
                raise failure
            if wait >= self._deadline.left:
                raise self._deadline.over(f"{request.address} ({said})")
            if self._clock.elapsed() + wait > request.until:
                raise failure
            self._deadline.sleep(wait)
            pause *= 2

    def _in_time(self, request: _Request) -> Reply:
        """One request and its reply, by the deadline even if only its headers drip in.

        requests has a limit for each read of the socket alone.
        """
        left = request.until - self._clock.elapsed()
        address = request.address
        try:
            return self._deadline.wait(partial(self._once, request), str(address), left + _SETTLE)
        except TimeoutError:
            request.session.cut_off()
            raise _too_slow(address) from None
        except OutOfTime:
            request.session.cut_off()
            raise

    def _once(self, request: _Request) -> Reply:
        from requests import exceptions
        from urllib3.exceptions import HTTPError

        address, session = request.address, request.session
        left = max((request.until - self._clock.elapsed()).total_seconds(), 0.1)
        try:
            response = session.request(
                request.method,
                request.url,
                headers=dict(request.headers),
                data=request.form,
                timeout=(min(_CONNECT_SECONDS, left), min(_READ_SECONDS, left)),
                allow_redirects=False,
                stream=True,
                # Only loopback is spoken to without TLS, and no proxy is between us and it.
                proxies={"http": ""},
            )
            with response:
                body = self._read(response, request)
        except exceptions.SSLError as error:
            raise Unavailable(
                f"{address}: TLS failed: {_reason(error)}",
                "If its certificate is signed by an authority of your own, name that authority's "
                "file in REQUESTS_CA_BUNDLE.",
            ) from None
        except (exceptions.ConnectionError, exceptions.Timeout, HTTPError) as error:
            raise _Interrupted(_reason(error)) from None
        except exceptions.RequestException as error:
            raise Unavailable(f"{address} cannot be asked: {type(error).__name__}") from None
        internal = session.has_met_internal(address.host, address.port) or address.private
        return Reply(response.status_code, response.headers, body, address, internal)

    def _read(self, response: Response, request: _Request) -> bytes:
        """The body as it was sent; no more than the limit is ever kept, and little more read."""
        address, limit = request.address, request.limit
        if response.status_code != 200 or request.method == "HEAD":
            return b""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise Unavailable(f"{address} compresses its answer, though asked not to")
        stated = response.headers.get("Content-Length", "")
        large = bool(re.fullmatch(r"[0-9]{1,18}", stated)) and int(stated) > limit
        body = bytearray()
        # One read of the socket at a time: the deadline is looked at even if bytes drip in. That a
        # body is as long as was stated, urllib3 sees to.
        while not large and (chunk := response.raw.read1(_CHUNK, decode_content=False)):
            body += chunk
            large = len(body) > limit
            if self._clock.elapsed() > request.until:
                raise _too_slow(address)
        if large:
            raise Unavailable(
                f"{address} answered with more than {limit} bytes, the limit for this",
                "A manifest and a token are small; is the host right?",
            )
        return bytes(body)

    @cached_property
    def _sessions(self) -> dict[bool, GuardedSession]:
        """What asks, by whether it may connect to what the internet does not have."""
        from http.cookiejar import DefaultCookiePolicy

        from step.registry.transport import GuardedSession

        sessions = {internal: GuardedSession(internal=internal) for internal in (False, True)}
        for session in sessions.values():
            session.headers["User-Agent"] = f"binauthz-attest/{__version__}"
            # Without this, requests sends what a netrc file has for the host.
            session.auth = _as_it_is
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        return sessions


def _too_slow(address: Address) -> Unavailable:
    return Unavailable(f"{address} took longer than {show_duration(PATIENCE)} to answer", _SAFE)


def _as_it_is(request: PreparedRequest) -> PreparedRequest:
    return request


def _led(url: str, reply: Reply) -> tuple[str, Address]:
    """Where a redirect leads, if it may be followed."""
    try:
        url = urljoin(url, reply.headers.get("Location", ""))
        there = Address.of(url)
    except (ValueError, BadInput):
        raise Unavailable(f"{reply.address} redirected to nowhere") from None
    if not reply.address.may_name(there):
        raise Unavailable(
            f"{reply.address} redirected to {there}, which is not followed",
            "A redirect must not leave TLS, nor lead from the internet into a private network.",
        )
    return url, there


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """What Retry-After asks for in seconds; a date, its other form, is left to our own pauses."""
    text = headers.get("Retry-After", "")
    return timedelta(seconds=int(text)) if re.fullmatch(r"[0-9]{1,6}", text) else None


def _reason(error: Exception) -> str:
    """The innermost cause, which says it best, on one line."""
    cause: BaseException = error
    while (inner := getattr(cause, "reason", None) or cause.__cause__ or cause.__context__) and (
        isinstance(inner, BaseException)
    ):
        cause = inner
    if isinstance(cause, TimeoutError) or "timed out" in str(cause):
        return "no answer in time"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return on_one_line(str(text))
