"""`verify`: what counts, what is rejected and why, and what could not be asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from grafeas import grafeas_v1

from step.emulator import faults
from step.errors import BadInput
from step.gate import passes
from step.listing import listing
from step.model.attestation import Requirement, Signature
from step.model.image import ImageRef
from step.model.names import AttestorName
from step.verify import verify
from tests.flows.notes import (
    KEY_ID,
    OTHER_ID,
    connection,
    entries,
    errors,
    public,
    put,
    signed,
    together,
    two_keys,
)
from tests.world import ATTESTOR, DIGEST, IMAGE, Result, World, attestor_seed, image

MakeWorld = Callable[..., World]
SECOND = "projects/my-project/attestors/tested"
OTHER = str(image("f"))
FOREIGN = b'{"critical": {"type": "other"}}'


def ask(world: World, *arguments: str, image: str = IMAGE, attestor: str = ATTESTOR) -> Result:
    return world.run("verify", image, "--attestor", attestor, "--format", "json", *arguments)


def verdict(result: Result) -> dict[str, Any]:
    [only] = entries(result, "verdicts")
    assert errors(result) == []
    assert result.code == (0 if only["verified"] else 3)
    assert (only["reason"] is None) is only["verified"]
    return only


@pytest.fixture
def note(make_world: MakeWorld) -> World:
    """A world whose attestor lists one key of the test's own."""
    return make_world(attestor_seed(public()))


def test_an_attestation_that_is_too_old_does_not_count(note: World) -> None:
    """By the time that the service gives it."""
    put(note, signed())
    note.clock.passed += timedelta(days=29)
    assert verdict(ask(note, "--max-age", "30d"))["verified"]
    note.clock.passed += timedelta(days=1, seconds=1)
    old = verdict(ask(note, "--max-age", "30d"))
    assert not old["verified"]
    [attestation] = old["attestations"]
    assert attestation["reason"] == (
        "it verifies, and was created 2026-11-01 00:00 UTC, longer ago than is asked for"
    )
    assert verdict(ask(note))["verified"]
    gate = note.run("gate", IMAGE, "--attestor", ATTESTOR, "--max-age", "30d", "--timeout", "0s")
    assert gate.code == 3


def test_a_new_one_beside_it_does(note: World) -> None:
    put(note, signed())
    note.clock.passed += timedelta(days=40)
    put(note, signed(), project="elsewhere")
    assert verdict(ask(note, "--max-age", "30d"))["verified"]


def test_an_age_is_a_duration(note: World) -> None:
    for text in ("30", "a month", ""):
        result = ask(note, "--max-age", text)
        assert result.code == 2
        assert errors(result)[0]["message"].startswith("--max-age: ")


def test_what_attest_made_is_verified(kms_world: World) -> None:
    receipt = kms_world.attest().receipt
    only = verdict(ask(kms_world))
    assert only["image"] == IMAGE
    assert only["attestor"] == ATTESTOR
    [attestation] = only["attestations"]
    assert attestation == {
        "occurrence": receipt["occurrence"],
        "resource_uri": f"https://{IMAGE}",
        "public_key_id": receipt["public_key_id"],
        "create_time": receipt["create_time"],
        "verified": True,
        "reason": None,
    }


def test_verifying_writes_nothing(kms_world: World) -> None:
    ask(kms_world)
    assert kms_world.methods == ["GetAttestor", "ListNoteOccurrences"]
    assert not kms_world.wrote


def test_nothing_on_the_note_is_a_no(note: World) -> None:
    only = verdict(ask(note))
    assert (only["verified"], only["attestations"]) == (False, [])
    assert only["reason"] == "no attestation verifies"


