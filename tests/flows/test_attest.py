"""The main job: from an image to an attestation that can be read back and verified."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from step.attest import Receipt, Settings, Status, attest
from step.cloud.connection import Connection
from step.model.image import ImageRef
from step.model.keys import Algorithm
from step.model.names import AttestorName
from step.model.payload import Payload
from tests.keys import make_private_key, pkix_sign, pkix_signer, public_pem
from tests.world import (
    ATTESTOR,
    DIGEST,
    IMAGE,
    KEY,
    NOTE,
    PROJECT,
    RECEIPT_KEYS,
    VERSION,
    World,
    attestor_seed,
    image,
    kms_seed,
)

KEY_ID = f"//cloudkms.googleapis.com/v1/{VERSION}"


def test_a_receipt_says_everything_that_was_promised(kms_world: World) -> None:
    receipt = kms_world.attest().receipt
    assert list(receipt) == [*RECEIPT_KEYS, "emulator"]
    assert receipt["image"] == IMAGE
    assert receipt["digest"] == DIGEST
    assert (receipt["attestor"], receipt["note"]) == (ATTESTOR, NOTE)
    assert receipt["occurrence"].startswith(f"projects/{PROJECT}/occurrences/")
    assert (receipt["public_key_id"], receipt["algorithm"]) == (KEY_ID, "ECDSA_P256_SHA256")
    assert receipt["status"] == "created"
    payload = Payload.of(ImageRef.parse(IMAGE)).to_bytes()
    assert base64.b64decode(receipt["payload"]) == payload
    assert receipt["resource_uri"] == f"https://{IMAGE}"
    assert receipt["visible_after_seconds"] == 0
    assert receipt["create_time"] == "2026-11-01T00:00:00Z"
    assert receipt["origin"] == {
        "source": "the reference given",
        "tag": None,
        "build": None,
        "trigger": None,
        "repository": None,
        "commit": None,
    }


def test_one_image_costs_one_call_of_each_in_five_round_trips(
    make_world: Callable[..., World],
) -> None:
    """The second and the third are under way together, or the barrier breaks."""
    together, calls, lock = threading.Barrier(2, timeout=20), itertools.count(1), threading.Lock()

    def meet(_: float) -> None:
        with lock:
            number = next(calls)
        if number in (2, 3):
            together.wait()

    world = make_world(latency=timedelta(seconds=1), sleep=meet)
    assert world.attest().code == 0
    assert world.methods[0] == "GetAttestor"
    assert sorted(world.methods[1:3]) == ["AsymmetricSign", "ListNoteOccurrences"]
    assert world.methods[3:] == [
        "ValidateAttestationOccurrence",
        "CreateOccurrence",
        "ListNoteOccurrences",
    ]


def test_a_second_run_creates_nothing(kms_world: World) -> None:
    first = kms_world.attest().receipt
    second = kms_world.attest().receipt
    assert kms_world.count("CreateOccurrence") == 1
    assert kms_world.count("ValidateAttestationOccurrence") == 1
    assert second["status"] == "existing"
    assert second["visible_after_seconds"] is None
    same = ("occurrence", "payload", "signature", "create_time", "resource_uri", "public_key_id")
    assert {key: second[key] for key in same} == {key: first[key] for key in same}


def test_it_waits_until_the_attestation_is_listed_and_says_so(
    make_world: Callable[..., World],
) -> None:
    world = make_world(visibility_delay=timedelta(seconds=3))
    result = world.attest()
    assert 3 <= result.receipt["visible_after_seconds"] < 6
    assert f"waiting until the attestation can be read back from {NOTE} (0s of 2m)" in result.err
    polls = world.count("ListNoteOccurrences") - 1
    assert polls == 7, "at once, and every half second"


@pytest.mark.parametrize("delay", [0.5, 3, 10])
def test_a_wait_overshoots_by_half_a_second_at_most(
    make_world: Callable[..., World], delay: float
) -> None:
    """Whenever in between it becomes visible; and it asks twice a second at most."""
    for part in range(10):
        moment = delay + part / 20
        world = make_world(visibility_delay=timedelta(seconds=moment))
        waited = world.attest().receipt["visible_after_seconds"]
        assert moment <= waited <= moment + 0.5
        assert world.count("ListNoteOccurrences") - 2 <= 2 * waited


def test_all_that_wait_share_two_looks_a_second(make_world: Callable[..., World]) -> None:
    world = make_world(visibility_delay=timedelta(seconds=3))
    images = [str(image(digit)) for digit in "12345678"]
    result = world.run("attest", *images, "--attestor", ATTESTOR, "--format", "json")
    assert result.code == 0
    looks = world.count("ListNoteOccurrences") - 2 * len(images)
    assert looks <= 2 * world.clock.elapsed().total_seconds()


def test_what_is_attested_takes_no_right_to_sign(kms_world: World) -> None:
    kms_world.attest()
    kms_world.emulator.fail("AsymmetricSign=PERMISSION_DENIED")
    assert kms_world.attest().receipt["status"] == "existing"


def test_a_dry_run_does_not_sign(kms_world: World) -> None:
    assert kms_world.attest("--dry-run").receipt["status"] == "dry-run"
    assert kms_world.methods == ["GetAttestor", "ListNoteOccurrences"]


@pytest.mark.parametrize(("delay", "code"), [(0, 0), (1, 7)])
def test_a_timeout_of_nothing_reads_once(
    make_world: Callable[..., World], delay: int, code: int
) -> None:
    world = make_world(visibility_delay=timedelta(seconds=delay))
    assert world.attest("--timeout", "0s").code == code
    assert world.count("ListNoteOccurrences") == 2
    assert world.clock.elapsed() == timedelta(0)


def test_without_waiting_it_returns_at_once(make_world: Callable[..., World]) -> None:
    world = make_world(visibility_delay=timedelta(seconds=3))
    receipt = world.attest("--no-wait").receipt
    assert receipt["status"] == "created"
    assert receipt["visible_after_seconds"] is None
    assert world.count("ListNoteOccurrences") == 1
    assert world.clock.elapsed() == timedelta(0)


def test_a_dry_run_signs_and_creates_nothing(kms_world: World) -> None:
    receipt = kms_world.attest("--dry-run").receipt
    assert receipt["status"] == "dry-run"
    assert receipt["occurrence"] is receipt["signature"] is receipt["create_time"] is None
    assert base64.b64decode(receipt["payload"]) == Payload.of(ImageRef.parse(IMAGE)).to_bytes()
    assert kms_world.methods == ["GetAttestor", "ListNoteOccurrences"]


def test_a_dry_run_tells_what_exists(kms_world: World) -> None:
    kms_world.attest()
    assert kms_world.attest("--dry-run").receipt["status"] == "existing"


def test_without_validation_the_service_is_not_asked(kms_world: World) -> None:
    assert kms_world.attest("--no-validate").receipt["status"] == "created"
    assert kms_world.count("ValidateAttestationOccurrence") == 0


def test_attestations_are_stored_where_asked(kms_world: World) -> None:
    receipt = kms_world.attest("--attestation-project", "my-attestations").receipt
    assert receipt["occurrence"].startswith("projects/my-attestations/occurrences/")


def test_a_note_in_another_project_does_not_move_the_attestation(
    make_world: Callable[..., World],
) -> None:
    seed = kms_seed()
    note = "projects/their-notes/notes/built-by-ci"
    seed["attestors"][0]["note"] = note
    world = make_world(seed)
    receipt = world.attest().receipt
    assert receipt["note"] == note
    assert receipt["occurrence"].startswith(f"projects/{PROJECT}/occurrences/")
    assert world.attest().receipt["status"] == "existing"


def test_what_exists_is_told_as_it_is_stored(make_world: Callable[..., World]) -> None:
    """Signed by two keys, over a payload of another layout, about another name of the digest."""
    keys = [Algorithm.ECDSA_P256_SHA256, Algorithm.ECDSA_P384_SHA384]
    public = [
        {
            "pem": public_pem(make_private_key(each)),
            "algorithm": each.name,
            "id": f"urn:{each.name}",
        }
        for each in keys
    ]
    seed = attestor_seed(*({"pkix": each} for each in public))
    elsewhere = ImageRef.parse(f"docker.io/library/web@{DIGEST}")
    payload = json.dumps(json.loads(Payload.of(elsewhere).to_bytes())).encode()
    signatures = [
        {"publicKeyId": f"urn:{each.name}", "signature": pkix_sign(each, payload)} for each in keys
    ]
    stored = {
        "name": "projects/other/occurrences/both",
        "noteName": NOTE,
        "resourceUri": elsewhere.resource_uri,
        "attestation": {"serializedPayload": payload, "signatures": signatures},
    }
    world = make_world(seed | {"occurrences": [encoded(stored)]})
    for number, each in enumerate(keys):
        signer = pkix_signer(each)
        connection = Connection(world.clock, {}, world.emulator.grpc_address)
        image, attestor = ImageRef.parse(IMAGE), AttestorName.parse(ATTESTOR)
        *_, receipt = attest([image], [attestor], signer, connection, Settings())
        assert isinstance(receipt, Receipt)
        assert receipt.status is Status.EXISTING
        assert (receipt.payload, receipt.signature) == (payload, signatures[number]["signature"])
        assert (receipt.image, receipt.resource_uri) == (image, elsewhere.resource_uri)


def encoded(value: Any) -> Any:
    """A message in JSON's form, which has base64 for bytes."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [encoded(each) for each in value]
        case dict():
            return {key: encoded(each) for key, each in value.items()}
    return value


