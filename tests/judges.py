"""Independent readers: what the emulator holds, by Google's clients; openssl, gpg and gcloud."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.cloud import binaryauthorization_v1 as ba
from google.cloud.binaryauthorization_v1.services.binauthz_management_service_v1.transports import (
    BinauthzManagementServiceV1GrpcTransport,
)
from grafeas import grafeas_v1
from grafeas.grafeas_v1.services.grafeas.transports import GrafeasGrpcTransport

from step.model.keys import Algorithm, Scheme

FindTool = Callable[[str], str]

PASSPHRASE = "correct horse, 'battery' \"staple\" $PATH \\ ü"


@dataclass(frozen=True, slots=True)
class Stored:
    """An attestation with one signature, and the key that its attestor registered for it."""

    occurrence: grafeas_v1.Occurrence
    key: ba.AttestorPublicKey

    @property
    def payload(self) -> bytes:
        """The bytes that were signed."""
        return bytes(self.occurrence.attestation.serialized_payload)

    @property
    def signature(self) -> bytes:
        """The one signature."""
        [each] = self.occurrence.attestation.signatures
        return bytes(each.signature)


def read(address: str, occurrence: str, attestor: str) -> Stored:
    """Read an occurrence and its key with nothing but Google's own clients."""
    with grpc.insecure_channel(address) as channel:
        grafeas = grafeas_v1.GrafeasClient(
            transport=GrafeasGrpcTransport(host=address, channel=channel)
        )
        attestors = ba.BinauthzManagementServiceV1Client(
            transport=BinauthzManagementServiceV1GrpcTransport(channel=channel)
        )
        actual = grafeas.get_occurrence(name=occurrence)
        note = attestors.get_attestor(name=attestor).user_owned_grafeas_note
    assert actual.kind is grafeas_v1.NoteKind.ATTESTATION
    assert actual.note_name == note.note_reference
    [signature] = actual.attestation.signatures
    [key] = [key for key in note.public_keys if key.id == signature.public_key_id]
    return Stored(actual, key)


def stored_images(address: str, note: str) -> list[str]:
    """The resource of every occurrence that a note has."""
    with grpc.insecure_channel(address) as channel:
        grafeas = grafeas_v1.GrafeasClient(
            transport=GrafeasGrpcTransport(host=address, channel=channel)
        )
        return [occurrence.resource_uri for occurrence in grafeas.list_note_occurrences(name=note)]


@dataclass(frozen=True, slots=True)
class OpenSsl:
    """openssl as the maker of keys and the judge of signatures."""

    program: str
    folder: Path

    def private_key(self, algorithm: Algorithm) -> Path:
        """A file with a private key that the algorithm admits, made when it is first asked for."""
        if algorithm.scheme is Scheme.ECDSA:
            kind = ["EC", "-pkeyopt", f"ec_paramgen_curve:P-{algorithm.bits}"]
        else:
            kind = ["RSA", "-pkeyopt", f"rsa_keygen_bits:{algorithm.bits}"]
        path = self.folder / f"{kind[0]}-{algorithm.bits}.pem"
        if not path.exists():
            self._run("genpkey", "-algorithm", *kind, "-out", str(path))
        return path

    def public_key(self, private: Path) -> str:
        """The public half of a private key, as PEM."""
        return self._run("pkey", "-in", str(private), "-pubout").stdout

    def accepts(self, stored: Stored, algorithm: Algorithm) -> bool:
        """Whether the stored signature is the registered key's over the stored payload."""
        key, payload, signature = (self.folder / name for name in ("key", "payload", "signature"))
        key.write_text(stored.key.pkix_public_key.public_key_pem)
        payload.write_bytes(stored.payload)
        signature.write_bytes(stored.signature)
        padding = ["-sigopt", "rsa_padding_mode:pss"] * (algorithm.scheme is Scheme.RSA_PSS)
        done = self._run(
            *("dgst", f"-{algorithm.hash_name}", "-verify", str(key), *padding),
            *("-signature", str(signature), str(payload)),
            check=False,
        )
        return done.returncode == 0 and done.stdout.strip() == "Verified OK"

    def _run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [self.program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=check, timeout=60)


@dataclass(frozen=True, slots=True)
class GpgKey:
    """A locked key that certifies, with a subkey that signs; both halves armored."""

    fingerprint: str
    secret: str
    public: str


@dataclass(frozen=True, slots=True)
class Gpg:
    """gpg with a key ring of its own."""

    program: str
    home: Path

    def make_key(self, algorithm: str, passphrase: str) -> GpgKey:
        """Make a key whose every secret is locked with the passphrase."""
        path = self.home / "passphrase"
        path.write_text(passphrase, encoding="utf-8")
        unlocked = ("--pinentry-mode", "loopback", "--passphrase-file", str(path))
        create = ("--status-fd", "1", "--quick-generate-key", f"{algorithm}@example.com")
        # "[GNUPG:] KEY_CREATED P fingerprint": doc/DETAILS of GnuPG, as all status lines here.
        made = self.run(*unlocked, *create, algorithm, "cert", "never").stdout.decode()
        fingerprint = made.rpartition("KEY_CREATED P ")[2].split()[0]
        # gpg 2.2 takes a subkey on a NIST curve for one that encrypts, unless told.
        subkey = f"{algorithm}/ecdsa" if algorithm.startswith("nist") else algorithm
        self.run(*unlocked, "--quick-add-key", fingerprint, subkey, "sign", "never")
        secret = self.run(*unlocked, "--armor", "--export-secret-keys", fingerprint).stdout
        public = self.run("--armor", "--export", fingerprint).stdout
        return GpgKey(fingerprint, secret.decode(), public.decode())

    def opened(self, message: bytes) -> tuple[bytes, list[str]]:
        """What a signed message holds, and the primary fingerprints of its valid signatures."""
        done = self.run("--status-fd", "2", "--decrypt", given=message, check=False)
        # The last field of VALIDSIG is the primary key's fingerprint.
        # Signatures may carry notations, which are shown as the bytes that they are.
        status = done.stderr.decode(errors="replace").splitlines()
        valid = [line.split()[-1] for line in status if line.startswith("[GNUPG:] VALIDSIG ")]
        return done.stdout, valid if done.returncode == 0 else []

    def run(
        self, *arguments: str, given: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run gpg; what it reads comes from standard input."""
        command = [self.program, "--homedir", str(self.home), "--batch", "--quiet", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, timeout=60)
        assert not check or done.returncode == 0, done.stderr.decode()
        return done


def gcloud_payload(program: str, image: str, settings: Path) -> bytes:
    """The payload that gcloud makes for an image, without an account and without a network."""
    offline = {"CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true", "CLOUDSDK_CONFIG": str(settings)}
    command = [program, "--quiet", "container", "binauthz", "create-signature-payload"]
    done = subprocess.run(
        [*command, f"--artifact-url=https://{image}"],
        env=os.environ | offline,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return done.stdout
