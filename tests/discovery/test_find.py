"""References, names, digests and records become images."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.discovery.find import find_images
from step.discovery.record import Discovered, Origin, Record, RecordedImage
from step.discovery.records import parse_record
from step.errors import BadInput
from step.model.image import Digest, ImageName, ImageRef, ImageTag

A, B, C = ("sha256:" + digit * 64 for digit in "abc")
APP, WEB = "eu.gcr.io/p/app", "docker.io/me/web"


def metadata(digest: str, *names: str) -> str:
    return json.dumps({"containerimage.digest": digest, "image.name": ",".join(names)})


def find(references: list[str], **options: Any) -> tuple[Discovered, ...]:
    """What is found, `metadata` and `files` being the texts of records."""
    texts = [("--metadata", text) for text in options.pop("metadata", ())]
    texts += options.pop("files", ())
    records = [parse_record(text, source) for source, text in texts]
    return find_images(references, records=records, **options)


def bake(**targets: str) -> str:
    return json.dumps({target: json.loads(text) for target, text in targets.items()})


@pytest.mark.parametrize(
    ("references", "options", "expected"),
    [
        ([f"{APP}@{A}"], {}, [f"{APP}@{A}"]),
        ([f"https://{APP}:1@{A}"], {}, [f"{APP}@{A}"]),
        ([f"{WEB}@{B}", f"{APP}@{A}", f"{WEB}:1@{B}"], {}, [f"{WEB}@{B}", f"{APP}@{A}"]),
        ([f"{APP}@{A}", f"{APP}@{B}"], {}, [f"{APP}@{A}", f"{APP}@{B}"]),
        ([], {"name": f"{APP}:1", "digest": A}, [f"{APP}@{A}"]),
        ([], {"metadata": [metadata(A, f"{APP}:1")]}, [f"{APP}@{A}"]),
        ([], {"metadata": [metadata(A)], "name": APP}, [f"{APP}@{A}"]),
        ([], {"metadata": [metadata(A, APP, WEB)], "name": WEB}, [f"{WEB}@{A}"]),
        ([], {"files": [("f", A)], "name": APP}, [f"{APP}@{A}"]),
        ([], {"files": [("f", A)], "name": APP, "digest": A}, [f"{APP}@{A}"]),
        ([], {"files": [("f", f"{APP}@{A}\n{WEB}@{A}\n")], "name": WEB}, [f"{WEB}@{A}"]),
        ([], {"files": [("f", f"{APP}@{A}\n{APP}@{B}\n")]}, [f"{APP}@{A}", f"{APP}@{B}"]),
        (
            [],
            {"metadata": [bake(a=metadata(A, APP), w=metadata(B, WEB))]},
            [f"{APP}@{A}", f"{WEB}@{B}"],
        ),
        (
            [],
            {"metadata": [bake(a=metadata(A, APP), w=metadata(B, WEB))], "name": WEB},
            [f"{WEB}@{B}"],
        ),
        (
            [f"{WEB}@{C}"],
            {"metadata": [metadata(A, APP)], "files": [("f", f"{APP}@{A}")]},
            [f"{WEB}@{C}", f"{APP}@{A}"],
        ),
    ],
)
def test_found(references: list[str], options: dict[str, Any], expected: list[str]) -> None:
    assert [str(each.image) for each in find(references, **options)] == expected


@pytest.mark.parametrize(
    ("references", "options", "message", "hint"),
    [
        ([], {}, "no image was given", "--from-file"),
        ([""], {}, "the image reference is empty", ""),
        ([f"{APP}:1"], {}, "by tag, not by digest", "by digest"),
        ([], {"name": APP}, "was named without a digest", "--digest"),
        ([f"{WEB}@{A}"], {"name": APP}, "was named without a digest", "--digest"),
        ([], {"name": "app", "digest": A}, "--image: 'app' does not name", "registry"),
        ([], {"name": f"{APP}@{A}", "digest": A}, "--image: ", "by digest"),
        ([], {"digest": A}, f"--digest: {A} has no name", "--image"),
        ([], {"name": APP, "digest": ""}, "--digest: the digest is empty", "pushed"),
        ([], {"name": APP, "digest": "a" * 64}, "--digest: 'aaa", "sha256:"),
        ([], {"metadata": [""]}, "--metadata: the record is empty", "push"),
        ([], {"files": [("d.txt", A)]}, f"d.txt (digest alone): {A} has no name", "--image"),
        (
            [],
            {"metadata": [metadata(A, f"{APP}:1", f"{WEB}:1")]},
            f"several names: {APP}, {WEB}",
            "Say which with --image",
        ),
        (
            [],
            {"metadata": [metadata(A, APP, WEB)], "name": "gcr.io/p/other"},
            f"gcr.io/p/other is not among the names recorded: {APP}, {WEB}",
            "--image",
        ),
        (
            [],
            {"metadata": [metadata(A, APP)], "name": APP, "digest": B},
            f"--digest and --metadata (docker buildx build) disagree about the digest of {APP}",
            "one record",
        ),
        (
            [],
            {"files": [("one", f"{APP}@{A}"), ("two", f"{APP}@{A}\n{APP}@{B}")]},
            "one (references by digest) and two (references by digest) disagree",
            "one record",
        ),
        (
            [],
            {"metadata": [bake(a=metadata(A), b=metadata(B))], "name": APP},
            f"(docker buildx bake): several digests, not all with a name, could be {APP}",
            "registry/repository@",
        ),
        (
            [],
            {"metadata": [bake(a=metadata(A, APP), b=metadata(B))], "name": APP},
            f"(docker buildx bake): several digests, not all with a name, could be {APP}",
            "registry/repository@",
        ),
    ],
)
def test_refused(references: list[str], options: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        find(references, **options)
    assert message in caught.value.message
    assert hint in caught.value.hint


PIECES = st.sampled_from([f"{APP}@{A}", f"{WEB}@{B}", f"{APP}@{B}", APP, A, "\n", "", "x"])


@given(st.lists(PIECES, max_size=4).map("".join), st.sampled_from([None, APP, WEB]))
def test_every_image_is_of_a_digest_and_a_name_that_were_given(text: str, name: str | None) -> None:
    try:
        every = find([], name=name, files=[("f", text)])
    except BadInput:
        return
    for image in (each.image for each in every):
        assert str(image.digest) in text
        assert str(image.name) == name or f"{image}" in text
        assert ImageRef.parse(str(image)) == image


DIGEST = Digest.parse(A)
NAME, MIRROR = ImageName.parse(APP), ImageName.parse("docker.io/me/app")


def test_every_image_says_where_its_digest_came_from() -> None:
    images = find(
        [f"{WEB}@{A}", f"{WEB}:1"],
        name=APP,
        digest=A,
        metadata=[metadata(A, f"{APP}:1")],
        resolve=lambda _: Digest.parse(C),
    )
    # One that two sources name is the first one's.
    assert [(str(each.image), each.origin) for each in images] == [
        (f"{WEB}@{A}", Origin("the reference given")),
        (f"{WEB}@{C}", Origin("the registry", tag="1")),
        (f"{APP}@{A}", Origin("--digest")),
    ]


def test_a_tag_is_resolved_once_and_a_digest_never() -> None:
    asked: list[ImageTag] = []

    def resolve(tag: ImageTag) -> Digest:
        asked.append(tag)
        return DIGEST

    images = find([f"{APP}:v1", f"{WEB}:old@{B}", f"{WEB}@{C}"], resolve=resolve)
    assert [str(each.image) for each in images] == [f"{APP}@{A}", f"{WEB}@{B}", f"{WEB}@{C}"]
    assert asked == [ImageTag(NAME, "v1")]
    find([f"{APP}:v1", f"https://{APP}:v1"], resolve=resolve)
    assert asked == [ImageTag(NAME, "v1")] * 2
    with pytest.raises(BadInput, match="neither a tag nor a digest"):
        find([APP], resolve=resolve)


def test_a_tag_that_moves_meanwhile_is_what_it_was_when_it_was_asked_for() -> None:
    moving = iter((A, B))
    images = find([f"{APP}:v1"] * 2, resolve=lambda _: Digest.parse(next(moving)))
    assert [str(each.image) for each in images] == [f"{APP}@{A}"]


def test_two_tags_of_one_name_are_two_images() -> None:
    digests = {"v1": A, "v2": B}
    images = find([f"{APP}:v1", f"{APP}:v2"], resolve=lambda each: Digest.parse(digests[each.tag]))
    assert [(str(each.image), each.origin.tag) for each in images] == [
        (f"{APP}@{A}", "v1"),
        (f"{APP}@{B}", "v2"),
    ]


def test_a_tag_may_be_an_index_or_one_of_the_images_recorded_with_it() -> None:
    listed = [("refs", f"{APP}@{A}\n{APP}@{B}\n")]
    images = find([f"{APP}:1"], files=listed, resolve=lambda _: DIGEST)
    assert [str(each.image) for each in images] == [f"{APP}@{A}", f"{APP}@{B}"]


def test_what_the_running_build_pushes_to_names_a_digest_that_has_no_name() -> None:
    [each] = find([], files=[("f", A)], default_names=[NAME, NAME])
    assert str(each.image) == f"{APP}@{A}"
    [each] = find([], files=[("f", A)], name=WEB, default_names=[NAME])
    assert str(each.image) == f"{WEB}@{A}"
    [each] = find([], metadata=[metadata(A, WEB)], default_names=[NAME])
    assert str(each.image) == f"{WEB}@{A}"
    with pytest.raises(BadInput, match=f"the build pushes several images: {APP}, {WEB}"):
        find([], files=[("f", A)], default_names=[NAME, ImageName.parse(WEB)])
    with pytest.raises(BadInput, match=f"several digests, not all with a name, could be {APP}"):
        find([], metadata=[bake(a=metadata(A), b=metadata(B))], default_names=[NAME])


def test_one_image_in_several_repositories_needs_a_choice() -> None:
    """Each repository may hold other bytes, so that the digests can differ."""
    other = RecordedImage(Digest.parse(B), (MIRROR,))
    record = Record(Origin("i"), (RecordedImage(DIGEST, (NAME,)), other), one_of=True)
    with pytest.raises(BadInput, match=f"several names: {APP}, {MIRROR}"):
        find_images([], records=[record])
    [find_image] = find_images([], name=str(MIRROR), records=[record])
    assert find_image.image == MIRROR.at(other.digest)


@pytest.mark.parametrize("expected", [None, 2])
def test_as_many_images_as_asked_for(expected: int | None) -> None:
    assert len(find([f"{APP}@{A}", f"{WEB}@{B}", f"{APP}:1@{A}"], expected=expected)) == 2


def test_a_message_lists_a_few_of_many() -> None:
    with pytest.raises(BadInput) as caught:
        find([f"{APP}-{number}@{A}" for number in range(300)], expected=1)
    assert "300 images were found where 1 was asked for" in caught.value.message
    assert caught.value.message.endswith("and 292 more")
