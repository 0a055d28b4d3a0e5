"""The journal: cut anywhere, forged, or lost, it costs work and never an attestation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from step.cloud.connection import Connection
from step.cloud.storage import Storage
from step.errors import BadInput, NotAllowed, NotFound, Refused
from step.journal import Ended, FileLines, Header, Journal, ObjectLines, Signed, journal_lines
from step.model.attestation import Attestation, Signature
from step.model.image import ImageRef
from step.model.names import StorageName
from step.model.shard import Shard
from tests.fleets import NEW, OLD, attest_old, attested, fleet_seed, names, once
from tests.world import ATTESTOR, FakeClock, World

HEADER = Header(("projects/p/attestors/a",), ("k",), "from_file=x", "1/1", True)


def signed(number: int) -> Signed:
    image = ImageRef.parse(names(1, number)[0])
    attestation = Attestation(b"payload \xff %d" % number, (Signature("k", bytes([number] * 9)),))
    return Signed(image, "projects/p/attestors/a", attestation)


def journal(path: Path) -> Journal:
    return Journal(FileLines(str(path), "--journal"), HEADER, str(path)).open()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_journal_cut_at_every_byte_of_its_last_record_goes_on(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    count = data.draw(st.integers(1, 4))
    entries = [signed(number) for number in range(count)]
    first = journal(path)
    for entry in entries:
        first.write([entry])
    first.close()
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(whole) + 1):
        path.write_bytes(whole[:cut])
        resumed = journal(path)
        kept = entries if cut == len(whole) else entries[:-1]
        assert list(resumed.signed()) == kept
        resumed.write([signed(9)])
        resumed.close()
        again = journal(path)
        assert list(again.signed()) == [*kept, signed(9)]
        again.close()


def test_a_journal_whose_first_line_was_torn_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = journal(path)
    first.write([signed(1)])
    first.close()
    for cut in range(path.read_bytes().index(b"\n") + 1):
        path.write_bytes(path.read_bytes()[:cut])
        again = journal(path)
        assert list(again.signed()) == []
        again.close()


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"signed": 7}', b'{"signed": "x"}', b"\xff"])
def test_a_line_in_the_middle_that_cannot_be_read_is_told(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    first = journal(path)
    first.write([signed(1)])
    first.close()
    path.write_bytes(path.read_bytes() + line + b"\n" + b'{"ended": "x"}\n')
    again = journal(path)
    with pytest.raises(BadInput, match=r"--journal: line 3 of .* cannot be read"):
        list(again.signed())
    again.close()


@pytest.mark.parametrize(
    "change",
    [
        {"attestors": ("other",)},
        {"public_key_ids": ("other",)},
        {"source": "other"},
        {"shard": "2/2"},
        {"emulator": False},
    ],
    ids=str,
)
def test_another_header_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "journal.jsonl"
    first = journal(path)
    first.write([signed(1)])
    first.close()
    before = path.read_bytes()
    known = {name: getattr(HEADER, name) for name in Header.__slots__}
    lines = FileLines(str(path), "--journal")
    with pytest.raises(BadInput, match=f"its {next(iter(change))} differ"):
        Journal(lines, Header(**(known | change)), str(path)).open()
    lines.close()
    assert path.read_bytes() == before


def test_one_run_at_a_time_has_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = journal(path)
    with pytest.raises(BadInput, match="another run writes"):
        journal(path)
    first.close()
    journal(path).close()


def test_what_is_kept_is_written_with_the_next_batch(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = journal(path)
    first.keep(Ended("sha256:1", "a", "k", "stored", "o"))
    assert path.read_bytes() == b""
    first.write([signed(1)])
    assert len(path.read_bytes().splitlines()) == 3
    first.keep(Ended("sha256:2", "a", "k", "failed", error="no"))
    first.close()
    assert b'"error": "no"' in path.read_bytes().splitlines()[-1]


def test_a_folder_has_a_file_for_each_part(tmp_path: Path) -> None:
    storage = Storage(Connection(FakeClock(), {}, None))
    for number in (1, 2):
        lines, _ = journal_lines(str(tmp_path), Shard(number, 2), storage)
        lines.append(b"{}\n")
        lines.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "shard-00001-of-00002.jsonl",
        "shard-00002-of-00002.jsonl",
    ]


@pytest.mark.parametrize("path", ["/dev/null/x", "\0", "/proc/none/x"])
def test_a_journal_that_cannot_be_written_is_told(path: str) -> None:
    with pytest.raises(BadInput, match=r"--journal: .* cannot be written"):
        FileLines(path, "--journal")


# In Cloud Storage


@pytest.fixture
def storage(kms_world: World) -> Iterator[Storage]:
    emulator = kms_world.emulator
    environ = {"STORAGE_EMULATOR_HOST": f"http://{emulator.rest_address}"}
    made = Storage(Connection(kms_world.clock, environ, emulator.grpc_address))
    yield made
    made.close()


FOLDER = StorageName("bucket", "run/1")


def test_parts_are_written_once_and_read_in_order(storage: Storage) -> None:
    first = Journal(ObjectLines(storage, FOLDER), HEADER, str(FOLDER)).open()
    for number in range(12):
        first.write([signed(number)])
    first.close()
    again = Journal(ObjectLines(storage, FOLDER), HEADER, str(FOLDER)).open()
    assert list(again.signed()) == [signed(number) for number in range(12)]
    again.write([signed(12)])
    third = Journal(ObjectLines(storage, FOLDER), HEADER, str(FOLDER)).open()
    assert list(third.signed()) == [signed(number) for number in range(13)]


def test_a_lost_answer_is_ours_and_other_bytes_are_another_s(
    storage: Storage, kms_world: World
) -> None:
    kms_world.emulator.fail("InsertObject=DROP_ANSWER:1")
    one, other = (ObjectLines(storage, FOLDER) for _ in range(2))
    assert list(one.earlier()) == list(other.earlier()) == []
    one.append(b'{"a": 1}\n')
    assert kms_world.count("InsertObject") == 2
    other.append(b'{"a": 1}\n')
    one.append(b'{"b": 1}\n')
    with pytest.raises(Refused, match="is there already, with other bytes"):
        other.append(b'{"c": 1}\n')


def test_a_part_that_could_not_be_written_leaves_no_gap(storage: Storage, kms_world: World) -> None:
    """The next run would take its number for free, and that of the part behind for another's."""
    lines = ObjectLines(storage, FOLDER)
    lines.append(b'{"a": 1}\n')
    kms_world.emulator.fail("InsertObject=PERMISSION_DENIED:1")
    with pytest.raises(NotAllowed):
        lines.append(b'{"b": 1}\n')
    lines.append(b'{"c": 1}\n')
    again = ObjectLines(storage, FOLDER)
    again.append(b'{"d": 1}\n')
    assert list(ObjectLines(storage, FOLDER).earlier()) == [b'{"a": 1}', b'{"c": 1}', b'{"d": 1}']


