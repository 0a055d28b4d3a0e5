"""`reattest`: every image has exactly one new attestation, whatever happens on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from grafeas import grafeas_v1

from tests.fleets import (
    NEW,
    OLD,
    OTHER,
    OTHER_NOTE,
    PREFIX,
    attest_old,
    attested,
    fleet_seed,
    names,
    once,
    rotate,
    target,
)
from tests.world import ATTESTOR, NOTE, PROJECT, World

IMAGES = names(12)


@pytest.fixture
def fleet(make_world: Callable[..., World]) -> World:
    """A dozen images that are attested by the old key."""
    world = make_world(fleet_seed())
    attest_old(world, IMAGES)
    return world


def test_all_that_the_old_key_attested_the_new_one_attests_once(fleet: World) -> None:
    result = rotate(fleet)
    assert (result.code, target(result)["created"]) == (0, 12)
    assert attested(fleet) == once(IMAGES, OLD, NEW)
    again = rotate(fleet)
    assert (again.code, target(again)["existing"], target(again)["created"]) == (0, 12, 0)
    assert attested(fleet) == once(IMAGES, OLD, NEW)
    verified = fleet.run("verify", *IMAGES, "--attestor", ATTESTOR, "--every-key")
    assert verified.code == 0


def test_it_takes_about_a_call_an_image(make_world: Callable[..., World]) -> None:
    world = make_world(fleet_seed())
    images = names(600)
    attest_old(world, images)
    before = len(world.emulator.calls)
    assert rotate(world).code == 0
    calls = list(world.emulator.calls)[before:]
    assert len(calls) - 600 <= 8
    assert sum(call.method == "AsymmetricSign" for call in calls) == 600
    assert not [call for call in calls if call.status != "OK"]


def test_an_image_that_nothing_vouches_for_is_refused(fleet: World) -> None:
    strangers = names(3, start=1000)
    result = rotate(fleet, source=[*IMAGES, *strangers])
    assert (result.code, target(result)["refused"], target(result)["created"]) == (3, 3, 12)
    assert attested(fleet) == once(IMAGES, OLD, NEW)
    errors = json.loads(result.out)["errors"]
    assert {error["image"] for error in errors} == set(strangers)
    assert all("no attestation of" in error["message"] for error in errors)
    assert "--old-attestor" in errors[0]["hint"]


def test_unverified_has_to_be_said_and_is_said_back(fleet: World, tmp_path: Path) -> None:
    strangers = names(3, start=1000)
    lines = tmp_path / "receipts.jsonl"
    result = rotate(fleet, "--unverified", "--receipts", str(lines), source=[*IMAGES, *strangers])
    assert (result.code, target(result)["created"], target(result)["unverified"]) == (0, 15, 3)
    receipts = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {each["image"] for each in receipts if each.get("unverified")} == set(strangers)
    assert "--unverified" in result.err


def test_another_attestor_s_images_want_its_word_said(fleet: World) -> None:
    """By default, the new attestor itself must have attested an image before."""
    move = ("reattest", "--from-attestor", ATTESTOR, "--attestor", OTHER, "--yes")
    assert fleet.run(*move).code == 3
    assert attested(fleet, OTHER_NOTE) == {}
    assert fleet.run(*move, "--old-attestor", ATTESTOR).code == 0
    assert attested(fleet, OTHER_NOTE) == once(IMAGES, NEW)


def test_of_several_old_attestors_all_must_have_attested(fleet: World) -> None:
    assert fleet.run("attest", IMAGES[0], "--attestor", OTHER).code == 0
    result = rotate(fleet, "--old-attestor", ATTESTOR, "--old-attestor", OTHER)
    assert (result.code, target(result)["created"], target(result)["refused"]) == (3, 1, 11)


def test_a_note_lists_images_and_vouches_for_none(fleet: World) -> None:
    result = rotate(fleet, "--old-attestor", OTHER, source=["--from-attestor", NOTE])
    assert (result.code, target(result)["refused"]) == (3, 12)
    assert rotate(fleet, source=["--from-attestor", NOTE]).code == 0
    assert attested(fleet) == once(IMAGES, OLD, NEW)


def test_of_a_note_s_images_only_those_that_claim_a_key(fleet: World) -> None:
    attest_old(fleet, names(2, start=500), NEW)
    source = ["--from-attestor", NOTE, "--from-key", PREFIX + OLD]
    result = rotate(fleet, source=source)
    assert (result.code, target(result)["created"], target(result)["existing"]) == (0, 12, 0)


def test_of_one_key_s_images_only_those(fleet: World) -> None:
    attest_old(fleet, names(2, start=500), NEW)
    result = rotate(fleet, source=["--from-key", PREFIX + OLD])
    assert (result.code, target(result)["created"], target(result)["existing"]) == (0, 12, 0)
    unknown = rotate(fleet, source=["--from-key", "nobody's"])
    assert unknown.code == 2
    assert "--from-key" in unknown.out


def test_several_attestors_and_keys_at_once(fleet: World) -> None:
    both = ("--kms-key-version", OLD)
    result = rotate(fleet, "--attestor", OTHER, *both, "--old-attestor", ATTESTOR)
    counts = json.loads(result.out)["targets"]
    assert result.code == 0
    assert [(each["attestor"], each["created"], each["existing"]) for each in counts] == [
        (ATTESTOR, 12, 0),
        (ATTESTOR, 0, 12),
        (OTHER, 12, 0),
    ]
    assert attested(fleet, OTHER_NOTE) == once(IMAGES, NEW)


def test_attestors_of_several_projects_have_batches_of_their_own(
    make_world: Callable[..., World],
) -> None:
    seed = fleet_seed()
    elsewhere = "projects/elsewhere/attestors/a"
    seed["attestors"].append(
        {
            "name": elsewhere,
            "note": "projects/elsewhere/notes/n",
            "public_keys": [{"kms": NEW}],
        }
    )
    world = make_world(seed)
    images = names(300)
    attest_old(world, images)
    before = world.count("BatchCreateOccurrences")
    result = rotate(world, "--attestor", elsewhere, "--old-attestor", ATTESTOR)
    assert result.code == 0
    assert world.count("BatchCreateOccurrences") - before == 4
    assert attested(world, "projects/elsewhere/notes/n") == once(images, NEW)


def test_a_key_that_no_attestor_lists_is_refused_before_anything(fleet: World) -> None:
    unlisted = NEW.replace("/2", "/7")
    result = rotate(fleet, "--kms-key-version", unlisted)
    assert result.code == 3
    assert "does not list" in result.out
    assert attested(fleet) == once(IMAGES, OLD)


def test_the_name_is_that_of_the_old_payload(fleet: World, tmp_path: Path) -> None:
    """The digest decides: what a list calls an image changes nothing."""
    listed = tmp_path / "list.txt"
    digests = [image.rpartition("@")[2] for image in IMAGES]
    renamed = [f"registry.example.com/evil@{digests[0]}", *digests[1:]]
    listed.write_text("# all\n\n" + "\n".join(renamed) + "\n")
    result = rotate(fleet, source=["--from-file", str(listed)])
    assert result.code == 0
    receipts = json.loads(result.out)["receipts"]
    assert {each["image"] for each in receipts} == set(IMAGES)


def test_a_plan_changes_nothing(fleet: World) -> None:
    before = attested(fleet)
    result = rotate(fleet, "--dry-run", "--rate", "AsymmetricSign=6")
    [plan] = json.loads(result.out)["plans"]
    assert (result.code, plan["to_do"], plan["images"], plan["seconds"]) == (0, 12, 12, 120)
    assert plan["calls"] == {
        "AsymmetricSign": 12,
        "ValidateAttestationOccurrence": 1,
        "BatchCreateOccurrences": 2,
        "ListNoteOccurrences": 1,
    }
    assert attested(fleet) == before


def test_without_a_terminal_yes_must_be_said(fleet: World) -> None:
    result = fleet.run(
        *("reattest", "--from-attestor", ATTESTOR, "--attestor", ATTESTOR),
        *("--kms-key-version", NEW),
    )
    assert result.code == 2
    assert "--dry-run" in result.err
    assert "12 attestations to be made" in result.err
    assert attested(fleet) == once(IMAGES, OLD)


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ((), 2, "no images were given"),
        (("--from-file", "nowhere.txt"), 2, "cannot be read"),
        (("--from-attestor", ATTESTOR, "--shard", "5/4"), 2, "no part 5 of 4"),
        (("--from-attestor", ATTESTOR, "--shard", "1"), 2, "--shard"),
        (("--from-attestor", ATTESTOR, "--shards", "4"), 2, "JOB_COMPLETION_INDEX"),
        (("--from-attestor", ATTESTOR, "--validate", "some"), 2, "--validate"),
        (("--from-attestor", ATTESTOR, "--rate", "x=1"), 2, "--rate"),
        (("--from-attestor", ATTESTOR, "--report", "/none/x.html"), 2, "cannot be written"),
        (("--from-attestor", ATTESTOR, "--receipts", "/none/x"), 2, "cannot be written"),
        (("--from-attestor", f"projects/{PROJECT}/attestors/none"), 5, "none"),
        (("--from-attestor", ATTESTOR, "--journal", "gs://bucket/p"), 2, "STORAGE_EMULATOR_HOST"),
        (("web:v1",), 2, "does not name a registry"),
        (
            (
                "--from-builds",
                "x",
            ),
            2,
            "--project",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    fleet: World, given: tuple[str, ...], code: int, says: str
) -> None:
    result = rotate(fleet, source=given)
    [error] = json.loads(result.out)["errors"]
    assert (result.code, error["exit_code"]) == (code, code)
    assert says in error["message"] + error["hint"]
    assert attested(fleet) == once(IMAGES, OLD)


# Journals


def test_a_journal_saves_signatures(fleet: World, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.jsonl")
    fleet.emulator.fail("BatchCreateOccurrences=PERMISSION_DENIED")
    assert rotate(fleet, "--journal", journal).code == 4
    fleet.emulator.heal()
    signed = [line for line in Path(journal).read_text().splitlines() if '"signed"' in line]
    before = fleet.count("AsymmetricSign")
    assert rotate(fleet, "--journal", journal).code == 0
    assert fleet.count("AsymmetricSign") - before == 12 - len(signed)
    assert len(signed) >= 1
    assert attested(fleet) == once(IMAGES, OLD, NEW)


@pytest.mark.parametrize("change", ["attestor", "source", "unverified", "shard"])
def test_a_journal_of_other_work_is_refused(fleet: World, tmp_path: Path, change: str) -> None:
    journal = ("--journal", str(tmp_path / "journal.jsonl"))
    assert rotate(fleet, *journal).code == 0
    other = {
        "attestor": rotate(fleet, *journal, "--attestor", OTHER),
        "source": rotate(fleet, *journal, source=IMAGES[:1]),
        "unverified": rotate(fleet, *journal, "--unverified"),
        "shard": rotate(fleet, *journal, "--shard", "1/2"),
    }[change]
    assert other.code == 2
    assert "is of other work" in other.out


def test_a_forged_journal_makes_nothing(fleet: World, tmp_path: Path) -> None:
    """Anybody may have written the file: a signature in it is verified again."""
    journal = tmp_path / "journal.jsonl"
    fleet.emulator.fail("BatchCreateOccurrences=PERMISSION_DENIED")
    rotate(fleet, "--journal", str(journal))
    fleet.emulator.heal()
    forged = journal.read_text().replace(
        IMAGES[0].rpartition("@")[2], names(1, 99)[0].rpartition("@")[2]
    )
    journal.write_text(forged)
    assert rotate(fleet, "--journal", str(journal)).code == 0
    assert attested(fleet) == once(IMAGES, OLD, NEW)


def test_a_journal_that_calls_an_image_by_another_name_is_of_no_use(
    fleet: World, tmp_path: Path
) -> None:
    """A signature is over the image's own name; a line that says another is not what was signed."""
    journal = tmp_path / "journal.jsonl"
    fleet.emulator.fail("BatchCreateOccurrences=PERMISSION_DENIED")
    rotate(fleet, "--journal", str(journal))
    fleet.emulator.heal()
    text = journal.read_text()
    assert "apps/web" in text
    journal.write_text(text.replace("/apps/web", "/evil/web"))
    assert rotate(fleet, "--journal", str(journal)).code == 0
    client = fleet.client(grafeas_v1.GrafeasClient)
    uris = {each.resource_uri for each in client.list_note_occurrences(name=NOTE)}
    assert uris == {f"https://{image}" for image in IMAGES}


