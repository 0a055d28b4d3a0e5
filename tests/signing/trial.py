"""What every test of an OpenPGP signer asks of it."""

from __future__ import annotations

import traceback

import pytest

from step.errors import BadInput
from step.model.image import ImageRef
from step.model.keys import PgpKey
from step.model.payload import Payload
from step.signing.pgp import PgpSigner
from tests.keys import attestor

IMAGE = ImageRef.parse(f"gcr.io/p/i@sha256:{'a' * 64}")
PAYLOAD = Payload.of(IMAGE).to_bytes()


def checked(made: PgpSigner, public: str, payload: bytes = PAYLOAD) -> PgpKey:
    """Sign, and verify with the registered key."""
    by = attestor(PgpKey.from_armored(public))
    key = made.key_on(by)
    assert isinstance(key, PgpKey)
    message = made.sign(payload, key)
    assert message.startswith(b"-----BEGIN PGP MESSAGE-----\n")
    key.verify(payload, message)
    return key


def refusal(secret: bytes, passphrase: str | None = None) -> BadInput:
    with pytest.raises(BadInput) as caught:
        PgpSigner.load(secret, passphrase)
    error = caught.value
    assert "\n" not in error.message + error.hint
    shown = "".join(traceback.format_exception(error))
    for word in ("Stack backtrace", "RuntimeError", "PRIVATE KEY BLOCK", passphrase or "Stack"):
        assert word not in shown
    return error