@pytest.mark.parametrize("fault", ["UNAVAILABLE:2", "RESOURCE_EXHAUSTED:2", "INTERNAL:1"])
def test_what_fails_in_passing_is_repeated(storage: Storage, kms_world: World, fault: str) -> None:
    for method in ("InsertObject", "GetObject", "ListObjects"):
        kms_world.emulator.fail(f"{method}={fault}")
    name = FOLDER.child("x")
    storage.create(name, b"x")
    assert storage.read(name) == b"x"
    assert list(storage.below(FOLDER)) == [name]


def test_what_is_not_there_is_told(storage: Storage) -> None:
    with pytest.raises(NotFound, match="gs://bucket/run/1/none does not exist"):
        storage.read(FOLDER.child("none"))
    assert list(storage.below(StorageName("bucket", "nothing"))) == []


@pytest.mark.parametrize("text", ["gs://", "gs://b", "gs://bucket/", "gs://B/x", "s3://bucket/x"])
def test_a_name_in_storage_has_a_bucket_and_a_path(text: str) -> None:
    with pytest.raises(BadInput, match="--receipts"):
        StorageName.parse(text, "--receipts")


@pytest.mark.parametrize(
    ("environ", "emulator"),
    [
        ({"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}, None),
        ({}, "127.0.0.1:1"),
        ({"STORAGE_EMULATOR_HOST": "http://evil.example:1"}, "127.0.0.1:1"),
    ],
)
def test_an_emulator_never_passes_for_google(environ: dict[str, str], emulator: str | None) -> None:
    storage = Storage(Connection(FakeClock(), environ, emulator))
    with pytest.raises(BadInput, match="EMULATOR_HOST is"):
        storage.read(FOLDER)


def test_a_run_with_its_journal_in_storage_goes_on(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(fleet_seed())
    images = names(30)
    attest_old(world, images)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{world.emulator.rest_address}")
    rotate = (
        *("reattest", "--from-attestor", ATTESTOR, "--attestor", ATTESTOR, "--yes"),
        *("--kms-key-version", NEW, "--journal", "gs://bucket/j", "--receipts", "gs://bucket/r"),
    )
    world.emulator.fail("BatchCreateOccurrences=UNAVAILABLE:60")
    assert world.run(*rotate).code == 8
    world.emulator.heal()
    before = world.count("AsymmetricSign")
    assert world.run(*rotate).code == 0
    assert world.count("AsymmetricSign") - before < 30
    assert attested(world) == once(images, OLD, NEW)