def test_every_image_is_attested_for_every_attestor_in_the_order_given(
    make_world: Callable[..., World],
) -> None:
    seed = kms_seed()
    other = ATTESTOR.replace("built-by-ci", "tested-by-qa")
    seed["attestors"] += attestor_seed({"kms": VERSION}, name=other)["attestors"]
    world = make_world(seed, visibility_delay=timedelta(seconds=1))
    images = [str(image(digit)) for digit in "9876543210"]
    arguments = ["--attestor", ATTESTOR, "--attestor", other, "--format", "json"]
    result = world.run("attest", *images, *arguments)
    assert result.code == 0
    pairs = [(receipt["image"], receipt["attestor"]) for receipt in result.document["receipts"]]
    assert pairs == [(ref, attestor) for ref in images for attestor in (ATTESTOR, other)]
    assert world.count("GetAttestor") == 2
    assert world.count("CreateOccurrence") == 20


def test_one_failure_does_not_stop_the_others(kms_world: World) -> None:
    kms_world.emulator.fail("CreateOccurrence=PERMISSION_DENIED:1")
    images = [str(image(digit)) for digit in "123"]
    result = kms_world.run("attest", *images, "--attestor", ATTESTOR, "--format", "json")
    assert result.code == 4
    assert len(result.document["receipts"]) == 2
    assert len(result.document["errors"]) == 1


