"""Which continuous integration runs this, and where its run can be looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Ci(Enum):
    """The systems that are known, and none."""

    GITHUB = "GitHub Actions"
    CIRCLECI = "CircleCI"
    GITLAB = "GitLab CI"
    CLOUD_BUILD = "Cloud Build"
    NONE = "none"


# The variable that each sets, and its value where one is promised.
_MARKS = (
    # https://docs.github.com/en/actions/reference/workflows-and-actions/variables
    (Ci.GITHUB, "GITHUB_ACTIONS", "true"),
    # https://circleci.com/docs/reference/variables/
    (Ci.CIRCLECI, "CIRCLECI", "true"),
    # https://docs.gitlab.com/ci/variables/predefined_variables/
    (Ci.GITLAB, "GITLAB_CI", "true"),
    # google/devtools/cloudbuild/v1/cloudbuild.proto, Results.build_step_outputs
    (Ci.CLOUD_BUILD, "BUILDER_OUTPUT", None),
)

# The values come from outside and are shown and stored, so they may hold nothing but a plain URL.
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,1000}")
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_GITHUB_RUN = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")


@dataclass(frozen=True, slots=True)
class Environment:
    """The system, and its run's URL or, in Cloud Build, the build's id; None where it says none."""

    ci: Ci
    build: str | None

    @classmethod
    def detect(cls, environ: Mapping[str, str]) -> Environment:
        """Tell the system by the variables it sets; a malformed run URL or id counts as none.

        Cloud Build passes `BUILD_ID` on only with `automapSubstitutions`, or where the step's
        `env` says so.
        """
        for ci, variable, value in _MARKS:
            if environ.get(variable) if value is None else environ.get(variable) == value:
                return cls(ci, _build(ci, environ))
        return cls(Ci.NONE, None)


def _build(ci: Ci, environ: Mapping[str, str]) -> str | None:
    pattern = _URL
    match ci:
        case Ci.GITHUB:
            text = _github_run(environ)
        case Ci.CIRCLECI:
            text = environ.get("CIRCLE_BUILD_URL", "")
        case Ci.GITLAB:
            text = environ.get("CI_JOB_URL", "")
        case _:
            pattern, text = _ID, environ.get("BUILD_ID", "")
    return text if pattern.fullmatch(text) else None


def _github_run(environ: Mapping[str, str]) -> str:
    server, repository, run = (environ.get(name, "") for name in _GITHUB_RUN)
    if not (server and repository and run.isdecimal()):
        return ""
    attempt = environ.get("GITHUB_RUN_ATTEMPT", "")
    suffix = f"/attempts/{attempt}" if attempt.isdecimal() else ""
    return f"{server}/{repository}/actions/runs/{run}{suffix}"
