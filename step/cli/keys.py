"""Which key signs: from options and secrets to a signer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from step.cli import options as opt
from step.cli.program import Edge, read_file
from step.errors import BadInput
from step.model.names import KmsKeyVersion

if TYPE_CHECKING:
    from step.cloud.connection import Connection
    from step.signing.signer import Signer

_PRIVATE_KEY = "BINAUTHZ_PGP_PRIVATE_KEY"
_PASSPHRASE = "BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE"  # noqa: S105 - a variable's name


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """What the options say of the key."""

    kms_key_version: opt.KmsKeyVersion = None
    pgp_key_file: opt.PgpKeyFile = None
    pgp_passphrase_file: opt.PgpPassphraseFile = None
    pkix_key_file: opt.PkixKeyFile = None
    signature_file: opt.SignatureFile = None
    public_key_id: opt.PublicKeyId = None
    payload_file: opt.PayloadFile = None
    keyversion: opt.KeyVersion = None
    public_key_id_override: opt.PublicKeyIdOverride = None

    @property
    def _version(self) -> str | None:
        return self.kms_key_version or self.keyversion

    @property
    def _key_id(self) -> str | None:
        return self.public_key_id or self.public_key_id_override or None

    def payload(self) -> bytes | None:
        """The bytes that a signature made elsewhere is over, where they are given.

        Raises BadInput where there is no such signature: nothing else is over other bytes.
        """
        if not self.payload_file:
            return None
        if not self.signature_file:
            raise BadInput(
                "--payload-file is given without --signature-file",
                "Only a signature made elsewhere is over other bytes than the payload's own.",
            )
        return read_file(self.payload_file, "--payload-file")

    def signer(self, edge: Edge, connection: Connection) -> Signer:
        """The one signer that was chosen; Cloud KMS where nothing was.

        Raises BadInput for two keys at once, and for a key that cannot be read or unlocked.
        """
        given = {
            "--kms-key-version": self._version,
            "--pgp-key-file": self.pgp_key_file,
            _PRIVATE_KEY: edge.environ.get(_PRIVATE_KEY),
            "--pkix-key-file": self.pkix_key_file,
            "--signature-file": self.signature_file,
        }
        chosen = [name for name, value in given.items() if value]
        if len(chosen) > 1:
            raise BadInput(f"two keys are given: {' and '.join(chosen)}", "Give one of them.")
        if self.pgp_passphrase_file and not {"--pgp-key-file", _PRIVATE_KEY} & set(chosen):
            raise BadInput(
                "--pgp-passphrase-file is given without an OpenPGP key",
                f"Give the key with --pgp-key-file or {_PRIVATE_KEY}.",
            )
        if self.pkix_key_file:
            from step.signing.pkix import PkixSigner

            pem = read_file(self.pkix_key_file, "--pkix-key-file")
            return PkixSigner.load(pem, self._key_id)
        if self.signature_file:
            return self._made_elsewhere(self.signature_file)
        if {"--pgp-key-file", _PRIVATE_KEY} & set(chosen):
            return self._pgp(edge)
        if not chosen and edge.environ.get(_PRIVATE_KEY) == "":
            raise BadInput(
                f"{_PRIVATE_KEY} is set, but empty",
                "A run for a fork's pull request gets no secrets; without it, unset the variable.",
            )
        from step.signing.kms import KmsSigner

        version = KmsKeyVersion.parse(self._version) if self._version else None
        return KmsSigner(connection, version, self._key_id)

    def _made_elsewhere(self, path: str) -> Signer:
        from step.signing.detached import DetachedSigner

        if not self._key_id:
            raise BadInput(
                "--signature-file is given without --public-key-id",
                "Give the id under which the attestor lists the key that signed.",
            )
        return DetachedSigner(read_file(path, "--signature-file"), self._key_id)

    def _pgp(self, edge: Edge) -> Signer:
        from step.signing.pgp import PgpSigner

        if self.pgp_key_file:
            secret = read_file(self.pgp_key_file, "--pgp-key-file")
        else:
            secret = os.fsencode(edge.environ[_PRIVATE_KEY])
        passphrase = edge.environ.get(_PASSPHRASE)
        if self.pgp_passphrase_file:
            passphrase = _first_line(read_file(self.pgp_passphrase_file, "--pgp-passphrase-file"))
        return PgpSigner.load(secret, passphrase, self._key_id)


def _first_line(data: bytes) -> str:
    """The passphrase without the one line end that editors and `echo` add."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(
            "--pgp-passphrase-file is not UTF-8 text", "Is it the key's file instead?"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
