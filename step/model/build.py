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
from step.model.quoting import quoted

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
# A user that hides no other host: what is unusual there is read one way here and another elsewhere.
_HTTPS = re.compile(
    r"https://(?:[A-Za-z0-9._~%:+-]*@)?([A-Za-z0-9.-]+(?::[0-9]{1,5})?)/([^?#\\\s]+)"
)
_REF = re.compile(r"@(?:refs/.+|[0-9a-f]{40}|[0-9a-f]{64})\Z")
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
            raise BadInput(f"{quoted(self.project)} is not a project id", error.hint) from None
        if not re.fullmatch(_LOCATION, self.location):
            raise BadInput(
                f"{quoted(self.location)} is not a location",
                "A build is in a region, for example europe-west1, or in global.",
            )
        if not re.fullmatch(_ID, self.id):
            raise BadInput(f"{quoted(self.id)} is not the id of a build", _SPELLINGS)

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
            raise BadInput(f"{quoted(text)} is not a build of Cloud Build", _SPELLINGS)
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
    each is None where the build does not say it plainly. They are there to be shown: whoever
    submits a build can set some of them. `trigger_id` and `resolved`, what the service fetched as
    `canonical_repository` spells it, are the service's own.
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
    trigger_id: str | None = None
    resolved: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Build:
        """Read the API's JSON of a build, as gcloud and Pub/Sub give it; other keys are let be.

        Raises BadInput when a field that is used has another type than the API's.
        """
        name = _name(document)
        substitutions = field(document, "substitutions", dict)
        sources = list(_sources(document, substitutions))
        return cls(
            name=name,
            status=_status(document),
            pushed=tuple(_pushed(field(document, "results", dict))),
            listed=tuple(entries(document, "images", str)),
            trigger=_first_plain(
                field(substitutions, "TRIGGER_NAME", str), field(document, "buildTriggerId", str)
            ),
            repository=_first_plain(*(repository for repository, _ in sources)),
            commit=next(filter(None, (commit_in(commit) for _, commit in sources)), None),
            started=_time(document, "startTime"),
            finished=_time(document, "finishTime"),
            trigger_id=field(document, "buildTriggerId", str) or None,
            resolved=tuple(_resolved(field(document, "sourceProvenance", dict), name.project)),
        )


def canonical_repository(text: str) -> str:
    """The one spelling of a Git repository's address over https; any other text is left as it is.

    Read are `https://HOST/PATH`, with a user, `.git` or `/` that say nothing of which one it is,
    and `git+https://HOST/PATH@REF` (https://spdx.github.io/spdx-spec/v2.3/package-information/).
    """
    plain = text.removeprefix("git+")
    match = _HTTPS.fullmatch(plain)
    if match is None:
        return text
    host, path = match.groups()
    if plain != text:
        path = _REF.sub("", path)
    return f"https://{host.lower()}/{path.removesuffix('/').removesuffix('.git')}"


def cloud_repository(project: str, name: str) -> str:
    """The address of a Cloud Source Repository.

    https://cloud.google.com/source-repositories/docs/cloning-repositories
    """
    return f"https://source.developers.google.com/p/{project}/r/{name}"


def commit_in(text: str) -> str | None:
    """The text if it is a whole commit hash of git, SHA-1 or SHA-256, else None."""
    return text if _COMMIT.fullmatch(text) else None


def _name(document: Mapping[str, Any]) -> BuildName:
    full, project, build_id = (field(document, key, str) for key in ("name", "projectId", "id"))
    if not full:
        if not (project and build_id):
            raise BadInput("the build has no name", _WHOLE)
        return BuildName(project, GLOBAL, build_id)
    name = BuildName.parse(full)
    if build_id and build_id != name.id:
        raise BadInput(f"the build has two ids, {quoted(build_id)} and {name.id!r}", _WHOLE)
    # The name has the project's number, where the other field has its id.
    return BuildName(project or name.project, name.location, name.id)


def _status(document: Mapping[str, Any]) -> str:
    status = document.get("status")
    # A value of an enum is an int32: https://protobuf.dev/programming-guides/proto3/#enum
    if isinstance(status, int) and not isinstance(status, bool) and abs(status) < 1 << 31:
        return str(status)
    name = field(document, "status", str) or "STATUS_UNKNOWN"
    if not re.fullmatch(r"[A-Z_]{1,40}", name):
        raise BadInput(f"{quoted(name)} is not a status of a build", _WHOLE)
    return name


def _pushed(results: Mapping[str, Any]) -> Iterator[BuiltImage]:
    for image in entries(results, "images", dict):
        yield BuiltImage(field(image, "name", str), field(image, "digest", str))


def _sources(
    document: Mapping[str, Any], substitutions: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Repository and revision wherever the build has them, either perhaps empty.

    First what the service resolved: whoever submits a build can set the substitutions.
    """
    resolved = field(document, "sourceProvenance", dict)
    yield from _located(resolved, "resolvedGitSource", "resolvedConnectedRepository")
    yield _in_repository(field(resolved, "resolvedRepoSource", dict))
    for key in ("COMMIT_SHA", "REVISION_ID"):
        yield field(substitutions, "REPO_FULL_NAME", str), field(substitutions, key, str)
    source = field(document, "source", dict)
    yield from _located(source, "gitSource", "connectedRepository")
    yield _in_repository(field(source, "repoSource", dict))
    yield field(substitutions, "REPO_NAME", str), ""


def _resolved(provenance: Mapping[str, Any], project: str) -> Iterator[str]:
    for key, where in (("resolvedGitSource", "url"), ("resolvedConnectedRepository", "repository")):
        if address := field(field(provenance, key, dict), where, str):
            yield canonical_repository(address)
    source = field(provenance, "resolvedRepoSource", dict)
    if name := field(source, "repoName", str):
        yield cloud_repository(field(source, "projectId", str) or project, name)
    for key in ("resolvedStorageSource", "resolvedStorageSourceManifest"):
        source = field(provenance, key, dict)
        if bucket := field(source, "bucket", str):
            yield f"gs://{bucket}/{field(source, 'object', str)}"


def _located(source: Mapping[str, Any], git: str, connected: str) -> Iterator[tuple[str, str]]:
    for key, where in ((git, "url"), (connected, "repository")):
        said = field(source, key, dict)
        yield _USER.sub("", field(said, where, str)), field(said, "revision", str)


def _in_repository(source: Mapping[str, Any]) -> tuple[str, str]:
    return field(source, "repoName", str), field(source, "commitSha", str)


def _first_plain(*texts: str) -> str | None:
    return next(filter(_PLAIN.fullmatch, texts), None)


def _time(document: Mapping[str, Any], key: str) -> datetime | None:
    """A time as protobuf's JSON has it: https://protobuf.dev/programming-guides/json/."""
    text = field(document, key, str)
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise BadInput(f"{key} is not a time: {quoted(text)}", _WHOLE)
    return time


def entries(of: Mapping[str, Any], key: str, kind: type[T]) -> list[T]:
    """A list's entries, each of that type; raises BadInput for another."""
    values = field(of, key, list)
    if not all(isinstance(entry, kind) for entry in values):
        raise BadInput(f"an entry of {key} is not {_KINDS[kind]}", _WHOLE)
    return values


def field(of: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """A field's value; what is missing or null is the empty value, as in protobuf's JSON.

    Raises BadInput for a value of another type.
    """
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
