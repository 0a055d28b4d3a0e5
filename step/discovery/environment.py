"""Which continuous integration runs this, where its run can be looked at, and what it works on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from step.errors import BadInput

if TYPE_CHECKING:
    from step.model.build import BuildName

# The values come from outside and are shown and stored, so they may hold nothing but a plain URL.
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,1000}")
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_GITHUB_RUN = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")


class Ci(Enum):
    """The systems that are known, and none."""

    GITHUB = "GitHub Actions"
    CIRCLECI = "CircleCI"
    GITLAB = "GitLab CI"
    CLOUD_BUILD = "Cloud Build"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Environment:
    """The system, and what it says of its run; None where it says nothing.

    `build` is the run's URL or, in Cloud Build, the build's id; `commit` is a whole hash;
    `workspace` is the folder that the steps of a run share; `running_build` is the build of Cloud
    Build that this is a step of; `began` is when the run did.
    """

    ci: Ci
    build: str | None = None
    commit: str | None = None
    workspace: Path | None = None
    running_build: BuildName | None = None
    began: datetime | None = None

    @classmethod
    def detect(cls, environ: Mapping[str, str]) -> Environment:
        """Tell the system by the variables it sets; a malformed value counts as none.

        Cloud Build passes its substitutions on, such as `BUILD_ID`, only with
        `automapSubstitutions`, or where the step's `env` says so.
        """
        for system in _SYSTEMS:
            if system.marks(environ):
                return system.read(environ)
        return cls(Ci.NONE)


@dataclass(frozen=True, slots=True)
class _System:
    """A row of the table: how a system is told, and which of its variables say what."""

    ci: Ci
    mark: str
    value: str | None
    """What the mark holds, where one value is promised."""
    run: str | Callable[[Mapping[str, str]], str]
    """The variable with the run's URL or id, or how it is put together."""
    commit: tuple[str, ...]
    workspace: str
    """The variable that names it, or its path where that is fixed."""
    pattern: re.Pattern[str] = _URL
    running_build: Callable[[Mapping[str, str]], BuildName | None] = lambda _: None
    began: Callable[[Mapping[str, str]], datetime | None] = lambda _: None

    def marks(self, environ: Mapping[str, str]) -> bool:
        value = environ.get(self.mark)
        return bool(value) if self.value is None else value == self.value

    def read(self, environ: Mapping[str, str]) -> Environment:
        from step.model.build import commit_in

        run = environ.get(self.run, "") if isinstance(self.run, str) else self.run(environ)
        commits = (commit_in(environ.get(name, "")) for name in self.commit)
        return Environment(
            self.ci,
            run if self.pattern.fullmatch(run) else None,
            next(filter(None, commits), None),
            _folder(environ.get(self.workspace, self.workspace), environ.get("HOME", "")),
            self.running_build(environ),
            self.began(environ),
        )


def _folder(text: str, home: str) -> Path | None:
    """The text as an absolute path, `~` at its start being the home folder; else None."""
    if home and re.match(r"~(?:/|\Z)", text):
        text = home + text[1:]
    path = Path(text)
    return path if path.is_absolute() else None


def _github_run(environ: Mapping[str, str]) -> str:
    server, repository, run = (environ.get(name, "") for name in _GITHUB_RUN)
    if not (server and repository and run.isdecimal()):
        return ""
    attempt = environ.get("GITHUB_RUN_ATTEMPT", "")
    suffix = f"/attempts/{attempt}" if attempt.isdecimal() else ""
    return f"{server}/{repository}/actions/runs/{run}{suffix}"


def _github_began(environ: Mapping[str, str]) -> datetime | None:
    """When the runner wrote the event, which it does as a job begins."""
    with suppress(OSError, ValueError):
        path = Path(environ["GITHUB_EVENT_PATH"]) if "GITHUB_EVENT_PATH" in environ else None
        return None if path is None else datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return None


def _gitlab_began(environ: Mapping[str, str]) -> datetime | None:
    """When the pipeline did: an artifact of an earlier job is of this run, too."""
    with suppress(ValueError):
        began = datetime.fromisoformat(environ.get("CI_PIPELINE_CREATED_AT", ""))
        return began if began.tzinfo else None
    return None


def _cloud_build(environ: Mapping[str, str]) -> BuildName | None:
    from step.model.build import GLOBAL, BuildName

    project, build = environ.get("PROJECT_ID", ""), environ.get("BUILD_ID", "")
    with suppress(BadInput):
        return BuildName(project, environ.get("LOCATION") or GLOBAL, build)
    return None


_SYSTEMS = (
    # https://docs.github.com/en/actions/reference/workflows-and-actions/variables
    _System(
        Ci.GITHUB,
        "GITHUB_ACTIONS",
        "true",
        _github_run,
        ("GITHUB_SHA",),
        "GITHUB_WORKSPACE",
        began=_github_began,
    ),
    # https://circleci.com/docs/reference/variables/
    _System(
        Ci.CIRCLECI,
        "CIRCLECI",
        "true",
        "CIRCLE_BUILD_URL",
        ("CIRCLE_SHA1",),
        "CIRCLE_WORKING_DIRECTORY",
    ),
    # https://docs.gitlab.com/ci/variables/predefined_variables/
    _System(
        Ci.GITLAB,
        "GITLAB_CI",
        "true",
        "CI_JOB_URL",
        ("CI_COMMIT_SHA",),
        "CI_PROJECT_DIR",
        began=_gitlab_began,
    ),
    # The mark: google/devtools/cloudbuild/v1/cloudbuild.proto, Results.build_step_outputs;
    # the substitutions: https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values;
    # the folder: https://cloud.google.com/build/docs/build-config-file-schema
    _System(
        Ci.CLOUD_BUILD,
        "BUILDER_OUTPUT",
        None,
        "BUILD_ID",
        ("COMMIT_SHA", "REVISION_ID"),
        "/workspace",
        _ID,
        _cloud_build,
    ),
)