REJECTED: dict[str, tuple[bytes | None, tuple[Signature, ...], str | None, str]] = {
    "unknown key id": (None, (Signature("urn:x", b"x"),), "urn:x", "lists no key 'urn:x'"),
    "key that is not listed": (None, (signed(number=1),), OTHER_ID, "lists no key"),
    "bad signature": (None, (Signature(KEY_ID, b"bad"),), KEY_ID, "the signature is not that of"),
    "another key's, forged": (
        None,
        (Signature(KEY_ID, signed(number=1).value),),
        KEY_ID,
        "the signature is not that of",
    ),
    "wrong payload type": (FOREIGN, (signed(FOREIGN),), KEY_ID, "not Binary Authorization's JSON"),
    "unparseable": (b"\xff", (signed(b"\xff"),), KEY_ID, "not Binary Authorization's JSON"),
    "no signature": (None, (), None, "it has no signature"),
}


@pytest.mark.parametrize("case", REJECTED)
def test_what_is_rejected_and_why(note: World, case: str) -> None:
    payload, signatures, key_id, reason = REJECTED[case]
    name = put(note, *signatures, payload=payload)
    only = verdict(ask(note))
    assert only["verified"] is False
    [attestation] = only["attestations"]
    assert attestation["occurrence"] == name
    assert attestation["public_key_id"] == key_id
    assert attestation["verified"] is False
    assert reason in attestation["reason"]


def test_another_images_attestation_counts_for_its_own_only(note: World) -> None:
    payload = json.dumps(
        {
            "critical": {
                "identity": {"docker-reference": "r.example/x"},
                "image": {"docker-manifest-digest": "sha256:" + "f" * 64},
                "type": "Google cloud binauthz container signature",
            }
        }
    ).encode()
    put(note, signed(payload), payload=payload)
    [attestation] = verdict(ask(note))["attestations"]
    assert attestation["reason"] == f"it attests sha256:{'f' * 64}, not {DIGEST}"
    assert verdict(ask(note, image=OTHER))["attestations"] == []


