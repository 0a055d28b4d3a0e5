"""How the admission endpoint is served: its certificate, its address, its end."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import ssl
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from step.emulator import AdmissionPort, Emulator, EmulatorError, tls
from step.emulator.admission import Verdict
from step.emulator.webhook import AdmissionServer
from step.model.keys import Algorithm
from tests.keys import make_private_key
from tests.reviews import PATH, Endpoint, image_review

ANYWHERE = "0.0.0.0"  # noqa: S104 - where a cluster in containers can ask
IMAGE = "gcr.io/my-project/web:v1"
ADMITTED = {"allowed": True}


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    return tmp_path / "ca.pem"


def served(ca_file: Path, **settings: Any) -> Emulator:
    return Emulator(admission=AdmissionPort(authority_file=ca_file, **settings))


def place(emulator: Emulator) -> tuple[str, int]:
    address = urlsplit(emulator.admission_address)
    assert (address.scheme, address.path) == ("https", "")
    return str(address.hostname), int(address.port or 0)


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of the user's own, and its key: what the emulator would make, on disk."""
    key = make_private_key(Algorithm["ECDSA_P256_SHA256"])
    now, day = datetime.now(UTC), timedelta(days=1)
    name = x509.Name.from_rfc4514_string("CN=localhost")
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    files = tmp_path / "own.pem", tmp_path / "own.key"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


# The certificate


def test_the_made_certificate_holds_before_a_strict_client(ca_file: Path) -> None:
    with served(ca_file) as emulator:
        strict = ssl.create_default_context(cafile=str(ca_file))
        strict.verify_flags |= ssl.VERIFY_X509_STRICT
        for name in ("localhost", "127.0.0.1", "host.docker.internal"):
            with (
                socket.create_connection(place(emulator), timeout=5) as raw,
                strict.wrap_socket(raw, server_hostname=name) as connection,
            ):
                certificate: Any = connection.getpeercert()
        assert ("IP Address", "0:0:0:0:0:0:0:1") in certificate["subjectAltName"]
        with (
            socket.create_connection(place(emulator), timeout=5) as raw,
            pytest.raises(ssl.SSLCertVerificationError, match="not valid for"),
        ):
            strict.wrap_socket(raw, server_hostname="example.com")


def test_the_address_that_is_listened_on_is_in_the_certificate(ca_file: Path) -> None:
    with served(ca_file, host="127.0.0.7") as emulator:
        assert place(emulator)[0] == "127.0.0.7"
        endpoint = Endpoint(emulator.admission_address, ca_file)
        assert endpoint.review(image_review(IMAGE)) == ADMITTED


def test_the_file_holds_the_authority_and_no_key(ca_file: Path) -> None:
    with served(ca_file):
        [authority] = x509.load_pem_x509_certificates(ca_file.read_bytes())
        assert "PRIVATE" not in ca_file.read_text()
        assert list(ca_file.parent.iterdir()) == [ca_file]
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with served(ca_file):
        [again] = x509.load_pem_x509_certificates(ca_file.read_bytes())
    assert again.public_key() != authority.public_key(), "no two runs share a key"


def test_no_descriptor_is_left_open_by_making_it() -> None:
    """The key was read from one: https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html."""
    opened = Path("/proc/self/fd")
    if not opened.exists():
        pytest.skip("this system has no /proc")
    before = len(list(opened.iterdir()))
    tls.made_certificate("127.0.0.1")
    assert len(list(opened.iterdir())) == before