# Reports


def test_githubs_summary_has_the_counts_and_what_was_refused(
    fleet: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    [stranger] = names(1, start=1000)
    assert rotate(fleet, "--unverified", source=[IMAGES[0], stranger]).code == 0
    assert rotate(fleet, source=[*IMAGES, names(1, start=2000)[0]]).code == 3
    text = summary.read_text()
    assert text.startswith("**An emulator said this")
    assert "<th>Unverified</th>" in text
    assert "<td><code>1</code></td></tr>" in text, "one of them"
    assert "<td><code>11</code></td><td><code>1</code></td><td><code>1</code></td>" in text
    assert names(1, start=2000)[0] in text


def test_a_report_has_every_image(fleet: World, tmp_path: Path) -> None:
    html, markdown = tmp_path / "report.html", tmp_path / "report.md"
    strangers = names(1, start=1000)
    assert rotate(fleet, "--report", str(html), source=[*IMAGES, *strangers]).code == 3
    text = html.read_text()
    assert strangers[0].rpartition("@sha256:")[2] in text
    assert IMAGES[0].rpartition("@sha256:")[2] in text
    assert rotate(fleet, "--report", str(markdown)).code == 0
    assert "<table>" in markdown.read_text()


def test_receipts_are_those_of_attest(fleet: World, tmp_path: Path) -> None:
    """Also of what existed before, where they are asked for."""
    lines = tmp_path / "r.jsonl"
    assert fleet.attest("--kms-key-version", NEW, image=IMAGES[0]).code == 0
    known = fleet.attest("--kms-key-version", NEW, image=IMAGES[0]).receipt
    assert rotate(fleet, "--receipts", str(lines)).code == 0
    receipts = {each["image"]: each for each in map(json.loads, lines.read_text().splitlines())}
    assert set(receipts) == set(IMAGES)
    mine = receipts[IMAGES[0]]
    assert {key: mine[key] for key in mine if key != "origin"} == {
        key: known[key] for key in known if key != "origin"
    }
    folder = tmp_path / "all"
    folder.mkdir()
    assert rotate(fleet, "--receipts", str(folder)).code == 0
    [made] = folder.iterdir()
    assert len(made.read_text().splitlines()) == 12


def shards(count: int) -> Iterator[str]:
    return (f"{number}/{count}" for number in range(1, count + 1))


def test_every_image_is_in_exactly_one_shard(fleet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    created = 0
    for index, shard in enumerate(shards(3)):
        # As Cloud Run numbers them, Batch, and Kubernetes.
        match index:
            case 0:
                result = rotate(fleet, "--shard", shard)
            case 1:
                monkeypatch.setenv("CLOUD_RUN_TASK_INDEX", "1")
                monkeypatch.setenv("CLOUD_RUN_TASK_COUNT", "3")
                result = rotate(fleet)
                monkeypatch.delenv("CLOUD_RUN_TASK_INDEX")
            case _:
                monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
                result = rotate(fleet, "--shards", "3", source=list(reversed(IMAGES)))
        assert result.code == 0
        created += target(result)["created"]
    assert created == 12
    assert attested(fleet) == once(IMAGES, OLD, NEW)
