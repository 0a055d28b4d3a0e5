"""Which continuous integration this is, from the variables it sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.discovery.environment import Ci, Environment
from step.model.build import BuildName

SHA = "4f2c9b1d0e8a7c6b5a49382716f5e4d3c2b1a098"
OTHER_SHA = "a" * 64
ID = "c5f03cc3-1b9d-4a3c-8a53-6f5e0a3b2c1d"

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "CI": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "me/app",
    "GITHUB_RUN_ID": "17",
    "GITHUB_SHA": SHA,
    "GITHUB_WORKSPACE": "/github/workspace",
}
CIRCLE = {
    "CIRCLECI": "true",
    "CIRCLE_BUILD_URL": "https://circleci.com/gh/me/app/17",
    "CIRCLE_SHA1": SHA,
    "CIRCLE_WORKING_DIRECTORY": "~/project",
    "HOME": "/h/circleci",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_JOB_URL": "https://gitlab.com/me/app/-/jobs/17",
    "CI_COMMIT_SHA": SHA,
    "CI_PROJECT_DIR": "/builds/me/app",
}
CLOUD = {
    "BUILDER_OUTPUT": "/builder/outputs",
    "BUILD_ID": ID,
    "PROJECT_ID": "my-project",
    "LOCATION": "europe-west1",
    "COMMIT_SHA": SHA,
    "REVISION_ID": OTHER_SHA,
}
SYSTEMS = [GITHUB, CIRCLE, GITLAB, CLOUD]


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, Environment(Ci.NONE, None, None, None, None)),
        (
            GITHUB,
            Environment(
                Ci.GITHUB,
                "https://github.com/me/app/actions/runs/17",
                SHA,
                Path("/github/workspace"),
            ),
        ),
        (
            CIRCLE,
            Environment(Ci.CIRCLECI, CIRCLE["CIRCLE_BUILD_URL"], SHA, Path("/h/circleci/project")),
        ),
        (GITLAB, Environment(Ci.GITLAB, GITLAB["CI_JOB_URL"], SHA, Path("/builds/me/app"))),
        (
            CLOUD,
            Environment(
                Ci.CLOUD_BUILD,
                ID,
                SHA,
                Path("/workspace"),
                BuildName("my-project", "europe-west1", ID),
            ),
        ),
        # Substitutions are not environment variables unless the build asks for it.
        (
            {"BUILDER_OUTPUT": "/builder/outputs"},
            Environment(Ci.CLOUD_BUILD, workspace=Path("/workspace")),
        ),
    ],
    ids=["none", "GitHub", "CircleCI", "GitLab", "Cloud Build", "Cloud Build, nothing mapped"],
)
def test_what_each_system_says(environ: dict[str, str], wanted: Environment) -> None:
    assert Environment.detect(environ) == wanted


@pytest.mark.parametrize(
    "environ",
    [
        {"CI": "true", "BUILD_ID": "1", "BUILDER_OUTPUT": ""},
        {"GITHUB_ACTIONS": "false", "CIRCLECI": "", "GITLAB_CI": "1"},
        {name: value for system in SYSTEMS for name, value in system.items() if value != "true"}
        | {"BUILDER_OUTPUT": ""},
    ],
)
def test_no_system_is_guessed(environ: dict[str, str]) -> None:
    assert Environment.detect(environ) == Environment(Ci.NONE)


@pytest.mark.parametrize(
    ("environ", "build"),
    [
        (
            GITHUB | {"GITHUB_RUN_ATTEMPT": "2"},
            "https://github.com/me/app/actions/runs/17/attempts/2",
        ),
        (GITHUB | {"GITHUB_RUN_ATTEMPT": "x"}, "https://github.com/me/app/actions/runs/17"),
        ({"GITHUB_ACTIONS": "true"}, None),
        (GITHUB | {"GITHUB_RUN_ID": "17/../.."}, None),
        (GITHUB | {"GITHUB_SERVER_URL": "javascript:alert(1)//"}, None),
        (GITHUB | {"GITHUB_REPOSITORY": "me/app\n::set-output"}, None),
        (CIRCLE | {"CIRCLE_BUILD_URL": "file:///etc/passwd"}, None),
        (GITLAB | {"CI_JOB_URL": "https://x/\x1b[1m"}, None),
        (CLOUD | {"BUILD_ID": "$BUILD_ID"}, None),
        (CLOUD | {"BUILD_ID": "https://x/y"}, None),
    ],
)
def test_a_run_that_is_not_plain_is_none(environ: dict[str, str], build: str | None) -> None:
    assert Environment.detect(environ).build == build


@pytest.mark.parametrize("environ", SYSTEMS)
@pytest.mark.parametrize("commit", [SHA[:7], "main", SHA.upper(), SHA + "\n", "$COMMIT_SHA", ""])
def test_only_a_whole_hash_is_a_commit(environ: dict[str, str], commit: str) -> None:
    hostile = {
        name: commit if value in (SHA, OTHER_SHA) else value for name, value in environ.items()
    }
    assert Environment.detect(hostile).commit is None


def test_cloud_build_has_two_names_for_the_commit() -> None:
    assert Environment.detect(CLOUD | {"COMMIT_SHA": ""}).commit == OTHER_SHA


@pytest.mark.parametrize(
    ("directory", "home", "workspace"),
    [
        ("~/project", "/h/me", "/h/me/project"),
        ("~", "/h/me", "/h/me"),
        ("/repo", "/h/me", "/repo"),
        ("/a/~/b", "/h/me", "/a/~/b"),
        ("~/project", "", None),
        ("~/project", "relative", None),
        ("~other/project", "/h/me", None),
        ("relative", "/h/me", None),
        ("", "/h/me", None),
    ],
)
def test_the_workspace_is_an_absolute_folder_or_none(
    directory: str, home: str, workspace: str | None
) -> None:
    environ = CIRCLE | {"CIRCLE_WORKING_DIRECTORY": directory, "HOME": home}
    assert Environment.detect(environ).workspace == (workspace and Path(workspace))


@pytest.mark.parametrize("environ", [GITHUB, CIRCLE, GITLAB])
def test_a_system_that_names_no_workspace_has_none(environ: dict[str, str]) -> None:
    [mark] = (name for name, value in environ.items() if value == "true" and name != "CI")
    assert Environment.detect({mark: "true"}).workspace is None


@pytest.mark.parametrize(
    ("changed", "running"),
    [
        ({"LOCATION": ""}, BuildName("my-project", "global", ID)),
        ({"LOCATION": "$LOCATION"}, None),
        ({"PROJECT_ID": ""}, None),
        ({"PROJECT_ID": "$PROJECT_ID"}, None),
        ({"BUILD_ID": ""}, None),
    ],
)
def test_the_running_build_is_known_where_it_is_mapped(
    changed: dict[str, str], running: BuildName | None
) -> None:
    assert Environment.detect(CLOUD | changed).running_build == running


@pytest.mark.parametrize("environ", [GITHUB, CIRCLE, GITLAB])
def test_no_other_system_has_a_running_build(environ: dict[str, str]) -> None:
    left_over = {name: value for name, value in CLOUD.items() if name != "BUILDER_OUTPUT"}
    assert Environment.detect(left_over | environ).running_build is None


@given(
    st.sampled_from(SYSTEMS),
    st.dictionaries(st.sampled_from([name for system in SYSTEMS for name in system]), st.text()),
)
def test_a_build_is_never_more_than_a_plain_url_or_id(
    environ: dict[str, str], hostile: dict[str, str]
) -> None:
    actual = Environment.detect(environ | hostile)
    if actual.build is not None:
        assert actual.build.isascii()
        assert actual.build.isprintable()
        assert not set(actual.build) & set(' <>"`{}|\\^')
        is_url = actual.build.startswith(("https://", "http://"))
        assert is_url or actual.build.replace("-", "").isalnum()
    assert actual.commit in (None, SHA, OTHER_SHA) or actual.commit in hostile.values()
    assert actual.workspace is None or actual.workspace.is_absolute()
