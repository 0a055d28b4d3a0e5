"""Image references: what is read, what is refused, and that nothing is repaired."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from step.errors import BadInput
from step.model.image import Digest, ImageName, ImageRef

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"gcr.io/p/i@{DIGEST}", "gcr.io/p/i"),
        (f"https://gcr.io/p/i@{DIGEST}", "gcr.io/p/i"),
        (f"http://gcr.io/p/i@{DIGEST}", "gcr.io/p/i"),
        (f"//gcr.io/p/i@{DIGEST}", "gcr.io/p/i"),
        (f"gcr.io/p/i:tag@{DIGEST}", "gcr.io/p/i"),
        (f"gcr.io/p/i:{'t' * 128}@{DIGEST}", "gcr.io/p/i"),
        (f"docker.io/library/ubuntu@{DIGEST}", "docker.io/library/ubuntu"),
        (f"index.docker.io/library/ubuntu@{DIGEST}", "index.docker.io/library/ubuntu"),
        (f"localhost:5000/foo@{DIGEST}", "localhost:5000/foo"),
        (f"localhost/foo@{DIGEST}", "localhost/foo"),
        (f"https://localhost:5000/foo:1@{DIGEST}", "localhost:5000/foo"),
        (f"127.0.0.1:5000/x@{DIGEST}", "127.0.0.1:5000/x"),
        (f"[::1]:5000/x@{DIGEST}", "[::1]:5000/x"),
        (f"GCR.IO/p/i@{DIGEST}", "GCR.IO/p/i"),
        (
            f"us.gcr.io/example.com/p/a_b__c-d.e--f@{DIGEST}",
            "us.gcr.io/example.com/p/a_b__c-d.e--f",
        ),
        (f"gcr.io/{'a' * 248}@{DIGEST}", f"gcr.io/{'a' * 248}"),
    ],
)
def test_a_reference_by_digest_is_read(text: str, name: str) -> None:
    image = ImageRef.parse(text)
    assert str(image) == f"{name}@{DIGEST}"
    assert image.resource_uri == f"https://{name}@{DIGEST}"
    assert image.name == ImageName.parse(name)
    assert image == ImageName.parse(name).at(Digest.parse(DIGEST))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (f"@{DIGEST}", "has no name"),
        (DIGEST, "digest without a name"),
        ("gcr.io/p/i", "by tag, not by digest"),
        ("gcr.io/p/i:latest", "by tag, not by digest"),
        ("gcr.io/p/i@", "digest is empty"),
        ("gcr.io/p/i@sha256:", "nothing after sha256:"),
        ("gcr.io/p/i@sha256:0123456789ab", "12 hexadecimal digits, not 64"),
        (f"gcr.io/p/i@{DIGEST}0", "65 hexadecimal digits, not 64"),
        (f"gcr.io/p/i@sha256:{HEX.upper()}", "lower-case"),
        (f"gcr.io/p/i@SHA256:{HEX}", "not a sha256 digest"),
        (f"gcr.io/p/i@sha512:{HEX}{HEX}", "not a sha256 digest"),
        (f"gcr.io/p/i@{HEX}", "image id or a bare hash"),
        ("gcr.io/p/i@0123456789ab", "image id or a bare hash"),
        (f"gcr.io/p/i@{DIGEST} ", "nothing else"),
        (f"gcr.io/p/i@{DIGEST}\n", "nothing else"),
        (f" gcr.io/p/i@{DIGEST}", "not a registry host"),
        (f"gcr.io/p/i@{DIGEST}@{DIGEST}", "nothing else"),
        (f"gcr.io/p/i@sha256:{HEX[:-1]}g", "nothing else"),
        (f"gcr.io/p/i@sha256:{HEX[:-1]}٠", "nothing else"),
        (f"ubuntu@{DIGEST}", "does not name a registry"),
        (f"library/ubuntu@{DIGEST}", "does not name a registry"),
        (f"gcr.io/P/i@{DIGEST}", "not a repository name"),
        (f"gcr.io/p//i@{DIGEST}", "not a repository name"),
        (f"gcr.io/@{DIGEST}", "not a repository name"),
        (f"gcr.io/p/i/@{DIGEST}", "not a repository name"),
        (f"gcr.io/p/../i@{DIGEST}", "not a repository name"),
        (f"gcr.io/p/é@{DIGEST}", "not a repository name"),
        (f"gcr.io/p/i:@{DIGEST}", "not a tag"),
        (f"gcr.io/p/i:{'t' * 129}@{DIGEST}", "not a tag"),
        (f"gcr.io/p/i:a:b@{DIGEST}", "not a tag"),
        (f"ftp://gcr.io/p/i@{DIGEST}", "not a registry host"),
        (f"-a.io/p/i@{DIGEST}", "not a registry host"),
        (f"gcr..io/p/i@{DIGEST}", "not a registry host"),
        (f"gcr.io:port/p/i@{DIGEST}", "not a registry host"),
        (f"user:pass@gcr.io/p/i@{DIGEST}", "does not name a registry"),
        (f"gcr.io/{'a' * 249}@{DIGEST}", "over 255 characters"),
    ],
)
def test_any_other_reference_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(BadInput) as caught:
        ImageRef.parse(text)
    assert reason in caught.value.message
    assert "\n" not in caught.value.message


def test_a_name_is_read_without_a_digest_and_refused_with_one() -> None:
    assert str(ImageName.parse("https://gcr.io/p/i:tag")) == "gcr.io/p/i"
    with pytest.raises(BadInput, match="holds a digest"):
        ImageName.parse(f"gcr.io/p/i@{DIGEST}")


def test_a_long_text_is_shown_shortened() -> None:
    with pytest.raises(BadInput) as caught:
        ImageRef.parse("x" * 100_000)
    assert len(caught.value.message) < 250


@pytest.mark.parametrize(
    "hexadecimal", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n"]
)
def test_a_digest_cannot_be_made_of_anything_else(hexadecimal: str) -> None:
    with pytest.raises(BadInput):
        Digest(hexadecimal)


_parts = st.sampled_from(
    [
        *"Aé_- .\n",
        "//",
        "https://",
        "gcr.io",
        "localhost:5000",
        "/",
        "p",
        "i",
        ":",
        "tag",
        "@",
        "sha256:",
        "sha512:",
        HEX,
        DIGEST,
    ]
)
_texts = st.one_of(st.text(), st.lists(_parts, max_size=12).map("".join))


@given(_texts)
@example(f"gcr.io/p/i:t@{DIGEST}")
def test_any_text_is_a_reference_that_round_trips_or_is_bad_input(text: str) -> None:
    try:
        image = ImageRef.parse(text)
    except BadInput:
        return
    assert ImageRef.parse(str(image)) == image
    assert ImageRef.parse(image.resource_uri) == image
    assert text.endswith(f"@{image.digest}")
    assert str(image.name) in text


@given(_texts)
def test_any_text_is_exactly_a_digest_or_bad_input(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except BadInput:
        return
    assert str(digest) == text


@given(_texts)
def test_any_text_is_a_name_that_round_trips_or_is_bad_input(text: str) -> None:
    try:
        name = ImageName.parse(text)
    except BadInput:
        return
    assert ImageName.parse(str(name)) == name


@pytest.mark.parametrize(
    ("name", "project"),
    [
        ("europe-docker.pkg.dev/my-project/apps/web", "my-project"),
        ("us-central1-docker.pkg.dev/example.com/my-project/apps/web", "example.com:my-project"),
        ("gcr.io/my-project/web", "my-project"),
        ("eu.gcr.io/my-project/web", "my-project"),
        ("docker.io/library/nginx", None),
        ("mirror.gcr.io/library/nginx", None),
        ("evil-docker.pkg.dev.example.com/my-project/web", None),
        ("gcr.io/example.com", None),
    ],
)
def test_googles_registries_name_the_project(name: str, project: str | None) -> None:
    actual = ImageName.parse(name).at(Digest.parse("sha256:" + "0" * 64)).project
    assert (actual.project if actual else None) == project
