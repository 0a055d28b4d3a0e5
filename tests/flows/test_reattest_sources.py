"""What `reattest` takes images from: lists, clusters, builds; and keys of every kind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from step.discovery.lists import read_list, read_pods
from step.errors import BadInput
from step.model.keys import Algorithm
from tests.fleets import NEW, OLD, OTHER, attest_old, attested, fleet_seed, names, once
from tests.keys import PgpKind, make_private_key, pgp_public, pgp_secret, private_pem, public_pem
from tests.policies import REQUIRE, policy
from tests.world import ATTESTOR, NOTE, PROJECT, World

IMAGES = names(6)
DIGESTS = [image.rpartition("@")[2] for image in IMAGES]


def pairs(images: list[str]) -> list[tuple[str, str]]:
    return [(digest, name) for name, _, digest in (image.rpartition("@") for image in images)]


@pytest.fixture
def fleet(make_world: Callable[..., World]) -> World:
    world = make_world(fleet_seed())
    attest_old(world, IMAGES)
    return world


def rotate(world: World, *source: str) -> int:
    return world.run(
        *("reattest", *source, "--attestor", ATTESTOR, "--kms-key-version", NEW, "--yes")
    ).code


LISTS = {
    "lines": "\n".join(IMAGES),
    "with comments": "\ufeff# mine\n\n" + "\n".join(f"  {image}  " for image in IMAGES),
    "with tags": "\n".join(image.replace("@", ":v1@") for image in IMAGES),
    "json lines": "\n".join(json.dumps({"image": image, "other": 1}) for image in IMAGES),
    "a document": json.dumps({"receipts": [{"image": image} for image in IMAGES], "errors": []}),
    "an indented document": json.dumps({"images": IMAGES}, indent=2),
    "an array": json.dumps(IMAGES),
    "crlf": "\r\n".join(IMAGES),
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
def test_a_list_may_have_many_forms(text: str) -> None:
    assert list(read_list(text.splitlines(keepends=True), "x")) == pairs(IMAGES)


def test_a_digest_alone_has_no_name() -> None:
    assert list(read_list([*DIGESTS, json.dumps({"digest": DIGESTS[0]})], "x")) == [
        (digest, "") for digest in [*DIGESTS, DIGESTS[0]]
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("web:v1", "line 1"),
        (f"{IMAGES[0]}\nregistry.example.com/web:latest", "line 2"),
        ('{"x": 1}', "line 1"),
        ('{"image": 7}', "line 1"),
        ("{", "not JSON"),
        ('{"items": [],\n"kind": "List"}', "--from-pods"),
        ('{\n"receipts": 7}', "no list"),
        ('[\n"x"]', "image 1"),
        ("sha256:12", "line 1"),
    ],
)
def test_what_is_no_list_is_told_with_its_line(text: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        list(read_list(text.splitlines(keepends=True), "list.txt"))
    assert "list.txt" in caught.value.message
    assert says in caught.value.message + caught.value.hint


def pod(**statuses: list[dict[str, str]]) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "p"}, "status": statuses}


def test_what_runs_is_read_by_digest() -> None:
    """As containerd, and docker before it, write imageID."""
    running = pod(
        containerStatuses=[
            {"image": "web:v1", "imageID": IMAGES[0]},
            {"image": "web:v1", "imageID": f"docker-pullable://{IMAGES[1]}"},
            {"image": "local", "imageID": f"docker://{DIGESTS[2]}"},
            {"image": "starting", "imageID": ""},
        ],
        initContainerStatuses=[{"image": "web:v1", "imageID": IMAGES[0]}],
        ephemeralContainerStatuses=[{"image": "nginx", "imageID": f"nginx@{DIGESTS[3]}"}],
    )
    document = {"kind": "List", "items": [running, {"kind": "Pod"}, pod()]}
    images, others = read_pods(json.dumps(document), "x")
    assert images == [*pairs(IMAGES[:2]), (DIGESTS[3], "")]
    assert others == ["local", "starting"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "Deployment"}', "not json"])
def test_what_is_no_list_of_pods_is_told(text: str) -> None:
    with pytest.raises(BadInput, match="not a list of pods"):
        read_pods(text, "--from-pods")


def test_a_cluster_s_images_are_attested_anew(fleet: World, tmp_path: Path) -> None:
    statuses = [{"image": "web", "imageID": image} for image in IMAGES]
    unknown = {"image": "unknown:v1", "imageID": ""}
    pods = tmp_path / "pods.json"
    large = pod(containerStatuses=[*statuses, unknown]) | {"spec": "x" * (11 << 20)}
    pods.write_text(json.dumps(large))
    result = fleet.run(
        *("reattest", "--from-pods", str(pods), "--attestor", ATTESTOR),
        *("--kms-key-version", NEW, "--yes"),
    )
    assert result.code == 0
    assert "'unknown:v1'" in result.err
    assert attested(fleet) == once(IMAGES, OLD, NEW)


def test_builds_by_a_filter(make_world: Callable[..., World]) -> None:
    def build(number: int, status: str = "SUCCESS") -> dict[str, Any]:
        name, _, digest = IMAGES[number].rpartition("@")
        pushed = [{"name": f"{name}:v1", "digest": digest}]
        id_ = f"6a1c0f52-52b3-4b07-a9b9-0f6c1fbb44b{number}"
        return {
            "name": f"projects/{PROJECT}/locations/global/builds/{id_}",
            "id": id_,
            "projectId": PROJECT,
            "status": status,
            "images": [f"{name}:v1"],
            "results": {"images": pushed},
        }

    world = make_world(
        fleet_seed() | {"builds": [build(0), build(1), build(2, "FAILURE"), build(3)]}
    )
    attest_old(world, IMAGES)
    assert rotate(world, "--from-builds", 'status="SUCCESS"', "--project", PROJECT) == 0
    assert attested(world) == once(IMAGES, OLD) + once([IMAGES[n] for n in (0, 1, 3)], NEW)


# Keys of every kind


def test_an_openpgp_and_a_pem_key_sign_for_a_fleet(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    algorithm = Algorithm.ECDSA_P256_SHA256
    pem = public_pem(make_private_key(algorithm))
    seed = fleet_seed()
    seed["attestors"][0]["public_keys"] += [
        {"pgp": {"armored": pgp_public(PgpKind.ED25519)}},
        {"pkix": {"pem": pem, "algorithm": algorithm.name}},
    ]
    world = make_world(seed)
    attest_old(world, IMAGES)
    pgp, pkix = tmp_path / "pgp", tmp_path / "pkix"
    pgp.write_bytes(pgp_secret(PgpKind.ED25519))
    pkix.write_bytes(private_pem(make_private_key(algorithm)))
    before = world.count("AsymmetricSign")
    for key in (("--pgp-key-file", str(pgp)), ("--pkix-key-file", str(pkix))):
        result = world.run(
            *("reattest", "--from-attestor", ATTESTOR, "--attestor", ATTESTOR, "--yes", *key),
            *("--journal", str(tmp_path / f"journal{len(key[0])}")),
        )
        assert result.code == 0, result.err
    assert world.count("AsymmetricSign") == before
    assert sum(attested(world).values()) == 18
    every = world.run("verify", *IMAGES, "--attestor", ATTESTOR, "--at-least", "3")
    assert every.code == 0
    written = b"".join(each.read_bytes() for each in tmp_path.glob("journal*"))
    assert b"PRIVATE" not in written


# A rotation from end to end


def test_at_no_moment_of_a_rotation_an_attested_image_is_denied(
    make_world: Callable[..., World],
) -> None:
    from google.cloud import binaryauthorization_v1 as ba

    seed = fleet_seed() | {"policies": [policy(REQUIRE)]}
    old, new = seed["attestors"][0]["public_keys"]
    seed["attestors"][0]["public_keys"] = [old]
    world = make_world(seed)
    client = world.client(ba.BinauthzManagementServiceV1Client)

    def list_keys(*wanted: dict[str, str]) -> None:
        """What `gcloud … public-keys add` and `remove` do."""
        attestor = client.get_attestor(name=ATTESTOR)
        note = attestor.user_owned_grafeas_note
        known = {key.id: key for key in note.public_keys}
        other = client.get_attestor(name=OTHER).user_owned_grafeas_note.public_keys
        known |= {key.id: key for key in other}
        ids = [f"//cloudkms.googleapis.com/v1/{key['kms']}" for key in wanted]
        note.public_keys = [known[key_id] for key_id in ids]
        client.update_attestor(attestor=attestor)

    def all_admitted() -> None:
        assert world.run("policy", "check", *IMAGES, "--project", PROJECT).code == 0

    assert world.run("attest", *IMAGES, "--attestor", ATTESTOR).code == 0
    all_admitted()
    list_keys(old, new)
    all_admitted()
    # A run that fails half-way, and one that ends it.
    world.emulator.fail("BatchCreateOccurrences=PARTIAL:1", "AsymmetricSign=UNAVAILABLE:200")
    rotate(world, "--from-attestor", ATTESTOR, "--retry-for", "0s")
    all_admitted()
    world.emulator.heal()
    assert rotate(world, "--from-attestor", ATTESTOR) == 0
    all_admitted()
    list_keys(new)
    all_admitted()
    assert attested(world) == once(IMAGES, OLD, NEW)


# Ctrl-C


def test_ctrl_c_ends_what_is_under_way_and_tells_what_is_left(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    world = make_world(fleet_seed())
    images = names(1500)
    attest_old(world, images)
    journal = str(tmp_path / "journal.jsonl")
    arguments = (
        *("reattest", "--from-attestor", ATTESTOR, "--attestor", ATTESTOR, "--yes"),
        *("--kms-key-version", NEW, "--journal", journal, "--format", "json"),
    )
    # The first exhaustion is a sleep, in the middle: then somebody presses Ctrl-C.
    world.emulator.fail("BatchCreateOccurrences=RESOURCE_EXHAUSTED:1")
    world.clock.when_it_passes = lambda: os.kill(os.getpid(), signal.SIGINT)
    result = world.run(*arguments)
    assert result.code == 130
    document = json.loads(result.out)
    [counts] = document["targets"]
    assert counts["created"] + counts["left"] == 1500
    assert 0 < counts["left"] < 1500
    assert counts["failed"] == 0
    stored = sum(count for (_, key), count in attested(world).items() if key == NEW)
    assert stored == counts["created"]
    before = world.count("AsymmetricSign")
    assert world.run(*arguments).code == 0
    assert world.count("AsymmetricSign") - before <= counts["left"]
    assert attested(world) == once(images, OLD, NEW)


def test_attest_writes_the_same_lines(fleet: World, tmp_path: Path) -> None:
    lines = tmp_path / "receipts.jsonl"
    result = fleet.attest("--kms-key-version", NEW, "--receipts", str(lines), image=IMAGES[0])
    assert [json.loads(line) for line in lines.read_text().splitlines()] == [result.receipt]
    assert fleet.attest("--receipts", str(tmp_path / "none" / "x"), image=IMAGES[0]).code == 2


def test_the_journal_and_the_note_are_named_in_no_error_with_a_traceback(fleet: World) -> None:
    """A note that is not there is told as any other."""
    gone = NOTE.replace("built-by-ci", "gone")
    assert rotate(fleet, "--from-attestor", gone) == 5
