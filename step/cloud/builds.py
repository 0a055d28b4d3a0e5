"""Builds of Cloud Build: reading what one says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.cloud.devtools import cloudbuild_v1 as api
from google.protobuf.json_format import MessageToDict

from step.cloud.connection import Connection
from step.cloud.methods import GET_BUILD, LIST_BUILDS
from step.cloud.pages import pages
from step.errors import NotFound, Unavailable
from step.model.build import Build, BuildName
from step.model.names import ProjectName

# cloudbuild.proto leaves the most to the server.
_PAGE_SIZE = 200


@dataclass(frozen=True, slots=True)
class Builds:
    """The builds that a connection can reach."""

    connection: Connection

    def get(self, name: BuildName) -> Build:
        """Read a build in any region; needs roles/cloudbuild.builds.viewer on its project."""
        # The client takes the region from the name and sends it as the routing header.
        request = api.GetBuildRequest(name=str(name), project_id=name.project, id=name.id)
        try:
            stored = self.connection.call(GET_BUILD, request, str(name))
        except NotFound as error:
            raise NotFound(
                error.message,
                "A build is found in its own region only: write it as "
                "projects/PROJECT/locations/REGION/builds/ID.",
            ) from error
        # As the JSON that it is elsewhere, so that there is one reader; there an unknown status is
        # its number, without a warning.
        build = Build.from_json({"name": str(name)} | MessageToDict(api.Build.pb(stored)))
        if build.name.id != name.id:
            raise Unavailable(
                f"GetBuild: Cloud Build was asked for {name} and answered with {build.name}",
                "Nothing was done; running again is safe.",
            )
        return build

    def chosen(self, project: ProjectName, location: str, chosen: str) -> Iterator[Build]:
        """The builds of a project that a filter chooses, newest first, read as they are used.

        https://cloud.google.com/build/docs/view-build-results#filtering_build_results_using_queries
        Needs roles/cloudbuild.builds.viewer on the project.
        """
        parent = f"{project}/locations/{location}"
        request = api.ListBuildsRequest(
            parent=parent, project_id=project.project, filter=chosen, page_size=_PAGE_SIZE
        )
        for page in pages(self.connection, LIST_BUILDS, request, parent):
            for stored in page.builds:
                plain = api.Build.pb(stored)
                named = {"name": stored.name or f"{parent}/builds/{stored.id}"}
                yield Build.from_json(MessageToDict(plain) | named)
