"""What counts as an image, and which images of an index are meant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.errors import BadInput, NotFound, Refused, StepError, Unavailable
from step.registry.manifests import Manifest, Platform, Platforms, digest_of
from tests.registry.hostile import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    digest,
    entry,
    manifest,
)

BODIES = {name: manifest(name=name) for name in ("amd64", "arm64", "arm6", "arm7", "win1", "win2")}
PLATFORMS = {
    "amd64": "linux/amd64",
    "arm64": "linux/arm64/v8",
    "arm6": "linux/arm/v6",
    "arm7": "linux/arm/v7",
    "win1": "windows/amd64",
    "win2": "windows/amd64",
}
PROVENANCE = {"vnd.docker.reference.type": "attestation-manifest"}


def index(*entries: object, kind: str = OCI_INDEX, **more: object) -> bytes:
    return manifest(kind, manifests=list(entries), **more)


def full() -> bytes:
    entries = [entry(body, PLATFORMS[name]) for name, body in BODIES.items()]
    marked = entry(manifest(of="provenance"), "linux/amd64", annotations=PROVENANCE)
    unknown = entry(manifest(of="sbom"), "unknown/unknown")
    return index(*entries, marked, unknown)


def parse(body: bytes, kind: str = "") -> Manifest:
    return Manifest.parse(body, kind, "r.example/app:v1")


def select(body: bytes, platforms: str) -> list[str]:
    actual = parse(body).select(Platforms.parse(platforms), "r.example/app:v1")
    return [str(each) for each in actual]


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST])
@pytest.mark.parametrize("stated", ["header", "body", "both", "plain header"])
def test_manifests_and_indexes_of_both_families_are_read(kind: str, stated: str) -> None:
    document: dict[str, Any] = json.loads(manifest(kind, manifests=[]))
    if stated == "header":
        del document["mediaType"]
    header = {"body": "", "plain header": "application/json"}.get(stated, f"{kind}; charset=utf-8")
    actual = parse(json.dumps(document).encode(), header)
    assert actual.media_type == kind
    assert (actual.children is not None) == (kind in (OCI_INDEX, DOCKER_LIST))


@pytest.mark.parametrize(
    ("platforms", "wanted"),
    [
        ("index", []),
        ("all", ["amd64", "arm64", "arm6", "arm7", "win1", "win2"]),
        ("linux/amd64", ["amd64"]),
        ("linux/amd64/v1", ["amd64"]),
        ("linux/arm64", ["arm64"]),
        ("linux/arm64/v8,linux/arm64", ["arm64"]),
        ("linux/arm64,linux/amd64", ["amd64", "arm64"]),
        ("linux/arm", ["arm6", "arm7"]),
        ("linux/arm/v7", ["arm7"]),
        ("windows/amd64", ["win1", "win2"]),
    ],
)
def test_platforms_are_chosen_in_the_order_of_the_index(platforms: str, wanted: list[str]) -> None:
    assert select(full(), platforms) == [digest(BODIES[name]) for name in wanted]


def test_an_image_that_is_listed_twice_is_taken_once() -> None:
    twice = entry(BODIES["amd64"], "linux/amd64")
    assert select(index(twice, twice), "all") == [digest(BODIES["amd64"])]


def test_an_image_without_a_platform_is_one_of_all_and_none_of_a_list() -> None:
    body = index(entry(BODIES["amd64"], None), entry(BODIES["arm64"], "linux"))
    assert select(body, "all") == [digest(BODIES["amd64"]), digest(BODIES["arm64"])]
    with pytest.raises(NotFound, match="no image for linux/amd64") as caught:
        select(body, "linux/amd64")
    assert caught.value.hint == "The index has no platforms."


def test_a_platform_that_is_missing_is_an_error_that_lists_what_is_there() -> None:
    with pytest.raises(NotFound, match=r"no image for linux/s390x, linux/arm/v5$") as caught:
        select(full(), "linux/amd64,linux/s390x,linux/arm/v5")
    there = "linux/amd64, linux/arm64, linux/arm/v6, linux/arm/v7, windows/amd64"
    assert caught.value.hint == f"The index has {there}."
    with pytest.raises(NotFound):
        select(full(), "unknown/unknown")


def test_a_single_image_is_all_of_itself_and_has_no_list() -> None:
    body = manifest()
    assert select(body, "all") == []
    with pytest.raises(NotFound, match="no image for linux/amd64") as caught:
        select(body, "linux/amd64")
    assert "not an index" in caught.value.hint


@pytest.mark.parametrize("platforms", ["all", "linux/amd64"])
@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST])
def test_an_index_in_an_index_is_refused(platforms: str, kind: str) -> None:
    inner = index(entry(BODIES["amd64"], "linux/amd64"))
    body = index(entry(BODIES["amd64"], "linux/amd64"), entry(inner, None, kind))
    with pytest.raises(Refused, match="holds another index"):
        select(body, platforms)
    assert select(body, "index") == []


@pytest.mark.parametrize("kind", ["", "application/vnd.oci.image.config.v1+json", 7])
def test_an_entry_that_is_no_manifest_is_refused(kind: Any) -> None:
    with pytest.raises(Refused, match="which is no manifest"):
        select(index(entry(BODIES["amd64"], "linux/amd64", kind)), "all")


@pytest.mark.parametrize(
    "broken", [7, {}, {"digest": 7}, {"digest": "sha512:" + "0" * 128}, {"digest": "sha256:abc"}]
)
def test_an_entry_without_a_sha256_digest_is_refused(broken: object) -> None:
    with pytest.raises(Refused, match="entry"):
        parse(index(broken))


@pytest.mark.parametrize(
    "platform",
    [7, {}, {"os": "linux"}, {"os": 7, "architecture": "amd64"}, {"os": "", "architecture": ""}],
)
def test_an_entry_whose_platform_cannot_be_read_has_none(platform: object) -> None:
    listed = {**entry(BODIES["amd64"], None), "platform": platform}
    [child] = parse(index(listed)).children or ()
    assert child.platform is None


def test_an_index_without_entries_is_refused() -> None:
    with pytest.raises(Refused, match="lists no manifests"):
        parse(manifest(OCI_INDEX, manifests={}))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (manifest("application/vnd.oci.image.config.v1+json"), ""),
        (b"{}", "application/vnd.docker.container.image.v1+json"),
        (json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {}}).encode(), ""),
        (json.dumps({"rootfs": {}}).encode(), "application/octet-stream"),
    ],
)
def test_a_config_is_no_manifest(body: bytes, kind: str) -> None:
    with pytest.raises(Refused, match="is an image's config, neither a manifest nor an index"):
        parse(body, kind)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", ""),
        (b"{}", "application/json"),
        (manifest("application/vnd.docker.distribution.manifest.v1+prettyjws"), ""),
        (manifest("text/plain"), ""),
        (manifest(), OCI_INDEX),
        (manifest(OCI_INDEX), DOCKER_LIST),
        (index(config={}), OCI_INDEX),
        (manifest(manifests=[], layers=[]), OCI_MANIFEST),
    ],
)
def test_another_document_and_an_ambiguous_one_are_refused(body: bytes, kind: str) -> None:
    with pytest.raises(Refused):
        parse(body, kind)


def test_header_and_document_must_call_it_the_same() -> None:
    """Each alone would be taken; a client that believes the other sees another image."""
    other = "application/vnd.docker.distribution.manifest.v2+json"
    body = manifest("application/vnd.oci.image.manifest.v1+json")
    with pytest.raises(Refused, match="the registry calls it"):
        Manifest.parse(body, other, "r.example/a:1")
    assert Manifest.parse(body, "application/vnd.oci.image.manifest.v1+json", "a").children is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"7", b"\xff{}", b"[" * 100_000])
def test_what_is_no_json_object_is_no_answer_of_a_registry(body: bytes) -> None:
    with pytest.raises(Unavailable, match="not a manifest but text/html"):
        parse(body, "text/html; charset=utf-8")
    with pytest.raises(Unavailable, match="not a manifest but untyped"):
        parse(body)


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "/amd64", "All", "linux/amd64,", "linux/amd64 ", "a/b/c/d"]
)
def test_what_is_no_platform_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="is not a platform"):
        Platforms.parse(text)


def test_platforms_are_read_and_shown() -> None:
    assert Platforms.parse("index") == Platforms()
    assert Platforms.parse("all") == Platforms(every=True)
    arm = Platform("linux", "arm64", "v8")
    assert Platforms.parse("linux/arm64,linux/arm64/v8") == Platforms(listed=(arm,))
    assert (str(arm), str(Platform("linux", "arm", "v6"))) == ("linux/arm64", "linux/arm/v6")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.just(OCI_MANIFEST),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["manifests", "mediaType", "digest", "platform", "os", "rootfs"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from([OCI_INDEX, OCI_MANIFEST, "", "text/html"]))
def test_any_document_ends_in_an_error_or_in_its_own_digest(document: Any, kind: str) -> None:
    body = json.dumps(document).encode()
    try:
        actual = parse(body, kind)
        digests = actual.select(Platforms(every=True), "r.example/app")
    except StepError:
        return
    assert actual.digest == digest_of(body)
    assert all(str(each) in body.decode() for each in digests)


def test_a_manifest_that_two_readers_could_read_differently_is_none() -> None:
    kind = b'"mediaType": "application/vnd.oci.image.index.v1+json"'
    body = b'{%b, "manifests": [], "manifests": []}' % kind
    with pytest.raises(Unavailable, match="not a manifest"):
        Manifest.parse(body, "", "r.example/app")
