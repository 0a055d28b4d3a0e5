"""The certificate that the admission endpoint shows: given, or made at the start."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from step.emulator.refusal import EmulatorError

NAMES = ("localhost", "127.0.0.1", "::1", "host.docker.internal")
"""What a made certificate is good for besides the address that is listened on.

The last is how a container of Docker Desktop reaches its host:
https://docs.docker.com/desktop/features/networking/
"""
# Clocks of virtual machines lag; an emulator does not run for a year.
_BEFORE, _AFTER = timedelta(hours=1), timedelta(days=365)


def given_certificate(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS with a certificate chain and a key from PEM files; EmulatorError if they are no pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password a locked key would be asked for one on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise EmulatorError(
            f"cannot use the certificate {certificate} with the key {key}: {problem}"
        ) from error
    return context


def made_certificate(host: str) -> tuple[ssl.SSLContext, str]:
    """TLS with a new certificate for ``host`` and NAMES, and the PEM of the authority to trust.

    The authority's key is forgotten at once, so it vouches for nothing else, ever.
    """
    authority, key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    issuer = x509.Name.from_rfc4514_string("CN=binauthz-attest emulator authority")
    root = (
        _builder(issuer, issuer, authority.public_key(), authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .sign(authority, SHA256())
    )
    subject = x509.Name.from_rfc4514_string("CN=binauthz-attest emulator")
    names = x509.SubjectAlternativeName([_general(name) for name in dict.fromkeys((host, *NAMES))])
    leaf = (
        _builder(subject, issuer, key.public_key(), authority.public_key())
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority, SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Python's ssl reads files only. A pipe is one that leaves no key on a disk.
    with _as_file(leaf.public_bytes(Encoding.PEM)) as chain, _as_file(secret) as private:
        context.load_cert_chain(chain, private)
    return context, root.public_bytes(Encoding.PEM).decode()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    authority: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    """What both certificates have; the key identifiers are what strict verifiers ask for."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + _AFTER)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False
        )
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name)


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path to read the content from, once; it is far smaller than what a pipe holds."""
    read, write = os.pipe()
    try:
        os.write(write, content)
        os.close(write)
        yield f"/dev/fd/{read}"
    finally:
        os.close(read)
