"""Builds of Cloud Build: how one is named, and what it says of itself.

https://github.com/googleapis/googleapis/blob/master/google/devtools/cloudbuild/v1/cloudbuild.proto
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from step.errors import BadInput
from step.model.names import ProjectName

T = TypeVar("T", str, list[Any], dict[str, Any])

# Where a build lives that is named by project and id alone.
GLOBAL = "global"
# The proto promises an id that is unique and no form; today's are UUIDs.
_ID = r"[A-Za-z0-9-]{1,64}"
_LOCATION = r"[a-z][a-z0-9-]{0,62}"
_NAME = re.compile(rf"projects/([^/]+)(?:/locations/({_LOCATION}))?/builds/({_ID})")
# As `logUrl` and the browser have it; a step may be chosen after the id.
_CONSOLE = re.compile(
    rf"https://console\.cloud\.google\.com/cloud-build/builds(?:;region=({_LOCATION}))?/({_ID})"
    r"(?:;[^?#]*)?\?([^#]*)(?:#.*)?"
)
_SPELLINGS = (
    "Write projects/PROJECT/locations/REGION/builds/ID, the address of the build in the Google "
    "Cloud console, or the id alone beside --project."
)

# What a build says of its source is shown and stored: no more than a plain name or address.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/@%+=,#-]{0,299}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# An address may hold a token: https://user:token@host/…
_USER = re.compile(r"(?<=://)[^/]*@")
_WHOLE = "Take it whole, as `gcloud builds describe ID --format=json` prints it."
_KINDS: dict[type, str] = {str: "text", list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True, order=True)
class BuildName:
    """`projects/P/locations/L/builds/ID`."""

    project: str
    location: str
    id: str

    def __post_init__(self) -> None:
        try:
            ProjectName(self.project)
        except BadInput as error:
            raise BadInput(f"{_shown(self.project)} is not a project id", error.hint) from None
        if not re.fullmatch(_LOCATION, self.location):
            raise BadInput(
                f"{_shown(self.location)} is not a location",
                "A build is in a region, for example europe-west1, or in global.",
            )
        if not re.fullmatch(_ID, self.id):
            raise BadInput(f"{_shown(self.id)} is not the id of a build", _SPELLINGS)

    @classmethod
    def parse(cls, text: str, project: str | None = None, location: str | None = None) -> BuildName:
        """Read a full name, `projects/P/builds/ID`, the console's URL, or an id beside `project`.

        Without a location a build is `global`, and `location` is for an id alone. Raises BadInput
        for all else.
        """
        if match := _NAME.fullmatch(text):
            return cls(match[1], match[2] or GLOBAL, match[3])
        if match := _CONSOLE.fullmatch(text):
            return cls(_project_of(match[3]), match[1] or GLOBAL, match[2])
        if not re.fullmatch(_ID, text):
            raise BadInput(f"{_shown(text)} is not a build of Cloud Build", _SPELLINGS)
        if project is None:
            raise BadInput(f"the build {text!r} has no project", _SPELLINGS)
        return cls(project, location or GLOBAL, text)

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/builds/{self.id}"


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that a build pushed: the name as given to `docker push`, and the digest, as text."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Build:
    """What a build says of itself; `pushed` is empty until it has succeeded.

    `status` is the name of a `Build.Status`, or a number that this version does not know. `listed`
    are the images it is to push. The trigger is its name, or its id; the commit is a full hash;
    each is None where the build does not say it plainly.
    """

    name: BuildName
    status: str
    pushed: tuple[BuiltImage, ...] = ()
    listed: tuple[str, ...] = ()
    trigger: str | None = None
    repository: str | None = None
    commit: str | None = None
    started: datetime | None = None
    finished: datetime | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Build:
        """Read the API's JSON of a build, as gcloud and Pub/Sub give it; other keys are let be.

        Raises BadInput when a field that is used has another type than the API's.
        """
        substitutions = _field(document, "substitutions", dict)
        sources = list(_sources(document, substitutions))
        return cls(
            name=_name(document),
            status=_status(document),
            pushed=tuple(_pushed(_field(document, "results", dict))),
            listed=tuple(_entries(document, "images", str)),
            trigger=_first_plain(
                _field(substitutions, "TRIGGER_NAME", str),
                _field(document, "buildTriggerId", str),
            ),
            repository=_first_plain(*(repository for repository, _ in sources)),
            commit=next(filter(None, (commit_in(commit) for _, commit in sources)), None),
            started=_time(document, "startTime"),
            finished=_time(document, "finishTime"),
        )


def commit_in(text: str) -> str | None:
    """The text if it is a whole commit hash of git, SHA-1 or SHA-256, else None."""
    return text if _COMMIT.fullmatch(text) else None


def _name(document: Mapping[str, Any]) -> BuildName:
    full, project, build_id = (_field(document, key, str) for key in ("name", "projectId", "id"))
    if not full:
        if not (project and build_id):
            raise BadInput("the build has no name", _WHOLE)
        return BuildName(project, GLOBAL, build_id)
    name = BuildName.parse(full)
    if build_id and build_id != name.id:
        raise BadInput(f"the build has two ids, {_shown(build_id)} and {name.id!r}", _WHOLE)
    # The name has the project's number, where the other field has its id.
    return BuildName(project or name.project, name.location, name.id)


def _status(document: Mapping[str, Any]) -> str:
    status = document.get("status")
    # A value of an enum is an int32: https://protobuf.dev/programming-guides/proto3/#enum
    if isinstance(status, int) and not isinstance(status, bool) and abs(status) < 1 << 31:
        return str(status)
    name = _field(document, "status", str) or "STATUS_UNKNOWN"
    if not re.fullmatch(r"[A-Z_]{1,40}", name):
        raise BadInput(f"{_shown(name)} is not a status of a build", _WHOLE)
    return name


def _pushed(results: Mapping[str, Any]) -> Iterator[BuiltImage]:
    for image in _entries(results, "images", dict):
        yield BuiltImage(_field(image, "name", str), _field(image, "digest", str))


def _sources(
    document: Mapping[str, Any], substitutions: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Repository and revision wherever the build has them, either perhaps empty.

    First what the service resolved: whoever submits a build can set the substitutions.
    """
    resolved = _field(document, "sourceProvenance", dict)
    yield from _located(resolved, "resolvedGitSource", "resolvedConnectedRepository")
    yield _in_repository(_field(resolved, "resolvedRepoSource", dict))
    for key in ("COMMIT_SHA", "REVISION_ID"):
        yield _field(substitutions, "REPO_FULL_NAME", str), _field(substitutions, key, str)
    source = _field(document, "source", dict)
    yield from _located(source, "gitSource", "connectedRepository")
    yield _in_repository(_field(source, "repoSource", dict))
    yield _field(substitutions, "REPO_NAME", str), ""


