"""Which key signs: from options and secrets to a signer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from step.cli.options import KEY, alias, option
from step.cli.program import Program, read_file
from step.errors import BadInput
from step.model.names import KmsKeyVersion

if TYPE_CHECKING:
    from step.cloud.connection import Connection
    from step.signing.signer import Signer

_PRIVATE_KEY = "BINAUTHZ_PGP_PRIVATE_KEY"
_PASSPHRASE = "BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE"  # noqa: S105 - a variable's name


@dataclass(frozen=True, slots=True)
class SecretOptions:
    """What the options say of a private key that is at hand."""

    pgp_key_file: str | None = option(
        KEY,
        "OpenPGP private key: armored, binary, or base64 of either. Or its text in the variable "
        "BINAUTHZ_PGP_PRIVATE_KEY.",
        "PATH",
    )
    pgp_passphrase_file: str | None = option(
        KEY,
        "Passphrase of that key; one line end is dropped. Or the variable "
        "BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE.",
        "PATH",
    )
    pkix_key_file: str | None = option(
        KEY, "PEM private key; the algorithm is that of the attestor's registered key.", "PATH"
    )
    public_key_id: str | None = option(
        KEY, "Id of the key as the attestor lists it, where it is not the key's own.", "ID"
    )
    public_key_id_override: str | None = alias()

    @property
    def _key_id(self) -> str | None:
        return self.public_key_id or self.public_key_id_override or None

    def _chosen(self, program: Program, others: Mapping[str, object]) -> list[str]:
        """Which of the ways to sign were given; raises BadInput for two at once."""
        given = {
            "--pgp-key-file": self.pgp_key_file,
            _PRIVATE_KEY: program.environ.get(_PRIVATE_KEY),
            "--pkix-key-file": self.pkix_key_file,
            **others,
        }
        chosen = [name for name, value in given.items() if value]
        if len(chosen) > 1:
            raise BadInput(f"two keys are given: {' and '.join(chosen)}", "Give one of them.")
        if self.pgp_passphrase_file and not {"--pgp-key-file", _PRIVATE_KEY} & set(chosen):
            raise BadInput(
                "--pgp-passphrase-file is given without an OpenPGP key",
                f"Give the key with --pgp-key-file or {_PRIVATE_KEY}.",
            )
        if not chosen and program.environ.get(_PRIVATE_KEY) == "":
            raise BadInput(
                f"{_PRIVATE_KEY} is set, but empty",
                "A run for a fork's pull request gets no secrets; without it, unset the variable.",
            )
        return chosen

    def _secret(self, program: Program, chosen: list[str]) -> Signer | None:
        """The signer whose private key was given."""
        if self.pkix_key_file:
            from step.signing.pkix import PkixSigner

            pem = read_file(self.pkix_key_file, "--pkix-key-file")
            return PkixSigner.load(pem, self._key_id)
        if {"--pgp-key-file", _PRIVATE_KEY} & set(chosen):
            return self._pgp(program)
        return None

    def _pgp(self, program: Program) -> Signer:
        from step.signing.pgp import PgpSigner

        if self.pgp_key_file:
            secret = read_file(self.pgp_key_file, "--pgp-key-file")
        else:
            secret = os.fsencode(program.environ[_PRIVATE_KEY])
        passphrase = program.environ.get(_PASSPHRASE)
        if self.pgp_passphrase_file:
            passphrase = _first_line(read_file(self.pgp_passphrase_file, "--pgp-passphrase-file"))
        return PgpSigner.load(secret, passphrase, self._key_id)


@dataclass(frozen=True, slots=True)
class KeyOptions(SecretOptions):
    """What the options say of the one key that signs."""

    kms_key_version: str | None = option(
        KEY,
        "Cloud KMS key version: its full name, also after gcpkms:// or "
        "//cloudkms.googleapis.com/v1/. Default: the attestor's one registered KMS key.",
        "NAME",
    )
    signature_file: str | None = option(
        KEY, "Signature made elsewhere; needs --public-key-id; - for standard input.", "PATH"
    )
    payload_file: str | None = option(KEY, "The bytes that --signature-file signs.", "PATH")
    keyversion: str | None = alias()

    @property
    def _version(self) -> str | None:
        return self.kms_key_version or self.keyversion

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

    def signer(self, program: Program, connection: Connection) -> Signer:
        """The one signer that was chosen; Cloud KMS where nothing was.

        Raises BadInput for two keys at once, and for a key that cannot be read or unlocked.
        """
        others = {"--kms-key-version": self._version, "--signature-file": self.signature_file}
        secret = self._secret(program, self._chosen(program, others))
        if secret is not None:
            return secret
        if self.signature_file:
            return self._made_elsewhere(self.signature_file)
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


@dataclass(frozen=True, slots=True)
class FleetKeyOptions(SecretOptions):
    """What the options say of the keys that sign, of which several may be in Cloud KMS."""

    kms_key_version: list[str] | None = option(
        KEY,
        "Cloud KMS key version: its full name, also after gcpkms:// or "
        "//cloudkms.googleapis.com/v1/. Repeatable: every attestor signs with those that it lists. "
        "Default: each attestor's one registered KMS key.",
        "NAME",
    )

    def signers(self, program: Program, connection: Connection) -> tuple[Signer, ...]:
        """The signers that were chosen; Cloud KMS where nothing was; raises as `signer` does."""
        given = {"--kms-key-version": self.kms_key_version}
        secret = self._secret(program, self._chosen(program, given))
        if secret is not None:
            return (secret,)
        from step.signing.kms import KmsSigner

        versions = tuple(map(KmsKeyVersion.parse, dict.fromkeys(self.kms_key_version or ())))
        if len(versions) > 1 and self._key_id:
            raise BadInput("--public-key-id is given beside several keys", "Run once for each key.")
        return tuple(
            KmsSigner(connection, version, self._key_id) for version in versions or (None,)
        )


def _first_line(data: bytes) -> str:
    """The passphrase without the one line end that editors and `echo` add."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(
            "--pgp-passphrase-file is not UTF-8 text", "Is it the key's file instead?"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
