"""Write signatures.json: signatures that openssl and gpg make, with the public halves of the keys.

The private keys live in a temporary directory for as long as the script runs.
Run where both are installed: python tests/vectors/make_keys.py
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

PAYLOAD = json.loads(Path(__file__).with_name("payloads.json").read_text())["payloads"][
    f"gcr.io/p/i@sha256:{'0123456789abcdef' * 4}"
].encode("ascii")

RSA = {
    f"{scheme}_{bits}_{hashed}": (bits, hashed.lower(), padding)
    for scheme, padding in (("RSA_PSS", "pss"), ("RSA_SIGN_PKCS1", "pkcs1"))
    for bits, hashed in ((2048, "SHA256"), (3072, "SHA256"), (4096, "SHA256"), (4096, "SHA512"))
}
EC = {
    "ECDSA_P256_SHA256": ("P-256", "sha256"),
    "ECDSA_P384_SHA384": ("P-384", "sha384"),
    "ECDSA_P521_SHA512": ("P-521", "sha512"),
}
PGP = ("rsa2048", "ed25519", "nistp256", "nistp384", "nistp521")


def openssl_version() -> str:
    """As openssl prints it, without the date."""
    return " ".join(_run("openssl", "version").decode().split()[:2])


def gpg_version() -> str:
    """As gpg prints it."""
    return _run("gpg", "--version").decode().splitlines()[0]


def openssl_signature(key: Path, hashed: str, payload: bytes, *options: str) -> bytes:
    """The payload signed with a private key by `openssl dgst`."""
    return _run("openssl", "dgst", f"-{hashed}", "-sign", str(key), *options, stdin=payload)


def pkix_vectors(home: Path) -> Iterator[dict[str, str]]:
    """One signature for each algorithm that openssl has."""
    for name, (bits, hashed, padding) in RSA.items():
        key = home / f"rsa{bits}"
        if not key.exists():
            _run("openssl", "genrsa", "-out", str(key), str(bits))
        options = ["-sigopt", f"rsa_padding_mode:{padding}"]
        yield _pkix(name, key, openssl_signature(key, hashed, PAYLOAD, *options))
    for name, (curve, hashed) in EC.items():
        key = home / curve
        option = f"ec_paramgen_curve:{curve}"
        _run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", option, "-out", str(key))
        yield _pkix(name, key, openssl_signature(key, hashed, PAYLOAD))


def pgp_vectors(home: Path) -> Iterator[dict[str, str]]:
    """One attached signature for each kind of key, and one by a signing subkey."""
    for kind in PGP:
        _gpg(home, "--quick-generate-key", f"{kind}@example.com", kind, "sign", "never")
        yield _pgp(home, kind, f"{kind}@example.com")
    _gpg(home, "--quick-generate-key", "subkey@example.com", "ed25519", "cert", "never")
    listed = _gpg(home, "--with-colons", "--list-keys", "subkey@example.com").decode()
    primary = next(line for line in listed.splitlines() if line.startswith("fpr:")).split(":")[9]
    _gpg(home, "--quick-add-key", primary, "ed25519", "sign", "never")
    yield _pgp(home, "ed25519 with a signing subkey", "subkey@example.com")


def _pkix(algorithm: str, key: Path, signature: bytes) -> dict[str, str]:
    return {
        "made_by": openssl_version(),
        "algorithm": algorithm,
        "public_key": _run("openssl", "pkey", "-in", str(key), "-pubout").decode(),
        "signature": base64.b64encode(signature).decode(),
    }


def _pgp(home: Path, kind: str, user: str) -> dict[str, str]:
    return {
        "made_by": gpg_version(),
        "algorithm": f"OpenPGP {kind}",
        "public_key": _gpg(home, "--armor", "--export", user).decode(),
        "signature": base64.b64encode(
            _gpg(home, "--armor", "--sign", "--local-user", user, stdin=PAYLOAD)
        ).decode(),
    }


def _gpg(home: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    quiet = ("--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback")
    return _run("gpg", *quiet, "--passphrase", "", *arguments, stdin=stdin)


def _run(*command: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def main() -> None:
    """Make them all anew."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        vectors = {
            "payload": PAYLOAD.decode(),
            "signatures": [*pkix_vectors(home), *pgp_vectors(home)],
        }
        subprocess.run(
            ["gpgconf", "--kill", "all"], check=False, env=os.environ | {"GNUPGHOME": directory}
        )
    path = Path(__file__).with_name("signatures.json")
    path.write_text(json.dumps(vectors, indent=2) + "\n")


if __name__ == "__main__":
    main()
