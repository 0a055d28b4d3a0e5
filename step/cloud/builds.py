"""Builds of Cloud Build: reading what one says of itself."""

from __future__ import annotations

from google.cloud.devtools import cloudbuild_v1 as api
from google.protobuf.json_format import MessageToDict

from step.cloud.connection import Connection
from step.cloud.methods import GET_BUILD
from step.errors import NotFound, Unavailable
from step.model.build import Build, BuildName


class Builds:
    """The builds that a connection can reach."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: BuildName) -> Build:
        """Read a build in any region; needs roles/cloudbuild.builds.viewer on its project."""
        try:
            found = self._connection.call(
                GET_BUILD,
                self._connection.builds.get_build,
                # The client takes the region from the name and sends it as the routing header.
                api.GetBuildRequest(name=str(name), project_id=name.project, id=name.id),
                str(name),
            )
        except NotFound as error:
            raise NotFound(
                error.message,
                "A build is found in its own region only: write it as "
                "projects/PROJECT/locations/REGION/builds/ID.",
            ) from error
        # As the JSON that it is elsewhere, so that there is one reader; there an unknown status is
        # its number, without a warning.
        build = Build.from_json({"name": str(name)} | MessageToDict(api.Build.pb(found)))
        if build.name.id != name.id:
            raise Unavailable(
                f"GetBuild: Cloud Build was asked for {name} and answered with {build.name}",
                "Nothing was done; running again is safe.",
            )
        return build