def test_a_certificate_of_ones_own(own: tuple[Path, Path]) -> None:
    certificate, key = own
    settings = AdmissionPort(certificate_file=certificate, key_file=key)
    with Emulator(admission=settings) as emulator:
        address = emulator.admission_address.replace("127.0.0.1", "localhost")
        assert Endpoint(address, certificate).review(image_review(IMAGE)) == ADMITTED


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("no key", "give both or neither"),
        ("no certificate", "give both or neither"),
        ("an authority", "the authority of a certificate that is given is not known"),
        ("missing", "No such file"),
        ("another key", "cannot use the certificate"),
        ("a locked key", "cannot use the certificate"),
        ("no PEM", "cannot use the certificate"),
    ],
)
def test_a_certificate_that_cannot_be_used(
    own: tuple[Path, Path], fault: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    certificate: Path | None
    key: Path | None
    certificate, key = own
    authority = None
    private = make_private_key(Algorithm["ECDSA_P256_SHA256"], 1 if fault == "another key" else 0)
    lock = BestAvailableEncryption(b"hidden") if fault == "a locked key" else NoEncryption()
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    match fault:
        case "no key":
            key = None
        case "no certificate":
            certificate = None
        case "an authority":
            authority = own[0].with_name("ca.pem")
        case "missing":
            certificate = own[0].with_name("missing.pem")
        case "no PEM":
            own[0].write_text("no PEM")
    settings = AdmissionPort(certificate_file=certificate, key_file=key, authority_file=authority)
    with pytest.raises(EmulatorError, match=says) as caught:
        Emulator(admission=settings).start()
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "nobody is asked for a passphrase"
    assert not own[0].with_name("ca.pem").exists()


# The address


def test_it_need_not_be_loopback_but_an_address(ca_file: Path) -> None:
    with served(ca_file, host=ANYWHERE) as emulator:
        port = place(emulator)[1]
        endpoint = Endpoint(f"https://localhost:{port}", ca_file)
        assert endpoint.review(image_review(IMAGE)) == ADMITTED
        assert emulator.rest_address.startswith("127.0.0.1:")
    for host in ("example.com", "", "127.0.0.1:80"):
        with pytest.raises(EmulatorError, match="is not an IP address"):
            served(ca_file, host=host).start()


def test_it_is_served_only_when_asked_for(ca_file: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with Emulator() as emulator:
        with pytest.raises(EmulatorError, match="not served"):
            _ = emulator.admission_address
        emulator.write_ready_file(ready)
        assert "admission" not in json.loads(ready.read_text())
    emulator = served(ca_file)
    for _ in range(2):
        with emulator:
            emulator.write_ready_file(ready)
            assert json.loads(ready.read_text())["admission"] == emulator.admission_address
        with pytest.raises(EmulatorError, match="not served"):
            _ = emulator.admission_address


def test_a_start_that_fails_leaves_no_port_behind(ca_file: Path, tmp_path: Path) -> None:
    with served(ca_file) as first:
        taken = place(first)[1]
        with socket.socket() as each, socket.socket() as other:
            for probe in (each, other):
                probe.bind(("127.0.0.1", 0))
            free, own = each.getsockname()[1], other.getsockname()[1]
        for settings, says in (
            (AdmissionPort(port=taken), f"cannot listen on 127.0.0.1:{taken}"),
            (AdmissionPort(port=own, authority_file=tmp_path / "no" / "ca.pem"), "cannot write"),
        ):
            with pytest.raises(EmulatorError, match=says):
                Emulator(rest_port=free, admission=settings).start()
            with Emulator(rest_port=free, admission=AdmissionPort(port=own)):
                pass


# Clients that do not behave, and the end


def ask_in_plain_text(host: str, port: int) -> None:
    """The port may hang up before the body is written, or after."""
    with closing(http.client.HTTPConnection(host, port, timeout=5)) as plain:
        plain.request("POST", PATH, json.dumps(image_review(IMAGE)))
        plain.getresponse()


def test_a_client_without_trust_or_tls_gets_nothing_and_harms_nobody(
    ca_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), served(ca_file) as emulator:
        host, port = place(emulator)
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask_in_plain_text(host, port)
        with (
            socket.create_connection((host, port), timeout=5) as raw,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            ssl.create_default_context().wrap_socket(raw, server_hostname="localhost")
        with socket.create_connection((host, port), timeout=5):  # says nothing, holds up nobody
            endpoint = Endpoint(emulator.admission_address, ca_file)
            assert endpoint.review(image_review(IMAGE)) == ADMITTED
    told = {record.levelno for record in caplog.records if "not answered" in record.message}
    assert told == {logging.DEBUG}


def test_the_end_waits_for_a_review_and_not_for_idle_clients(ca_file: Path) -> None:
    asked, answer = Event(), Event()

    def judge(images: Any, _: object) -> list[Verdict]:
        asked.set()
        assert answer.wait(10)
        return [Verdict(image) for image in images]

    server = AdmissionServer(judge, AdmissionPort(authority_file=ca_file))
    endpoint = Endpoint(server.address, ca_file)
    with closing(endpoint.connect()) as idle, closing(endpoint.connect()) as busy:
        idle.connect()
        busy.request("POST", PATH, json.dumps(image_review(IMAGE)))
        assert asked.wait(10)
        started = time.monotonic()
        ending = Thread(target=server.stop)
        ending.start()
        with suppress(ssl.SSLError):  # or a bare end, which is as well
            assert idle.sock.recv(1) == b"", "the idle client is hung up on"
        answer.set()
        # What was on its way still arrives, and not in the clear.
        with busy.getresponse() as response:
            assert json.loads(response.read())["status"] == ADMITTED
        ending.join(10)
        assert not ending.is_alive()
        assert time.monotonic() - started < 10
    port = int(server.address.rpartition(":")[2])
    AdmissionServer(judge, AdmissionPort(port=port)).stop()
