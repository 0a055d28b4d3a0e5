"""Which continuous integration this is, from the variables it sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.discovery.environment import Ci, Environment

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "CI": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "me/app",
    "GITHUB_RUN_ID": "17",
}
CIRCLE = {"CIRCLECI": "true", "CIRCLE_BUILD_URL": "https://circleci.com/gh/me/app/17"}
GITLAB = {"GITLAB_CI": "true", "CI_JOB_URL": "https://gitlab.com/me/app/-/jobs/17"}
CLOUD = {"BUILDER_OUTPUT": "/builder/outputs", "BUILD_ID": "c5f03cc3-1b9d-4a3c-8a53-6f5e0a3b2c1d"}


@pytest.mark.parametrize(
    ("environ", "ci", "build"),
    [
        ({}, Ci.NONE, None),
        ({"CI": "true", "BUILD_ID": "1", "BUILDER_OUTPUT": ""}, Ci.NONE, None),
        ({"GITHUB_ACTIONS": "false", "CIRCLECI": "", "GITLAB_CI": "1"}, Ci.NONE, None),
        (GITHUB, Ci.GITHUB, "https://github.com/me/app/actions/runs/17"),
        (
            GITHUB | {"GITHUB_RUN_ATTEMPT": "2"},
            Ci.GITHUB,
            "https://github.com/me/app/actions/runs/17/attempts/2",
        ),
        (
            GITHUB | {"GITHUB_RUN_ATTEMPT": "x"},
            Ci.GITHUB,
            "https://github.com/me/app/actions/runs/17",
        ),
        ({"GITHUB_ACTIONS": "true"}, Ci.GITHUB, None),
        (GITHUB | {"GITHUB_RUN_ID": "17/../.."}, Ci.GITHUB, None),
        (GITHUB | {"GITHUB_SERVER_URL": "javascript:alert(1)//"}, Ci.GITHUB, None),
        (GITHUB | {"GITHUB_REPOSITORY": "me/app\n::set-output"}, Ci.GITHUB, None),
        (CIRCLE, Ci.CIRCLECI, CIRCLE["CIRCLE_BUILD_URL"]),
        (CIRCLE | {"CIRCLE_BUILD_URL": "file:///etc/passwd"}, Ci.CIRCLECI, None),
        (GITLAB, Ci.GITLAB, GITLAB["CI_JOB_URL"]),
        (GITLAB | {"CI_JOB_URL": "https://x/\x1b[1m"}, Ci.GITLAB, None),
        (CLOUD, Ci.CLOUD_BUILD, CLOUD["BUILD_ID"]),
        ({"BUILDER_OUTPUT": "/builder/outputs"}, Ci.CLOUD_BUILD, None),
        (CLOUD | {"BUILD_ID": "$BUILD_ID"}, Ci.CLOUD_BUILD, None),
    ],
)
def test_detect(environ: dict[str, str], ci: Ci, build: str | None) -> None:
    assert Environment.detect(environ) == Environment(ci, build)


@given(
    st.sampled_from([GITHUB, CIRCLE, GITLAB, CLOUD]),
    st.dictionaries(st.sampled_from([*GITHUB, *CIRCLE, *GITLAB, *CLOUD]), st.text(), min_size=1),
)
def test_a_build_is_never_more_than_a_plain_url_or_id(
    environ: dict[str, str], hostile: dict[str, str]
) -> None:
    build = Environment.detect(environ | hostile).build
    if build is not None:
        assert build.isascii()
        assert build.isprintable()
        assert not set(build) & set(' <>"`{}|\\^')
        assert build.startswith(("https://", "http://")) or build.replace("-", "").isalnum()