def test_an_attestor_that_is_missing_does_not_stop_the_others(kms_world: World) -> None:
    missing = "projects/my-project/attestors/missing"
    images = [IMAGE, str(image("a"))]
    result = kms_world.attest(images[1], "--attestor", missing)
    assert result.code == 5
    receipts, errors = result.document["receipts"], result.document["errors"]
    assert [(receipt["image"], receipt["status"]) for receipt in receipts] == [
        (i, "created") for i in images
    ]
    assert [each["image"] for each in errors] == images
    assert {(each["attestor"], each["exit_code"]) for each in errors} == {(missing, 5)}


def test_an_image_named_twice_is_attested_once(kms_world: World) -> None:
    tagged = IMAGE.replace("@", ":v1@")
    result = kms_world.attest(tagged, f"https://{IMAGE}", "--attestor", ATTESTOR)
    assert result.receipt["image"] == IMAGE
    assert kms_world.count("CreateOccurrence") == 1


@pytest.mark.parametrize(
    "spelling",
    [
        VERSION,
        f"gcpkms://{VERSION}",
        f"gcpkms://{KEY}/versions/1",
        f"//cloudkms.googleapis.com/v1/{VERSION}",
        f"https://cloudkms.googleapis.com/v1/{VERSION}",
    ],
)
@pytest.mark.parametrize("registered", [None, VERSION])
def test_a_key_is_found_in_any_spelling_and_the_attestors_own_is_used(
    make_world: Callable[..., World], spelling: str, registered: str | None
) -> None:
    """hashicorp/terraform-provider-google#6538: Terraform registers the name without its prefix."""
    world = make_world(kms_seed(key_id=registered))
    receipt = world.attest("--kms-key-version", spelling).receipt
    assert receipt["public_key_id"] == (registered or KEY_ID)


