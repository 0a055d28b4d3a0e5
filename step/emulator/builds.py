"""Cloud Build v1: finished builds to read.

https://github.com/googleapis/googleapis/blob/master/google/devtools/cloudbuild/v1/cloudbuild.proto
"""

from collections.abc import Callable
from datetime import datetime
from threading import Lock

from google.cloud.devtools import cloudbuild_v1 as cloudbuild

from step.emulator.filters import Filter
from step.emulator.refusal import already_exists, invalid, not_found
from step.emulator.resources import page, parse_name
from step.emulator.rpc import rpc

PROJECT = "projects/{project}"
LOCATION = PROJECT + "/locations/{location}"
BUILD = LOCATION + "/builds/{build}"
# Where a build lives that is named by project and id alone.
_GLOBAL = "global"
# cloudbuild.proto leaves both to the server.
_PAGE, _MAX_PAGE = 50, 1000
_FIELDS = ("status", "buildTriggerId", "createTime")


def _build_of(request: cloudbuild.GetBuildRequest) -> str:
    return request.name or f"projects/{request.project_id}/builds/{request.id}"


def _parent_of(request: cloudbuild.ListBuildsRequest) -> str:
    return request.parent or f"projects/{request.project_id}"


class CloudBuild:
    """``google.devtools.cloudbuild.v1.CloudBuild``, reading only."""

    SERVICE = "google.devtools.cloudbuild.v1.CloudBuild"
    HOST = "cloudbuild.googleapis.com"
    TITLE = "Cloud Build API"

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = Lock()
        self._builds: dict[tuple[str, str, str], cloudbuild.Build] = {}

    def seed(self, build: cloudbuild.Build) -> None:
        """Add a build, named by ``name`` or by ``project_id`` and ``id``."""
        if build.name:
            parts = parse_name(BUILD, build.name)
        elif build.project_id and build.id:
            parts = {"project": build.project_id, "location": _GLOBAL, "build": build.id}
        else:
            raise invalid("A build needs a name, or projectId and id.")
        stored = cloudbuild.Build(build)
        stored.name = BUILD.format_map(parts)
        stored.project_id, stored.id = parts["project"], parts["build"]
        stored.create_time = build.create_time or self._now()
        key = (parts["project"], parts["location"], parts["build"])
        with self._lock:
            if key in self._builds:
                raise already_exists("Build", stored.name)
            self._builds[key] = stored

    @rpc(_build_of, "cloudbuild.builds.get")
    def get_build(self, request: cloudbuild.GetBuildRequest) -> cloudbuild.Build:
        name = _build_of(request)
        template = BUILD if "/locations/" in name else PROJECT + "/builds/{build}"
        parts = {"location": _GLOBAL} | parse_name(template, name)
        with self._lock:
            build = self._builds.get((parts["project"], parts["location"], parts["build"]))
        if build is None:
            raise not_found("Build", name)
        return build

    @rpc(_parent_of, "cloudbuild.builds.list")
    def list_builds(self, request: cloudbuild.ListBuildsRequest) -> cloudbuild.ListBuildsResponse:
        parent = _parent_of(request)
        template = LOCATION if "/locations/" in parent else PROJECT
        parts = {"location": _GLOBAL} | parse_name(template, parent)
        chosen = Filter.parse(request.filter, _FIELDS)
        with self._lock:
            kept = list(self._builds.items())
        entries = [
            (identity, build)
            for (project, location, identity), build in kept
            if (project, location) == (parts["project"], parts["location"])
            and chosen.matches(
                {
                    "status": cloudbuild.Build.Status(build.status).name,
                    "buildTriggerId": build.build_trigger_id,
                    "createTime": build.create_time,
                }
            )
        ]
        shown, token = page(
            entries,
            query=(parent, request.filter),
            token=request.page_token,
            size=request.page_size,
            default=_PAGE,
            maximum=_MAX_PAGE,
        )
        return cloudbuild.ListBuildsResponse(builds=shown, next_page_token=token)
