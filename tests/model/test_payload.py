"""Payload bytes, held to gcloud's and to the DSSE specification's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.errors import BadInput, Unverified
from step.model.image import Digest, ImageName, ImageRef
from step.model.payload import PAYLOAD_TYPE, SIMPLE_SIGNING, Payload, pae
from tests.vectors.make_payloads import REFERENCES, gcloud_payload

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"
VECTORS: dict[str, str | None] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "payloads.json").read_text()
)["payloads"]

# Where we differ from gcloud, which reads `localhost:` and `127.0.0.1:` as the scheme of a URL.
LAXER = {f"127.0.0.1:5000/x@{DIGEST}"}


def test_the_vectors_are_those_of_the_script() -> None:
    assert list(VECTORS) == list(REFERENCES)


@pytest.mark.parametrize("reference", [text for text, made in VECTORS.items() if made])
def test_payload_bytes_equal_gclouds(reference: str) -> None:
    made = VECTORS[reference]
    assert made is not None
    payload = Payload.of(ImageRef.parse(reference))
    assert payload.to_bytes() == made.encode("ascii")
    assert Payload.parse(made.encode("ascii")) == payload


@pytest.mark.parametrize("reference", [text for text, made in VECTORS.items() if not made])
def test_what_gcloud_refuses_is_refused(reference: str) -> None:
    if reference in LAXER:
        assert Payload.of(ImageRef.parse(reference)).docker_reference == reference.split("@")[0]
    else:
        with pytest.raises(BadInput):
            ImageRef.parse(reference)


@pytest.mark.parametrize(
    "reference",
    [
        f"https://eu.gcr.io/a-project/some.repo/app:1.2.3@sha256:{'f' * 64}",
        f"eu.gcr.io/p/Upper@sha256:{'f' * 64}",
    ],
)
def test_payload_bytes_equal_those_of_the_gcloud_that_is_installed(
    reference: str, tool: Callable[[str], str]
) -> None:
    tool("gcloud")
    try:
        ours = Payload.of(ImageRef.parse(reference)).to_bytes().decode("ascii")
    except BadInput:
        ours = None
    assert gcloud_payload(reference) == ours


def document(**changes: Any) -> dict[str, Any]:
    critical = {
        "identity": {"docker-reference": "gcr.io/p/i"},
        "image": {"docker-manifest-digest": DIGEST},
        "type": PAYLOAD_TYPE,
    }
    return {"critical": critical | changes}


@pytest.mark.parametrize(
    "kind",
    [
        "Google cloud binauthz container signature",
        "Google Cloud BinAuthz container signature",
        "atomic container signature",
    ],
)
@pytest.mark.parametrize("indent", [None, 2, 8])
def test_every_type_in_use_is_read_in_any_layout(kind: str, indent: int | None) -> None:
    data = json.dumps(document(type=kind) | {"optional": {"a": 1}}, indent=indent).encode()
    assert Payload.parse(data) == Payload("gcr.io/p/i", Digest(HEX))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not Binary Authorization's JSON"),
        (b"\xff\xfe", "not Binary Authorization's JSON"),
        (b"[]", "not Binary Authorization's JSON"),
        (b"null", "not Binary Authorization's JSON"),
        (b"{}", "not Binary Authorization's JSON"),
        (b'{"critical": []}', "not Binary Authorization's JSON"),
        (b"[" * 100_000, "not Binary Authorization's JSON"),
        (b"1" * 10_000, "not Binary Authorization's JSON"),
        (json.dumps(document(identity="gcr.io/p/i")).encode(), "not Binary Authorization's JSON"),
        (json.dumps(document(image=[DIGEST])).encode(), "not Binary Authorization's JSON"),
        (json.dumps(document(type="cosign container image signature")).encode(), "another type"),
        (json.dumps(document(type=1)).encode(), "another type"),
        (json.dumps(document(identity={"docker-reference": 1})).encode(), "not text"),
        (json.dumps(document(image={"docker-manifest-digest": [DIGEST]})).encode(), "not text"),
        (
            json.dumps(document(image={"docker-manifest-digest": DIGEST.upper()})).encode(),
            "digest is malformed",
        ),
        (
            json.dumps(document(image={"docker-manifest-digest": f" {DIGEST}"})).encode(),
            "digest is malformed",
        ),
    ],
)
def test_anything_else_is_unverified_with_the_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(Unverified) as caught:
        Payload.parse(payload)
    assert reason in caught.value.message


@pytest.mark.parametrize(
    "key", ["critical", "identity", "image", "type", "docker-reference", "docker-manifest-digest"]
)
def test_a_repeated_key_is_refused_at_every_depth(key: str) -> None:
    text = json.dumps(document())
    start = text.index(f'"{key}"')
    depth, end = 0, start
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth < 0 or (depth == 0 and text[end] == ","):
            break
    repeated = text[:end] + ", " + text[start:end] + text[end:]
    assert json.loads(repeated) == document()
    with pytest.raises(Unverified, match=f"repeats the key '{key}'"):
        Payload.parse(repeated.encode())


_components = st.sampled_from(["a", "app", "a.b", "a_b", "a__b", "a-b", "a--b", "0", "x" * 40])
_names = st.lists(_components, min_size=1, max_size=4).map(
    lambda parts: "/".join(["gcr.io", *parts])
)
_digests = st.binary(min_size=32, max_size=32).map(lambda data: Digest(data.hex()))


@given(_names, _digests)
def test_what_is_written_is_read_back(name: str, digest: Digest) -> None:
    payload = Payload.of(ImageName.parse(name).at(digest))
    assert Payload.parse(payload.to_bytes()) == payload
    assert payload.to_bytes() == Payload.parse(payload.to_bytes()).to_bytes()


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from([DIGEST, PAYLOAD_TYPE]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                [
                    "critical",
                    "identity",
                    "image",
                    "type",
                    "docker-reference",
                    "docker-manifest-digest",
                ]
            ),
            inner,
        )
    ),
)


@given(st.binary() | _json.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_payload_or_unverified(data: bytes) -> None:
    try:
        payload = Payload.parse(data)
    except Unverified:
        return
    assert str(payload.digest).encode() in data


# https://github.com/secure-systems-lab/dsse/blob/master/protocol.md, "Test Vectors".
def test_pae_is_that_of_the_dsse_specification() -> None:
    encoded = pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_pae_counts_bytes_and_takes_any() -> None:
    assert pae("é", b"\x00\xff ") == b"DSSEv1 2 \xc3\xa9 3 \x00\xff "
    assert pae("", b"") == b"DSSEv1 0  0 "
    assert pae(SIMPLE_SIGNING, b"x").startswith(b"DSSEv1 48 application/vnd.dev.cosign.")
