"""Tags, existence and platforms, asked of a real registry about images that a real tool pushed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from step.model.image import Digest, ImageRef
from tests.registries import Pushed, Registry
from tests.world import ATTESTOR, World, kms_seed

pytestmark = pytest.mark.timeout(300)


def platforms(registry: Registry, pushed: Pushed) -> dict[str, str]:
    """The digests of an index by architecture, as the registry itself lists them."""
    index = json.loads(registry.manifest(pushed.repository, pushed.tag).body)
    return {each["platform"]["architecture"]: each["digest"] for each in index["manifests"]}


def images(world: World, *arguments: str) -> list[dict[str, Any]]:
    """What `discover` finds, without an error."""
    result = world.run("discover", *arguments, "--format", "json")
    document = json.loads(result.out)
    assert document["errors"] == []
    actual: list[dict[str, Any]] = document["images"]
    return actual


def test_a_tag_is_resolved_to_what_was_pushed(kms_world: World, pushed: Pushed) -> None:
    [image] = images(kms_world, f"{pushed.name}:{pushed.tag}", "--resolve-tags")
    assert image["digest"] == pushed.digest
    assert image["origin"]["tag"] == pushed.tag


def test_the_receipt_says_that_it_was_a_tag(
    make_world: Callable[..., World], pushed: Pushed
) -> None:
    world = make_world(kms_seed())
    arguments = ["--attestor", ATTESTOR, "--resolve-tags", "--format", "json"]
    receipt = world.run("attest", f"{pushed.name}:{pushed.tag}", *arguments).receipt
    assert receipt["digest"] == pushed.digest
    assert receipt["origin"]["tag"] == pushed.tag


def test_an_index_is_attested_with_all_its_platforms(
    make_world: Callable[..., World], registry: Registry, pushed_index: Pushed
) -> None:
    world = make_world(kms_seed())
    arguments = ["--attestor", ATTESTOR, "--platforms", "all", "--format", "json"]
    result = world.run("attest", pushed_index.image, *arguments)
    assert result.code == 0
    digests = [receipt["digest"] for receipt in result.document["receipts"]]
    children = platforms(registry, pushed_index)
    assert digests[0] == pushed_index.digest
    assert sorted(digests[1:]) == sorted(children.values())
    assert len(children) == 2


def test_only_the_platforms_that_were_named(
    kms_world: World, registry: Registry, pushed_index: Pushed
) -> None:
    actual = images(kms_world, pushed_index.image, "--platforms", "linux/arm64")
    children = platforms(registry, pushed_index)
    assert [each["digest"] for each in actual] == [pushed_index.digest, children["arm64"]]
    sources = [each["origin"]["source"] for each in actual]
    assert sources == ["the reference given", f"platform of {pushed_index.digest}, {sources[0]}"]
    missing = kms_world.run("discover", pushed_index.image, "--platforms", "linux/riscv64")
    assert missing.code != 0
    assert "linux/arm64" in missing.err


def test_a_digest_that_the_registry_has_and_one_that_it_has_not(
    kms_world: World, pushed: Pushed
) -> None:
    [actual] = images(kms_world, pushed.image, "--check-registry")
    assert actual["digest"] == pushed.digest
    absent = ImageRef.parse(pushed.image).name.at(Digest("e" * 64))
    result = kms_world.run("discover", str(absent), "--check-registry")
    assert result.code == 5
    assert "e" * 64 in result.err


def test_a_config_is_not_an_image(kms_world: World, registry: Registry, pushed: Pushed) -> None:
    """What `docker images --no-trunc` shows as an image's id is the digest of its config."""
    config = json.loads(registry.manifest(pushed.repository, pushed.tag).body)["config"]["digest"]
    result = kms_world.run("discover", f"{pushed.name}@{config}", "--check-registry")
    assert result.code != 0
    assert "error: " in result.err


def test_nothing_is_signed_when_the_registry_has_not_got_it(
    make_world: Callable[..., World], pushed: Pushed
) -> None:
    world = make_world(kms_seed())
    absent = ImageRef.parse(pushed.image).name.at(Digest("e" * 64))
    arguments = ["--attestor", ATTESTOR, "--check-registry", "--format", "json"]
    result = world.run("attest", str(absent), *arguments)
    assert (result.code, result.error["exit_code"]) == (5, 5)
    assert world.methods == []