def test_another_kind_of_occurrence_is_not_an_attestation(
    note: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(response: grafeas_v1.ListNoteOccurrencesResponse) -> None:
        for occurrence, kind in zip(response.occurrences, (1, 99), strict=True):
            del occurrence.attestation
            grafeas_v1.Occurrence.pb(occurrence).kind = kind

    changed = (frozenset({"ListNoteOccurrences"}), change)
    monkeypatch.setitem(faults._ALTERATIONS, "OTHER_KIND", changed)
    put(note, signed())
    put(note, signed())
    note.emulator.fail("ListNoteOccurrences=OTHER_KIND")
    reasons = [each["reason"] for each in verdict(ask(note))["attestations"]]
    assert reasons == [
        "it is not an attestation, but of kind VULNERABILITY",
        "it is not an attestation, but of kind number 99",
    ]


def test_what_is_rejected_hides_nothing_that_holds(note: World) -> None:
    put(note, Signature(KEY_ID, b"bad"))
    good = put(note, Signature("urn:x", b"x"), signed())
    only = verdict(ask(note))
    assert only["verified"]
    assert [attestation["verified"] for attestation in only["attestations"]] == [False, False, True]
    assert only["attestations"][-1]["occurrence"] == good


def test_every_attestor_must_say_yes(make_world: MakeWorld) -> None:
    seeds = attestor_seed(public()), attestor_seed(public(1), name=SECOND)
    world = make_world(together(*seeds))
    put(world, signed())
    result = ask(world, "--attestor", SECOND)
    assert result.code == 3
    assert [each["verified"] for each in entries(result, "verdicts")] == [True, False]
    put(world, signed(number=1), note=SECOND.replace("attestors", "notes"))
    assert ask(world, "--attestor", SECOND).code == 0


def test_every_image_must_be_attested(note: World) -> None:
    put(note, signed())
    result = ask(note, OTHER)
    assert result.code == 3
    assert [(each["image"], each["verified"]) for each in entries(result, "verdicts")] == [
        (IMAGE, True),
        (OTHER, False),
    ]
    assert note.count("GetAttestor") == 1


def test_every_key(make_world: MakeWorld) -> None:
    world = make_world(two_keys())
    put(world, signed())
    assert verdict(ask(world))["verified"]
    assert verdict(ask(world, "--every-key"))["reason"] == f"no attestation by {OTHER_ID} verifies"
    put(world, signed(number=1))
    assert verdict(ask(world, "--every-key"))["verified"]


def test_a_copy_is_not_a_second_attestation(make_world: MakeWorld) -> None:
    """Whoever may write to the note can store one again, elsewhere or under another id."""
    world = make_world(attestor_seed(public(), public(key_id="urn:again"), public(1)))
    put(world, signed())
    put(world, signed())
    put(world, signed(), project="elsewhere")
    put(world, Signature("urn:again", signed().value))
    only = verdict(ask(world, "--at-least", "2"))
    assert [attestation["verified"] for attestation in only["attestations"]] == [True] * 4
    assert only["reason"] == "attestations by 1 of 2 keys verify"
    put(world, signed(number=1))
    assert verdict(ask(world, "--at-least", "2"))["verified"]
    assert not verdict(ask(world, "--at-least", "3"))["verified"]


@pytest.mark.parametrize("extra", [(), ("--every-key",)])
def test_an_attestor_without_keys_never_passes(
    make_world: MakeWorld, extra: tuple[str, ...]
) -> None:
    world = make_world(attestor_seed())
    put(world, signed())
    assert "lists no key" in verdict(ask(world, *extra))["reason"]


@pytest.mark.parametrize("extra", [(), ("--every-key",)])
def test_an_unusable_key_verifies_nothing(note: World, extra: tuple[str, ...]) -> None:
    put(note, signed())
    note.emulator.fail("GetAttestor=NEWER_ALGORITHMS")
    only = verdict(ask(note, *extra))
    assert not only["verified"]
    assert "cannot verify anything" in only["attestations"][0]["reason"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("GetAttestor=UNAVAILABLE", 6),
        ("GetAttestor=PERMISSION_DENIED", 4),
        ("GetAttestor=NOT_FOUND", 5),
        ("GetAttestor=WITHOUT_NOTE", 3),
        ("ListNoteOccurrences=UNAVAILABLE", 6),
        ("ListNoteOccurrences=RESOURCE_EXHAUSTED", 6),
        ("ListNoteOccurrences=PERMISSION_DENIED", 4),
        ("ListNoteOccurrences=NOT_FOUND", 5),
        ("ListNoteOccurrences=TAMPER", 3),
    ],
)
def test_not_having_asked_is_never_a_yes(kms_world: World, fault: str, code: int) -> None:
    kms_world.attest()
    kms_world.emulator.fail(fault)
    result = ask(kms_world)
    assert result.code == code
    if fault.endswith("TAMPER"):
        assert not verdict(result)["verified"]
        return
    assert entries(result, "verdicts") == []
    [error] = errors(result)
    assert (error["image"], error["attestor"], error["exit_code"]) == (IMAGE, ATTESTOR, code)
    assert "error: " in result.err


def test_errors_come_in_the_order_of_what_was_named(kms_world: World) -> None:
    missing = [f"projects/my-project/attestors/missing-{number}" for number in (3, 1, 2)]
    given = [word for name in missing for word in ("--attestor", name)]
    result = kms_world.run("verify", OTHER, IMAGE, *given, "--format", "json")
    assert result.code == 5
    named = [(error["image"], error["attestor"]) for error in errors(result)]
    assert named == [(each, name) for each in (OTHER, IMAGE) for name in missing]


