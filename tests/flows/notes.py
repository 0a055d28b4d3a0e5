"""What may stand on an attestor's note: real attestations, and what others put beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from step.cloud.connection import Connection
from step.cloud.occurrences import Occurrences
from step.model.attestation import Attestation, Signature
from step.model.image import ImageRef
from step.model.keys import Algorithm
from step.model.names import NoteName, ProjectName
from step.model.payload import Payload
from tests.keys import make_private_key, pkix_key, pkix_sign, public_pem
from tests.world import IMAGE, NOTE, PROJECT, Result, World, attestor_seed

P256 = Algorithm.ECDSA_P256_SHA256
KEY_ID = pkix_key(P256).id
OTHER_ID = pkix_key(P256, number=1).id


def public(number: int = 0, key_id: str = "") -> dict[str, Any]:
    """The test's own key of that number, as a seed lists it."""
    pkix = {"pem": public_pem(make_private_key(P256, number)), "algorithm": P256.name}
    return {"pkix": pkix | ({"id": key_id} if key_id else {})}


def together(*seeds: Mapping[str, Any]) -> dict[str, Any]:
    """One seed of several."""
    return {key: [entry for seed in seeds for entry in seed[key]] for key in ("keys", "attestors")}


def two_keys() -> dict[str, Any]:
    """A seed with one attestor that lists two keys."""
    return attestor_seed(public(0), public(1))


def connection(world: World) -> Connection:
    """A connection to the world's emulator."""
    return Connection(world.clock, {}, world.emulator.grpc_address)


def put(
    world: World,
    *signatures: Signature,
    payload: bytes | None = None,
    image: str = IMAGE,
    note: str = NOTE,
    project: str = PROJECT,
) -> str:
    """Store an occurrence unverified, as anybody may who can write to the note; returns its name"""
    about = ImageRef.parse(image)
    body = Payload.of(about).to_bytes() if payload is None else payload
    occurrences = Occurrences(connection(world))
    attestation = Attestation(body, signatures)
    return occurrences.create(ProjectName(project), NoteName.parse(note), about, attestation).name


def signed(payload: bytes | None = None, number: int = 0, image: str = IMAGE) -> Signature:
    """A signature by the test's own key of that number, under its own id."""
    body = Payload.of(ImageRef.parse(image)).to_bytes() if payload is None else payload
    return Signature(pkix_key(P256, number=number).id, pkix_sign(P256, body, number))


def entries(result: Result, kind: str) -> list[dict[str, Any]]:
    """The results of that kind in standard output, which is one JSON object."""
    document = json.loads(result.out)
    assert list(document) == [kind, "errors", "emulator"]
    entries = document[kind]
    assert isinstance(entries, list)
    return entries


def errors(result: Result) -> list[dict[str, Any]]:
    """The errors in it."""
    entries = json.loads(result.out)["errors"]
    assert isinstance(entries, list)
    return entries
