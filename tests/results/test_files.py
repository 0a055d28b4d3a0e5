"""Files that others named, Cloud Build's among them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from step.errors import BadInput
from step.results import cloudbuild
from step.results.document import document
from step.results.files import append, write_whole
from tests.results.reports import CREATED, REFUSED, report


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def private_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("private_umask")
def test_written_whole_with_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "receipts.json"
    for text in ("a longer text …\n", "short\r\n"):
        write_whole(str(file), text)
        assert file.read_bytes() == text.encode()
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert listed(tmp_path) == ["receipts.json"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    write_whole(str(link), "x")
    assert link.is_symlink()
    assert target.read_text() == "x"


def test_a_reader_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    write_whole(str(file), "old")
    with file.open() as reader:
        write_whole(str(file), "new")
        assert reader.read() == "old"
    assert file.read_text() == "new"


@pytest.mark.parametrize("write", [write_whole, append])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no/such/folder", "No such file or directory"),
        ("file/x", "Not a directory"),
        ("a\0b", "it is not a path"),
        ("folder", ""),
    ],
)
def test_what_cannot_be_written_is_named(
    write: object, name: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    path = str(tmp_path / name)
    with pytest.raises(BadInput) as caught:
        write(path, "x")  # type: ignore[operator]
    assert repr(path) in caught.value.message
    assert reason in caught.value.message
    assert "a folder that exists" in caught.value.hint
    assert listed(tmp_path) == ["file", "folder"]


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(BadInput, match="is not a regular file"):
        write_whole(str(pipe), "x")
    assert pipe.is_fifo()


def test_cloud_build_gets_the_document(tmp_path: Path) -> None:
    whole = report(CREATED, REFUSED, build="c5f03cc3")
    cloudbuild.publish(whole, {"BUILDER_OUTPUT": str(tmp_path)})
    text = (tmp_path / "output").read_text()
    assert json.loads(text) == json.loads(document(whole))
    assert "\n" not in text


def test_cloud_build_keeps_all_that_it_is_given(tmp_path: Path) -> None:
    cloudbuild.publish(report(*[CREATED] * 150), {"BUILDER_OUTPUT": str(tmp_path)})
    text = (tmp_path / "output").read_text()
    assert len(text) <= 50_000
    assert len(json.loads(text)["receipts"]) == 150


def test_elsewhere_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cloudbuild.publish(report(CREATED), {})
    assert listed(tmp_path) == []
