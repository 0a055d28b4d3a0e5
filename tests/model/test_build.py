"""Builds of Cloud Build: how they are named, and what is read of their JSON."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.errors import BadInput
from step.model.build import Build, BuildName, BuiltImage, canonical_repository, commit_in

ID = "c5f03cc3-1b9d-4a3c-8a53-6f5e0a3b2c1d"
CONSOLE = "https://console.cloud.google.com/cloud-build/builds"
SHA = "4f2c9b1d0e8a7c6b5a49382716f5e4d3c2b1a098"
OTHER_SHA = "a" * 64


def document(**fields: Any) -> dict[str, Any]:
    return {"projectId": "p", "id": ID, "status": "SUCCESS", **fields}


@pytest.mark.parametrize(
    ("text", "project", "location"),
    [
        (f"projects/p/locations/europe-west1/builds/{ID}", "p", "europe-west1"),
        (f"projects/p/locations/global/builds/{ID}", "p", "global"),
        (f"projects/123456789012/builds/{ID}", "123456789012", "global"),
        (f"projects/example.com:p/builds/{ID}", "example.com:p", "global"),
        (f"{CONSOLE};region=us-central1/{ID}?project=p", "p", "us-central1"),
        (f"{CONSOLE}/{ID}?project=p", "p", "global"),
        (
            f"{CONSOLE};region=us-central1/{ID};step=3?authuser=1&project=12#log",
            "12",
            "us-central1",
        ),
        (f"{CONSOLE}/{ID}?project=example.com%3Ap", "example.com:p", "global"),
    ],
)
def test_a_build_is_read_in_every_spelling(text: str, project: str, location: str) -> None:
    name = BuildName.parse(text, "elsewhere", "asia-east1")
    assert name == BuildName(project, location, ID)
    assert BuildName.parse(str(name)) == name


def test_an_id_alone_is_read_beside_its_project() -> None:
    assert BuildName.parse(ID, "p") == BuildName("p", "global", ID)
    assert BuildName.parse(ID, "p", "us-east1") == BuildName("p", "us-east1", ID)
    with pytest.raises(BadInput, match="no project") as caught:
        BuildName.parse(ID)
    assert "--project" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a build"),
        (f"{ID}\n", "not a build"),
        (f" {ID}", "not a build"),
        ("x" * 65, "not a build"),
        ("a/b", "not a build"),
        (f"projects/p/locations/US/builds/{ID}", "not a build"),
        (f"projects/p/locations//builds/{ID}", "not a build"),
        ("projects/p/locations/global/builds/", "not a build"),
        ("projects/p/locations/global/triggers/t", "not a build"),
        (f"projects/p/builds/{ID}/x", "not a build"),
        (f"projects/P/builds/{ID}", "not a project id"),
        (f"{CONSOLE}/{ID}", "not a build"),
        (f"{CONSOLE}/{ID}?authuser=0", "does not name its project"),
        (f"{CONSOLE}/{ID}?project=p&project=q", "does not name its project"),
        (f"{CONSOLE}/{ID}?project=", "not a project id"),
        (f"{CONSOLE}/{ID}?project=P", "not a project id"),
        (f"http://console.cloud.google.com/cloud-build/builds/{ID}?project=p", "not a build"),
        (f"https://evil.example/cloud-build/builds/{ID}?project=p", "not a build"),
        (f"{CONSOLE}?project=p", "not a build"),
    ],
)
def test_a_text_that_is_no_build_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        BuildName.parse(text, "p")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("P", "global", ID), "not a project id"),
        (("p" * 10_000, "global", ID), r"^'.{120}' is not a project id$"),
        (("p", "", ID), "not a location"),
        (("p", "US", ID), "not a location"),
        (("p", "global", ""), "not the id of a build"),
        (("p", "global", "$BUILD_ID"), "not the id of a build"),
    ],
)
def test_a_name_of_odd_parts_cannot_be_made(parts: tuple[str, str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        BuildName(*parts)


@given(st.text() | st.from_regex(r"projects/\w*/(locations/[a-z\d-]*/)?builds/[a-f\d-]*"))
def test_a_build_name_read_is_what_was_written(text: str) -> None:
    with suppress(BadInput):
        name = BuildName.parse(text)
        assert BuildName.parse(str(name)) == name
        assert name.project in text
        assert name.id in text


def test_the_fields_that_count_are_read() -> None:
    build = Build.from_json(
        document(
            name=f"projects/12/locations/us-east1/builds/{ID}",
            images=["gcr.io/p/a:1"],
            results={"images": [{"name": "gcr.io/p/a:1", "digest": "sha256:x"}]},
            buildTriggerId="id-of-trigger",
            substitutions={"TRIGGER_NAME": "main", "REPO_FULL_NAME": "me/a", "COMMIT_SHA": SHA},
            startTime="2026-11-01T09:00:00.123456789Z",
            finishTime="2026-11-01T10:00:01+01:00",
            steps=[{"name": "whatever"}],
        )
    )
    assert build == Build(
        BuildName("p", "us-east1", ID),
        "SUCCESS",
        (BuiltImage("gcr.io/p/a:1", "sha256:x"),),
        ("gcr.io/p/a:1",),
        trigger="main",
        repository="me/a",
        commit=SHA,
        started=datetime(2026, 11, 1, 9, 0, 0, 123456, UTC),
        finished=datetime(2026, 11, 1, 9, 0, 1, tzinfo=UTC),
        trigger_id="id-of-trigger",
    )


def test_what_is_missing_or_null_is_empty() -> None:
    keys = ("images", "results", "substitutions", "source", "sourceProvenance", "startTime")
    empty = Build(BuildName("p", "global", ID), "STATUS_UNKNOWN")
    assert Build.from_json({"projectId": "p", "id": ID}) == empty
    assert Build.from_json({"projectId": "p", "id": ID} | dict.fromkeys(keys)) == empty


def test_the_name_has_the_project_by_id_where_the_build_says_it() -> None:
    name = f"projects/12/locations/us-east1/builds/{ID}"
    assert str(Build.from_json({"name": name}).name) == name
    assert Build.from_json({"name": name, "projectId": "p"}).name.project == "p"


@pytest.mark.parametrize(
    ("status", "read"), [("WORKING", "WORKING"), (None, "STATUS_UNKNOWN"), (3, "3"), (99, "99")]
)
def test_a_status_is_its_name_and_a_number_is_no_name(status: object, read: str) -> None:
    """The API's JSON may have a number, for one that the writer did not know."""
    assert Build.from_json(document(status=status)).status == read


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": None}, "has no name"),
        ({"projectId": None}, "has no name"),
        ({"id": 7}, "id is not text"),
        ({"id": "a b"}, "not the id of a build"),
        ({"name": f"builds/{ID}"}, "not a build"),
        ({"name": "projects/p/builds/other"}, "two ids"),
        ({"status": True}, "status is not text"),
        ({"status": 1 << 31}, "status is not text"),
        ({"status": "success\n"}, "not a status"),
        ({"images": "gcr.io/p/a"}, "images is not a list"),
        ({"images": [1]}, "an entry of images is not text"),
        ({"results": []}, "results is not an object"),
        ({"results": {"images": {}}}, "images is not a list"),
        ({"results": {"images": ["a"]}}, "an entry of images is not an object"),
        ({"results": {"images": [{"name": 1}]}}, "name is not text"),
        ({"results": {"images": [{"digest": ["a"]}]}}, "digest is not text"),
        ({"substitutions": {"TRIGGER_NAME": 1}}, "TRIGGER_NAME is not text"),
        ({"source": {"gitSource": "x"}}, "gitSource is not an object"),
        ({"startTime": "yesterday"}, "startTime is not a time"),
        ({"finishTime": "2026-11-01T09:00:00"}, "finishTime is not a time"),
        ({"finishTime": 1793523600}, "finishTime is not text"),
    ],
)
def test_a_field_of_another_type_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Build.from_json(document(**fields))


