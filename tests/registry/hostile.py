"""Servers on loopback that answer as a test says, and an internet that consists of them.

`Server` speaks plain http. `internet` makes it the proxy of every https address: it ends TLS with
a certificate of its own for any host, so that public registries are there without a network.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent."""

    method: str
    host: str
    path: str
    headers: Message
    body: str

    @property
    def authorization(self) -> str | None:
        return self.headers["Authorization"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer; a body of several parts is sent without its length being said."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""


Script = Callable[[Request], Reply]


@dataclass
class Server:
    """A server, what it was asked, and how many bytes of bodies it could send."""

    port: int
    script: Script
    requests: list[Request] = field(default_factory=list)
    sent: int = 0
    last: Exception | None = None

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"


def manifest(kind: str = OCI_MANIFEST, **more: object) -> bytes:
    """The bytes of a manifest, or of another document of the kind."""
    return json.dumps({"schemaVersion": 2, "mediaType": kind, **more}).encode()


def digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def served(body: bytes, kind: str = OCI_MANIFEST, **headers: str) -> Reply:
    """A manifest as a registry serves it."""
    stated = {"Docker-Content-Digest": digest(body), **headers}
    return Reply(200, {"Content-Type": kind, **stated}, body)


def entry(body: bytes, platform: str | None, kind: str = OCI_MANIFEST, **more: object) -> Any:
    """An entry of an index."""
    actual: dict[str, object] = {"mediaType": kind, "digest": digest(body), "size": len(body)}
    if platform is not None:
        parts = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        actual["platform"] = parts
    return {**actual, **more}


class _Http(ThreadingHTTPServer):
    told: Server


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length).decode()
        host = self.headers["Host"]
        request = Request(self.command, host, self.path, self.headers, body)
        self.server.told.requests.append(request)
        try:
            self.reply(self.server.told.script(request))
        except (BrokenPipeError, ConnectionResetError) as error:
            self.server.told.last = error
            self.close_connection = True

    do_GET = do_HEAD = do_POST = answer

    def reply(self, reply: Reply) -> None:
        parts = [reply.body] if isinstance(reply.body, bytes) else reply.body
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if isinstance(reply.body, bytes) and "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        for part in parts if self.command != "HEAD" else ():
            self.wfile.write(part)
            self.server.told.sent += len(part)

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        context = _context(self.path.rpartition(":")[0])
        try:
            self.connection = context.wrap_socket(self.connection, server_side=True)
        except OSError as error:
            self.server.told.last = error
            self.close_connection = True
            return
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        # With TLS, it is not the socket that the server accepted, and closes.
        self.connection.close()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serve(script: Script) -> Iterator[Server]:
    """Run a server that answers as the script says."""
    http = _Http(("127.0.0.1", 0), _Handler)
    server = http.told = Server(http.server_address[1], script)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@contextmanager
def internet(script: Script, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Run a server that is every host of https."""
    authority = folder / "authority.pem"
    authority.write_bytes(_authority()[1].public_bytes(serialization.Encoding.PEM))
    with serve(script) as server:
        for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "CURL_CA_BUNDLE"):
            patch.delenv(name, raising=False)
        for name in ("HTTPS_PROXY", "https_proxy"):
            patch.setenv(name, f"http://127.0.0.1:{server.port}")
        patch.setenv("REQUESTS_CA_BUNDLE", str(authority))
        yield server


@cache
def _authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=an authority for tests")
    identity = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(identity, critical=False)
    )
    return key, builder.sign(key, hashes.SHA256())


@cache
def _context(host: str) -> ssl.SSLContext:
    """What ends TLS for a host."""
    authority, certificate = _authority()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string(f"CN={host}"[:60])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    signed = (
        _builder(name, certificate.subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority, hashes.SHA256())
    )
    return _loaded(key, signed)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
    )


def _loaded(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> ssl.SSLContext:
    """The ssl module reads keys from files only; this one is gone when it has been read."""
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(private + certificate.public_bytes(serialization.Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    return context