def _located(source: Mapping[str, Any], git: str, connected: str) -> Iterator[tuple[str, str]]:
    for key, where in ((git, "url"), (connected, "repository")):
        found = _field(source, key, dict)
        yield _USER.sub("", _field(found, where, str)), _field(found, "revision", str)


def _in_repository(source: Mapping[str, Any]) -> tuple[str, str]:
    return _field(source, "repoName", str), _field(source, "commitSha", str)


def _first_plain(*texts: str) -> str | None:
    return next(filter(_PLAIN.fullmatch, texts), None)


def _time(document: Mapping[str, Any], key: str) -> datetime | None:
    """A time as protobuf's JSON has it: https://protobuf.dev/programming-guides/json/."""
    text = _field(document, key, str)
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise BadInput(f"{key} is not a time: {_shown(text)}", _WHOLE)
    return time


def _entries(of: Mapping[str, Any], key: str, kind: type[T]) -> list[T]:
    entries = _field(of, key, list)
    if not all(isinstance(entry, kind) for entry in entries):
        raise BadInput(f"an entry of {key} is not {_KINDS[kind]}", _WHOLE)
    return entries


def _field(of: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """A field's value; what is missing or null is the empty value, as in protobuf's JSON."""
    value = of.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise BadInput(f"{key} is not {_KINDS[kind]}", _WHOLE)
    return value


def _project_of(query: str) -> str:
    projects = [part[8:] for part in query.split("&") if part.startswith("project=")]
    if len(projects) != 1:
        raise BadInput("the address of the build does not name its project", _SPELLINGS)
    return projects[0].replace("%3A", ":")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "…")
