"""Notes to measure with: one full of honest attestations, one of what others wrote.

A process of its own, since what it imports would count as the memory of what it starts:

    python -m benchmarks.notes seed FOLDER
    python -m benchmarks.notes plant FOLDER HOST:PORT
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
import zlib
from collections.abc import Iterator
from itertools import cycle, islice, repeat
from pathlib import Path
from typing import Any

import grpc
import pysequoia
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grafeas import grafeas_v1
from grafeas.grafeas_v1.services.grafeas.transports import GrafeasGrpcTransport

from benchmarks.hostile import COUNT, IMAGE, KEYS, SEED

KEY_ID = "ni:///benchmark"
REPOSITORY = IMAGE.partition("@")[0]


def make_seed(folder: Path) -> None:
    """Make keys, and two attestors that list them, each with a note of its own."""
    key, pgp = ec.generate_private_key(ec.SECP256R1()), pysequoia.Tsk.generate("b@example.com")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()
    keys = [
        {"pkix": {"id": KEY_ID, "algorithm": "ECDSA_P256_SHA256", "pem": pem}},
        {"pgp": {"armored": str(pgp.extract_certificate())}},
    ]
    attestors = [
        {"name": f"projects/p/attestors/{item}", "note": f"projects/p/notes/{item}"}
        | {"public_keys": keys}
        for item in ("honest", "hostile")
    ]
    (folder / SEED).write_text(json.dumps({"attestors": attestors}), encoding="utf-8")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    secret = {"pkix": private, "pgp": str(pgp)}
    (folder / KEYS).write_text(json.dumps(secret), encoding="utf-8")


def plant(folder: Path, address: str) -> None:
    """Fill both notes; each has one good attestation, at its end."""
    secret = json.loads((folder / KEYS).read_text(encoding="utf-8"))
    key = serialization.load_pem_private_key(secret["pkix"].encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - made above
    _store(address, "honest", _honest(key))
    _store(address, "hostile", _hostile(pysequoia.Tsk.from_bytes(secret["pgp"].encode())))
    for note in ("honest", "hostile"):
        _store(address, note, iter([_attested(key, IMAGE)]))


def _occurrence(payload: bytes, *signatures: tuple[str, bytes], image: str = IMAGE) -> Any:
    return grafeas_v1.Occurrence(
        resource_uri=f"https://{image}",
        kind=grafeas_v1.NoteKind.ATTESTATION,
        attestation=grafeas_v1.AttestationOccurrence(
            serialized_payload=payload,
            signatures=[
                grafeas_v1.Signature(public_key_id=name, signature=value)
                for name, value in signatures
            ],
        ),
    )


def _attested(key: ec.EllipticCurvePrivateKey, image: str) -> Any:
    name, _, digest = image.partition("@")
    payload = (
        f'{{"critical": {{"identity": {{"docker-reference": "{name}"}}, "image": '
        f'{{"docker-manifest-digest": "{digest}"}}, "type": "Google cloud binauthz container '
        'signature"}}'
    ).encode()
    return _occurrence(payload, (KEY_ID, key.sign(payload, ec.ECDSA(hashes.SHA256()))), image=image)


def _honest(key: ec.EllipticCurvePrivateKey) -> Iterator[Any]:
    for _ in range(COUNT):
        yield _attested(key, f"{REPOSITORY}@sha256:{secrets.token_hex(32)}")


def _hostile(pgp: pysequoia.Tsk) -> Iterator[Any]:
    """Of each kind as many, each with a payload of its own."""
    pgp_id = pgp.extract_certificate().fingerprint.upper()
    kinds: list[tuple[tuple[str, bytes], ...]] = [
        ((KEY_ID, secrets.token_bytes(71)),),
        ((pgp_id, _bomb(26, 1)),),
        ((pgp_id, _bomb(1000, 2)),),
        ((pgp_id, pysequoia.sign(pgp.signer(), b"other")),),
        tuple((KEY_ID, secrets.token_bytes(71)) for _ in range(40)),
        (("urn:unknown", b"x"),),
        ((pgp_id, base64.b64decode("xA==") * 2000),),
        (),
    ]
    for number, signatures in enumerate(islice(cycle(kinds), COUNT)):
        yield _occurrence(b'{"critical": %d}' % number, *signatures)


def _bomb(mebibytes: int, depth: int) -> bytes:
    def packet(tag: int, body: bytes) -> bytes:
        return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4) + body

    message = bytes([0xC0 | 11, 0xFF]) + ((mebibytes << 20) + 6).to_bytes(4) + b"b\0\0\0\0\0"
    parts = [message, *repeat(bytes(1 << 20), mebibytes)]
    for _ in range(depth):
        made = zlib.compressobj(9, zlib.DEFLATED, -15)
        parts = [packet(8, b"\x01" + b"".join(map(made.compress, parts)) + made.flush())]
    return parts[0]


def _store(address: str, note: str, occurrences: Iterator[Any]) -> None:
    channel = grpc.insecure_channel(address)
    client = grafeas_v1.GrafeasClient(transport=GrafeasGrpcTransport(host="", channel=channel))
    while some := list(islice(occurrences, 500)):
        for each in some:
            each.note_name = f"projects/p/notes/{note}"
        client.batch_create_occurrences(parent="projects/p", occurrences=some)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["seed", folder]:
            make_seed(Path(folder))
        case ["plant", folder, address]:
            plant(Path(folder), address)
        case _:
            sys.exit(__doc__)