def test_one_that_cannot_be_asked_spoils_the_yes_of_another(kms_world: World) -> None:
    kms_world.attest()
    result = ask(kms_world, "--attestor", SECOND)
    assert result.code == 5
    assert [each["verified"] for each in entries(result, "verdicts")] == [True]
    assert [error["attestor"] for error in errors(result)] == [SECOND]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("verify", IMAGE), "no attestor"),
        (("verify", "--attestor", ATTESTOR), "image"),
        (("verify", IMAGE, "--attestor", ATTESTOR, "--at-least", "0"), "--at-least"),
        (("verify", IMAGE, "--attestor", ATTESTOR, "--at-least", "x"), "at-least"),
        (("verify", "gcr.io/p/i:tag", "--attestor", ATTESTOR), "by tag"),
        (("verify", IMAGE, "--attestor", ATTESTOR, "--output-file", "/no/such/file"), "written"),
    ],
)
def test_bad_input(kms_world: World, arguments: tuple[str, ...], says: str) -> None:
    result = kms_world.run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert says in result.err
    assert kms_world.methods == []


def test_of_nothing_nothing_is_true(kms_world: World) -> None:
    name, each = AttestorName.parse(ATTESTOR), ImageRef.parse(IMAGE)
    to = connection(kms_world)
    for images, names in (([], [name]), ([each], []), ([], [])):
        with pytest.raises(BadInput, match="nothing to verify"):
            next(verify(images, names, to, Requirement()))
    with pytest.raises(BadInput, match="no attestor"):
        next(listing([each], [], to))
    assert not passes([])


def test_text_for_people(note: World) -> None:
    good, bad = put(note, signed()), put(note, Signature(KEY_ID, b"bad"))
    result = note.run("verify", IMAGE, "--attestor", ATTESTOR)
    assert result.code == 0
    assert result.out.splitlines() == [
        f"verified {IMAGE}",
        f"  attestor    {ATTESTOR}",
        f"  verified    {good}",
        f"    key       {KEY_ID} (ECDSA_P256_SHA256)",
        f"  rejected    {bad}",
        f"    key       {KEY_ID}",
        f"    because   the signature is not that of {KEY_ID} over the payload",
    ]
    result = note.run("verify", OTHER, "--attestor", ATTESTOR)
    assert result.out.splitlines() == [
        f"not verified {OTHER}",
        f"  attestor    {ATTESTOR}",
        "  because     no attestation verifies",
    ]


@pytest.mark.parametrize("verb", ["verify", "list"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_what_others_wrote_is_shown_harmless(note: World, verb: str, form: str) -> None:
    put(note, Signature("x\n::set-output name=a::b\x1b[2J\u202e##[add-path]/x", b""))
    result = note.run(verb, IMAGE, "--attestor", ATTESTOR, "--format", form)
    for text in (result.out, result.err):
        assert not {"\x1b", "\u202e"} & set(text)
        assert "##[" not in text
        assert not any(line.lstrip().startswith("::") for line in text.splitlines())
    assert "set-output" in result.out


def test_the_file_holds_what_is_printed(kms_world: World, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    result = ask(kms_world, "--output-file", str(path))
    assert (result.code, path.read_text()) == (3, result.out)


def test_a_file_that_cannot_be_written_in_the_end(
    kms_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("step.results.files.require_writable", lambda path: None)
    kms_world.attest()
    result = ask(kms_world, "--output-file", str(tmp_path / "no" / "file"))
    assert result.code == 2
    assert [each["verified"] for each in entries(result, "verdicts")] == [True]


def test_a_bug_is_no_yes(kms_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise LookupError

    kms_world.attest()
    monkeypatch.setattr("step.model.attestation.Attestor.statements", broken)
    result = ask(kms_world)
    assert result.code == 1
    assert "this is a bug" in errors(result)[0]["message"]


def test_an_interrupt_is_no_yes(kms_world: World) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    kms_world.attest()
    kms_world.emulator.fail("GetAttestor=UNAVAILABLE")
    kms_world.clock.when_it_passes = interrupt
    result = ask(kms_world)
    assert result.code == 130
    assert errors(result)[0]["message"] == "interrupted"


def test_an_attestor_by_its_short_name(kms_world: World) -> None:
    kms_world.attest()
    short = ("--attestor", "built-by-ci", "--project", "my-project")
    assert kms_world.run("verify", IMAGE, *short).code == 0