GIT = {"url": "https://github.com/me/app.git", "revision": SHA}
CONNECTED = {"repository": "projects/p/locations/l/connections/c/repositories/r", "revision": SHA}
REPO = {"repoName": "github_me_app", "commitSha": SHA}
SUBSTITUTED = {"REPO_FULL_NAME": "you/app", "REPO_NAME": "app", "COMMIT_SHA": OTHER_SHA}


@pytest.mark.parametrize(
    ("fields", "repository", "commit"),
    [
        ({"sourceProvenance": {"resolvedGitSource": GIT}}, GIT["url"], SHA),
        (
            {"sourceProvenance": {"resolvedConnectedRepository": CONNECTED}},
            CONNECTED["repository"],
            SHA,
        ),
        ({"sourceProvenance": {"resolvedRepoSource": REPO}}, REPO["repoName"], SHA),
        ({"source": {"gitSource": GIT}}, GIT["url"], SHA),
        ({"source": {"connectedRepository": CONNECTED}}, CONNECTED["repository"], SHA),
        ({"source": {"repoSource": REPO}}, REPO["repoName"], SHA),
        ({"substitutions": SUBSTITUTED}, "you/app", OTHER_SHA),
        ({"substitutions": {"REVISION_ID": SHA}}, None, SHA),
        ({"substitutions": {"REPO_NAME": "app"}}, "app", None),
        # Whoever submits a build sets its substitutions; what was fetched, the service says.
        (
            {"sourceProvenance": {"resolvedGitSource": GIT}, "substitutions": SUBSTITUTED},
            GIT["url"],
            SHA,
        ),
        # A branch is no commit.
        (
            {"source": {"gitSource": GIT | {"revision": "main"}}, "substitutions": SUBSTITUTED},
            "you/app",
            OTHER_SHA,
        ),
        ({"source": {"storageSource": {"bucket": "b", "object": "o"}}}, None, None),
    ],
)
def test_where_the_source_is_from(
    fields: dict[str, Any], repository: str | None, commit: str | None
) -> None:
    build = Build.from_json(document(**fields))
    assert (build.repository, build.commit) == (repository, commit)


