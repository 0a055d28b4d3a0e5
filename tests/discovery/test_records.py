"""Build tools' own records, and the ways in which they mislead."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.discovery.find import find_images
from step.discovery.formats import Format, UnknownFormat
from step.discovery.record import Origin, Record, RecordedImage
from step.discovery.records import parse_record
from step.errors import BadInput, Refused
from step.model.image import Digest, ImageName

A, B, C = ("sha256:" + digit * 64 for digit in "abc")
APP = ImageName("eu.gcr.io", "p/app")
MIRROR = ImageName("docker.io", "me/app")


def build(**changes: Any) -> dict[str, Any]:
    """What buildx writes for one image; a change of None takes the key away."""
    keys = {"digest": "containerimage.digest", "config": "containerimage.config.digest"}
    keys |= {"descriptor": "containerimage.descriptor", "name": "image.name"}
    written = {
        "buildx.build.provenance": {"builder": {"id": ""}},
        "buildx.build.ref": "default/default/abc",
        "containerimage.config.digest": B,
        "containerimage.descriptor": {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": A,
            "size": 1,
        },
        "containerimage.digest": A,
        "image.name": f"{APP}:1",
    }
    written |= {keys[key]: value for key, value in changes.items()}
    return {key: value for key, value in written.items() if value is not None}


def recorded(digest: str, *names: ImageName) -> RecordedImage:
    return RecordedImage(Digest.parse(digest), names)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (build(), [recorded(A, APP)]),
        (build(name=None), [recorded(A)]),
        (build(name=""), [recorded(A)]),
        (build(descriptor=None, config=None), [recorded(A, APP)]),
        (build(name=f"{APP}:1,{APP}:latest"), [recorded(A, APP)]),
        (build(name=f"{APP}:1,{MIRROR}:1"), [recorded(A, APP, MIRROR)]),
        ({"containerimage.digest": A}, [recorded(A)]),
        ({"web": build()}, [recorded(A, APP)]),
        (
            {
                "web": build(),
                "db": build(digest=C, descriptor=None, name=f"{MIRROR}:2"),
                "buildx.build.warnings": [{"detail": ["x"], "level": 1}],
            },
            [recorded(A, APP), recorded(C, MIRROR)],
        ),
        ({"web": build(), "cache": {"buildx.build.ref": "x"}}, [recorded(A, APP)]),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_buildx_metadata(
    document: dict[str, Any], expected: list[RecordedImage], indent: int | None
) -> None:
    text = json.dumps(document, indent=indent)
    kind = "bake" if "web" in document else "build"
    origin = Origin(f"m.json (docker buildx {kind})")
    assert parse_record(text, "m.json") == Record(origin, tuple(expected))
    assert parse_record(f"\n{text}\n", "m.json").images == tuple(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (A, [recorded(A)]),
        (f"{A}\n", [recorded(A)]),
        (f"{A}\r\n", [recorded(A)]),
        (f"{APP}@{A}", [recorded(A, APP)]),
        (f"{APP}:1@{A}\n", [recorded(A, APP)]),
        (f"{APP}@{A}\r\n{MIRROR}@{A}\r\n", [recorded(A, APP), recorded(A, MIRROR)]),
        (f"{APP}@{A}\n{APP}@{B}\n", [recorded(A, APP), recorded(B, APP)]),
        (f"[::1]:5000/app@{A}\n", [recorded(A, ImageName("[::1]:5000", "app"))]),
        (f"{APP}@{A}\n\n", [recorded(A, APP)]),
        (f"{A[7:]}  {APP}:1\n{B[7:]}  {APP}:2\n", [recorded(A, APP), recorded(B, APP)]),
        (f"{A[7:]} *{APP}\n", [recorded(A, APP)]),
    ],
)
def test_plain_files(text: str, expected: list[RecordedImage]) -> None:
    record = parse_record(text, "digest.txt")
    assert record.images == tuple(expected)
    kind = Format.CHECKSUMS if A not in text else Format.REFERENCES
    assert record.origin == Origin((kind if "/" in text else Format.DIGEST).called("digest.txt"))


NOT_PUSHED = "push: true"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "the record is empty", NOT_PUSHED),
        (" \n", "the record is empty", NOT_PUSHED),
        (build(config=A), "the image was not pushed", NOT_PUSHED),
        (build(digest=""), "nothing was pushed", NOT_PUSHED),
        (build(digest=None), "nothing was pushed", NOT_PUSHED),
        ({"buildx.build.ref": "x"}, "nothing was pushed", NOT_PUSHED),
        ({"buildx.build.warnings": []}, "nothing was pushed", NOT_PUSHED),
        (build(descriptor={"digest": C}), "has another digest", "contradicts itself"),
        (
            build(descriptor="eyJ9"),
            "containerimage.descriptor is not an object",
            "as it was written",
        ),
        (build(digest=1), "containerimage.digest is not text", "as it was written"),
        (build(config=[A]), "containerimage.config.digest is not text", "as it was written"),
        (build(name=[str(APP)]), "image.name is not text", "as it was written"),
        (build(name="app:1"), "does not name a registry", "registry host"),
        (build(digest=A[:19], descriptor=None), "it has 12 hexadecimal digits", "by digest"),
        ({"web": build(config=A)}, "target 'web': ", NOT_PUSHED),
        ({"web": build(), "db": build(digest=None)}, "target 'db': there is no", NOT_PUSHED),
        ({"cache": {"buildx.build.ref": "x"}}, "target 'cache': there is no", NOT_PUSHED),
        ({"web": build(), "other": {"x": 1}}, "JSON of an unknown shape", "Known are"),
        ({"web": build(), "other": "x"}, "JSON of an unknown shape", "Known are"),
        ({}, "JSON of an unknown shape", "Known are"),
        ([A], "JSON of an unknown shape", "Known are"),
        ([{}], "JSON of an unknown shape", "Known are"),
        ('{"containerimage.digest": ', "not whole JSON", "Known are"),
        (json.dumps(build()) + " x", "not whole JSON", "Known are"),
        ('{"a": 1, "a": 2}', "not whole JSON", "Known are"),
        ('{"a":' * 100_000, "not whole JSON", "Known are"),
        ("a" * 64, "image id", "starts with sha256:"),
        ("deadbeefcafe\n", "image id", "starts with sha256:"),
        (A[:19], "it has 12 hexadecimal digits", "by digest"),
        ("sha256:" + "A" * 64, "must be lower-case", "by digest"),
        ("sha512:" + "a" * 128, "is not a sha256 digest", "sha256"),
        (f" {A}", "is not a sha256 digest", "sha256"),
        (f"{A}\n{B}\n", "2 lines where one digest is expected", "registry/repository@sha256:"),
        (f"{APP}:1\n", "nor a reference by one", "registry/repository@sha256:"),
        (f"{A[7:]}  {APP}\nx\n", "line 2: 'x' is not a hash and an image", "Known are"),
        (
            f"{A[7:]}  app.tar.gz\n",
            "line 1: 'app.tar.gz' does not name a registry",
            "registry host",
        ),
        (f"{'A' * 64}  {APP}\n", "line 1: 'AAA", "registry/repository@sha256:"),
        (f"{APP}@{A}\n\n{APP}@{B}\n", "line 2: the image reference is empty", "sha256:"),
        (f"{APP}@{A}\n{APP}@{B[:-1]}\n", "line 2: ", "by digest"),
        (f"app@{A}\n", "does not name a registry", "registry host"),
        ("\x7fELF\x00\x00", "is not a sha256 digest", "sha256"),
    ],
)
def test_traps(text: object, message: str, hint: str) -> None:
    written = text if isinstance(text, str) else json.dumps(text)
    with pytest.raises(BadInput) as caught:
        parse_record(written, "the record's label")
    assert caught.value.message.startswith("the record's label: ")
    assert message in caught.value.message
    assert hint in caught.value.hint


# Keys that the readers look for, so that what is made at random comes near to records.
KEYS = [
    *build(),
    *("web", "buildx.build.warnings", "image", "imageId", "imageDigest", "imagePushed", "tags"),
    *("builds", "imageName", "tag", "Id", "RepoDigests", "Image", "Digest", "RepoTags", "Layers"),
    *("Name", "name", "digest", "type", "extra", "status", "projectId", "results", "images"),
]
TEXTS = [A, B[7:], A.upper(), f"{APP}@{A}", f"me/app@{B}", str(APP), "app:1", "Docker Image"]
LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([*TEXTS, ""])
RECORDISH = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
        | st.dictionaries(st.text(), inner, max_size=2)
    ),
    max_leaves=15,
)
LINES = st.lists(
    st.sampled_from([*TEXTS, A, B, f"{A[7:]}  {APP}", "", "[image]", f'digest = "{A}"']) | st.text()
).map("\n".join)


@given(
    st.text()
    | LINES
    | st.binary().map(lambda data: data.decode(errors="replace"))
    | st.builds(json.dumps, RECORDISH, ensure_ascii=st.booleans())
)
def test_any_text_is_digests_that_it_holds_or_a_clear_error(text: str) -> None:
    try:
        record = parse_record(text, "r")
    except (BadInput, Refused):
        return
    assert record.images
    assert record.source.startswith("r (")
    assert all(image.digest.hex in text for image in record.images)


def test_a_digest_that_no_reader_of_the_file_can_see_is_refused() -> None:
    text = json.dumps({"containerimage.digest": A}).replace("a" * 64, "\\u0061" * 64)
    assert json.loads(text)["containerimage.digest"] == A
    # Nor does it help that the digits are a part of something else.
    other = json.dumps({"note": "a" * 64 + "0"})
    for each in (text, f"{text[:-1]}, {other[1:]}"):
        with pytest.raises(BadInput, match="is written with escapes"):
            parse_record(each, "r")


def test_a_record_of_very_many_images_is_read_in_time() -> None:
    """With a search of the text or the others for each, this would take minutes."""
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(50_000)]
    record = parse_record("".join(f"r.io/a@sha256:{digest}\n" for digest in digests), "r")
    assert [image.digest.hex for image in record.images] == digests
    assert len(find_images([], records=[record])) == len(digests)


@pytest.mark.parametrize(
    "text",
    ["[image]\n" + "a." * 300_000 + "b = 1", "[" + "a." * 2_000 + "b]\n", "[a]\n" + "b" * 300_000],
)
def test_toml_that_would_take_all_memory_is_no_record(text: str) -> None:
    with pytest.raises(UnknownFormat, match="no report of pack is so large"):
        parse_record(text, "r")


def test_a_report_with_many_tags_is_read() -> None:
    tags = ", ".join(f'"eu.gcr.io/p/app:{number}.0.0"' for number in range(80))
    record = parse_record(f'[image]\ntags = [{tags}]\ndigest = "{A}"\n', "r")
    assert [str(name) for name in record.images[0].names] == ["eu.gcr.io/p/app"]


@pytest.mark.parametrize("text", ["", build(config=A), build(digest=""), A[:19], "[]"])
def test_a_record_that_is_wrong_is_not_taken_for_no_record(text: object) -> None:
    """The workspace is searched for records, and passes over what is none."""
    with pytest.raises(BadInput) as caught:
        parse_record(text if isinstance(text, str) else json.dumps(text), "r")
    assert not isinstance(caught.value, UnknownFormat)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[1]",
        "hello\n",
        "{",
        "[a]\nb = 1",
        "[a]\nb",
        "\x7fELF\0",
        '[{"name": "app", "type": "Binary"}]',
    ],
)
def test_what_is_no_record_is_told_from_a_record_that_is_wrong(text: str) -> None:
    with pytest.raises(UnknownFormat) as caught:
        parse_record(text, "r")
    assert caught.value.message.startswith("r: ")
    assert "Known are" in caught.value.hint