def test_a_key_registered_under_an_id_of_its_own_is_named_by_it(
    make_world: Callable[..., World],
) -> None:
    other = {"kms": VERSION.removesuffix("1") + "2", "id": "urn:other-key"}
    keys = [{"name": KEY, "versions": [{}, {}]}]
    world = make_world(attestor_seed(other, {"kms": VERSION, "id": "urn:our-key"}, keys=keys))
    refused = world.attest("--kms-key-version", VERSION)
    assert refused.code == 3
    named = world.attest("--kms-key-version", VERSION, "--public-key-id", "urn:our-key")
    assert named.receipt["public_key_id"] == "urn:our-key"


def test_one_key_version_under_both_spellings_is_one_key(make_world: Callable[..., World]) -> None:
    both = attestor_seed({"kms": VERSION}, {"kms": VERSION, "id": VERSION}, keys=[{"name": KEY}])
    assert make_world(both).attest().receipt["public_key_id"] == KEY_ID


def test_the_signing_key_is_chosen_among_several(make_world: Callable[..., World]) -> None:
    second = VERSION.removesuffix("1") + "2"
    keys = [{"name": KEY, "versions": [{}, {}]}]
    world = make_world(attestor_seed({"kms": VERSION}, {"kms": second}, keys=keys))
    result = world.attest()
    assert result.code == 2
    assert VERSION in result.error["message"]
    assert second in result.error["message"]
    assert "--kms-key-version" in result.error["hint"]
    assert world.methods == ["GetAttestor"]
    chosen = world.attest("--kms-key-version", second).receipt
    assert chosen["public_key_id"].endswith("/2")


def test_an_attestation_under_another_key_does_not_count(make_world: Callable[..., World]) -> None:
    """After a rotation, an attestation by the old key must not stand for one by the new."""
    second = VERSION.removesuffix("1") + "2"
    keys = [{"name": KEY, "versions": [{}, {}]}]
    world = make_world(attestor_seed({"kms": VERSION}, {"kms": second}, keys=keys))
    old = world.attest("--kms-key-version", VERSION).receipt
    new = world.attest("--kms-key-version", second).receipt
    assert (old["status"], new["status"]) == ("created", "created")
    assert old["occurrence"] != new["occurrence"]


def test_what_others_left_on_the_note_neither_counts_nor_hides(
    make_world: Callable[..., World],
) -> None:
    """More of it than one page holds: forged, about other images, and of other kinds."""
    junk = {"noteName": NOTE, "resourceUri": f"https://{IMAGE}"}
    forged = {"publicKeyId": KEY_ID, "signature": "MAA="}
    left = [
        *(
            {
                **junk,
                "name": f"projects/other/occurrences/{number}",
                "attestation": {"serializedPayload": f"{number:04}", "signatures": [forged]},
            }
            for number in range(300)
        ),
        {**junk, "name": "projects/other/occurrences/x", "discovery": {}},
    ]
    world = make_world(kms_seed() | {"occurrences": left})
    first = world.attest().receipt
    assert first["status"] == "created"
    assert world.count("ListNoteOccurrences") == 4
    assert world.attest().receipt["occurrence"] == first["occurrence"]


def test_a_forged_attestation_does_not_count(kms_world: World) -> None:
    kms_world.attest()
    kms_world.emulator.fail("ListNoteOccurrences=TAMPER:1")
    kms_world.attest()
    assert kms_world.count("AsymmetricSign") == 2


def test_a_signature_made_elsewhere_for_another_image_is_refused(
    kms_world: World, tmp_path: Path
) -> None:
    signature = tmp_path / "signature"
    signature.write_text(kms_world.attest("--no-wait").receipt["signature"])
    calls = len(kms_world.methods)
    elsewhere = ["--signature-file", str(signature), "--public-key-id", KEY_ID]
    refused = kms_world.attest(*elsewhere, image=str(image("a")))
    assert refused.code == 3
    assert "--payload-file" in refused.error["hint"]
    assert kms_world.methods[calls:] == ["GetAttestor", "ListNoteOccurrences"]
