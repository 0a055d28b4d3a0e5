"""Google's token and metadata services and its front door, on loopback, as strict as the real ones.

What each wants and gives: https://docs.github.com/en/actions/reference/security/oidc,
https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token,
https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken
and https://cloud.google.com/compute/docs/metadata/querying-metadata.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ACCOUNT = "builder@my-project.iam.gserviceaccount.com"
AUDIENCE = (
    "//iam.googleapis.com/projects/123456789012/locations/global/"
    "workloadIdentityPools/ci/providers/github"
)
SCOPE = "https://www.googleapis.com/auth/cloud-platform"

# What each service gives; the next wants exactly it.
REQUEST_TOKEN = "request-token-of-the-runner"
ID_TOKEN = "header.claims-of-the-job.signature"
FEDERATED = "federated-access-token"
ACCESS_TOKEN = "access-token-of-the-builder"


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate for loopback that vouches for itself."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """Write both as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name.from_rfc4514_string("CN=tests on loopback")
        names = [x509.IPAddress(IPv4Address("127.0.0.1"))]
        begin = datetime.now(UTC) - timedelta(hours=1)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        )
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=2))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                    **usage,
                ),
                critical=True,
            )
            .sign(key, SHA256())
        )
        made = cls(folder / "ca.pem", folder / "key.pem")
        made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        made.key.write_bytes(plain)
        return made


@dataclass(slots=True)
class Asked:
    """What the services were asked, in order, and what was wrong with it."""

    steps: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def check(self, what: str, actual: object, wanted: object) -> None:
        """Take down a difference."""
        if actual != wanted:
            self.wrong.append(f"{what}: {actual!r} is not {wanted!r}")


class _Answers(BaseHTTPRequestHandler):
    """One server; what it is asked is looked up by path, and refused when it is not as wanted."""

    asked: Asked

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/oidc":
            self._answer("id token", self._id_token(url.query))
        elif url.path == "/" or url.path.startswith("/computeMetadata/v1/"):
            self._answer(f"metadata {url.path}", self._metadata(url.path))
        else:
            self.asked.wrong.append(f"GET {self.path}")
            self._answer("unknown", None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/v1/token":
            self._answer("exchange", self._exchange(body))
        elif self.path == f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken":
            self._answer("impersonate", self._impersonate(body))
        else:
            self.asked.wrong.append(f"POST {self.path}")
            self._answer("unknown", None)

    def _id_token(self, query: str) -> object:
        self.asked.check("authorization", self.headers["Authorization"], f"Bearer {REQUEST_TOKEN}")
        wanted = {"api-version": ["2.0"], "audience": [f"https:{AUDIENCE}"]}
        self.asked.check("query", parse_qs(query), wanted)
        return {"count": len(ID_TOKEN), "value": ID_TOKEN}

    def _exchange(self, body: str) -> object:
        urn = "urn:ietf:params:oauth"
        wanted = {
            "audience": [AUDIENCE],
            "grant_type": [f"{urn}:grant-type:token-exchange"],
            "requested_token_type": [f"{urn}:token-type:access_token"],
            # What may be done with it is to ask for the account's own token.
            "scope": ["https://www.googleapis.com/auth/iam"],
            "subject_token": [ID_TOKEN],
            "subject_token_type": [f"{urn}:token-type:jwt"],
        }
        self.asked.check("exchange", parse_qs(body), wanted)
        issued = {"access_token": FEDERATED, "issued_token_type": f"{urn}:token-type:access_token"}
        return issued | {"token_type": "Bearer", "expires_in": 600}

    def _impersonate(self, body: str) -> object:
        self.asked.check("authorization", self.headers["Authorization"], f"Bearer {FEDERATED}")
        self.asked.check("scope", json.loads(body)["scope"], [SCOPE])
        until = datetime.now(UTC) + timedelta(hours=1)
        return {"accessToken": ACCESS_TOKEN, "expireTime": until.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def _metadata(self, path: str) -> object:
        self.asked.check("Metadata-Flavor", self.headers["Metadata-Flavor"], "Google")
        about = f"/computeMetadata/v1/instance/service-accounts/{ACCOUNT}"
        path = path.replace("/default", f"/{ACCOUNT}")
        if path == f"{about}/token":
            return {"access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 3600}
        if path == f"{about}/":
            return {"email": ACCOUNT, "scopes": [SCOPE], "aliases": ["default"]}
        return {
            "/computeMetadata/v1/project/project-id": "my-project",
            "/computeMetadata/v1/universe/universe-domain": "googleapis.com",
            "/": "computeMetadata/",
        }.get(path)

    def _answer(self, step: str, actual: object) -> None:
        self.asked.steps.append(step)
        refused = bool(self.asked.wrong)
        self.send_response(403 if refused else 404 if actual is None else 200)
        text = actual if isinstance(actual, str) else json.dumps(actual)
        kind = "application/text" if isinstance(actual, str) else "application/json"
        body = text.encode() if not refused else b"refused"
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@dataclass(frozen=True, slots=True)
class Services:
    """The services that give tokens: `host:port`, and what they were asked."""

    address: str
    asked: Asked


@contextmanager
def services(authority: Authority | None = None) -> Iterator[Services]:
    """Serve them, over TLS where there is an authority; metadata is always asked for without."""
    asked = Asked()
    handler = type("Handler", (_Answers,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(authority.certificate, authority.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Services(f"127.0.0.1:{server.server_address[1]}", asked)
        finally:
            server.shutdown()
            thread.join()


if TYPE_CHECKING:
    _Handler = grpc.GenericRpcHandler[bytes, bytes]
else:
    _Handler = grpc.GenericRpcHandler


class _Front(_Handler):
    """Lets calls through to an emulator, which knows no accounts, if they have the token."""

    def __init__(self, behind: grpc.Channel) -> None:
        self._behind = behind
        self.calls: list[str] = []

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        method = handler_call_details.method
        # Whatever the messages are, they go on as the bytes that they came as.
        remote = self._behind.unary_unary(method, bytes, bytes)

        def forward(request: bytes, context: grpc.ServicerContext) -> bytes:
            metadata = [(key, value) for key, value in context.invocation_metadata()]
            if ("authorization", f"Bearer {ACCESS_TOKEN}") not in metadata:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "not the token that was given")
            self.calls.append(method.rpartition("/")[2])
            routed = tuple(pair for pair in metadata if pair[0] == "x-goog-request-params")
            try:
                answer: bytes = remote(request, metadata=routed, timeout=30)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details() or "")
            return answer

        return grpc.unary_unary_rpc_method_handler(forward)


@contextmanager
def front(emulator: str, authority: Authority) -> Iterator[tuple[dict[str, str], list[str]]]:
    """A door with TLS and a lock before an emulator: the environment that leads there, and the
    methods that came through.

    The variables are gcloud's, which the program takes too.
    """
    pair = (authority.key.read_bytes(), authority.certificate.read_bytes())
    with (
        grpc.insecure_channel(emulator) as behind,
        futures.ThreadPoolExecutor(max_workers=8) as pool,
    ):
        door = _Front(behind)
        server = grpc.server(pool, handlers=[door])
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        server.start()
        services = ("CLOUDKMS", "BINARYAUTHORIZATION", "CONTAINERANALYSIS", "CLOUDBUILD")
        try:
            yield (
                {
                    f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": f"https://127.0.0.1:{port}/"
                    for name in services
                },
                door.calls,
            )
        finally:
            server.stop(None).wait()
