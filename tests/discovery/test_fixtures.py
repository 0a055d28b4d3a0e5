"""Records as the tools write them: the folders of `fixtures`, each with its source."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from step.discovery.formats import Format
from step.discovery.layout import read_layout
from step.discovery.record import Record
from step.discovery.records import parse_record
from step.errors import BadInput

FIXTURES = Path(__file__).parent / "fixtures"
APPS = "europe-docker.pkg.dev/my-project/apps"


def digest_of(what: str) -> str:
    """The records that no tool wrote have the digests of these texts."""
    return f"sha256:{hashlib.sha256(what.encode()).hexdigest()}"


def read(name: str) -> Record:
    path = FIXTURES / name
    return read_layout(path, name) if path.is_dir() else parse_record(path.read_text(), name)


def shown(record: Record) -> list[tuple[str, list[str]]]:
    return [(str(image.digest), [str(name) for name in image.names]) for image in record.images]


def pushed_to(name: str) -> str:
    """Registry and repository that `make.py` pushed to; its port was free by chance."""
    [image] = json.loads((FIXTURES / "docker" / "inspect.json").read_text())
    return f"{image['RepoDigests'][0].partition('/')[0]}/{name}"


@pytest.mark.parametrize(
    ("name", "form", "repository", "same_as"),
    [
        ("buildah/digestfile", Format.DIGEST, None, "skopeo/inspect.json"),
        ("buildah/index.digestfile", Format.DIGEST, None, "skopeo/index.inspect.json"),
        ("buildah/layout", Format.LAYOUT, None, "buildah/digestfile"),
        ("buildah/named-layout", Format.LAYOUT, "apps/web", "buildah/index.digestfile"),
        ("skopeo/digestfile", Format.DIGEST, None, "skopeo/index.inspect.json"),
        ("skopeo/inspect.json", Format.SKOPEO, "apps/web", "buildah/digestfile"),
        ("skopeo/index.inspect.json", Format.SKOPEO, "apps/web", "buildah/index.digestfile"),
        ("skopeo/layout", Format.LAYOUT, None, "buildah/index.digestfile"),
        ("podman/digestfile", Format.DIGEST, None, "podman/digestfile"),
        ("docker/inspect.json", Format.INSPECT, "apps/docker", "docker/repo-digests.txt"),
        ("docker/repo-digests.txt", Format.REFERENCES, "apps/docker", "docker/inspect.json"),
    ],
)
def test_made_by_the_tool(name: str, form: Format, repository: str | None, same_as: str) -> None:
    """Two tools that looked at one push say the same."""
    record = read(name)
    assert record.source == form.called(name)
    [image] = record.images
    assert image.digest == read(same_as).images[0].digest
    names = [] if repository is None else [pushed_to(repository)]
    assert [str(each) for each in image.names] == names


WEB = (digest_of("web"), [f"{APPS}/web"])
DB = (digest_of("db"), [f"{APPS}/db"])
ALONE: tuple[str, list[str]] = (digest_of("web"), [])
INDEX, AMD64, ARM64 = (
    (digest_of(f"web {which}"), [f"{APPS}/web"]) for which in ("index", "amd64", "arm64")
)


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("buildx/metadata.json", Format.BUILDX, [WEB]),
        ("buildx/bake.metadata.json", Format.BAKE, [DB, WEB]),
        (
            "buildx/two-registries.metadata.json",
            Format.BUILDX,
            [(digest_of("web"), [f"{APPS}/web", "docker.io/me/web"])],
        ),
        ("kaniko/digest-file", Format.DIGEST, [ALONE]),
        (
            "kaniko/image-name-with-digest-file",
            Format.REFERENCES,
            [WEB, (digest_of("web"), ["index.docker.io/me/web"])],
        ),
        ("kaniko/image-name-tag-with-digest-file", Format.REFERENCES, [WEB]),
        ("kaniko/images", Format.IMAGE_LINES, [WEB]),
        ("ko/image-refs", Format.REFERENCES, [INDEX, AMD64, ARM64]),
        ("apko/image-refs", Format.REFERENCES, [AMD64, ARM64, INDEX]),
        ("jib/jib-image.json", Format.JIB, [WEB]),
        ("jib/jib-image.digest", Format.DIGEST, [ALONE]),
        ("skaffold/build.json", Format.SKAFFOLD, [WEB, DB]),
        ("pack/report.toml", Format.PACK, [WEB]),
        ("rules_oci/image.digest", Format.DIGEST, [ALONE]),
        ("crane/digest", Format.DIGEST, [ALONE]),
        ("crane/full-ref", Format.REFERENCES, [WEB]),
        ("goreleaser/artifacts.json", Format.GORELEASER, [AMD64, ARM64, INDEX]),
    ],
)
def test_written_from_the_format(
    name: str, form: Format, expected: list[tuple[str, list[str]]]
) -> None:
    record = read(name)
    assert record.source == form.called(name)
    assert shown(record) == expected


def test_goreleasers_two_files_say_the_same() -> None:
    digests, artifacts = read("goreleaser/digests.txt"), read("goreleaser/artifacts.json")
    assert digests.source == Format.CHECKSUMS.called("goreleaser/digests.txt")
    assert sorted(shown(digests)) == sorted(shown(artifacts))


def test_cloud_builds_own_record() -> None:
    record = read("cloud-build/build.json")
    assert record.source == Format.CLOUD_BUILD.called("cloud-build/build.json")
    assert record.origin.build
    assert len(record.images) == 2


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("app", "docker.io/library/app"),
        ("me/app", "docker.io/me/app"),
        ("localhost/app", "localhost/app"),
        ("localhost:5000/app", "localhost:5000/app"),
        ("gcr.io/p/app", "gcr.io/p/app"),
    ],
)
def test_docker_leaves_its_own_registry_out(reference: str, name: str) -> None:
    digest = digest_of("web")
    for document in (
        [{"Id": digest_of("config"), "RepoDigests": [f"{reference}@{digest}"]}],
        {"Id": digest_of("config"), "RepoDigests": [f"{reference}@{digest}"]},
        [f"{reference}@{digest}"],
        [{"name": f"{reference}:1", "type": "Docker Image", "extra": {"Digest": digest}}],
    ):
        record = parse_record(json.dumps(document), "r")
        assert shown(record) == [(digest, [name])]


def test_an_image_that_is_inspected_twice_is_one() -> None:
    [image] = json.loads((FIXTURES / "docker" / "inspect.json").read_text())
    record = parse_record(json.dumps([image, image]), "r")
    assert len(record.images) == 1
    assert not record.one_of


@pytest.mark.parametrize(
    "document",
    [
        {"builds": [{"tag": "x"}]},
        {"builds": {}},
        {"Id": "x"},
        [{"Id": "x"}],
        [{"name": "x"}],
        {"name": "x", "digest": "y", "more": 1},
    ],
)
def test_what_only_looks_like_a_record(document: object) -> None:
    with pytest.raises(BadInput, match="JSON of an unknown shape"):
        parse_record(json.dumps(document), "r")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"Id": "x", "RepoDigests": "y"}, "RepoDigests is not a list of texts"),
        ({"Id": "x", "RepoDigests": [1]}, "RepoDigests is not a list of texts"),
        ({"Digest": 1, "RepoTags": [], "Layers": [], "Name": "gcr.io/a"}, "Digest is not text"),
        (
            {"image": 1, "imageId": "x", "imageDigest": "y", "imagePushed": True},
            "image is not text",
        ),
    ],
)
def test_a_field_of_another_type(document: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_record(json.dumps(document), "r")


def test_lines_of_json_are_all_of_images() -> None:
    line = json.dumps({"name": "gcr.io/p/app:1", "digest": digest_of("web")})
    with pytest.raises(BadInput, match="not whole JSON"):
        parse_record(f"{line}\n{{}}\n", "r")


def test_every_folder_says_who_made_it() -> None:
    for folder in (path for path in FIXTURES.iterdir() if path.is_dir()):
        if folder.name == "__pycache__" or (folder / "SOURCE.md").is_file():
            continue
        source = json.loads((folder / "SOURCE.json").read_text())
        assert source["tool"] == folder.name
        assert source.keys() in ({"tool", "version"}, {"tool", "written_from"})


def test_an_image_published_and_to_be_published_is_one_in_either_order() -> None:
    to_be = {"name": "r.io/a:1", "type": "Docker Image"}
    done = to_be | {"extra": {"Digest": "sha256:" + "a" * 64}}
    for entries in ([to_be, done], [done, to_be]):
        [image] = parse_record(json.dumps(entries), "r").images
        assert image.digest.hex == "a" * 64


def test_one_of_several_inspected_images_in_two_repositories_needs_a_choice() -> None:
    digest = "sha256:" + "a" * 64
    two = {"Id": digest, "RepoDigests": [f"r.io/a@{digest}", f"r.io/b@{digest}"]}
    each = {"Id": digest, "RepoDigests": [f"r.io/c@{digest}"]}
    for images in ([two, each], [each, two]):
        assert parse_record(json.dumps(images), "r").one_of
    # Without a digest of its own beside it, an Id in another form is not podman's.
    assert not parse_record(json.dumps(each | {"Id": "a" * 64}), "r").one_of
