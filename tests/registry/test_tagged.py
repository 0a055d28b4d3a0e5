"""All that has a tag in a repository, as registries of both kinds list it, and hostile ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from step.errors import BadInput, NotFound, StepError, Unavailable
from step.model.image import ImageName
from tests.registry.asking import BODY, anonymous, replies
from tests.registry.hostile import OCI_MANIFEST, Reply, Request, Script, Server, digest
from tests.world import FakeClock

Start = Callable[[Script], Server]
FIRST, SECOND = ("sha256:" + digit * 64 for digit in "12")


def page(document: Any, link: str = "") -> Reply:
    return Reply(200, {"Link": link} if link else {}, json.dumps(document).encode())


def tagged(server: Server, clock: FakeClock) -> list[str]:
    name = ImageName.parse(f"{server.address}/team/app")
    return [str(image.digest) for image in anonymous(clock).tagged(name)]


def test_a_registry_that_lists_digests_is_asked_once(start: Start, clock: FakeClock) -> None:
    """As Google's do; what has no tag is a platform of an index, or was replaced."""
    listed = {FIRST: {"tag": ["v1", "latest"]}, SECOND: {"tag": []}}
    server = start(replies(page({"manifest": listed, "tags": ["v1", "latest"]})))
    assert tagged(server, clock) == [FIRST]


def test_of_others_each_tag_is_resolved_page_by_page(start: Start, clock: FakeClock) -> None:
    asked: list[str] = []

    def script(request: Request) -> Reply:
        asked.append(request.path)
        if "/manifests/" in request.path:
            return Reply(200, {"Content-Type": OCI_MANIFEST}, BODY)
        if "last=" in request.path:
            return page({"tags": ["v3"]})
        # Wherever it leads, only what comes after the last is taken from it.
        return page({"tags": ["v1", "v2"]}, '<http://evil.example/x?last=v2&n=9>; rel="next"')

    assert tagged(start(script), clock) == [digest(BODY)]
    assert [path for path in asked if "tags/list" in path] == [
        "/v2/team/app/tags/list?n=1000",
        "/v2/team/app/tags/list?n=1000&last=v2",
    ]
    assert len(asked) == 5


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (Reply(404), NotFound, "does not exist"),
        (Reply(200, {}, b"no json"), Unavailable, "status 200"),
        (Reply(418, {}, b"{}"), Unavailable, "status 418"),
        (page({"manifest": {"sha256:x": {"tag": ["v1"]}}}), BadInput, "not a digest"),
        (page({"tags": ["../../evil"]}), BadInput, "not a tag"),
        (page({"tags": []}, '</v2/?last=x>; rel="next"'), Unavailable, "same next page again"),
    ],
)
def test_what_is_no_list_is_told(
    start: Start, clock: FakeClock, reply: Reply, error: type[StepError], says: str
) -> None:
    with pytest.raises(error, match=says):
        tagged(start(replies(reply)), clock)


@pytest.mark.parametrize("document", [{}, {"tags": None}, {"tags": 7}, {"manifest": []}])
def test_an_empty_repository_has_none(
    start: Start, clock: FakeClock, document: dict[str, Any]
) -> None:
    assert tagged(start(replies(page(document))), clock) == []
