"""What a build left in its workspace is found where it usually is, and nowhere else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from step.discovery.layout import read_layout
from step.discovery.record import Record
from step.discovery.workspace import LAYOUTS, RECORDS, search
from step.errors import BadInput

FIXTURES = Path(__file__).parent / "fixtures"
A, B = ("sha256:" + digit * 64 for digit in "ab")
APP = "eu.gcr.io/p/app"
METADATA = json.dumps({"containerimage.digest": A, "image.name": f"{APP}:1"})


def put(workspace: Path, **files: str) -> Path:
    for name, text in files.items():
        path = workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return workspace


def sources(workspace: Path) -> list[str]:
    return [record.source for record in search(workspace)]


@pytest.mark.parametrize(
    "place", [str(Path(folder, name)) for folder, names in RECORDS.items() for name in names]
)
def test_every_place_is_looked_at(tmp_path: Path, place: str) -> None:
    [record] = search(put(tmp_path, **{place: f"{APP}@{A}\n"}))
    assert record.source == f"{place} (references by digest)"
    assert str(record.images[0].digest) == A


@pytest.mark.parametrize("place", LAYOUTS)
def test_every_place_of_a_layout_is_looked_at(tmp_path: Path, place: str) -> None:
    shutil.copytree(FIXTURES / "skopeo" / "layout", tmp_path / place, dirs_exist_ok=True)
    assert sources(tmp_path) == [f"{place} (OCI layout)"]


@pytest.mark.parametrize(
    ("tool", "place", "expected"),
    [
        ("jib", "target", "target/jib-image.json (jib)"),
        ("jib", "build", "build/jib-image.json (jib)"),
        ("goreleaser", "dist", "dist/artifacts.json (goreleaser artifacts)"),
    ],
)
def test_two_files_of_one_build_are_one_record(
    tmp_path: Path, tool: str, place: str, expected: str
) -> None:
    shutil.copytree(FIXTURES / tool, tmp_path / place)
    assert sources(tmp_path) == [expected]


@pytest.mark.parametrize("first", ["digest", "metadata.json"])
def test_of_two_records_that_say_the_same_the_one_with_names_counts(
    tmp_path: Path, first: str
) -> None:
    """Whichever is looked at first."""
    texts = {"digest": A, "metadata.json": METADATA, "digest.txt": f"{A}\n"}
    put(tmp_path, **texts)
    if first == "digest":
        (tmp_path / "build-metadata.json").write_text(METADATA)
        (tmp_path / "metadata.json").unlink()
    [record] = search(tmp_path)
    assert "docker buildx build" in record.source


def test_a_digest_alone_gives_way_to_one_with_a_name_that_is_found_later(tmp_path: Path) -> None:
    put(tmp_path, digest=A, **{"image-refs": f"{APP}@{A}\n"})
    assert sources(tmp_path) == ["image-refs (references by digest)"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("digest", B),
        ("image-refs", f"{APP}@{A}\n{APP}@{B}\n"),
        ("image-refs", f"docker.io/me/app@{A}\n"),
        ("dist/digests.txt", f"{B[7:]}  {APP}:1\n"),
    ],
)
def test_several_records_are_all_named(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        search(put(tmp_path, **{"metadata.json": METADATA, name: text}))
    message = caught.value.message
    assert message.startswith("the workspace holds several records: ")
    assert f"metadata.json (docker buildx build): {A}" in message
    assert f"{name} (" in message
    assert "--from-file" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.json", '{"name": "my-app", "version": "1.0"}'),
        ("metadata.json", "not json"),
        ("metadata.json", "{"),
        ("build.json", '{"builds": 3}'),
        ("artifacts.json", "[1, 2]"),
        ("dist/artifacts.json", '[{"name": "app", "type": "Binary"}]'),
        ("report.toml", "[tool]\nname = 'x'\n"),
        ("digest.txt", "A digest of this week's news.\n"),
        ("index.json", '{"manifests": []}'),
        ("other.json", METADATA),
        ("sub/metadata.json", METADATA),
        ("target/metadata.json", METADATA),
        ("jib-image.id", A),
        ("oci/oci-layout", '{"imageLayoutVersion": "1.0.0"}'),
        ("oci/index.json", '{"manifests": []}'),
    ],
)
def test_what_is_no_record_or_not_at_its_place_is_passed_over(
    tmp_path: Path, name: str, text: str
) -> None:
    assert search(put(tmp_path, **{name: text})) == ()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.json", '{"containerimage.digest": ""}', "metadata.json: there is no"),
        ("digest", "", "digest: the record is empty: nothing was pushed"),
        ("image-digest.txt", A[:19], "image-digest.txt: .* 12 hexadecimal digits"),
        ("dist/artifacts.json", '[{"name": "a", "type": "Docker Image"}]', "was not pushed"),
        ("oci-layout", "{}", "does not say imageLayoutVersion"),
    ],
)
def test_a_record_that_is_wrong_is_an_error(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    put(tmp_path, **{name: text, "index.json": "{}"})
    with pytest.raises(BadInput, match=message):
        search(tmp_path)


def test_a_link_within_the_workspace_is_followed(tmp_path: Path) -> None:
    put(tmp_path, **{"out/digest-of-web": A})
    (tmp_path / "digest").symlink_to("out/digest-of-web")
    assert sources(tmp_path) == ["digest (digest alone)"]


def test_a_link_that_leaves_the_workspace_is_not_followed(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    put(tmp_path, outside=A, **{"else/jib-image.digest": A})
    (workspace / "digest").symlink_to(tmp_path / "outside")
    (workspace / "target").symlink_to(tmp_path / "else")
    (workspace / "digest.txt").symlink_to("nowhere")
    shutil.copytree(FIXTURES / "skopeo" / "layout", tmp_path / "layout")
    (workspace / "oci").symlink_to(tmp_path / "layout")
    assert search(workspace) == ()


def test_the_workspace_itself_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path / "real", digest=A)
    (tmp_path / "link").symlink_to("real")
    assert sources(tmp_path / "link") == ["digest (digest alone)"]


def test_what_is_no_plain_file_or_no_text_or_too_large_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "digest").mkdir()
    os.mkfifo(tmp_path / "digest.txt")
    (tmp_path / "image-digest").write_bytes(b"\xff\xfe" + A.encode("utf-16-le"))
    (tmp_path / "metadata.json").write_text(METADATA.ljust(10 * 1024 * 1024 + 1))
    assert search(tmp_path) == ()


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "digest").write_bytes(b"\xef\xbb\xbf" + A.encode())
    [record] = search(tmp_path)
    assert isinstance(record, Record)
    assert str(record.images[0].digest) == A


def test_a_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    put(tmp_path, digest=A)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadInput, match="digest cannot be read: Permission denied"):
        search(tmp_path)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_workspace_that_is_no_folder(tmp_path: Path, name: str) -> None:
    put(tmp_path, file="")
    with pytest.raises(BadInput, match="is not a folder"):
        search(tmp_path / name)


def test_an_empty_workspace_holds_nothing(tmp_path: Path) -> None:
    assert search(tmp_path) == ()


@pytest.mark.parametrize("place", ["digest", "oci/oci-layout"])
def test_a_place_that_cannot_be_looked_at_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """As a folder whose files only another user may see."""
    there = Path.is_file

    def closed(path: Path) -> bool:
        if path == tmp_path / place:
            raise PermissionError(13, "Permission denied")
        return there(path)

    monkeypatch.setattr(Path, "is_file", closed)
    with pytest.raises(BadInput, match=f"{place} cannot be read: Permission denied"):
        search(tmp_path)


def test_a_layout_that_cannot_be_looked_at_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="oci cannot be read: File name too long"):
        read_layout(tmp_path / ("x" * 5000), "oci")