@pytest.mark.parametrize(
    ("provenance", "resolved"),
    [
        ({}, ()),
        ({"resolvedGitSource": GIT}, ("https://github.com/me/app",)),
        ({"resolvedConnectedRepository": CONNECTED}, (CONNECTED["repository"],)),
        (
            {"resolvedRepoSource": REPO},
            ("https://source.developers.google.com/p/p/r/github_me_app",),
        ),
        (
            {"resolvedRepoSource": REPO | {"projectId": "q"}},
            ("https://source.developers.google.com/p/q/r/github_me_app",),
        ),
        ({"resolvedStorageSource": {"bucket": "b", "object": "o.tgz"}}, ("gs://b/o.tgz",)),
        ({"resolvedStorageSourceManifest": {"bucket": "b", "object": "o"}}, ("gs://b/o",)),
        (
            {"resolvedGitSource": GIT, "resolvedStorageSource": {"bucket": "b", "object": "o"}},
            ("https://github.com/me/app", "gs://b/o"),
        ),
    ],
)
def test_only_what_the_service_fetched_is_resolved(
    provenance: dict[str, Any], resolved: tuple[str, ...]
) -> None:
    """Whoever submits a build chooses its substitutions; the trigger's name is one of them."""
    submitted = {"substitutions": SUBSTITUTED | {"TRIGGER_NAME": "main"}}
    build = Build.from_json(document(sourceProvenance=provenance, **submitted))
    assert build.resolved == resolved
    assert build.trigger == "main"
    assert build.trigger_id is None


