"""OpenPGP in the process, with gpg as a second opinion: its keys, its verdicts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from step.errors import Unverified
from step.model.keys import PgpKey
from step.signing.pgp import PgpSigner
from tests.keys import PgpKind, pgp_key, pgp_public, pgp_secret
from tests.signing.trial import PAYLOAD, checked, refusal

every_kind = pytest.mark.parametrize("kind", PgpKind, ids=lambda item: item.name)


class GpgError(Exception):
    """What gpg said when it failed."""


@dataclass(frozen=True)
class Gpg:
    """A gpg with a key ring of its own."""

    path: str
    home: Path

    def __call__(self, *arguments: str, stdin: bytes = b"", passphrase: str = "") -> bytes:
        """What gpg prints; fails with what it said when it fails."""
        (self.home / "passphrase").write_text(passphrase)
        command = [self.path, "--homedir", str(self.home), "--batch", "--quiet", "--yes"]
        command += ["--pinentry-mode", "loopback", "--passphrase-file"]
        command += [str(self.home / "passphrase"), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True)
        if done.returncode != 0:
            raise GpgError(done.stderr.decode())
        return done.stdout

    def fingerprints(self, user: str) -> list[str]:
        """The primary key's, then the subkeys'."""
        lines = self("--with-colons", "--list-keys", user).decode().splitlines()
        return [line.split(":")[9] for line in lines if line.startswith("fpr:")]

    def secret(self, user: str, what: str = "keys", passphrase: str = "") -> bytes:
        """`--export-secret-keys`, or `-subkeys`."""
        return self("--armor", f"--export-secret-{what}", user, passphrase=passphrase)

    def public(self, user: str) -> str:
        """The public key, armored."""
        return self("--armor", "--export", user).decode()


@pytest.fixture(scope="module")
def gpg(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    path, home = tool("gpg"), tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    # How often a passphrase is hashed: gpg's own choice takes a second for each key.
    (home / "gpg-agent.conf").write_text("s2k-count 65536\n")
    yield Gpg(path, home)
    environment = os.environ | {"GNUPGHOME": str(home)}
    subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False, capture_output=True)


PAST = ("--faked-system-time", "20240101T000000!")
GPG_KINDS = ("rsa2048", "ed25519", "nistp256", "nistp384", "nistp521")


@pytest.mark.parametrize("kind", GPG_KINDS)
@pytest.mark.parametrize("passphrase", ["", "pä ss\"'$`\\ €"], ids=["open", "locked"])
def test_a_key_that_gpg_made_signs_and_gpg_verifies(gpg: Gpg, kind: str, passphrase: str) -> None:
    # A key ring keeps passphrases for a while, so each key gets its own user.
    user = f"{kind}-{'locked' if passphrase else 'open'}@example.com"
    gpg("--quick-generate-key", user, kind, "sign", "never", passphrase=passphrase)
    made = PgpSigner.load(gpg.secret(user, passphrase=passphrase), passphrase or None)
    key = checked(made, gpg.public(user))
    assert [key.id] == gpg.fingerprints(user)
    assert gpg("--decrypt", stdin=made.sign(PAYLOAD, key)) == PAYLOAD
    key.verify(PAYLOAD, gpg("--armor", "--sign", "-u", user, stdin=PAYLOAD, passphrase=passphrase))
    if passphrase:
        assert "locked" in refusal(gpg.secret(user, passphrase=passphrase)).message


@every_kind
def test_gpg_verifies_what_a_signing_subkey_signed(gpg: Gpg, kind: PgpKind) -> None:
    gpg("--import", stdin=pgp_public(kind).encode())
    message = PgpSigner.load(pgp_secret(kind), None).sign(PAYLOAD, pgp_key(kind))
    assert gpg("--decrypt", stdin=message) == PAYLOAD
    status = gpg("--status-fd", "1", "--verify", stdin=message).decode(errors="replace")
    valid = next(line for line in status.splitlines() if " VALIDSIG " in line).split()
    assert valid[-1] == pgp_key(kind).id
    assert valid[2] != pgp_key(kind).id
    with pytest.raises(GpgError):
        gpg("--verify", stdin=message.replace(message.split(b"\n")[3], b"A" * 64))


def test_gpg_unlocks_what_the_tests_lock(gpg: Gpg) -> None:
    passphrase = "pä ss"
    secret = pgp_secret(PgpKind.P384, 7, passphrase=passphrase)
    gpg("--import", stdin=secret, passphrase=passphrase)
    user = pgp_key(PgpKind.P384, 7).id
    message = gpg("--armor", "--sign", "-u", user, stdin=PAYLOAD, passphrase=passphrase)
    pgp_key(PgpKind.P384, 7).verify(PAYLOAD, message)


@pytest.mark.parametrize("usage", ["cert", "cert,sign"])
@pytest.mark.parametrize("passphrase", ["", "pw"], ids=["open", "locked"])
def test_subkeys_exported_without_their_primary_sign(gpg: Gpg, usage: str, passphrase: str) -> None:
    user = f"subkeys-{usage.replace(',', '-')}-{passphrase}@example.com"
    gpg("--quick-generate-key", user, "ed25519", usage, "never", passphrase=passphrase)
    primary = gpg.fingerprints(user)[0]
    gpg("--quick-add-key", primary, "ed25519", "sign", "never", passphrase=passphrase)
    secret = gpg.secret(user, "subkeys", passphrase)
    made = PgpSigner.load(secret, passphrase or None)
    assert checked(made, gpg.public(user)).id == primary
    message = made.sign(PAYLOAD, pgp_key(PgpKind.ED25519))
    assert gpg("--decrypt", stdin=message) == PAYLOAD
    if passphrase:
        assert "locked" in refusal(secret).message
        assert "does not unlock" in refusal(secret, "wrong").message


def test_a_primary_that_stayed_elsewhere_cannot_sign(gpg: Gpg) -> None:
    user = "elsewhere@example.com"
    gpg("--quick-generate-key", user, "ed25519", "cert,sign", "never")
    gpg("--quick-add-key", gpg.fingerprints(user)[0], "cv25519", "encr", "never")
    error = refusal(gpg.secret(user, "subkeys"))
    assert "without the secret half" in error.message
    assert "--export-secret-subkeys" in error.hint


def test_a_signing_subkey_that_expired_is_told_and_another_takes_over(gpg: Gpg) -> None:
    user = "expiring@example.com"
    primary = with_expired_subkey(gpg, user)
    message = refusal(gpg.secret(user)).message
    assert message == f"every signing subkey of the OpenPGP key {primary} has expired or is revoked"
    gpg("--quick-add-key", primary, "ed25519", "sign", "never")
    assert checked(PgpSigner.load(gpg.secret(user), None), gpg.public(user)).id == primary


def with_expired_subkey(gpg: Gpg, user: str) -> str:
    """Make a key whose one signing subkey has expired; its fingerprint."""
    # Dated back, so that nothing has to be waited for.
    gpg(*PAST, "--quick-generate-key", user, "ed25519", "cert", "never")
    primary = gpg.fingerprints(user)[0]
    gpg(*PAST, "--quick-add-key", primary, "ed25519", "sign", "1d")
    return primary


def test_what_an_expired_subkey_signed_in_its_day_counts_no_more(gpg: Gpg) -> None:
    user = "replaced@example.com"
    primary = with_expired_subkey(gpg, user)
    old = gpg(*PAST, "--armor", "--sign", "-u", user, stdin=PAYLOAD)
    gpg("--quick-add-key", primary, "ed25519", "sign", "never")
    key = PgpKey.from_armored(gpg.public(user), now=datetime.now(UTC))
    key.verify(PAYLOAD, gpg("--armor", "--sign", "-u", user, stdin=PAYLOAD))
    with pytest.raises(Unverified, match="not signed by"):
        key.verify(PAYLOAD, old)


@pytest.mark.parametrize("algorithm", ["none", "zip", "zlib", "bzip2"])
def test_what_gpg_packs_in_any_way_verifies(gpg: Gpg, algorithm: str) -> None:
    user = f"{algorithm}@example.com"
    gpg("--quick-generate-key", user, "ed25519", "sign", "never")
    key = PgpKey.from_armored(gpg.public(user))
    payload = PAYLOAD + b" " * 20_000  # from a pipe, in parts
    for form in ([], ["--armor"]):
        signed = gpg(*form, "--compress-algo", algorithm, "--sign", "-u", user, stdin=payload)
        key.verify(payload, signed)


def test_a_signing_subkey_that_is_revoked_is_told(gpg: Gpg) -> None:
    user = "revoked@example.com"
    gpg("--quick-generate-key", user, "ed25519", "cert", "never")
    primary = gpg.fingerprints(user)[0]
    gpg("--quick-add-key", primary, "ed25519", "sign", "never")
    edits = b"key 1\nrevkey\ny\n0\n\ny\nsave\n"
    gpg("--command-fd", "0", "--no-batch", "--no-tty", "--edit-key", user, stdin=edits)
    assert "has expired or is revoked" in refusal(gpg.secret(user)).message


@pytest.mark.parametrize("curve", ["brainpoolP256r1", "secp256k1"])
def test_a_curve_that_is_not_supported_is_told(gpg: Gpg, curve: str) -> None:
    user = f"{curve}@example.com"
    gpg("--quick-generate-key", user, curve, "sign", "never")
    error = refusal(gpg.secret(user))
    assert "no signature on itself that can be checked" in error.message
    assert "NIST" in error.hint


def test_a_subkey_on_a_curve_that_is_not_supported_is_told(gpg: Gpg) -> None:
    user = "brainpool-subkey@example.com"
    gpg("--quick-generate-key", user, "ed25519", "cert", "never")
    gpg("--quick-add-key", gpg.fingerprints(user)[0], "brainpoolP256r1/ecdsa", "sign", "never")
    assert "its algorithm is not supported" in refusal(gpg.secret(user)).message
