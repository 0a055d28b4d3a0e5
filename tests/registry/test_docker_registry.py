"""A real registry that wants a password, with images that a real build tool pushed to it."""

from __future__ import annotations

import base64
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from step.errors import NotAllowed, NotFound, Refused
from step.model.image import Digest, ImageName, ImageRef, ImageTag
from step.registry.client import Platforms, Registry
from step.registry.credentials import Keychain
from tests.conftest import REQUIRED
from tests.judges import FindTool
from tests.registries import LOGIN, USERS, Builder, CannotBuild, Pushed, serve
from tests.registry.hostile import OCI_INDEX, OCI_MANIFEST, digest
from tests.world import FakeClock


@pytest.fixture(scope="module")
def builder(tool: FindTool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """A build tool that has logged in to a registry."""
    program, buildah = tool("docker-registry"), tool("buildah")
    with serve(program, tmp_path_factory.mktemp("registry"), USERS) as running:
        yield Builder(buildah, tmp_path_factory.mktemp("buildah"), running, LOGIN)


@pytest.fixture(scope="module")
def index(builder: Builder) -> Pushed:
    """An index of two images, as the build tool pushed it."""
    try:
        return builder.push_index("team/app", "v1", "hello\n", "amd64", "arm64")
    except CannotBuild as error:
        if "buildah" in os.environ.get(REQUIRED, "").split(","):
            raise
        pytest.skip(str(error))


@pytest.fixture
def registry(builder: Builder) -> Registry:
    """Our own client, logged in as docker would be."""
    return client(builder, LOGIN)


def test_all_that_has_a_tag_is_listed(registry: Registry, builder: Builder, index: Pushed) -> None:
    other = builder.push_image("team/app", "second", "other\n")
    name = ImageRef.parse(index.image).name
    listed = {str(image) for image in registry.tagged(name)}
    assert {index.image, other.image} <= listed
    with pytest.raises(NotFound):
        list(registry.tagged(ImageName.parse(f"{name}-none")))


def client(builder: Builder, login: str) -> Registry:
    auth = base64.b64encode(login.encode()).decode()
    config = json.dumps({"auths": {builder.registry.address: {"auth": auth}}})
    return Registry(Keychain(config), FakeClock())


def ask(builder: Builder, path: str, put: bytes | None = None, kind: str = "") -> bytes:
    """Speak to the registry with nothing of ours."""
    request = urllib.request.Request(f"http://{builder.registry.address}/v2/{path}", put)
    request.add_header("Authorization", f"Basic {base64.b64encode(LOGIN.encode()).decode()}")
    request.add_header("Accept", f"{OCI_INDEX}, {OCI_MANIFEST}")
    if put is not None:
        request.method = "PUT"
        request.add_header("Content-Type", kind)
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
        content: bytes = answer.read()
    return content


def listed(builder: Builder, image: Pushed) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        ask(builder, f"{image.repository}/manifests/{image.digest}")
    )
    return document


def test_a_tag_is_resolved_to_what_the_build_tool_pushed(registry: Registry, index: Pushed) -> None:
    assert str(registry.resolve(ImageTag.parse(f"{index.name}:{index.tag}"))) == index.digest


def test_an_index_is_there_with_its_platforms(
    registry: Registry, index: Pushed, builder: Builder
) -> None:
    image = ImageRef.parse(index.image)
    actual = registry.manifest(image)
    entries = listed(builder, index)["manifests"]
    assert actual.digest == image.digest
    assert [str(child.digest) for child in actual.children or ()] == [
        entry["digest"] for entry in entries
    ]
    both = registry.expand(image, Platforms.parse("all"))
    assert [str(each.digest) for each in both] == [
        index.digest,
        *(entry["digest"] for entry in entries),
    ]
    assert all(each.name == image.name for each in both)
    for child in both[1:]:
        assert registry.manifest(child).children is None
    [arm] = [entry for entry in entries if entry["platform"]["architecture"] == "arm64"]
    assert registry.expand(image, Platforms.parse("linux/arm64")) == (
        image,
        image.name.at(Digest.parse(arm["digest"])),
    )


