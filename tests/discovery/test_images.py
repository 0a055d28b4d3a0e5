"""References, names, digests and records become images."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.discovery.images import find_images
from step.errors import BadInput
from step.model.image import ImageRef

A, B, C = ("sha256:" + digit * 64 for digit in "abc")
APP, WEB = "eu.gcr.io/p/app", "docker.io/me/web"


def metadata(digest: str, *names: str) -> str:
    return json.dumps({"containerimage.digest": digest, "image.name": ",".join(names)})


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
    assert [str(image) for image in find_images(references, **options)] == expected


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
        ([], {"metadata": [metadata(A, APP), "{}"]}, "--metadata, number 2: ", "Known"),
        ([], {"files": [("d.txt", A)]}, f"d.txt: {A} has no name", "--image"),
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
            f"--digest and --metadata disagree about the digest of {APP}",
            "one record",
        ),
        (
            [],
            {"files": [("one", f"{APP}@{A}"), ("two", f"{APP}@{A}\n{APP}@{B}")]},
            "one and two disagree",
            "one record",
        ),
        (
            [],
            {"metadata": [bake(a=metadata(A), b=metadata(B))], "name": APP},
            f"--metadata: several digests, not all with a name, could be {APP}",
            "registry/repository@",
        ),
        (
            [],
            {"metadata": [bake(a=metadata(A, APP), b=metadata(B))], "name": APP},
            f"--metadata: several digests, not all with a name, could be {APP}",
            "registry/repository@",
        ),
    ],
)
def test_refused(references: list[str], options: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        find_images(references, **options)
    assert message in caught.value.message
    assert hint in caught.value.hint


PIECES = st.sampled_from([f"{APP}@{A}", f"{WEB}@{B}", f"{APP}@{B}", APP, A, "\n", "", "x"])


@given(st.lists(PIECES, max_size=4).map("".join), st.sampled_from([None, APP, WEB]))
def test_every_image_is_of_a_digest_and_a_name_that_were_given(text: str, name: str | None) -> None:
    try:
        images = find_images([], name=name, files=[("f", text)])
    except BadInput:
        return
    for image in images:
        assert str(image.digest) in text
        assert str(image.name) == name or f"{image}" in text
        assert ImageRef.parse(str(image)) == image