SHA256 = "b" * 64


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("https://github.com/Me/App", "https://github.com/Me/App"),
        ("https://GitHub.com/Me/App.git", "https://github.com/Me/App"),
        ("https://github.com/me/app/", "https://github.com/me/app"),
        ("https://github.com/me/app.git/", "https://github.com/me/app"),
        ("https://token@github.com/me/app", "https://github.com/me/app"),
        ("https://user:token@git.example.com:8443/a/b/c", "https://git.example.com:8443/a/b/c"),
        ("git+https://github.com/me/app", "https://github.com/me/app"),
        ("git+https://github.com/me/app.git@refs/heads/a@b", "https://github.com/me/app"),
        (f"git+https://github.com/me/app@{SHA}", "https://github.com/me/app"),
        (f"git+https://github.com/me/app@{SHA256}", "https://github.com/me/app"),
        # What could be another repository is left as it is.
        ("https://github.com@evil.example/me/app", "https://evil.example/me/app"),
        ("https://github.com/me/app@refs/heads/main", "https://github.com/me/app@refs/heads/main"),
        ("git+https://github.com/me/app@main", "https://github.com/me/app@main"),
        *(
            (odd, odd)
            for odd in (
                "",
                "http://github.com/me/app",
                "ssh://git@github.com/me/app.git",
                "git+ssh://git@github.com/me/app.git@refs/heads/main",
                "git@github.com:me/app.git",
                "https://evil.example\\@github.com/me/app",
                "https://a@b@github.com/me/app",
                "https://github.com/me/app?x",
                "https://github.com/me/app#x",
                "https://github.com/me/app\n",
                "https://github.com",
                "projects/p/locations/l/connections/c/repositories/r",
            )
        ),
    ],
)
def test_a_repository_has_one_spelling(text: str, spelled: str) -> None:
    assert canonical_repository(text) == spelled


@pytest.mark.parametrize("user", ["token@", "user:token@", "user:to@ken@"])
def test_the_token_of_a_repositorys_address_is_not_kept(user: str) -> None:
    source = {"gitSource": {"url": f"https://{user}github.com/me/app"}}
    build = Build.from_json(document(source=source))
    assert build.repository == "https://github.com/me/app"


@pytest.mark.parametrize(
    "trigger", ["a\nb", "a\x1b[1m", "<b>", "::set-output", "a" * 301, "a b", "Ä"]
)
def test_a_trigger_that_is_not_plain_is_left_out(trigger: str) -> None:
    substitutions = {"TRIGGER_NAME": trigger, "REPO_FULL_NAME": trigger, "COMMIT_SHA": trigger}
    build = Build.from_json(document(substitutions=substitutions, buildTriggerId="by-id"))
    assert build.trigger == "by-id"
    assert build.repository is None
    assert build.commit is None


@pytest.mark.parametrize(("text", "commit"), [(SHA, SHA), (OTHER_SHA, OTHER_SHA), (SHA[:7], None)])
def test_only_a_whole_hash_is_a_commit(text: str, commit: str | None) -> None:
    assert commit_in(text) == commit
    assert commit_in(text.upper() + "\n") is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
KEYS = ["id", "projectId", "name", "status", "images", "results", "source", "sourceProvenance"]
KEYS += ["substitutions", "buildTriggerId", "startTime", "finishTime"]


@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_any_json_is_a_build_or_an_error(fields: dict[str, Any]) -> None:
    with suppress(BadInput):
        build = Build.from_json(document() | fields)
        for text in (build.trigger, build.repository, build.commit):
            assert text is None or re.fullmatch(r"[!-~]{1,300}", text)


@given(st.sampled_from([key for key in KEYS if key != "buildTriggerId"]), st.text(min_size=1))
def test_an_error_is_one_short_line_whatever_it_is_about(key: str, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        Build.from_json(document() | {key: "/\n" + text * 2000})
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 1500  # 120 characters, each perhaps escaped