def test_an_attestation_manifest_is_no_platform(
    registry: Registry, index: Pushed, builder: Builder
) -> None:
    """As buildx pushes since provenance is on by default (docker/build-push-action 1461)."""
    document = listed(builder, index)
    first = document["manifests"][0]
    provenance = json.loads(ask(builder, f"team/app/manifests/{first['digest']}"))
    body = json.dumps({**provenance, "annotations": {"of": "provenance"}}).encode()
    ask(builder, f"team/app/manifests/{digest(body)}", body, OCI_MANIFEST)
    added = {
        "mediaType": OCI_MANIFEST,
        "digest": digest(body),
        "size": len(body),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": first["digest"],
        },
    }
    entries = [*document["manifests"], added]
    whole = json.dumps({**document, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    ask(builder, "team/app/manifests/attested", whole, OCI_INDEX)
    tag = ImageTag.parse(f"{index.name}:attested")
    image = tag.name.at(registry.resolve(tag))
    assert str(image.digest) == digest(whole)
    every = registry.expand(image, Platforms.parse("all"))
    assert [str(each.digest) for each in every[1:]] == [
        entry["digest"] for entry in document["manifests"]
    ]


def test_a_missing_manifest_does_not_exist(registry: Registry, index: Pushed) -> None:
    missing = ImageRef.parse(f"{index.name}@sha256:{'a' * 64}")
    with pytest.raises(NotFound, match="does not exist"):
        registry.manifest(missing)
    with pytest.raises(NotFound, match="does not exist"):
        registry.resolve(ImageTag.parse(f"{index.name}:v2"))
    with pytest.raises(NotFound, match="does not exist"):
        registry.resolve(ImageTag.parse(f"{index.name}-other:v1"))


@pytest.mark.parametrize("part", ["config", "layer"])
def test_an_image_id_is_a_config_and_no_manifest(
    registry: Registry, index: Pushed, builder: Builder, part: str
) -> None:
    """What docker build prints, and what `imageid` is (docker/build-push-action 461, 579)."""
    first = listed(builder, index)["manifests"][0]["digest"]
    document = json.loads(ask(builder, f"team/app/manifests/{first}"))
    wrong = (document["config"] if part == "config" else document["layers"][0])["digest"]
    with pytest.raises(Refused, match="no manifest but an image's config or layer") as caught:
        registry.manifest(ImageRef.parse(f"{index.name}@{wrong}"))
    assert "not an image id" in caught.value.hint


@pytest.mark.parametrize("login", ["ci:wrong", "nobody:correct horse"])
def test_a_wrong_password_is_not_allowed(builder: Builder, index: Pushed, login: str) -> None:
    with pytest.raises(NotAllowed, match="does not let team/app be read") as caught:
        client(builder, login).manifest(ImageRef.parse(index.image))
    assert f"docker login {builder.registry.address}" in caught.value.hint
    assert login.partition(":")[2] not in caught.value.message + caught.value.hint


def test_without_credentials_it_is_not_allowed(index: Pushed) -> None:
    with pytest.raises(NotAllowed, match="does not let team/app be read"):
        Registry(Keychain(), FakeClock()).manifest(ImageRef.parse(index.image))


@pytest.mark.parametrize("section", ["credHelpers", "credsStore"])
def test_a_credential_helper_logs_in(
    builder: Builder, index: Pushed, tmp_path: Path, section: str
) -> None:
    answer = json.dumps({"ServerURL": "", "Username": "ci", "Secret": "correct horse"})
    helper = tmp_path / "docker-credential-safe"
    helper.write_text(
        f"#!/bin/sh\ntest \"$(cat)\" = {builder.registry.address} && echo '{answer}'\n"
    )
    helper.chmod(0o755)
    named = {builder.registry.address: "safe"} if section == "credHelpers" else "safe"
    (tmp_path / "config.json").write_text(json.dumps({section: named}))
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DOCKER_CONFIG": str(tmp_path)}
    registry = Registry(Keychain.load(environ), FakeClock())
    image = ImageRef.parse(index.image)
    assert registry.manifest(image).digest == image.digest
