"""Folders that hold images: what their index lists, and how they can be wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.discovery.formats import UnknownFormat
from step.discovery.layout import read_layout
from step.discovery.record import RecordedImage
from step.errors import BadInput
from step.model.image import Digest, ImageName

FIXTURES = Path(__file__).parent / "fixtures"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
A, B = ("sha256:" + digit * 64 for digit in "ab")
VERSION = {"imageLayoutVersion": "1.0.0"}


def entry(digest: str = A, kind: str = INDEX, /, **annotations: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": 2, "annotations": annotations}


def written(folder: Path, index: object, marker: object = VERSION) -> Path:
    for name, content in (("index.json", index), ("oci-layout", marker)):
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text)
    return folder


def layout(folder: Path, *entries: dict[str, Any]) -> Path:
    return written(folder, {"schemaVersion": 2, "manifests": entries})


def named(name: str) -> dict[str, str]:
    return {"org.opencontainers.image.ref.name": name}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([entry()], [(A, [])]),
        ([{"mediaType": MANIFEST, "digest": A}], [(A, [])]),
        ([entry(**named("v1"))], [(A, [])]),
        ([entry(**named("gcr.io/p/app:v1"))], [(A, ["gcr.io/p/app"])]),
        ([entry(**named("app/web"))], [(A, [])]),
        (
            [entry(**{"io.containerd.image.name": "docker.io/library/app:1"}, **named("1"))],
            [(A, ["docker.io/library/app"])],
        ),
        # Two tags of one image are two entries.
        (
            [entry(**named("gcr.io/p/app:1")), entry(**named("gcr.io/p/app:2"))],
            [(A, ["gcr.io/p/app"])],
        ),
        (
            [entry(**named("gcr.io/p/app:1")), entry(**named("gcr.io/p/web:1"))],
            [(A, ["gcr.io/p/app", "gcr.io/p/web"])],
        ),
        ([entry(A), entry(B, MANIFEST)], [(A, []), (B, [])]),
        ([entry(A), entry(B, **{"vnd.docker.reference.type": "attestation-manifest"})], [(A, [])]),
        ([entry(A), entry(B) | {"artifactType": "application/spdx+json"}], [(A, [])]),
        ([entry(A) | {"annotations": None}], [(A, [])]),
    ],
)
def test_every_image_is_found(
    tmp_path: Path, entries: list[dict[str, Any]], expected: list[tuple[str, list[str]]]
) -> None:
    record = read_layout(layout(tmp_path, *entries), "oci")
    assert record.source == "oci (OCI layout)"
    assert record.images == tuple(
        RecordedImage(Digest.parse(digest), tuple(map(ImageName.parse, names)))
        for digest, names in expected
    )


@pytest.mark.parametrize(
    ("index", "marker", "message"),
    [
        ("{", VERSION, "index.json is not whole JSON"),
        ("[" * 100_000, VERSION, "index.json is not whole JSON"),
        ('{"manifests": [], "manifests": []}', VERSION, "index.json is not whole JSON"),
        ([], VERSION, "index.json is not an object"),
        ({}, VERSION, "index.json lists no manifests"),
        ({"manifests": [1]}, VERSION, "index.json lists no manifests"),
        ({"manifests": []}, VERSION, "index.json lists no image"),
        ({"manifests": [entry(A) | {"artifactType": "x"}]}, VERSION, "lists no image"),
        ({"manifests": [entry("")]}, VERSION, "the digest is empty"),
        ({"manifests": [entry(A[:19])]}, VERSION, "it has 12 hexadecimal digits"),
        ({"manifests": [entry() | {"digest": 1}]}, VERSION, "digest is not text"),
        (
            {"manifests": [entry(A, "application/vnd.oci.image.config.v1+json")]},
            VERSION,
            "not as a manifest or an index",
        ),
        ({"manifests": [{"digest": A}]}, VERSION, "not as a manifest or an index"),
        (
            json.dumps({"manifests": [entry()]}).replace("a" * 64, "\\u0061" * 64),
            VERSION,
            "is written with escapes",
        ),
        ({"manifests": [entry()]}, {}, "oci-layout does not say imageLayoutVersion 1.0.0"),
        (
            {"manifests": [entry()]},
            {"imageLayoutVersion": "1.1.0"},
            "oci-layout does not say imageLayoutVersion 1.0.0",
        ),
        ({"manifests": [entry()]}, "", "oci-layout is not whole JSON"),
    ],
)
def test_a_layout_that_is_wrong(
    tmp_path: Path, index: object, marker: object, message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        read_layout(written(tmp_path, index, marker), "oci")
    assert caught.value.message.startswith("oci: ")
    assert message in caught.value.message
    assert caught.value.hint
    assert not isinstance(caught.value, UnknownFormat)


@pytest.mark.parametrize("missing", ["index.json", "oci-layout"])
def test_a_folder_that_is_no_layout(tmp_path: Path, missing: str) -> None:
    (layout(tmp_path, entry()) / missing).unlink()
    with pytest.raises(UnknownFormat, match=r"oci: the folder is no OCI layout"):
        read_layout(tmp_path, "oci")


def copied(folder: Path) -> tuple[Path, Path]:
    """A layout that buildah wrote, and its manifest."""
    shutil.copytree(FIXTURES / "buildah" / "layout", made := folder / "layout")
    [listed] = json.loads((made / "index.json").read_text())["manifests"]
    return made, made / "blobs" / "sha256" / listed["digest"].removeprefix("sha256:")


def test_a_manifest_that_was_changed_is_not_the_one_listed(tmp_path: Path) -> None:
    folder, manifest = copied(tmp_path)
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(BadInput, match=r"has another digest"):
        read_layout(folder, "oci")


def test_a_layout_may_leave_the_manifest_out(tmp_path: Path) -> None:
    folder, manifest = copied(tmp_path)
    expected = hashlib.sha256(manifest.read_bytes()).hexdigest()
    manifest.unlink()
    [image] = read_layout(folder, "oci").images
    assert image.digest.hex == expected


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b" " * (4 * 1024 * 1024 + 1)), "is over 4 MiB"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not whole JSON"),
    ],
)
def test_an_index_that_cannot_be_read(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    folder, _ = copied(tmp_path)
    spoil(folder / "index.json")
    with pytest.raises(BadInput, match=message):
        read_layout(folder, "oci")


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    folder = layout(tmp_path, entry())
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadInput, match="oci: oci-layout cannot be read: Permission denied"):
        read_layout(folder, "oci")


DESCRIPTORS = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.sampled_from([MANIFEST, INDEX, ""]) | st.text(),
        "digest": st.sampled_from([A, B, A.upper(), A[7:]]) | st.text() | st.none(),
        "annotations": st.none() | st.dictionaries(st.sampled_from(list(named(""))), st.text()),
    },
)


@given(
    st.binary()
    | st.builds(json.dumps, st.fixed_dictionaries({"manifests": st.lists(DESCRIPTORS)})).map(
        str.encode
    )
)
def test_any_bytes_are_digests_that_they_hold_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = layout(tmp_path_factory.mktemp("layout"))
    (folder / "index.json").write_bytes(data)
    try:
        record = read_layout(folder, "oci")
    except BadInput:
        return
    assert record.images
    assert all(image.digest.hex.encode() in data for image in record.images)
